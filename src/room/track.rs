//! A participant's audio or video as one worker knows it: where it comes
//! from, its encodings, and who gets it. `ingest` takes its packets in.

mod ingest;

use std::time::{Duration, Instant};

use super::encoding::{Cached, Encoding};
use super::ladder::Ladder;
use super::packet::Packet;
use super::voice::VoiceMeter;
use crate::codec::Codec;
use crate::control::messages::{TrackRepair, TrackSnapshot};
use crate::units::{MediaKind, ParticipantId, RoomId, WorkerId};

/// A track without media for so long is silent. Pictures that a publisher makes every other
/// second are none.
const SILENT: Duration = Duration::from_secs(3);

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
    /// Its number of this subscription.
    pub subscription: u32,
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
    /// What viewers can choose from.
    pub ladder: Ladder,
    /// Viewers in this worker.
    pub subscribers: Vec<Subscriber>,
    /// Workers with viewers of a local track.
    pub remote_subscribers: Vec<RemoteSubscriber>,
    /// Packets that arrived in this turn and wait for the fan-out.
    pub pending: Vec<(u8, Packet)>,
    /// The segments of another worker's publisher are on their way here.
    pub restoring: bool,
    /// Number of the present subscription at another worker; zero for none.
    /// What comes for a former one would come once more for this one.
    pub subscription: u32,
    /// It is in the worker's list of tracks to fan out.
    pub queued: bool,
    /// It is in the worker's list of tracks with a keyframe wanted.
    pub hungry: bool,
    /// When a turn last had media of it.
    heard: Option<Instant>,
    /// It is in the worker's list of tracks whose viewers are to be aimed.
    pub unaimed: bool,
    /// Pictures of all encodings together.
    pictures: u32,
    /// When the encodings were last looked at for a silent one.
    looked: Option<Instant>,
    /// An encoding has changed since.
    unranked: bool,
    /// When another format was last taken note of.
    reformatted: Option<Instant>,
    /// Whether somebody speaks, of a local microphone.
    pub voice: VoiceMeter,
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
            ladder: Ladder::default(),
            subscribers: Vec::new(),
            remote_subscribers: Vec::new(),
            pending: Vec::new(),
            restoring: false,
            subscription: 0,
            queued: false,
            hungry: false,
            heard: None,
            unaimed: false,
            pictures: 0,
            looked: None,
            unranked: false,
            reformatted: None,
            voice: VoiceMeter::default(),
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
        self.voice = VoiceMeter::default();
        self.generation = generation;
        self.epoch = self.epoch.wrapping_add(1);
        self.formats = formats;
        self.current_format = None;
        self.pending.clear();
        self.restoring = false;
        self.ladder.clear();
        let kind = self.key.kind;
        self.encodings = if rids.is_empty() {
            vec![Encoding::new(kind, None)]
        } else {
            rids.iter()
                .map(|rid| Encoding::new(kind, Some(rid.clone())))
                .collect()
        };
        // Parameter sets may come with the offer and never again.
        if let Some(format) = self.formats.first() {
            for encoding in &mut self.encodings {
                encoding.offer_parameter_sets(format.codec, &format.fmtp);
            }
        }
        if self.encodings.len() == 1 {
            self.ladder.update(&self.encodings, |_| true);
        }
    }

    /// The publisher has gone; the subscribers stay. Other workers subscribe
    /// anew when they hear of the next publisher.
    pub fn detach(&mut self) {
        self.source = Source::None;
        self.restoring = false;
        self.remote_subscribers.clear();
        self.pending.clear();
        self.encodings.clear();
        self.formats.clear();
        self.current_format = None;
        self.ladder.clear();
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

    /// A turn has media of it. True when that is the first for long.
    pub fn hear(&mut self, now: Instant) -> bool {
        let was_silent = self.is_silent(now);
        self.heard = Some(now);
        was_silent
    }

    /// No media came for long.
    pub fn is_silent(&self, now: Instant) -> bool {
        self.heard.is_none_or(|at| now >= at + SILENT)
    }

    /// The encoding with this rid.
    pub fn by_rid(&self, rid: &str) -> Option<u8> {
        let at = self
            .encodings
            .iter()
            .position(|e| e.rid.as_deref() == Some(rid))?;
        u8::try_from(at).ok()
    }

    /// Moves the packets that were fanned out into the rings.
    pub fn settle(&mut self) {
        for (encoding, packet) in self.pending.drain(..) {
            if let Some(encoding) = self.encodings.get_mut(usize::from(encoding)) {
                encoding.ring.insert(packet);
            }
        }
    }

    /// Copies of what joiners need of each encoding.
    pub fn cached(&self) -> Vec<Cached> {
        self.encodings.iter().map(Encoding::cached).collect()
    }

    /// Takes over what the publisher's worker has.
    pub fn restore(&mut self, cached: Vec<Cached>, now: Instant) {
        for (encoding, cached) in self.encodings.iter_mut().zip(cached) {
            encoding.restore(cached, now);
            let ring = &encoding.ring;
            let first = ring.segment().and_then(|s| ring.get(s.first));
            self.current_format = first.map(|p| p.format).or(self.current_format);
        }
        self.rank(now);
    }

    /// Nobody here gets it any more, so what is kept grows stale.
    pub fn forget_packets(&mut self) {
        self.pending.clear();
        for encoding in &mut self.encodings {
            encoding.ring.clear();
        }
    }

    /// Ends a second of measuring. `cache` is the share of each encoding of
    /// the memory for segments.
    pub fn roll(&mut self, now: Instant, cache: usize) {
        for encoding in &mut self.encodings {
            encoding.roll(now);
            encoding.ring.tend(now, cache);
            encoding.health.roll();
        }
        self.rank(now);
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
mod tests;
