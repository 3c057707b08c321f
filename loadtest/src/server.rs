//! The server under test, when it runs on this machine: its CPU time by thread,
//! memory and context switches, from /proc (proc(5)).

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::sys;

/// What a process has used so far.
#[derive(Debug, Clone, Default)]
pub struct Usage {
    /// CPU nanoseconds and name by thread.
    threads: BTreeMap<u32, (String, u64)>,
    rss_bytes: u64,
    voluntary: u64,
    involuntary: u64,
}

/// What the server used in a stretch of time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerReport {
    /// Cores kept busy.
    pub cpu_cores: f64,
    /// CPU microseconds for each RTP packet that viewers received.
    pub cpu_us_per_forwarded_packet: f64,
    /// Resident memory at the end.
    pub rss_bytes: u64,
    /// Growth of it since before the first session, for each session.
    pub rss_bytes_per_session: f64,
    /// Context switches a second: waiting for something.
    pub voluntary_switches_per_second: f64,
    /// Context switches a second: taken off its core.
    pub involuntary_switches_per_second: f64,
    /// Cores kept busy by each thread that did anything.
    pub threads: Vec<ThreadReport>,
}

/// One thread's part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ThreadReport {
    /// Its name.
    pub name: String,
    /// Cores kept busy, 0 to 1.
    pub cpu_cores: f64,
}

/// Reads what a process has used.
pub fn usage(pid: u32) -> io::Result<Usage> {
    let mut out = Usage::default();
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        let path = entry?.path();
        let Some(tid) = path.file_name().and_then(|n| n.to_str()?.parse().ok()) else {
            continue;
        };
        // A thread may end while it is looked at.
        let Ok(schedstat) = fs::read_to_string(path.join("schedstat")) else {
            continue;
        };
        let cpu = schedstat
            .split_whitespace()
            .next()
            .and_then(|v| v.parse().ok())
            .unwrap_or(0);
        let name = fs::read_to_string(path.join("comm")).unwrap_or_default();
        out.threads.insert(tid, (name.trim().to_owned(), cpu));
        for line in fs::read_to_string(path.join("status"))
            .unwrap_or_default()
            .lines()
        {
            let value = || line.split_whitespace().nth(1)?.parse::<u64>().ok();
            if line.starts_with("voluntary_ctxt_switches:") {
                out.voluntary += value().unwrap_or(0);
            } else if line.starts_with("nonvoluntary_ctxt_switches:") {
                out.involuntary += value().unwrap_or(0);
            }
        }
    }
    for line in fs::read_to_string(format!("/proc/{pid}/status"))?.lines() {
        if let Some(rest) = line.strip_prefix("VmRSS:") {
            let kilobytes: u64 = rest
                .split_whitespace()
                .next()
                .and_then(|v| v.parse().ok())
                .unwrap_or(0);
            out.rss_bytes = kilobytes * 1024;
        }
    }
    Ok(out)
}

/// What was used from `before` to `after`, `seconds` apart. `idle` is from
/// before the first session.
pub fn difference(
    idle: &Usage,
    before: &Usage,
    after: &Usage,
    seconds: f64,
    packets: u64,
    sessions: u64,
) -> ServerReport {
    let mut threads = Vec::new();
    let mut total = 0;
    for (tid, (name, cpu)) in &after.threads {
        let used = cpu.saturating_sub(before.threads.get(tid).map_or(0, |(_, c)| *c));
        total += used;
        let cpu_cores = used as f64 / 1e9 / seconds;
        if cpu_cores >= 0.0005 {
            threads.push(ThreadReport {
                name: name.clone(),
                cpu_cores,
            });
        }
    }
    threads.sort_by(|a, b| b.cpu_cores.total_cmp(&a.cpu_cores));
    let per = |value: f64, by: u64| if by == 0 { 0.0 } else { value / by as f64 };
    ServerReport {
        cpu_cores: total as f64 / 1e9 / seconds,
        cpu_us_per_forwarded_packet: per(total as f64 / 1000.0, packets),
        rss_bytes: after.rss_bytes,
        rss_bytes_per_session: per(
            after.rss_bytes.saturating_sub(idle.rss_bytes) as f64,
            sessions,
        ),
        voluntary_switches_per_second: after.voluntary.saturating_sub(before.voluntary) as f64
            / seconds,
        involuntary_switches_per_second: after.involuntary.saturating_sub(before.involuntary)
            as f64
            / seconds,
        threads,
    }
}

/// A server that this tool has started; it ends with this value.
#[derive(Debug)]
pub struct Served {
    child: Child,
    /// Where it says that it listens, if it says so.
    pub url: Option<String>,
}

/// Starts a server. The command is split at blanks; `cores` says where it may
/// run (anywhere if empty). If it prints a line with `http=URL` within
/// `patience`, that is its address.
pub fn serve(command: &str, cores: Vec<usize>, patience: Duration) -> io::Result<Served> {
    let mut words = command.split_whitespace();
    let program = words
        .next()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "an empty command"))?;
    let mut command = Command::new(program);
    command
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    sys::pin_child(&mut command, cores);
    let mut child = command.spawn()?;
    let (tell, told) = mpsc::channel();
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
    let end = std::time::Instant::now() + patience;
    let mut url = None;
    while url.is_none() {
        let left = end.saturating_duration_since(std::time::Instant::now());
        let Ok(line) = told.recv_timeout(left) else {
            break;
        };
        url = line
            .split_whitespace()
            .find_map(|w| w.strip_prefix("http="))
            .map(|a| {
                if a.starts_with("http") {
                    a.to_owned()
                } else {
                    format!("http://{a}")
                }
            });
    }
    Ok(Served { child, url })
}

impl Served {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        sys::terminate(self.child.id());
        for _ in 0..100 {
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

    #[test]
    fn own_use_is_seen() {
        let pid = std::process::id();
        let before = usage(pid).unwrap();
        let start = std::time::Instant::now();
        // This thread's own time: those of other tests come and go meanwhile.
        let cpu = sys::thread_cpu_ns();
        while sys::thread_cpu_ns() - cpu < 100_000_000 {}
        let after = usage(pid).unwrap();
        let seconds = start.elapsed().as_secs_f64();
        let report = difference(&before, &before, &after, seconds, 1000, 0);
        let used = report.cpu_cores * seconds;
        assert!(used >= 0.08, "{used}");
        assert!((report.cpu_us_per_forwarded_packet - used * 1000.0).abs() < 1e-6);
        assert!(report.rss_bytes > 100_000);
        assert!(!report.threads.is_empty());
    }

    #[test]
    fn a_served_command_tells_its_address() {
        let served = serve(
            "echo ready http=127.0.0.1:8080 udp=1",
            Vec::new(),
            Duration::from_secs(5),
        )
        .unwrap();
        assert_eq!(served.url.as_deref(), Some("http://127.0.0.1:8080"));
        assert!(serve("", Vec::new(), Duration::ZERO).is_err());
    }
}
