//! The newest packets of one encoding: what repairs are made of, and the
//! *segment* that joiners start with, from the newest keyframe to the live edge.
//!
//! Payloads are shared with whoever else holds the packet. An encoding that
//! sends nothing holds nothing; a busy one holds what its limits say.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::packet::Packet;
use crate::units::MediaKind;

/// Packets of video kept for repairs: at 4 Mb/s of 1200-byte packets 1024 are
/// 2.4 s, several times the longest round trip worth repairing over.
const VIDEO_HISTORY: usize = 1024;
/// Audio: 2.5 s of 20 ms packets.
const AUDIO_HISTORY: usize = 128;

/// Where there are more than this many, older ones are of no use for repairs:
/// receivers give a packet up after a second or so.
const HISTORY_AGE: Duration = Duration::from_millis(2_500);
const FEW: usize = 512;

/// Packets of a segment, missing ones too: 10 s at 4 Mb/s in packets of 1200 bytes are 4200, and
/// packets are smaller at the ends of pictures.
const SEGMENT_PACKETS: u64 = 8_192;

/// Bytes of a segment: a keyframe interval of 10 s at 4.8 Mb/s.
pub const SEGMENT_BYTES: usize = 6 << 20;

/// Age of a segment: a keyframe interval of 10 s, and time for a keyframe that
/// comes a little late. Replaying more takes longer than asking once more.
pub const SEGMENT_AGE: Duration = Duration::from_secs(12);

/// Segments of all encodings of a worker together; when there are more than
/// fit at full length, each gets its share.
pub const WORKER_BYTES: usize = 256 << 20;

/// No share is smaller: a keyframe and a second of video behind it.
const LEAST_BYTES: usize = 512 << 10;

/// Where more than this is missing ahead of a packet, nobody asks for it and
/// what came before is of no use any more: the ring starts over. A hole takes as
/// much room as a packet, so larger ones would let a publisher that sends
/// little fill the memory.
const MAX_HOLE: u64 = 512;

/// The first packet of the first keyframe of all may be so far behind.
const LATE_START: u64 = 256;

/// Packets let go of at a time: a long segment that ends must not hold the
/// worker up for the time that freeing thousands of packets takes.
const RELEASE: usize = 8;

/// Slots of the first allocation.
const FIRST_CAPACITY: usize = 64;

/// What a ring may hold.
#[derive(Debug, Clone, Copy)]
struct Limits {
    history: usize,
    segment_bytes: usize,
    segment_age: Duration,
}

/// The newest keyframe and all that came since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Sequence number of its first packet: the keyframe's entry.
    pub first: u64,
    /// Behind its last packet.
    pub end: u64,
    /// Packets that are there; less than `end - first` where some are missing.
    pub packets: usize,
    /// Their payloads' bytes.
    pub bytes: usize,
    /// RTP timestamp of the keyframe.
    pub timestamp: u32,
    /// When the keyframe began to arrive.
    pub arrival: Instant,
    /// Arrival and RTP timestamp of the newest packet.
    pub edge: (Instant, u32),
}

/// The segment as it grows.
#[derive(Debug, Clone, Copy)]
struct Growing {
    first: u64,
    packets: usize,
    bytes: usize,
    timestamp: u32,
    arrival: Instant,
}

/// See the module's description.
#[derive(Debug)]
pub struct PacketRing {
    /// By sequence number from `first`, with holes where packets are missing.
    packets: VecDeque<Option<Packet>>,
    first: u64,
    bytes: usize,
    segment: Option<Growing>,
    /// Arrival and timestamp of the packet with the highest number.
    edge: Option<(Instant, u32)>,
    limits: Limits,
}

impl PacketRing {
    /// An empty ring for one encoding.
    pub fn new(kind: MediaKind) -> Self {
        let limits = match kind {
            MediaKind::Audio => Limits {
                history: AUDIO_HISTORY,
                segment_bytes: 0,
                segment_age: Duration::ZERO,
            },
            MediaKind::Video => Limits {
                history: VIDEO_HISTORY,
                segment_bytes: SEGMENT_BYTES,
                segment_age: SEGMENT_AGE,
            },
        };
        Self {
            packets: VecDeque::new(),
            first: 0,
            bytes: 0,
            segment: None,
            edge: None,
            limits,
        }
    }

    /// Behind the newest packet; `None` when empty.
    pub fn end(&self) -> Option<u64> {
        (!self.packets.is_empty()).then(|| self.first + self.packets.len() as u64)
    }

    /// Arrival and timestamp of the newest packet.
    pub fn edge(&self) -> Option<(Instant, u32)> {
        self.edge
    }

    /// Payload bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keeps `packet` unless it is older than all that is kept.
    pub fn insert(&mut self, packet: Packet) {
        let seq = packet.seq;
        match self.end() {
            Some(end) if seq > end + MAX_HOLE => {
                self.clear();
                self.first = seq;
            }
            Some(_) if self.begins_late(&packet) => {
                for _ in seq..self.first {
                    self.packets.push_front(None);
                }
                self.first = seq;
            }
            Some(_) if seq < self.first => return,
            Some(_) => {}
            None => self.first = seq,
        }
        if self.packets.capacity() == 0 {
            self.packets.reserve(FIRST_CAPACITY);
        }
        let at = (seq - self.first) as usize;
        let mut grown = 0;
        if at >= self.packets.len() {
            grown = at + 1 - self.packets.len();
            self.packets.resize(at, None);
            self.packets.push_back(None);
            self.edge = Some((packet.arrival, packet.timestamp));
        }
        let size = packet.payload.len();
        let starts = packet.entry && self.segment.is_none_or(|s| s.first < seq);
        let (timestamp, arrival) = (packet.timestamp, packet.arrival);
        self.bytes += size;
        if let Some(old) = self.packets[at].replace(packet) {
            self.bytes -= old.payload.len();
        } else if let Some(segment) = self.segment.as_mut().filter(|s| s.first < seq) {
            segment.packets += 1;
            segment.bytes += size;
        }
        if starts && self.limits.segment_bytes > 0 {
            self.begin_segment(seq, timestamp, arrival);
        }
        self.bound_segment();
        // More than came, whatever that was: so it never grows for long.
        self.release(grown + RELEASE);
    }

    /// It is the start of what is there, which was lost at first.
    fn begins_late(&self, packet: &Packet) -> bool {
        let ahead = self.first.saturating_sub(packet.seq);
        packet.entry && self.segment.is_none() && (1..=LATE_START).contains(&ahead)
    }

    /// The entry packet `seq`, which comes now, was overtaken by others, and will be kept with them.
    pub fn was_passed(&self, seq: u64) -> bool {
        let passed = self.end().is_some_and(|end| end > seq + 1);
        let late_start = self.segment.is_none() && seq + LATE_START >= self.first;
        passed && self.limits.segment_bytes > 0 && (seq >= self.first || late_start)
    }

    fn begin_segment(&mut self, seq: u64, timestamp: u32, arrival: Instant) {
        let at = (seq - self.first) as usize;
        let mut segment = Growing {
            first: seq,
            packets: 0,
            bytes: 0,
            timestamp,
            arrival,
        };
        // A keyframe whose first packet was late has packets here already.
        for packet in self.packets.range(at..).flatten() {
            segment.packets += 1;
            segment.bytes += packet.payload.len();
        }
        self.segment = Some(segment);
    }

    /// Gives a segment up that has outgrown its limits.
    fn bound_segment(&mut self) {
        let (Some(segment), Some((edge, _))) = (self.segment, self.edge) else {
            return;
        };
        let age = edge.saturating_duration_since(segment.arrival);
        let span = self.end().unwrap_or(0).saturating_sub(segment.first);
        if span > SEGMENT_PACKETS
            || segment.bytes > self.limits.segment_bytes
            || age > self.limits.segment_age
        {
            self.segment = None;
        }
    }

    /// Lets go of what neither repairs nor joiners need any more, `most` slots of it.
    fn release(&mut self, most: usize) {
        let Some((edge, _)) = self.edge else { return };
        for _ in 0..most {
            if self.packets.is_empty() {
                return;
            }
            if self.segment.is_some_and(|s| self.first >= s.first) {
                return;
            }
            // A hole may yet be filled: it is as old as what stands behind it.
            let front = self.packets.iter().take(RELEASE).flatten().next();
            let is_old = front
                .is_some_and(|packet| edge.saturating_duration_since(packet.arrival) > HISTORY_AGE);
            let held = self.packets.len();
            if held <= FEW.min(self.limits.history) || held <= self.limits.history && !is_old {
                return;
            }
            if let Some(Some(packet)) = self.packets.pop_front() {
                self.bytes -= packet.payload.len();
            }
            self.first += 1;
        }
    }

    /// The packet with extended sequence number `seq`, while it is kept.
    #[inline]
    pub fn get(&self, seq: u64) -> Option<&Packet> {
        let at = usize::try_from(seq.checked_sub(self.first)?).ok()?;
        self.packets.get(at)?.as_ref()
    }

    /// The same, to be changed.
    pub(super) fn get_mut(&mut self, seq: u64) -> Option<&mut Packet> {
        let at = usize::try_from(seq.checked_sub(self.first)?).ok()?;
        self.packets.get_mut(at)?.as_mut()
    }

    /// The newest keyframe and what came since, while all of that is kept.
    pub fn segment(&self) -> Option<Segment> {
        let segment = self.segment?;
        Some(Segment {
            first: segment.first,
            end: self.end()?,
            packets: segment.packets,
            bytes: segment.bytes,
            timestamp: segment.timestamp,
            arrival: segment.arrival,
            edge: self.edge?,
        })
    }

    /// Payload bytes of the picture that the segment begins with, as far as it is there.
    pub fn keyframe_bytes(&self) -> usize {
        let Some(segment) = self.segment else {
            return 0;
        };
        self.from(segment.first)
            .take_while(|p| p.timestamp == segment.timestamp)
            .map(|p| p.payload.len())
            .sum()
    }

    /// The packets from `seq` on that are kept.
    pub fn from(&self, seq: u64) -> impl Iterator<Item = &Packet> {
        let at = usize::try_from(seq.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let at = at.min(self.packets.len());
        self.packets.range(at..).flatten()
    }

    /// Called about once a second: `bytes` is the encoding's share of the
    /// worker's memory. Grows and shrinks here, so that forwarding rarely
    /// allocates, and a track that fell silent gives its memory back.
    pub fn tend(&mut self, now: Instant, bytes: usize) {
        if self.limits.segment_bytes > 0 {
            self.limits.segment_bytes = bytes.clamp(LEAST_BYTES, SEGMENT_BYTES);
            self.bound_segment();
        }
        let Some((edge, _)) = self.edge else { return };
        if now.saturating_duration_since(edge) > self.limits.segment_age.max(HISTORY_AGE) {
            self.clear();
            self.packets.shrink_to_fit();
            return;
        }
        let (held, capacity) = (self.packets.len(), self.packets.capacity());
        if held * 3 / 2 > capacity {
            self.packets.reserve(held);
        } else if held * 6 < capacity && capacity > 4 * FIRST_CAPACITY {
            self.packets.shrink_to(held * 3);
        }
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.packets.clear();
        self.bytes = 0;
        self.segment = None;
        self.edge = None;
    }
}

/// The share of each of `encodings` video encodings of a worker.
pub fn share(encodings: usize) -> usize {
    WORKER_BYTES / encodings.max(1)
}

#[cfg(test)]
#[path = "ring_tests.rs"]
mod tests;
