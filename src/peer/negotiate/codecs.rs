//! Payload types of a section: which codecs both ends have, with their repair
//! and redundancy payload types, and the answer's lines for them.

use std::borrow::Cow;

use crate::codec::Codec;
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
    /// The answer's payload types, in the offer's order.
    pub payloads: Vec<Payload>,
}

/// One payload type of the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Payload {
    pub pt: u8,
    /// The payload type of the codec it is, repairs or wraps.
    pub serves: u8,
    /// Its `a=rtpmap`, `a=rtcp-fb` and `a=fmtp` lines.
    pub lines: String,
}

impl Payload {
    /// Bytes of an answer that it takes, its place in the m-line included.
    pub fn size(&self) -> usize {
        self.lines.len() + " 127".len()
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
        let mut parts = Some(self.rtpmap).filter(|m| m.len() <= 64)?.split('/');
        self.name = parts.next()?;
        self.clock = parts.next()?.trim().parse().ok()?;
        self.channels = match parts.next() {
            Some(channels) => Some(channels.trim().parse().ok()?),
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
    let mut codecs: Vec<NegotiatedCodec> = Vec::new();
    for o in &offered {
        let Some(codec) = known(o, kind) else {
            continue;
        };
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
        if o.name.eq_ignore_ascii_case("rtx") {
            let primary = parameter(&o.fmtp, "apt").and_then(|v| v.parse::<u8>().ok());
            if let Some(c) = codecs.iter_mut().find(|c| Some(c.pt) == primary) {
                c.rtx_pt.get_or_insert(o.pt);
            }
        } else if o.name.eq_ignore_ascii_case("red") && kind == MediaKind::Audio {
            let primary = match o.fmtp.split('/').next() {
                Some(first) if !first.trim().is_empty() => first.trim().parse::<u8>().ok(),
                _ => codecs.iter().find(|c| c.codec == Codec::Opus).map(|c| c.pt),
            };
            if let Some(c) = codecs.iter_mut().find(|c| Some(c.pt) == primary)
                && o.clock == c.codec.clock_rate()
            {
                c.red_pt.get_or_insert(o.pt);
            }
        }
    }

    let payloads = offered
        .iter()
        .filter_map(|o| payload(o, &codecs, direction))
        .collect();
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
        let Some((format, rest)) = value.split_once(' ') else {
            continue;
        };
        let rest = rest.trim();
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

/// The answer's lines for an offered payload type, if it is part of the answer.
/// Names and parameters are written as offered, so that a peer that compares
/// text finds its own.
fn payload(
    offered: &Offered<'_>,
    codecs: &[NegotiatedCodec],
    direction: Direction,
) -> Option<Payload> {
    let pt = offered.pt;
    let codec = codecs.iter().find(|c| c.pt == pt);
    let serves = match codec {
        Some(_) => pt,
        None => {
            let helps = |c: &&NegotiatedCodec| c.rtx_pt == Some(pt) || c.red_pt == Some(pt);
            codecs.iter().find(helps)?.pt
        }
    };
    let number = pt.to_string();
    // Room for all lines of nearly every payload type: an offer has dozens of these.
    let feedback = if codec.is_some() { 128 } else { 0 };
    let mut lines = String::with_capacity(64 + feedback + offered.fmtp.len());
    write_line(&mut lines, "a=rtpmap:", &number, offered.rtpmap);
    if let Some(codec) = codec {
        write_feedback(&mut lines, &number, codec.feedback);
        write_answered_fmtp(&mut lines, &number, codec, direction);
    } else if !offered.fmtp.is_empty() {
        write_line(&mut lines, "a=fmtp:", &number, &offered.fmtp);
    }
    Some(Payload { pt, serves, lines })
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
    let offered = codec.fmtp.split(';').map(str::trim).filter(|p| {
        let name = p.split('=').next().unwrap_or_default();
        !p.is_empty() && !left_out(name.trim())
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

/// The value of a `name=value` parameter in an `a=fmtp` value; names are
/// compared without case.
fn parameter<'a>(fmtp: &'a str, name: &str) -> Option<&'a str> {
    fmtp.split(';').find_map(|p| {
        let (n, v) = p.split_once('=')?;
        n.trim().eq_ignore_ascii_case(name).then(|| v.trim())
    })
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
