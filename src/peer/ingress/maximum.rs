//! How much a publisher may send, told to those that take a maximum from their receiver
//! and give no transport-wide numbers to estimate by themselves with (`goog-remb`,
//! draft-alvestrand-rmcat-remb-03): aiortc, libdatachannel, older clients.
//!
//! An encoder goes no higher than it is told, and what it does not send is never
//! seen to arrive. So the maximum lies well above what arrives: an encoder that
//! can send more doubles within a second. It falls below what arrives where much is
//! lost, or where packets tell when they were sent (`abs-send-time`) and the way takes ever
//! longer; from then on it grows slowly. RTP timestamps would not do in its place: they tell of
//! capture, and a busy encoder looks like a queue.

use std::time::{Duration, Instant};

use crate::peer::congestion::Micros;
use crate::peer::congestion::acked::ArrivalRate;
use crate::peer::congestion::groups::Groups;
use crate::peer::congestion::queue::QueueDelay;
use crate::peer::congestion::trendline::{Trendline, Usage};

/// Times what arrives, and this on top, while the path was never seen full.
const FREE: f64 = 2.0;
const FREE_MORE: f64 = 500_000.0;

/// The same after it was.
const WARY: f64 = 1.5;
const WARY_MORE: f64 = 100_000.0;

/// Growth a second then, and near the rate at which it was full.
const GROWTH: f64 = 1.15;
const GROWTH_NEAR: f64 = 1.02;
const NEAR: (f64, f64) = (0.85, 1.2);

/// The path is taken for a free one again this long after it was full.
const FORGOTTEN: Micros = 60_000_000;

/// What is left of what arrives when the way takes ever longer.
const BACK_OFF: f64 = 0.85;

/// A trend is believed when the queue is at least this long; a queue of any
/// shape is too long at the second value.
const QUEUE: (Micros, Micros) = (25_000, 250_000);

/// More than this share lost is too much, more than that is no ground to grow.
const LOSS: (f64, f64) = (0.10, 0.02);

/// Loss is counted over this time and so many packets.
const LOSS_SPAN: Micros = 1_000_000;
const LOSS_PACKETS: u64 = 30;

/// The least time between two decreases: that of a round trip, the telling, and
/// the encoder's reaction.
const BETWEEN: Micros = 400_000;

/// Rates are over this time.
const SPAN: Micros = 500_000;

/// The maximum is looked at this often.
const STEP: Micros = 50_000;

/// It is told this often, ...
const TELL: Duration = Duration::from_secs(1);

/// ... sooner, but not sooner than this, when it fell by more than a share.
const TELL_SOON: Duration = Duration::from_millis(100);
const FELL: f64 = 0.03;

/// A publisher that sends nothing is told nothing.
const SILENT: Duration = Duration::from_secs(3);

/// Bits per second; no encoder needs less to work at all, none sends more.
const LEAST: f64 = 100_000.0;
const MOST: f64 = 60_000_000.0;

/// `abs-send-time` counts modulo 64 s.
const ROUND: Micros = 64_000_000;

/// A packet as the estimate sees it.
#[derive(Debug, Clone, Copy)]
pub struct Arrived {
    /// Its size on the wire in bytes.
    pub size: usize,
    /// Packets of its stream that are missing right ahead of it; `None` for a
    /// late or repaired one.
    pub missing: Option<u64>,
    /// When it was sent, on the publisher's clock: `abs-send-time` as on the wire, 24 bits of
    /// 6.18 fixed point seconds.
    pub sent: Option<u32>,
}

/// See the module's description.
#[derive(Debug, Default)]
pub struct MaximumRate {
    start: Option<Instant>,
    newest: Option<Instant>,
    arrivals: ArrivalRate,
    groups: Groups,
    trendline: Trendline,
    queue: QueueDelay,
    /// The newest time of sending: as told, and on a line that does not wrap.
    sent: Option<(Micros, Micros)>,
    /// Packets that should have come and those that did not, since when.
    counted: (u64, u64, Micros),
    loss: f64,
    /// Bits per second.
    rate: Option<f64>,
    judged: Micros,
    /// When the path was full, and what arrived then where a queue showed it.
    full: Option<(Micros, Option<f64>)>,
    told: Option<(Instant, f64)>,
}

impl MaximumRate {
    /// Takes a packet of video.
    pub fn arrived(&mut self, now: Instant, packet: Arrived) {
        let start = *self.start.get_or_insert(now);
        let at = micros(now.saturating_duration_since(start));
        self.newest = Some(now);
        self.arrivals.add(at, packet.size as u32);
        if let Some(missing) = packet.missing {
            self.counted.0 += missing + 1;
            self.counted.1 += missing;
            if let Some(sent) = packet.sent {
                self.on_the_way(sent, at);
            }
        }
        if at - self.judged >= STEP {
            self.judge(at);
            self.judged = at;
        }
    }

    fn on_the_way(&mut self, sent: u32, at: Micros) {
        let sent = (i64::from(sent & 0xff_ffff) * 1_000_000) >> 18;
        let unwrapped = match self.sent {
            None => 0,
            Some((last, unwrapped)) => {
                let step = (sent - last).rem_euclid(ROUND);
                unwrapped + if step > ROUND / 2 { step - ROUND } else { step }
            }
        };
        self.sent = Some((sent, unwrapped));
        if let Some(delta) = self.groups.add(unwrapped, at) {
            self.trendline.add(&delta);
            self.queue.add(unwrapped, at);
        }
    }

    fn judge(&mut self, at: Micros) {
        let (expected, lost, since) = self.counted;
        if at - since >= LOSS_SPAN && expected >= LOSS_PACKETS {
            self.loss = lost as f64 / expected as f64;
            self.counted = (0, 0, at);
        }
        let Some(arrives) = self.arrivals.over(SPAN) else {
            return;
        };
        let rate = *self.rate.get_or_insert(FREE * arrives + FREE_MORE);
        let queue = self.queue.delay();
        let slower = self.trendline.usage() == Usage::Over && queue >= QUEUE.0 || queue >= QUEUE.1;
        let settled = self.full.is_none_or(|(full, _)| at - full >= BETWEEN);
        let left = match (slower, self.loss > LOSS.0) {
            (true, _) => Some(BACK_OFF),
            // A loss is judged once: the next count is of another second.
            (_, true) => Some(1.0 - 0.5 * std::mem::take(&mut self.loss)),
            _ => None,
        };
        if let Some(left) = left {
            if settled {
                self.full = Some((at, slower.then_some(arrives)));
                self.rate = Some((left * arrives).min(rate).clamp(LEAST, MOST));
            }
            return;
        }
        if self.loss > LOSS.1 || self.trendline.usage() != Usage::Normal {
            return;
        }
        let grown = match self.full {
            Some((full, capacity)) if at - full < FORGOTTEN => {
                let near = capacity.is_some_and(|c| (NEAR.0 * c..NEAR.1 * c).contains(&rate));
                let growth = if near { GROWTH_NEAR } else { GROWTH };
                let seconds = (at - self.judged) as f64 / 1e6;
                let limit = WARY * arrives + WARY_MORE;
                (rate * growth.powf(seconds.min(1.0))).min(limit)
            }
            _ => FREE * arrives + FREE_MORE,
        };
        // Less arrives because less is sent: that is no ground to allow less.
        self.rate = Some(rate.max(grown).clamp(LEAST, MOST));
    }

    /// Bits per second that the publisher may send, once something arrived.
    pub fn rate(&self) -> Option<u64> {
        self.rate.map(|rate| rate as u64)
    }

    /// When [`due`](Self::due) wants to be called.
    pub fn deadline(&self) -> Option<Instant> {
        let rate = self.rate?;
        let next = match self.told {
            None => self.newest?,
            Some((at, told)) if rate < told * (1.0 - FELL) => at + TELL_SOON,
            Some((at, _)) => at + TELL,
        };
        (next < self.newest? + SILENT).then_some(next)
    }

    /// What the publisher is to be told now.
    pub fn due(&mut self, now: Instant) -> Option<u64> {
        let at = self.deadline()?;
        let rate = self.rate?;
        if now < at {
            return None;
        }
        self.told = Some((now, rate));
        self.rate()
    }
}

fn micros(time: Duration) -> Micros {
    Micros::try_from(time.as_micros()).unwrap_or(Micros::MAX)
}

#[cfg(test)]
#[path = "maximum_tests.rs"]
mod tests;
