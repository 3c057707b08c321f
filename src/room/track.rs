//! A participant's audio or video as one worker knows it: where it comes
//! from, its encodings, and who gets it.

use std::time::Instant;

use super::encoding::Encoding;
use super::packet::Packet;
use crate::codec::Codec;
use crate::control::messages::{TrackRepair, TrackSnapshot};
use crate::units::{MediaKind, ParticipantId, RoomId, WorkerId};

/// Names a track in every worker, over reconnects of its publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrackKey {
    /// The room.
    pub room: RoomId,
    /// Whose track.
    pub participant: ParticipantId,
    /// Audio or video.
    pub kind: MediaKind,
}

/// One payload format that a publisher may send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format {
    /// The codec.
    pub codec: Codec,
    /// `a=fmtp` parameters.
    pub fmtp: String,
    /// Audio channels.
    pub channels: u8,
}

/// A viewer's slot in this worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Subscriber {
    /// Index of the session.
    pub session: u32,
    /// Index of its slot.
    pub slot: u8,
}

/// Another worker that wants the track's packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemoteSubscriber {
    /// The worker.
    pub worker: WorkerId,
    /// The track's index there, so that a packet finds it without a look-up.
    pub index: u32,
}

/// Where a track's packets come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Source {
    /// Nobody publishes it.
    #[default]
    None,
    /// A session of this worker.
    Local {
        /// Index of the session.
        session: u32,
    },
    /// Another worker's publisher.
    Remote {
        /// The worker.
        worker: WorkerId,
    },
}

/// See the module's description.
#[derive(Debug)]
pub struct Track {
    /// Its name.
    pub key: TrackKey,
    /// Where packets come from.
    pub source: Source,
    /// Counts publishers: a slot that saw another number starts over.
    pub epoch: u32,
    /// The publisher's number at its own worker; packets from there carry it.
    pub generation: u32,
    /// What the publisher may send; [`Packet::format`] points into it.
    pub formats: Vec<Format>,
    /// The format that arrives, once media came.
    pub current_format: Option<u8>,
    /// One without simulcast, one a layer with it.
    pub encodings: Vec<Encoding>,
    /// The encoding that viewers get: the best that is alive.
    pub best: Option<u8>,
    /// Viewers in this worker.
    pub subscribers: Vec<Subscriber>,
    /// Workers with viewers of a local track.
    pub remote_subscribers: Vec<RemoteSubscriber>,
    /// Packets that arrived in this turn and wait for the fan-out.
    pub pending: Vec<(u8, Packet)>,
    /// It is in the worker's list of tracks to fan out.
    pub queued: bool,
}

impl Track {
    /// A track nobody publishes yet.
    pub fn new(key: TrackKey) -> Self {
        Self {
            key,
            source: Source::None,
            epoch: 0,
            generation: 0,
            formats: Vec::new(),
            current_format: None,
            encodings: Vec::new(),
            best: None,
            subscribers: Vec::new(),
            remote_subscribers: Vec::new(),
            pending: Vec::new(),
            queued: false,
        }
    }

    /// A publisher takes the track: `rids` are its simulcast layers, empty
    /// without simulcast.
    pub fn attach(
        &mut self,
        source: Source,
        generation: u32,
        formats: Vec<Format>,
        rids: &[String],
    ) {
        self.source = source;
        self.generation = generation;
        self.epoch = self.epoch.wrapping_add(1);
        self.formats = formats;
        self.current_format = None;
        self.pending.clear();
        self.best = None;
        let kind = self.key.kind;
        self.encodings = if rids.is_empty() {
            vec![Encoding::new(kind, None)]
        } else {
            rids.iter()
                .map(|rid| Encoding::new(kind, Some(rid.clone())))
                .collect()
        };
        if self.encodings.len() == 1 {
            self.best = Some(0);
        }
        // Parameter sets may come with the offer and never again.
        if let Some(format) = self.formats.first() {
            for encoding in &mut self.encodings {
                encoding.offer_parameter_sets(format.codec, &format.fmtp);
            }
        }
    }

    /// The publisher has gone; the subscribers stay. Other workers subscribe
    /// anew when they hear of the next publisher.
    pub fn detach(&mut self) {
        self.source = Source::None;
        self.remote_subscribers.clear();
        self.pending.clear();
        self.encodings.clear();
        self.formats.clear();
        self.current_format = None;
        self.best = None;
    }

    /// Nobody publishes it and nobody waits for it.
    pub fn is_unused(&self) -> bool {
        self.source == Source::None
            && self.subscribers.is_empty()
            && self.remote_subscribers.is_empty()
    }

    /// The codec that arrives, or that will most likely arrive.
    pub fn codec(&self) -> Option<Codec> {
        let format = usize::from(self.current_format.unwrap_or(0));
        self.formats.get(format).map(|f| f.codec)
    }

    /// The encoding with this rid.
    pub fn by_rid(&self, rid: &str) -> Option<u8> {
        let at = self
            .encodings
            .iter()
            .position(|e| e.rid.as_deref() == Some(rid))?;
        u8::try_from(at).ok()
    }

    /// Takes a packet in. Returns false for one that is no use to anybody: so
    /// late that its line has moved on.
    pub fn ingest(&mut self, encoding: u8, mut packet: Packet) -> bool {
        let Some(entry) = self.encodings.get_mut(usize::from(encoding)) else {
            return false;
        };
        let changed = entry.absorb(&mut packet);
        if self.current_format != Some(packet.format) {
            self.current_format = Some(packet.format);
        }
        if changed || self.best.is_none() {
            self.choose_best(packet.arrival);
        }
        self.pending.push((encoding, packet));
        true
    }

    /// Moves the packets that were fanned out into the rings.
    pub fn settle(&mut self) {
        for (encoding, packet) in self.pending.drain(..) {
            if let Some(encoding) = self.encodings.get_mut(usize::from(encoding)) {
                encoding.ring.insert(packet);
            }
        }
    }

    /// Ends a second of measuring. `cache` is the share of each encoding of
    /// the memory for segments.
    pub fn roll(&mut self, now: Instant, cache: usize) {
        for encoding in &mut self.encodings {
            encoding.stats.roll(now);
            encoding.ring.tend(now, cache);
            encoding.health.roll();
        }
        self.choose_best(now);
    }

    /// Ranks the encodings that are alive. The chosen one is kept while it is
    /// as large as any other: only a larger picture or its death moves viewers,
    /// since each move costs a keyframe.
    fn choose_best(&mut self, now: Instant) {
        if self.encodings.len() < 2 {
            return;
        }
        let alive = |e: &Encoding| e.stats.is_fresh(now);
        let best = (0u8..)
            .zip(&self.encodings)
            .filter(|(_, e)| alive(e))
            .max_by_key(|(_, e)| e.rank());
        let Some((index, candidate)) = best else {
            return; // all paused: stay, so that the first to return goes on
        };
        let current = self
            .best
            .and_then(|i| self.encodings.get(usize::from(i)))
            .filter(|e| alive(e));
        if current.is_none_or(|c| candidate.rank().0 > c.rank().0) {
            self.best = Some(index);
        }
    }

    /// The row the API shows.
    pub fn snapshot(&self, now: Instant) -> Option<TrackSnapshot> {
        Some(TrackSnapshot {
            kind: self.key.kind,
            codec: self.codec()?,
            receiving: self.current_format.is_some(),
            repair: TrackRepair::default(),
            encodings: self.encodings.iter().map(|e| e.snapshot(now)).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::room::ring::SEGMENT_BYTES;
    use crate::room::testing::{keyframe_sized, packet};

    fn track(rids: &[&str]) -> Track {
        let mut track = Track::new(TrackKey {
            room: RoomId(1),
            participant: ParticipantId(1),
            kind: MediaKind::Video,
        });
        let rids: Vec<String> = rids.iter().map(|r| (*r).to_owned()).collect();
        let format = Format {
            codec: Codec::Vp8,
            fmtp: String::new(),
            channels: 1,
        };
        track.attach(Source::Local { session: 0 }, 1, vec![format], &rids);
        track
    }

    #[test]
    fn the_largest_layer_is_best_whatever_its_name() {
        let mut track = track(&["0", "1", "2"]);
        assert_eq!(track.best, None);
        track.ingest(2, keyframe_sized(1, 0, (320, 180)));
        assert_eq!(track.best, Some(2));
        track.ingest(0, keyframe_sized(1, 0, (1280, 720)));
        assert_eq!(track.best, Some(0));
        track.ingest(1, keyframe_sized(1, 0, (640, 360)));
        assert_eq!(track.best, Some(0));
    }

    #[test]
    fn a_dead_layer_gives_way_to_the_next_best() {
        let mut track = track(&["l", "h"]);
        let mut first = keyframe_sized(1, 0, (1280, 720));
        let start = first.arrival;
        track.ingest(1, first.clone());
        for second in 0..6u64 {
            first = keyframe_sized(second, second as u32 * 90_000, (640, 360));
            first.arrival = start + Duration::from_secs(second);
            track.ingest(0, first.clone());
            track.roll(first.arrival, SEGMENT_BYTES);
        }
        assert_eq!(track.best, Some(0));
    }

    #[test]
    fn packets_settle_into_their_encodings_ring() {
        let mut track = track(&[]);
        track.ingest(0, packet(5, 0));
        assert_eq!(track.pending.len(), 1);
        track.settle();
        assert!(track.pending.is_empty());
        assert!(track.encodings[0].ring.get(5).is_some());
        assert!(!track.ingest(7, packet(6, 0)));
    }
}
