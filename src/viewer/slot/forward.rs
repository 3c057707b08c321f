//! The way of a packet through a slot: whether it flows, its place on the line, its payload
//! type, its header.

use super::begin::knows;
use super::cut::{ends_picture, may_end_picture, stands_beside};
#[cfg(test)]
use super::doom;
use super::{SentKeyframe, Slot};
use crate::codec::{Cell, PictureIds};
use crate::net::prefetch::prefetch;
use crate::peer::egress::{Egress, Outlet, Patch, SendError, Unchanged};
use crate::peer::header::{OutgoingHeader, PassedExtensions};
use crate::room::encoding::LINE_BREAK;
use crate::room::{Packet, Track};
use crate::units::MediaKind;
use crate::viewer::formats::OutgoingFormat;
use crate::viewer::line::{Moves, Place, SourceId};
use crate::viewer::select::{Layers, Verdict};

/// Aggregated parameter sets are a few dozen bytes; larger ones are not sent.
pub(super) const MAX_PARAMETER_SETS: usize = 1100;

/// What came of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forwarded {
    /// It was sent: its size on the wire.
    Sent(usize),
    /// What was [held](Self::Held) went ahead of it, or failed to: the packet itself is to be given once more.
    Ahead(Result<usize, SendError>),
    /// It is not of the source that flows.
    NotSelected,
    /// It begins the keyframe that is waited for, but came behind others of it, which were let
    /// go: all of them are to be sent from the ring.
    Overtaken,
    /// It is of a layer that is cut.
    Cut,
    /// Whether it ends its picture is not known yet: it goes [ahead](Self::Ahead) of the packet that tells.
    Held,
    /// The viewer has no payload type for it.
    NoFormat,
    /// It belongs to a time before the last switch.
    Late,
    /// Too much is missing ahead of it to be made good: the next entry frame is waited for.
    Broken,
    /// The send arena is full, or it could not be sealed.
    Failed(SendError),
}

/// The changes of a packet that keep a viewer's ids on one line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moved {
    pub(super) ids: PictureIds,
    pub(super) picture: u16,
    pub(super) tl0: u8,
}

impl Patch for Moved {
    #[inline]
    fn apply(&self, payload: &mut [u8]) {
        if self.changes() {
            self.ids.write_moved(payload, self.picture, self.tl0);
        }
    }

    #[inline]
    fn changes(&self) -> bool {
        self.picture != 0 || self.tl0 != 0
    }
}

impl Moved {
    pub(super) fn new(packet: &Packet, moves: &Moves) -> Self {
        Self {
            ids: packet.info.ids,
            picture: moves.picture,
            tl0: moves.tl0,
        }
    }
}

impl Slot {
    /// Begins to load what forwarding looks at outside of the slot.
    #[inline]
    pub fn prefetch(&self) {
        if let Some(format) = self.formats.first() {
            prefetch(format);
        }
    }

    /// Sends a packet of the slot's track on, when it is of the source that flows.
    #[inline]
    #[must_use = "what went ahead of a packet leaves that one to be sent"]
    pub fn forward(
        &mut self,
        out: &mut Outlet<'_>,
        egress: &mut Egress,
        track: &Track,
        encoding: u8,
        packet: &Packet,
    ) -> Forwarded {
        #[cfg(test)]
        doom::strike(self.ssrcs.ssrc, doom::Doing::Forward);
        if let Some(done) = self.send_held(out, egress, track, encoding, packet) {
            return Forwarded::Ahead(done);
        }
        let source = SourceId::of(track, encoding);
        let format = self.formats.get(usize::from(packet.format));
        let Some(format) = format.copied().flatten() else {
            // Before it is judged: what can't be sent begins nothing, and ends what flowed.
            return self.refuse(source);
        };
        let (kind, known) = (self.kind, &self.known);
        let entry = || packet.entry || kind == MediaKind::Audio && !knows(known, source, packet);
        let verdict = self.selection.judge(source, entry);
        if verdict == Verdict::Drop {
            return Forwarded::NotSelected;
        }
        // Numbers of one source must never be taken for another's: a nonce would seal two packets.
        let broken = packet.seq > self.line.expected() + LINE_BREAK
            || verdict == Verdict::Forward && self.line.source() != Some(source);
        let restart = match &mut self.behind {
            Some(behind) => behind.take_restart(encoding, packet),
            None => None,
        };
        if broken
            && verdict == Verdict::Forward
            && restart.is_none()
            && self.kind == MediaKind::Video
            && !packet.entry
        {
            // Closed up, the line would look whole, and what is missing is what it refers to.
            self.selection.interrupt();
            return Forwarded::Broken;
        }
        if verdict == Verdict::Switch || broken || restart.is_some() {
            if verdict == Verdict::Switch
                && restart.is_none()
                && self.is_overtaken(track, source, packet)
            {
                self.selection.interrupt();
                return Forwarded::Overtaken;
            }
            self.begin(track, source, packet, verdict, restart, out.now);
        }
        let late = packet.seq < self.line.expected();
        // What is missing ahead of a keyframe may be its own parameter sets; older
        // ones in between would take their place.
        let bare = packet.needs_parameter_sets && packet.seq == self.line.expected();
        let is_cut = |cell| {
            !Layers::keeps(cell, &packet.layers)
                || cell != Cell::ALL && stands_beside(packet) && !packet.marker
        };
        let overtaken = !late && self.held.is_some_and(|(_, held)| packet.seq < held);
        if overtaken {
            if is_cut(self.layers.current()) {
                self.line.cut(packet.seq, false);
                return Forwarded::Cut;
            }
        } else if !late {
            if self.alone_until.is_some_and(|until| packet.seq >= until) {
                self.alone_until = None;
                self.line.change(packet.seq, |moves| moves.alone = false);
            }
            if !self.layers.is_open() && !self.admit(track, encoding, packet, out.now) {
                return Forwarded::Cut;
            }
            self.newest.timestamp = Some(packet.timestamp);
            if may_end_picture(packet, self.layers.current()) {
                self.held = Some((source, packet.seq));
                return Forwarded::Held;
            }
        }
        if bare {
            self.send_parameter_sets(out, egress, track, encoding, packet, format.pt);
        }
        let Some(place) = self.place(out, packet) else {
            return Forwarded::Late;
        };
        if late && is_cut(place.moves.cell) {
            return self.fill(out, egress, packet, format.pt);
        }
        if !late && !overtaken {
            self.newest.note(packet, &place.moves);
            if packet.entry {
                self.keyframe = Some(SentKeyframe {
                    number: place.seq,
                    timestamp: packet.timestamp,
                    at: out.now,
                });
            }
        }
        match self.send(out, egress, track, encoding, packet, &format, &place) {
            Ok(size) => Forwarded::Sent(size),
            Err(error) => Forwarded::Failed(error),
        }
    }

    pub(super) fn place(&mut self, out: &Outlet<'_>, packet: &Packet) -> Option<Place> {
        let sent_at = match self.behind {
            None => packet.arrival,
            Some(_) => out.now,
        };
        self.line.place(packet.seq, packet.timestamp, sent_at)
    }

    #[inline]
    #[expect(clippy::too_many_arguments, reason = "one call each, on the hot path")]
    pub(super) fn send(
        &mut self,
        out: &mut Outlet<'_>,
        egress: &mut Egress,
        track: &Track,
        encoding: u8,
        packet: &Packet,
        format: &OutgoingFormat,
        place: &Place,
    ) -> Result<usize, SendError> {
        let (pt, payload) = outgoing_payload(packet, format, place.moves.alone);
        let descriptor = self.descriptor(track, encoding, packet, &place.moves);
        let mut header = self.header(
            out,
            egress,
            pt,
            ends_picture(packet, &place.moves),
            place.seq as u16,
            place.timestamp,
        );
        header.dependency = descriptor.as_deref();
        let size = egress.send(
            out,
            &header,
            &self.ids,
            &packet.passed,
            &[],
            payload,
            &Moved::new(packet, &place.moves),
            (place.seq >> 16) as u32,
        )?;
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(payload.len() as u32);
        Ok(size)
    }

    /// A packet of `source` has no payload type here.
    #[cold]
    fn refuse(&mut self, source: SourceId) -> Forwarded {
        if self.selection.current() == Some(source) {
            self.selection.interrupt();
        } else if self.selection.awaited() != Some(source) {
            return Forwarded::NotSelected;
        }
        Forwarded::NoFormat
    }

    /// Builds the header of the next packet. Slots that are asked for repairs
    /// without RTX leave out what changes with each sending, so that a plain resend is the same
    /// datagram bit for bit: a nonce must never seal two different ones (RFC 7714 §8).
    /// Browsers ask for no sound, so that theirs is numbered like their pictures.
    #[inline]
    pub(super) fn header(
        &self,
        out: &Outlet<'_>,
        egress: &mut Egress,
        payload_type: u8,
        marker: bool,
        sequence: u16,
        timestamp: u32,
    ) -> OutgoingHeader<'static> {
        OutgoingHeader {
            payload_type,
            marker,
            sequence,
            timestamp,
            ssrc: self.ssrcs.ssrc,
            padding: false,
            dependency: None,
            mid: None,
            abs_send_time: (!self.resends && self.ids.has_abs_send_time())
                .then(|| egress.abs_send_time(out)),
            transport_sequence: (!self.resends && self.ids.has_transport_cc())
                .then(|| egress.next_transport_sequence()),
        }
    }

    fn send_parameter_sets(
        &mut self,
        out: &mut Outlet<'_>,
        egress: &mut Egress,
        track: &Track,
        encoding: u8,
        packet: &Packet,
        pt: u8,
    ) {
        let mut payload = [0; MAX_PARAMETER_SETS];
        let Some(length) = track
            .encodings
            .get(usize::from(encoding))
            .and_then(|e| e.parameter_sets.write(&mut payload))
        else {
            return;
        };
        let Some(place) = self.line.insert(packet.seq, packet.timestamp) else {
            return;
        };
        let header = self.header(out, egress, pt, false, place.seq as u16, place.timestamp);
        // A failure leaves a hole that the viewer asks to be filled.
        let _ = egress.send(
            out,
            &header,
            &self.ids,
            &PassedExtensions::default(),
            &[],
            &payload[..length],
            &Unchanged,
            (place.seq >> 16) as u32,
        );
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(length as u32);
    }
}

/// The payload type and bytes a viewer gets: RED whole where it negotiated RED and has the number
/// that the blocks name their codec by; else, or when it is to stand `alone`, the primary block.
#[inline]
pub(super) fn outgoing_payload<'p>(
    packet: &'p Packet,
    format: &OutgoingFormat,
    alone: bool,
) -> (u8, &'p [u8]) {
    match (packet.red, format.red_pt) {
        (None, _) => (format.pt, &packet.payload),
        (Some(red), Some(pt)) if !alone && red.is_all_of(format.pt) => (pt, &packet.payload),
        (Some(red), _) => (
            format.pt,
            packet
                .payload
                .get(usize::from(red.primary)..)
                .unwrap_or(&[]),
        ),
    }
}
