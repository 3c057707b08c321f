//! What arrived of one stream: which numbers, and what its sender is told of
//! it in receiver reports (RFC 3550 §6.4.1, appendix A).

use std::time::{Duration, Instant};

use crate::peer::rtcp::{NtpTime, ReportBlock};
use crate::peer::srtp::RtpWindow;

/// Numbers behind the newest that a repair may still fill: as many as SRTP lets a plain resend be
/// late.
pub(super) const REPAIRABLE: u64 = RtpWindow::SPAN;

/// A repair is of what was sent before it, so the newest packet that came can't be further behind
/// than this, the rest being late or lost. What is, was meant for another SSRC.
const AHEAD: u64 = 256;

/// Half of what 16 bits count.
const HALF: u64 = 1 << 15;

/// See the module's description.
#[derive(Debug, Default)]
pub(super) struct Reception {
    window: RtpWindow,
    /// The first number, and the packets that came since; repairs by RTX do not count.
    first: Option<u64>,
    received: u64,
    /// Both at the last report: what was expected, and what came.
    told: (u64, u64),
    /// Arrival less timestamp of the newest packet, and the jitter times 16, in the
    /// timestamp's units (RFC 3550 §A.8).
    transit: Option<u32>,
    jitter: u32,
    /// The last sender report's time, and when it came.
    sender: Option<(u32, Instant)>,
    /// When the first packet came, which arrivals count from.
    start: Option<Instant>,
}

impl Reception {
    /// The highest number.
    pub(super) fn highest(&self) -> Option<u64> {
        self.window.highest()
    }

    /// The full number of a packet whose lower 16 bits an RTX packet has told; `None` when
    /// nothing came that it could be near to.
    pub(super) fn extend(&self, seq: u16) -> Option<u64> {
        let highest = self.highest()?;
        let ahead = u64::from(seq.wrapping_sub(highest as u16));
        if ahead < HALF {
            (ahead <= AHEAD).then_some(highest + ahead)
        } else {
            (highest + ahead).checked_sub(1 << 16)
        }
    }

    /// Notes a number. False when it is known already, or too old to be told from a known one.
    pub(super) fn accept(&mut self, seq: u64) -> bool {
        let is_new = self.window.check(seq).is_ok();
        if is_new {
            self.window.accept(seq);
        }
        is_new
    }

    /// Takes a packet that came by itself, with its timestamp in units of `clock_rate` hertz. False
    /// as with [`accept`](Self::accept).
    pub(super) fn count(
        &mut self,
        now: Instant,
        seq: u64,
        timestamp: u32,
        clock_rate: u32,
    ) -> bool {
        let is_late = self.highest().is_some_and(|highest| seq < highest);
        if !self.accept(seq) {
            return false;
        }
        self.received += 1;
        // A packet that is older than the first was sent before we listened.
        self.first = Some(self.first.map_or(seq, |first| first.min(seq)));
        if is_late {
            return true; // sent again, perhaps, which is no jitter
        }
        let start = *self.start.get_or_insert(now);
        let since = now.saturating_duration_since(start).as_micros() as u64;
        let arrival = (since * u64::from(clock_rate) / 1_000_000) as u32;
        let transit = arrival.wrapping_sub(timestamp);
        if let Some(last) = self.transit.replace(transit) {
            let step = (transit.wrapping_sub(last) as i32).unsigned_abs();
            // A leap of the timestamp is no jitter: libwebrtc leaves out what is over 5 s, too.
            if step < 5 * clock_rate {
                self.jitter = self.jitter + step - ((self.jitter + 8) >> 4);
            }
        }
        true
    }

    /// Notes a sender report.
    pub(super) fn sender_report(&mut self, now: Instant, time: NtpTime) {
        self.sender = Some((time.compact(), now));
    }

    /// What its sender is told now; `None` before the first packet.
    pub(super) fn report(&mut self, now: Instant, ssrc: u32) -> Option<ReportBlock> {
        let (first, highest) = (self.first?, self.highest()?);
        let expected = highest + 1 - first;
        let (expected_before, received_before) = self.told;
        let expected_since = expected.saturating_sub(expected_before);
        let lost_since = expected_since.saturating_sub(self.received - received_before);
        self.told = (expected, self.received);
        let fraction = (lost_since * 256).checked_div(expected_since).unwrap_or(0);
        let lost = expected as i64 - self.received as i64;
        let delay = |since: Instant| {
            let delay: Duration = now.saturating_duration_since(since);
            u32::try_from((delay.as_micros() << 16) / 1_000_000).unwrap_or(u32::MAX)
        };
        Some(ReportBlock {
            ssrc,
            fraction_lost: u8::try_from(fraction).unwrap_or(u8::MAX),
            cumulative_lost: lost.clamp(-0x80_0000, 0x7f_ffff) as i32,
            ext_max_seq: highest as u32,
            jitter: self.jitter >> 4,
            lsr: self.sender.map_or(0, |(time, _)| time),
            dlsr: self.sender.map_or(0, |(_, since)| delay(since)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOCK: u32 = 90_000;

    fn at(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    /// Takes packets, 20 ms apart on both clocks.
    fn take(reception: &mut Reception, start: Instant, seqs: impl IntoIterator<Item = u64>) {
        for seq in seqs {
            reception.count(at(start, seq * 20), seq, seq as u32 * 1800, CLOCK);
        }
    }

    #[test]
    fn losses_are_told_once_and_in_all() {
        let start = Instant::now();
        let mut reception = Reception::default();
        assert_eq!(reception.report(start, 7), None);
        take(
            &mut reception,
            start,
            (70_000..70_100).filter(|s| s % 4 != 1),
        );
        let report = reception.report(start, 7).unwrap();
        assert_eq!((report.ssrc, report.ext_max_seq), (7, 70_099));
        assert_eq!(report.cumulative_lost, 25);
        assert_eq!(report.fraction_lost, 64);
        assert_eq!((report.jitter, report.lsr, report.dlsr), (0, 0, 0));
        // What is late is made good; what came twice does not count.
        take(&mut reception, start, [70_001, 70_001]);
        take(&mut reception, start, 70_100..70_110);
        let report = reception.report(start, 7).unwrap();
        assert_eq!((report.cumulative_lost, report.fraction_lost), (24, 0));
        // A repair by RTX fills the hole, but the loss remains one.
        assert!(reception.accept(70_005));
        assert!(!reception.accept(70_005));
        assert_eq!(reception.report(start, 7).unwrap().cumulative_lost, 24);
    }

    #[test]
    fn sender_reports_come_back_with_their_delay() {
        let start = Instant::now();
        let mut reception = Reception::default();
        take(&mut reception, start, 1..3);
        reception.sender_report(start, NtpTime(0x1234_5678_9abc_def0));
        let report = reception.report(at(start, 1500), 1).unwrap();
        assert_eq!(report.lsr, 0x5678_9abc);
        assert_eq!(report.dlsr, 65_536 * 3 / 2);
    }

    #[test]
    fn jitter_is_the_mean_deviation_of_the_way() {
        let start = Instant::now();
        let mut reception = Reception::default();
        // Each second packet is 2 ms late: the way changes by 180 units each time.
        for seq in 0..2000u64 {
            let now = at(start, seq * 20 + 2 * (seq % 2));
            reception.count(now, seq, (seq * 1800) as u32, CLOCK);
        }
        let jitter = reception.report(start, 1).unwrap().jitter;
        assert!((178..=182).contains(&jitter), "{jitter}");
        // The timestamp begins anew: no jitter of hours.
        reception.count(at(start, 40_000), 2000, 4_000_000_000, CLOCK);
        // Nor is what comes a second late because it was sent again.
        reception.count(at(start, 40_040), 2002, 4_000_003_600, CLOCK);
        reception.count(at(start, 41_000), 2001, 4_000_001_800, CLOCK);
        let jitter = reception.report(start, 1).unwrap().jitter;
        assert!(jitter <= 182, "{jitter}");
    }

    #[test]
    fn a_repair_belongs_to_the_number_nearest_to_the_newest() {
        let mut reception = Reception::default();
        assert_eq!(reception.extend(5), None);
        reception.accept(65_530);
        assert_eq!(reception.extend(65_000), Some(65_000));
        assert_eq!(reception.extend(3), Some(65_539));
        assert_eq!(reception.extend(20_000), None, "that was never sent");
        reception.accept(65_540);
        assert_eq!(reception.extend(65_530), Some(65_530));
        let mut young = Reception::default();
        young.accept(10);
        assert_eq!(
            young.extend(65_530),
            None,
            "before the first cycle is nothing"
        );
    }
}
