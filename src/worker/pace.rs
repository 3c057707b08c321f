//! When a worker's turns begin: at once after a lull, else in slices.
//!
//! A wake-up costs as much as forwarding some ten packets. A worker that is woken again and again
//! therefore rests a little between turns: what came meanwhile is read by one system call and
//! handled with warm caches, and what goes to one viewer lies side by side and leaves as one run.

use std::time::{Duration, Instant};

/// How far apart the turns of a busy worker begin at least. It is what slices add to the delay at
/// most, half of it on average: less than the 5 ms in which browsers' own pacers send.
pub(super) const SLICE: Duration = Duration::from_millis(2);

/// After so long without anything to do, what comes is taken at once.
const LULL: Duration = Duration::from_millis(3);

/// How long the rest of a video frame is waited for, whose first packets are there.
/// Publishers send a frame, or their pacer's share of it, back to back.
pub(super) const GATHER: Duration = Duration::from_micros(150);

/// See the module's description.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// The last turn.
    began: Instant,
    ended: Instant,
    busy: bool,
}

impl Pace {
    /// A worker that has done nothing so far.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            began: now,
            ended: now,
            busy: false,
        }
    }

    /// How long to rest before the next turn; `None` for not at all.
    pub(super) fn rest(&self, now: Instant) -> Option<Duration> {
        let rest = (self.began + SLICE).checked_duration_since(now)?;
        (self.busy && !rest.is_zero()).then_some(rest)
    }

    /// There is something to do: a turn begins.
    pub(super) fn begin(&mut self, now: Instant) {
        self.busy = now.saturating_duration_since(self.ended) < LULL;
        self.began = now;
    }

    /// It ends.
    pub(super) fn end(&mut self, now: Instant) {
        self.ended = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn micros(n: u64) -> Duration {
        Duration::from_micros(n)
    }

    #[test]
    fn what_follows_a_lull_is_taken_at_once() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        for _ in 0..10 {
            assert_eq!(pace.rest(now), None);
            now += LULL;
            pace.begin(now);
            now += micros(100);
            pace.end(now);
        }
    }

    #[test]
    fn the_turns_of_a_busy_worker_begin_a_slice_apart() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let (mut now, mut turns) = (start, 0);
        // Something comes every 200 µs.
        while now < start + SLICE * 50 {
            now += pace.rest(now).unwrap_or_default().max(micros(200));
            pace.begin(now);
            turns += 1;
            now += micros(50);
            pace.end(now);
        }
        assert!((50..=52).contains(&turns), "{turns}");
    }

    #[test]
    fn a_turn_longer_than_a_slice_is_followed_at_once() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        pace.begin(start);
        pace.end(start + SLICE * 3);
        pace.begin(start + SLICE * 3);
        assert_eq!(pace.rest(start + SLICE * 4), None);
        assert_eq!(
            pace.rest(start + SLICE * 3 + micros(500)),
            Some(SLICE - micros(500))
        );
    }
}
