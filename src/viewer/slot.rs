//! One of a viewer's slots: a negotiated section with an SSRC of its own, and
//! the track that it shows at present.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::allocate::Steadiness;
use super::catch_up::{Behind, Fed};
use super::demand::Demand;
use super::formats::{OutgoingFormat, decodes};
use super::line::{Line, Moves, SourceId};
use super::reception::Reception;
use super::select::{Layers, Selection};
use crate::codec::{Cell, Codec};
use crate::control::messages::LayerWish;
use crate::peer::header::OutgoingIds;
use crate::peer::negotiate::{MediaSection, NegotiatedCodec, SignalledSsrc};
use crate::room::{Format, Packet, Rung, Track};
use crate::units::{MediaKind, ParticipantId};

mod aim;
mod begin;
mod cut;
#[cfg(test)]
pub(crate) mod doom;
mod forward;
mod held;
mod keyframe;
mod resend;

pub use forward::Forwarded;
pub use keyframe::SentKeyframe;
pub use resend::Repaired;

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
    /// The keyframe that it was sent last.
    pub keyframe: Option<SentKeyframe>,
    /// What its path carries, in bytes a second, while that is congested or was of late.
    pub room: Option<u64>,
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
            keyframe: None,
            room: None,
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

    /// Numbers of the line so far under which nothing was sent.
    pub fn holes(&self) -> i64 {
        let taken = (self.line.next_seq() - self.first) as u32;
        i64::from(taken.wrapping_sub(self.packets) as i32)
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

#[cfg(test)]
mod h264_tests;
#[cfg(test)]
mod layer_tests;
#[cfg(test)]
mod svc_tests;
#[cfg(test)]
mod tests;
