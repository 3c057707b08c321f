//! How much a viewer's path takes: an estimate per viewer, from nothing but what
//! this viewer reports of what it was sent.
//!
//! With transport-wide feedback the numbers of packets lead to [`sent`], whose
//! answer goes to [`groups`] and from there to [`trendline`] and [`queue`] (does
//! the delay rise, is there a queue), to [`acked`] (what arrives), to [`rate`]
//! (delay-based control), to [`loss`] (loss-based bound) and to [`probe`]
//! (trains that find more); `transport` holds them together. Without it,
//! [`reports`] has REMB and receiver reports. Times are microseconds of the worker's clock, rates bits per second.

pub mod acked;
pub mod capacity;
pub mod groups;
pub mod loss;
pub mod probe;
pub mod queue;
pub mod rate;
pub mod reports;
pub mod ring;
pub mod sent;
mod transport;
pub mod trendline;

use crate::net::prefetch::prefetch;
use crate::peer::rtcp::Twcc;
use crate::units::Bitrate;
use reports::{Report, Reports};
use sent::SentLog;
use transport::Transport;

/// Microseconds of the worker's clock, or of the receiver's where it says so.
pub type Micros = i64;

/// No estimate is lower: sound passes even so.
pub const MIN_RATE: f64 = 30_000.0;

/// No estimate is higher; no browser sends more to one viewer.
pub const MAX_RATE: f64 = 60_000_000.0;

/// One datagram tells of no more packets than this: a log holds no more.
pub const STATUSES: usize = 4096;

/// What a viewer is sent. Sound alone tells that a path carries so much and no more than
/// that, and there is nothing that a train could be made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Carries {
    /// Sound alone, and there is no picture to be sent.
    Sound,
    /// Sound alone, and a picture is about to begin.
    Soon,
    /// Pictures.
    #[default]
    Pictures,
}

/// See the module's description.
#[derive(Debug, Default)]
pub struct Congestion {
    /// From the first transport-wide feedback on: others need no such state.
    transport: Option<Box<Transport>>,
    reports: Reports,
    rtt: Option<Micros>,
    target: Option<f64>,
    carries: Carries,
}

impl Congestion {
    /// What the viewer's path takes; `None` while no limit is known.
    pub fn estimate(&self) -> Option<Bitrate> {
        let rate = match &self.transport {
            // A viewer that tells a limit of its own beside it means it.
            Some(transport) => [transport.estimate(self.carries), self.reports.own()]
                .into_iter()
                .flatten()
                .reduce(f64::min),
            None => self.reports.bound(),
        }?;
        Some(Bitrate(rate.clamp(MIN_RATE, MAX_RATE) as u64))
    }

    /// Begins to load what transport-wide feedback will need.
    pub fn prefetch(&self) {
        if let Some(transport) = &self.transport {
            prefetch(&**transport);
        }
    }

    /// And what that leads to, once it is there.
    pub fn prefetch_arrivals(&self) {
        if let Some(transport) = &self.transport {
            transport.arrivals.prefetch();
        }
    }

    /// The rate that would be useful beyond the estimate: probing goes towards it.
    pub fn set_target(&mut self, target: Option<Bitrate>) {
        self.target = target.map(|t| (t.0 as f64).min(MAX_RATE));
    }

    /// Notes what the viewer is sent from now on.
    pub fn set_carries(&mut self, now: Micros, carries: Carries) {
        let before = std::mem::replace(&mut self.carries, carries);
        if before == Carries::Sound
            && carries != Carries::Sound
            && let Some(transport) = &mut self.transport
        {
            transport.forget_sound(now);
        }
    }

    /// Takes transport-wide feedback, and begins a probe when one is due. `budget` is how many
    /// more packets may be told of by what came together ([`STATUSES`] at first).
    pub fn on_twcc(
        &mut self,
        now: Micros,
        feedback: &Twcc<'_>,
        log: &mut SentLog,
        budget: &mut usize,
    ) {
        let transport = self.transport.get_or_insert_default();
        transport.feedback(now, feedback, log, self.target, self.carries, budget);
    }

    /// Takes the viewer's own estimate.
    pub fn on_remb(&mut self, now: Micros, bitrate: u64) {
        self.reports.remb(now, bitrate as f64);
    }

    /// Takes what a receiver report says of the path.
    pub fn on_report(&mut self, now: Micros, report: &Report) {
        self.rtt = report.rtt.or(self.rtt);
        self.reports.report(now, report);
    }

    /// Padding bytes to send now for the probe under way; zero for none.
    pub fn padding_due(&mut self, now: Micros, log: &mut SentLog) -> usize {
        self.transport
            .as_mut()
            .map_or(0, |transport| transport.padding_due(now, log))
    }

    /// Padding of so many bytes was sent.
    pub fn padded(&mut self, bytes: usize) {
        if let Some(transport) = &mut self.transport {
            transport.prober.padded(bytes);
        }
    }

    /// Nothing can be sent as padding at present.
    pub fn give_up_probe(&mut self, now: Micros, log: &mut SentLog) {
        if let Some(transport) = &mut self.transport {
            transport.prober.give_up(now, log);
        }
    }

    /// When [`padding_due`](Self::padding_due) wants to be asked again.
    pub fn deadline(&self, now: Micros) -> Option<Micros> {
        self.transport.as_ref()?.prober.deadline(now)
    }

    /// Padding bytes sent in all.
    pub fn padding(&self) -> u64 {
        self.transport.as_ref().map_or(0, |t| t.prober.padding)
    }

    /// Queueing delay on the path, while transport-wide feedback tells it.
    pub fn queue_delay(&self) -> Option<Micros> {
        self.transport.as_ref().map(|t| t.queue.delay())
    }
}

#[cfg(test)]
mod tests;
