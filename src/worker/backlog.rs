//! Keyframes for slots that need one, from the ring or from the publisher, and
//! the backlogs that viewers are sent at their pace.

use std::time::{Duration, Instant};

use super::core::{Core, Flush};
use super::session::{Media, Session};
use crate::room::Track;
use crate::room::keyframe_request::Reaction;
use crate::telemetry::DropReason;
use crate::units::MediaKind;
use crate::viewer::catch_up::{Behind, Circumstances, Fed, Need, Step, plan};
use crate::viewer::order::{self, Queue, Waiting};
use crate::viewer::pace::Pacer;
use crate::viewer::select::Awaited;
use crate::viewer::slot::{Repaired, Slot};

/// Bytes of backlogs that a worker sends in one turn: about a millisecond's
/// work, so that a crowd of joiners does not delay what is live.
const BYTES_PER_TURN: usize = 512 << 10;

/// A viewer that was given a backlog and asks for a keyframe within this, or
/// two round trips, has not seen it yet. Each further time this grows
/// fourfold. Browsers ask five times a second; Firefox loses what comes in the
/// first milliseconds of a connection, so it does need it a second time.
const SETTLING: Duration = Duration::from_millis(200);

/// It does not grow beyond this.
const TRIED: Duration = Duration::from_secs(5);

/// Pictures a second, where it is not measured yet.
const USUAL_FRAME_RATE: f32 = 30.0;

/// A viewer's slot that needs a keyframe.
#[derive(Debug, Clone, Copy)]
pub(super) struct Starving {
    /// Index of the session.
    pub session: u32,
    /// Index of the slot.
    pub slot: u8,
    /// The encoding that it is needed of; `None` when the viewer itself asked.
    pub needed: Option<u8>,
}

impl Core {
    /// Gives each slot that needs a keyframe the cached one, or asks the
    /// publisher for another, or both.
    pub(super) fn feed_starving(&mut self, now: Instant) {
        let mut starving = std::mem::take(&mut self.starving);
        for hungry in starving.drain(..) {
            let mut wanted = None;
            self.guarded(now, hungry.session, |core| {
                wanted = core.feed(now, hungry);
                Ok(())
            });
            if let Some((track, encoding)) = wanted {
                self.want_keyframe(track, encoding);
            }
        }
        self.starving = starving;
    }

    /// Returns the encoding that the publisher is to be asked for.
    fn feed(&mut self, now: Instant, hungry: Starving) -> Option<(u32, u8)> {
        let Some(Session {
            key,
            media: Media::Viewer(viewer),
            ..
        }) = self.sessions.get_mut(hungry.session)
        else {
            return None;
        };
        let key = *key;
        let slot = viewer.slots.get_mut(usize::from(hungry.slot))?;
        #[cfg(test)]
        crate::viewer::slot::doom::strike(slot.ssrcs.ssrc, crate::viewer::slot::doom::Doing::Feed);
        let index = slot.track?;
        let track = self.tracks.get(index as usize)?;
        let asked = hungry.needed.is_none();
        let wanted = hungry.needed.or(slot.wanted_encoding())?;
        let need = need(slot, track, asked)?;
        if track.restoring {
            return None; // the segment is on its way from the publisher's worker
        }
        let settling = slot.fed.is_some_and(|fed| {
            let patience =
                SETTLING.max(slot.rtt.unwrap_or_default() * 2) * 4u32.pow(fed.again.min(3));
            now.saturating_duration_since(fed.at) < patience.min(TRIED)
        });
        let at_it = slot.behind.is_some_and(|b| b.encoding == wanted);
        if at_it && !asked {
            self.behind.push(hungry.session); // there may have been no path when it was handed out
            return None;
        }
        let seen_after = SETTLING.max(slot.rtt.unwrap_or_default() * 2);
        if asked && (settling || slot.is_sent_keyframe(now, seen_after)) {
            return None;
        }
        let encoding = track.encodings.get(usize::from(wanted))?;
        let reaction = encoding.keyframes.likely_reaction(now);
        // What did not help is tried again only where the publisher helps less.
        let segment = encoding.ring.segment().filter(|segment| {
            let tried = slot.fed.is_some_and(|fed| fed.first == segment.first);
            !tried || asked && reaction != Reaction::Reacts
        });
        let frame_rate = Some(encoding.stats.frame_rate()).filter(|rate| *rate > 0.0);
        let age = segment.map_or(Duration::ZERO, |s| {
            s.edge.0.saturating_duration_since(s.arrival)
        });
        let pictures = age.as_secs_f32() * frame_rate.unwrap_or(USUAL_FRAME_RATE);
        let plan = plan(&Circumstances {
            need,
            segment,
            pictures: pictures as u32 + 1,
            pacer: &viewer.pacer,
            live: encoding.stats.bitrate().0 / 8,
            reaction,
            past: segment.is_some_and(|s| slot.has_seen(track, wanted, &s, now)),
            next: encoding.next_keyframe(now),
        });
        if let (Some(segment), Some(replay)) = (segment, plan.replay) {
            if need == Need::Rescue {
                slot.selection.abandon();
            }
            slot.behind = Some(Behind::replay(wanted, &segment, replay, now));
            let again = slot.fed.filter(|fed| fed.first == segment.first);
            slot.fed = Some(Fed {
                at: now,
                first: segment.first,
                again: again.map_or(0, |fed| fed.again + 1),
            });
            self.behind.push(hungry.session);
        }
        let ask = plan.ask && (!asked || slot.demand.admit(now));
        if let Some(at) = slot.demand.deadline() {
            self.wake_at(key, at);
        }
        ask.then_some((index, wanted))
    }

    /// The viewer's requests for keyframes that came too early count now, where none has come since.
    pub(super) fn demand_again(&mut self, now: Instant, session: u32) {
        let Some(viewer) = self.sessions.get_mut(session).and_then(Session::viewer) else {
            return;
        };
        for (at, slot) in (0u8..).zip(&mut viewer.slots) {
            let Some(since) = slot.demand.due(now) else {
                continue;
            };
            let encoding = slot.wanted_encoding().and_then(|encoding| {
                let track = self.tracks.get(slot.track? as usize)?;
                track.encodings.get(usize::from(encoding))
            });
            if encoding.is_some_and(|encoding| !encoding.has_keyframe_since(since)) {
                self.starving.push(Starving {
                    session,
                    slot: at,
                    needed: None,
                });
            }
        }
    }

    /// Sends what viewers are behind with, then the repairs they asked for, as far as
    /// their pace allows.
    pub(super) fn send_backlogs(&mut self, now: Instant, flush: &mut dyn Flush) {
        let mut behind = std::mem::take(&mut self.behind);
        let mut left = BYTES_PER_TURN;
        for session in behind.drain(..) {
            let mut sent = 0;
            self.guarded(now, session, |core| {
                sent = core.send_backlog(now, session, left, flush);
                Ok(())
            });
            left = left.saturating_sub(sent);
        }
        self.behind = behind;
    }

    /// Sends up to about `most` bytes; returns how many it were.
    fn send_backlog(
        &mut self,
        now: Instant,
        session: u32,
        most: usize,
        flush: &mut dyn Flush,
    ) -> usize {
        let Some(Session {
            key,
            media: Media::Viewer(viewer),
            transport,
            ..
        }) = self.sessions.get_mut(session)
        else {
            return 0;
        };
        let key = *key;
        let (Some(egress), Some(path)) = (&mut viewer.egress, transport.ice.path()) else {
            return 0;
        };
        if let Some(at) = viewer.bursts_from.filter(|at| *at > now) {
            viewer.next_burst = Some(at);
            self.wake_at(key, at);
            return 0;
        }
        let mut ended = smallvec::SmallVec::<[(u32, u8); 2]>::new();
        let (mut sent, mut rest) = (0, false);
        viewer.pacer.refill(now, viewer.estimate);
        let queue = queue(&mut viewer.slots, &self.tracks, &viewer.pacer);
        let first_pictures = queue.iter().map(|w| (w.slot, true));
        let all = queue.iter().map(|w| (w.slot, false));
        for (at, first_picture) in first_pictures.chain(all) {
            let Some(slot) = viewer.slots.get_mut(usize::from(at)) else {
                continue;
            };
            let Some((index, track)) = slot
                .track
                .and_then(|index| Some((index, self.tracks.get(index as usize)?)))
            else {
                continue;
            };
            while slot.behind.is_some_and(|b| b.opening || !first_picture) {
                if sent >= most || !viewer.pacer.is_open() {
                    rest = true;
                    break;
                }
                let mut out = self.outputs.outlet(now, &self.config.clock, path, flush);
                match slot.advance(&mut out, egress, track) {
                    Step::Sent(size) => {
                        self.totals.rtp_out += 1;
                        viewer.sent.count(size);
                        viewer.pacer.spend(size);
                        viewer.repairs.earn(size);
                        sent += size;
                    }
                    Step::Passed | Step::Live => {}
                    Step::Ended => {
                        ended.extend(slot.wanted_encoding().map(|encoding| (index, encoding)));
                        slot.selection.interrupt();
                    }
                    Step::NoFormat => self.totals.drops.add(DropReason::CodecMismatch),
                    Step::Failed(error) => self.totals.drops.add(error.into()),
                }
            }
        }
        if rest {
            for slot in &mut viewer.slots {
                let track = slot.track.and_then(|index| self.tracks.get(index as usize));
                if let Some(track) = track
                    && slot.lags(track, now)
                    && slot.demand.admit(now)
                {
                    ended.extend(slot.track.zip(slot.behind.map(|b| b.encoding)));
                }
            }
            viewer.repairs.wait_behind(sent);
        } else {
            viewer.repairs.wait_no_longer();
        }
        if (rest || viewer.pacer.is_congested()) && viewer.repairs.is_waiting() {
            // What the newest keyframe has made useless would take its room.
            let slots = &viewer.slots;
            let forgotten = viewer.repairs.forget(|asked| {
                let slot = slots.get(usize::from(asked.slot));
                slot.is_some_and(|slot| slot.is_superseded(asked.sequence))
            });
            let drops = &mut self.totals.drops;
            drops.add_many(DropReason::RtxTooOld, forgotten);
        }
        // What was given up leaves a hole that the pictures behind it wait for: browsers ask for
        // a keyframe only when nothing was shown for three seconds.
        let mut given_up = smallvec::SmallVec::<[u8; 4]>::new();
        let expired = viewer.repairs.expire(now, |slot| {
            if given_up.last() != Some(&slot) {
                given_up.push(slot);
            }
        });
        self.totals.drops.add_many(DropReason::RtxBudget, expired);
        for slot in given_up {
            let shows = |s: &Slot| s.kind == MediaKind::Video;
            let its = viewer.slots.get_mut(usize::from(slot));
            if let Some(its) = its.filter(|its| shows(its)) {
                its.keyframe = None; // it, or what followed, lacks something
                self.starving.push(Starving {
                    session,
                    slot,
                    needed: None,
                });
            }
        }
        while viewer.repairs.is_waiting() && sent < most {
            let may = match rest {
                true => viewer.repairs.may_go_ahead(),
                false => viewer.pacer.has_left_for_repairs(),
            };
            if !may {
                break;
            }
            let Some(asked) = viewer.repairs.next(now, viewer.estimate) else {
                break;
            };
            let mut out = self.outputs.outlet(now, &self.config.clock, path, flush);
            let slot = viewer.slots.get_mut(usize::from(asked.slot));
            if slot.as_ref().is_some_and(|slot| slot.paused) {
                // Its path is too narrow for the picture: it has no room for this either.
                self.totals.drops.add(DropReason::RtxBudget);
                continue;
            }
            let found = slot.and_then(|slot| {
                let track = self.tracks.get(slot.track? as usize)?;
                Some((slot, track))
            });
            let Some((slot, track)) = found else {
                self.totals.drops.add(DropReason::RtxTooOld);
                continue;
            };
            for _ in 0..=u8::from(asked.again) {
                match slot.repair(&mut out, egress, track, asked.sequence) {
                    Repaired::Sent(size) => {
                        self.totals.repairs_out += 1;
                        viewer.sent.count(size);
                        viewer.pacer.spend(size);
                        viewer.repairs.spend(size);
                        sent += size;
                    }
                    Repaired::Gone => self.totals.drops.add(DropReason::RtxTooOld),
                    Repaired::Failed(error) => self.totals.drops.add(error.into()),
                }
            }
        }
        viewer.pacer.note_behind(now, rest);
        viewer.next_burst = match (rest, viewer.repairs.is_waiting()) {
            (true, _) => Some(now + viewer.pacer.opens_in()),
            (false, true) => Some(now + viewer.pacer.repairs_in()),
            (false, false) => None,
        };
        if let Some(at) = viewer.next_burst {
            self.wake_at(key, at);
        }
        for (track, encoding) in ended {
            self.want_keyframe(track, encoding);
        }
        sent
    }
}

/// The slots that are behind, in the order in which they are served; those that begin are
/// told how long they will be.
fn queue(slots: &mut [Slot], tracks: &slab::Slab<Track>, pacer: &Pacer) -> Queue {
    let track = |slot: &Slot| tracks.get(slot.track? as usize);
    let waiting = |(index, slot): (u8, &Slot)| Waiting::of(slot, index, track(slot)?);
    let mut queue: Queue = (0u8..).zip(&*slots).filter_map(waiting).collect();
    order::sort(&mut queue);
    if !queue.iter().any(|w| w.begins) {
        return queue;
    }
    let flowing = slots.iter().filter(|s| s.behind.is_none());
    let live = flowing.filter_map(|s| {
        let current = s.selection.current()?;
        let encoding = track(s)?.encodings.get(usize::from(current.encoding))?;
        Some(encoding.stats.bitrate().0 / 8)
    });
    let live = live.sum();
    for (at, waiting) in queue.iter().enumerate().filter(|(_, w)| w.begins) {
        let behind = slots.get_mut(usize::from(waiting.slot));
        if let Some(behind) = behind.and_then(|s| s.behind.as_mut())
            && let Some(time) = order::through(&queue, at, live, pacer)
        {
            behind.lasts(time);
        }
    }
    queue
}

/// Why the slot needs a keyframe; `None` when it has it by now.
fn need(slot: &Slot, track: &Track, asked: bool) -> Option<Need> {
    match (slot.selection.awaited(), slot.selection.current()) {
        // There is no such thing in sound, so that it would be asked for without end.
        _ if slot.kind == MediaKind::Audio => None,
        (Some(_), None) => Some(Need::Join),
        (Some(target), Some(current)) => {
            let late = slot
                .behind
                .is_some_and(|behind| behind.encoding == current.encoding);
            let lower = track.ladder.is_below(target.encoding, current.encoding);
            Some(match late && lower {
                true => Need::Rescue,
                false => Need::Switch,
            })
        }
        (None, Some(_)) if asked => Some(Need::Recover),
        (None, Some(current)) => {
            let encoding = track.encodings.get(usize::from(current.encoding))?;
            let more = slot.layers.awaited(&encoding.grid) != Awaited::Nothing;
            more.then_some(Need::Switch)
        }
        (None, None) => None,
    }
}
