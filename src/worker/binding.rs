//! Which track each slot of a viewer shows: bound as participants come, speak
//! and go. Sound moves at once; a picture stays until the next one can be decoded.

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::core::{Core, Flush};
use super::session::{Media, Session};
use crate::control::messages::{Event, ViewTarget};
use crate::room::keyframe_request::Reaction;
use crate::room::membership::PublishedTrack;
use crate::room::{Format, Packet, Room, Source, Subscriber, Track, TrackKey};
use crate::units::{Bitrate, MediaKind, ParticipantId, RoomId};
use crate::viewer::Viewer;
use crate::viewer::assign::{assign, wanted};
use crate::viewer::line::SourceId;
use crate::viewer::slot::{Forwarded, Slot};

/// A slot that begins to send a voice begins with what was said this long ago,
/// so that no first syllable is lost: the time it takes to notice the voice.
const LOOK_BACK: Duration = Duration::from_millis(240);

/// A kept keyframe of this age is better than a new one: its backlog is through
/// in the time that asking takes.
const YOUNG: Duration = Duration::from_secs(1);

/// Packets looked back at; at 10 ms a packet as many as fit the time.
const LOOK_BACK_PACKETS: u64 = 24;

impl Core {
    /// Binds the slots of a viewer to the tracks of whom it is to see and hear.
    pub(super) fn bind_viewer(&mut self, session: u32) {
        // What others do makes it necessary, too: they must not end for its sake.
        self.guarded(self.now, session, |core| {
            core.bind_slots(session);
            Ok(())
        });
    }

    fn bind_slots(&mut self, session: u32) {
        let Some(Session {
            room: room_id,
            media: Media::Viewer(viewer),
            ..
        }) = self.sessions.get_mut(session)
        else {
            return;
        };
        let room_id = *room_id;
        #[cfg(test)]
        for slot in &viewer.slots {
            crate::viewer::slot::doom::strike(
                slot.ssrcs.ssrc,
                crate::viewer::slot::doom::Doing::Bind,
            );
        }
        match (viewer.target, self.rooms.get(&room_id)) {
            (ViewTarget::Participant(participant), _) => stay_with(viewer, participant),
            (ViewTarget::Room, Some(room)) => {
                let (index, tracks) = (&self.track_index, &self.tracks);
                let sends = |participant, kind| {
                    let key = TrackKey {
                        room: room_id,
                        participant,
                        kind,
                    };
                    let track = tracks.get(*index.get(&key)? as usize)?;
                    track.formats.get(usize::from(track.current_format?))
                };
                follow(viewer, room, sends);
            }
            (ViewTarget::Room, None) => {}
        }
        let tracks = &self.tracks;
        let key_of = |track: u32| tracks.get(track as usize).map(|t| t.key);
        let changes: SmallVec<[(u8, TrackKey); 4]> = (0u8..)
            .zip(&viewer.slots)
            .filter_map(|(index, slot)| {
                let key = TrackKey {
                    room: room_id,
                    participant: slot.participant?,
                    kind: slot.kind,
                };
                let bound = slot.incoming.or(slot.track).and_then(key_of);
                (bound != Some(key)).then_some((index, key))
            })
            .collect();
        for (slot, key) in changes {
            self.bind_slot(Subscriber { session, slot }, key);
        }
        self.aim_viewer(session);
        self.tell_slots(session);
    }

    fn bind_slot(&mut self, subscriber: Subscriber, key: TrackKey) {
        let track = self.track(key);
        let Some(viewer) = self
            .sessions
            .get_mut(subscriber.session)
            .and_then(Session::viewer)
        else {
            return;
        };
        let connected = viewer.egress.is_some();
        let Some(slot) = viewer.slots.get_mut(usize::from(subscriber.slot)) else {
            return;
        };
        let alive = slot
            .track
            .and_then(|t| self.tracks.get(t as usize))
            .is_some_and(|t| t.source != Source::None);
        let flows = connected && alive && slot.selection.current().is_some();
        let mut left: SmallVec<[u32; 2]> = slot.incoming.take().into_iter().collect();
        if slot.track == Some(track) {
            // Back to what is still shown.
        } else if flows && slot.kind == MediaKind::Video {
            slot.incoming = Some(track);
            self.subscribe(track, subscriber);
        } else {
            left.extend(slot.track.replace(track));
            slot.stop();
            let is_voice = slot.kind == MediaKind::Audio;
            if is_voice {
                self.begin_behind(subscriber, track);
            }
            self.subscribe(track, subscriber);
            if connected && is_voice {
                self.look_back.push(subscriber);
            }
        }
        for track in left {
            self.leave(track, subscriber);
        }
    }

    /// What a viewer has heard of a voice it is not sent again: who throws in a
    /// word takes a slot for so short a time that looking back would repeat what was said before.
    fn begin_behind(&mut self, subscriber: Subscriber, track: u32) {
        let source = self.tracks.get(track as usize).map(|t| SourceId::of(t, 0));
        let viewer = self
            .sessions
            .get_mut(subscriber.session)
            .and_then(Session::viewer);
        let (Some(source), Some(viewer)) = (source, viewer) else {
            return;
        };
        let sent = viewer.slots.iter().filter_map(|s| s.sent_of(source)).max();
        if let Some(slot) = viewer.slots.get_mut(usize::from(subscriber.slot)) {
            slot.begin_behind(sent.map(|end| (source, end)));
        }
    }

    /// A slot has left a track.
    fn leave(&mut self, index: u32, subscriber: Subscriber) {
        let viewer = self
            .sessions
            .get_mut(subscriber.session)
            .and_then(Session::viewer);
        if let Some(slot) = viewer.and_then(|v| v.slots.get_mut(usize::from(subscriber.slot)))
            && let Some(track) = self.tracks.get_mut(index as usize)
        {
            slot.count_out(track);
        }
        self.unsubscribe(index, subscriber);
    }

    /// Takes a viewer's slots off their tracks.
    pub(super) fn unbind_slots(&mut self, session: u32) {
        let Some(viewer) = self.sessions.get_mut(session).and_then(Session::viewer) else {
            return;
        };
        let mut tracks = SmallVec::<[(u32, Subscriber); 4]>::new();
        for (index, slot) in (0u8..).zip(&mut viewer.slots) {
            slot.stop();
            let subscriber = Subscriber {
                session,
                slot: index,
            };
            let bound = [slot.track.take(), slot.incoming.take()];
            tracks.extend(bound.into_iter().flatten().map(|t| (t, subscriber)));
        }
        for (track, subscriber) in tracks {
            self.leave(track, subscriber);
        }
    }

    /// A slot moves on to the track it waited for.
    pub(super) fn moved_on(&mut self, subscriber: Subscriber, left: u32, to: u32) {
        self.leave(left, subscriber);
        self.aim_soon(to);
        self.tell_slots(subscriber.session);
    }

    /// Slots whose picture has lost its publisher need not keep it any longer.
    pub(super) fn leave_dead_tracks(&mut self, session: u32) {
        let Some(viewer) = self.sessions.get_mut(session).and_then(Session::viewer) else {
            return;
        };
        let mut left = SmallVec::<[(u32, Subscriber); 2]>::new();
        for (index, slot) in (0u8..).zip(&mut viewer.slots) {
            let dead = slot
                .track
                .and_then(|t| self.tracks.get(t as usize))
                .is_none_or(|t| t.source == Source::None);
            if dead && let Some(next) = slot.incoming.take() {
                slot.stop();
                let subscriber = Subscriber {
                    session,
                    slot: index,
                };
                left.extend(slot.track.replace(next).map(|t| (t, subscriber)));
            }
        }
        for (track, subscriber) in left {
            self.leave(track, subscriber);
        }
    }

    /// Slots that wait for another picture's next keyframe take the newest one
    /// that is kept, where that is young, or where none comes for the asking.
    pub(super) fn enter_kept_keyframes(&mut self, session: u32) {
        let Some(viewer) = self.sessions.get_mut(session).and_then(Session::viewer) else {
            return;
        };
        let budget = viewer.picture_budget();
        let mut left = SmallVec::<[(u32, Subscriber); 2]>::new();
        for (index, slot) in (0u8..).zip(&mut viewer.slots) {
            let Some(incoming) = slot.incoming else {
                continue;
            };
            let Some(track) = self.tracks.get(incoming as usize) else {
                continue;
            };
            let Some(rung) = slot.entry(track, budget).filter(|_| !track.restoring) else {
                continue;
            };
            let Some(encoding) = track.encodings.get(usize::from(rung.encoding)) else {
                continue;
            };
            let ignores = encoding.keyframes.reaction() == Reaction::Ignores;
            let kept = encoding.ring.segment().is_some_and(|segment| {
                let age = segment.edge.0.saturating_duration_since(segment.arrival);
                age <= YOUNG || ignores
            });
            if kept {
                slot.incoming = None;
                slot.enter(track, rung);
                let subscriber = Subscriber {
                    session,
                    slot: index,
                };
                left.extend(slot.track.replace(incoming).map(|t| (t, subscriber)));
            }
        }
        if left.is_empty() {
            return;
        }
        for (track, subscriber) in left {
            self.leave(track, subscriber);
        }
        self.tell_slots(session);
    }

    /// Tells the control plane who is in which slot, when that has changed.
    pub(super) fn tell_slots(&mut self, session: u32) {
        let Some(Session {
            key,
            room,
            media: Media::Viewer(viewer),
            ..
        }) = self.sessions.get_mut(session)
        else {
            return;
        };
        if viewer.target != ViewTarget::Room || viewer.egress.is_none() {
            return; // it knows whom it sees, or sees nobody yet
        }
        let (key, room) = (*key, self.rooms.get(room));
        let tracks = &self.tracks;
        let shown = |track: Option<u32>| {
            let participant = tracks.get(track? as usize)?.key.participant;
            room?.publication(participant).map(|p| p.participant)
        };
        let mut changed = false;
        for slot in &mut viewer.slots {
            let now = shown(slot.track);
            changed |= std::mem::replace(&mut slot.told, now) != now;
        }
        if changed {
            let slots = viewer
                .slots
                .iter()
                .map(|slot| (slot.mid.clone(), slot.told))
                .collect();
            self.event(Event::SlotsChanged { key, slots });
        }
    }

    /// Sends the slots that have just begun to send a voice what was said while
    /// it was noticed.
    pub(super) fn look_back(&mut self, now: Instant, flush: &mut dyn Flush) {
        while let Some(subscriber) = self.look_back.pop() {
            self.guarded(now, subscriber.session, |core| {
                core.send_voice(now, subscriber, flush);
                Ok(())
            });
        }
    }

    fn send_voice(&mut self, now: Instant, subscriber: Subscriber, flush: &mut dyn Flush) {
        let Some(Session {
            media: Media::Viewer(viewer),
            transport,
            ..
        }) = self.sessions.get_mut(subscriber.session)
        else {
            return;
        };
        let (Some(egress), Some(path)) = (&mut viewer.egress, transport.ice.path()) else {
            return;
        };
        let Some(slot) = viewer.slots.get_mut(usize::from(subscriber.slot)) else {
            return;
        };
        if slot.selection.current().is_some() {
            return; // bound more than once in this turn
        }
        let Some(track) = slot.track.and_then(|t| self.tracks.get(t as usize)) else {
            return;
        };
        let mut out = self.outputs.outlet(now, &self.config.clock, path, flush);
        for packet in newest(track, now) {
            match slot.forward(&mut out, egress, track, 0, packet) {
                Forwarded::Sent(size) => {
                    self.totals.rtp_out += 1;
                    viewer.sent.count(size);
                }
                Forwarded::Failed(error) => self.totals.drops.add(error.into()),
                _ => {} // of sound nothing is held, so nothing goes ahead of it
            }
        }
    }

    /// The newest packets of a local voice, for a worker that begins to take it.
    pub(super) fn voice_so_far(&self, now: Instant, index: u32) -> Vec<Packet> {
        let Some(track) = self.tracks.get(index as usize) else {
            return Vec::new();
        };
        match track.key.kind {
            MediaKind::Audio => newest(track, now).map(Packet::detached).collect(),
            MediaKind::Video => Vec::new(),
        }
    }

    /// The viewers of a room may be to see or hear somebody else now.
    pub(super) fn rebind_followers(&mut self, room: RoomId) {
        let Some(entry) = self.rooms.get(&room) else {
            return;
        };
        for follower in entry.followers.clone() {
            self.bind_viewer(follower);
        }
        self.aim_viewers();
    }
}

/// A voice's packets of the last moments, the oldest first.
fn newest(track: &Track, now: Instant) -> impl Iterator<Item = &Packet> {
    let ring = track.encodings.first().map(|e| &e.ring);
    let first = ring
        .and_then(|ring| ring.end())
        .map_or(0, |end| end.saturating_sub(LOOK_BACK_PACKETS));
    ring.into_iter()
        .flat_map(move |ring| ring.from(first))
        .filter(move |p| now.saturating_duration_since(p.arrival) <= LOOK_BACK)
}

/// The viewer of one participant: the first slot of each kind shows it.
fn stay_with(viewer: &mut Viewer, participant: ParticipantId) {
    viewer.watching = Some(participant);
    for kind in [MediaKind::Audio, MediaKind::Video] {
        if let Some(slot) = viewer.slots.iter_mut().find(|s| s.kind == kind) {
            slot.participant = Some(participant);
        }
    }
}

/// The viewer of a room: its slots are for those who speak. `sends` tells in which format
/// a participant's track comes, once something of it came here.
fn follow<'t>(
    viewer: &mut Viewer,
    room: &Room,
    sends: impl Fn(ParticipantId, MediaKind) -> Option<&'t Format>,
) {
    let own = viewer.identity.as_deref();
    let in_slots = |viewer: &Viewer, kind: MediaKind| -> SmallVec<[Option<ParticipantId>; 16]> {
        let of_kind = viewer.slots.iter().filter(|s| s.kind == kind);
        of_kind.map(|s| s.participant).collect()
    };
    let decodes = |participant, track: &PublishedTrack| {
        let slot = viewer.slots.iter().find(|s| s.kind == track.kind);
        slot.is_some_and(|slot| match sends(participant, track.kind) {
            Some(format) => slot.decodes(format),
            None => track.formats.iter().any(|format| slot.decodes(format)),
        })
    };
    // Pictures first: where nothing tells who speaks, sound goes with the picture.
    let mut seen = in_slots(viewer, MediaKind::Video);
    let near: SmallVec<[_; 16]> = seen.iter().copied().flatten().collect();
    let limit = seen.len();
    let list = wanted(room, MediaKind::Video, own, &near, limit, decodes);
    assign(&mut seen, &list);
    let mut heard = in_slots(viewer, MediaKind::Audio);
    let near = seen.iter().chain(&heard).copied().flatten();
    let near: SmallVec<[_; 16]> = near.collect();
    let limit = heard.len();
    let list = wanted(room, MediaKind::Audio, own, &near, limit, decodes);
    assign(&mut heard, &list);
    let speaker = room.speakers.active();
    let is_shown = |p: ParticipantId| seen.contains(&Some(p)) || heard.contains(&Some(p));
    viewer.watching = speaker
        .filter(|p| is_shown(*p))
        .or(seen.first().copied().flatten())
        .or(heard.first().copied().flatten())
        .or(viewer.watching);
    let (mut seen, mut heard) = (seen.into_iter(), heard.into_iter());
    for slot in &mut viewer.slots {
        let next = match slot.kind {
            MediaKind::Audio => heard.next(),
            MediaKind::Video => seen.next(),
        };
        slot.participant = next.flatten();
        // Where not all can be had in full, it is the speaker who is.
        slot.priority = u8::from(speaker.is_some() && slot.participant == speaker);
    }
}

/// Moves the slot that waits for track `index` on to it, when a keyframe
/// begins among `packets`. Returns the track that it leaves.
pub(super) fn move_on(
    slot: &mut Slot,
    index: u32,
    track: &Track,
    budget: Option<Bitrate>,
    packets: &[(u8, Packet)],
) -> Option<u32> {
    if slot.incoming != Some(index) || !packets.iter().any(|(_, p)| p.entry) {
        return None;
    }
    let rung = slot.entry(track, budget)?;
    if !packets
        .iter()
        .any(|(encoding, p)| *encoding == rung.encoding && p.entry)
    {
        return None;
    }
    slot.incoming = None;
    slot.enter(track, rung);
    slot.track.replace(index)
}
