//! Who speaks in the rooms of this worker: the microphones' news go into each
//! room's [`Speakers`](crate::room::speaker::Speakers) and to the other workers with viewers of it.
//!
//! A packet only moves its own microphone's meter. Rooms in which somebody is
//! heard are looked at every [`TICK`]; the others cost nothing.

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::core::Core;
use super::mesh::MeshMessage;
use crate::room::membership::workers;
use crate::room::voice::Voice;
use crate::room::{Source, TrackKey};
use crate::units::{MediaKind, ParticipantId, RoomId, WorkerId};

/// How often a room is looked at while somebody is heard in it; also the least
/// time between two of its messages to another worker.
const TICK: Duration = Duration::from_millis(40);

/// News of one room's voices.
type News = SmallVec<[(ParticipantId, Voice); 4]>;

impl Core {
    /// A packet of a local microphone: its level, as on the wire.
    pub(super) fn hear(
        &mut self,
        now: Instant,
        index: u32,
        timestamp: u32,
        clock_rate: u32,
        level: u8,
    ) {
        let Some(track) = self.tracks.get_mut(index as usize) else {
            return;
        };
        if track.voice.hear(now, timestamp, clock_rate, level) {
            let room = track.key.room;
            self.voice_begins(now, room, index);
        }
    }

    fn voice_begins(&mut self, now: Instant, room: RoomId, index: u32) {
        let Some(entry) = self.rooms.get_mut(&room) else {
            return;
        };
        if !entry.talking.contains(&index) {
            entry.talking.push(index);
        }
        self.enliven(now, room);
    }

    /// Makes sure that the room is looked at.
    fn enliven(&mut self, now: Instant, room: RoomId) {
        if let Some(entry) = self.rooms.get_mut(&room)
            && !std::mem::replace(&mut entry.lively, true)
        {
            self.lively.push(room);
        }
        self.next_speaker_tick.get_or_insert(now);
    }

    /// Looks at the rooms in which somebody is heard.
    pub(super) fn tick_speakers(&mut self, now: Instant) {
        if self.next_speaker_tick.is_none_or(|at| at > now) {
            return;
        }
        let mut lively = std::mem::take(&mut self.lively);
        lively.retain(|room| self.tick_room(now, *room));
        lively.append(&mut self.lively);
        self.lively = lively;
        self.next_speaker_tick = (!self.lively.is_empty()).then(|| now + TICK);
    }

    /// Returns false when the room needs no further look.
    fn tick_room(&mut self, now: Instant, room: RoomId) -> bool {
        let Some(entry) = self.rooms.get_mut(&room) else {
            return false;
        };
        if entry.publications().len() < 2 && entry.interested == 0 {
            // There is nobody to choose from: see `listen_again`.
            entry.talking.clear();
            entry.lively = false;
            return false;
        }
        let tracks = &mut self.tracks;
        let mut news = News::new();
        entry.talking.retain(|index| {
            // Its place may be another room's by now.
            let Some(track) = tracks
                .get_mut(*index as usize)
                .filter(|track| track.key.room == room)
            else {
                return false;
            };
            track.voice.settle(now);
            news.extend(track.voice.news().map(|v| (track.key.participant, v)));
            track.voice.voice().is_some_and(|v| v.is_open())
        });
        for (participant, voice) in &news {
            entry.speakers.hear(*participant, *voice);
        }
        let interested = entry.interested;
        if !news.is_empty() {
            for worker in workers(interested) {
                let voices = news.to_vec();
                self.send(worker, MeshMessage::Voices { room, voices });
            }
        }
        self.follow_speakers(now, room);
        let Some(entry) = self.rooms.get_mut(&room) else {
            return false;
        };
        entry.lively = !entry.talking.is_empty() || entry.speakers.is_lively();
        entry.lively
    }

    /// Decides anew who speaks, and binds the room's viewers anew when it matters.
    fn follow_speakers(&mut self, now: Instant, room: RoomId) {
        let Some(entry) = self.rooms.get_mut(&room) else {
            return;
        };
        entry.speakers.evaluate(now);
        let formats = std::mem::take(&mut entry.formats_changed);
        if entry.order_changed() || formats {
            self.rebind_followers(room);
        }
    }

    /// Somebody of the room sends another format, which not every viewer has: binds its viewers
    /// anew at the room's next look, however often that happens.
    pub(super) fn choose_again(&mut self, now: Instant, room: RoomId) {
        if let Some(entry) = self.rooms.get_mut(&room)
            && !entry.followers.is_empty()
        {
            entry.formats_changed = true;
            self.enliven(now, room);
        }
    }

    /// Another worker's news of voices at its publishers.
    pub(super) fn hear_from(
        &mut self,
        now: Instant,
        from: WorkerId,
        room: RoomId,
        voices: &[(ParticipantId, Voice)],
    ) {
        let Some(entry) = self.rooms.get_mut(&room) else {
            return;
        };
        for (participant, voice) in voices {
            // It may have moved to another worker meanwhile.
            if entry
                .publication(*participant)
                .is_some_and(|p| p.worker == from)
            {
                entry.speakers.hear(*participant, *voice);
            }
        }
        self.follow_speakers(now, room);
        if self
            .rooms
            .get(&room)
            .is_some_and(|r| r.speakers.is_lively())
        {
            self.enliven(now, room);
        }
    }

    /// A room has become one of several: those who talk already count too.
    pub(super) fn listen_again(&mut self, now: Instant, room: RoomId) {
        for (index, voice) in self.local_voices(room) {
            if voice.is_open() {
                self.voice_begins(now, room, index);
            }
        }
    }

    /// Tells a worker that begins to watch a room who has spoken in it so far.
    pub(super) fn tell_voices(&mut self, to: WorkerId, room: RoomId) {
        let tracks = &self.tracks;
        let known = self.local_voices(room);
        let voices: Vec<_> = known
            .into_iter()
            .filter_map(|(index, voice)| Some((tracks.get(index as usize)?.key.participant, voice)))
            .collect();
        if !voices.is_empty() {
            self.send(to, MeshMessage::Voices { room, voices });
        }
    }

    /// The local microphones of a room that were ever heard.
    fn local_voices(&self, room: RoomId) -> Vec<(u32, Voice)> {
        let Some(entry) = self.rooms.get(&room) else {
            return Vec::new();
        };
        let voice = |participant| {
            let key = TrackKey {
                room,
                participant,
                kind: MediaKind::Audio,
            };
            let index = *self.track_index.get(&key)?;
            let track = self.tracks.get(index as usize)?;
            let local = matches!(track.source, Source::Local { .. });
            Some((index, track.voice.voice().filter(|_| local)?))
        };
        let publications = entry.publications().iter();
        publications.filter_map(|p| voice(p.participant)).collect()
    }
}
