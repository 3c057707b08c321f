//! When a worker's turns begin: at once after a lull or while it has next to nothing to do, else in slices.
//!
//! A wake-up costs as much as forwarding some ten packets. A worker that is woken again and again
//! therefore rests a little between turns: what came meanwhile is read by one system call and
//! handled with warm caches, and what goes to one viewer lies side by side and leaves as one run.
//! Rests add to media's delay, so they are short while the worker has little to do, and grow with
//! the root of its load: the first half millisecond spares the most. Where there is no media
//! they are long.

use std::time::{Duration, Instant};

/// How far apart the turns of a worker begin at least that is never idle. It is what slices add
/// to the delay at most, half of it on average: less than the 5 ms in which browsers' own pacers send.
const LONGEST: Duration = Duration::from_millis(2);

/// A worker that is busy for this share of the time takes [`LONGEST`] slices.
const FULLY_BUSY: f32 = 0.7;

/// Shorter slices are not worth a timer.
const SHORTEST: Duration = Duration::from_micros(150);

/// How busy the worker is is measured over this time.
const MEASURED: Duration = Duration::from_millis(100);

/// After so long without anything to do, what comes is taken at once.
const LULL: Duration = Duration::from_millis(3);

/// How long the rest of a video frame is waited for, whose first packets are there.
/// Publishers send a frame, or their pacer's share of it, back to back.
pub(super) const GATHER: Duration = Duration::from_micros(150);

/// See the module's description.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// The turn in hand, or the last.
    turn: Instant,
    /// The last turn for which something had come.
    began: Instant,
    ended: Instant,
    /// It followed others closely.
    dense: bool,
    /// It is the one in hand.
    counts: bool,
    /// Since when turns are timed, and how long they took.
    since: Instant,
    busy: Duration,
    /// Media came in this time.
    media: bool,
    slice: Duration,
}

impl Pace {
    /// A worker that has done nothing so far.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            turn: now,
            began: now,
            ended: now,
            dense: false,
            counts: false,
            since: now,
            busy: Duration::ZERO,
            media: false,
            slice: Duration::ZERO,
        }
    }

    /// How long to rest before the next turn; `None` for not at all.
    pub(super) fn rest(&self, now: Instant) -> Option<Duration> {
        let rest = (self.began + self.slice).checked_duration_since(now)?;
        (self.dense && !rest.is_zero()).then_some(rest)
    }

    /// A turn begins because something `came`, or because it is time for one. What comes behind the latter
    /// need not wait for a slice of it.
    pub(super) fn begin(&mut self, now: Instant, came: bool) {
        self.turn = now;
        self.counts = came;
        if came {
            self.dense = now.saturating_duration_since(self.ended) < LULL;
            self.began = now;
        }
    }

    /// It has media to send, or not.
    pub(super) fn carries(&mut self, media: bool) {
        self.media |= media;
    }

    /// It ends.
    pub(super) fn end(&mut self, now: Instant) {
        if self.counts {
            self.ended = now;
        }
        self.busy += now.saturating_duration_since(self.turn);
        let measured = now.saturating_duration_since(self.since);
        if measured >= MEASURED {
            let share = self.busy.as_secs_f32() / measured.as_secs_f32();
            let slice = LONGEST.mul_f32((share / FULLY_BUSY).clamp(0.0, 1.0).sqrt());
            self.slice = match slice {
                _ if !self.media => LONGEST,
                slice if slice < SHORTEST => Duration::ZERO,
                slice => slice,
            };
            self.since = now;
            self.busy = Duration::ZERO;
            self.media = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn micros(n: u64) -> Duration {
        Duration::from_micros(n)
    }

    /// Turns of `each`, for which something comes every `every`; the number of those in the second second.
    fn turns(each: Duration, every: Duration, media: bool) -> u32 {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let (mut now, mut turns) = (start, 0);
        while now < start + Duration::from_secs(2) {
            now += pace.rest(now).unwrap_or_default().max(every);
            pace.begin(now, true);
            turns += u32::from(now >= start + Duration::from_secs(1));
            pace.carries(media);
            now += each;
            pace.end(now);
        }
        turns
    }

    #[test]
    fn a_worker_with_little_to_do_takes_everything_at_once() {
        let made = turns(micros(1), micros(500), true);
        assert!(made.abs_diff(1_000_000 / 501) <= 1, "{made}");
    }

    #[test]
    fn without_media_nothing_is_in_a_hurry() {
        let made = turns(micros(5), micros(500), false);
        assert!(made.abs_diff(500) <= 2, "{made}");
    }

    #[test]
    fn what_follows_a_lull_is_taken_at_once() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        for _ in 0..100 {
            assert_eq!(pace.rest(now), None);
            now += LULL;
            pace.begin(now, true);
            pace.carries(true);
            now += LULL;
            pace.end(now);
        }
        assert!(pace.slice > SHORTEST);
    }

    #[test]
    fn the_busier_a_worker_the_longer_its_slices() {
        // Where each turn's work waits for it, slices take their place in the end.
        let rare = turns(micros(100), micros(200), true);
        assert!((1100..3000).contains(&rare), "{rare}");
        // Work that grows with what has come: half of the time.
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let (mut now, mut last, mut turns) = (start, start, 0);
        while now < start + Duration::from_secs(2) {
            now += pace.rest(now).unwrap_or_default().max(micros(50));
            pace.begin(now, true);
            turns += u32::from(now >= start + Duration::from_secs(1));
            let came = now - last;
            last = now;
            pace.carries(true);
            now += came / 2;
            pace.end(now);
        }
        let slice = LONGEST.mul_f32((0.5 / FULLY_BUSY).sqrt());
        assert!((500..=700).contains(&turns), "{turns} of about {slice:?}");
    }

    #[test]
    fn a_turn_that_time_alone_began_holds_nothing_up() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        pace.begin(start, true);
        pace.carries(true);
        pace.end(start + MEASURED);
        let timer = start + MEASURED + LULL / 2;
        pace.begin(timer, false);
        pace.end(timer + micros(10));
        assert_eq!(pace.rest(timer + micros(10)), None);
        // Nor is what comes behind a lull dense because of it.
        let frame = timer + LULL / 2 + micros(1);
        pace.begin(frame, true);
        pace.end(frame + micros(100));
        assert_eq!(pace.rest(frame + micros(100)), None);
        pace.begin(frame + micros(200), true);
        pace.end(frame + micros(300));
        assert_eq!(pace.rest(frame + micros(300)), Some(LONGEST - micros(100)));
    }

    #[test]
    fn a_turn_longer_than_a_slice_is_followed_at_once() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        pace.begin(start, true);
        pace.carries(true);
        pace.end(start + MEASURED);
        assert_eq!(pace.slice, LONGEST);
        let next = start + MEASURED;
        pace.begin(next, true);
        pace.end(next + LONGEST);
        assert_eq!(pace.rest(next + LONGEST), None);
        assert_eq!(pace.rest(next + micros(500)), Some(LONGEST - micros(500)));
    }
}
