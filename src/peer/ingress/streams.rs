//! Which SSRC is which encoding of which section (RFC 8843 §9.2), and what is known of
//! each stream.
//!
//! Only authentic packets come here, so nobody else can bind an SSRC.

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::nack::NackTracker;
use super::numbering::Numbering;
use super::reception::Reception;
use crate::codec;
use crate::peer::header::Elements;
use crate::peer::negotiate::{HeaderExtension, MediaSection};
use crate::units::MediaKind;

/// Where nothing but the payload type tells whose an SSRC is, it may take the place of one
/// that never came or has been silent for this long.
const SILENT: Duration = Duration::from_secs(1);

/// Former SSRCs that are remembered: browsers stop naming an SSRC once it was reported on, also
/// when it returns.
const FORMER: usize = 8;

/// A publisher's section.
#[derive(Debug)]
pub(super) struct Section {
    mid: Box<str>,
    pub(super) kind: MediaKind,
    /// Its track in the worker.
    pub(super) track: u32,
    rids: Vec<Box<str>>,
    /// Its encodings are told apart by SSRCs that were announced.
    grouped: bool,
    pub(super) codecs: Vec<codec::Codec>,
    pub(super) nack: bool,
    pub(super) rtx: bool,
    /// Keyframes are asked for by FIR: it takes no PLI.
    pub(super) fir: bool,
    /// It takes reduced-size RTCP.
    pub(super) reduced: bool,
    /// It takes a maximum rate from us, and nothing better.
    pub(super) rated: bool,
    /// By encoding.
    pub(super) lines: Vec<Numbering>,
}

/// What a payload type means.
#[derive(Debug, Clone, Copy)]
pub(super) struct PayloadType {
    pub(super) section: u8,
    pub(super) format: u8,
    pub(super) use_as: Use,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Media,
    Red,
    Rtx,
}

/// An encoding as it is sent: its SSRC, and that of its repairs.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) ssrc: u32,
    pub(super) rtx: Option<u32>,
    pub(super) section: u8,
    pub(super) encoding: u8,
    pub(super) reception: Reception,
    pub(super) nack: Option<NackTracker>,
    /// When its last packet came.
    pub(super) heard: Option<Instant>,
    /// Of the next full intra request (RFC 5104 §4.3.1.1).
    pub(super) fir_sequence: u8,
}

/// A stream, by place, and whether a packet is of its repairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) stream: usize,
    pub(super) is_repair: bool,
}

/// Whose a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    Stream(Found),
    /// It carries nothing that anybody needs: padding, a repair of what never came, a stray
    /// packet of a former SSRC.
    Nobody,
    /// It belongs to no section.
    Unknown,
}

/// See the module's description.
#[derive(Debug)]
pub(super) struct Streams {
    pub(super) sections: Vec<Section>,
    pub(super) all: Vec<Stream>,
    /// By payload type.
    payload_types: Box<[Option<PayloadType>; 128]>,
    /// Where the last packet was found.
    last: Option<Found>,
    /// SSRCs that others took the place of, with section and encoding, the newest last.
    former: SmallVec<[(u32, u8, u8); 1]>,
    /// The round trip as the handshake told it.
    round_trip: Option<Duration>,
}

impl Streams {
    /// Of these sections, with their tracks in the worker.
    pub(super) fn new(sections: &[MediaSection], tracks: &[u32]) -> Self {
        let mut streams = Self {
            sections: Vec::with_capacity(sections.len()),
            all: Vec::new(),
            payload_types: Box::new([None; 128]),
            last: None,
            former: SmallVec::new(),
            round_trip: None,
        };
        for (index, (section, &track)) in (0u8..).zip(sections.iter().zip(tracks)) {
            streams.add(index, section, track);
        }
        streams
    }

    fn add(&mut self, index: u8, section: &MediaSection, track: u32) {
        for (format, codec) in (0u8..).zip(&section.codecs) {
            let uses = [
                (Some(codec.pt), Use::Media),
                (codec.red_pt, Use::Red),
                (codec.rtx_pt, Use::Rtx),
            ];
            for (pt, use_as) in uses {
                if let Some(pt) = pt
                    && let Some(entry) = self.payload_types.get_mut(usize::from(pt))
                {
                    *entry = Some(PayloadType {
                        section: index,
                        format,
                        use_as,
                    });
                }
            }
        }
        let any = |feedback: fn(&crate::peer::negotiate::Feedback) -> bool| {
            section.codecs.iter().any(|c| feedback(&c.feedback))
        };
        let encodings = section.layer_names().len().max(1);
        self.sections.push(Section {
            mid: section.mid.as_str().into(),
            kind: section.kind,
            track,
            rids: section.rids.iter().map(|r| r.as_str().into()).collect(),
            grouped: section.layer_ssrcs.len() > 1,
            codecs: section.codecs.iter().map(|c| c.codec).collect(),
            nack: any(|f| f.nack),
            rtx: section.has_rtx(),
            fir: any(|f| f.fir) && !any(|f| f.pli),
            reduced: section.rtcp_rsize,
            rated: any(|f| f.remb) && !numbered(section),
            lines: (0..encodings).map(|_| Numbering::default()).collect(),
        });
        if !section.rids.is_empty() {
            return; // their SSRCs are told by their rids
        }
        for announced in &section.ssrcs {
            let layer = section
                .layer_ssrcs
                .iter()
                .position(|l| *l == announced.ssrc);
            let layer = layer.and_then(|at| u8::try_from(at).ok()).unwrap_or(0);
            self.open(index, layer, announced.ssrc, announced.rtx);
        }
    }

    fn open(&mut self, section: u8, encoding: u8, ssrc: u32, rtx: Option<u32>) {
        let nack = self
            .sections
            .get(usize::from(section))
            .and_then(|of| tracker(of, self.round_trip));
        self.all.push(Stream {
            ssrc,
            rtx,
            section,
            encoding,
            reception: Reception::default(),
            nack,
            heard: None,
            fir_sequence: 0,
        });
    }

    /// What a payload type means.
    pub(super) fn meaning(&self, payload_type: u8) -> Option<PayloadType> {
        let entry = self.payload_types.get(usize::from(payload_type));
        entry.copied().flatten()
    }

    /// Whose a packet with this SSRC, meaning and names is; one without payload binds nothing.
    pub(super) fn owner(
        &mut self,
        now: Instant,
        ssrc: u32,
        meaning: PayloadType,
        names: &Elements<'_>,
        is_empty: bool,
    ) -> Owner {
        if let Some(found) = self.find(ssrc) {
            self.last = Some(found);
            return Owner::Stream(found);
        }
        if is_empty {
            return Owner::Nobody; // padding may come with any payload type
        }
        self.bind(now, ssrc, meaning, names)
    }

    fn find(&self, ssrc: u32) -> Option<Found> {
        let is = |found: &Found| {
            let stream = self.all.get(found.stream);
            stream.is_some_and(|s| match found.is_repair {
                false => s.ssrc == ssrc,
                true => s.rtx == Some(ssrc),
            })
        };
        self.last.filter(is).or_else(|| {
            self.all.iter().enumerate().find_map(|(stream, s)| {
                let is_repair = s.rtx == Some(ssrc);
                (s.ssrc == ssrc || is_repair).then_some(Found { stream, is_repair })
            })
        })
    }

    /// The place of an encoding's stream; of several that were announced, the one that is
    /// in use.
    pub(super) fn place(&self, section: u8, encoding: u8) -> Option<usize> {
        let of = |s: &Stream| (s.section, s.encoding) == (section, encoding);
        let all = self.all.iter().enumerate().rev().filter(|(_, s)| of(s));
        all.max_by_key(|(_, s)| s.heard).map(|(at, _)| at)
    }

    /// An SSRC that is new. Its packets name their section and encoding, or their payload
    /// type tells the section.
    fn bind(
        &mut self,
        now: Instant,
        ssrc: u32,
        meaning: PayloadType,
        names: &Elements<'_>,
    ) -> Owner {
        let section = usize::from(meaning.section);
        let Some(of) = self.sections.get(section) else {
            return Owner::Unknown;
        };
        if !names.mid.is_empty() && of.mid.as_bytes() != names.mid {
            return Owner::Unknown;
        }
        let rid = match names.rid {
            [] => names.repaired_rid,
            rid => rid,
        };
        let mut former = self.former.iter();
        let former = former.find(|f| (f.0, f.1) == (ssrc, meaning.section));
        let is_named = !names.mid.is_empty() || !of.rids.is_empty() || former.is_some();
        let encoding = if let Some((_, _, encoding)) = former.filter(|_| rid.is_empty()) {
            Some(usize::from(*encoding))
        } else if of.rids.is_empty() {
            // Some clients send a rid that they never announced.
            (!of.grouped).then_some(0)
        } else {
            of.rids.iter().position(|r| r.as_bytes() == rid)
        };
        let Some(encoding) = encoding.and_then(|at| u8::try_from(at).ok()) else {
            return Owner::Unknown;
        };
        let at = self.place(meaning.section, encoding);
        let present = at.and_then(|at| self.all.get_mut(at));
        let repairs = names.rid.is_empty() && !names.repaired_rid.is_empty();
        if repairs || meaning.use_as == Use::Rtx {
            let (Some(present), Some(stream)) = (present, at) else {
                return Owner::Nobody;
            };
            present.rtx = Some(ssrc);
            return Owner::Stream(Found {
                stream,
                is_repair: true,
            });
        }
        let Some(line) = of.lines.get(usize::from(encoding)) else {
            return Owner::Unknown;
        };
        if line.is_stray(now, ssrc) {
            return Owner::Nobody;
        }
        let quiet = |s: &Stream| {
            let heard = s.heard;
            heard.is_none_or(|at| now.saturating_duration_since(at) >= SILENT)
        };
        if !is_named && present.as_deref().is_some_and(|s| !quiet(s)) {
            return Owner::Unknown;
        }
        // A stream that changed its SSRC takes the place of its former one.
        let (rtx, replaced) = present.map_or((None, None), |s| (s.rtx, Some(s.ssrc)));
        if let Some(at) = at {
            self.all.remove(at);
        }
        self.former.retain(|f| f.0 != ssrc);
        if self.former.len() >= FORMER {
            self.former.remove(0);
        }
        let replaced = replaced.map(|former| (former, meaning.section, encoding));
        self.former.extend(replaced);
        self.open(meaning.section, encoding, ssrc, rtx);
        let found = Found {
            stream: self.all.len() - 1,
            is_repair: false,
        };
        self.last = Some(found);
        Owner::Stream(found)
    }

    /// The handshake took this round trip; nothing has come yet.
    pub(super) fn learn_round_trip(&mut self, round_trip: Option<Duration>) {
        self.round_trip = round_trip;
        for stream in &mut self.all {
            if let Some(nack) = &mut stream.nack {
                nack.learn_round_trip(round_trip);
            }
        }
    }
}

/// What notices losses of a stream: of pictures also where they can't be asked for, since only
/// a keyframe repairs them then.
fn tracker(section: &Section, round_trip: Option<Duration>) -> Option<NackTracker> {
    let notices = section.nack || section.kind == MediaKind::Video;
    notices.then(|| NackTracker::new(round_trip, section.nack))
}

/// Its packets have transport-wide numbers, and feedback on them is agreed on.
pub(super) fn numbered(section: &MediaSection) -> bool {
    let has =
        |(_, extension): &(u8, HeaderExtension)| *extension == HeaderExtension::TransportWideCc;
    let agreed = section.codecs.iter().any(|c| c.feedback.transport_cc);
    agreed && section.extensions.iter().any(has)
}
