//! What an encoding's packets tell of its publisher's set-up: the
//! measurements behind [`doctor`](super::doctor). Nothing here allocates, and
//! a packet costs a few additions.

use std::time::{Duration, Instant};

use super::encoding::{LINE_BREAK, SenderClock};
use crate::control::messages::EncodingHealth;

/// What was seen this long ago no longer says how the encoder is set up.
const RECENT: Duration = Duration::from_secs(10);

/// A keyframe that comes so soon after a request is its answer.
const ANSWERED_WITHIN: Duration = Duration::from_secs(1);

/// A request that brought nothing for so long was ignored; it was repeated
/// twice by then.
const IGNORED_AFTER: Duration = Duration::from_secs(2);

/// Pictures that must have come meanwhile: a publisher that sends nothing at
/// all ignores nothing.
const IGNORED_FRAMES: u32 = 8;

/// A picture that takes this much longer on its way than the quickest ones of
/// the last seconds is late: players hold back about as much.
const LATE: i64 = 150_000;

/// A jump of the clock relation by more than this is a pause or a new start.
const JUMP: i64 = 2_000_000;

/// Seconds of clock measurements that are kept, and how many are needed.
const POINTS: usize = 30;
const ENOUGH_POINTS: usize = 15;

/// Sender reports this far apart tell the rate of the sender's clock.
const REPORT_SPAN: Duration = Duration::from_secs(10);

/// How much of the newest second goes into a moving share.
const SHARE_WEIGHT: f32 = 0.3;

/// B slices without an unreadable one among them that are no chance: a second of
/// them, or two.
const SURE: u32 = 32;

/// See the module's description. Times of the line are in microseconds.
#[derive(Debug, Default)]
pub struct Health {
    first: Option<Instant>,
    newest: Option<Instant>,
    b_frame: Option<Instant>,
    /// Since the last slice that could not be read.
    b_slices: u32,
    keyframes: u64,
    bare_keyframes: u64,
    last_keyframe: Option<Instant>,
    /// The two newest times between keyframes that nobody asked for.
    own_intervals: [Option<Duration>; 2],
    request: Option<Request>,
    answers: Option<bool>,
    highest: Option<u64>,
    second: Second,
    missing: f32,
    unrepaired: f32,
    late: f32,
    timing: Option<Timing>,
    jitter: i64,
    drift: Drift,
    reports: Option<(SenderClock, SenderClock)>,
}

/// A keyframe request without its answer.
#[derive(Debug, Clone, Copy)]
struct Request {
    since: Instant,
    frames: u32,
}

/// Counts since the last [`Health::roll`].
#[derive(Debug, Default)]
struct Second {
    packets: u32,
    missing: u32,
    belated: u32,
    frames: u32,
    late: u32,
    /// The shortest transit.
    floor: Option<i64>,
}

/// How the RTP timestamps relate to arrival.
#[derive(Debug, Clone, Copy)]
struct Timing {
    base: Instant,
    timestamp: u32,
    /// Timestamp units since the base.
    elapsed: i64,
    transit: i64,
    /// The shortest transit of the last whole second.
    floor: i64,
}

/// The shortest transit of each of the last seconds.
#[derive(Debug)]
struct Drift {
    points: [i64; POINTS],
    count: usize,
}

impl Default for Drift {
    fn default() -> Self {
        Self {
            points: [0; POINTS],
            count: 0,
        }
    }
}

impl Drift {
    fn push(&mut self, point: i64) {
        self.points[self.count % POINTS] = point;
        self.count += 1;
    }

    /// The slope in parts per million: the line of least squares through the
    /// points, when it stands out from what is around it.
    fn ppm(&self) -> Option<f32> {
        let n = self.count.min(POINTS);
        if n < ENOUGH_POINTS {
            return None;
        }
        let start = self.count - n;
        let point = |i: usize| self.points[(start + i) % POINTS] as f64;
        let middle = (n - 1) as f64 / 2.0;
        let mean = (0..n).map(point).sum::<f64>() / n as f64;
        let spread: f64 = (0..n).map(|i| (i as f64 - middle).powi(2)).sum();
        let slope = (0..n)
            .map(|i| (i as f64 - middle) * (point(i) - mean))
            .sum::<f64>()
            / spread;
        let rest = (0..n)
            .map(|i| (point(i) - mean - slope * (i as f64 - middle)).powi(2))
            .sum::<f64>()
            / n as f64;
        let clear = (slope * n as f64).abs() > 4.0 * rest.sqrt();
        // A point a second, in microseconds: parts per million already.
        Some(if clear { slope as f32 } else { 0.0 })
    }
}

impl Health {
    /// Notes a packet's arrival; `rate` is the codec's clock rate in Hz.
    pub fn packet(&mut self, arrival: Instant, seq: u64, timestamp: u32, rate: u32) {
        self.first.get_or_insert(arrival);
        self.newest = Some(arrival);
        self.second.packets += 1;
        match self.highest {
            Some(highest) if seq <= highest => {
                self.second.belated += 1;
                return; // a repair, or reordered: its time says nothing
            }
            Some(highest) if seq - highest < LINE_BREAK => {
                self.second.missing += (seq - highest - 1) as u32;
            }
            Some(_) => self.reports = None, // it starts over, maybe with another clock
            None => {}
        }
        self.highest = Some(seq);
        if self.timing.is_none_or(|t| t.timestamp != timestamp) {
            self.frame(arrival, timestamp, rate);
        }
    }

    /// The first packet of a picture.
    fn frame(&mut self, arrival: Instant, timestamp: u32, rate: u32) {
        self.second.frames += 1;
        if let Some(request) = &mut self.request {
            request.frames += 1;
        }
        let Some(timing) = &mut self.timing else {
            self.start_timing(arrival, timestamp);
            return;
        };
        let step = timestamp.wrapping_sub(timing.timestamp).cast_signed();
        if step < 0 {
            // Shown before what came already is a B-frame; what lies far back is of another
            // SSRC, whose timestamps began anew (RFC 3550 §5.1).
            if step.unsigned_abs() > rate {
                self.start_timing(arrival, timestamp);
            }
            return;
        }
        let elapsed = timing.elapsed + i64::from(step);
        let at = micros(arrival.saturating_duration_since(timing.base));
        let transit = at - elapsed * 1_000_000 / i64::from(rate.max(1));
        if (transit - timing.transit).abs() > JUMP {
            self.start_timing(arrival, timestamp);
            return;
        }
        // RFC 3550 §6.4.1, between the first packets of pictures.
        let difference = (transit - timing.transit).abs();
        self.jitter += (difference - self.jitter) / 16;
        timing.timestamp = timestamp;
        timing.elapsed = elapsed;
        timing.transit = transit;
        let floor = self.second.floor.map_or(transit, |f| f.min(transit));
        self.second.floor = Some(floor);
        if transit - floor.min(timing.floor) > LATE {
            self.second.late += 1;
        }
    }

    fn start_timing(&mut self, arrival: Instant, timestamp: u32) {
        self.timing = Some(Timing {
            base: arrival,
            timestamp,
            elapsed: 0,
            transit: 0,
            floor: 0,
        });
        self.second.floor = None;
        self.drift = Drift::default();
    }

    /// What looks like a B slice came. One of seven encrypted slices does, so that only many
    /// in a row tell something.
    pub fn b_frame(&mut self, now: Instant) {
        self.b_slices = self.b_slices.saturating_add(1);
        if self.b_slices >= SURE {
            self.b_frame = Some(now);
        }
    }

    /// A slice came whose header can't be read: one of ten encrypted ones.
    pub fn unreadable_slice(&mut self) {
        (self.b_slices, self.b_frame) = (0, None);
    }

    /// A keyframe begins; `bare` when it brings no parameter sets though its
    /// codec has such.
    pub fn keyframe(&mut self, now: Instant, bare: bool) {
        self.keyframes += 1;
        self.bare_keyframes += u64::from(bare);
        let asked = self.request.take();
        let answer = asked.and_then(|request| {
            let waited = now.saturating_duration_since(request.since);
            if waited <= ANSWERED_WITHIN {
                Some(true)
            } else if waited >= IGNORED_AFTER && request.frames >= IGNORED_FRAMES {
                Some(false)
            } else {
                None
            }
        });
        self.answers = answer.or(self.answers);
        let interval = self
            .last_keyframe
            .replace(now)
            .map(|last| now.saturating_duration_since(last));
        // What came unasked, or in spite of a request, is the encoder's own pace.
        if asked.is_none() || answer == Some(false) {
            self.own_intervals = [interval, self.own_intervals[0]];
        }
    }

    /// A keyframe request went to the publisher.
    pub fn asked(&mut self, now: Instant) {
        self.request.get_or_insert(Request {
            since: now,
            frames: 0,
        });
    }

    /// A sender report came.
    pub fn reported(&mut self, clock: SenderClock) {
        let first = match self.reports {
            // A clock that ran backwards was set anew.
            Some((first, newest)) if clock.wall >= newest.wall => first,
            _ => clock,
        };
        self.reports = Some((first, clock));
    }

    /// Ends a second of measuring.
    pub fn roll(&mut self) {
        let second = std::mem::take(&mut self.second);
        let expected = second.packets + second.missing - second.belated.min(second.missing);
        let lost = second.missing.saturating_sub(second.belated);
        moving(&mut self.missing, second.missing, expected);
        moving(&mut self.unrepaired, lost, expected);
        moving(&mut self.late, second.late, second.frames);
        if let (Some(floor), Some(timing)) = (second.floor, &mut self.timing) {
            timing.floor = floor;
            self.drift.push(floor);
        }
    }

    /// How fast the sender's media clock runs by its own reports, against the
    /// clock in the same reports, in parts per million.
    fn report_drift(&self, rate: u32) -> Option<f32> {
        let (first, newest) = self.reports?;
        let wall = newest.wall.checked_sub(first.wall)?;
        // Beyond half the timestamp's range a difference has two meanings.
        if wall < REPORT_SPAN || wall > Duration::from_secs(u64::from(u32::MAX / rate.max(1) / 2)) {
            return None;
        }
        let media = f64::from(newest.timestamp.wrapping_sub(first.timestamp)) / f64::from(rate);
        let ppm = (media / wall.as_secs_f64() - 1.0) * 1e6;
        // A tenth off is no clock but a jump.
        (ppm.abs() < 100_000.0).then_some(ppm as f32)
    }

    /// What the doctor looks at. `sets_missing` when no decoder could start
    /// for want of parameter sets; `rate` is the codec's clock rate in Hz.
    pub fn snapshot(&self, now: Instant, sets_missing: bool, rate: u32) -> EncodingHealth {
        let since = |at: Option<Instant>| at.map(|at| now.saturating_duration_since(at));
        let ignored = self.request.is_some_and(|request| {
            now.saturating_duration_since(request.since) >= IGNORED_AFTER
                && request.frames >= IGNORED_FRAMES
        });
        EncodingHealth {
            receiving_for: since(self.first),
            silent_for: since(self.newest),
            b_frames: since(self.b_frame).is_some_and(|age| age < RECENT),
            keyframes: self.keyframes,
            parameter_sets_missing: sets_missing && self.bare_keyframes > 0,
            own_keyframe_interval: match self.own_intervals {
                [Some(a), Some(b)] => Some(a.min(b)),
                _ => None,
            },
            keyframe_age: since(self.last_keyframe),
            answers_requests: if ignored { Some(false) } else { self.answers },
            missing: self.missing,
            unrepaired: self.unrepaired,
            jitter: Duration::from_micros(self.jitter.unsigned_abs()),
            late: self.late,
            drift_ppm: self.drift.ppm(),
            report_drift_ppm: self.report_drift(rate),
        }
    }
}

/// Moves a share towards that of the newest second.
fn moving(share: &mut f32, part: u32, whole: u32) {
    if whole > 0 {
        *share += (part as f32 / whole as f32 - *share) * SHARE_WEIGHT;
    }
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "health_tests.rs"]
mod tests;
