//! Whether a scenario's values go together.

use super::types::{ApiKind, Scenario};

/// Most sections of a kind in one session.
const MOST_SLOTS: u32 = 25;

impl Scenario {
    /// What is wrong with the values, if anything.
    pub fn problem(&self) -> Option<String> {
        let m = &self.media;
        let checks = [
            (self.seconds > 0.0, "seconds must be above 0"),
            (self.load.rooms > 0, "load.rooms must be above 0"),
            (self.load.publishers > 0, "load.publishers must be above 0"),
            (
                self.limits.freeze_ms > 0.0,
                "limits.freeze-ms must be above 0",
            ),
            (m.video || m.audio, "media.video or media.audio must be on"),
            (
                m.fps > 0.0 && m.fps <= 240.0,
                "media.fps must be in 0..=240",
            ),
            (m.kbps > 0, "media.kbps must be above 0"),
            (m.gop_frames != 1, "media.gop-frames must be 0 or above 1"),
            (
                (0.0..=100.0).contains(&m.drop_percent),
                "media.drop-percent must be in 0..=100",
            ),
            (
                (200..=1400).contains(&m.payload_bytes),
                "media.payload-bytes must be in 200..=1400",
            ),
            (
                (1..=3).contains(&m.layers),
                "media.layers must be 1, 2 or 3",
            ),
            (
                self.ramp.joins_per_second > 0.0,
                "ramp.joins-per-second must be above 0",
            ),
            (
                self.ramp.steps.iter().all(|s| *s > 0.0),
                "ramp.steps must be above 0",
            ),
            (
                self.viewer.full_check_every > 0,
                "viewer.full-check-every must be above 0",
            ),
            (
                [self.viewer.video_slots, self.viewer.audio_slots]
                    .iter()
                    .all(|n| (1..=MOST_SLOTS).contains(n)),
                "viewer.video-slots and audio-slots must be in 1..=25",
            ),
            (
                m.video || self.viewer.video_slots == 1,
                "viewer.video-slots above 1 needs media.video",
            ),
            (
                m.audio || self.viewer.audio_slots == 1,
                "viewer.audio-slots above 1 needs media.audio",
            ),
            (
                !self.watches_rooms() || self.http.api == ApiKind::Whip,
                "viewer.video-slots and audio-slots above 1 need http.api = \"whip\"",
            ),
            (
                [
                    self.viewer.link_loss_percent,
                    self.viewer.link_reorder_percent,
                ]
                .iter()
                .all(|p| (0.0..=100.0).contains(p)),
                "viewer.link-loss-percent and link-reorder-percent must be in 0..=100",
            ),
            (
                [
                    self.viewer.link_delay_ms,
                    self.viewer.link_jitter_ms,
                    self.viewer.link_queue_ms,
                ]
                .iter()
                .all(|ms| (0.0..=10_000.0).contains(ms)),
                "viewer.link-delay-ms, link-jitter-ms and link-queue-ms must be in 0..=10000",
            ),
            (
                self.generator.receive_threads > 0,
                "generator.receive-threads must be above 0",
            ),
            (
                self.http.concurrency > 0,
                "http.concurrency must be above 0",
            ),
        ];
        checks
            .iter()
            .find(|(fine, _)| !fine)
            .map(|(_, what)| (*what).to_owned())
    }
}
