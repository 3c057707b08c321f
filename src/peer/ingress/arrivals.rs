//! When a publisher's packets arrived, by their transport-wide numbers: what its
//! congestion control is told (draft-holmer-rmcat-transport-wide-cc-extensions-01).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::peer::rtcp::{Arrival, RtcpError, RtcpWriter};

/// Feedback goes out this often while packets arrive, as in other SFUs; libwebrtc
/// itself varies between 50 and 250 ms.
const INTERVAL: Duration = Duration::from_millis(100);

/// A packet that comes so late is still told of.
const LATE: u64 = 500;

/// After so many in a row that were too late, the publisher's numbers have begun anew.
const ANEW: u8 = 50;

/// Packets told of at a time; more than arrive in an interval at 40 Mb/s.
const MOST: usize = 512;

/// See the module's description.
#[derive(Debug, Default)]
pub(super) struct TransportArrivals {
    /// In the order of their numbers: those that nobody was told of, and some before them.
    arrivals: VecDeque<Arrival>,
    /// Everything below has been told, as arrived or as lost.
    base: Option<u64>,
    count: u8,
    told: Option<Instant>,
    due: Option<Instant>,
    /// Numbers in a row that were too late.
    late: u8,
    /// Of the newest packet; feedback names one.
    ssrc: u32,
}

impl TransportArrivals {
    /// Notes that the packet with this number came now, on a clock of `micros`.
    pub(super) fn arrived(&mut self, now: Instant, micros: u64, seq: u16, ssrc: u32) {
        self.ssrc = ssrc;
        let newest = self.arrivals.back().map(|a| a.seq);
        let seq = match newest {
            // The first one begins in the second cycle: what comes before it has a number, too.
            None => self
                .base
                .map_or(u64::from(seq) | 1 << 16, |base| near(base, seq)),
            Some(newest) => near(newest, seq),
        };
        let base = *self.base.get_or_insert(seq);
        if seq + LATE < base {
            self.late += 1;
            if self.late >= ANEW {
                self.arrivals.clear();
                (self.base, self.late) = (None, 0);
            }
            return;
        }
        self.late = 0;
        let arrival = Arrival { seq, micros };
        if newest.is_none_or(|newest| seq > newest) {
            self.arrivals.push_back(arrival);
        } else {
            match self.arrivals.binary_search_by_key(&seq, |a| a.seq) {
                Ok(_) => return, // told, or to be told
                Err(at) => self.arrivals.insert(at, arrival),
            }
            // Feedback on a late one tells anew what came since.
            self.base = Some(base.min(seq));
        }
        while self.arrivals.len() > 2 * MOST {
            self.arrivals.pop_front();
        }
        let next = self.told.map_or(now, |told| told + INTERVAL);
        self.due.get_or_insert(next.max(now));
    }

    /// When [`write`](Self::write) wants to be called.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due
    }

    /// Writes what is to be told now; what does not fit is due at once again. False when
    /// nothing is due.
    pub(super) fn write(
        &mut self,
        now: Instant,
        writer: &mut RtcpWriter<'_>,
        sender_ssrc: u32,
    ) -> Result<bool, RtcpError> {
        if self.due.is_none_or(|at| at > now) {
            return Ok(false);
        }
        self.due = None;
        let Some(base) = self.base else {
            return Ok(false);
        };
        let from = self.arrivals.partition_point(|a| a.seq < base);
        let arrivals = self.arrivals.make_contiguous();
        let fresh = &arrivals[from..arrivals.len().min(from + MOST)];
        let (Some(first), Some(last)) = (fresh.first(), arrivals.last().map(|a| a.seq)) else {
            return Ok(false);
        };
        // A hole ahead of it that is larger is no loss but a restart.
        let base = base.max(first.seq.saturating_sub(LATE));
        let told = writer.twcc(sender_ssrc, self.ssrc, self.count, base, fresh)?;
        let Some(newest) = told.checked_sub(1).and_then(|at| fresh.get(at)) else {
            return Ok(false);
        };
        let newest = newest.seq;
        self.base = Some(newest + 1);
        self.count = self.count.wrapping_add(1);
        self.told = Some(now);
        if newest < last {
            self.due = Some(now);
        }
        let keep = newest.saturating_sub(LATE);
        while self.arrivals.front().is_some_and(|a| a.seq < keep) {
            self.arrivals.pop_front();
        }
        Ok(true)
    }

    /// What was to be told now is told a little later: there was no room.
    pub(super) fn put_off(&mut self, until: Instant) {
        self.due = self.due.map(|at| at.max(until));
    }
}

/// The full number nearest to `reference`.
fn near(reference: u64, seq: u16) -> u64 {
    let step = seq.wrapping_sub(reference as u16) as i16;
    reference.saturating_add_signed(i64::from(step))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::rtcp::{Packet, packets};

    struct Bench {
        arrivals: TransportArrivals,
        start: Instant,
        /// What was told, in order: number, and time in ms or lost.
        told: Vec<(u16, Option<i64>)>,
        sizes: Vec<usize>,
    }

    impl Bench {
        fn new() -> Self {
            Self {
                arrivals: TransportArrivals::default(),
                start: Instant::now(),
                told: Vec::new(),
                sizes: Vec::new(),
            }
        }

        fn arrive(&mut self, millis: u64, seq: u16) {
            let now = self.start + Duration::from_millis(millis);
            self.arrivals.arrived(now, millis * 1000, seq, 9);
        }

        fn poll(&mut self, millis: u64) -> bool {
            let now = self.start + Duration::from_millis(millis);
            let mut buf = [0; 1100];
            let mut writer = RtcpWriter::new(&mut buf);
            if !self.arrivals.write(now, &mut writer, 3).unwrap() {
                return false;
            }
            let length = writer.len();
            self.sizes.push(length);
            for packet in packets(&buf[..length]) {
                let Ok(Packet::Twcc(twcc)) = packet else {
                    panic!("{packet:?}");
                };
                assert_eq!((twcc.sender_ssrc, twcc.media_ssrc), (3, 9));
                assert_eq!(usize::from(twcc.feedback_count), self.sizes.len() - 1);
                let mut at = i64::from(twcc.reference_time) * 64_000;
                for (seq, delta) in twcc.statuses() {
                    at += i64::from(delta.unwrap_or(0));
                    self.told.push((seq, delta.map(|_| (at + 500) / 1000)));
                }
            }
            true
        }
    }

    #[test]
    fn the_first_is_told_at_once_the_others_together() {
        let mut bench = Bench::new();
        assert!(!bench.poll(0));
        bench.arrive(10, 65_534);
        assert!(bench.poll(10));
        bench.arrive(20, 65_535);
        bench.arrive(30, 1);
        assert_eq!(
            bench.arrivals.deadline(),
            Some(bench.start + Duration::from_millis(110))
        );
        assert!(!bench.poll(109));
        assert!(bench.poll(110));
        assert!(!bench.poll(500));
        let told = [
            (65_534, Some(10)),
            (65_535, Some(20)),
            (0, None),
            (1, Some(30)),
        ];
        assert_eq!(bench.told, told);
    }

    #[test]
    fn what_is_lost_between_two_feedbacks_is_told_as_lost() {
        let mut bench = Bench::new();
        bench.arrive(0, 100);
        assert!(bench.poll(0));
        bench.arrive(50, 103);
        assert!(bench.poll(100));
        assert_eq!(bench.told[1..], [(101, None), (102, None), (103, Some(50))]);
    }

    #[test]
    fn a_late_one_is_told_with_what_came_since() {
        let mut bench = Bench::new();
        for seq in [100, 102, 103] {
            bench.arrive(u64::from(seq), seq);
        }
        assert!(bench.poll(110));
        bench.told.clear();
        bench.arrive(150, 101);
        bench.arrive(160, 101);
        bench.arrive(170, 104);
        assert!(bench.poll(210));
        // Deltas may be negative: 102 came before 101.
        let told = [
            (101, Some(150)),
            (102, Some(102)),
            (103, Some(103)),
            (104, Some(170)),
        ];
        assert_eq!(bench.told, told);
    }

    #[test]
    fn a_burst_takes_several_feedbacks_and_a_leap_is_no_loss_of_thousands() {
        let mut bench = Bench::new();
        for seq in 0..1000 {
            bench.arrive(1 + u64::from(seq) / 10, seq);
        }
        let mut polls = 0;
        while bench.poll(101) {
            polls += 1;
        }
        assert!((2..=4).contains(&polls), "{polls}");
        let told: Vec<u16> = bench.told.iter().map(|t| t.0).collect();
        assert_eq!(told, (0..1000).collect::<Vec<_>>());
        assert!(bench.sizes.iter().all(|size| *size < 1100));
        bench.told.clear();
        bench.arrive(300, 31_000);
        assert!(bench.poll(300));
        assert_eq!(bench.told.len(), LATE as usize + 1);
        assert!(bench.arrivals.arrivals.len() <= 2 * MOST);
    }

    #[test]
    fn numbers_that_begin_anew_are_told_again() {
        let mut bench = Bench::new();
        bench.arrive(0, 20_000);
        assert!(bench.poll(0));
        bench.told.clear();
        for seq in 0..u16::from(ANEW) + 10 {
            bench.arrive(10, seq);
        }
        assert!(bench.poll(100));
        let told: Vec<u16> = bench.told.iter().map(|t| t.0).collect();
        assert_eq!(
            told,
            (ANEW.into()..u16::from(ANEW) + 10).collect::<Vec<_>>()
        );
    }
}
