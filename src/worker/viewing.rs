//! Viewers: binding them to tracks, aiming their slots, their feedback and
//! their reports.

use std::time::{Duration, Instant};

use super::backlog::Starving;
use super::core::Core;
use super::session::{Media, Session};
use crate::control::messages::{Event, InactiveReason};
use crate::peer::congestion::reports::Report;
use crate::peer::congestion::{Carries, Micros, STATUSES};
use crate::peer::egress::Outlet;
use crate::peer::rtcp::{self, NtpTime, RtcpWriter, SenderInfo, round_trip};
use crate::telemetry::DropReason;
use crate::units::MediaKind;
use crate::viewer::allocate::{Request, allocate};
use crate::viewer::repair::Denied;
use crate::viewer::slot::{Slot, Starved};
use crate::viewer::{REPORT_INTERVAL, SILENT_INTERVAL, Viewer};

/// A NACK may name this many packets; a receiver that lost more is better
/// served by a keyframe.
const MAX_REPAIRS: usize = 128;

/// So many packets asked for at a time, or one in so many lost as a report tells, are no
/// accident but a queue on the path that was full.
const OVERFLOW: u64 = 16;
const OVERFLOWS: u32 = 10;

/// Viewers' reports are spread over so many moments of their interval when media begins again.
const SPREAD: u32 = 50;

/// A viewer that waits for the publisher's keyframe is told after this: a publisher that
/// reacts has sent one by then.
const KEYFRAME_WAIT: Duration = Duration::from_secs(1);

impl Core {
    /// The viewers of a track are to be aimed, once however often this is said before it is done.
    pub(super) fn aim_soon(&mut self, index: u32) {
        if let Some(track) = self.tracks.get_mut(index as usize)
            && !track.unaimed
        {
            track.unaimed = true;
            self.reaim.push(index);
        }
    }

    /// Aims every viewer of the tracks whose publisher or choices changed.
    pub(super) fn aim_viewers(&mut self) {
        while let Some(index) = self.reaim.pop() {
            let Some(track) = self.tracks.get_mut(index as usize) else {
                continue;
            };
            track.unaimed = false;
            let subscribers: Vec<u32> = track.subscribers.iter().map(|s| s.session).collect();
            for session in subscribers {
                self.aim_viewer(session);
            }
        }
    }

    /// Shares what a viewer's path carries among its slots, aims them, asks for
    /// the keyframes that takes, and tells the control plane when media begins
    /// or ends. Called when choices, wishes or the estimate change, and once a second.
    pub(super) fn aim_viewer(&mut self, session: u32) {
        // Whatever made it necessary is not this viewer's alone.
        self.guarded(self.now, session, |core| {
            core.aim_slots(session);
            Ok(())
        });
    }

    fn aim_slots(&mut self, session: u32) {
        self.leave_dead_tracks(session);
        self.enter_kept_keyframes(session);
        let Some(Session {
            key,
            media: Media::Viewer(viewer),
            ..
        }) = self.sessions.get_mut(session)
        else {
            return;
        };
        let key = *key;
        let connected = viewer.egress.is_some();
        let now = self.now;
        let soon = now + REPORT_INTERVAL;
        let woken = viewer
            .next_report
            .is_some_and(|at| at > soon + REPORT_INTERVAL)
            && !is_silent(viewer, &self.tracks, now);
        if woken {
            // Not all viewers of a track at once.
            let share = REPORT_INTERVAL * (session % SPREAD) / SPREAD;
            viewer.next_report = Some(self.config.clock.coarse(now + share));
        }
        let mut requests = smallvec::SmallVec::<[_; 2]>::new();
        for (at, slot) in viewer.slots.iter_mut().enumerate() {
            if let Some(index) = slot.track
                && let Some(track) = self.tracks.get(index as usize)
            {
                requests.push(((at, index), slot.request(track, now)));
            }
        }
        let picture = |r: &Request| r.kind == MediaKind::Video && !r.steps.is_empty();
        if viewer.carries() == Carries::Sound && requests.iter().any(|(_, r)| picture(r)) {
            let micros = self.config.clock.micros(now);
            viewer.congestion.set_carries(micros, Carries::Soon);
            viewer.estimate = viewer.congestion.estimate();
        }
        let plan = allocate(viewer.estimate, requests.iter().map(|(_, r)| r));
        viewer.allocated_for = viewer.estimate;
        viewer.probe_target = plan.probe_target;
        viewer.pacer.note_tight(now, plan.tight);
        let mut layers_changed = false;
        for (((at, index), request), choice) in requests.iter().zip(plan.choices) {
            let Some((slot, track)) = viewer
                .slots
                .get_mut(*at)
                .zip(self.tracks.get_mut(*index as usize))
            else {
                continue;
            };
            let rate = viewer.estimate.filter(|_| viewer.pacer.was_congested(now));
            slot.room = rate.map(|rate| rate.0 / 8);
            let (needed, changed) = slot.aim(track, request, choice, now);
            slot.count_in(track);
            layers_changed |= slot.saw(track) || changed;
            if connected && let Some(encoding) = needed {
                self.starving.push(Starving {
                    session,
                    slot: u8::try_from(*at).unwrap_or(u8::MAX),
                    needed: Some(encoding),
                });
            }
        }
        let mut wanted = smallvec::SmallVec::<[(u32, u8); 2]>::new();
        let budget = viewer.picture_budget();
        for slot in viewer.slots.iter().filter(|_| connected) {
            if let Some(index) = slot.incoming
                && let Some(track) = self.tracks.get(index as usize)
                && let Some(rung) = slot.entry(track, budget)
            {
                wanted.push((index, rung.encoding));
            }
        }
        let next_report = viewer.next_report;
        let state = viewer_state(viewer, &self.tracks, now);
        let news = connected && viewer.told != Some(state);
        if news {
            viewer.told = Some(state);
        }
        for (track, encoding) in wanted {
            self.want_keyframe(track, encoding);
        }
        if let Some(at) = woken.then_some(next_report).flatten() {
            self.wake_at(key, at);
        }
        if connected && layers_changed {
            self.event(Event::LayersChanged { key });
        }
        if news {
            self.event(match state {
                Ok(()) => Event::ViewerActive { key },
                Err(why) => Event::ViewerInactive { key, why },
            });
        }
    }

    /// The publisher sends another format: viewers may or may not have it.
    pub(super) fn format_changed(&mut self, index: u32) {
        self.aim_soon(index);
        let Some(track) = self.tracks.get(index as usize) else {
            return;
        };
        let room = track.key.room;
        if let crate::room::Source::Local { session } = track.source
            && let Some(codec) = track.codec()
            && let Some(session) = self.sessions.get(session)
        {
            let event = Event::TrackCodec {
                key: session.key,
                kind: track.key.kind,
                codec,
            };
            self.event(event);
        }
        self.choose_again(self.now, room);
    }

    /// A viewer's RTCP: requests for keyframes and repairs, and reports.
    pub(super) fn viewer_rtcp(&mut self, now: Instant, slot: u32, bytes: &[u8], arrived: Instant) {
        let Some(Session {
            media: Media::Viewer(viewer),
            heard,
            ..
        }) = self.sessions.get_mut(slot)
        else {
            return;
        };
        let Some(mut egress) = viewer.egress.take() else {
            return self.totals.drops.add(DropReason::NotConnected);
        };
        let Some(buffer) = self.scratch.get_mut(..bytes.len()) else {
            viewer.egress = Some(egress);
            return self.totals.drops.add(DropReason::Oversize);
        };
        buffer.copy_from_slice(bytes);
        let Ok(plain) = egress.open_rtcp(buffer) else {
            viewer.egress = Some(egress);
            return self.totals.drops.add(DropReason::MediaRejected);
        };
        *heard = now;
        let wall = NtpTime::from_unix(self.config.clock.unix(arrived)).compact();
        let micros = self.config.clock.micros(now);
        let session = slot;
        let mut starving = smallvec::SmallVec::<[u8; 2]>::new();
        let mut statuses = STATUSES;
        for packet in rtcp::packets(plain) {
            match packet {
                Ok(rtcp::Packet::Nack(nack)) => {
                    let Some(at) = viewer.slot_index(nack.media_ssrc) else {
                        continue;
                    };
                    let slot_rtt = viewer.slots.get(usize::from(at)).and_then(|s| s.rtt);
                    let rtt = slot_rtt.or(viewer.rtt);
                    let mut asked = 0;
                    for sequence in nack.seqs().take(MAX_REPAIRS) {
                        asked += 1;
                        if viewer.repairs.ask(now, at, sequence, rtt) == Err(Denied::Budget) {
                            self.totals.drops.add(DropReason::RtxBudget);
                        }
                    }
                    self.totals.nacks_in += asked;
                    viewer.nacked += asked;
                    if asked >= OVERFLOW {
                        viewer.pacer.note_loss(now);
                    }
                }
                Ok(rtcp::Packet::Pli(pli)) => {
                    self.totals.keyframe_requests_in += 1;
                    starving.extend(viewer.slot_index(pli.media_ssrc));
                }
                Ok(rtcp::Packet::Fir(fir)) => {
                    self.totals.keyframe_requests_in += 1;
                    for entry in fir.entries() {
                        starving.extend(viewer.slot_index(entry.ssrc));
                    }
                }
                Ok(rtcp::Packet::ReceiverReport(report)) => {
                    reports(viewer, report.blocks(), now, wall, micros);
                }
                Ok(rtcp::Packet::SenderReport(report)) => {
                    reports(viewer, report.blocks(), now, wall, micros);
                }
                Ok(rtcp::Packet::Twcc(feedback)) => {
                    viewer.congestion.set_target(viewer.probe_target);
                    viewer.congestion.set_carries(micros, viewer.carries());
                    viewer
                        .congestion
                        .on_twcc(micros, &feedback, &mut egress.log, &mut statuses);
                    let queue = viewer.congestion.queue_delay();
                    let queue = queue.map(|delay| Duration::from_micros(delay.max(0) as u64));
                    viewer.pacer.note_queue(now, queue);
                }
                Ok(rtcp::Packet::Remb(remb)) => viewer.congestion.on_remb(micros, remb.bitrate),
                Ok(_) => {}
                Err(_) => self.totals.drops.add(DropReason::MalformedRtcp),
            }
        }
        viewer.egress = Some(egress);
        if viewer.repairs.is_waiting() {
            self.behind.push(slot); // they are sent when this turn's media has left
        }
        let estimate = viewer.congestion.estimate();
        let moved = viewer.estimate != estimate;
        viewer.estimate = estimate;
        if moved {
            self.estimate_written(slot);
        }
        for slot in starving {
            self.starving.push(Starving {
                session,
                slot,
                needed: None,
            });
        }
        self.probe_viewer(now, slot);
    }

    /// Sends the sender reports that are due, and measures.
    pub(super) fn viewer_tick(&mut self, now: Instant, slot: u32) {
        let Some(viewer) = self.sessions.get_mut(slot).and_then(Session::viewer) else {
            return;
        };
        if viewer.next_report.is_none_or(|at| at > now) {
            return;
        }
        let interval = if is_silent(viewer, &self.tracks, now) {
            SILENT_INTERVAL
        } else {
            REPORT_INTERVAL
        };
        viewer.next_report = Some(self.config.clock.coarse(now + interval));
        viewer.sent.roll(now);
        self.aim_viewer(slot);
        let Some(Session {
            media: Media::Viewer(viewer),
            transport,
            log_id,
            ..
        }) = self.sessions.get_mut(slot)
        else {
            return;
        };
        let (Some(path), Some(egress)) = (transport.ice.path(), &mut viewer.egress) else {
            return;
        };
        let wall = self.config.clock.unix(now);
        for slot in &mut viewer.slots {
            slot.settle(now);
            if !slot.has_news() {
                continue;
            }
            let Some(rtp) = slot
                .track
                .and_then(|track| self.tracks.get(track as usize))
                .and_then(|track| slot.report_timestamp(track, wall, now))
            else {
                continue;
            };
            let info = SenderInfo {
                ntp: NtpTime::from_unix(wall),
                rtp,
                packets: slot.packets,
                octets: slot.octets,
            };
            let mut out = Outlet {
                now,
                clock: &self.config.clock,
                arena: &mut self.outputs.arena,
                path,
            };
            // A lost report is made good by the next one.
            let sent = egress.send_rtcp(&mut out, |buffer| {
                let mut writer = RtcpWriter::new(buffer);
                writer.sender_report(slot.ssrcs.ssrc, &info, &[]).ok()?;
                writer.sdes_cname(slot.ssrcs.ssrc, log_id).ok()?;
                Some(writer.len())
            });
            if let Err(error) = sent {
                self.totals.drops.add(error.into());
            }
        }
    }
}

fn reports(
    viewer: &mut Viewer,
    blocks: impl Iterator<Item = rtcp::ReportBlock>,
    now: Instant,
    wall: u32,
    micros: Micros,
) {
    let mut path = Report {
        sent: viewer.sent.bitrate().0 as f64,
        ..Report::default()
    };
    for block in blocks {
        let Some(slot) = viewer.slot_by_ssrc(block.ssrc) else {
            continue;
        };
        if slot.ssrcs.ssrc != block.ssrc {
            continue; // the repair stream's own losses say nothing of the path
        }
        let holes = slot.holes();
        if let Some((packets, lost)) = slot.reception.since_last(&block, holes) {
            path.packets += packets;
            path.lost += lost;
        }
        let is_video = slot.kind == MediaKind::Video;
        if let Some(rtt) = round_trip(wall, block.lsr, block.dlsr) {
            slot.rtt = Some(rtt);
            viewer.rtt = Some(rtt);
            path.rtt = Micros::try_from(rtt.as_micros()).ok();
        }
        let only = viewer.slots.len() == 1;
        if is_video || only {
            viewer.loss = f32::from(block.fraction_lost) / 256.0;
        }
    }
    if path.lost > 0 && path.lost * OVERFLOWS >= path.packets {
        viewer.pacer.note_loss(now);
    }
    viewer.congestion.on_report(micros, &path);
}

/// Nothing has come for long of what it is bound to.
fn is_silent(viewer: &Viewer, tracks: &slab::Slab<crate::room::Track>, now: Instant) -> bool {
    let bound = viewer.slots.iter().flat_map(|s| [s.track, s.incoming]);
    let mut tracks = bound.flatten().filter_map(|t| tracks.get(t as usize));
    tracks.all(|track| track.is_silent(now))
}

/// Whether media flows to a viewer, and if not, why.
fn viewer_state(
    viewer: &mut Viewer,
    tracks: &slab::Slab<crate::room::Track>,
    now: Instant,
) -> Result<(), InactiveReason> {
    let connected = viewer.egress.is_some();
    let mut state = Err(InactiveReason::NoPublisher);
    let (mut waits, mut shown) = (None, false);
    for slot in &mut viewer.slots {
        let Some(track) = slot.track.and_then(|index| tracks.get(index as usize)) else {
            slot.starved_since = None;
            continue;
        };
        let starved = slot.starved(track, now).filter(|_| connected);
        slot.starved_since = starved.map(|wait| wait.since);
        waits = waits.or(starved);
        shown |= slot.kind == MediaKind::Video && slot.selection.current().is_some();
    }
    for slot in &viewer.slots {
        let Some(track) = slot.track.and_then(|index| tracks.get(index as usize)) else {
            continue;
        };
        if let Some(publishes) = slot.lacks(track) {
            // There may be somebody else to see or hear.
            let is_usable = |s: &Slot| {
                let track = s.track.and_then(|index| tracks.get(index as usize));
                track.is_some_and(|t| !t.encodings.is_empty() && s.lacks(t).is_none())
            };
            let mut others = viewer.slots.iter().filter(|s| s.kind == slot.kind);
            if others.any(is_usable) {
                continue;
            }
            return Err(InactiveReason::Codec {
                kind: slot.kind,
                publishes,
            });
        }
        if slot.paused {
            return Err(InactiveReason::Bandwidth);
        }
        if !track.encodings.is_empty() {
            state = Ok(());
        }
    }
    // Somebody who sees another picture is not told.
    match waits.filter(|_| state.is_ok() && !shown) {
        Some(Starved { since, expected }) if now >= since + KEYFRAME_WAIT => {
            Err(InactiveReason::Keyframe { since, expected })
        }
        _ => state,
    }
}
