//! Monotonic time tied to wall-clock time once, so that the core needs one
//! clock only, and a simulation can choose both.

use std::time::{Duration, Instant, SystemTime};

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
