//! One of a viewer's slots: a negotiated section with an SSRC of its own, and
//! the track that it shows at present.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cut::{ends_picture, may_end_picture, stands_beside};

use super::allocate::Steadiness;
use super::catch_up::{Behind, Fed, Restart};
use super::demand::Demand;
use super::formats::{OutgoingFormat, decodes};
use super::line::{Backlog, Line, Moves, Place, SourceId};
use super::reception::Reception;
use super::select::{Layers, Selection, Verdict};
use crate::codec::{Cell, Codec, PictureIds, red};
use crate::control::messages::LayerWish;
use crate::net::prefetch::prefetch;
use crate::peer::egress::{Egress, Outlet, Patch, SendError, Unchanged};
use crate::peer::header::{OutgoingHeader, OutgoingIds, PassedExtensions};
use crate::peer::negotiate::{MediaSection, NegotiatedCodec, SignalledSsrc};
use crate::room::encoding::LINE_BREAK;
use crate::room::{Format, Packet, Rung, Track};
use crate::units::{MediaKind, ParticipantId};

mod aim;
mod cut;
#[cfg(test)]
pub(crate) mod doom;
mod held;
mod resend;

/// Packets that a RED packet may repeat: browsers repeat one or two.
const REDUNDANCY: u64 = 2;

/// Aggregated parameter sets are a few dozen bytes; larger ones are not sent.
const MAX_PARAMETER_SETS: usize = 1100;

/// What came of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forwarded {
    /// It was sent: its size on the wire.
    Sent(usize),
    /// It is not of the source that flows.
    NotSelected,
    /// It begins the keyframe that is waited for, but came behind others of it, which were let
    /// go: all of them are to be sent from the ring.
    Overtaken,
    /// It is of a layer that is cut.
    Cut,
    /// Whether it ends its picture is not known yet: it goes out by [`Slot::send_held`], ahead of
    /// the packet that tells.
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

/// A wait for the publisher's keyframe.
#[derive(Debug, Clone, Copy)]
pub struct Starved {
    /// When it began.
    pub since: Instant,
    /// When the next keyframe comes by itself, as far as former ones tell.
    pub expected: Option<Instant>,
}

/// The changes of a packet that keep a viewer's ids on one line.
#[derive(Debug, Clone, Copy)]
struct Moved {
    ids: PictureIds,
    picture: u16,
    tl0: u8,
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
    fn new(packet: &Packet, moves: &Moves) -> Self {
        Self {
            ids: packet.info.ids,
            picture: moves.picture,
            tl0: moves.tl0,
        }
    }
}

/// The newest packet of the present source, sent or cut.
#[derive(Debug, Clone, Copy, Default)]
struct Newest {
    timestamp: Option<u32>,
    spatial: u8,
    cut: bool,
    /// The ids that follow those of the newest packet sent.
    picture: Option<u16>,
    tl0: Option<u8>,
    frame: Option<u16>,
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
    /// Whom it is to show.
    pub participant: Option<ParticipantId>,
    /// Whom it showed when the control plane was last told.
    pub told: Option<ParticipantId>,
    /// Index of its track in the worker.
    pub track: Option<u32>,
    /// The track that takes the present one's place with its next keyframe.
    pub incoming: Option<u32>,
    /// Which of the track's sources flows.
    pub selection: Selection,
    /// What it still has to be sent before it is live again.
    pub behind: Option<Behind>,
    /// The cached keyframe that it was given last.
    pub fed: Option<Fed>,
    /// Which layers of it flow.
    pub layers: Layers,
    /// Of two slots of a viewer, the higher one gets better layers first.
    pub priority: u8,
    /// Too little bandwidth is left for any picture.
    pub paused: bool,
    /// Since when there are pictures for it, but none to start with.
    pub starved_since: Option<Instant>,
    /// Which of its receiver's keyframe requests go on to the publisher.
    pub demand: Demand,
    /// Its round trip as the newest receiver report tells.
    pub rtt: Option<Duration>,
    /// Packets sent, repairs not counted.
    pub packets: u32,
    /// Payload bytes sent, repairs not counted.
    pub octets: u32,
    /// Packets as of the last report that was due, and whether it told of new ones.
    reported: (u32, bool),
    /// What its receiver reports said so far.
    pub reception: Reception,
    /// The first sequence number.
    first: u64,
    padded: u64,
    codecs: Vec<NegotiatedCodec>,
    ids: OutgoingIds,
    line: Line,
    /// What the viewer has of a voice already: the source, and the number that
    /// follows the newest one sent in any of its slots.
    known: Option<(SourceId, u64)>,
    /// The layers that will flow of the source that is waited for.
    entering: Cell,
    newest: Newest,
    /// See [`Forwarded::Held`]: its source and number, which the line has not come to yet.
    held: Option<(SourceId, u64)>,
    /// Something of the present track was sent.
    begun: bool,
    steady: Steadiness,
    /// What was chosen last: the rung, and how many were below it.
    chosen: Option<Rung>,
    /// When layers began to wait for a frame to switch at.
    waiting_since: Option<Instant>,
    /// Publisher and choices as last told to the control plane.
    seen: Option<(u32, u32)>,
    /// The encodings whose viewers it is counted among, and their publisher.
    counted: (u32, [Option<u8>; 2]),
    /// RED packets below this number go out without their redundancy.
    alone_until: Option<u64>,
    formats: Vec<Option<OutgoingFormat>>,
    formats_epoch: Option<u32>,
    /// What the viewer asks for goes out as the same datagram once more.
    resends: bool,
    rtx_sequence: u64,
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
            participant: None,
            told: None,
            track: None,
            incoming: None,
            selection: Selection::Idle,
            behind: None,
            fed: None,
            layers: Layers::default(),
            priority: 0,
            paused: false,
            starved_since: None,
            demand: Demand::default(),
            rtt: None,
            packets: 0,
            octets: 0,
            reported: (0, false),
            reception: Reception::default(),
            first: u64::from(seeds.sequence & 0x7fff),
            padded: 0,
            codecs: section.codecs.clone(),
            ids: OutgoingIds::new(&section.extensions, section.mixed_extensions),
            line: Line::new(clock_rate, seeds.sequence & 0x7fff, seeds.timestamp),
            known: None,
            entering: Cell::ALL,
            newest: Newest::default(),
            held: None,
            begun: false,
            steady: Steadiness::default(),
            chosen: None,
            waiting_since: None,
            seen: None,
            counted: (0, [None; 2]),
            alone_until: None,
            formats: Vec::new(),
            formats_epoch: None,
            resends: ssrcs.rtx.is_none() && section.codecs.iter().any(|c| c.feedback.nack),
            rtx_sequence: u64::from(seeds.rtx_sequence & 0x7fff),
        }
    }

    /// The viewer has a codec for what a publisher sends in `format`.
    pub fn decodes(&self, format: &Format) -> bool {
        decodes(format, &self.codecs)
    }

    /// The codec the track sends can't be sent to this viewer.
    pub fn lacks(&self, track: &Track) -> Option<Codec> {
        let format = usize::from(track.current_format?);
        match self.formats.get(format) {
            Some(None) => track.codec(),
            _ => None,
        }
    }

    /// The encoding of the track that was sent last, and the number behind its newest packet that was.
    pub fn shown(&self, track: &Track) -> Option<(u8, u64)> {
        let source = self.line.source().filter(|s| s.epoch == track.epoch)?;
        self.begun.then(|| (source.encoding, self.line.expected()))
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
        self.behind = None;
        self.fed = None;
        self.begun = false;
        self.held = None;
        self.demand.forget();
        self.formats_epoch = None;
        self.chosen = None;
    }

    /// Begins to load what forwarding looks at outside of the slot.
    #[inline]
    pub fn prefetch(&self) {
        if let Some(format) = self.formats.first() {
            prefetch(format);
        }
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
        #[cfg(test)]
        doom::strike(self.ssrcs.ssrc, doom::Doing::Forward);
        let source = SourceId {
            epoch: track.epoch,
            encoding,
        };
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
            if !self.layers.is_open() && !self.admit(track, encoding, packet) {
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
        }
        self.send(out, egress, track, encoding, packet, &format, &place)
    }

    fn place(&mut self, out: &Outlet<'_>, packet: &Packet) -> Option<Place> {
        let sent_at = match self.behind {
            None => packet.arrival,
            Some(_) => out.now,
        };
        self.line.place(packet.seq, packet.timestamp, sent_at)
    }

    #[inline]
    #[expect(clippy::too_many_arguments, reason = "one call each, on the hot path")]
    fn send(
        &mut self,
        out: &mut Outlet<'_>,
        egress: &mut Egress,
        track: &Track,
        encoding: u8,
        packet: &Packet,
        format: &OutgoingFormat,
        place: &Place,
    ) -> Forwarded {
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
        let sent = egress.send(
            out,
            &header,
            &self.ids,
            &packet.passed,
            &[],
            payload,
            &Moved::new(packet, &place.moves),
            (place.seq >> 16) as u32,
        );
        match sent {
            Ok(size) => {
                self.packets = self.packets.wrapping_add(1);
                self.octets = self.octets.wrapping_add(payload.len() as u32);
                Forwarded::Sent(size)
            }
            Err(error) => Forwarded::Failed(error),
        }
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

    /// See [`Forwarded::Overtaken`]. What the ring can't give is left to the viewer's repairs.
    #[cold]
    fn is_overtaken(&self, track: &Track, source: SourceId, packet: &Packet) -> bool {
        let ring = track.encodings.get(usize::from(source.encoding));
        self.kind == MediaKind::Video
            && self.behind.is_none_or(|b| b.encoding != source.encoding)
            && ring.is_some_and(|e| e.ring.was_passed(packet.seq))
    }

    /// Begins a run of the line with `packet`, behind what was sent last.
    #[cold]
    fn begin(
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
            self.layers = Layers::of(self.usable(track, source.encoding, self.entering));
        }
        let (newest, cell) = (self.newest, self.layers.current());
        let info = &packet.info.ids;
        let alone = packet.red_primary.is_some();
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
        let flows = SourceId {
            epoch: track.epoch,
            encoding,
        };
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
            self.behind = Some(Behind::dry(encoding, expected, now));
        }
        next
    }

    /// Numbers of the line so far under which nothing was sent.
    pub fn holes(&self) -> i64 {
        let taken = (self.line.next_seq() - self.first) as u32;
        i64::from(taken.wrapping_sub(self.packets) as i32)
    }

    /// Builds the header of the next packet. Slots that are asked for repairs
    /// without RTX leave out what changes with each sending, so that a plain resend is the same
    /// datagram bit for bit: a nonce must never seal two different ones (RFC 7714 §8).
    /// Browsers ask for no sound, so that theirs is numbered like their pictures.
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

    /// Called about once a second.
    pub fn settle(&mut self, now: Instant) {
        self.line.settle(now);
    }

    /// A sender report is due: whether there is something to tell. RFC 3550 §6.4 asks for one where data was sent
    /// since the last report or the one before it.
    pub fn has_news(&mut self) -> bool {
        let (packets, had_news) = self.reported;
        let has_news = self.packets != packets;
        self.reported = (self.packets, has_news);
        has_news || had_news
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
}

impl Newest {
    /// Notes the ids of the newest packet sent.
    #[inline]
    fn note(&mut self, packet: &Packet, moves: &Moves) {
        let ids = &packet.info.ids;
        if let Some(id) = ids.picture {
            self.picture = Some(id.value.wrapping_add(moves.picture).wrapping_add(1));
        }
        if let Some(tl0) = ids.tl0 {
            self.tl0 = Some(tl0.wrapping_add(moves.tl0).wrapping_add(1));
        }
        if let Some(frame) = packet.frame_number() {
            self.frame = Some(frame.wrapping_add(moves.frame).wrapping_add(1));
        }
    }
}

/// The viewer has this packet already, by what it has of a voice.
fn knows(known: &Option<(SourceId, u64)>, source: SourceId, packet: &Packet) -> bool {
    known.is_some_and(|(of, end)| {
        // A publisher that counts anew from far below begins another line.
        of == source && packet.seq < end && end - packet.seq < LINE_BREAK
    })
}

/// The payload type and bytes a viewer gets: RED whole where it negotiated RED and has the number
/// that the blocks name their codec by; else, or when it is to stand `alone`, the primary block.
#[inline]
fn outgoing_payload<'p>(
    packet: &'p Packet,
    format: &OutgoingFormat,
    alone: bool,
) -> (u8, &'p [u8]) {
    let whole = || !alone && red::is_all_of(&packet.payload, format.pt);
    match (packet.red_primary, format.red_pt) {
        (None, _) => (format.pt, &packet.payload),
        (Some(_), Some(pt)) if whole() => (pt, &packet.payload),
        (Some(primary), _) => (
            format.pt,
            packet.payload.get(usize::from(primary)..).unwrap_or(&[]),
        ),
    }
}

#[cfg(test)]
mod h264_tests;
#[cfg(test)]
mod layer_tests;
#[cfg(test)]
mod svc_tests;
#[cfg(test)]
mod tests;
