//! What it costs the server when viewers join.

use std::time::Instant;

/// A stretch in which viewers joined.
#[derive(Debug)]
pub(in crate::run) struct Ramp {
    cpu_ns: Option<u64>,
    joined: u64,
    /// Sessions that were connected, times seconds.
    session_seconds: f64,
    last: (Instant, u64),
}

impl Ramp {
    /// `cpu_ns` is what the server has used so far, `sessions` who is connected.
    pub(super) fn begin(cpu_ns: Option<u64>, sessions: u64) -> Self {
        Self {
            cpu_ns,
            joined: sessions,
            session_seconds: 0.0,
            last: (Instant::now(), sessions),
        }
    }

    /// So many are connected now.
    pub(super) fn there(&mut self, sessions: u64) {
        let now = Instant::now();
        let seconds = (now - self.last.0).as_secs_f64();
        // Those who came meanwhile were there for half of it.
        self.session_seconds += seconds * (self.last.1 + sessions) as f64 / 2.0;
        self.last = (now, sessions);
    }

    /// All who come are there. `None` when the server can't be measured, or
    /// nobody came.
    pub(super) fn end(mut self, cpu_ns: Option<u64>, sessions: u64) -> Option<Self> {
        self.there(sessions);
        self.joined = sessions.saturating_sub(self.joined);
        self.cpu_ns = Some(cpu_ns?.saturating_sub(self.cpu_ns?));
        (self.joined > 0).then_some(self)
    }

    /// CPU microseconds for each who joined: without what the sessions that were
    /// there already cost, which is as much a second as when all only wait (so many
    /// `sessions` keep so many `cores` busy); and with it.
    pub(in crate::run) fn us_per_join(&self, cores: f64, sessions: u64) -> (f64, f64) {
        let all = self.cpu_ns.unwrap_or(0) as f64 / 1e3;
        let waiting = 1e6 * cores * self.session_seconds / sessions.max(1) as f64;
        let joined = self.joined.max(1) as f64;
        ((all - waiting).max(0.0) / joined, all / joined)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_wait_are_no_part_of_a_join() {
        let mut ramp = Ramp::begin(Some(1_000_000), 0);
        // A hundred were there for two seconds, and a hundred came at the end.
        ramp.session_seconds = 200.0;
        ramp.last.1 = 100;
        let ramp = ramp.end(Some(61_000_000), 200).unwrap();
        // 200 sessions keep a hundredth of a core busy: 50 us a second each.
        let (joining, all) = ramp.us_per_join(0.01, 200);
        assert!((299.9..300.1).contains(&all), "{all}");
        assert!((249.0..250.1).contains(&joining), "{joining}");
        assert!(Ramp::begin(None, 0).end(Some(1), 5).is_none());
        assert!(Ramp::begin(Some(1), 5).end(Some(9), 5).is_none());
    }
}
