//! Viewers without transport-wide feedback: what they estimate themselves
//! (REMB), or else what their receiver reports say of loss and round trip.
//!
//! Nothing is known until something goes wrong; then a bound is set below what
//! was sent, and it grows again. The thresholds are those of
//! draft-ietf-rmcat-gcc-02 §6.

use super::Micros;
use super::{MAX_RATE, MIN_RATE};

/// Less loss than this lets the bound grow, more than that lowers it (§6).
const LOW: f64 = 0.02;
const HIGH: f64 = 0.10;

/// Growth a second.
const GROWTH: f64 = 1.08;

/// Reports on fewer packets are gathered first.
const LEAST_PACKETS: u32 = 20;

/// A round trip this much above the least is a queue.
const QUEUE: Micros = 250_000;

/// Of what was sent, this much is left for a queue.
const BACK_OFF: f64 = 0.85;

/// After the bound was lowered it grows not before this, twice as long each
/// time, the first again after [`FORGIVEN`].
const HOLD: Micros = 2_000_000;
const HOLD_LIMIT: Micros = 32_000_000;
const FORGIVEN: Micros = 60_000_000;

/// An estimate of the viewer's own is good for this long (libwebrtc sends one
/// a second, and sooner when it falls).
const REMB_VALID: Micros = 10_000_000;

/// The least round trip is looked for in this time and the one before.
const BASE_WINDOW: Micros = 30_000_000;

/// What a receiver report says of the path.
#[derive(Debug, Clone, Copy, Default)]
pub struct Report {
    /// Packets that should have arrived since the last report.
    pub packets: u32,
    /// Packets of these that were sent and did not arrive.
    pub lost: u32,
    /// Round trip, when it tells one.
    pub rtt: Option<Micros>,
    /// Bits per second sent of late.
    pub sent: f64,
}

/// See the module's description.
#[derive(Debug, Default)]
pub struct Reports {
    remb: Option<(Micros, f64)>,
    bound: Option<f64>,
    packets: u32,
    lost: u32,
    updated: Option<Micros>,
    lowered: Option<Micros>,
    hold: Micros,
    least_rtt: Option<Micros>,
    next_least_rtt: Option<Micros>,
    rtt_since: Micros,
}

impl Reports {
    /// Bits per second, when a bound is known.
    pub fn bound(&self) -> Option<f64> {
        [self.own(), self.bound]
            .into_iter()
            .flatten()
            .reduce(f64::min)
    }

    /// The viewer's own estimate, while it is fresh.
    pub fn own(&self) -> Option<f64> {
        self.remb.map(|(_, rate)| rate)
    }

    /// The viewer's own estimate (draft-alvestrand-rmcat-remb-03).
    pub fn remb(&mut self, now: Micros, rate: f64) {
        self.remb = Some((now, rate.clamp(MIN_RATE, MAX_RATE)));
    }

    /// A receiver report.
    pub fn report(&mut self, now: Micros, report: &Report) {
        if self.remb.is_some_and(|(at, _)| now - at > REMB_VALID) {
            self.remb = None;
        }
        let queued = report.rtt.is_some_and(|rtt| self.queued(now, rtt));
        self.packets += report.packets;
        self.lost += report.lost;
        if self.packets < LEAST_PACKETS && !queued {
            return;
        }
        let loss = if self.packets > 0 {
            (f64::from(self.lost) / f64::from(self.packets)).clamp(0.0, 1.0)
        } else {
            0.0
        };
        (self.packets, self.lost) = (0, 0);
        let elapsed = now - self.updated.replace(now).unwrap_or(now);
        if loss > HIGH {
            self.lower(now, report.sent * (1.0 - 0.5 * loss));
        } else if queued {
            self.lower(now, report.sent * BACK_OFF);
        } else if loss < LOW
            && self.lowered.is_none_or(|at| now - at >= self.hold)
            && let Some(bound) = &mut self.bound
        {
            *bound *= GROWTH.powf((elapsed as f64 / 1e6).clamp(0.0, 5.0));
        }
        if self.bound.is_some_and(|bound| bound >= MAX_RATE) {
            self.bound = None;
        }
    }

    fn lower(&mut self, now: Micros, rate: f64) {
        if rate <= 0.0 {
            return;
        }
        let again = self.lowered.is_some_and(|at| now - at < FORGIVEN);
        self.hold = if again {
            (self.hold * 2).min(HOLD_LIMIT)
        } else {
            HOLD
        };
        self.lowered = Some(now);
        let rate = rate.clamp(MIN_RATE, MAX_RATE);
        self.bound = Some(self.bound.map_or(rate, |bound| bound.min(rate)));
    }

    fn queued(&mut self, now: Micros, rtt: Micros) -> bool {
        if self.least_rtt.is_none() || now - self.rtt_since > BASE_WINDOW {
            self.least_rtt = self.next_least_rtt.take().or(Some(rtt));
            self.rtt_since = now;
        }
        let least = |known: Option<Micros>| Some(known.map_or(rtt, |known| known.min(rtt)));
        self.least_rtt = least(self.least_rtt);
        self.next_least_rtt = least(self.next_least_rtt);
        self.least_rtt.is_some_and(|base| rtt > base + QUEUE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Micros = 1_000_000;

    fn report(lost: u32, rtt: Micros) -> Report {
        Report {
            packets: 200,
            lost,
            rtt: Some(rtt),
            sent: 2e6,
        }
    }

    #[test]
    fn nothing_is_bound_while_all_is_well() {
        let mut reports = Reports::default();
        for second in 0..60 {
            reports.report(second * SECOND, &report(8, 80_000));
        }
        assert_eq!(reports.bound(), None);
    }

    #[test]
    fn loss_and_queues_bind_below_what_was_sent() {
        let table = [
            (40, 80_000, Some(1.8e6)),
            (0, 500_000, Some(1.7e6)),
            (18, 80_000, None),
        ];
        for (lost, rtt, bound) in table {
            let mut reports = Reports::default();
            reports.report(0, &report(0, 80_000));
            reports.report(SECOND, &report(lost, rtt));
            assert_eq!(reports.bound(), bound, "{lost} {rtt}");
        }
    }

    #[test]
    fn a_bound_waits_and_then_grows_and_waits_longer_the_next_time() {
        let mut reports = Reports::default();
        reports.report(0, &report(50, 80_000));
        let low = reports.bound().unwrap();
        let mut grew = None;
        for second in 1..20 {
            reports.report(second * SECOND, &report(0, 80_000));
            if grew.is_none() && reports.bound().unwrap() > low {
                grew = Some(second);
            }
        }
        assert_eq!(grew, Some(2));
        assert!(reports.bound().unwrap() > 3.0 * low);
        reports.report(20 * SECOND, &report(50, 80_000));
        let low = reports.bound().unwrap();
        reports.report(23 * SECOND, &report(0, 80_000));
        assert_eq!(reports.bound(), Some(low));
        reports.report(24 * SECOND, &report(0, 80_000));
        assert!(reports.bound().unwrap() > low);
    }

    #[test]
    fn few_packets_are_gathered() {
        let mut reports = Reports::default();
        let few = Report {
            packets: 5,
            lost: 5,
            ..report(0, 80_000)
        };
        for second in 0..3 {
            reports.report(second * SECOND, &few);
        }
        assert_eq!(reports.bound(), None);
        reports.report(3 * SECOND, &few);
        assert_eq!(reports.bound(), Some(1e6));
    }

    #[test]
    fn the_viewers_own_estimate_counts_while_it_is_fresh() {
        let mut reports = Reports::default();
        reports.remb(0, 1.2e6);
        assert_eq!(reports.bound(), Some(1.2e6));
        reports.report(SECOND, &report(0, 80_000));
        assert_eq!(reports.bound(), Some(1.2e6));
        reports.report(12 * SECOND, &report(0, 80_000));
        assert_eq!(reports.bound(), None);
        reports.remb(13 * SECOND, f64::MAX);
        assert_eq!(reports.bound(), Some(MAX_RATE));
    }
}
