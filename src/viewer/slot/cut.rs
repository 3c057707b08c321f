//! Layers that are cut: which packets go, what takes the place of those that
//! went unnoticed, and how descriptors tell the viewer.

use std::time::Instant;

use smallvec::SmallVec;

use super::{Forwarded, Slot};
use crate::codec::dependency_descriptor::{rewrite_frame_number, write_active_decode_targets};
use crate::codec::{Cell, Codec};
use crate::peer::egress::{Egress, Outlet, Unchanged};
use crate::peer::header::PassedExtensions;
use crate::room::{Encoding, Packet, Track};
use crate::viewer::line::{Moves, SourceId};
use crate::viewer::select::{FramePlace, Layers};

/// The longest step of time over a switch of encodings whose clocks are known:
/// how long one may have been silent.
const MAX_STEP: u32 = 5 * 90_000;

/// A payload of padding alone, as its last byte tells (RFC 3550 §5.1).
pub(super) const FILLER: [u8; 1] = [1];

/// A rewritten dependency descriptor; those with a structure are some 100 bytes.
pub(super) type Descriptor = SmallVec<[u8; 128]>;

impl Slot {
    /// What the timestamps of a new source are moved by so that the same moment has the
    /// same time as with the old one: known where sender reports tie both
    /// to the publisher's clock.
    pub(super) fn shared_base(
        &self,
        track: &Track,
        source: SourceId,
        codec: Codec,
        timestamp: u32,
    ) -> Option<u32> {
        let before = self.line.source().filter(|s| s.epoch == source.epoch)?;
        let clock = |s: SourceId| track.encodings.get(usize::from(s.encoding))?.clock;
        let (old, new) = (clock(before)?, clock(source)?);
        let rate = i128::from(codec.clock_rate());
        let apart = new.wall.as_micros() as i128 - old.wall.as_micros() as i128;
        let old_then = old
            .timestamp
            .wrapping_add((apart * rate / 1_000_000) as u32);
        let shift = old_then.wrapping_sub(new.timestamp);
        let base = self.line.timestamp_base()?.wrapping_add(shift);
        let step = timestamp
            .wrapping_add(base)
            .wrapping_sub(self.line.newest_timestamp()?);
        // A clock that is far off is none.
        (1..=MAX_STEP).contains(&step).then_some(base)
    }

    /// Judges the next packet of the source of which not all layers flow, or shall flow.
    /// False when it is cut.
    pub(super) fn admit(
        &mut self,
        track: &Track,
        encoding: u8,
        packet: &Packet,
        now: Instant,
    ) -> bool {
        if packet.entry {
            let cell = self.fit_keyframe(track, encoding, self.layers.target(), now);
            self.layers.aim(cell);
        }
        let Some(encoding) = track.encodings.get(usize::from(encoding)) else {
            return false;
        };
        let new_picture = self.newest.timestamp != Some(packet.timestamp);
        let same_frame = !new_picture && self.newest.spatial == packet.info.spatial;
        if stands_beside(packet) {
            // Whose it is the slices tell that follow. None is needed to decode them, but
            // by itself it would make a receiver wait for the rest of a picture.
            let cut = new_picture || self.newest.cut;
            if cut {
                self.line.cut(packet.seq, same_frame && self.newest.cut);
            }
            return !cut;
        }
        let changed = if packet.entry {
            self.layers.enter()
        } else if packet.info.starts_frame {
            let frame = FramePlace {
                spatial: packet.info.spatial,
                temporal: packet.info.temporal,
                layers: packet.layers,
                new_picture,
                described: packet.structure != 0,
            };
            self.layers.advance(&frame, &encoding.grid)
        } else {
            false
        };
        let cell = self.layers.current();
        if changed {
            self.line.change(packet.seq, |moves| moves.cell = cell);
        }
        let cut = !Layers::keeps(cell, &packet.layers);
        if cut {
            let with_missing = same_frame && self.newest.cut;
            self.line.cut(packet.seq, with_missing);
            // Receivers of VP8 wait for a picture id that is left out (RFC 7741 §4.2);
            // VP9's refer to each other by distance, and its receivers know of cut layers.
            if new_picture && packet.codec == Codec::Vp8 {
                self.line.change(packet.seq + 1, |moves| {
                    moves.picture = moves.picture.wrapping_sub(1);
                });
            }
        }
        self.newest.timestamp = Some(packet.timestamp);
        self.newest.spatial = packet.info.spatial;
        self.newest.cut = cut;
        !cut
    }

    /// Sends padding in the place of a late packet that is of a cut layer: a
    /// receiver asks for every number that is missing.
    pub(super) fn fill(
        &mut self,
        out: &mut Outlet<'_>,
        egress: &mut Egress,
        packet: &Packet,
        pt: u8,
    ) -> Forwarded {
        let Some(place) = self.line.fill(packet.seq, packet.timestamp, pt) else {
            return Forwarded::Late;
        };
        let mut header = self.header(out, egress, pt, false, place.seq as u16, place.timestamp);
        header.padding = true;
        let roc = (place.seq >> 16) as u32;
        let empty = PassedExtensions::default();
        let sent = egress.send(
            out,
            &header,
            &self.ids,
            &empty,
            &[],
            &FILLER,
            &Unchanged,
            roc,
        );
        match sent {
            Ok(size) => {
                self.packets = self.packets.wrapping_add(1);
                Forwarded::Sent(size)
            }
            Err(error) => Forwarded::Failed(error),
        }
    }

    /// The dependency descriptor as this viewer gets it, where it differs: frame numbers go on over
    /// switches, and where layers are cut each frame says which decode
    /// targets are left (AV1 RTP, A.8.3).
    #[inline]
    pub(super) fn descriptor(
        &self,
        track: &Track,
        encoding: u8,
        packet: &Packet,
        moves: &Moves,
    ) -> Option<Descriptor> {
        if moves.frame == 0 && moves.cell == Cell::ALL || packet.passed.dependency.is_empty() {
            return None;
        }
        let encoding = track.encodings.get(usize::from(encoding))?;
        self.rewritten(encoding, packet, moves)
    }

    pub(super) fn rewritten(
        &self,
        encoding: &Encoding,
        packet: &Packet,
        moves: &Moves,
    ) -> Option<Descriptor> {
        if !self.ids.has_dependency() {
            return None;
        }
        let original = &packet.passed.dependency[..];
        let mut written = Descriptor::from_slice(original);
        let reader = &encoding.descriptors;
        if tells_targets(packet, moves)
            && reader.version() == packet.structure
            && let Some(structure) = reader.structure()
        {
            let whole = encoding.grid.targets_within(structure, moves.cell);
            // What the publisher itself does not send any more stays out.
            let mask = match whole & packet.targets {
                0 => whole,
                sent => sent,
            };
            // The mask and its flags take five bytes at most.
            written.resize(original.len() + 5, 0);
            match write_active_decode_targets(original, structure, mask, &mut written) {
                Ok(length) => written.truncate(length),
                Err(_) => written = Descriptor::from_slice(original),
            }
        }
        if let Some(frame) = packet.frame_number() {
            rewrite_frame_number(&mut written, frame.wrapping_add(moves.frame));
        }
        Some(written)
    }
}

/// The packet is of a picture whose layer only others tell.
pub(super) fn stands_beside(packet: &Packet) -> bool {
    packet.info.beside && packet.structure == 0
}

/// The packet's descriptor says which decode targets are left.
pub(super) fn tells_targets(packet: &Packet, moves: &Moves) -> bool {
    moves.cell != Cell::ALL && packet.structure != 0 && packet.info.starts_frame
}

/// The marker bit: set on the last packet of a picture, which is that of the highest
/// spatial layer sent (RFC 9628 §4.1, AV1 RTP §4.2): the highest one chosen, or one below that where the
/// encoder left that one out.
#[inline]
pub(super) fn ends_picture(packet: &Packet, moves: &Moves) -> bool {
    let highest = moves.cell.spatial();
    let ends = || packet.info.spatial == highest || packet.above.is_some_and(|a| a > highest);
    packet.marker || moves.cell != Cell::ALL && packet.info.ends_frame && ends()
}

/// Whether [`ends_picture`] can't be told yet.
#[inline]
pub(super) fn may_end_picture(packet: &Packet, cell: Cell) -> bool {
    let below = packet.info.spatial < cell.spatial() && cell != Cell::ALL;
    below && packet.info.ends_frame && !packet.marker && packet.above.is_none()
}
