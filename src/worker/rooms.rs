//! Rooms and tracks over all workers: publications come and go, tracks are
//! attached, subscribed and forgotten.

use std::time::Instant;

use super::core::Core;
use super::mesh::{MediaMessage, MeshMessage, SegmentMessage};
use super::session::Publisher;
use crate::room::membership::{Publication, worker_bit, workers};
use crate::room::{RemoteSubscriber, Source, Subscriber, Track, TrackKey};
use crate::units::{MediaKind, ParticipantId, RoomId, WorkerId};

impl Core {
    /// The index of a track, made when it is not there yet.
    pub(super) fn track(&mut self, key: TrackKey) -> u32 {
        let tracks = &mut self.tracks;
        *self
            .track_index
            .entry(key)
            .or_insert_with(|| tracks.insert(Track::new(key)) as u32)
    }

    pub(super) fn forget_track_if_unused(&mut self, index: u32) {
        let Some(track) = self.tracks.get(index as usize) else {
            return;
        };
        if track.is_unused() && !track.queued {
            self.track_index.remove(&track.key);
            self.tracks.remove(index as usize);
        }
    }

    pub(super) fn forget_room_if_unused(&mut self, room: RoomId) {
        if self
            .rooms
            .get(&room)
            .is_some_and(crate::room::Room::is_unused)
        {
            self.rooms.remove(&room);
        }
    }

    pub(super) fn send(&mut self, to: WorkerId, message: MeshMessage) {
        if to != self.config.id {
            self.outputs.mesh.push((to, message));
        }
    }

    /// A participant publishes, here or at another worker.
    pub(super) fn publish(
        &mut self,
        now: Instant,
        room: RoomId,
        publication: Publication,
        source: Source,
    ) {
        let participant = publication.participant;
        for kind in [MediaKind::Audio, MediaKind::Video] {
            let key = TrackKey {
                room,
                participant,
                kind,
            };
            match publication.tracks.iter().find(|t| t.kind == kind) {
                Some(published) => {
                    let index = self.track(key);
                    self.leave_other_source(index, source);
                    if let Some(track) = self.tracks.get_mut(index as usize) {
                        let generation = publication.generation;
                        track.epoch = self.epoch; // attaching counts one on
                        self.epoch = self.epoch.wrapping_add(1);
                        track.attach(
                            source,
                            generation,
                            published.formats.clone(),
                            &published.rids,
                        );
                        let watched = !track.subscribers.is_empty();
                        self.aim_soon(index);
                        if let Source::Remote { worker } = source
                            && watched
                        {
                            self.send_subscribe(worker, key, index, true);
                        }
                    }
                }
                // The former publisher had this kind, the new one has not.
                None => {
                    if let Some(&index) = self.track_index.get(&key) {
                        self.detach(index);
                    }
                }
            }
        }
        let is_local = matches!(source, Source::Local { .. });
        let entry = self.rooms.entry(room).or_default();
        let interested = entry.interested;
        if is_local {
            let announced = publication.clone();
            for worker in workers(interested) {
                let publication = Box::new(announced.clone());
                self.send(worker, MeshMessage::Publish { room, publication });
            }
        }
        let entry = self.rooms.entry(room).or_default();
        entry.publish(publication);
        entry.speakers.silence(participant);
        self.listen_again(now, room);
        self.rebind_followers(room);
    }

    /// A track that was another worker's is no longer taken from there.
    fn leave_other_source(&mut self, index: u32, source: Source) {
        let Some(track) = self.tracks.get(index as usize) else {
            return;
        };
        let (old, key) = (track.source, track.key);
        if let Source::Remote { worker } = old
            && old != source
        {
            self.send_subscribe(worker, key, index, false);
        }
    }

    fn send_subscribe(&mut self, worker: WorkerId, track: TrackKey, index: u32, on: bool) {
        let mut subscription = 0;
        if on {
            self.subscription = self.subscription.wrapping_add(1).max(1);
            subscription = self.subscription;
        }
        if let Some(entry) = self.tracks.get_mut(index as usize) {
            entry.restoring = on;
            entry.subscription = subscription;
            if !on {
                entry.forget_packets();
            }
        }
        let message = MeshMessage::Subscribe {
            track,
            index,
            subscription,
            on,
        };
        self.send(worker, message);
    }

    /// What joiners need has come from the publisher's worker.
    fn restore(&mut self, from: WorkerId, message: SegmentMessage) {
        let Some(track) = self.tracks.get_mut(message.index as usize) else {
            return;
        };
        if track.key != message.track
            || track.subscription != message.subscription
            || track.source != (Source::Remote { worker: from })
        {
            return;
        }
        track.restoring = false;
        if track.generation == message.generation {
            track.restore(message.encodings, self.now);
        }
        self.aim_soon(message.index);
    }

    fn detach(&mut self, index: u32) {
        if let Some(track) = self.tracks.get_mut(index as usize) {
            track.detach();
            self.aim_soon(index);
        }
        self.aim_viewers();
        self.forget_track_if_unused(index);
    }

    /// A local publisher's session ends.
    pub(super) fn unpublish(
        &mut self,
        now: Instant,
        room: RoomId,
        slot: u32,
        publisher: &Publisher,
    ) {
        let participant = publisher.participant;
        let tracks: Vec<u32> = publisher.ingress.tracks().collect();
        for index in tracks {
            let ours = self
                .tracks
                .get(index as usize)
                .is_some_and(|t| t.source == (Source::Local { session: slot }));
            if ours {
                self.detach(index);
            } else {
                self.forget_track_if_unused(index);
            }
        }
        let Some(entry) = self.rooms.get_mut(&room) else {
            return;
        };
        let current = entry
            .publication(participant)
            .is_some_and(|p| p.worker == self.config.id && p.generation == publisher.generation);
        if !current {
            return; // taken over meanwhile
        }
        entry.take(participant);
        entry.speakers.forget(participant);
        entry.speakers.evaluate(now);
        for worker in workers(entry.interested) {
            let message = MeshMessage::Unpublish {
                room,
                participant,
                generation: publisher.generation,
            };
            self.send(worker, message);
        }
        self.rebind_followers(room);
    }

    /// A viewer's slot wants a track.
    pub(super) fn subscribe(&mut self, index: u32, subscriber: Subscriber) {
        let Some(track) = self.tracks.get_mut(index as usize) else {
            return;
        };
        let first = track.subscribers.is_empty();
        track.subscribers.push(subscriber);
        if let (true, Source::Remote { worker }, key) = (first, track.source, track.key) {
            self.send_subscribe(worker, key, index, true);
        }
    }

    /// A viewer leaves a track.
    pub(super) fn unsubscribe(&mut self, index: u32, subscriber: Subscriber) {
        let Some(track) = self.tracks.get_mut(index as usize) else {
            return;
        };
        if let Some(at) = track.subscribers.iter().position(|s| *s == subscriber) {
            track.subscribers.swap_remove(at);
        }
        let (last, source, key) = (track.subscribers.is_empty(), track.source, track.key);
        if let (true, Source::Remote { worker }) = (last, source) {
            self.send_subscribe(worker, key, index, false);
        }
        self.forget_track_if_unused(index);
    }

    /// Tells all workers whether viewers of the room are here.
    pub(super) fn tell_interest(&mut self, now: Instant, room: RoomId, on: bool) {
        for worker in (0..self.config.workers).map(WorkerId) {
            self.send(worker, MeshMessage::Interest { room, on });
        }
        if on {
            return;
        }
        // What other workers publish is no longer followed here.
        let me = self.config.id;
        let Some(entry) = self.rooms.get_mut(&room) else {
            return;
        };
        let remote: Vec<ParticipantId> = entry
            .publications()
            .iter()
            .filter(|p| p.worker != me)
            .map(|p| p.participant)
            .collect();
        for participant in remote {
            self.forget_remote(now, room, participant);
        }
    }

    fn forget_remote(&mut self, now: Instant, room: RoomId, participant: ParticipantId) {
        if let Some(entry) = self.rooms.get_mut(&room) {
            entry.take(participant);
            entry.speakers.forget(participant);
            entry.speakers.evaluate(now);
        }
        for kind in [MediaKind::Audio, MediaKind::Video] {
            let key = TrackKey {
                room,
                participant,
                kind,
            };
            if let Some(&index) = self.track_index.get(&key) {
                self.detach(index);
            }
        }
    }

    /// A message did not find room in the queue of its worker. Nobody there knows that a packet is
    /// missing, nor has anybody but the publisher another way on for its pictures.
    pub fn refused(&mut self, message: &MeshMessage) {
        if let MeshMessage::Media(media) = message
            && media.track.kind == MediaKind::Video
            && let Some(&index) = self.track_index.get(&media.track)
        {
            self.want_keyframe(index, media.encoding);
        }
    }

    pub(super) fn mesh(&mut self, now: Instant, from: WorkerId, message: MeshMessage) {
        match message {
            MeshMessage::Interest { room, on } => self.note_interest(from, room, on),
            MeshMessage::Publish { room, publication } => {
                // Interest may have ended while this was on its way.
                if self.rooms.get(&room).is_some_and(|r| r.viewers > 0) {
                    let source = Source::Remote { worker: from };
                    self.publish(now, room, *publication, source);
                }
            }
            MeshMessage::Unpublish {
                room,
                participant,
                generation,
            } => {
                let current = self
                    .rooms
                    .get(&room)
                    .and_then(|r| r.publication(participant))
                    .is_some_and(|p| p.worker == from && p.generation == generation);
                if current {
                    self.forget_remote(now, room, participant);
                    self.rebind_followers(room);
                    self.forget_room_if_unused(room);
                }
            }
            MeshMessage::Voices { room, voices } => self.hear_from(now, from, room, &voices),
            MeshMessage::Subscribe {
                track,
                index,
                subscription,
                on,
            } => {
                let subscriber = RemoteSubscriber {
                    worker: from,
                    index,
                    subscription,
                };
                self.note_subscription(now, track, subscriber, on);
            }
            MeshMessage::Keyframe { track, encoding } => {
                if let Some(&index) = self.track_index.get(&track) {
                    self.want_keyframe(index, encoding);
                }
            }
            MeshMessage::Segment(segment) => self.restore(from, *segment),
            MeshMessage::Media(media) => {
                let expected = self.tracks.get(media.index as usize).is_some_and(|t| {
                    t.key == media.track
                        && t.generation == media.generation
                        && t.subscription == media.subscription
                        && t.source == (Source::Remote { worker: from })
                });
                if expected {
                    self.ingest(now, media.index, media.encoding, media.packet);
                }
            }
            MeshMessage::Clock {
                index,
                track: key,
                generation,
                encoding,
                clock,
            } => {
                if let Some(track) = self.tracks.get_mut(index as usize)
                    && track.key == key
                    && track.generation == generation
                    && let Some(encoding) = track.encodings.get_mut(usize::from(encoding))
                {
                    encoding.clock = Some(clock);
                }
            }
        }
    }

    fn note_interest(&mut self, from: WorkerId, room: RoomId, on: bool) {
        let me = self.config.id;
        if on {
            let entry = self.rooms.entry(room).or_default();
            entry.interested |= worker_bit(from);
            let local: Vec<Publication> = entry
                .publications()
                .iter()
                .filter(|p| p.worker == me)
                .cloned()
                .collect();
            for publication in local {
                let publication = Box::new(publication);
                self.send(from, MeshMessage::Publish { room, publication });
            }
            self.tell_voices(from, room);
        } else if let Some(entry) = self.rooms.get_mut(&room) {
            entry.interested &= !worker_bit(from);
            self.forget_room_if_unused(room);
        }
    }

    fn note_subscription(
        &mut self,
        now: Instant,
        key: TrackKey,
        subscriber: RemoteSubscriber,
        on: bool,
    ) {
        let RemoteSubscriber {
            worker: from,
            index,
            subscription,
        } = subscriber;
        // A track that has just ended: who subscribes hears of that next, and
        // of its next publisher.
        let Some(&track_index) = self.track_index.get(&key) else {
            return;
        };
        let Some(track) = self.tracks.get_mut(track_index as usize) else {
            return;
        };
        track
            .remote_subscribers
            .retain(|s| !(s.worker == from && (on || s.index == index)));
        if on {
            track.remote_subscribers.push(subscriber);
            let generation = track.generation;
            let segment = SegmentMessage {
                index,
                track: key,
                generation,
                subscription,
                encodings: track.cached(),
            };
            self.send(from, MeshMessage::Segment(Box::new(segment)));
            for packet in self.voice_so_far(now, track_index) {
                let media = MediaMessage {
                    index,
                    track: key,
                    generation,
                    subscription,
                    encoding: 0,
                    packet,
                };
                self.send(from, MeshMessage::Media(Box::new(media)));
            }
        } else {
            self.forget_track_if_unused(track_index);
        }
    }
}
