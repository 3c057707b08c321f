//! From what the path shows to a rate: additive and multiplicative increase,
//! decrease to below what arrives (draft-ietf-rmcat-gcc-02 §5.5).

use super::Micros;
use super::capacity::LinkCapacity;
use super::trendline::Usage;
use super::{MAX_RATE, MIN_RATE};

/// Growth a second while the capacity is not known (§5.5: eta).
const GROWTH: f64 = 1.08;

/// The estimate grows no further than this above what arrives: §5.5 says 1.5,
/// but growth without use proves nothing, and trains find what is beyond.
const AHEAD: f64 = 1.25;
const AHEAD_MORE: f64 = 10_000.0;

/// Near the capacity one packet of this many bits more is sent each response
/// time, which is the round trip and this on top (§5.5).
const PACKET_BITS: f64 = 1200.0 * 8.0;
const RESPONSE: Micros = 100_000;

/// The least additive growth, bits per second each second (libwebrtc).
const LEAST_GROWTH: f64 = 4_000.0;

/// What is left of the arriving rate after a decrease, at most and at least
/// (§5.5: beta is 0.85): the longer the queue, the less, so that it drains
/// within [`DRAIN`].
const BACK_OFF: (f64, f64) = (0.5, 0.94);
const DRAIN: f64 = 700_000.0;

/// A trend upwards counts when there really is a queue of this length; without
/// one it is jitter, and the rate only stops to grow.
const CONFIRMED: Micros = 12_000;

/// A queue this long that grows this much in a fifth of a second is over-use
/// before twenty groups of a slow stream have shown a trend.
const SURGE: (Micros, Micros) = (45_000, 25_000);

/// A queue this long that just stays is drained, once in this time.
const STANDING: (Micros, Micros) = (70_000, 1_000_000);

/// So much after a decrease to this share a queue of ours is shorter than it was
/// at most, and falls. One that is not, and is at least this long, is made by
/// others: then less of ours drains nothing, and only gives the path away.
const REACTED: Micros = 1_000_000;
const TRIED: f64 = 0.85;
const FALLS: Micros = 5_000;
const FOREIGN: Micros = 30_000;

/// Where others make the queue, loss is the only sign of too much, for this long
/// after it was seen, once in this time; growth is as quick as theirs. Beside a
/// queue of this length loss is a sign in any case.
const SHARED: Micros = 10_000_000;
const LOST: f64 = 0.02;
const LOST_AGAIN: Micros = 2_000_000;
const LOST_QUEUE: Micros = 25_000;

/// The queue counts as drained below this.
const DRAINED: Micros = 12_000;

/// Share of the known capacity that is gone back to once the queue is drained:
/// the rest is what flows that share a path become alike by.
const RESUME: f64 = 0.90;

/// What feedback showed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Signals {
    /// Now.
    pub now: Micros,
    /// What the trend says.
    pub usage: Usage,
    /// Queueing delay.
    pub queue: Micros,
    /// By how much it rose over the last fifth of a second.
    pub rise: Micros,
    /// Bits per second that arrived of late: the capacity while there is a queue.
    pub arriving: Option<f64>,
    /// Bits per second that arrived over half a second.
    pub acknowledged: Option<f64>,
    /// Share lost of late, 0 to 1.
    pub lost: f64,
    /// Round trip.
    pub rtt: Micros,
    /// Growth up to here needs no proof, where nothing can be sent to prove it.
    pub unproved: Option<f64>,
}

/// What an update did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The rate went down.
    Decreased,
    /// The path is congested; the rate is low enough already.
    Congested,
    /// The rate stays or grows.
    Clear,
    /// The queue does not get shorter when less is sent: it is not ours, and the
    /// rate is what it was.
    Foreign,
}

/// Decreases whose effect is awaited.
#[derive(Debug, Clone, Copy)]
struct Trial {
    /// The first of them.
    since: Micros,
    /// The longest queue from there on.
    most: Micros,
    /// What arrived before.
    rate: f64,
}

/// See the module's description.
#[derive(Debug)]
pub struct RateControl {
    rate: f64,
    capacity: LinkCapacity,
    updated: Option<Micros>,
    decreased: Option<Micros>,
    /// To go back to once the queue is drained.
    resume: Option<f64>,
    /// Decreases whose effect on the queue is awaited.
    trial: Option<Trial>,
    /// When a queue was seen that others make.
    shared: Option<Micros>,
}

impl RateControl {
    /// Starts at `rate` bits per second.
    pub fn new(rate: f64) -> Self {
        Self {
            rate,
            capacity: LinkCapacity::default(),
            updated: None,
            decreased: None,
            resume: None,
            trial: None,
            shared: None,
        }
    }

    /// Bits per second.
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// The last decrease.
    pub fn decreased(&self) -> Option<Micros> {
        self.decreased
    }

    /// What the path took when it was last full, at least and at most; `None`
    /// when that is not known or it carried more since.
    pub fn full(&self) -> Option<(f64, f64)> {
        Some((self.capacity.lower()?, self.capacity.upper()?))
    }

    /// A measurement proved this rate.
    pub fn set(&mut self, rate: f64) {
        self.rate = rate.clamp(MIN_RATE, MAX_RATE);
        if self.capacity.upper().is_some_and(|upper| rate > upper) {
            self.capacity.forget();
        }
        self.resume = None;
    }

    /// Takes what a feedback showed.
    pub fn update(&mut self, signals: &Signals) -> Step {
        let &Signals { now, queue, .. } = signals;
        let last = self.updated.replace(now).unwrap_or(now);
        let trend = signals.usage == Usage::Over && queue >= CONFIRMED;
        let surge = queue >= SURGE.0 && signals.rise >= SURGE.1;
        let mut congested = trend || surge;
        let decreased = self.decreased;
        let recently = |time| decreased.is_some_and(|at| now - at < time);
        congested |= queue >= STANDING.0 && !recently(STANDING.1);
        let shared = self.shared(now);
        congested |=
            signals.lost > LOST && (queue >= LOST_QUEUE || shared && !recently(LOST_AGAIN));
        if self.foreign(signals) {
            return Step::Foreign;
        }
        if congested {
            // The last decrease shows a round trip and a response later; where
            // the queue gets shorter already, none is needed.
            let response = (signals.rtt + RESPONSE).clamp(100_000, 500_000);
            if recently(response) || signals.rise < 0 && queue < STANDING.0 {
                return Step::Congested;
            }
            return self.decrease(signals);
        }
        if queue < DRAINED
            && let Some(resume) = self.resume.take()
        {
            self.rate = self.rate.max(resume);
        }
        if signals.usage == Usage::Normal && queue < SURGE.0 {
            self.increase(signals, now - last);
        }
        Step::Clear
    }

    /// Others made the path's queue not long ago.
    fn shared(&self, now: Micros) -> bool {
        self.shared.is_some_and(|at| now - at < SHARED)
    }

    /// Whether decreases had no effect on the queue; then they are taken back.
    fn foreign(&mut self, signals: &Signals) -> bool {
        let &Signals { now, queue, .. } = signals;
        let Some(trial) = &mut self.trial else {
            return false;
        };
        trial.most = trial.most.max(queue);
        let Trial { since, most, rate } = *trial;
        if queue <= most * 5 / 8 {
            self.trial = None; // it gets shorter
            return false;
        }
        let tried = self.rate <= TRIED * rate;
        let reacts = signals.rise <= -FALLS || queue < most * 3 / 4;
        if !tried || now - since < signals.rtt + REACTED || reacts || queue < FOREIGN {
            return false;
        }
        self.trial = None;
        self.resume = None;
        self.shared = Some(now);
        self.rate = self.rate.max(rate);
        true
    }

    fn decrease(&mut self, signals: &Signals) -> Step {
        let Some(arriving) = signals.arriving.or(signals.acknowledged) else {
            return Step::Congested;
        };
        if self.capacity.lower().is_some_and(|lower| arriving < lower) {
            self.capacity.forget();
        }
        self.capacity.add(arriving);
        let left = (1.0 - signals.queue as f64 / DRAIN).clamp(BACK_OFF.0, BACK_OFF.1);
        let target = (left * arriving).clamp(MIN_RATE, MAX_RATE);
        self.decreased = Some(signals.now);
        self.trial.get_or_insert(Trial {
            since: signals.now,
            most: signals.queue,
            rate: arriving.min(self.rate),
        });
        self.resume = Some(RESUME * arriving).filter(|resume| *resume < self.rate);
        if target < self.rate {
            self.rate = target;
            Step::Decreased
        } else {
            Step::Congested
        }
    }

    fn increase(&mut self, signals: &Signals, elapsed: Micros) {
        let Some(acknowledged) = signals.acknowledged else {
            return;
        };
        if self
            .capacity
            .upper()
            .is_some_and(|upper| acknowledged > upper)
        {
            self.capacity.forget();
        }
        if signals.queue < DRAINED {
            // It arrives without a queue: so much at least is carried.
            self.rate = self.rate.max(acknowledged).min(MAX_RATE);
        }
        let proved = AHEAD * acknowledged + AHEAD_MORE;
        let limit = signals.unproved.map_or(proved, |rate| rate.max(proved));
        if self.rate >= limit {
            return;
        }
        let seconds = (elapsed as f64 / 1e6).clamp(0.0, 1.0);
        let near = self.capacity.lower().is_some_and(|lower| self.rate > lower);
        let near = near && !self.shared(signals.now);
        let grown = if near {
            let response = (signals.rtt + RESPONSE) as f64 / 1e6;
            self.rate + (PACKET_BITS / response).max(LEAST_GROWTH) * seconds
        } else {
            self.rate * GROWTH.powf(seconds)
        };
        self.rate = grown.min(limit).clamp(MIN_RATE, MAX_RATE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Micros = 100_000;

    fn signals(now: Micros, rate: f64) -> Signals {
        Signals {
            now,
            arriving: Some(rate),
            acknowledged: Some(rate),
            rtt: 100_000,
            ..Signals::default()
        }
    }

    #[test]
    fn growth_is_eight_percent_a_second_and_bound_to_what_arrives() {
        let mut control = RateControl::new(1e6);
        for step in 0..=10 {
            control.update(&signals(step * STEP, 1e6));
        }
        assert!((control.rate() / 1.08e6 - 1.0).abs() < 0.01);
        for step in 11..200 {
            control.update(&signals(step * STEP, 1e6));
        }
        assert!((control.rate() - 1.26e6).abs() < 1e4, "{}", control.rate());
        // Less arrives because less is sent: that is no reason to estimate less.
        control.update(&signals(200 * STEP, 0.1e6));
        assert!((control.rate() - 1.26e6).abs() < 1e4, "{}", control.rate());
        // Where no train can be sent, it grows to what is wanted.
        for step in 201..400 {
            control.update(&Signals {
                unproved: Some(2e6),
                ..signals(step * STEP, 1e6)
            });
        }
        assert!((control.rate() - 2e6).abs() < 1e4, "{}", control.rate());
    }

    #[test]
    fn overuse_goes_below_what_arrives_the_deeper_the_longer_the_queue() {
        let table = [(12, 0.94), (100, 0.857), (200, 0.714), (600, 0.5)];
        for (queue, left) in table {
            let mut control = RateControl::new(4e6);
            let overuse = Signals {
                usage: Usage::Over,
                queue: queue * 1000,
                ..signals(0, 1e6)
            };
            assert_eq!(control.update(&overuse), Step::Decreased);
            let found = control.rate() / 1e6;
            assert!((found - left).abs() < 0.01, "{found} at {queue} ms");
        }
    }

    #[test]
    fn a_trend_without_a_queue_only_stops_growth() {
        let mut control = RateControl::new(1e6);
        for step in 0..50 {
            let jitter = Signals {
                usage: Usage::Over,
                queue: 3_000,
                ..signals(step * STEP, 1e6)
            };
            assert_eq!(control.update(&jitter), Step::Clear);
        }
        assert_eq!(control.rate(), 1e6);
    }

    #[test]
    fn a_drained_queue_brings_the_known_capacity_back_and_growth_is_slow_there() {
        let mut control = RateControl::new(4e6);
        control.update(&Signals {
            usage: Usage::Over,
            queue: 300_000,
            ..signals(0, 1e6)
        });
        let low = control.rate();
        assert!(low < 0.6e6);
        let drained = |step: Micros| Signals {
            queue: 1000,
            ..signals(step * STEP, 0.6e6)
        };
        control.update(&drained(1));
        let back = control.rate();
        assert!((0.87e6..0.93e6).contains(&back), "{back}");
        let mut second = |first| {
            let before = control.rate();
            for step in first..first + 10 {
                control.update(&Signals {
                    acknowledged: Some(0.9e6),
                    ..drained(step)
                });
            }
            control.rate() - before
        };
        let grown = second(2);
        assert!((50e3..80e3).contains(&grown), "{grown} below what it took");
        let grown = second(12);
        assert!((40e3..60e3).contains(&grown), "{grown} near it");
    }

    #[test]
    fn a_queue_that_does_not_react_is_not_ours() {
        let mut control = RateControl::new(1e6);
        let standing = |now| Signals {
            queue: 120_000,
            ..signals(now, 1e6)
        };
        assert_eq!(control.update(&standing(0)), Step::Decreased);
        assert_eq!(control.update(&standing(500_000)), Step::Clear);
        assert!(control.rate() < 0.95e6);
        assert_eq!(control.update(&standing(1_100_000)), Step::Foreign);
        assert_eq!(control.rate(), 1e6, "given back");
        // From here on loss says what delay can not.
        let loss = |now, lost| Signals {
            lost,
            ..signals(now, 1e6)
        };
        assert_eq!(control.update(&loss(2_200_000, 0.01)), Step::Clear);
        assert_eq!(control.update(&loss(2_300_000, 0.03)), Step::Decreased);
        assert_eq!(
            control.update(&loss(1_600_000, 0.03)),
            Step::Clear,
            "at once"
        );
        assert_eq!(
            control.update(&loss(20_000_000, 0.03)),
            Step::Clear,
            "later"
        );
    }

    #[test]
    fn a_queue_that_gets_shorter_is_ours() {
        let mut control = RateControl::new(1e6);
        let mut lengths = Vec::new();
        for step in 0..30 {
            let queue = 90_000 - 4_000 * step;
            let signals = Signals {
                queue: queue.max(0),
                rise: -8_000,
                ..signals(step * STEP, 1e6)
            };
            lengths.push(control.update(&signals));
        }
        assert!(!lengths.contains(&Step::Foreign), "{lengths:?}");
    }

    #[test]
    fn loss_beside_a_queue_is_congestion() {
        for (queue, lost, step) in [
            (30_000, 0.03, Step::Decreased),
            (30_000, 0.01, Step::Clear),
            (10_000, 0.03, Step::Clear),
        ] {
            let mut control = RateControl::new(1e6);
            let signals = Signals {
                queue,
                lost,
                ..signals(0, 1e6)
            };
            assert_eq!(control.update(&signals), step, "{queue} {lost}");
        }
    }
}
