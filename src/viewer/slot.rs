//! One of a viewer's slots: a negotiated section with an SSRC of its own, and
//! the track that it shows at present.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::formats::{OutgoingFormat, match_formats};
use super::line::{Line, Origin, SourceId};
use super::repair::{Denied, RepairBudget};
use super::select::{Selection, Verdict};
use crate::codec::{Codec, PictureIdLine, vp8, vp9};
use crate::control::messages::{LayerWish, SlotSnapshot};
use crate::peer::egress::{Egress, Outlet, Patch, SendError, Unchanged};
use crate::peer::header::{OutgoingHeader, OutgoingIds, PassedExtensions};
use crate::peer::negotiate::{MediaSection, NegotiatedCodec, SignalledSsrc};
use crate::room::encoding::LINE_BREAK;
use crate::room::{Packet, Track};
use crate::units::MediaKind;

/// Aggregated parameter sets are a few dozen bytes; larger ones are not sent.
const MAX_PARAMETER_SETS: usize = 1100;

/// What came of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forwarded {
    /// It was sent: its size on the wire.
    Sent(usize),
    /// It is not of the source that flows.
    NotSelected,
    /// The viewer has no payload type for it.
    NoFormat,
    /// It belongs to a time before the last switch.
    Late,
    /// The send arena is full, or it could not be sealed.
    Failed(SendError),
}

/// What came of a NACK for one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repaired {
    /// It was sent again: its size on the wire.
    Sent(usize),
    /// It is no longer kept, or never was sent.
    Gone,
    /// The budget is used up.
    Denied(Denied),
    /// It could not be sent.
    Failed(SendError),
}

/// Random numbers a slot starts from.
#[derive(Debug, Clone, Copy)]
pub struct Seeds {
    /// First sequence number; the upper bit is cleared so that the roll-over
    /// is far (RFC 3711 §3.3.1 recommends it).
    pub sequence: u16,
    /// First RTX sequence number, likewise.
    pub rtx_sequence: u16,
    /// First timestamp.
    pub timestamp: u32,
}

/// Changes of payload descriptors that keep a viewer's picture ids on one line.
#[derive(Debug, Clone, Copy)]
enum PictureIds {
    None,
    Vp8(u16, u8),
    Vp9(u16, u8),
}

impl Patch for PictureIds {
    #[inline]
    fn apply(&self, payload: &mut [u8]) {
        match *self {
            Self::None => {}
            Self::Vp8(id, tl0) => {
                vp8::rewrite(payload, id, tl0);
            }
            Self::Vp9(id, tl0) => {
                vp9::rewrite(payload, id, tl0);
            }
        }
    }
}

/// See the module's description.
#[derive(Debug)]
pub struct Slot {
    /// Audio or video.
    pub kind: MediaKind,
    /// The SSRC it sends with, and the RTX SSRC.
    pub ssrcs: SignalledSsrc,
    /// `a=mid` of its section.
    pub mid: Arc<str>,
    /// What the viewer wants of the track's layers.
    pub wish: LayerWish,
    /// Index of its track in the worker.
    pub track: Option<u32>,
    /// Which of the track's sources flows.
    pub selection: Selection,
    /// The viewer knows the SSRC, so the mid need not be sent any more.
    pub acknowledged: bool,
    /// Its round trip as the newest receiver report tells.
    pub rtt: Option<Duration>,
    /// Packets sent, repairs not counted.
    pub packets: u32,
    /// Payload bytes sent, repairs not counted.
    pub octets: u32,
    /// When the first packet of the present source was sent; tells the first
    /// sender report.
    pub started: Option<Instant>,
    codecs: Vec<NegotiatedCodec>,
    ids: OutgoingIds,
    line: Line,
    pictures: PictureIdLine,
    formats: Vec<Option<OutgoingFormat>>,
    formats_epoch: Option<u32>,
    rtx_sequence: u64,
    repairs: RepairBudget,
    highest_in: u64,
}

impl Slot {
    /// A slot for a negotiated section.
    pub fn new(section: &MediaSection, ssrcs: SignalledSsrc, seeds: Seeds) -> Self {
        let clock_rate = section
            .codecs
            .first()
            .map_or(90_000, |c| c.codec.clock_rate());
        Self {
            kind: section.kind,
            ssrcs,
            mid: section.mid.as_str().into(),
            wish: LayerWish::default(),
            track: None,
            selection: Selection::Idle,
            acknowledged: false,
            rtt: None,
            packets: 0,
            octets: 0,
            started: None,
            codecs: section.codecs.clone(),
            ids: OutgoingIds::new(&section.extensions),
            line: Line::new(clock_rate, seeds.sequence & 0x7fff, seeds.timestamp),
            pictures: PictureIdLine::default(),
            formats: Vec::new(),
            formats_epoch: None,
            rtx_sequence: u64::from(seeds.rtx_sequence & 0x7fff),
            repairs: RepairBudget::default(),
            highest_in: 0,
        }
    }

    /// The codec the track sends can't be sent to this viewer.
    pub fn lacks(&self, track: &Track) -> Option<Codec> {
        let format = usize::from(track.current_format?);
        match self.formats.get(format) {
            Some(None) => track.codec(),
            _ => None,
        }
    }

    /// Takes note of the track's publisher and aims at its best encoding.
    /// Returns the encoding that a keyframe is needed of.
    pub fn aim(&mut self, track: &Track) -> Option<u8> {
        if self.formats_epoch != Some(track.epoch) {
            self.formats_epoch = Some(track.epoch);
            self.formats = match_formats(&track.formats, &self.codecs);
        }
        let wished = self.wish.rid.as_deref().and_then(|rid| track.by_rid(rid));
        let Some(best) = wished.or(track.best) else {
            if track.encodings.is_empty() {
                self.selection.stop();
            }
            return None;
        };
        let target = SourceId {
            epoch: track.epoch,
            encoding: best,
        };
        self.selection.aim(target, true);
        match self.kind {
            MediaKind::Audio => None,
            MediaKind::Video => self.selection.awaited().map(|source| source.encoding),
        }
    }

    /// The encoding that flows or is waited for: whose keyframe a viewer's
    /// request means.
    pub fn wanted_encoding(&self) -> Option<u8> {
        self.selection
            .awaited()
            .or(self.selection.current())
            .map(|source| source.encoding)
    }

    /// Stops; the line stays, to go on with whatever comes next.
    pub fn stop(&mut self) {
        self.selection.stop();
        self.formats_epoch = None;
    }

    /// Sends a packet of the slot's track on, when it is of the source that flows.
    #[inline]
    pub fn forward(
        &mut self,
        out: &mut Outlet<'_>,
        egress: &mut Egress,
        track: &Track,
        encoding: u8,
        packet: &Packet,
    ) -> Forwarded {
        let source = SourceId {
            epoch: track.epoch,
            encoding,
        };
        let entry = packet.entry || self.kind == MediaKind::Audio;
        let verdict = self.selection.judge(source, entry);
        if verdict == Verdict::Drop {
            return Forwarded::NotSelected;
        }
        let Some(format) = self
            .formats
            .get(usize::from(packet.format))
            .copied()
            .flatten()
        else {
            return Forwarded::NoFormat;
        };
        let broken = packet.seq > self.highest_in + LINE_BREAK;
        if verdict == Verdict::Switch || broken {
            if self.line.source().is_some() {
                self.pictures.switch();
            }
            self.line
                .switch(source, packet.seq, packet.timestamp, packet.arrival, None);
            self.highest_in = packet.seq;
            if verdict == Verdict::Switch {
                self.started = Some(out.now);
            }
        }
        self.highest_in = self.highest_in.max(packet.seq);
        if packet.needs_parameter_sets {
            self.send_parameter_sets(out, egress, track, encoding, packet, format.pt);
        }
        let Some(place) = self
            .line
            .place(packet.seq, packet.timestamp, packet.arrival)
        else {
            return Forwarded::Late;
        };
        let (pt, payload) = outgoing_payload(packet, &format);
        let Some(patch) = self.picture_ids(packet, payload) else {
            return Forwarded::Late;
        };
        let header = self.header(
            out,
            egress,
            pt,
            packet.marker,
            place.seq as u16,
            place.timestamp,
        );
        let sent = egress.send(
            out,
            &header,
            &self.ids,
            &packet.passed,
            &[],
            payload,
            &patch,
            (place.seq >> 16) as u32,
        );
        match sent {
            Ok(size) => {
                self.packets = self.packets.wrapping_add(1);
                self.octets = self.octets.wrapping_add(payload.len() as u32);
                self.repairs.earn(size);
                Forwarded::Sent(size)
            }
            Err(error) => Forwarded::Failed(error),
        }
    }

    /// Builds the header of the next packet. Slots without RTX leave out what
    /// changes with each sending, so that a plain resend is the same datagram
    /// bit for bit: a nonce must never seal two different ones (RFC 7714 §8).
    #[inline]
    fn header(
        &self,
        out: &Outlet<'_>,
        egress: &mut Egress,
        payload_type: u8,
        marker: bool,
        sequence: u16,
        timestamp: u32,
    ) -> OutgoingHeader<'static> {
        let repeatable = self.ssrcs.rtx.is_none();
        OutgoingHeader {
            payload_type,
            marker,
            sequence,
            timestamp,
            ssrc: self.ssrcs.ssrc,
            mid: None,
            abs_send_time: (!repeatable && self.ids.has_abs_send_time())
                .then(|| out.clock.abs_send_time(out.now)),
            transport_sequence: (!repeatable && self.ids.has_transport_cc())
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

    /// The viewer's picture ids for a packet; `None` when it has no place on
    /// their line any more.
    fn picture_ids(&mut self, packet: &Packet, payload: &[u8]) -> Option<PictureIds> {
        let (id, tl0) = match packet.codec {
            Codec::Vp8 => vp8::Descriptor::parse(payload).map(|d| (d.picture_id, d.tl0_pic_idx)),
            Codec::Vp9 => vp9::Descriptor::parse(payload).map(|d| (d.picture_id, d.tl0_pic_idx)),
            _ => None,
        }
        .unwrap_or((None, None));
        let Some(id) = id else {
            return Some(PictureIds::None);
        };
        let (out, tl0) = self.pictures.map(id, tl0)?;
        Some(match packet.codec {
            Codec::Vp8 => PictureIds::Vp8(out, tl0),
            _ => PictureIds::Vp9(out, tl0),
        })
    }

    /// Sends again what the viewer asks for by the low bits of its number:
    /// as RTX (RFC 4588) where negotiated, else the same datagram once more.
    pub fn repair(
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
        let found = match origin {
            Origin::Packet { source, seq, times } => {
                self.kept(track, source).and_then(|encoding| {
                    let packet = encoding.ring.get(seq)?;
                    let format = (*self.formats.get(usize::from(packet.format))?)?;
                    let (pt, payload) = outgoing_payload(packet, &format);
                    let timestamp = times.map(packet.timestamp);
                    Some((
                        format,
                        pt,
                        packet.marker,
                        timestamp,
                        payload,
                        &packet.passed,
                        Some(packet),
                    ))
                })
            }
            Origin::ParameterSets { source, timestamp } => {
                self.kept(track, source).and_then(|encoding| {
                    let format = usize::from(track.current_format?);
                    let format = (*self.formats.get(format)?)?;
                    let length = encoding.parameter_sets.write(&mut sets)?;
                    Some((
                        format,
                        format.pt,
                        false,
                        timestamp,
                        &sets[..length],
                        &empty,
                        None,
                    ))
                })
            }
        };
        let Some((format, pt, marker, timestamp, payload, passed, packet)) = found else {
            return Repaired::Gone;
        };
        if let Err(denied) = self.repairs.spend(out.now, seq, payload.len(), self.rtt) {
            return Repaired::Denied(denied);
        }
        let patch = match packet {
            Some(packet) => self.picture_ids(packet, payload),
            None => Some(PictureIds::None),
        };
        let Some(patch) = patch else {
            return Repaired::Gone;
        };
        let sent = match (self.ssrcs.rtx, format.rtx_pt) {
            // A RED packet is repaired as it is: RTX names the codec inside.
            (Some(rtx), Some(rtx_pt)) if pt == format.pt => {
                let rtx_sequence = self.rtx_sequence;
                self.rtx_sequence += 1;
                let mut header =
                    self.header(out, egress, rtx_pt, marker, rtx_sequence as u16, timestamp);
                header.ssrc = rtx;
                let original = (seq as u16).to_be_bytes();
                egress.send(
                    out,
                    &header,
                    &self.ids,
                    passed,
                    &original,
                    payload,
                    &patch,
                    (rtx_sequence >> 16) as u32,
                )
            }
            (None, _) if packet.is_some() => {
                let header = self.header(out, egress, pt, marker, seq as u16, timestamp);
                let roc = (seq >> 16) as u32;
                egress.send(out, &header, &self.ids, passed, &[], payload, &patch, roc)
            }
            _ => return Repaired::Gone,
        };
        match sent {
            Ok(size) => Repaired::Sent(size),
            Err(error) => Repaired::Failed(error),
        }
    }

    /// The encoding a repair comes from. A publisher that has gone takes its
    /// packets along, and picture ids from before a switch can't be made again.
    fn kept<'t>(&self, track: &'t Track, source: SourceId) -> Option<&'t crate::room::Encoding> {
        let usable = source.epoch == track.epoch && self.line.source() == Some(source);
        usable.then(|| track.encodings.get(usize::from(source.encoding)))?
    }

    /// The RTP timestamp that belongs to wall-clock time `wall`, for a sender
    /// report: the publisher's own mapping, moved to this slot's line.
    pub fn report_timestamp(&self, track: &Track, wall: Duration, now: Instant) -> Option<u32> {
        let current = self.selection.current()?;
        let clock = track
            .encodings
            .get(usize::from(current.encoding))?
            .report_clock(now, wall)?;
        let base = self.line.timestamp_base()?;
        let rate = i128::from(track.codec()?.clock_rate());
        let micros = wall.as_micros() as i128 - clock.wall.as_micros() as i128;
        let ticks = micros * rate / 1_000_000;
        Some((clock.timestamp as i64).wrapping_add(ticks as i64) as u32)
            .map(|t| t.wrapping_add(base))
    }

    /// The row the API shows; `track` is the slot's track.
    pub fn snapshot(&self, track: Option<&Track>) -> SlotSnapshot {
        let encoding = |index: u8| track?.encodings.get(usize::from(index));
        let flows = self.selection.current().and_then(|s| encoding(s.encoding));
        let chosen = self.wanted_encoding().and_then(encoding);
        SlotSnapshot {
            mid: self.mid.clone(),
            kind: self.kind,
            participant: track.map(|t| t.key.participant),
            rid: flows.and_then(|e| e.rid.clone()),
            spatial: flows.map(|_| 0),
            temporal: flows.map(|_| 0),
            target_bitrate: chosen.map(|e| e.stats.bitrate()),
            size: flows.and_then(|e| e.size),
            wish: self.wish.clone(),
        }
    }
}

/// The payload type and bytes a viewer gets: RED whole where it negotiated
/// RED, else the primary block alone.
#[inline]
fn outgoing_payload<'p>(packet: &'p Packet, format: &OutgoingFormat) -> (u8, &'p [u8]) {
    match (packet.red_primary, format.red_pt) {
        (None, _) => (format.pt, &packet.payload),
        (Some(_), Some(red)) => (red, &packet.payload),
        (Some(primary), None) => (
            format.pt,
            packet.payload.get(usize::from(primary)..).unwrap_or(&[]),
        ),
    }
}

#[cfg(test)]
#[path = "slot_tests.rs"]
mod tests;
