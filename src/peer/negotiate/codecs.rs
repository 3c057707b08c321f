//! Payload types of a section: which codecs both ends have, with their repair
//! and redundancy payload types, and the answer's lines for them.

use std::borrow::Cow;
use std::ops::Range;

use crate::codec::Codec;
use crate::codec::fmtp::{parameter, split, split_once, trim};
use crate::units::MediaKind;

use super::error::NegotiateError;
use super::syntax::Section;
use super::types::{Direction, Feedback, NegotiatedCodec};

/// The longest `a=fmtp` value kept; SPS and PPS in base64 fit.
const MAX_FMTP: usize = 512;

/// What a section's payload types came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SectionCodecs {
    /// Codecs both ends have, in the offer's order.
    pub codecs: Vec<NegotiatedCodec>,
    /// The answer's payload types.
    pub payloads: Payloads,
}

/// The payload types of a section of the answer, in the offer's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Payloads {
    list: Vec<Payload>,
    /// The `a=rtpmap`, `a=rtcp-fb` and `a=fmtp` lines of all.
    lines: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Payload {
    pt: u8,
    /// The payload type of the codec it is, repairs or wraps.
    serves: u8,
    /// Its lines.
    lines: Range<usize>,
}

impl Payloads {
    /// The payload types.
    pub fn types(&self) -> impl Iterator<Item = u8> {
        self.list.iter().map(|p| p.pt)
    }

    /// The lines of each.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.list
            .iter()
            .filter_map(|p| self.lines.get(p.lines.clone()))
    }

    /// Bytes of an answer that they take, their places in the m-line included.
    pub fn size(&self) -> usize {
        let bytes = self.list.iter().map(|p| p.lines.len() + " 127".len());
        bytes.sum()
    }

    /// Leaves out what serves the codec of that payload type.
    pub fn remove(&mut self, pt: u8) {
        self.list.retain(|p| p.serves != pt);
    }
}

/// An offered payload type.
struct Offered<'a> {
    pt: u8,
    /// The payload type as written in the m-line.
    format: &'a str,
    /// `a=rtpmap` without the payload type, as offered.
    rtpmap: &'a str,
    name: &'a str,
    clock: u32,
    channels: Option<u8>,
    fmtp: Cow<'a, str>,
    /// A parameter line did not fit; later ones are left out.
    full: bool,
    feedback: Feedback,
}

impl<'a> Offered<'a> {
    /// One `a=fmtp` line is the rule; further ones add parameters, as long as
    /// all of them fit.
    fn add_parameters(&mut self, line: &'a str) {
        if self.full || self.fmtp.len() + line.len() > MAX_FMTP {
            self.full = true;
        } else if self.fmtp.is_empty() {
            self.fmtp = Cow::Borrowed(line);
        } else if !self.fmtp.contains(line) {
            let all = self.fmtp.to_mut();
            all.push(';');
            all.push_str(line);
        }
    }

    /// Reads name, clock rate and channels; `None` where they are wrong.
    fn read_rtpmap(&mut self) -> Option<()> {
        if self.rtpmap.is_empty() {
            self.rtpmap = static_rtpmap(self.pt)?;
        }
        let mut parts = split(Some(self.rtpmap).filter(|m| m.len() <= 64)?, b'/');
        self.name = parts.next()?;
        self.clock = trim(parts.next()?).parse().ok()?;
        self.channels = match parts.next() {
            Some(channels) => Some(trim(channels).parse().ok()?),
            None => None,
        };
        Some(())
    }
}

/// Matches the section's payload types with what Weir forwards.
pub(super) fn read(
    section: &Section<'_>,
    kind: MediaKind,
    direction: Direction,
) -> Result<SectionCodecs, NegotiateError> {
    let offered = offered(section);
    let mut codecs: Vec<NegotiatedCodec> = Vec::with_capacity(offered.len() / 2 + 1);
    // The codec that a payload type is, repairs or wraps.
    let mut serves = [None; 128];
    for o in &offered {
        let Some(codec) = known(o, kind) else {
            continue;
        };
        serves[usize::from(o.pt)] = Some(codecs.len());
        codecs.push(NegotiatedCodec {
            pt: o.pt,
            rtx_pt: None,
            red_pt: None,
            codec,
            channels: channels(o, codec),
            fmtp: o.fmtp.as_ref().into(),
            feedback: o.feedback,
        });
    }
    if codecs.is_empty() {
        return Err(NegotiateError::NoCommonCodec {
            kind,
            offered: names(&offered),
            supported: supported(kind),
        });
    }

    // RTX by its apt parameter (RFC 4588 §8.1), RED by the payload types that its
    // parameters name (RFC 2198 §4); RED for video carries ULPFEC and is left out.
    for o in &offered {
        let is_rtx = o.name.eq_ignore_ascii_case("rtx");
        let is_red = kind == MediaKind::Audio && o.name.eq_ignore_ascii_case("red");
        if !(is_rtx || is_red) {
            continue;
        }
        let primary = match split(&o.fmtp, b'/').next() {
            _ if is_rtx => parameter(&o.fmtp, "apt").and_then(|v| v.parse::<u8>().ok()),
            Some(first) if !trim(first).is_empty() => trim(first).parse::<u8>().ok(),
            _ => codecs.iter().find(|c| c.codec == Codec::Opus).map(|c| c.pt),
        };
        let Some(at) = codecs.iter().position(|c| Some(c.pt) == primary) else {
            continue;
        };
        let codec = &mut codecs[at];
        let place = match is_rtx {
            true => &mut codec.rtx_pt,
            false if o.clock == codec.codec.clock_rate() => &mut codec.red_pt,
            false => continue,
        };
        if place.is_none() {
            *place = Some(o.pt);
            serves[usize::from(o.pt)] = Some(at);
        }
    }

    let mut payloads = Payloads {
        list: Vec::with_capacity(offered.len()),
        lines: String::with_capacity(offered.len() * 96),
    };
    for o in &offered {
        if let Some(at) = serves[usize::from(o.pt)] {
            add_payload(&mut payloads, o, &codecs[at], direction);
        }
    }
    Ok(SectionCodecs { codecs, payloads })
}

/// The section's payload types in m-line order, each once.
fn offered<'a>(section: &Section<'a>) -> Vec<Offered<'a>> {
    let mut list: Vec<Offered<'a>> = Vec::new();
    let mut at = [None; 128];
    for format in section.formats() {
        if let Some(pt) = payload_type(format)
            && at[usize::from(pt)].is_none()
        {
            at[usize::from(pt)] = Some(list.len());
            list.push(Offered {
                pt,
                format,
                rtpmap: "",
                name: "",
                clock: 0,
                channels: None,
                fmtp: Cow::Borrowed(""),
                full: false,
                feedback: Feedback::default(),
            });
        }
    }
    // One walk through the attributes, whatever the number of payload types.
    for (name, value) in section.attributes() {
        if !matches!(name, "rtpmap" | "fmtp" | "rtcp-fb") {
            continue;
        }
        let Some((format, rest)) = split_once(value, b' ') else {
            continue;
        };
        let rest = trim(rest);
        if name == "rtcp-fb" && format == "*" {
            for offered in &mut list {
                add_feedback(&mut offered.feedback, rest);
            }
            continue;
        }
        let pt = format.parse::<u8>().ok();
        let found = pt.and_then(|pt| *at.get(usize::from(pt))?);
        let Some(offered) = found.and_then(|index| list.get_mut(index)) else {
            continue;
        };
        match name {
            "rtcp-fb" => add_feedback(&mut offered.feedback, rest),
            _ if format != offered.format => {}
            "rtpmap" if offered.rtpmap.is_empty() => offered.rtpmap = rest,
            "fmtp" => offered.add_parameters(rest),
            _ => {}
        }
    }
    list.retain_mut(|offered| offered.read_rtpmap().is_some());
    list
}

/// A payload type that can be told from RTCP on the same port: 64 to 95 would
/// look like RTCP packet types 192 to 223 (RFC 5761 §4).
fn payload_type(format: &str) -> Option<u8> {
    let pt: u8 = format.parse().ok()?;
    (pt < 64 || (96..128).contains(&pt)).then_some(pt)
}

/// Static assignments of RFC 3551 §6 that need no `a=rtpmap`.
fn static_rtpmap(pt: u8) -> Option<&'static str> {
    match pt {
        0 => Some("PCMU/8000"),
        8 => Some("PCMA/8000"),
        9 => Some("G722/8000"),
        _ => None,
    }
}

/// The codec of an offered payload type, when Weir forwards it in this form.
fn known(offered: &Offered<'_>, kind: MediaKind) -> Option<Codec> {
    let codec = Codec::from_name(offered.name)?;
    if codec.kind() != kind || offered.clock != codec.clock_rate() {
        return None;
    }
    // Interleaved mode (2) changes the order of packets; nobody offers it, and
    // keyframes can't be found in it (RFC 6184 §5.4).
    if codec == Codec::H264
        && !matches!(
            parameter(&offered.fmtp, "packetization-mode"),
            None | Some("0" | "1")
        )
    {
        return None;
    }
    let channels_ok = match codec {
        Codec::Opus => matches!(offered.channels, None | Some(1 | 2)),
        _ => matches!(offered.channels, None | Some(1)),
    };
    channels_ok.then_some(codec)
}

/// Opus is always signalled with two channels (RFC 7587 §7); GStreamer's
/// `OPUS/48000` means the same.
fn channels(offered: &Offered<'_>, codec: Codec) -> u8 {
    match codec {
        Codec::Opus => offered.channels.unwrap_or(2),
        _ => 1,
    }
}

/// Takes in a kind of RTCP feedback (RFC 4585 §4.2) that Weir gives or takes.
fn add_feedback(feedback: &mut Feedback, kind: &str) {
    match kind {
        "nack" => feedback.nack = true,
        "nack pli" => feedback.pli = true,
        "ccm fir" => feedback.fir = true,
        "goog-remb" => feedback.remb = true,
        "transport-cc" => feedback.transport_cc = true,
        _ => {}
    }
}

/// Adds an offered payload type to the answer's, and its lines; `codec` is the one that it
/// is, repairs or wraps. Names and parameters are written as offered, so that a peer that
/// compares text finds its own.
fn add_payload(
    payloads: &mut Payloads,
    offered: &Offered<'_>,
    codec: &NegotiatedCodec,
    direction: Direction,
) {
    let (pt, lines) = (offered.pt, &mut payloads.lines);
    let from = lines.len();
    let mut digits = [0; 3];
    let number = decimal(pt, &mut digits);
    write_line(lines, "a=rtpmap:", number, offered.rtpmap);
    if codec.pt == pt {
        write_feedback(lines, number, codec.feedback);
        write_answered_fmtp(lines, number, codec, direction);
    } else if !offered.fmtp.is_empty() {
        write_line(lines, "a=fmtp:", number, &offered.fmtp);
    }
    let lines = from..lines.len();
    payloads.list.push(Payload {
        pt,
        serves: codec.pt,
        lines,
    });
}

/// A payload type in digits. There are dozens in each answer, several times over, for which
/// formatting would take a tenth of the negotiation.
pub(super) fn decimal(pt: u8, digits: &mut [u8; 3]) -> &str {
    *digits = [b'0' + pt / 100, b'0' + pt / 10 % 10, b'0' + pt % 10];
    let zeros = usize::from(pt < 100) + usize::from(pt < 10);
    std::str::from_utf8(&digits[zeros..]).unwrap_or_default()
}

/// A line about a payload type.
fn write_line(out: &mut String, name: &str, pt: &str, value: &str) {
    for part in [name, pt, " ", value, "\r\n"] {
        out.push_str(part);
    }
}

pub(super) fn write_feedback(out: &mut String, pt: &str, feedback: Feedback) {
    let all = [
        (feedback.remb, "goog-remb"),
        (feedback.transport_cc, "transport-cc"),
        (feedback.fir, "ccm fir"),
        (feedback.nack, "nack"),
        (feedback.pli, "nack pli"),
    ];
    for (_, name) in all.iter().filter(|(agreed, _)| *agreed) {
        write_line(out, "a=rtcp-fb:", pt, name);
    }
}

/// Writes the parameters of a codec as we answer them, if there are any: as offered, but for those that
/// speak only of the offerer's own sending or receiving and would be wrong in
/// our mouth.
///
/// - Opus (RFC 7587 §7): `maxplaybackrate` is how the offerer plays and
///   `sprop-maxcapturerate` how it records. `stereo` (what one likes to receive)
///   and `sprop-stereo` (what one is likely to send) stay where offered: a
///   publishing Chrome encodes stereo only when the answer has `stereo=1`. To a viewer
///   that asked for stereo we also say `sprop-stereo=1`; one that did not ask is
///   left alone. (Chrome decodes stereo only when its *own* description has
///   `stereo=1`, so a page has to write it into its offer; no answer can.)
/// - VP8 and VP9: `max-fs` and `max-fr` limit what the offerer can decode (RFC 7741
///   §6.1). Weir decodes nothing, so it has no limit to state.
/// - H.264 and H.265: `sprop-*` describe the offerer's own stream and may not
///   be in a one-way answer (RFC 6184 §8.2.2).
fn write_answered_fmtp(out: &mut String, pt: &str, codec: &NegotiatedCodec, direction: Direction) {
    let left_out = |name: &str| {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        match codec.codec {
            Codec::Opus => is("maxplaybackrate") || is("sprop-maxcapturerate"),
            Codec::Vp8 | Codec::Vp9 => is("max-fs") || is("max-fr"),
            Codec::H264 | Codec::H265 => name
                .get(..6)
                .is_some_and(|start| start.eq_ignore_ascii_case("sprop-")),
            _ => false,
        }
    };
    let offered = split(&codec.fmtp, b';').map(trim).filter(|p| {
        let name = split(p, b'=').next().unwrap_or_default();
        !p.is_empty() && !left_out(trim(name))
    });
    let stereo = codec.codec == Codec::Opus
        && direction == Direction::View
        && parameter(&codec.fmtp, "stereo") == Some("1")
        && parameter(&codec.fmtp, "sprop-stereo").is_none();
    let mut empty = true;
    for parameter in offered.chain(stereo.then_some("sprop-stereo=1")) {
        if empty {
            for part in ["a=fmtp:", pt, " "] {
                out.push_str(part);
            }
        } else {
            out.push(';');
        }
        out.push_str(parameter);
        empty = false;
    }
    if !empty {
        out.push_str("\r\n");
    }
}

/// The offered encoding names, each once, for messages.
fn names(offered: &[Offered<'_>]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for o in offered {
        if names.len() < 16 && !names.iter().any(|n| n.eq_ignore_ascii_case(o.name)) {
            names.push(o.name.to_owned());
        }
    }
    names
}

fn supported(kind: MediaKind) -> String {
    let all = match kind {
        MediaKind::Audio => &[Codec::Opus, Codec::Pcmu, Codec::Pcma, Codec::G722][..],
        MediaKind::Video => &[Codec::H264, Codec::H265, Codec::Vp8, Codec::Vp9, Codec::Av1][..],
    };
    all.iter().map(|c| c.name()).collect::<Vec<_>>().join(", ")
}
