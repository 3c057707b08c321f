//! Servers that this tool starts, where they run, and how they end.

use std::io::{self, BufRead, BufReader};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::sys;

/// Between two looks at a port.
const LOOK: Duration = Duration::from_millis(50);

/// Which cores the server and the generator have; anywhere when empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// The server's.
    pub server: Vec<usize>,
    /// The generator's.
    pub generator: Vec<usize>,
}

impl Placement {
    /// The first half of this process's cores for the server and the others for
    /// the generator, if that is wanted and there are two.
    pub fn halves(wanted: bool) -> Self {
        let cores = super::cores_of(std::process::id());
        if !wanted || cores.len() < 2 {
            return Self::default();
        }
        let (server, generator) = cores.split_at(cores.len() / 2);
        Self {
            server: server.to_vec(),
            generator: generator.to_vec(),
        }
    }

    /// Keeps this thread, and those it starts later, on the generator's cores.
    pub fn keep_generator(&self) -> io::Result<()> {
        if self.generator.is_empty() {
            return Ok(());
        }
        sys::pin_to(&self.generator)
    }

    /// In a sentence.
    pub fn text(&self) -> String {
        if self.server.is_empty() {
            return "server and generator share all cores".to_owned();
        }
        format!(
            "server on core {}, generator on core {}",
            list(&self.server),
            list(&self.generator)
        )
    }
}

fn list(cores: &[usize]) -> String {
    let words: Vec<String> = cores.iter().map(ToString::to_string).collect();
    words.join(", ")
}

/// A server that this tool has started; it ends with this value.
#[derive(Debug)]
pub struct Served {
    child: Child,
    lines: mpsc::Receiver<String>,
    /// What it says on standard error, which would disturb the live view.
    log: PathBuf,
    /// The log's own directory, when it has one.
    _directory: Option<tempfile::TempDir>,
}

/// Starts a server. The command is split as a shell would; `cores` says where it
/// may run (anywhere if empty).
pub fn serve(command: &str, cores: &[usize]) -> io::Result<Served> {
    let directory = tempfile::Builder::new()
        .prefix("weir-loadtest-")
        .tempdir()?;
    let mut served = serve_in(command, cores, directory.path(), None, [])?;
    served._directory = Some(directory);
    Ok(served)
}

/// The same with a place for what it says on standard error (a file `log` in
/// `directory`), in a working directory, and with more environment.
pub fn serve_in<'a>(
    command: &str,
    cores: &[usize],
    directory: &Path,
    work_in: Option<&Path>,
    environment: impl IntoIterator<Item = (&'a str, String)>,
) -> io::Result<Served> {
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what.to_owned());
    let words = shlex::split(command).ok_or_else(|| bad("an open quote in the command"))?;
    let (program, arguments) = words.split_first().ok_or_else(|| bad("an empty command"))?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .envs(environment)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let log = directory.join("log");
    command.stderr(std::fs::File::create(&log)?);
    if let Some(directory) = work_in {
        command.current_dir(directory);
    }
    sys::pin_child(&mut command, cores.to_vec());
    let mut child = command
        .spawn()
        .map_err(|e| io::Error::new(e.kind(), format!("can't start {program}: {e}")))?;
    let (tell, lines) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        // Reads on for as long as the server writes, so that it never blocks.
        std::thread::Builder::new()
            .name("lt-serve-out".to_owned())
            .spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    let _ = tell.send(line);
                }
            })?;
    }
    Ok(Served {
        child,
        lines,
        log,
        _directory: None,
    })
}

impl Served {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The last lines of what it said on standard error.
    pub fn last_words(&self) -> String {
        let said = std::fs::read(&self.log).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let lines: Vec<&str> = said.lines().collect();
        lines[lines.len().saturating_sub(3)..].join(" | ")
    }

    /// Waits for a line with `http=ADDRESS` and returns that as URL; `None` when
    /// there was none in time.
    pub fn announced(&self, patience: Duration) -> Option<String> {
        let end = Instant::now() + patience;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).ok()?;
            let address = line
                .split_whitespace()
                .find_map(|w| w.strip_prefix("http="));
            match address {
                Some(a) if a.starts_with("http") => return Some(a.to_owned()),
                Some(a) => return Some(format!("http://{a}")),
                None => {}
            }
        }
    }

    /// Waits until the port of a URL takes connections.
    pub fn listening(&mut self, url: &reqwest::Url, patience: Duration) -> io::Result<()> {
        let host = url.host_str().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = url.port_or_known_default().unwrap_or(80);
        let end = Instant::now() + patience;
        loop {
            let addresses = (host, port).to_socket_addrs()?;
            for address in addresses {
                if TcpStream::connect_timeout(&address, LOOK).is_ok() {
                    return Ok(());
                }
            }
            if let Some(status) = self.child.try_wait()? {
                let words = self.last_words();
                return Err(io::Error::other(format!(
                    "the server ended: {status} {words}"
                )));
            }
            if Instant::now() >= end {
                let what = format!("the server does not listen on {url}");
                return Err(io::Error::new(io::ErrorKind::TimedOut, what));
            }
            std::thread::sleep(LOOK);
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        sys::terminate(self.child.id());
        for _ in 0..150 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        // It did not end in time.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    #[test]
    fn a_served_command_tells_its_address() {
        let served = serve("sh -c 'echo ready http=127.0.0.1:8080 udp=1'", &[]).unwrap();
        let url = served.announced(SOON);
        assert_eq!(url.as_deref(), Some("http://127.0.0.1:8080"));
        assert!(serve("", &[]).is_err());
        assert!(serve("sh -c 'open", &[]).is_err());
        let error = serve("/nonexistent/server", &[]).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/server"), "{error}");
    }

    #[test]
    fn a_server_that_ends_or_never_listens_is_an_error() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", free.local_addr().unwrap());
        let url = reqwest::Url::parse(&url).unwrap();
        let mut served = serve("sleep 60", &[]).unwrap();
        served.listening(&url, SOON).unwrap();
        drop(free);
        let error = served.listening(&url, Duration::from_millis(100));
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let mut ended = serve("sh -c 'echo no such key >&2; exit 3'", &[]).unwrap();
        let error = ended.listening(&url, SOON).unwrap_err().to_string();
        assert!(
            error.contains("ended") && error.contains("no such key"),
            "{error}"
        );
    }

    #[test]
    fn a_server_runs_where_it_is_told() {
        let here = super::super::cores_of(std::process::id());
        let core = *here.last().unwrap();
        let served = serve("sleep 60", &[core]).unwrap();
        assert_eq!(super::super::cores_of(served.pid()), [core]);
        let halves = Placement::halves(true);
        let mut all = halves.server.clone();
        all.extend(&halves.generator);
        assert!(all.is_empty() && here.len() < 2 || all == here);
        assert_eq!(Placement::halves(false), Placement::default());
    }
}
