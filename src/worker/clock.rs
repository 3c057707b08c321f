//! Monotonic time tied to wall-clock time once, so that the core needs one
//! clock only, and a simulation can choose both.

use std::time::{Duration, Instant, SystemTime};

/// What [`WallClock::coarse`] rounds to.
const COARSE: Duration = Duration::from_millis(20);

/// See the module's description.
#[derive(Debug, Clone, Copy)]
pub struct WallClock {
    instant: Instant,
    unix: Duration,
}

impl WallClock {
    /// `instant` is `unix` after the Unix epoch.
    pub fn new(instant: Instant, unix: Duration) -> Self {
        Self { instant, unix }
    }

    /// Reads both system clocks.
    pub fn system() -> Self {
        let unix = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Self::new(Instant::now(), unix)
    }

    /// The moment both clocks were read.
    pub fn start(&self) -> Instant {
        self.instant
    }

    /// Time since the Unix epoch at `now`.
    pub fn unix(&self, now: Instant) -> Duration {
        match now.checked_duration_since(self.instant) {
            Some(later) => self.unix + later,
            None => self.unix.saturating_sub(self.instant - now),
        }
    }

    /// `at` or a little later: what is in no hurry comes at the same moments for many sessions.
    pub fn coarse(&self, at: Instant) -> Instant {
        let since = at.saturating_duration_since(self.instant);
        let steps = since.as_nanos().div_ceil(COARSE.as_nanos());
        let steps = u32::try_from(steps).unwrap_or(u32::MAX); // 2.7 years
        self.instant + COARSE * steps
    }

    /// Microseconds at `now` since both clocks were read; zero before.
    #[inline]
    pub fn micros(&self, now: Instant) -> i64 {
        let since = now.saturating_duration_since(self.instant);
        since.as_secs() as i64 * 1_000_000 + i64::from(since.subsec_micros())
    }

    /// The time of [`micros`](Self::micros).
    pub fn at_micros(&self, micros: i64) -> Instant {
        self.instant + Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    }

    /// The `abs-send-time` of `now`: 24 bits of 6.18 fixed point seconds.
    pub fn abs_send_time(&self, now: Instant) -> u32 {
        let unix = self.unix(now);
        let seconds = (unix.as_secs() & 0x3f) as u32;
        let fraction = (u64::from(unix.subsec_nanos()) << 18) / 1_000_000_000;
        seconds << 18 | fraction as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coarse_times_are_shared_and_never_early() {
        let start = Instant::now();
        let clock = WallClock::new(start, Duration::ZERO);
        for micros in [0, 1, 19_999, 20_000, 20_001, 86_400_000_001] {
            let at = start + Duration::from_micros(micros);
            let coarse = clock.coarse(at);
            assert!(coarse >= at && coarse < at + COARSE);
            assert_eq!((coarse - start).as_micros() % COARSE.as_micros(), 0);
        }
        // A day ahead it still tells moments apart.
        let day = start + Duration::from_secs(86_400);
        assert!(clock.coarse(day + COARSE) > clock.coarse(day));
    }

    #[test]
    fn abs_send_time_wraps_after_64_seconds() {
        let start = Instant::now();
        let clock = WallClock::new(start, Duration::from_secs(64 * 1000));
        assert_eq!(clock.abs_send_time(start), 0);
        let half = start + Duration::from_millis(500);
        assert_eq!(clock.abs_send_time(half), 1 << 17);
        let wrapped = start + Duration::from_secs(64);
        assert_eq!(clock.abs_send_time(wrapped), 0);
        assert!(clock.abs_send_time(start + Duration::from_millis(63_999)) < 1 << 24);
    }
}
