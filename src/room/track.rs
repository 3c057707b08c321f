//! A participant's audio or video as one worker knows it: where it comes
//! from, its encodings, and who gets it.

use std::time::{Duration, Instant};

use super::encoding::{Cached, Encoding};
use super::ladder::Ladder;
use super::packet::Packet;
use super::picture_end;
use super::stats::INACTIVE_AFTER;
use super::voice::VoiceMeter;
use crate::codec::Codec;
use crate::control::messages::{TrackRepair, TrackSnapshot};
use crate::units::{MediaKind, ParticipantId, RoomId, WorkerId};

/// A track without media for so long is silent. Pictures that a publisher makes every other
/// second are none.
const SILENT: Duration = Duration::from_secs(3);

/// Encodings are looked at this often for what changed or fell silent.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// An encoding is silent when nothing came of it for this long while the others
/// of its track went on.
const SILENT_AFTER: Duration = Duration::from_millis(400);

/// How many pictures of the others that takes: at a picture a second, nothing
/// for 400 ms says nothing.
const SILENT_PICTURES: u32 = 6;

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

/// Packets come of the encoding, as far as those of the others tell.
fn is_alive(encoding: &Encoding, now: Instant, pictures: u32) -> bool {
    let missed = pictures.wrapping_sub(encoding.heard_at);
    let silent = encoding.stats.silence(now);
    silent.is_some_and(|silent| {
        silent < SILENT_AFTER || silent < INACTIVE_AFTER && missed < SILENT_PICTURES
    })
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

    /// Takes a packet in. Returns false for one of no encoding of this track.
    pub fn ingest(&mut self, encoding: u8, mut packet: Packet) -> bool {
        let Some(entry) = self.encodings.get_mut(usize::from(encoding)) else {
            return false;
        };
        let changed = entry.absorb(&mut packet);
        if packet.info.starts_frame {
            self.pictures = self.pictures.wrapping_add(1);
        }
        entry.heard_at = self.pictures;
        let now = packet.arrival;
        // Another format moves every viewer: a publisher that changes it with each packet is
        // followed no more often for that. Packets carry their own.
        let is_soon = |at| now.saturating_duration_since(at) < LOOK_EVERY;
        match self.current_format {
            None => self.current_format = Some(packet.format),
            Some(current) if current != packet.format && !self.reformatted.is_some_and(is_soon) => {
                self.reformatted = Some(now);
                self.current_format = Some(packet.format);
            }
            Some(_) => {}
        }
        self.tell_what_follows(encoding, &mut packet);
        // A keyframe that was overtaken by its own packets goes ahead of them, since viewers begin with it.
        let passed = |(of, p): &(u8, Packet)| *of == encoding && p.seq > packet.seq;
        let ahead_of = packet.entry.then(|| self.pending.iter().position(passed));
        match ahead_of.flatten() {
            Some(at) => self.pending.insert(at, (encoding, packet)),
            None => self.pending.push((encoding, packet)),
        }
        self.unranked |= changed;
        let due = self
            .looked
            .is_none_or(|at| now.saturating_duration_since(at) >= LOOK_EVERY);
        let several = self.encodings.len() > 1;
        // Ranking moves every viewer: a publisher whose pictures change with
        // each packet gets it no more often for that.
        if due && (self.unranked || several) || several && !self.ladder.has(encoding) {
            self.looked = Some(now);
            self.unranked = false;
            self.rank(now);
        }
        true
    }

    /// Tells the packet before `packet`, where that ended a frame, whether its picture goes on.
    fn tell_what_follows(&mut self, encoding: u8, packet: &mut Packet) {
        let Some(entry) = self.encodings.get_mut(usize::from(encoding)) else {
            return;
        };
        let layers = entry.grid.is_layered() && entry.grid.top().spatial() > 0;
        if !layers && entry.ends.is_closed() {
            return;
        }
        let Some((before, above)) = entry.ends.follow(packet, layers) else {
            if layers && let Some(next) = entry.ring.get(packet.seq + 1) {
                packet.above = picture_end::above(packet, next); // it comes late
            }
            return;
        };
        let waiting = self.pending.iter_mut().rev();
        let mut waiting = waiting.filter(|(e, _)| *e == encoding).map(|(_, p)| p);
        let found = waiting.find(|p| p.seq == before);
        if let Some(found) = found.or_else(|| entry.ring.get_mut(before)) {
            found.above = Some(above);
        }
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

    /// Ranks the encodings that are alive.
    fn rank(&mut self, now: Instant) {
        let (encodings, pictures) = (&self.encodings, self.pictures);
        let only = encodings.len() == 1;
        let is_alive = |index: u8| {
            encodings
                .get(usize::from(index))
                .is_some_and(|e| only || is_alive(e, now, pictures))
        };
        self.ladder.update(encodings, is_alive);
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
        assert_eq!(track.ladder.best(), None);
        track.ingest(2, keyframe_sized(1, 0, (320, 180)));
        assert_eq!(track.ladder.best(), Some(2));
        track.ingest(0, keyframe_sized(1, 0, (1280, 720)));
        assert_eq!(track.ladder.best(), Some(0));
        track.ingest(1, keyframe_sized(1, 0, (640, 360)));
        assert_eq!(track.ladder.best(), Some(0));
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
        assert_eq!(track.ladder.best(), Some(0));
    }

    #[test]
    fn pictures_that_change_with_each_packet_rank_the_layers_ten_times_a_second_at_most() {
        let mut track = track(&["l", "h"]);
        let first = keyframe_sized(0, 0, (640, 360));
        let start = first.arrival;
        track.ingest(0, first);
        track.ingest(1, keyframe_sized(0, 0, (1280, 720)));
        let mut ranked = 0;
        for n in 1..=2000u64 {
            // 2000 packets in two seconds; no two that are ranked after another alike.
            let size = (640 + (n % 7) as u16 * 200, 360 + (n % 7) as u16 * 100);
            let mut picture = keyframe_sized(n, n as u32 * 90, size);
            picture.arrival = start + Duration::from_millis(n);
            let before = track.ladder.changes();
            track.ingest(0, picture);
            ranked += u32::from(track.ladder.changes() != before);
        }
        assert!((15..=20).contains(&ranked), "{ranked} times");
    }

    #[test]
    fn formats_that_change_with_each_packet_are_followed_ten_times_a_second_at_most() {
        let mut track = track(&[]);
        let (mut followed, mut current) = (0, None);
        for n in 0..=2000u64 {
            // 2000 packets in two seconds; the last ones are alike.
            let mut next = packet(n, n as u32 * 90);
            next.format = if n < 1850 { (n % 2) as u8 } else { 1 };
            track.ingest(0, next);
            followed += u32::from(track.current_format != current);
            current = track.current_format;
        }
        assert!((15..=22).contains(&followed), "{followed} times");
        assert_eq!(current, Some(1));
        // Another publisher's is taken note of at once.
        let formats = track.formats.clone();
        track.attach(Source::Local { session: 2 }, 2, formats, &[]);
        let mut next = packet(1, 2000 * 90);
        next.format = 3;
        track.ingest(0, next);
        assert_eq!(track.current_format, Some(3));
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
