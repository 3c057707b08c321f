//! Whether the delay rises: a line through the smoothed delays of the newest
//! groups, compared with a threshold that adapts itself
//! (draft-ietf-rmcat-gcc-02 §5.3 to §5.4, with the trendline filter and the
//! constants that libwebrtc publishes in place of the Kalman filter).

use super::Micros;
use super::groups::Delta;
use super::ring::Ring;

/// Groups that the line goes through.
const WINDOW: usize = 20;

/// Share of the old value in the smoothed delay.
const SMOOTHING: f64 = 0.9;

/// What the slope is multiplied by, and by how many deltas at most.
const GAIN: f64 = 4.0;
const MOST_DELTAS: u32 = 60;

/// Threshold in milliseconds: at first, at least and at most.
const THRESHOLD: f64 = 12.5;
const THRESHOLD_RANGE: (f64, f64) = (6.0, 600.0);

/// How fast the threshold follows upwards and downwards, per millisecond.
const ADAPT_UP: f64 = 0.0087;
const ADAPT_DOWN: f64 = 0.039;

/// The threshold does not follow a trend this far above it: that is a sudden
/// drop of capacity.
const ADAPT_LIMIT: f64 = 15.0;

/// The threshold's step is that of this time at most, in milliseconds.
const ADAPT_STEP: f64 = 100.0;

/// The trend must lie above the threshold for this long, in milliseconds.
const OVERUSE_TIME: f64 = 10.0;

/// What the trend says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Usage {
    /// The delay stays.
    #[default]
    Normal,
    /// The delay rises: more is sent than the path takes.
    Over,
    /// The delay falls: a queue empties.
    Under,
}

/// See the module's description.
#[derive(Debug)]
pub struct Trendline {
    deltas: u32,
    first_arrival: Option<Micros>,
    accumulated: f64,
    smoothed: f64,
    window: Ring<(f64, f64), WINDOW>,
    trend: f64,
    threshold: f64,
    adapted: Option<Micros>,
    over_for: Option<f64>,
    over_count: u32,
    usage: Usage,
}

impl Default for Trendline {
    fn default() -> Self {
        Self {
            deltas: 0,
            first_arrival: None,
            accumulated: 0.0,
            smoothed: 0.0,
            window: Ring::default(),
            trend: 0.0,
            threshold: THRESHOLD,
            adapted: None,
            over_for: None,
            over_count: 0,
            usage: Usage::Normal,
        }
    }
}

impl Trendline {
    /// Takes the next delta.
    pub fn add(&mut self, delta: &Delta) -> Usage {
        self.deltas = self.deltas.saturating_add(1);
        let first = *self.first_arrival.get_or_insert(delta.arrival);
        self.accumulated += delta.variation() as f64 / 1000.0;
        self.smoothed = SMOOTHING * self.smoothed + (1.0 - SMOOTHING) * self.accumulated;
        let at = (delta.arrival - first) as f64 / 1000.0;
        self.window.push((at, self.smoothed));
        let trend = if self.window.len() == WINDOW {
            slope(&self.window).unwrap_or(self.trend)
        } else {
            self.trend
        };
        self.detect(trend, delta);
        self.usage
    }

    /// What the newest delta said.
    pub fn usage(&self) -> Usage {
        self.usage
    }

    fn detect(&mut self, trend: f64, delta: &Delta) {
        if self.deltas < 2 {
            return;
        }
        let scaled = f64::from(self.deltas.min(MOST_DELTAS)) * trend * GAIN;
        if scaled > self.threshold {
            let step = delta.send_delta as f64 / 1000.0;
            // Half of the first step is taken to have been above.
            let over = self.over_for.map_or(step / 2.0, |over| over + step);
            self.over_for = Some(over);
            self.over_count += 1;
            if over > OVERUSE_TIME && self.over_count > 1 && trend >= self.trend {
                self.over_for = Some(0.0);
                self.over_count = 0;
                self.usage = Usage::Over;
            }
        } else {
            self.over_for = None;
            self.over_count = 0;
            self.usage = if scaled < -self.threshold {
                Usage::Under
            } else {
                Usage::Normal
            };
        }
        self.trend = trend;
        self.adapt(scaled.abs(), delta.arrival);
    }

    fn adapt(&mut self, scaled: f64, now: Micros) {
        let last = self.adapted.replace(now).unwrap_or(now);
        if scaled > self.threshold + ADAPT_LIMIT {
            return;
        }
        let gain = if scaled < self.threshold {
            ADAPT_DOWN
        } else {
            ADAPT_UP
        };
        let step = ((now - last) as f64 / 1000.0).clamp(0.0, ADAPT_STEP);
        self.threshold += gain * (scaled - self.threshold) * step;
        self.threshold = self.threshold.clamp(THRESHOLD_RANGE.0, THRESHOLD_RANGE.1);
    }
}

/// The slope of the line of least squares.
fn slope(points: &Ring<(f64, f64), WINDOW>) -> Option<f64> {
    let count = points.len() as f64;
    let (x, y) = points
        .iter()
        .fold((0.0, 0.0), |sum, p| (sum.0 + p.0, sum.1 + p.1));
    let (x, y) = (x / count, y / count);
    let (mut above, mut below) = (0.0, 0.0);
    for point in points.iter() {
        above += (point.0 - x) * (point.1 - y);
        below += (point.0 - x) * (point.0 - x);
    }
    (below > 0.0).then(|| above / below)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Groups 10 ms apart whose delay grows by `per_group` microseconds; the
    /// number of the first group that is over-use.
    fn first_overuse(groups: i64, per_group: impl Fn(i64) -> Micros) -> Option<i64> {
        let mut trendline = Trendline::default();
        let mut arrival = 0;
        (0..groups).find(|index| {
            let arrival_delta = 10_000 + per_group(*index);
            arrival += arrival_delta;
            let delta = Delta {
                sent: index * 10_000,
                arrival,
                send_delta: 10_000,
                arrival_delta,
            };
            trendline.add(&delta) == Usage::Over
        })
    }

    #[test]
    fn a_rising_delay_is_overuse_and_a_steady_one_is_not() {
        assert_eq!(first_overuse(3000, |_| 0), None);
        // 1 ms a group is 10 % too much.
        let seen = first_overuse(100, |_| 1000).expect("seen");
        assert!(seen < 40, "after {seen} groups");
        assert_eq!(first_overuse(3000, |_| -100), None);
    }

    #[test]
    fn jitter_around_a_steady_delay_is_no_overuse() {
        // Up and down by 4 ms.
        assert_eq!(
            first_overuse(3000, |i| if i % 2 == 0 { 4000 } else { -4000 }),
            None
        );
    }

    #[test]
    fn a_drop_of_capacity_is_seen_at_once() {
        let seen = first_overuse(400, |i| if i < 300 { 0 } else { 30_000 }).expect("seen");
        assert!((300..306).contains(&seen), "at group {seen}");
    }

    #[test]
    fn a_falling_delay_is_underuse() {
        let mut trendline = Trendline::default();
        for index in 0..60 {
            trendline.add(&Delta {
                sent: index * 10_000,
                arrival: index * 8_000,
                send_delta: 10_000,
                arrival_delta: 8_000,
            });
        }
        assert_eq!(trendline.usage(), Usage::Under);
    }
}
