//! What a viewer tells the server: what is missing, which keyframes it needs, what came when,
//! and its reports.

use std::time::{Duration, Instant};

use super::{IDLE, Viewer};
use crate::engine::link::Link;
use crate::engine::track::{Medium, Track};
use crate::engine::{rtcp_out, twcc};
use crate::measure::window::Window;
use crate::scenario::types::Feedback;
use crate::sys::realtime_ns;

/// Between two requests for a keyframe: as long as libwebrtc waits for one.
pub(super) const PLI_INTERVAL: Duration = Duration::from_millis(200);
/// Blocks of one receiver report; their count has five bits.
const MOST_BLOCKS: usize = 31;

impl Viewer {
    /// After the packets of one read: asks for what is missing.
    pub(in crate::engine) fn after_batch(&mut self, now: Instant, window: &mut Window) {
        self.ask_for_keyframes(now, window);
        if !self.behaviour.nack {
            return;
        }
        // Only video: browsers conceal lost sound.
        for slot in self.slots.iter_mut().filter(|s| s.medium == Medium::Video) {
            let Some(track) = slot.track.as_mut().filter(|t| t.has_missing()) else {
                continue;
            };
            let wanted = track.wanted(now);
            if !wanted.is_empty()
                && let Some(nack) = rtcp_out::nack(self.ssrc, track.ssrc, &wanted)
            {
                window.nacks += 1;
                let _ = self.peer.send_rtcp(&nack);
            }
        }
    }

    /// Asks for the keyframes that decoders wait for.
    pub(super) fn ask_for_keyframes(&mut self, now: Instant, window: &mut Window) {
        for slot in self.slots.iter_mut().filter(|s| s.medium == Medium::Video) {
            if let Some(track) = &mut slot.track
                && now >= track.next_pli
                && track.frames.needs_keyframe()
            {
                track.next_pli = now + PLI_INTERVAL;
                if let Some(pli) = rtcp_out::pli(self.ssrc, track.ssrc) {
                    window.plis += 1;
                    let _ = self.peer.send_rtcp(&pli);
                }
            }
        }
    }

    /// Tells the server what has come, and when.
    pub(super) fn feed_back(&mut self, now: Instant, window: &mut Window) {
        let Some(arrivals) = &mut self.arrivals else {
            return;
        };
        // Audio alone has no video stream to name.
        let Some(media) = self.slots.iter().rev().find_map(|s| s.track.as_ref()) else {
            self.next_feedback = now + IDLE;
            return;
        };
        let passed = now.saturating_duration_since(self.fed_at).as_secs_f64();
        let rate = std::mem::take(&mut self.fed_bytes) as f64 * 8.0 / passed.max(1e-3);
        self.fed_at = now;
        self.next_feedback = now + twcc::interval(rate);
        let mut message = std::mem::take(&mut self.message);
        while arrivals.message(self.ssrc, media.ssrc, &mut message) {
            window.feedbacks += 1;
            let _ = self.peer.send_rtcp(&message);
            message.clear();
        }
        self.message = message;
    }

    /// Tells what was lost, how long sound and picture lie apart, and the link's bound.
    pub(super) fn report(&mut self, window: &mut Window) {
        let now_ns = realtime_ns();
        let mut blocks = Vec::new();
        for track in self.slots.iter_mut().flat_map(|s| &mut s.track) {
            if let Some(block) = track.reception(now_ns) {
                blocks.push(block);
                // Behind a simulated link it is not the server's.
                if self.link.is_none() {
                    let us = (track.jitter_seconds() * 1e6) as u64;
                    window.jitter.record_us(us);
                }
            }
        }
        // A participant's sound goes with that participant's picture.
        for video in self.of(Medium::Video) {
            let its = |t: &&Track| t.participant() == video.participant();
            if let Some(v) = video.sync_error_ns
                && let Some(a) = self.of(Medium::Audio).find(its)
                && let Some(a) = a.sync_error_ns
            {
                window.av_offset.record_ns(a.abs_diff(v));
            }
        }
        // As many blocks as a report has room for (RFC 3550 §6.4.2).
        let reports = blocks.len().div_ceil(MOST_BLOCKS).max(1);
        for i in 0..reports {
            let blocks = blocks.iter().skip(i * MOST_BLOCKS).take(MOST_BLOCKS);
            let blocks = blocks.cloned().collect();
            if let Some(report) = rtcp_out::receiver_report(self.ssrc, blocks) {
                let _ = self.peer.send_rtcp(&report);
            }
        }
        let media = self.of(Medium::Video).next().map(|t| t.ssrc);
        // Who gives transport-wide feedback leaves the estimate to the server.
        if self.arrivals.is_none()
            && self.behaviour.feedback != Feedback::None
            && let Some(bound) = self.link.as_ref().and_then(Link::bound)
            && let Some(media) = media
            && let Some(remb) = rtcp_out::remb(self.ssrc, media, bound)
        {
            let _ = self.peer.send_rtcp(&remb);
        }
    }
}
