//! Finding out by trying: short trains of packets above the present rate, and
//! what their arrival tells (the shape and constants of libwebrtc's probe
//! controller and probe bitrate estimator).
//!
//! Media that is sent during a train is part of it; only what media does not
//! fill is padding.

use super::Micros;
use super::sent::{Logged, NO_PROBE, SentLog};

/// A train lasts this long at least, so that it does not fall between two
/// frames of others on the path, and has this many packets.
const TRAIN: Micros = 60_000;
const TRAIN_PACKETS: u32 = 6;

/// Bytes of a padding packet, about.
const PACKET: u32 = 1200;

/// A train that takes longer than this is given up: there is nothing to send.
const TRAIN_LIMIT: Micros = 300_000;

/// Feedback on a train comes within a round trip and this.
const WAIT: Micros = 700_000;

/// Share of a train that must have been reported.
const REPORTED: f64 = 0.8;

/// A train sent within these microseconds has no rate of its own.
const BURST: f64 = 2_000.0;

/// A train that arrives this much quicker than it was sent tells nothing.
const COMPRESSED: f64 = 2.0;

/// A train that arrives slower than this share of its rate filled the path;
/// then this share of what arrived is what it takes.
const UNSATURATED: f64 = 0.9;
const SATURATED_USE: f64 = 0.95;

/// The first two trains, bits per second; each later one doubles what was found.
const FIRST: [f64; 2] = [900_000.0, 1_800_000.0];
const FURTHER: f64 = 2.0;

/// For so long after congestion each goes only this far.
const WARY: Micros = 10_000_000;
const WARY_FURTHER: f64 = 1.5;

/// A train counts as passed when this share of its rate was found.
const PASSED: f64 = 0.7;

/// A train goes this far beyond what is wanted, so that its result is enough.
const BEYOND: f64 = 1.15;

/// After a train that did not pass, the next waits this long, then longer: up to the
/// second where media fills the estimate, for growth shows there what the path takes.
const RETRY: Micros = 2_500_000;
const RETRY_LIMIT: Micros = 3_000_000;
const RETRY_FILLED: Micros = 10_000_000;

/// Towards a known capacity trains go from below this share of it. From above, growth
/// does: a train there takes from other flows what these need to become alike.
const FAR_BELOW: f64 = 0.7;

/// Congestion within this time (and a round trip) of a train that passed, with
/// less than this share of its rate arriving, says that it passed at the cost of
/// another flow: the next waits as after one that failed, and twice as long each
/// time.
const OVERSHOT: Micros = 1_500_000;
const BORNE: f64 = 0.92;
const OVERSHOT_LIMIT: Micros = 24_000_000;

/// After congestion nothing is tried for this long; and where the last train
/// was at another flow's cost and media fills the estimate, for this long.
const CALM: Micros = 700_000;
const CALM_SHARED: Micros = 4_000_000;

/// Padding may use this share of what the path is known to take, with so many
/// bytes saved up at most.
const SHARE: f64 = 0.05;
const SAVED: f64 = 48_000.0;

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    /// Nothing under way.
    Idle,
    /// A train is being sent.
    Sending {
        started: Micros,
        rate: f64,
        bytes: u32,
    },
    /// It was sent; feedback is awaited.
    Sent {
        started: Micros,
        until: Micros,
        rate: f64,
        packets: u32,
    },
}

/// Arrival of one train.
#[derive(Debug, Clone, Copy, Default)]
struct Train {
    reported: u32,
    arrived: u32,
    bytes: u32,
    first: Option<(Micros, Micros, u32)>,
    last: (Micros, Micros, u32),
}

/// What a train found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Found {
    /// The train's own rate, bits per second.
    pub tried: f64,
    /// What the path takes, as far as the train could tell.
    pub rate: f64,
}

impl Found {
    /// The path took the train.
    pub fn passed(&self) -> bool {
        self.rate >= PASSED * self.tried
    }
}

/// What the decision to probe depends on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Situation {
    /// Now.
    pub now: Micros,
    /// The present estimate.
    pub estimate: f64,
    /// It comes from a measurement already.
    pub known: bool,
    /// Media fills the estimate.
    pub filled: bool,
    /// What the path took when it was last full, at least and at most, unless it
    /// carried more since.
    pub full: Option<(f64, f64)>,
    /// What would be useful, if anything beyond the estimate is.
    pub target: Option<f64>,
    /// The last congestion.
    pub congested: Option<Micros>,
    /// Queueing delay.
    pub queue: Micros,
    /// Bits per second that arrived of late.
    pub arriving: f64,
    /// Lost share.
    pub loss: f64,
    /// Round trip.
    pub rtt: Micros,
}

/// See the module's description.
#[derive(Debug)]
pub struct Prober {
    state: State,
    number: u8,
    train: Train,
    /// Trains of the start that were sent.
    begun: usize,
    next: Micros,
    retry: Micros,
    /// When a train passed and what it found, until that proved right or wrong.
    passed: Option<(Micros, f64)>,
    /// The last that passed did so at another flow's cost.
    overshot: bool,
    /// Media fills the estimate.
    filled: bool,
    budget: f64,
    earned: Option<Micros>,
    /// The last train had nothing to be made of.
    unable: bool,
    /// Padding bytes sent in all.
    pub padding: u64,
}

impl Default for Prober {
    fn default() -> Self {
        Self {
            state: State::Idle,
            number: NO_PROBE,
            train: Train::default(),
            begun: 0,
            next: 0,
            retry: RETRY,
            passed: None,
            overshot: false,
            filled: false,
            budget: SAVED,
            earned: None,
            unable: false,
            padding: 0,
        }
    }
}

impl Prober {
    /// Begins a train if one is due.
    pub fn consider(&mut self, log: &mut SentLog, situation: &Situation) {
        let now = situation.now;
        self.filled = situation.filled;
        self.judge(situation);
        let elapsed = now - self.earned.replace(now).unwrap_or(now);
        let earned = SHARE * situation.estimate / 8.0 * elapsed as f64 / 1e6;
        self.budget = (self.budget + earned.max(0.0)).min(SAVED);
        if let State::Sent { until, .. } = self.state
            && now >= until
        {
            self.state = State::Idle;
            self.failed(now);
        }
        if self.state != State::Idle || now < self.next {
            return;
        }
        let calm = if situation.filled && self.overshot {
            CALM_SHARED
        } else {
            CALM
        };
        let calm = situation.congested.is_none_or(|at| now - at >= calm)
            && situation.queue < 25_000
            && situation.loss < 0.10;
        let Some(rate) = self.wanted(situation).filter(|_| calm) else {
            return;
        };
        let bytes = (rate / 8.0 * TRAIN as f64 / 1e6) as u32;
        let bytes = bytes.max(TRAIN_PACKETS * PACKET);
        if f64::from(bytes) > self.budget {
            return;
        }
        self.number = self.number.wrapping_add(1).max(1);
        self.train = Train::default();
        log.begin_probe(self.number);
        let started = now;
        self.state = State::Sending {
            started,
            rate,
            bytes,
        };
    }

    /// Looks whether the path bears what the last train found.
    fn judge(&mut self, situation: &Situation) {
        let Some((passed, rate)) = self.passed else {
            return;
        };
        let now = situation.now;
        if situation.congested.is_some_and(|at| at > passed) {
            self.passed = None;
            self.overshot = situation.filled && situation.arriving < BORNE * rate;
            if self.overshot {
                self.next = now + self.retry;
                self.retry = (self.retry * 2).min(OVERSHOT_LIMIT);
            }
        } else if now - passed >= OVERSHOT + situation.rtt {
            self.passed = None;
            self.overshot = false;
            self.retry = RETRY;
        }
    }

    fn wanted(&self, situation: &Situation) -> Option<f64> {
        if !situation.known {
            return FIRST.get(self.begun).copied();
        }
        let mut target = situation.target.filter(|t| *t > situation.estimate)?;
        if situation.filled
            && let Some((lower, upper)) = situation.full
        {
            // Growth shows what is beyond; a train would only make a queue.
            if situation.estimate >= FAR_BELOW * lower {
                return None;
            }
            target = target.min(upper / BEYOND);
        }
        let wary = situation
            .congested
            .is_some_and(|at| situation.now - at < WARY);
        let further = if wary { WARY_FURTHER } else { FURTHER };
        Some((target * BEYOND).min(further * situation.estimate))
    }

    /// Padding bytes due now; zero when none are.
    pub fn due(&mut self, now: Micros, log: &mut SentLog, rtt: Micros) -> usize {
        let State::Sending {
            started,
            rate,
            bytes,
        } = self.state
        else {
            return 0;
        };
        let sent = log.probe_bytes();
        if sent >= bytes {
            let packets = log.end_probe();
            self.begun += 1;
            let until = now + rtt + WAIT;
            self.state = State::Sent {
                started,
                until,
                rate,
                packets,
            };
            return 0;
        }
        if now - started > TRAIN_LIMIT.max((f64::from(bytes) * 16e6 / rate) as Micros) {
            self.give_up(now, log);
            return 0;
        }
        // One packet ahead, so that a train begins with its first.
        let planned = (rate / 8.0 * (now - started) as f64 / 1e6) as u32 + PACKET;
        planned.min(bytes).saturating_sub(sent) as usize
    }

    /// Padding of so many bytes went out.
    pub fn padded(&mut self, bytes: usize) {
        self.unable = false;
        self.padding += bytes as u64;
        self.budget -= bytes as f64;
    }

    /// There is nothing that can be sent as padding.
    pub fn give_up(&mut self, now: Micros, log: &mut SentLog) {
        log.end_probe();
        self.unable = true;
        self.state = State::Idle;
        self.next = now + RETRY;
    }

    /// When [`due`](Self::due) wants to be asked again.
    pub fn deadline(&self, now: Micros) -> Option<Micros> {
        match self.state {
            State::Sending { rate, .. } => {
                let gap = (f64::from(PACKET) * 8e6 / rate) as Micros;
                Some(now + gap.clamp(2_000, 50_000))
            }
            _ => None,
        }
    }

    /// Takes what was reported on a packet.
    pub fn reported(&mut self, packet: &Logged, arrival: Option<Micros>) {
        if packet.probe == NO_PROBE || packet.probe != self.number {
            return;
        }
        let train = &mut self.train;
        if !packet.was_missing {
            train.reported += 1;
        }
        let Some(arrival) = arrival else {
            return;
        };
        train.arrived += 1;
        train.bytes += packet.size;
        let this = (packet.sent, arrival, packet.size);
        train.first.get_or_insert(this);
        train.last = this;
    }

    /// What the train found, once all of it was reported on. Nothing, if the path was
    /// `congested` since the train began: then its packets came at the cost of others.
    pub fn found(&mut self, now: Micros, congested: Option<Micros>) -> Option<Found> {
        let State::Sent {
            started,
            rate,
            packets,
            ..
        } = self.state
        else {
            return None;
        };
        if self.train.reported < packets {
            return None;
        }
        self.state = State::Idle;
        if congested.is_some_and(|at| at > started) {
            self.failed(now);
            return None;
        }
        let found = self.train.rate(packets).map(|found| Found {
            tried: rate,
            rate: found.min(rate),
        });
        match found {
            Some(found) if found.passed() => {
                self.next = now;
                self.passed = Some((now, found.rate));
                if !self.overshot {
                    self.retry = RETRY;
                }
            }
            _ => self.failed(now),
        }
        found
    }

    fn failed(&mut self, now: Micros) {
        let (wait, limit) = if self.filled {
            (self.retry, RETRY_FILLED)
        } else {
            (self.retry.min(RETRY_LIMIT), RETRY_LIMIT)
        };
        self.next = now + wait;
        self.retry = self.retry.max((self.retry * 3 / 2).min(limit));
    }

    /// The last train had nothing to be made of.
    pub fn unable(&self) -> bool {
        self.unable
    }

    /// A train is being sent or awaited.
    pub fn busy(&self) -> bool {
        self.state != State::Idle
    }

    /// All trains of the start were sent.
    pub fn started(&self) -> bool {
        self.begun >= FIRST.len()
    }
}

impl Train {
    fn rate(&self, packets: u32) -> Option<f64> {
        let first = self.first?;
        if f64::from(self.arrived) < REPORTED * f64::from(packets) || self.arrived < 4 {
            return None;
        }
        let sending = (self.last.0 - first.0) as f64;
        let arriving = (self.last.1 - first.1) as f64;
        if sending < 0.0 || arriving <= 0.0 {
            return None;
        }
        let arrived = f64::from(self.bytes - first.2) * 8e6 / arriving;
        if sending < BURST {
            return Some(SATURATED_USE * arrived); // a frame that was the whole train
        }
        let sent = f64::from(self.bytes - self.last.2) * 8e6 / sending;
        if arrived > COMPRESSED * sent {
            return None;
        }
        Some(if arrived < UNSATURATED * sent {
            SATURATED_USE * arrived
        } else {
            sent.min(arrived)
        })
    }
}

#[cfg(test)]
#[path = "probe_tests.rs"]
mod tests;
