//! The end of a frame that may be the end of its picture: it is sent once that is known, which is when the next packet
//! comes. Nobody waits longer for a picture by that: without its end there is none.

use super::Slot;
use crate::peer::egress::{Egress, Outlet, SendError};
use crate::room::{Packet, Track};
use crate::viewer::line::SourceId;

impl Slot {
    /// Sends what was held, when `packet`, which is about to be sent, stands behind it.
    /// `None` where nothing goes out.
    #[inline]
    pub(super) fn send_held(
        &mut self,
        out: &mut Outlet<'_>,
        egress: &mut Egress,
        track: &Track,
        encoding: u8,
        packet: &Packet,
    ) -> Option<Result<usize, SendError>> {
        let (source, seq) = self.held?;
        let follows = SourceId::of(track, encoding);
        if source != follows || packet.seq <= seq {
            return None;
        }
        self.release(out, egress, track, source, seq)
    }

    #[cold]
    fn release(
        &mut self,
        out: &mut Outlet<'_>,
        egress: &mut Egress,
        track: &Track,
        source: SourceId,
        seq: u64,
    ) -> Option<Result<usize, SendError>> {
        self.held = None;
        if self.selection.current() != Some(source) || self.line.source() != Some(source) {
            return None; // its number was not taken
        }
        // It came in an earlier turn: in its own one, the next packet had told.
        let encoding = track.encodings.get(usize::from(source.encoding))?;
        let held = encoding.ring.get(seq)?;
        let format = (*self.formats.get(usize::from(held.format))?)?;
        let place = self.place(out, held)?;
        self.newest.note(held, &place.moves);
        Some(self.send(out, egress, track, source.encoding, held, &format, &place))
    }
}
