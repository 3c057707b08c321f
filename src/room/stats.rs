//! What an encoding measures of itself: rate, pictures, loss.

use std::time::{Duration, Instant};

use super::encoding::LINE_BREAK;
use crate::units::Bitrate;

/// An encoding without a packet for this long is not active. Video encoders
/// that pause between pictures do so for less; screen shares at one picture in
/// two seconds still count.
pub const INACTIVE_AFTER: Duration = Duration::from_millis(2_500);

/// Counters and one-second measurements of one encoding.
#[derive(Debug, Default)]
pub struct EncodingStats {
    packets: u64,
    bytes: u64,
    frames: u64,
    first_seq: Option<u64>,
    highest_seq: u64,
    /// Numbers that breaks of the line left out.
    skipped: u64,
    last_packet: Option<Instant>,
    last_frame_timestamp: Option<u32>,
    window: Option<Window>,
    bitrate: Bitrate,
    frame_rate: f32,
    loss: f32,
}

/// The totals at the last roll.
#[derive(Debug, Clone, Copy)]
struct Window {
    at: Instant,
    bytes: u64,
    frames: u64,
    expected: u64,
    packets: u64,
}

impl EncodingStats {
    /// A new packet arrived, a repaired one included. True where the line breaks
    /// ahead of it: what is between is not lost but was never sent.
    pub fn count(&mut self, now: Instant, seq: u64, timestamp: u32, bytes: usize) -> bool {
        let breaks = self.first_seq.is_some() && seq > self.highest_seq + LINE_BREAK;
        if breaks {
            self.skipped += seq - self.highest_seq - 1;
        }
        self.packets += 1;
        self.bytes += bytes as u64;
        self.first_seq = Some(self.first_seq.map_or(seq, |first| first.min(seq)));
        self.highest_seq = self.highest_seq.max(seq);
        self.last_packet = Some(now);
        if self.last_frame_timestamp != Some(timestamp) {
            self.last_frame_timestamp = Some(timestamp);
            self.frames += 1;
        }
        if self.window.is_none() {
            self.window = Some(self.totals(now));
        }
        breaks
    }

    /// The highest sequence number so far.
    pub fn highest(&self) -> Option<u64> {
        self.first_seq.map(|_| self.highest_seq)
    }

    fn totals(&self, at: Instant) -> Window {
        Window {
            at,
            bytes: self.bytes,
            frames: self.frames,
            expected: self.expected(),
            packets: self.packets,
        }
    }

    fn expected(&self) -> u64 {
        self.first_seq
            .map_or(0, |first| self.highest_seq - first + 1 - self.skipped)
    }

    /// Ends a measuring window; called about once a second.
    pub fn roll(&mut self, now: Instant) {
        let Some(before) = self.window else { return };
        let elapsed = now.saturating_duration_since(before.at);
        if elapsed < Duration::from_millis(200) {
            return;
        }
        let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        let totals = self.totals(now);
        self.bitrate = Bitrate::from_bytes(totals.bytes - before.bytes, micros);
        self.frame_rate = (totals.frames - before.frames) as f32 / elapsed.as_secs_f32();
        let expected = totals.expected.saturating_sub(before.expected);
        let received = totals.packets - before.packets;
        self.loss = if expected == 0 {
            0.0
        } else {
            expected.saturating_sub(received) as f32 / expected as f32
        };
        self.window = Some(totals);
    }

    /// A packet came within [`INACTIVE_AFTER`].
    pub fn is_active(&self, now: Instant) -> bool {
        self.last_packet
            .is_some_and(|last| now.saturating_duration_since(last) < INACTIVE_AFTER)
    }

    /// How long nothing has come; `None` when nothing ever came.
    pub fn silence(&self, now: Instant) -> Option<Duration> {
        Some(now.saturating_duration_since(self.last_packet?))
    }

    /// Payload rate over the last window.
    pub fn bitrate(&self) -> Bitrate {
        self.bitrate
    }

    /// Pictures (different timestamps) per second over the last window.
    pub fn frame_rate(&self) -> f32 {
        self.frame_rate
    }

    /// Share of packets missing in the last window, 0 to 1.
    pub fn loss(&self) -> f32 {
        self.loss
    }

    /// Packets that arrived.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// Packets that never arrived.
    pub fn lost(&self) -> u64 {
        self.expected().saturating_sub(self.packets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_break_of_the_line_leaves_out_is_not_lost() {
        let start = Instant::now();
        let mut stats = EncodingStats::default();
        let breaks = |stats: &mut EncodingStats, seq| stats.count(start, seq, 0, 100);
        assert!(!breaks(&mut stats, 10_000));
        assert!(!breaks(&mut stats, 10_000 + LINE_BREAK));
        assert_eq!(stats.lost(), LINE_BREAK - 1);
        assert!(breaks(&mut stats, 10_001 + 2 * LINE_BREAK));
        assert_eq!(stats.lost(), LINE_BREAK - 1);
    }

    #[test]
    fn a_second_of_video_gives_its_rate_and_loss() {
        let start = Instant::now();
        let mut stats = EncodingStats::default();
        // 30 pictures of 4 packets of 1000 bytes; every 10th packet is lost.
        for seq in 0..120u64 {
            if seq % 10 == 5 {
                continue;
            }
            let now = start + Duration::from_millis(seq * 1000 / 120);
            stats.count(now, seq, (seq / 4) as u32 * 3000, 1000);
        }
        stats.roll(start + Duration::from_secs(1));
        assert_eq!(stats.lost(), 12);
        assert!((stats.loss() - 0.1).abs() < 0.01, "{}", stats.loss());
        assert!((28.0..=30.5).contains(&stats.frame_rate()));
        assert!(
            (840_000..=870_000).contains(&stats.bitrate().0),
            "{}",
            stats.bitrate()
        );
        assert!(stats.is_active(start + Duration::from_secs(2)));
        assert!(!stats.is_active(start + Duration::from_secs(5)));
    }
}
