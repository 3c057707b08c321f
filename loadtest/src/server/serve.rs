//! Servers that this tool starts, where they run, and how they end.

use std::io::{self, BufRead, BufReader};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::process::{self, Process};
use crate::sys;

/// Between two looks at a port.
const LOOK: Duration = Duration::from_millis(50);

/// Lines of a server that wait to be looked at.
const MOST_LINES: usize = 100_000;
/// What a server has started may take so long to end after it.
const FAREWELL: Duration = Duration::from_millis(500);

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
    let (tell, lines) = mpsc::sync_channel(MOST_LINES);
    if let Some(stdout) = child.stdout.take() {
        // Reads on for as long as the server writes, so that it never blocks.
        std::thread::Builder::new()
            .name("lt-serve-out".to_owned())
            .spawn(move || {
                let mut lines = BufReader::new(stdout);
                let mut line = Vec::new();
                while lines.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                    // Once nobody listens any more, it is only read.
                    let _ = tell.try_send(String::from_utf8_lossy(&line).into_owned());
                    line.clear();
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
        // A shell that is asked to end may leave what it has started, which would go on
        // beside the next server.
        let others = process::descendants(self.child.id());
        sys::terminate(self.child.id());
        let mut running = true;
        for _ in 0..150 {
            running = matches!(self.child.try_wait(), Ok(None));
            if !running {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        if running {
            // It did not end in time.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        end_all(&others);
    }
}

/// Asks processes to end, and ends them if they don't.
fn end_all(processes: &[Process]) {
    let left = || processes.iter().filter(|p| p.runs());
    left().for_each(|p| sys::terminate(p.pid));
    let end = Instant::now() + FAREWELL;
    while left().next().is_some() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(10));
    }
    left().for_each(|p| sys::kill(p.pid));
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

    /// True while a process is there and has not ended.
    fn runs(pid: &str) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = stat.rsplit_once(") ").map(|(_, rest)| rest.as_bytes()[0]);
        state.is_some_and(|s| s != b'Z')
    }

    #[test]
    fn what_a_server_has_started_ends_with_it() {
        let script = "sh -c 'sleep 61 & echo http=$!; wait'";
        let served = serve(script, &[]).unwrap();
        let told = served.announced(SOON).unwrap();
        let pid = told.trim_start_matches("http://");
        assert!(runs(pid), "{pid}");
        drop(served);
        assert!(!runs(pid), "{pid}");
    }

    #[test]
    fn a_server_may_write_what_is_no_text() {
        let script = r"sh -c 'printf \\377\\n; i=0; while [ $i -lt 9999 ]; do echo line $i || exit; i=$((i+1)); done; echo http=x; sleep 60'";
        let served = serve(script, &[]).unwrap();
        assert_eq!(served.announced(SOON).as_deref(), Some("http://x"));
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
