//! One viewer's estimate from transport-wide feedback.

use super::acked::ArrivalRate;
use super::groups::Groups;
use super::loss::LossControl;
use super::probe::{Found, Prober, Situation};
use super::queue::QueueDelay;
use super::rate::{RateControl, Signals, Step};
use super::sent::{Logged, NO_PROBE, SentLog};
use super::trendline::{Trendline, Usage};
use super::{Carries, MAX_RATE, Micros};
use crate::peer::rtcp::Twcc;

/// Spans that the arriving rate is taken over: for the capacity while there is
/// a queue, and for what is sent in general.
const ARRIVING: Micros = 200_000;
const ACKNOWLEDGED: Micros = 500_000;

/// The start ends after this without any probe.
const START: Micros = 1_000_000;

/// At the start nothing is known of the path, and a viewer may be sent far too
/// much. When the newest of at least so many packets took this much longer than
/// the quickest, they fill the path, and their own rate of arrival is what it
/// takes.
const FIRST_PACKETS: u32 = 8;
const FIRST_DELAY: Micros = 80_000;
const FIRST_SHARE: f64 = 0.9;

/// Without a probe the path is trusted with this much more than what arrives.
const UNPROBED: f64 = 1.5;

/// What was found while there was sound alone says nothing of pictures this
/// long after the path was last congested.
const SOUND_COUNTS: Micros = 10_000_000;

/// Less than this share of the estimate is sent: the application limits itself.
const LIMITED: f64 = 0.7;

/// More than this share of the estimate arrives, or is lost: media fills it.
const FILLED: f64 = 0.84;

/// Taken for the round trip until one is known, and the most that is believed.
const DEFAULT_RTT: Micros = 200_000;
const MOST_RTT: Micros = 2_000_000;

/// Steps of the reference time (24 bits of 64 ms).
const REFERENCE_BITS: u32 = 24;

/// See the module's description. In this order, so that what every feedback needs comes first.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Transport {
    groups: Groups,
    pub(super) queue: QueueDelay,
    trendline: Trendline,
    rate: RateControl,
    pub(super) prober: Prober,
    /// The reference time of the newest feedback: as sent, and unwrapped.
    reference: Option<(i32, i64)>,
    /// The first feedback.
    since: Option<Micros>,
    /// The estimate comes from a measurement.
    known: bool,
    /// And that while pictures were sent.
    seen: bool,
    /// What trains found before it was known.
    found: f64,
    /// Before it was known: packets that arrived, the least and the newest delay.
    first: (u32, Micros, Micros),
    congested: Option<Micros>,
    rtt: Option<Micros>,
    loss: LossControl,
    pub(super) arrivals: ArrivalRate,
}

impl Default for Transport {
    fn default() -> Self {
        Self {
            groups: Groups::default(),
            trendline: Trendline::default(),
            queue: QueueDelay::default(),
            arrivals: ArrivalRate::default(),
            // Unbounded until something is known.
            rate: RateControl::new(MAX_RATE),
            loss: LossControl::default(),
            prober: Prober::default(),
            reference: None,
            since: None,
            known: false,
            seen: false,
            found: 0.0,
            first: (0, Micros::MAX, 0),
            congested: None,
            rtt: None,
        }
    }
}

impl Transport {
    /// Bits per second, once known; where there is sound alone, what that
    /// shows at least.
    pub(super) fn estimate(&self, carries: Carries) -> Option<f64> {
        if !self.known && carries == Carries::Sound {
            let arrives = self.arrivals.over(ACKNOWLEDGED)?;
            return Some(UNPROBED * arrives);
        }
        self.known.then(|| {
            let rate = self.rate.rate();
            self.loss.bound().map_or(rate, |bound| bound.min(rate))
        })
    }

    /// Pictures are to follow upon sound: they need not begin with what sound has
    /// found, unless the path was too little even for that just now.
    pub(super) fn forget_sound(&mut self, now: Micros) {
        let lately = self.congested.is_some_and(|at| now - at < SOUND_COUNTS);
        if !self.seen && !lately {
            self.known = false;
            self.rate = RateControl::new(MAX_RATE);
            self.loss = LossControl::default();
        }
    }

    pub(super) fn padding_due(&mut self, now: Micros, log: &mut SentLog) -> usize {
        let rtt = self.rtt.unwrap_or(DEFAULT_RTT);
        self.prober.due(now, log, rtt)
    }

    /// Takes a feedback packet, and no more of it than `budget` statuses, which it uses up.
    pub(super) fn feedback(
        &mut self,
        now: Micros,
        feedback: &Twcc<'_>,
        log: &mut SentLog,
        target: Option<f64>,
        carries: Carries,
        budget: &mut usize,
    ) {
        let pictures = carries == Carries::Pictures;
        if pictures {
            self.since.get_or_insert(now);
        }
        let mut arrival = self.unwrap(feedback.reference_time);
        let mut newest = None;
        for (sequence, delta) in feedback.statuses().take(*budget) {
            *budget -= 1;
            let arrived = delta.map(|delta| {
                arrival += Micros::from(delta);
                arrival
            });
            let Some(packet) = log.report(now, sequence, arrived.is_some()) else {
                continue;
            };
            newest = newest.max(Some(packet.sent));
            self.packet(&packet, arrived, now, pictures);
        }
        log.fit(now);
        let Some(newest) = newest else {
            return; // nothing of it is news
        };
        self.control(now, newest, target, log);
        let congested = self.congested.filter(|_| self.known);
        if let Some(found) = self.prober.found(now, congested) {
            self.take(found);
        }
        if pictures {
            self.begin(now);
            self.seen |= self.known;
        }
        if !pictures && !self.known {
            return; // trains are made of pictures
        }
        let estimate = self.estimate(carries).unwrap_or(super::MIN_RATE);
        let arriving = self.arrivals.over(ARRIVING).unwrap_or(0.0);
        let acknowledged = self.arrivals.over(ACKNOWLEDGED).unwrap_or(0.0);
        let loss = self.loss.average();
        let situation = Situation {
            now,
            estimate,
            known: self.known,
            filled: acknowledged >= FILLED * (1.0 - loss) * estimate,
            full: self.rate.full(),
            target,
            congested: self.congested,
            queue: self.queue.delay(),
            arriving,
            loss,
            rtt: self.rtt.unwrap_or(DEFAULT_RTT),
        };
        self.prober.consider(log, &situation);
    }

    fn packet(&mut self, packet: &Logged, arrived: Option<Micros>, now: Micros, pictures: bool) {
        self.prober.reported(packet, arrived);
        let lost = match (arrived, packet.was_missing) {
            (None, _) => 1,
            (Some(_), true) => -1,
            (Some(_), false) => 0,
        };
        self.loss.add(packet.sent, packet.size, lost);
        let Some(arrival) = arrived else {
            return;
        };
        self.arrivals.add(arrival, packet.size);
        if !self.known && pictures {
            let delay = arrival - packet.sent;
            self.first = (self.first.0 + 1, self.first.1.min(delay), delay);
        }
        let trip = (now - packet.sent).clamp(0, MOST_RTT);
        // The packet that came last waited least for the feedback.
        self.rtt = Some(self.rtt.map_or(trip, |rtt| (rtt * 31 + trip) / 32));
        self.queue.bound(packet.sent, arrival);
        // A train makes a queue on purpose.
        if packet.probe == NO_PROBE
            && let Some(delta) = self.groups.add(packet.sent, arrival)
        {
            self.trendline.add(&delta);
            self.queue.add(packet.sent, arrival);
        }
    }

    fn control(&mut self, now: Micros, newest: Micros, target: Option<f64>, log: &SentLog) {
        let acknowledged = self.arrivals.over(ACKNOWLEDGED);
        let signals = Signals {
            now,
            usage: self.trendline.usage(),
            queue: self.queue.delay(),
            rise: self.queue.rise(),
            sent: self
                .rate
                .on_trial(now)
                .then(|| log.sent_over(now, ACKNOWLEDGED)),
            lost: self.loss.newest(),
            arriving: self.arrivals.over(ARRIVING),
            acknowledged,
            rtt: self.rtt.unwrap_or(DEFAULT_RTT),
            unproved: target.filter(|_| self.prober.unable()),
        };
        match self.rate.update(&signals) {
            Step::Decreased => {
                self.known = true;
                self.congested = Some(now);
            }
            Step::Congested => self.congested = Some(now),
            Step::Foreign => self.queue.rebase(),
            Step::Clear if signals.usage == Usage::Over => self.congested = Some(now),
            Step::Clear => {}
        }
        let rate = self.rate.rate();
        let limited = acknowledged.is_none_or(|rate_in| rate_in < LIMITED * rate);
        self.loss.update(newest, rate, acknowledged, limited);
        if self.loss.bound().is_some() && rate < MAX_RATE {
            self.known = true;
        }
    }

    fn take(&mut self, found: Found) {
        if self.known {
            if found.rate > self.rate.rate() {
                self.rate.set(found.rate);
            }
            self.loss.set(found.rate);
            return;
        }
        self.found = self.found.max(found.rate);
        if !found.passed() {
            self.start(self.found);
        }
    }

    /// Ends the start once enough was tried.
    fn begin(&mut self, now: Micros) {
        if self.known {
            return;
        }
        let (packets, least, newest) = self.first;
        if packets >= FIRST_PACKETS && newest - least >= FIRST_DELAY {
            let fills = self.arrivals.over(FIRST_DELAY).unwrap_or(0.0);
            self.congested = Some(now);
            return self.start(FIRST_SHARE * fills);
        }
        let arrives = self.arrivals.over(ACKNOWLEDGED).unwrap_or(0.0);
        // Trains tell nothing of a path that takes more than they had; what it takes shows while
        // that goes on.
        let lately = self.arrivals.over(ARRIVING);
        let tried = self.prober.started() && !self.prober.busy();
        let tried = tried && lately.is_some_and(|lately| self.found >= lately);
        let waited = self.since.is_some_and(|since| now - since > START);
        if tried || waited {
            self.start(self.found.max(UNPROBED * arrives));
        }
    }

    fn start(&mut self, rate: f64) {
        if rate > 0.0 {
            self.rate.set(rate);
            self.known = true;
        }
    }

    /// The reference time on a line that does not wrap, in microseconds.
    fn unwrap(&mut self, reference: i32) -> Micros {
        let unwrapped = match self.reference {
            None => i64::from(reference),
            Some((last, unwrapped)) => {
                let shift = 32 - REFERENCE_BITS;
                let step = (reference.wrapping_sub(last) << shift) >> shift;
                unwrapped + i64::from(step)
            }
        };
        self.reference = Some((reference, unwrapped));
        unwrapped * 64_000
    }
}
