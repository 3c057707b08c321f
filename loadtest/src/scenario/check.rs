//! Whether a scenario's values go together.

use super::types::{ApiKind, Limits, Scenario};

/// Most sections of a kind in one session.
const MOST_SLOTS: u32 = 25;
/// Most sessions of a kind; a machine has fewer ports.
const MOST_SESSIONS: u64 = 1_000_000;
/// Longest time of anything, seconds.
const LONGEST: f64 = 1e6;
/// Bounds of rates.
const LEAST_A_SECOND: f64 = 1e-3;
const MOST_A_SECOND: f64 = 1e5;

impl Limits {
    /// No limit is one that nothing breaks because it is no number.
    fn finite(&self) -> bool {
        let all = [
            self.connected_percent,
            self.tracks_percent,
            self.loss_percent,
            self.delay_p50_ms,
            self.delay_p99_ms,
            self.delay_p999_ms,
            self.join_p95_ms,
            self.cpu_us_per_packet,
            self.kilobytes_per_session,
        ];
        all.iter().flatten().all(|limit| limit.is_finite())
    }
}

impl Scenario {
    /// What is wrong with the values, if anything.
    pub fn problem(&self) -> Option<String> {
        let m = &self.media;
        let (churn, abuse) = (&self.churn, &self.abuse);
        let viewers = [self.load.rooms, self.load.publishers, self.load.viewers];
        let viewers = viewers.iter().map(|n| u64::from(*n)).product::<u64>();
        let publishers = u64::from(self.load.rooms) * u64::from(self.load.publishers);
        let checks = [
            (
                self.seconds > 0.0 && self.seconds <= LONGEST,
                "seconds must be above 0 and at most 1000000",
            ),
            (
                (0.0..=LONGEST).contains(&self.settle_seconds),
                "settle-seconds must be in 0..=1000000",
            ),
            (
                (0.0..=LONGEST).contains(&self.ramp.join_timeout_seconds),
                "ramp.join-timeout-seconds must be in 0..=1000000",
            ),
            (
                publishers.max(viewers) <= MOST_SESSIONS,
                "load.rooms × load.publishers × load.viewers must be at most 1000000",
            ),
            (
                [churn.viewers_per_second, churn.publishers_per_second]
                    .iter()
                    .all(|n| (0.0..=MOST_A_SECOND).contains(n)),
                "churn.viewers-per-second and publishers-per-second must be in 0..=100000",
            ),
            (
                [
                    abuse.bad_tokens_per_second,
                    abuse.garbage_requests_per_second,
                    abuse.garbage_datagrams_per_second,
                ]
                .iter()
                .all(|n| *n == 0.0 || (LEAST_A_SECOND..=MOST_A_SECOND).contains(n)),
                "abuse.…-per-second must be 0 or in 0.001..=100000",
            ),
            (self.limits.finite(), "limits must be numbers"),
            (self.load.rooms > 0, "load.rooms must be above 0"),
            (self.load.publishers > 0, "load.publishers must be above 0"),
            (
                self.limits.freeze_ms > 0.0 && self.limits.freeze_ms <= 1e9,
                "limits.freeze-ms must be above 0 and at most 1000000000",
            ),
            (m.video || m.audio, "media.video or media.audio must be on"),
            (
                (0.01..=240.0).contains(&m.fps),
                "media.fps must be in 0.01..=240",
            ),
            (
                (1..=1_000_000).contains(&m.kbps),
                "media.kbps must be in 1..=1000000",
            ),
            (
                m.packets_per_frame <= 1000,
                "media.packets-per-frame must be at most 1000",
            ),
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
                self.ramp.joins_per_second > 0.0 && self.ramp.joins_per_second <= MOST_A_SECOND,
                "ramp.joins-per-second must be above 0 and at most 100000",
            ),
            (
                self.ramp.steps.iter().all(|s| *s > 0.0 && *s <= 1e6),
                "ramp.steps must be above 0 and at most 1000000",
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
                (1..=1024).contains(&self.generator.receive_threads),
                "generator.receive-threads must be in 1..=1024",
            ),
            (
                (1..=100_000).contains(&self.http.concurrency),
                "http.concurrency must be in 1..=100000",
            ),
        ];
        checks
            .iter()
            .find(|(fine, _)| !fine)
            .map(|(_, what)| (*what).to_owned())
    }
}
