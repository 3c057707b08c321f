//! Where a run of the slot's line begins: with a switch, a restart or behind a break. And where
//! the slot falls behind.

use std::time::Instant;

use super::Slot;
use crate::room::encoding::LINE_BREAK;
use crate::room::{Packet, Track};
use crate::units::MediaKind;
use crate::viewer::catch_up::{Behind, Restart};
use crate::viewer::line::{Backlog, SourceId};
use crate::viewer::select::{Layers, Verdict};

/// Packets that a RED packet may repeat: browsers repeat one or two.
const REDUNDANCY: u64 = 2;

impl Slot {
    /// See [`Forwarded::Overtaken`](super::Forwarded::Overtaken). What the ring can't give is left to the viewer's repairs.
    #[cold]
    pub(super) fn is_overtaken(&self, track: &Track, source: SourceId, packet: &Packet) -> bool {
        let ring = track.encodings.get(usize::from(source.encoding));
        self.kind == MediaKind::Video
            && self.behind.is_none_or(|b| b.encoding != source.encoding)
            && ring.is_some_and(|e| e.ring.was_passed(packet.seq))
    }

    /// Begins a run of the line with `packet`, behind what was sent last.
    #[cold]
    pub(super) fn begin(
        &mut self,
        track: &Track,
        source: SourceId,
        packet: &Packet,
        verdict: Verdict,
        restart: Option<Restart>,
        now: Instant,
    ) {
        match verdict {
            Verdict::Forward => self.entering = self.layers.target(),
            // What flowed before has ended, and so has what was left of it: packets of `source` would
            // pass by a backlog of another encoding, and by the pacer with it.
            _ => self.behind = self.behind.filter(|b| b.encoding == source.encoding),
        }
        let (seq, timestamp) = (packet.seq, packet.timestamp);
        self.line.set_clock_rate(packet.codec.clock_rate());
        match restart {
            None => {
                let base = self.shared_base(track, source, packet.codec, timestamp);
                self.line
                    .switch(source, seq, timestamp, packet.arrival, base);
            }
            Some(Restart { edge, lasting }) => {
                let base = self.shared_base(track, source, packet.codec, edge.1);
                let backlog = Backlog { edge, now, lasting };
                self.line.catch_up(source, seq, timestamp, backlog, base);
            }
        }
        if packet.entry {
            let cell = self.usable(track, source.encoding, self.entering);
            self.layers = Layers::of(self.fit_keyframe(track, source.encoding, cell, now));
        }
        let (newest, cell) = (self.newest, self.layers.current());
        let info = &packet.info.ids;
        let alone = packet.red.is_some();
        self.alone_until = alone.then_some(seq + REDUNDANCY);
        self.line.change(seq, |moves| {
            moves.cell = cell;
            moves.alone = alone;
            if let (Some(next), Some(id)) = (newest.picture, info.picture) {
                moves.picture = next.wrapping_sub(id.value);
            }
            if let (Some(next), Some(tl0)) = (newest.tl0, info.tl0) {
                moves.tl0 = next.wrapping_sub(tl0);
            }
            if let (Some(next), Some(frame)) = (newest.frame, packet.frame_number()) {
                moves.frame = next.wrapping_sub(frame);
            }
        });
        self.newest.timestamp = None;
        self.held = None; // its number was not taken
        self.begun = true;
    }

    /// The pacer ran dry: from here on the slot is behind. False when `packet`
    /// is not what it waits for next anyway.
    ///
    /// Where a lower encoding's keyframe waits to take its place, what flows is let go of: it
    /// would leave no room for that one.
    pub fn fall_behind(
        &mut self,
        track: &Track,
        encoding: u8,
        packet: &Packet,
        now: Instant,
    ) -> bool {
        let flows = SourceId::of(track, encoding);
        let expected = self.line.expected();
        // The backlog that a switch begins with is not given up for it.
        let other = self.behind.filter(|b| b.encoding != encoding);
        if let Some(other) = other
            && self.selection.current() == Some(flows)
            && self
                .selection
                .awaited()
                .is_some_and(|a| a.encoding == other.encoding)
            && track.ladder.is_below(other.encoding, encoding)
        {
            self.selection.abandon();
            return true;
        }
        let next = other.is_none()
            && self.selection.current() == Some(flows)
            && self.line.source() == Some(flows)
            && packet.seq >= expected
            && packet.seq < expected + LINE_BREAK;
        if next {
            self.held = None; // its number was not taken: it is sent from the ring, too
            self.behind = Some(Behind::dry(encoding, expected, now));
        }
        next
    }
}

/// The viewer has this packet already, by what it has of a voice.
pub(super) fn knows(known: &Option<(SourceId, u64)>, source: SourceId, packet: &Packet) -> bool {
    known.is_some_and(|(of, end)| {
        // A publisher that counts anew from far below begins another line.
        of == source && packet.seq < end && end - packet.seq < LINE_BREAK
    })
}
