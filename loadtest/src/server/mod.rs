//! The server under test, when it runs on this machine: its CPU time by thread,
//! memory and context switches, what else ran on its cores, and how it is started.

mod process;
pub mod serve;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use process::{Usage, cores_of, cpu_ns, usage};
pub use serve::{Placement, Served};

/// What the server used in a stretch of time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerReport {
    /// Cores kept busy by the process and its children, ended threads included.
    pub cpu_cores: f64,
    /// CPU microseconds for each of the publishers' packets that viewers received in this
    /// stretch, padding and repeats not counted.
    pub cpu_us_per_forwarded_packet: f64,
    /// CPU microseconds for each viewer that joined, all of the process and the kernel's
    /// part in it: HTTP, negotiation, the control plane, ICE, DTLS and keys, from before
    /// the first POST until all are connected. What those who were there already cost
    /// meanwhile is taken off, by what sessions cost in the measured seconds. 0 where
    /// media flows, which would be in it.
    pub cpu_us_per_join: f64,
    /// The same with nothing taken off.
    pub cpu_us_per_join_and_wait: f64,
    /// Resident memory at the end.
    pub rss_bytes: u64,
    /// Growth of it since before the first session, for each session.
    pub rss_bytes_per_session: f64,
    /// Context switches a second: waiting for something. Of threads that live.
    pub voluntary_switches_per_second: f64,
    /// Context switches a second: taken off its core. Of threads that live.
    pub involuntary_switches_per_second: f64,
    /// Milliseconds a second that its threads were ready to run and had no core,
    /// summed over threads.
    pub waited_ms_per_second: f64,
    /// The cores it may run on.
    pub cores: Vec<usize>,
    /// Of those, kept busy by others than the server and the generator.
    pub foreign_cores: f64,
    /// The same and what the host took, in the worst second.
    pub foreign_cores_worst_second: f64,
    /// Of those, taken by the host of this virtual machine.
    pub stolen_cores: f64,
    /// Its processes: itself and its children.
    pub processes: usize,
    /// Each thread that did anything.
    pub threads: Vec<ThreadReport>,
}

/// One thread's part.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ThreadReport {
    /// Its name; threads of one name stand together.
    pub name: String,
    /// How many there are.
    pub count: u64,
    /// Cores they kept busy.
    pub cpu_cores: f64,
    /// Milliseconds a second that they waited for a core.
    pub waited_ms_per_second: f64,
}

/// What a [`difference`] needs besides the two readings.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stretch {
    /// Its length.
    pub seconds: f64,
    /// Packets of publishers that viewers received in it, each once.
    pub packets: u64,
    /// Sessions at its end.
    pub sessions: u64,
    /// CPU nanoseconds that the generator used in it.
    pub generator_ns: u64,
}

/// Name of what ended threads and processes have used.
const ENDED: &str = "(ended)";
/// Threads that kept less than this of a core busy are left out of the table.
const IDLE_CORES: f64 = 0.0005;

/// What was used from `before` to `after`. `idle` is from before the first session.
pub fn difference(idle: &Usage, before: &Usage, after: &Usage, stretch: Stretch) -> ServerReport {
    let seconds = stretch.seconds.max(1e-9);
    let cores = |ns: u64| ns as f64 / 1e9 / seconds;
    let per = |value: f64, by: u64| if by == 0 { 0.0 } else { value / by as f64 };
    let total = after.cpu_ns.saturating_sub(before.cpu_ns);
    let mut by_name: BTreeMap<&str, (u64, u64, u64)> = BTreeMap::new();
    let (mut seen, mut waited) = (0, 0);
    for (tid, thread) in &after.threads {
        let earlier = before.threads.get(tid);
        let used = thread.cpu_ns - earlier.map_or(0, |t| t.cpu_ns).min(thread.cpu_ns);
        let delay = thread.waited_ns - earlier.map_or(0, |t| t.waited_ns).min(thread.waited_ns);
        seen += used;
        waited += delay;
        let sums = by_name.entry(&thread.name).or_default();
        *sums = (sums.0 + 1, sums.1 + used, sums.2 + delay);
    }
    by_name.insert(ENDED, (0, total.saturating_sub(seen), 0));
    let mut threads: Vec<ThreadReport> = by_name
        .into_iter()
        .filter(|(_, (_, used, _))| cores(*used) >= IDLE_CORES)
        .map(|(name, (count, used, delay))| ThreadReport {
            name: name.to_owned(),
            count,
            cpu_cores: cores(used),
            waited_ms_per_second: cores(delay) * 1e3,
        })
        .collect();
    threads.sort_by(|a, b| b.cpu_cores.total_cmp(&a.cpu_cores));
    // What the generator does on the server's cores is no foreign load: its own
    // use is in the report.
    let shares = after.cores.iter().any(|c| cores_of_this().contains(c));
    let own = total + if shares { stretch.generator_ns } else { 0 };
    let (mut busy, mut stolen) = (0, 0);
    for core in &after.cores {
        let at = |usage: &Usage| usage.machine.get(core).copied().unwrap_or_default();
        let (from, to) = (at(before), at(after));
        busy += to.busy_ns.saturating_sub(from.busy_ns);
        stolen += to.stolen_ns.saturating_sub(from.stolen_ns);
    }
    let switches = |to: u64, from: u64| to.saturating_sub(from) as f64 / seconds;
    ServerReport {
        cpu_cores: cores(total),
        cpu_us_per_forwarded_packet: per(total as f64 / 1000.0, stretch.packets),
        cpu_us_per_join: 0.0,
        cpu_us_per_join_and_wait: 0.0,
        rss_bytes: after.rss_bytes,
        rss_bytes_per_session: per(
            after.rss_bytes.saturating_sub(idle.rss_bytes) as f64,
            stretch.sessions,
        ),
        voluntary_switches_per_second: switches(after.voluntary, before.voluntary),
        involuntary_switches_per_second: switches(after.involuntary, before.involuntary),
        waited_ms_per_second: cores(waited) * 1e3,
        cores: after.cores.clone(),
        foreign_cores_worst_second: 0.0,
        foreign_cores: cores(busy.saturating_sub(own)),
        stolen_cores: cores(stolen),
        processes: after.processes,
        threads,
    }
}

/// The cores this process may run on.
fn cores_of_this() -> Vec<usize> {
    cores_of(std::process::id())
}

#[cfg(test)]
mod tests {
    use super::process::{Core, Thread};
    use super::*;

    fn thread(name: &str, cpu_ms: u64, waited_ms: u64) -> Thread {
        Thread {
            name: name.to_owned(),
            cpu_ns: cpu_ms * 1_000_000,
            waited_ns: waited_ms * 1_000_000,
        }
    }

    #[test]
    fn ended_threads_count_in_the_total_and_the_table() {
        let before = Usage {
            cpu_ns: 1_000_000_000,
            threads: [(1, thread("main", 100, 0)), (2, thread("worker", 900, 10))].into(),
            ..Usage::default()
        };
        // Thread 2 has ended after half a second more; 3 and 4 have come.
        let after = Usage {
            cpu_ns: 2_000_000_000,
            rss_bytes: 5000,
            threads: [
                (1, thread("main", 200, 0)),
                (3, thread("worker", 100, 20)),
                (4, thread("worker", 300, 30)),
            ]
            .into(),
            ..Usage::default()
        };
        let stretch = Stretch {
            seconds: 2.0,
            packets: 1000,
            sessions: 5,
            generator_ns: 0,
        };
        let r = difference(&Usage::default(), &before, &after, stretch);
        assert!((r.cpu_cores - 0.5).abs() < 1e-9, "{r:?}");
        assert!((r.cpu_us_per_forwarded_packet - 1000.0).abs() < 1e-9);
        assert!((r.rss_bytes_per_session - 1000.0).abs() < 1e-9);
        assert!((r.waited_ms_per_second - 25.0).abs() < 1e-9, "{r:?}");
        let names: Vec<_> = r.threads.iter().map(|t| (&*t.name, t.count)).collect();
        assert_eq!(names, [(ENDED, 0), ("worker", 2), ("main", 1)]);
        let sum: f64 = r.threads.iter().map(|t| t.cpu_cores).sum();
        assert!((sum - r.cpu_cores).abs() < 1e-9);
    }

    #[test]
    fn what_others_do_on_its_cores_is_seen() {
        let core = |busy_ms: u64, stolen_ms: u64| Core {
            busy_ns: busy_ms * 1_000_000,
            stolen_ns: stolen_ms * 1_000_000,
        };
        // A core that this process can't be on, so that only the server is.
        let usage = |cpu_ms: u64, busy: u64, stolen: u64| Usage {
            cpu_ns: cpu_ms * 1_000_000,
            cores: vec![4000],
            machine: [(4000, core(busy, stolen)), (4001, core(busy * 7, 0))].into(),
            ..Usage::default()
        };
        let stretch = Stretch {
            seconds: 1.0,
            generator_ns: 500_000_000,
            ..Stretch::default()
        };
        let r = difference(
            &Usage::default(),
            &usage(100, 1000, 0),
            &usage(400, 1700, 50),
            stretch,
        );
        assert!((r.foreign_cores - 0.4).abs() < 1e-9, "{r:?}");
        assert!((r.stolen_cores - 0.05).abs() < 1e-9, "{r:?}");
    }
}
