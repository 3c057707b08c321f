//! How fast packets leave towards one viewer: a token bucket of bytes.
//!
//! A picture of ordinary size finds the bucket full and leaves at once and
//! whole, so that its packets form one run. What is larger (a keyframe, a
//! backlog, a burst of repairs) empties the bucket; what does not fit stays in
//! the track's ring, the slot falls behind, and a timer goes on as the bucket
//! fills. Sound never waits, but is counted. Repairs are sent from the upper
//! half of the bucket only, and padding from what is above that, so that fresh
//! pictures find theirs.

use std::time::{Duration, Instant};

use crate::units::Bitrate;

/// Percent of the estimate that a burst is spread at. An estimate is about
/// averages: libwebrtc's pacer uses the same 2.5.
const PERCENT: u64 = 250;

/// While the path's queue is longer than the first, and until it is shorter than the second,
/// pictures leave slower than the path takes them: what waits here delays no sound.
const LONG_QUEUE: Duration = Duration::from_millis(80);
const SHORT_QUEUE: Duration = Duration::from_millis(30);

/// Of the estimate, less by one for each so many milliseconds of queue, but not below the
/// second: a queue of 200 ms is gone after 400.
const DRAIN: u64 = 4;
const PERCENT_DRAINING: u64 = 40;

/// While the path takes hardly more than the lowest layers: a backlog that is sent faster than the path
/// takes it fills the path's queue, where sound waits.
const PERCENT_TIGHT: u64 = 100;

/// What the bucket holds, as time at its rate: an ordinary picture at the
/// estimated rate (33 ms at 30 a second) fits more than twice.
const DEPTH: Duration = Duration::from_millis(40);

/// The bucket holds at least four full packets, and no more than what one turn
/// of the worker may put into its arena for a viewer.
const LEAST_DEPTH: u64 = 5_000;
const MOST_DEPTH: u64 = 128_000;

/// The rate while no estimate is known, in bits per second: most paths carry
/// it, and a keyframe of 100 KB takes 65 ms.
const UNKNOWN: u64 = 12_000_000;

/// No viewer is paced below this, in bits per second: audio and the smallest
/// video.
const LEAST: u64 = 600_000;

/// The same while the path is congested or tight.
const LEAST_CONGESTED: u64 = 100_000;

/// Not even in doubling is it faster than this, in bits per second.
const MOST: u64 = 200_000_000;

/// While a viewer is behind this long without a loss, the rate doubles where no
/// estimate says what the path carries.
const DOUBLE_AFTER: Duration = Duration::from_millis(120);

/// The same with an estimate: what flows is more than 2.5 times of it, and
/// must not fall behind for ever. The allocation lowers it, not the pacer.
const YIELD_AFTER: Duration = Duration::from_millis(400);

/// So long after its queue was long, or a burst found out what it takes, a path may be tight.
const CROWDED_FOR: Duration = Duration::from_secs(30);

/// So long after its queue was long, a keyframe may make it long again.
const LATELY: Duration = Duration::from_secs(5);

/// A timer of the pacer runs no sooner than this: several packets a time.
const QUANTUM: Duration = Duration::from_millis(5);

/// See the module's description.
#[derive(Debug)]
pub struct Pacer {
    /// Bytes that may leave at once; negative after more left.
    level: i64,
    at: Option<Instant>,
    /// Bytes per second.
    rate: u64,
    depth: i64,
    estimate: Option<Bitrate>,
    /// Bits per second while no estimate is known.
    probe: u64,
    /// How often the rate was doubled since the viewer fell behind.
    doubled: u32,
    /// Since when the viewer is behind.
    behind: Option<Instant>,
    /// The path's queue, while it is long.
    queue: Option<Duration>,
    /// When the path's queue was last long.
    crowded: Option<Instant>,
    /// See [`note_tight`](Self::note_tight).
    tight: bool,
}

impl Default for Pacer {
    fn default() -> Self {
        let mut pacer = Self {
            level: 0,
            at: None,
            rate: 0,
            depth: 0,
            estimate: None,
            probe: UNKNOWN,
            doubled: 0,
            behind: None,
            queue: None,
            crowded: None,
            tight: false,
        };
        pacer.set_rate();
        pacer.level = pacer.depth;
        pacer
    }
}

impl Pacer {
    fn set_rate(&mut self) {
        let (percent, least) = match self.queue {
            Some(queue) => {
                let drained = 100u64.saturating_sub(queue.as_millis() as u64 / DRAIN);
                (drained.max(PERCENT_DRAINING), LEAST_CONGESTED)
            }
            None if self.tight => (PERCENT_TIGHT, LEAST_CONGESTED),
            None => (PERCENT, LEAST),
        };
        let bits = match self.estimate {
            Some(Bitrate(estimate)) => estimate.saturating_mul(percent) / 100,
            None => self.probe,
        };
        let bits = (bits.clamp(least, MOST) << self.doubled.min(8)).min(MOST);
        self.rate = bits / 8;
        let depth = self.rate * DEPTH.as_millis() as u64 / 1000;
        self.depth = depth.clamp(LEAST_DEPTH, MOST_DEPTH) as i64;
    }

    /// Lets time pass; `estimate` is the viewer's, `None` while no limit is known.
    #[inline]
    pub fn refill(&mut self, now: Instant, estimate: Option<Bitrate>) {
        if estimate != self.estimate {
            if estimate.is_some() != self.estimate.is_some() {
                // What was tried without an estimate has served its purpose.
                self.doubled = 0;
                self.behind = None;
            }
            self.estimate = estimate;
            self.set_rate();
        }
        let since = self
            .at
            .map_or(DEPTH, |at| now.saturating_duration_since(at))
            .min(Duration::from_secs(1));
        self.at = Some(now);
        let micros = since.as_secs() * 1_000_000 + u64::from(since.subsec_micros());
        let earned = self.rate * micros / 1_000_000;
        self.level = (self.level + earned as i64).min(self.depth);
    }

    /// Something may leave.
    #[inline]
    pub fn is_open(&self) -> bool {
        self.level > 0
    }

    /// The path's queue is long, or it takes hardly more than the lowest layers.
    #[inline]
    pub fn is_congested(&self) -> bool {
        self.queue.is_some() || self.tight
    }

    /// The path's queue was long of late.
    pub fn was_congested(&self, now: Instant) -> bool {
        let lately = |at| now.saturating_duration_since(at) < LATELY;
        self.tight || self.crowded.is_some_and(lately)
    }

    /// Bytes left. The debt is bounded, so that a burst of sound delays
    /// pictures by no more than the bucket's depth.
    #[inline]
    pub fn spend(&mut self, bytes: usize) {
        self.level = (self.level - bytes as i64).max(-self.depth);
    }

    /// A repair may leave.
    #[inline]
    pub fn has_left_for_repairs(&self) -> bool {
        self.level > self.depth / 2
    }

    /// Padding may leave. Where no estimate is known, it is to find one: nothing
    /// here tells how fast.
    #[inline]
    pub fn has_left_for_padding(&self) -> bool {
        self.estimate.is_none() || self.level > self.depth * 3 / 4
    }

    /// How long until some packets may leave.
    pub fn opens_in(&self) -> Duration {
        self.reaches(0)
    }

    /// How long until some repairs may leave.
    pub fn repairs_in(&self) -> Duration {
        self.reaches(self.depth / 2).max(QUANTUM)
    }

    /// How long until there is a quantum above `floor`.
    fn reaches(&self, floor: i64) -> Duration {
        let quantum = self.rate * QUANTUM.as_millis() as u64 / 1000;
        let wanted = floor + (quantum as i64).min(self.depth - floor) - self.level;
        let micros = wanted.max(0) as u64 * 1_000_000 / self.rate.max(1);
        Duration::from_micros(micros).max(Duration::from_millis(1))
    }

    /// The rate in bytes per second.
    pub fn rate(&self) -> u64 {
        self.rate
    }

    /// How long `bytes` will take beside `live` bytes per second; `None` when
    /// they never get through.
    pub fn time_for(&self, bytes: u64, live: u64) -> Option<Duration> {
        let (mut left, mut rate, mut time) = (bytes, self.rate, Duration::ZERO);
        if self.estimate.is_none() {
            // The rate doubles on the way.
            for _ in 0..4 {
                let step = rate.saturating_sub(live) * DOUBLE_AFTER.as_millis() as u64 / 1000;
                if left <= step {
                    break;
                }
                left -= step;
                time += DOUBLE_AFTER;
                rate = (rate * 2).min(MOST / 8);
            }
        }
        let free = rate.checked_sub(live).filter(|free| *free > 0)?;
        Some(time + Duration::from_micros(left.saturating_mul(1_000_000) / free))
    }

    /// The path's queueing delay, where it is known.
    pub fn note_queue(&mut self, now: Instant, delay: Option<Duration>) {
        let limit = match self.queue {
            Some(_) => SHORT_QUEUE,
            None => LONG_QUEUE,
        };
        let queue = delay.filter(|delay| *delay > limit);
        if queue.is_some() {
            self.crowded = Some(now);
        }
        if queue == self.queue {
            return;
        }
        if queue.is_some() != self.queue.is_some() {
            self.doubled = 0;
            self.behind = None; // it counts from now
        }
        self.queue = queue;
        self.set_rate();
    }

    /// Whether the estimate is hardly more than what flows, or less, and there is nothing lower to
    /// flow in its place. Where no queue confirms it, the estimate may be wrong.
    pub fn note_tight(&mut self, now: Instant, tight: bool) {
        if self.estimate.is_none() && self.behind.is_some() {
            self.crowded = Some(now); // a burst has just found the path's limit
        }
        let crowded = |at| now.saturating_duration_since(at) < CROWDED_FOR;
        let tight = tight && self.crowded.is_some_and(crowded);
        if tight != self.tight {
            self.tight = tight;
            self.doubled = 0;
            self.behind = None;
            self.set_rate();
        }
    }

    /// The viewer is behind at `now`, or (`false`) it has caught up.
    pub fn note_behind(&mut self, now: Instant, behind: bool) {
        if !behind {
            self.behind = None;
            let doubled = std::mem::take(&mut self.doubled);
            if doubled > 0 {
                if self.estimate.is_none() {
                    // All steps but the last were carried for long enough to tell.
                    self.probe = (self.probe << (doubled - 1).min(8)).min(MOST);
                }
                self.set_rate();
            }
            return;
        }
        let since = *self.behind.get_or_insert(now);
        if (self.queue.is_some() || self.tight) && self.estimate.is_some() {
            return; // a longer queue helps nobody
        }
        let step = match self.estimate {
            Some(_) => YIELD_AFTER,
            None => DOUBLE_AFTER,
        };
        let due = now.saturating_duration_since(since).as_micros() / step.as_micros();
        if due > u128::from(self.doubled) {
            self.doubled += 1;
            self.set_rate();
        }
    }

    /// Packets were lost while the viewer was behind: slower, where no
    /// estimate tells how fast.
    pub fn note_loss(&mut self, now: Instant) {
        if self.behind.is_none() || self.estimate.is_some() {
            return;
        }
        self.probe = (self.rate * 8 / 2).max(LEAST * 2);
        self.doubled = 0;
        self.behind = Some(now);
        self.set_rate();
    }
}

#[cfg(test)]
#[path = "pace_tests.rs"]
mod tests;
