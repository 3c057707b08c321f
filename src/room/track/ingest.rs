//! What a track does with the packets that arrive: they wait for the fan-out in the right order, and what they
//! tell of formats and encodings is taken note of, no more often than is of use.

use std::time::{Duration, Instant};

use super::Track;
use crate::room::encoding::Encoding;
use crate::room::packet::Packet;
use crate::room::picture_end;
use crate::room::stats::INACTIVE_AFTER;

/// Encodings are looked at this often for what changed or fell silent.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// An encoding is silent when nothing came of it for this long while the others
/// of its track went on.
const SILENT_AFTER: Duration = Duration::from_millis(400);

/// How many pictures of the others that takes: at a picture a second, nothing
/// for 400 ms says nothing.
const SILENT_PICTURES: u32 = 6;

impl Track {
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

    /// Ranks the encodings that are alive.
    pub(super) fn rank(&mut self, now: Instant) {
        let (encodings, pictures) = (&self.encodings, self.pictures);
        let only = encodings.len() == 1;
        let is_alive = |index: u8| {
            encodings
                .get(usize::from(index))
                .is_some_and(|e| only || is_alive(e, now, pictures))
        };
        self.ladder.update(encodings, is_alive);
    }
}

/// Packets come of the encoding, as far as those of the others tell.
fn is_alive(encoding: &Encoding, now: Instant, pictures: u32) -> bool {
    let missed = pictures.wrapping_sub(encoding.heard_at);
    let silent = encoding.stats.silence(now);
    silent.is_some_and(|silent| {
        silent < SILENT_AFTER || silent < INACTIVE_AFTER && missed < SILENT_PICTURES
    })
}
