//! Servers to compare with, started and driven on the same machine in one run.
//!
//! A peer is a few lines of TOML (`peers/*.toml`): a command, the files it needs and
//! the scenario's keys that say how to talk to it.

pub mod floor;
pub mod report;
pub mod rounds;

use std::collections::BTreeMap;
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::server::serve::{self, Served};

/// How long a server may take until it listens.
pub const SERVE_PATIENCE: Duration = Duration::from_secs(20);

/// A peer's definition. In texts `{dir}` stands for a directory of its own, and
/// `{port}`, `{port2}`, `{udp}` and `{udp2}` for free ports.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Peer {
    /// Its name in reports.
    pub name: String,
    /// How it is started; it must stay in the foreground.
    pub command: String,
    /// A command whose first line of output tells its version.
    pub version: String,
    /// Base URL to drive it at; empty when it prints a line with `http=ADDRESS`.
    pub target: String,
    /// Bearer token (with `{room}` and `{publisher}`) or API secret; empty for none.
    pub token: String,
    /// Keys of the scenario to set for it, as with `-o`.
    pub options: Vec<String>,
    /// Files in its directory, by name.
    pub files: BTreeMap<String, String>,
    /// Its environment.
    pub environment: BTreeMap<String, String>,
}

/// Why a peer can't be used.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// There is no such file, nor a shipped peer of that name.
    #[error("can't read the peer {file}: {source} (shipped are: {})", SHIPPED_NAMES.join(", "))]
    Read {
        /// As given.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// It is no TOML, or has unknown keys.
    #[error("{file}: {what}")]
    Form {
        /// As given.
        file: String,
        /// What is wrong.
        what: String,
    },
    /// It could not be started.
    #[error("{name}: {what}")]
    Start {
        /// The peer.
        name: String,
        /// What is wrong, with the end of what it wrote.
        what: String,
    },
}

/// The peers that come with the tool.
pub const SHIPPED_NAMES: [&str; 3] = ["janus", "mediamtx", "broadcast-box"];

fn shipped(name: &str) -> Option<&'static str> {
    Some(match name {
        "janus" => include_str!("../../peers/janus.toml"),
        "mediamtx" => include_str!("../../peers/mediamtx.toml"),
        "broadcast-box" => include_str!("../../peers/broadcast-box.toml"),
        _ => return None,
    })
}

impl Peer {
    /// A peer by the name of a shipped one or by file.
    pub fn load(file: &str) -> Result<Self, PeerError> {
        let text = match (shipped(file), std::fs::read_to_string(file)) {
            (_, Ok(text)) => text,
            (Some(text), Err(_)) => text.to_owned(),
            (None, Err(source)) => {
                return Err(PeerError::Read {
                    file: file.to_owned(),
                    source,
                });
            }
        };
        let form = |what: String| PeerError::Form {
            file: file.to_owned(),
            what,
        };
        let peer: Self = toml::from_str(&text).map_err(|e| form(e.to_string()))?;
        if peer.name.is_empty() || peer.command.is_empty() {
            return Err(form("name and command are needed".to_owned()));
        }
        Ok(peer)
    }

    /// A server with WHIP and WHEP at the usual paths, by `NAME=COMMAND`.
    pub fn served(text: &str) -> Result<Self, PeerError> {
        match text.split_once('=') {
            Some((name, command)) if !name.is_empty() && !name.contains(' ') => Ok(Self {
                name: name.to_owned(),
                command: command.to_owned(),
                ..Self::default()
            }),
            _ => Err(PeerError::Form {
                file: format!("--serve {text}"),
                what: "must be NAME=COMMAND".to_owned(),
            }),
        }
    }

    /// What its version command says, if there is one.
    pub fn version_text(&self) -> Option<String> {
        let words = shlex::split(&self.version)?;
        let (program, arguments) = words.split_first()?;
        let output = std::process::Command::new(program)
            .args(arguments)
            .output()
            .ok()?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        let line = said.lines().map(str::trim).find(|l| !l.is_empty())?;
        Some(line.to_owned())
    }

    /// Starts it in a fresh directory, on these cores, and waits until it listens.
    pub fn start(&self, cores: &[usize]) -> Result<Running, PeerError> {
        let fail = |what: String| PeerError::Start {
            name: self.name.clone(),
            what,
        };
        let directory = tempfile::Builder::new()
            .prefix("weir-loadtest-")
            .tempdir()
            .map_err(|e| fail(e.to_string()))?;
        let holes = Holes::new(directory.path()).map_err(|e| fail(e.to_string()))?;
        for (name, text) in &self.files {
            let path = directory.path().join(name);
            std::fs::write(path, holes.fill(text)).map_err(|e| fail(format!("{name}: {e}")))?;
        }
        let environment = self
            .environment
            .iter()
            .map(|(name, value)| (name.as_str(), holes.fill(value)));
        let command = holes.fill(&self.command);
        let place = directory.path();
        // Servers without files of their own keep their working directory, so that
        // relative paths in a command mean what they say.
        let work_in = Some(place).filter(|_| !self.files.is_empty());
        let mut server = serve::serve_in(&command, cores, place, work_in, environment)
            .map_err(|e| fail(e.to_string()))?;
        let target = if self.target.is_empty() {
            server.announced(SERVE_PATIENCE).ok_or_else(|| {
                let words = server.last_words();
                fail(format!("printed no line with http=ADDRESS {words}"))
            })?
        } else {
            holes.fill(&self.target)
        };
        let url = reqwest::Url::parse(&target).map_err(|e| fail(format!("{target}: {e}")))?;
        server
            .listening(&url, SERVE_PATIENCE)
            .map_err(|e| fail(e.to_string()))?;
        Ok(Running {
            server,
            target,
            _directory: directory,
        })
    }
}

/// A peer that runs; it ends with this value, and its directory is removed.
#[derive(Debug)]
pub struct Running {
    /// Its process.
    pub server: Served,
    /// Where it listens.
    pub target: String,
    _directory: tempfile::TempDir,
}

/// What stands for what in a peer's texts.
struct Holes(Vec<(&'static str, String)>);

impl Holes {
    fn new(directory: &Path) -> io::Result<Self> {
        // All are held at once, so that they differ; between their release and the
        // server's start somebody else could take one, which then shows.
        let tcp = [
            TcpListener::bind("127.0.0.1:0")?,
            TcpListener::bind("127.0.0.1:0")?,
        ];
        let udp = [
            UdpSocket::bind("127.0.0.1:0")?,
            UdpSocket::bind("127.0.0.1:0")?,
        ];
        Ok(Self(vec![
            ("{dir}", directory.display().to_string()),
            ("{port}", tcp[0].local_addr()?.port().to_string()),
            ("{port2}", tcp[1].local_addr()?.port().to_string()),
            ("{udp}", udp[0].local_addr()?.port().to_string()),
            ("{udp2}", udp[1].local_addr()?.port().to_string()),
        ]))
    }

    fn fill(&self, text: &str) -> String {
        self.0
            .iter()
            .fold(text.to_owned(), |t, (hole, value)| t.replace(hole, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shipped_peers_load_and_set_keys_that_exist() {
        for name in SHIPPED_NAMES {
            let peer = Peer::load(name).unwrap();
            assert_eq!(peer.name, name);
            crate::scenario::load("broadcast", &peer.options).unwrap();
        }
        let e = Peer::load("/nonexistent").unwrap_err().to_string();
        assert!(e.contains("janus"), "{e}");
    }

    #[test]
    fn served_commands_have_a_name() {
        let peer = Peer::served("weir=weir --http 127.0.0.1:0 -x=y").unwrap();
        assert_eq!(peer.name, "weir");
        assert_eq!(peer.command, "weir --http 127.0.0.1:0 -x=y");
        assert!(Peer::served("weir --http 127.0.0.1:0 -x=y").is_err());
        assert!(Peer::served("weir").is_err());
    }

    #[test]
    fn a_peer_gets_its_files_ports_and_environment() {
        let script = "read port < {dir}/conf; test -d \"$PLACE\" && echo http=127.0.0.1:$port; \
                      exec sleep 60";
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut peer = Peer {
            name: "x".to_owned(),
            command: format!("sh -c {}", shlex::try_quote(script).unwrap()),
            files: [("conf".to_owned(), format!("{port}\n"))].into(),
            environment: [("PLACE".to_owned(), "{dir}".to_owned())].into(),
            ..Peer::default()
        };
        let running = peer.start(&[]).unwrap();
        assert_eq!(running.target, format!("http://127.0.0.1:{port}"));
        drop(running);
        peer.command = "sh -c 'echo no such key >&2; exit 3'".to_owned();
        peer.target = "http://127.0.0.1:{port}".to_owned();
        let e = peer.start(&[]).unwrap_err().to_string();
        assert!(e.contains("x: ") && e.contains("no such key"), "{e}");
    }

    #[test]
    fn holes_differ() {
        let holes = Holes::new(Path::new("/d")).unwrap();
        let text = holes.fill("{dir} {port} {port2} {udp} {udp2} {room}");
        let words: Vec<_> = text.split(' ').collect();
        assert_eq!((words[0], words[5]), ("/d", "{room}"));
        assert!(words[1] != words[2] && words[3] != words[4]);
    }
}
