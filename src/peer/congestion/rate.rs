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

/// Near the capacity, and so long after a decrease, growth is additive: flows that
/// share a path become alike by it, the quicker the more. One packet of this many
/// bits more is sent each response time, which is the round trip and this on top
/// (§5.5); and as many packets as this, as far as that is no more than this share
/// of the rate each second.
const ADDITIVE: Micros = 4_000_000;
const PACKET_BITS: f64 = 1200.0 * 8.0;
const RESPONSE: Micros = 100_000;
const PACKETS: f64 = 2.0;
const MOST_GROWTH: f64 = 0.08;

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

/// Unless this share of what arrived before is sent all the same: what is asked for may be more than
/// the path carries whatever the rate says, and a queue of that is ours.
const OBEYED: f64 = 0.95;

/// Where others make the queue, loss is the only sign of too much, for this long
/// after it was seen, once in this time; growth is as quick as theirs. Beside a
/// queue of this length loss is a sign in any case.
const SHARED: Micros = 10_000_000;
const LOST: f64 = 0.02;
const LOST_AGAIN: Micros = 2_000_000;
const LOST_QUEUE: Micros = 15_000;

/// Loss beside a queue that others make is a bulk transfer, which fills any queue.
/// Whoever heeds the delay beside one is starved (what the threshold of §5.4 adapts
/// itself for): for [`SHARED`] after it only a queue this much longer is one, growth
/// goes on beside a shorter one, and after a loss this share of what arrives is left.
const BULK_QUEUE: Micros = 150_000;
const BULK_LEFT: f64 = 0.9;

/// The queue counts as drained below this.
const DRAINED: Micros = 12_000;

/// Share of the known capacity that is gone back to once the queue is drained.
const RESUME: f64 = 0.98;

/// The capacity is what arrived over the longer time (flows whose measurements
/// differ do not share alike), unless less than this share of it arrived of late.
const STEADY: f64 = 0.8;

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
    /// Bits per second that were sent of late, told while a decrease is [on
    /// trial](RateControl::on_trial).
    pub sent: Option<f64>,
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
    /// rate goes up again.
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
    /// When a bulk transfer was seen beside it.
    bulk: Option<Micros>,
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
            bulk: None,
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
        let (shared, bulk) = (self.shared(now), self.bulk(now));
        congested &= !bulk || queue >= BULK_QUEUE;
        congested |=
            signals.lost > LOST && (queue >= LOST_QUEUE || shared && !recently(LOST_AGAIN));
        let response = (signals.rtt + RESPONSE).clamp(100_000, 500_000);
        if self.foreign(signals) && !recently(response) {
            return self.give_back(now);
        }
        if congested {
            // The last decrease shows a round trip and a response later; where
            // the queue gets shorter already, none is needed.
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
        let free = signals.usage == Usage::Normal && queue < SURGE.0;
        if free || bulk && signals.lost <= LOST && queue < BULK_QUEUE {
            self.increase(signals, now - last);
        }
        Step::Clear
    }

    /// Decreases have had the time in which a queue of ours gets shorter.
    pub fn on_trial(&self, now: Micros) -> bool {
        self.trial.is_some_and(|trial| now - trial.since >= REACTED)
    }

    /// Others made the path's queue not long ago.
    fn shared(&self, now: Micros) -> bool {
        self.shared.is_some_and(|at| now - at < SHARED)
    }

    /// Others filled it until packets were lost.
    fn bulk(&self, now: Micros) -> bool {
        self.bulk.is_some_and(|at| now - at < SHARED)
    }

    /// Whether decreases had no effect on the queue.
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
        if signals.sent.is_some_and(|sent| sent > OBEYED * rate) {
            trial.since = now;
            return false;
        }
        let tried = self.rate <= TRIED * rate;
        let reacts = signals.rise <= -FALLS || queue < most * 3 / 4;
        tried && now - since >= signals.rtt + REACTED && !reacts && queue >= FOREIGN
    }

    /// Takes half of the decreases without effect back: others may need the rest, and
    /// growth is quick from here.
    fn give_back(&mut self, now: Micros) -> Step {
        let before = self.trial.take().map_or(self.rate, |trial| trial.rate);
        self.resume = None;
        self.shared = Some(now);
        self.rate = self.rate.max((self.rate + before) / 2.0);
        Step::Foreign
    }

    fn decrease(&mut self, signals: &Signals) -> Step {
        let Some(arriving) = signals.arriving.or(signals.acknowledged) else {
            return Step::Congested;
        };
        if self.capacity.lower().is_some_and(|lower| arriving < lower) {
            self.capacity.forget();
        }
        self.capacity.add(arriving);
        let lost = signals.lost > LOST && signals.queue >= LOST_QUEUE;
        let left = if lost && self.shared(signals.now) {
            self.shared = Some(signals.now);
            self.bulk = Some(signals.now);
            BULK_LEFT
        } else {
            (1.0 - signals.queue as f64 / DRAIN).clamp(BACK_OFF.0, BACK_OFF.1)
        };
        let target = (left * arriving).clamp(MIN_RATE, MAX_RATE);
        self.decreased = Some(signals.now);
        self.trial.get_or_insert(Trial {
            since: signals.now,
            most: signals.queue,
            rate: arriving.min(self.rate),
        });
        let steady = signals.acknowledged.filter(|a| arriving > STEADY * a);
        let resume = RESUME * steady.unwrap_or(arriving);
        // While the queue still drains, less may arrive than the path takes.
        self.resume = match self.resume {
            Some(before) => Some(before.min(resume)),
            None => Some(resume).filter(|resume| *resume < self.rate),
        };
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
        let lately = |at| signals.now - at < ADDITIVE;
        let near = near || self.decreased.is_some_and(lately);
        let grown = if near && !self.shared(signals.now) {
            let response = (signals.rtt + RESPONSE) as f64 / 1e6;
            let packet = (PACKET_BITS / response).max(LEAST_GROWTH);
            let packets = (PACKETS * packet).min(MOST_GROWTH * self.rate);
            self.rate + packets.max(packet) * seconds
        } else {
            self.rate * GROWTH.powf(seconds)
        };
        self.rate = grown.min(limit).clamp(MIN_RATE, MAX_RATE);
    }
}

#[cfg(test)]
#[path = "rate_tests.rs"]
mod tests;
