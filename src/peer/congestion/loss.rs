//! A bound from loss: which rate explains best what was lost, given that a path
//! may lose some packets whatever is sent.
//!
//! The ideas and constants are those of libwebrtc's loss-based estimator v2:
//! loss has an inherent share, and one from sending above the bandwidth; of a
//! few candidates the likeliest pair of both wins, with a bias to more.

use super::Micros;
use super::{MAX_RATE, MIN_RATE};

/// An observation covers this time of sending at least.
const SPAN: Micros = 250_000;

/// Observations kept; their weight falls by this factor with each newer one.
const OBSERVATIONS: usize = 20;
const AGEING: f64 = 0.9;

/// None is judged before there are this many.
const LEAST: usize = 3;

/// Candidates, as factors of the present bound: while loss limits, growth is
/// slow, for only sending more shows what is lost then. Trains are quicker.
const FACTORS: [f64; 3] = [1.02, 1.0, 0.95];

/// A further one where less than this share is lost.
const LITTLE: f64 = 0.03;
const LITTLE_FACTOR: f64 = 1.08;

/// An observation has this many packets at least: fewer tell nothing of a share.
const PACKETS: u32 = 20;

/// Inherent loss: at first, at least, and at most this much and as much more
/// as this rate is of the bandwidth.
const INHERENT: f64 = 0.01;
const INHERENT_LEAST: f64 = 0.001;
const INHERENT_MOST: f64 = 0.05;
const INHERENT_BALANCE: f64 = 75_000.0;

/// One step of Newton's method, shortened.
const NEWTON_STEP: f64 = 0.75;

/// Bias to higher bandwidths, by kbit/s and by their logarithm; it turns around
/// where more than this share is lost.
const BIAS: f64 = 0.0002;
const BIAS_LOG: f64 = 0.02;
const BIAS_TURN: f64 = 0.15;
const BIAS_SMOOTHING: f64 = 0.002;

/// More than this share lost bounds the rate at once.
const INSTANT_OFFSET: f64 = 0.05;
const INSTANT_BALANCE: f64 = 75_000.0;

/// The bound is never less than this share of what arrives.
const ARRIVES: f64 = 0.98;

#[derive(Debug, Clone, Copy, Default)]
struct Observation {
    packets: f64,
    lost: f64,
    /// Bits per second sent.
    rate: f64,
}

/// See the module's description.
#[derive(Debug)]
pub struct LossControl {
    observations: [Observation; OBSERVATIONS],
    count: usize,
    current: Current,
    /// The share lost over all observations: asked for with every feedback.
    average: f64,
    bound: f64,
    inherent: f64,
    limits: bool,
}

/// The observation that is being gathered.
#[derive(Debug, Clone, Copy, Default)]
struct Current {
    since: Option<Micros>,
    packets: u32,
    lost: i32,
    bytes: u64,
}

impl Default for LossControl {
    fn default() -> Self {
        Self {
            observations: [Observation::default(); OBSERVATIONS],
            count: 0,
            current: Current::default(),
            average: 0.0,
            bound: MAX_RATE,
            inherent: INHERENT,
            limits: false,
        }
    }
}

impl LossControl {
    /// Takes a packet that was reported on: `lost` is 1 when it is missing, -1
    /// when one that was missing arrived after all.
    pub fn add(&mut self, sent: Micros, size: u32, lost: i32) {
        let current = &mut self.current;
        current.since = Some(current.since.map_or(sent, |since| since.min(sent)));
        if lost >= 0 {
            current.packets += 1;
            current.bytes += u64::from(size);
        }
        current.lost += lost;
    }

    /// Ends the observation when it is long enough, and judges. `rate` is what
    /// the delays allow, `acknowledged` what arrives; `limited` says that the
    /// application sends less than it might.
    pub fn update(&mut self, newest: Micros, rate: f64, acknowledged: Option<f64>, limited: bool) {
        let Some(since) = self.current.since else {
            return;
        };
        let span = newest - since;
        if span < SPAN || self.current.packets < PACKETS {
            return;
        }
        let packets = f64::from(self.current.packets);
        self.observations.rotate_right(1);
        self.observations[0] = Observation {
            packets,
            lost: f64::from(self.current.lost).clamp(0.0, packets),
            rate: self.current.bytes as f64 * 8e6 / span as f64,
        };
        self.current = Current::default();
        self.count = (self.count + 1).min(OBSERVATIONS);
        self.average = self.weighted_average();
        if self.count >= LEAST {
            self.judge(rate, acknowledged, limited);
        }
    }

    /// The bound, while loss gives one.
    pub fn bound(&self) -> Option<f64> {
        self.limits.then_some(self.bound)
    }

    /// The share that is lost whatever is sent, as far as is known.
    pub fn average(&self) -> f64 {
        self.average
    }

    fn weighted_average(&self) -> f64 {
        let (packets, lost) = self.weighted().fold((0.0, 0.0), |sum, (o, w)| {
            (sum.0 + w * o.packets, sum.1 + w * o.lost)
        });
        if packets > 0.0 { lost / packets } else { 0.0 }
    }

    /// The share lost in the newest observation.
    pub fn newest(&self) -> f64 {
        let newest = self.observations[0];
        newest.lost / newest.packets.max(1.0)
    }

    /// A measurement proved this rate.
    pub fn set(&mut self, rate: f64) {
        if self.limits && rate > self.bound {
            self.bound = rate;
        }
    }

    fn weighted(&self) -> impl Iterator<Item = (&Observation, f64)> {
        let weights = std::iter::successors(Some(1.0), |weight| Some(weight * AGEING));
        self.observations.iter().take(self.count).zip(weights)
    }

    fn judge(&mut self, rate: f64, acknowledged: Option<f64>, limited: bool) {
        let average = self.average();
        let present = self.bound.min(rate);
        let candidates = FACTORS
            .iter()
            .map(|factor| present * factor)
            .chain(acknowledged.filter(|a| !limited && *a < present))
            .chain(Some(rate).filter(|_| !self.limits))
            .chain(Some(present * LITTLE_FACTOR).filter(|_| average < LITTLE));
        let mut best: Option<(f64, f64, f64)> = None;
        for candidate in candidates {
            let candidate = candidate.clamp(MIN_RATE, rate.max(MIN_RATE));
            let inherent = self.likeliest_inherent(candidate);
            let value = self.likelihood(candidate, inherent, average);
            if best.is_none_or(|(known, _, _)| value > known) {
                best = Some((value, candidate, inherent));
            }
        }
        let Some((_, mut bound, inherent)) = best else {
            return;
        };
        // Loss beyond what is inherent is no ground to send more.
        if bound > present && self.limits && inherent < average {
            bound = present;
        }
        if average > INSTANT_OFFSET {
            bound = bound.min(INSTANT_BALANCE / (average - INSTANT_OFFSET));
        }
        // What arrives is no more than the path carries.
        bound = bound.max(acknowledged.map_or(0.0, |rate| rate * ARRIVES));
        self.inherent = inherent;
        self.bound = bound.clamp(MIN_RATE, MAX_RATE);
        self.limits = self.bound < rate;
    }

    fn likeliest_inherent(&self, bandwidth: f64) -> f64 {
        let most = (INHERENT_MOST + INHERENT_BALANCE / bandwidth).min(0.99);
        let inherent = self.inherent.clamp(INHERENT_LEAST, most);
        let (mut first, mut second) = (0.0, 0.0);
        for (observation, weight) in self.weighted() {
            let lost = loss_probability(inherent, bandwidth, observation.rate);
            let arrived = observation.packets - observation.lost;
            first += weight * (observation.lost / lost - arrived / (1.0 - lost));
            second -= weight
                * (observation.lost / (lost * lost) + arrived / ((1.0 - lost) * (1.0 - lost)));
        }
        let moved = if second < 0.0 {
            inherent - NEWTON_STEP * first / second
        } else {
            inherent
        };
        moved.clamp(INHERENT_LEAST, most)
    }

    fn likelihood(&self, bandwidth: f64, inherent: f64, average: f64) -> f64 {
        let kbits = bandwidth / 1000.0;
        let turn = BIAS_TURN - average;
        let turn = turn / (BIAS_SMOOTHING + turn.abs());
        let bias = turn * (BIAS * kbits + BIAS_LOG * kbits.ln_1p());
        self.weighted()
            .map(|(observation, weight)| {
                let lost = loss_probability(inherent, bandwidth, observation.rate);
                let arrived = observation.packets - observation.lost;
                weight
                    * (observation.lost * lost.ln()
                        + arrived * (1.0 - lost).ln()
                        + bias * observation.packets)
            })
            .sum()
    }
}

/// The share that is lost when `rate` is sent over `bandwidth`.
fn loss_probability(inherent: f64, bandwidth: f64, rate: f64) -> f64 {
    let above = if rate > bandwidth {
        (rate - bandwidth) / rate
    } else {
        0.0
    };
    (inherent + (1.0 - inherent) * above).clamp(1e-6, 1.0 - 1e-6)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends at what is allowed, up to `most`, over a path of `capacity` that
    /// loses `inherent` of all packets; returns the allowed rate of each second.
    fn run(inherent: f64, capacity: f64, most: f64, seconds: usize) -> Vec<f64> {
        let mut loss = LossControl::default();
        let (mut now, mut seed) = (0, 1u64);
        let mut rates = Vec::new();
        for _ in 0..seconds {
            let allowed = loss.bound().unwrap_or(most).min(most);
            let gap = (1200.0 * 8e6 / allowed) as Micros;
            let over = ((allowed - capacity) / allowed).max(0.0);
            let share = inherent + (1.0 - inherent) * over;
            let end = now + 1_000_000;
            let mut next = now + 100_000;
            while now < end {
                seed = seed
                    .wrapping_mul(6364136223846793005)
                    .wrapping_add(1442695040888963407);
                let lost = ((seed >> 33) as f64 / f64::from(1u32 << 31)) < share;
                loss.add(now, 1200, i32::from(lost));
                now += gap;
                if now >= next {
                    let acknowledged = allowed * (1.0 - share);
                    loss.update(now, most, Some(acknowledged), false);
                    next += 100_000;
                }
            }
            rates.push(loss.bound().unwrap_or(most).min(most));
        }
        rates
    }

    #[test]
    fn random_loss_of_two_and_five_percent_is_held() {
        for (share, least) in [(0.0, 0.99), (0.02, 0.95), (0.05, 0.80)] {
            for most in [0.5e6, 1.5e6, 4e6] {
                let rates = run(share, 1e9, most, 60);
                let mean = rates.iter().sum::<f64>() / rates.len() as f64;
                assert!(mean >= least * most, "{mean} of {most} at {share}");
            }
        }
    }

    #[test]
    fn loss_from_sending_too_much_bounds_the_rate() {
        for (capacity, most) in [(1e6, 4e6), (0.5e6, 1e6), (2e6, 3e6)] {
            let rates = run(0.0, capacity, most, 30);
            let settled = &rates[5..];
            for rate in settled {
                assert!(*rate < 1.35 * capacity, "{rate} over {capacity}");
                assert!(*rate > 0.75 * capacity, "{rate} over {capacity}");
            }
        }
    }

    #[test]
    fn heavy_loss_gives_way_at_once() {
        let rates = run(0.4, 1e9, 4e6, 10);
        assert!(rates[3] < 1e6, "{rates:?}");
    }

    #[test]
    fn a_packet_that_comes_late_is_not_lost() {
        let mut loss = LossControl::default();
        for index in 0..100 {
            loss.add(index * 10_000, 1200, 1);
            loss.add(index * 10_000, 1200, -1);
            loss.update(index * 10_000, 1e6, None, false);
        }
        assert_eq!(loss.average(), 0.0);
        assert_eq!(loss.bound(), None);
    }
}
