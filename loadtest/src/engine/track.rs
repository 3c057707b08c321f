//! One received stream of a viewer.

use std::time::{Duration, Instant};

use rtcp::reception_report::ReceptionReport;

use super::rtcp_out;
use crate::measure::frames::Frames;
use crate::measure::line::{Arrival, Line};
use crate::measure::loss::{Loss, Sums};
use crate::measure::window::Window;
use crate::media::stamp::Stamp;
pub(super) use crate::signal::negotiated::Medium;

/// How often a packet is asked for, as in libwebrtc.
const NACK_TRIES: u8 = 10;
/// Between two requests for the same packet: the round trip that libwebrtc takes
/// where it has not measured one, as a client that only receives has not.
const NACK_INTERVAL: Duration = Duration::from_millis(100);
/// More missing packets than this can't be repaired, as in libwebrtc.
const MAX_MISSING: usize = 1000;

struct Missing {
    number: i64,
    /// When to ask for it.
    due: Instant,
    asked: u8,
}

pub(super) struct Track {
    pub(super) ssrc: u32,
    pub(super) line: Line,
    pub(super) frames: Frames,
    pub(super) loss: Loss,
    /// When the last packet came, kernel time.
    pub(super) last_ns: u64,
    /// When the last decodable frame was complete; 0 before the first.
    pub(super) last_frame_ns: u64,
    /// What the viewer's socket had dropped by then.
    pub(super) drops_at_frame: u32,
    /// When the next keyframe may be asked for.
    pub(super) next_pli: Instant,
    /// The end of a picture has come.
    pub(super) pictured: bool,
    /// Its participant was told to the run.
    pub(super) told: bool,
    /// Whose the packets are that came from the server's cache, while nothing else has come.
    pub(super) replayed_of: Option<u64>,
    missing: Vec<Missing>,
    clock: f64,
    /// Interarrival jitter in clock units, and the transit before (RFC 3550 §6.4.1).
    jitter: f64,
    transit: Option<f64>,
    /// The last sender report: NTP time, RTP time, our receive time.
    sender_report: Option<(u64, u32, u64)>,
    /// Media time of the last stamped packet minus what the report maps it to.
    pub(super) sync_error_ns: Option<i64>,
    reported: Sums,
    last_reported_expected: u64,
    last_reported_received: u64,
    /// The packets come through a simulated link.
    own_link: bool,
}

impl Track {
    /// `next_pli`: no keyframe is asked for before.
    pub(super) fn new(medium: Medium, ssrc: u32, own_link: bool, next_pli: Instant) -> Self {
        Self {
            ssrc,
            line: Line::default(),
            frames: Frames::default(),
            loss: Loss::default(),
            last_ns: 0,
            last_frame_ns: 0,
            drops_at_frame: 0,
            next_pli,
            pictured: false,
            told: false,
            replayed_of: None,
            missing: Vec::new(),
            clock: match medium {
                Medium::Audio => 48_000.0,
                Medium::Video => 90_000.0,
            },
            jitter: 0.0,
            transit: None,
            sender_report: None,
            sync_error_ns: None,
            reported: Sums::default(),
            last_reported_expected: 0,
            last_reported_received: 0,
            own_link,
        }
    }

    /// Who publishes it, once that is known.
    pub(super) fn participant(&self) -> Option<u64> {
        let live = self.loss.stream().map(|s| s.participant);
        live.or(self.replayed_of)
    }

    /// Interarrival jitter in seconds.
    pub(super) fn jitter_seconds(&self) -> f64 {
        self.jitter / self.clock
    }

    /// Keeps the jitter, by kernel time-stamps.
    pub(super) fn interarrival(&mut self, kernel_ns: u64, timestamp: u32) {
        // Only differences count; both clocks may wrap.
        let arrival = (kernel_ns % 1_000_000_000_000) as f64 / 1e9 * self.clock;
        let transit = arrival - f64::from(timestamp);
        if let Some(before) = self.transit {
            let d = (transit - before).abs();
            // A wrap or a new line is no jitter.
            if d < self.clock * 10.0 {
                self.jitter += (d - self.jitter) / 16.0;
            }
        }
        self.transit = Some(transit);
    }

    /// Notes the packets that a newer one has passed over.
    pub(super) fn passed_over(&mut self, number: i64, skipped: u64, now: Instant) {
        if skipped as usize > MAX_MISSING {
            self.missing.clear();
            return;
        }
        for n in number - skipped as i64..number {
            self.missing.push(Missing {
                number: n,
                due: now,
                asked: 0,
            });
        }
        let extra = self.missing.len().saturating_sub(MAX_MISSING);
        self.missing.drain(..extra);
    }

    /// True when the packet had been asked for.
    pub(super) fn arrived(&mut self, number: i64) -> bool {
        match self.missing.iter().position(|m| m.number == number) {
            Some(i) => self.missing.swap_remove(i).asked > 0,
            None => false,
        }
    }

    /// True when packets are missing.
    pub(super) fn has_missing(&self) -> bool {
        !self.missing.is_empty()
    }

    /// The packets to ask for now.
    pub(super) fn wanted(&mut self, now: Instant) -> Vec<u16> {
        let line = &self.line;
        // One that was asked for in vain is given up when its answer is overdue.
        self.missing
            .retain(|m| !line.has(m.number) && (m.asked < NACK_TRIES || now < m.due));
        let mut wanted: Vec<i64> = Vec::new();
        for m in self.missing.iter_mut().filter(|m| now >= m.due) {
            m.asked += 1;
            m.due = now + NACK_INTERVAL;
            wanted.push(m.number);
        }
        wanted.sort_unstable();
        wanted.into_iter().map(|n| n as u16).collect()
    }

    /// Takes what a sender report says.
    pub(super) fn report(&mut self, ntp: u64, rtp_time: u32, now_ns: u64) {
        self.sender_report = Some((ntp, rtp_time, now_ns));
    }

    /// Compares a packet's media time with what the sender report maps its
    /// time-stamp to: that is what a player synchronizes by.
    pub(super) fn synchronize(&mut self, timestamp: u32, stamp: &Stamp) {
        let Some((ntp, rtp_time, _)) = self.sender_report else {
            return;
        };
        let ticks = timestamp.wrapping_sub(rtp_time) as i32;
        let mapped = rtcp_out::unix_ns(ntp) as i64 + (f64::from(ticks) / self.clock * 1e9) as i64;
        let media = stamp.sent_ns as i64 - i64::from(stamp.age_us) * 1000;
        self.sync_error_ns = Some(mapped - media);
    }

    /// Lost of what should have come so far, in millionths.
    pub(super) fn lost_ppm(&self) -> u64 {
        let Sums { expected, lost, .. } = self.reported;
        (lost * 1_000_000).checked_div(expected).unwrap_or(0)
    }

    /// Adds what was expected and lost since the last call.
    pub(super) fn settle(&mut self, complete: bool) -> (i64, i64, i64) {
        let sums = self.loss.sums(&self.line, complete);
        let before = std::mem::replace(&mut self.reported, sums);
        (
            sums.expected as i64 - before.expected as i64,
            sums.lost as i64 - before.lost as i64,
            sums.repeated as i64 - before.repeated as i64,
        )
    }

    /// A report block (RFC 3550 §6.4.1, appendix A.3).
    pub(super) fn reception(&mut self, now_ns: u64) -> Option<ReceptionReport> {
        let first = self.line.first()?;
        let expected = (self.line.highest() - first + 1).max(0) as u64;
        let received = self.line.unique();
        let interval_expected = expected.saturating_sub(self.last_reported_expected);
        let interval_received = received.saturating_sub(self.last_reported_received);
        self.last_reported_expected = expected;
        self.last_reported_received = received;
        let lost = interval_expected.saturating_sub(interval_received);
        let fraction = (lost * 256).checked_div(interval_expected).unwrap_or(0);
        let (last_sender_report, delay) =
            self.sender_report.map_or((0, 0), |(ntp, _, received_ns)| {
                let passed = now_ns.saturating_sub(received_ns);
                ((ntp >> 16) as u32, (passed * 65_536 / 1_000_000_000) as u32)
            });
        Some(ReceptionReport {
            ssrc: self.ssrc,
            fraction_lost: fraction.min(255) as u8,
            total_lost: expected.saturating_sub(received).min(0x7F_FFFF) as u32,
            last_sequence_number: self.line.highest() as u32,
            jitter: self.jitter as u32,
            last_sender_report,
            delay,
        })
    }

    /// Takes a packet into the line and counts how it came.
    pub(super) fn take(
        &mut self,
        number: i64,
        marker: bool,
        retransmission: bool,
        own_rtx: bool,
        now: Instant,
        window: &mut Window,
    ) -> Arrival {
        let arrival = self.line.push(number, marker);
        let fresh = matches!(arrival, Arrival::New { .. } | Arrival::Late);
        window.forwarded_packets = window.forwarded_packets.wrapping_add(fresh.into());
        match arrival {
            Arrival::New { skipped: 0 } => {}
            Arrival::New { skipped } => self.passed_over(number, skipped, now),
            Arrival::Late => {
                // Without a stream of its own a retransmission looks like a late
                // packet; it is one if it was asked for.
                let asked = self.arrived(number);
                if retransmission || asked && !own_rtx {
                    window.recovered += 1;
                } else if self.own_link {
                    window.simulated_reorders += 1;
                } else {
                    window.reordered += 1;
                }
            }
            Arrival::Duplicate if !retransmission => window.duplicates += 1,
            Arrival::Duplicate | Arrival::Old => {}
        }
        arrival
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_packet_is_asked_for_ten_times() {
        let mut track = Track::new(Medium::Video, 1, false, Instant::now());
        let mut window = Window::default();
        let start = Instant::now();
        for n in [5, 6, 9] {
            track.take(n, false, false, true, start, &mut window);
        }
        assert_eq!(track.wanted(start), [7, 8]);
        assert_eq!(track.wanted(start + NACK_INTERVAL / 2), Vec::<u16>::new());
        track.take(8, false, true, true, start, &mut window);
        assert_eq!(window.recovered, 1);
        let mut asked = 1;
        for ms in 0..3000 {
            let wanted = track.wanted(start + Duration::from_millis(ms));
            assert!(wanted.is_empty() || wanted == [7]);
            asked += wanted.len();
        }
        assert_eq!(asked, usize::from(NACK_TRIES));
        assert!(!track.has_missing());
    }

    #[test]
    fn reports_tell_true_loss() {
        let mut track = Track::new(Medium::Video, 1, false, Instant::now());
        let (now, mut window) = (Instant::now(), Window::default());
        for n in (100..200).filter(|n| n % 4 != 0 || *n == 100) {
            track.take(n, false, false, true, now, &mut window);
        }
        let report = track.reception(0).unwrap();
        // Every fourth of 100 but the first.
        assert_eq!((report.total_lost, report.last_sequence_number), (24, 199));
        assert_eq!(report.fraction_lost, (24 * 256 / 100) as u8);
        // Nothing was lost since, and two came late.
        for n in [104, 108, 200] {
            track.take(n, false, false, true, now, &mut window);
        }
        let report = track.reception(0).unwrap();
        assert_eq!((report.total_lost, report.fraction_lost), (22, 0));
    }

    #[test]
    fn jitter_is_the_mean_deviation_of_transit() {
        let mut track = Track::new(Medium::Video, 1, false, Instant::now());
        // Every packet comes 2 ms earlier or later than the one before it should.
        for i in 0..200u64 {
            let shake = if i % 2 == 0 { 0 } else { 2_000_000 };
            track.interarrival(i * 20_000_000 + shake, i as u32 * 1800);
        }
        let ms = track.jitter_seconds() * 1000.0;
        assert!((1.9..=2.0).contains(&ms), "{ms}");
    }
}
