//! From a publisher's packets to every viewer's: the worker's busiest place.
//!
//! Packets of one turn are gathered by track, then each viewer gets all of
//! them at once, so that its datagrams lie side by side and leave as one run.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use smallvec::SmallVec;

use super::backlog::Starving;
use super::binding::move_on;
use super::core::{Core, Flush};
use super::mesh::{MediaMessage, MeshMessage};
use super::session::{Media, Session};
use super::sessions::SessionTable;
use crate::net::prefetch::prefetch;
use crate::room::{SenderClock, Source, Subscriber};
use crate::telemetry::DropReason;
use crate::units::MediaKind;
use crate::viewer::slot::Forwarded;

impl Core {
    /// Gives the datagram's packets to their tracks.
    pub(super) fn deliver(&mut self, now: Instant, slot: u32) {
        let mut routed = std::mem::take(&mut self.routed);
        for packet in routed.drain(..) {
            let index = packet.track;
            let Some(track) = self.tracks.get_mut(index as usize) else {
                continue;
            };
            // After a take-over the former publisher's last packets are nobody's.
            if track.source != (Source::Local { session: slot }) {
                continue;
            }
            if let Some(encoding) = track.encodings.get_mut(usize::from(packet.encoding)) {
                encoding.ssrc = Some(packet.ssrc);
            }
            if packet.hopeless && self.is_watched(index, packet.encoding) {
                self.want_keyframe(index, packet.encoding);
            }
            self.ingest(now, index, packet.encoding, packet.packet);
        }
        self.routed = routed;
    }

    /// Takes a packet into its track and queues the track for this turn.
    pub(super) fn ingest(
        &mut self,
        now: Instant,
        index: u32,
        encoding: u8,
        packet: crate::room::Packet,
    ) {
        let Some(track) = self.tracks.get_mut(index as usize) else {
            return;
        };
        let (changes, format) = (track.ladder.changes(), track.current_format);
        let is_local = matches!(track.source, Source::Local { .. });
        let level = packet.passed.audio_level.filter(|_| is_local);
        let (timestamp, codec) = (packet.timestamp, packet.codec);
        if !track.ingest(encoding, packet) {
            return;
        }
        if !track.queued {
            track.queued = true;
            self.busy.push(index);
            if track.hear(now) {
                self.reaim.push(index); // its viewers' reports begin again
            }
        }
        let reformatted = track.current_format != format;
        if track.ladder.changes() != changes {
            self.aim_soon(index);
        }
        if reformatted {
            self.format_changed(index);
        }
        if let Some(level) = level {
            self.hear(now, index, timestamp, codec.clock_rate(), level);
        }
    }

    /// A track has something for the next turn.
    pub fn has_media(&self) -> bool {
        !self.busy.is_empty()
    }

    /// A track has video for the next turn whose frame has not ended.
    pub fn is_mid_frame(&self) -> bool {
        self.busy.iter().any(|index| {
            self.tracks.get(*index as usize).is_some_and(|track| {
                let newest = track.pending.last();
                track.key.kind == MediaKind::Video && newest.is_some_and(|(_, p)| !p.marker)
            })
        })
    }

    /// Sends this turn's packets to everybody who gets them.
    pub(super) fn fan_out(&mut self, now: Instant, flush: &mut dyn Flush) {
        if !self.reaim.is_empty() {
            self.aim_viewers(); // packets of this turn may have moved the best encoding
        }
        self.look_back(now, flush);
        let mut busy = std::mem::take(&mut self.busy);
        for index in busy.drain(..) {
            self.fan_out_track(now, index, flush);
        }
        self.busy = busy;
    }

    fn fan_out_track(&mut self, now: Instant, index: u32, flush: &mut dyn Flush) {
        let Some(track) = self.tracks.get_mut(index as usize) else {
            return;
        };
        track.queued = false;
        let pending = std::mem::take(&mut track.pending);
        let subscribers = std::mem::take(&mut track.subscribers);
        let mut moved = SmallVec::<[_; 4]>::new();
        let mut fed = SmallVec::<[u32; 4]>::new();
        let mut failed = SmallVec::<[u32; 1]>::new();
        for (number, subscriber) in subscribers.iter().enumerate() {
            let coming = subscribers.get(number + 1..).unwrap_or_default();
            fetch_ahead(&self.sessions, coming);
            let Some(Session {
                media: Media::Viewer(viewer),
                transport,
                ..
            }) = self.sessions.get_mut(subscriber.session)
            else {
                continue;
            };
            let at = usize::from(subscriber.slot);
            let budget = match viewer.slots.get(at) {
                Some(slot) if slot.track != Some(index) => viewer.picture_budget(),
                _ => None,
            };
            let (Some(egress), Some(path)) = (&mut viewer.egress, transport.ice.path()) else {
                continue;
            };
            let Some(slot) = viewer.slots.get_mut(at) else {
                continue;
            };
            let mut out = self.outputs.outlet(now, &self.config.clock, path, flush);
            viewer.pacer.refill(now, viewer.estimate);
            // What one viewer's line makes of these packets must not harm the others.
            let whole = catch_unwind(AssertUnwindSafe(|| {
                if slot.track != Some(index) {
                    match move_on(slot, index, track, budget, &pending) {
                        Some(left) => moved.push((*subscriber, left)),
                        None => return,
                    }
                }
                for (encoding, packet) in &pending {
                    if slot
                        .behind
                        .is_some_and(|behind| behind.covers(*encoding, packet.seq))
                    {
                        continue; // it will be sent from the ring
                    }
                    if slot.kind == MediaKind::Video
                        && !viewer.pacer.is_open()
                        && slot.fall_behind(track, *encoding, packet, now)
                    {
                        self.behind.push(subscriber.session);
                        continue;
                    }
                    loop {
                        let done = slot.forward(&mut out, egress, track, *encoding, packet);
                        match done {
                            Forwarded::Sent(size) | Forwarded::Ahead(Ok(size)) => {
                                self.totals.rtp_out += 1;
                                viewer.sent.count(size);
                                viewer.pacer.spend(size);
                                viewer.repairs.earn(size);
                            }
                            Forwarded::NotSelected
                            | Forwarded::Cut
                            | Forwarded::Held
                            | Forwarded::Late => {}
                            Forwarded::Broken | Forwarded::Overtaken => {
                                self.starving.push(Starving {
                                    session: subscriber.session,
                                    slot: subscriber.slot,
                                    needed: slot.wanted_encoding(),
                                });
                            }
                            Forwarded::NoFormat => self.totals.drops.add(DropReason::CodecMismatch),
                            Forwarded::Failed(error) | Forwarded::Ahead(Err(error)) => {
                                self.totals.drops.add(error.into());
                            }
                        }
                        if !matches!(done, Forwarded::Ahead(_)) {
                            break;
                        }
                    }
                }
            }));
            if whole.is_err() {
                failed.push(subscriber.session);
                continue;
            }
            if slot.starved_since.is_some()
                && slot.selection.current().is_some()
                && viewer.told_of_wait()
            {
                fed.push(subscriber.session);
            }
        }
        for remote in &track.remote_subscribers {
            for (encoding, packet) in &pending {
                let message = MediaMessage {
                    index: remote.index,
                    track: track.key,
                    generation: track.generation,
                    subscription: remote.subscription,
                    encoding: *encoding,
                    packet: packet.detached(),
                };
                self.outputs
                    .mesh
                    .push((remote.worker, MeshMessage::Media(Box::new(message))));
            }
        }
        track.subscribers = subscribers;
        track.pending = pending;
        track.settle();
        for (subscriber, left) in moved {
            self.moved_on(subscriber, left, index);
        }
        for session in failed {
            self.failed(now, session);
        }
        for session in fed {
            self.aim_viewer(session); // its picture is there: it is told
        }
        self.forget_track_if_unused(index);
    }

    /// Notes a sender report of a local track and passes it on.
    pub(super) fn sender_clock(&mut self, slot: u32, index: u32, encoding: u8, clock: SenderClock) {
        let Some(track) = self.tracks.get_mut(index as usize) else {
            return;
        };
        if track.source != (Source::Local { session: slot }) {
            return;
        }
        if let Some(encoding) = track.encodings.get_mut(usize::from(encoding)) {
            encoding.clock = Some(clock);
            encoding.health.reported(clock);
        }
        for remote in &track.remote_subscribers {
            let message = MeshMessage::Clock {
                index: remote.index,
                track: track.key,
                generation: track.generation,
                encoding,
                clock,
            };
            self.outputs.mesh.push((remote.worker, message));
        }
    }
}

/// Viewers lie all over the memory, and each is looked at once a frame: what the next ones need is
/// loaded while this one is served, in three steps, each of which reads what the one before it has loaded.
#[inline]
fn fetch_ahead(sessions: &SessionTable<Session>, coming: &[Subscriber]) {
    let viewer = |subscriber: &Subscriber| sessions.get(subscriber.session)?.as_viewer();
    if let Some(session) = coming.get(2).and_then(|third| sessions.get(third.session)) {
        session.prefetch();
    }
    if let Some(second) = coming.get(1)
        && let Some(viewer) = viewer(second)
    {
        if let Some(slot) = viewer.slots.get(usize::from(second.slot)) {
            prefetch(slot);
        }
        if let Some(egress) = &viewer.egress {
            egress.log.prefetch_next();
        }
    }
    if let Some(next) = coming.first()
        && let Some(viewer) = viewer(next)
        && let Some(slot) = viewer.slots.get(usize::from(next.slot))
    {
        slot.prefetch();
    }
}
