//! Repairs: what a viewer asks for is made again, exactly as it was.

use super::Slot;
use super::cut::{Descriptor, FILLER, ends_picture, tells_targets};
use super::forward::{MAX_PARAMETER_SETS, Moved, outgoing_payload};
use crate::codec::PictureIds;
use crate::peer::egress::{Egress, Outlet, SendError};
use crate::peer::header::PassedExtensions;
use crate::room::{Encoding, Packet, Track};
use crate::viewer::formats::OutgoingFormat;
use crate::viewer::line::{Moves, Origin, SourceId};

/// What came of a NACK for one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repaired {
    /// It was sent again: its size on the wire.
    Sent(usize),
    /// It is no longer kept, or never was sent.
    Gone,
    /// It could not be sent.
    Failed(SendError),
}

/// Padding repeats one of this many newest packets.
const PADDING_CHOICE: u64 = 8;

/// A packet to be sent again.
struct Again<'t> {
    format: OutgoingFormat,
    pt: u8,
    marker: bool,
    timestamp: u32,
    payload: &'t [u8],
    passed: &'t PassedExtensions,
    moved: Moved,
    descriptor: Option<Descriptor>,
    padding: bool,
    /// It would be the same bytes once more.
    exact: bool,
}

impl Slot {
    /// Sends again what the viewer asks for by the low bits of its number:
    /// as RTX (RFC 4588) where negotiated, else the same datagram once more.
    /// What was sent before the last change of sources is [`Repaired::Gone`]: the
    /// keyframe that came with it needs nothing of that.
    pub fn repair(
        &mut self,
        out: &mut Outlet<'_>,
        egress: &mut Egress,
        track: &Track,
        sequence: u16,
    ) -> Repaired {
        let source = match self.line.origin(sequence) {
            Some((_, origin)) => origin.source(),
            None => return Repaired::Gone,
        };
        if self.line.source() != Some(source) {
            return Repaired::Gone;
        }
        self.send_again(out, egress, track, sequence)
    }

    /// Sends one of the newest packets again as RTX, to probe the path with: the
    /// receiver knows it already, or is glad of it. [`Repaired::Gone`] where RTX
    /// was not negotiated or nothing was sent.
    pub fn pad(&mut self, out: &mut Outlet<'_>, egress: &mut Egress, track: &Track) -> Repaired {
        if self.ssrcs.rtx.is_none() {
            return Repaired::Gone;
        }
        // Not always the newest: a frame's last packet may be a small one.
        for _ in 0..PADDING_CHOICE {
            self.padded += 1;
            let back = 1 + self.padded % PADDING_CHOICE;
            let Some(seq) = self.line.next_seq().checked_sub(back) else {
                continue;
            };
            let sent = self.send_again(out, egress, track, seq as u16);
            if sent != Repaired::Gone {
                return sent;
            }
        }
        Repaired::Gone
    }

    fn send_again(
        &mut self,
        out: &mut Outlet<'_>,
        egress: &mut Egress,
        track: &Track,
        sequence: u16,
    ) -> Repaired {
        let Some((seq, origin)) = self.line.origin(sequence) else {
            return Repaired::Gone;
        };
        let mut sets = [0; MAX_PARAMETER_SETS];
        let empty = PassedExtensions::default();
        let Some(again) = self.again(track, origin, &mut sets, &empty) else {
            return Repaired::Gone;
        };
        let (number, roc, prefix, ssrc, pt) = match (self.ssrcs.rtx, again.format.rtx_pt) {
            // A RED packet is repaired as it is: RTX names the codec inside.
            (Some(rtx), Some(rtx_pt)) if again.pt == again.format.pt => {
                let number = self.rtx_sequence;
                self.rtx_sequence += 1;
                (number, number >> 16, Some(seq as u16), rtx, rtx_pt)
            }
            (None, _) if again.exact && self.resends => {
                (seq, seq >> 16, None, self.ssrcs.ssrc, again.pt)
            }
            _ => return Repaired::Gone,
        };
        let mut header = self.header(
            out,
            egress,
            pt,
            again.marker,
            number as u16,
            again.timestamp,
        );
        header.ssrc = ssrc;
        header.padding = again.padding;
        header.dependency = again.descriptor.as_deref();
        let original = prefix.unwrap_or_default().to_be_bytes();
        let sent = egress.send(
            out,
            &header,
            &self.ids,
            again.passed,
            if prefix.is_some() { &original } else { &[] },
            again.payload,
            &again.moved,
            roc as u32,
        );
        match sent {
            Ok(size) => Repaired::Sent(size),
            Err(error) => Repaired::Failed(error),
        }
    }

    fn again<'t>(
        &self,
        track: &'t Track,
        origin: Origin,
        sets: &'t mut [u8],
        empty: &'t PassedExtensions,
    ) -> Option<Again<'t>> {
        let unmoved = Moved {
            ids: PictureIds::default(),
            picture: 0,
            tl0: 0,
        };
        let own = |timestamp, format: OutgoingFormat, payload| Again {
            format,
            pt: format.pt,
            marker: false,
            timestamp,
            payload,
            passed: empty,
            moved: unmoved,
            descriptor: None,
            padding: false,
            exact: false,
        };
        match origin {
            Origin::Packet {
                source,
                seq,
                times,
                moves,
            } => {
                let encoding = kept(track, source)?;
                let packet = encoding.ring.get(seq)?;
                let format = (*self.formats.get(usize::from(packet.format))?)?;
                let (pt, payload) = outgoing_payload(packet, &format, moves.alone);
                Some(Again {
                    format,
                    pt,
                    marker: ends_picture(packet, &moves),
                    timestamp: times.map(packet.timestamp),
                    payload,
                    passed: &packet.passed,
                    moved: Moved::new(packet, &moves),
                    descriptor: self.descriptor(track, source.encoding, packet, &moves),
                    padding: false,
                    exact: is_exact(encoding, packet, &moves),
                })
            }
            Origin::ParameterSets { source, timestamp } => {
                let encoding = kept(track, source)?;
                let length = encoding.parameter_sets.write(sets)?;
                Some(own(
                    timestamp,
                    self.present_format(track)?,
                    sets.get(..length)?,
                ))
            }
            Origin::Filler {
                source,
                timestamp,
                pt,
            } => {
                kept(track, source)?;
                let mut formats = self.formats.iter().flatten();
                let format = *formats.find(|format| format.pt == pt)?;
                Some(Again {
                    padding: true,
                    exact: true,
                    ..own(timestamp, format, &FILLER)
                })
            }
        }
    }

    fn present_format(&self, track: &Track) -> Option<OutgoingFormat> {
        *self.formats.get(usize::from(track.current_format?))?
    }
}

/// The encoding a repair comes from. A publisher that has gone takes its
/// packets along.
fn kept(track: &Track, source: SourceId) -> Option<&Encoding> {
    let usable = source.epoch == track.epoch;
    usable.then(|| track.encodings.get(usize::from(source.encoding)))?
}

/// A packet whose descriptor was changed by a structure that is gone can't be
/// made again bit for bit.
fn is_exact(encoding: &Encoding, packet: &Packet, moves: &Moves) -> bool {
    !tells_targets(packet, moves) || encoding.descriptors.version() == packet.structure
}
