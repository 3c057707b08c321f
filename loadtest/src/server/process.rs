//! Readings from /proc (proc(5)) of a process, its children and its cores.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use crate::sys;

/// What a process and its children have used so far.
#[derive(Debug, Clone, Default)]
pub struct Usage {
    /// CPU nanoseconds of all of them, ended threads and children included.
    pub cpu_ns: u64,
    /// Resident memory.
    pub rss_bytes: u64,
    /// The cores the process may run on.
    pub cores: Vec<usize>,
    pub(super) processes: usize,
    pub(super) threads: BTreeMap<u32, Thread>,
    pub(super) voluntary: u64,
    pub(super) involuntary: u64,
    pub(super) machine: BTreeMap<usize, Core>,
}

/// A thread's part.
#[derive(Debug, Clone, Default)]
pub(super) struct Thread {
    pub(super) name: String,
    pub(super) cpu_ns: u64,
    /// Ready to run, without a core.
    pub(super) waited_ns: u64,
}

/// What a core has done for everyone.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Core {
    pub(super) busy_ns: u64,
    /// Ready to work, while the host gave its time to others.
    pub(super) stolen_ns: u64,
}

/// The process and its living descendants. Kernels need not tell children by
/// parent, so all processes are asked for theirs.
fn family(pid: u32) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let child = entry.file_name().to_str().and_then(|n| n.parse().ok());
        if let Some(child) = child
            && let Ok(stat) = stat(child)
        {
            children
                .entry(stat.number(PARENT) as u32)
                .or_default()
                .push(child);
        }
    }
    let mut all = vec![pid];
    let mut at = 0;
    while let Some(parent) = all.get(at) {
        at += 1;
        let more = children.remove(parent);
        all.extend(more.into_iter().flatten());
    }
    all
}

/// The numbers of /proc/PID/stat, from the third on.
struct Stat {
    numbers: Vec<u64>,
    /// It waits to be taken leave of.
    ended: bool,
}

/// A process that can be told from another one that has its number later.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: u32,
    started: u64,
}

impl Process {
    /// True while it is there and has not ended.
    pub(super) fn runs(&self) -> bool {
        stat(self.pid).is_ok_and(|s| s.number(STARTED) == self.started && !s.ended)
    }
}

/// The living descendants of a process.
pub(super) fn descendants(pid: u32) -> Vec<Process> {
    let all = family(pid).into_iter().skip(1);
    all.filter_map(|pid| {
        let started = stat(pid).ok()?.number(STARTED);
        Some(Process { pid, started })
    })
    .collect()
}

const PARENT: usize = 4;
const STARTED: usize = 22;
const ENDED_USER: usize = 16;
const ENDED_SYSTEM: usize = 17;

impl Stat {
    /// A field by its number in proc(5).
    fn number(&self, field: usize) -> u64 {
        self.numbers.get(field - 3).copied().unwrap_or(0)
    }
}

fn stat(pid: u32) -> io::Result<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, in parentheses, may have blanks; field 3 follows it.
    let (_, rest) = text.rsplit_once(')').ok_or(io::ErrorKind::InvalidData)?;
    let numbers = rest.split_whitespace().map(|w| w.parse().unwrap_or(0));
    Ok(Stat {
        numbers: numbers.collect(),
        ended: rest.trim_start().starts_with(['Z', 'X']),
    })
}

fn tasks(pid: u32) -> Vec<u32> {
    let entries = fs::read_dir(format!("/proc/{pid}/task"));
    entries
        .into_iter()
        .flatten()
        .filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}

/// CPU nanoseconds of a process by its clock, which its ended threads stay in, and
/// of its children that have ended.
fn own_cpu_ns(pid: u32) -> io::Result<u64> {
    let stat = stat(pid)?;
    let ended = (stat.number(ENDED_USER) + stat.number(ENDED_SYSTEM)) * sys::tick_ns();
    Ok(sys::cpu_ns_of(pid)? + ended)
}

/// CPU nanoseconds that a process and its children have used so far.
pub fn cpu_ns(pid: u32) -> io::Result<u64> {
    let mut sum = own_cpu_ns(pid)?;
    for child in family(pid).into_iter().skip(1) {
        // A child that has ended meanwhile is in its parent's next reading.
        sum += own_cpu_ns(child).unwrap_or(0);
    }
    Ok(sum)
}

/// The cores a process may run on; none when it is not there.
pub fn cores_of(pid: u32) -> Vec<usize> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let list = value(&status, "Cpus_allowed_list:").unwrap_or_default();
    core_list(list)
}

/// `0-2,5` is 0, 1, 2 and 5.
fn core_list(list: &str) -> Vec<usize> {
    let mut out = Vec::new();
    for part in list.split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(from), Ok(to)) = (from.trim().parse::<usize>(), to.trim().parse()) {
            out.extend(from..=to);
        }
    }
    out
}

/// The first word after a key of a status file.
fn value<'a>(status: &'a str, key: &str) -> Option<&'a str> {
    status
        .lines()
        .find_map(|l| l.strip_prefix(key))
        .and_then(|rest| rest.split_whitespace().next())
}

fn number(status: &str, key: &str) -> u64 {
    value(status, key).and_then(|v| v.parse().ok()).unwrap_or(0)
}

/// Reads what a process and its children have used, and what its cores have done.
pub fn usage(pid: u32) -> io::Result<Usage> {
    let mut out = Usage {
        cores: cores_of(pid),
        machine: machine(&fs::read_to_string("/proc/stat").unwrap_or_default()),
        cpu_ns: own_cpu_ns(pid)?,
        ..Usage::default()
    };
    let family = family(pid);
    out.processes = family.len();
    for &process in &family {
        if process != pid {
            out.cpu_ns += own_cpu_ns(process).unwrap_or(0);
        }
        for tid in tasks(process) {
            let file =
                |name: &str| fs::read_to_string(format!("/proc/{process}/task/{tid}/{name}"));
            // A thread may end while it is looked at.
            let Ok(schedstat) = file("schedstat") else {
                continue;
            };
            let mut numbers = schedstat.split_whitespace().map(str::parse);
            let mut next = || numbers.next().and_then(Result::ok).unwrap_or(0);
            let thread = Thread {
                cpu_ns: next(),
                waited_ns: next(),
                name: file("comm").unwrap_or_default().trim().to_owned(),
            };
            out.threads.insert(tid, thread);
            let status = file("status").unwrap_or_default();
            out.voluntary += number(&status, "voluntary_ctxt_switches:");
            out.involuntary += number(&status, "nonvoluntary_ctxt_switches:");
        }
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        out.rss_bytes += number(&status, "VmRSS:") * 1024;
    }
    Ok(out)
}

/// The `cpuN` lines of /proc/stat.
fn machine(stat: &str) -> BTreeMap<usize, Core> {
    let mut out = BTreeMap::new();
    for line in stat.lines() {
        let mut words = line.split_whitespace();
        let core = words
            .next()
            .and_then(|w| w.strip_prefix("cpu")?.parse().ok());
        let Some(core) = core else { continue };
        let ticks: Vec<u64> = words.map(|w| w.parse().unwrap_or(0)).collect();
        let at = |i: usize| ticks.get(i).copied().unwrap_or(0) * sys::tick_ns();
        // user, nice, system, idle, iowait, irq, softirq, steal
        let busy_ns = at(0) + at(1) + at(2) + at(5) + at(6);
        let stolen_ns = at(7);
        out.insert(core, Core { busy_ns, stolen_ns });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One test looks at this process's time, which another one's child adds to.
    static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

    fn alone() -> std::sync::MutexGuard<'static, ()> {
        ALONE
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    #[test]
    fn own_use_is_seen_when_its_thread_has_ended() {
        let _alone = alone();
        let pid = std::process::id();
        let before = usage(pid).unwrap();
        let worked = std::thread::spawn(|| {
            // This thread's own time: those of other tests come and go meanwhile.
            while sys::thread_cpu_ns() < 100_000_000 {}
        });
        worked.join().unwrap();
        let after = usage(pid).unwrap();
        assert!(after.cpu_ns - before.cpu_ns >= 100_000_000);
        assert!(cpu_ns(pid).unwrap() >= after.cpu_ns);
        assert!(after.rss_bytes > 100_000);
        assert!(!after.threads.is_empty() && !after.cores.is_empty());
        assert!(usage(u32::MAX).is_err());
    }

    #[test]
    fn children_count_while_they_live_and_after() {
        let _alone = alone();
        // A shell whose child works, is seen, and ends; then the shell waits on.
        let script = "sh -c 'i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done; read x'; read y";
        let mut shell = std::process::Command::new("sh")
            .args(["-c", script])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let pid = shell.id();
        let mut stdin = shell.stdin.take().unwrap();
        let busy = |usage: &Usage| usage.cpu_ns > 20_000_000;
        // Ticks of 10 ms are what ended children are counted in.
        let kept = |after: &Usage, seen: &Usage| after.cpu_ns + 20_000_000 > seen.cpu_ns;
        let mut seen = usage(pid).unwrap();
        for _ in 0..1000 {
            seen = usage(pid).unwrap();
            if busy(&seen) && seen.processes == 2 {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert!(busy(&seen) && seen.processes == 2, "{seen:?}");
        io::Write::write_all(&mut stdin, b"on\n").unwrap();
        let mut after = seen.clone();
        for _ in 0..1000 {
            after = usage(pid).unwrap();
            // The shell takes over its child's time a moment after the child is gone.
            if after.processes == 1 && kept(&after, &seen) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert_eq!(after.processes, 1, "{after:?}");
        assert!(kept(&after, &seen), "{after:?} {seen:?}");
        drop(stdin);
        shell.wait().unwrap();
    }

    #[test]
    fn lists_and_lines_are_read() {
        assert_eq!(core_list("0-2,5"), [0, 1, 2, 5]);
        assert_eq!(core_list("7"), [7]);
        let stat = "cpu  9 9 9 9\ncpu1 1 2 3 100 50 4 5 6 0 0\nintr 5\n";
        let core = machine(stat)[&1];
        let ticks = |n: u64| n * sys::tick_ns();
        assert_eq!((core.busy_ns, core.stolen_ns), (ticks(15), ticks(6)));
    }
}
