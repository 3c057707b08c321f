//! Reading an offer: which sections are accepted, and with what.

use crate::codec::Codec;
use crate::units::MediaKind;

use super::codecs::{self, Payloads};
use super::error::NegotiateError;
use super::extensions::{self, AgreedExtension};
use super::fit;
use super::simulcast::{self, Layer};
use super::syntax::{self, Description, MAX_TOKEN, Section};
use super::types::{DataSection, Direction, MediaSection, Negotiated, PeerKeys, Policy};
use super::{ssrcs, transport};

/// An offer that was accepted: what the worker needs, and what the answer
/// needs to mirror the offer's m-lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// What both ends agreed on.
    pub negotiated: Negotiated,
    /// Every m-line of the offer, in its order.
    pub(super) lines: Vec<Line>,
    /// The mids of the answer's BUNDLE group, the tagged one first.
    pub(super) bundle: Vec<String>,
    /// Index of the BUNDLE-tagged m-line, which carries the candidates.
    pub(super) tagged: usize,
    /// `a=extmap-allow-mixed` at session level.
    pub(super) allow_mixed: bool,
}

/// One m-line of the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub media: String,
    pub proto: String,
    pub mid: Option<String>,
    pub kind: LineKind,
}

/// What became of an m-line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LineKind {
    /// Port 0, with some of the offer's formats.
    Rejected {
        formats: String,
    },
    Data,
    Media(MediaLine),
}

/// An accepted audio or video section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MediaLine {
    /// Index into [`Negotiated::media`].
    pub at: usize,
    pub payloads: Payloads,
    pub extensions: Vec<AgreedExtension>,
    pub layers: Vec<Layer>,
    pub allow_mixed: bool,
}

impl Accepted {
    /// The codecs negotiated in sections of `kind`, each once, in the offer's order.
    pub fn codecs(&self, kind: MediaKind) -> Vec<Codec> {
        self.negotiated.codecs(kind)
    }

    /// The mids of the BUNDLE group, the tagged one first; for
    /// [`fragment::render_restart`](super::fragment::render_restart).
    pub fn bundle_mids(&self) -> &[String] {
        &self.bundle
    }
}

/// Reads an offer and decides what the answer accepts.
///
/// `direction` is the endpoint's: [`Direction::Publish`] for WHIP. Nothing of
/// the text makes this panic, and its work is bounded by the text's length.
///
/// # Errors
/// Why there is no answer; [`NegotiateError::status`] gives the HTTP status.
pub fn read_offer(
    sdp: &str,
    direction: Direction,
    policy: &Policy,
) -> Result<Accepted, NegotiateError> {
    let session = syntax::parse(sdp)?;
    let sections: Vec<Section<'_>> = session.sections().collect();
    if sections.is_empty() {
        return Err(NegotiateError::NoMedia);
    }
    check_tokens(&sections)?;
    let group = bundle_group(&session);
    // Two lite agents would wait for each other's checks (RFC 8445 §2.5).
    if session.has("ice-lite") {
        return Err(NegotiateError::BothIceLite);
    }

    let mut reader = Reader {
        direction,
        policy,
        media: Vec::new(),
        data: None,
    };
    let mut lines = Vec::with_capacity(sections.len());
    for section in &sections {
        lines.push(Line {
            media: section.media.media.clone(),
            proto: section.media.proto.clone(),
            mid: section.own("mid").map(str::to_owned),
            kind: reader.read(section)?,
        });
    }

    let accepted: Vec<Section<'_>> = sections
        .iter()
        .zip(&lines)
        .filter(|(_, line)| !matches!(line.kind, LineKind::Rejected { .. }))
        .map(|(section, _)| *section)
        .collect();
    let (bundle, tagged) = bundle(&group, &accepted)?;

    let mut order: Vec<Section<'_>> = Vec::with_capacity(sections.len() + 1);
    order.extend(sections.get(tagged));
    order.extend(accepted.iter().filter(|s| s.index != tagged));
    order.extend(
        sections
            .iter()
            .filter(|s| !accepted.iter().any(|a| a.index == s.index)),
    );
    let transport = transport::read(&order)?;

    let mut accepted = Accepted {
        negotiated: Negotiated {
            direction,
            ice: transport.ice,
            fingerprint: transport.fingerprint,
            peer_keys: peer_keys(session.origin()),
            dtls_active: transport.dtls_active,
            media: reader.media,
            data: reader.data,
        },
        lines,
        bundle,
        tagged,
        allow_mixed: session.has("extmap-allow-mixed"),
    };
    fit::fit(&mut accepted)?;
    Ok(accepted)
}

/// Who is known to bring an ECDSA certificate, by the `o=` line that it writes.
///
/// A stranger that writes the same line but brings RSA fails in DTLS; one that
/// is not recognized here is served all the same, by the slower DTLS.
pub(super) fn peer_keys(origin: &sdp_types::Origin) -> PeerKeys {
    let known = match origin.username.as_deref() {
        // libwebrtc: Chromium, Safari, and apps made with it.
        None | Some("-") => origin.sess_version == 2 && origin.unicast_address == "127.0.0.1",
        // libdatachannel, which OBS uses; FFmpeg's WHIP muxer.
        Some("rtc" | "FFmpeg") => true,
        Some(name) => name.starts_with("mozilla") || name.starts_with("str0m"),
    };
    if known {
        PeerKeys::Ecdsa
    } else {
        PeerKeys::Unknown
    }
}

/// The mids of the first BUNDLE group (RFC 9143 §7); one group is one transport.
pub(super) fn bundle_group<'a>(session: &Description<'a>) -> Vec<&'a str> {
    session
        .values("group")
        .find_map(|value| value.strip_prefix("BUNDLE"))
        .map(|mids| {
            mids.split_ascii_whitespace()
                .take(2 * syntax::MAX_SECTIONS)
                .collect()
        })
        .unwrap_or_default()
}

/// Bounds what the answer has to repeat, and wants each mid once.
pub(super) fn check_tokens(sections: &[Section<'_>]) -> Result<(), NegotiateError> {
    let bad = |section: &Section<'_>, why: &str| {
        Err(NegotiateError::BadAttribute {
            place: section.label(),
            why: why.to_owned(),
        })
    };
    for (index, section) in sections.iter().enumerate() {
        if section.media.media.len() > MAX_TOKEN || section.media.proto.len() > MAX_TOKEN {
            return bad(section, "the m= line has an endless word");
        }
        let Some(mid) = section.own("mid") else {
            continue;
        };
        if mid.is_empty() || mid.len() > MAX_TOKEN || mid.contains(char::is_whitespace) {
            return bad(section, "a=mid is not one word of at most 64 bytes");
        }
        if sections
            .iter()
            .take(index)
            .any(|other| other.own("mid") == Some(mid))
        {
            return bad(section, "another section has the same a=mid");
        }
    }
    Ok(())
}

/// The answer's BUNDLE group and the tagged section. Mids of the offer's group
/// that no section has are passed over. The order stays the offer's, so the
/// offerer's tagged section stays tagged when it is accepted (RFC 9143 §7.3.1).
pub(super) fn bundle(
    group: &[&str],
    accepted: &[Section<'_>],
) -> Result<(Vec<String>, usize), NegotiateError> {
    let in_group: Vec<&Section<'_>> = group
        .iter()
        .filter_map(|mid| accepted.iter().find(|s| s.own("mid") == Some(mid)))
        .collect();
    match accepted {
        [] => return Err(NegotiateError::NothingUsable),
        // One section needs no group to be on one transport.
        [only] if in_group.is_empty() => return Ok((Vec::new(), only.index)),
        _ => {}
    }
    let outside = accepted
        .iter()
        .find(|s| !in_group.iter().any(|g| g.index == s.index));
    if let Some(section) = outside {
        return Err(NegotiateError::NotBundled {
            mid: section.label(),
        });
    }
    let mut mids: Vec<String> = Vec::with_capacity(in_group.len());
    for section in &in_group {
        let mid = section.own("mid").unwrap_or_default();
        if !mids.iter().any(|m| m == mid) {
            mids.push(mid.to_owned());
        }
    }
    let tagged = in_group.first().map_or(0, |s| s.index);
    Ok((mids, tagged))
}

/// Decides section by section, and keeps count.
struct Reader<'p> {
    direction: Direction,
    policy: &'p Policy,
    media: Vec<MediaSection>,
    data: Option<DataSection>,
}

impl Reader<'_> {
    fn read(&mut self, section: &Section<'_>) -> Result<LineKind, NegotiateError> {
        // Port 0 means disabled, but not in a section that lives only in the
        // bundle (RFC 9143 §6).
        if section.media.port == 0 && !section.has("bundle-only") {
            return Ok(rejected(section));
        }
        match section.media.media.as_str() {
            "audio" => self.media(section, MediaKind::Audio),
            "video" => self.media(section, MediaKind::Video),
            "application" => Ok(self.data(section)),
            _ => Ok(rejected(section)),
        }
    }

    fn media(
        &mut self,
        section: &Section<'_>,
        kind: MediaKind,
    ) -> Result<LineKind, NegotiateError> {
        let count = self.media.iter().filter(|m| m.kind == kind).count();
        match self.direction {
            Direction::Publish if count > 0 => {
                return Err(NegotiateError::TwoTracksOfKind { kind });
            }
            Direction::View => {
                let limit = match kind {
                    MediaKind::Audio => self.policy.max_view_audio,
                    MediaKind::Video => self.policy.max_view_video,
                };
                if count >= limit {
                    return Ok(rejected(section));
                }
            }
            Direction::Publish => {}
        }
        self.check_direction(section)?;
        if !is_rtp(&section.media.proto) {
            return Err(NegotiateError::UnsupportedProtocol {
                mid: section.label(),
                proto: section.media.proto.clone(),
            });
        }

        let found = codecs::read(section, kind, self.direction)?;
        let extensions = extensions::read(section, self.direction);
        let (layers, ssrcs) = match self.direction {
            Direction::Publish if kind == MediaKind::Video => {
                let types: Vec<u8> = found.payloads.types().collect();
                (simulcast::read(section, &types)?, ssrcs::read(section))
            }
            Direction::Publish => (Vec::new(), ssrcs::read(section)),
            Direction::View => (Vec::new(), Vec::new()),
        };
        let layer_ssrcs = match kind {
            MediaKind::Video if layers.is_empty() => ssrcs::simulcast(section, &ssrcs),
            _ => Vec::new(),
        };
        let mid = section.label();
        if self.direction == Direction::Publish && self.media.iter().any(|m| m.mid == mid) {
            return Err(NegotiateError::BadAttribute {
                place: mid,
                why: "a=mid is that of another section too (RFC 9143 §5)".to_owned(),
            });
        }
        if self.direction == Direction::Publish
            && let Some(pt) = found.payloads.types().find(|pt| self.uses(*pt))
        {
            return Err(NegotiateError::BadAttribute {
                place: mid,
                why: format!(
                    "payload type {pt} is another section's too, where one transport has one meaning for it (RFC 9143 §9.1)"
                ),
            });
        }
        let at = self.media.len();
        self.media.push(MediaSection {
            mid,
            index: section.index,
            kind,
            codecs: found.codecs,
            extensions: extensions.iter().map(|e| (e.id, e.extension)).collect(),
            rids: layers.iter().map(|l| l.rid.clone()).collect(),
            layer_ssrcs,
            ssrcs,
            rtcp_rsize: section.has("rtcp-rsize"),
            mixed_extensions: section.inherited("extmap-allow-mixed").is_some(),
        });
        Ok(LineKind::Media(MediaLine {
            at,
            payloads: found.payloads,
            extensions,
            layers,
            allow_mixed: section.has("extmap-allow-mixed"),
        }))
    }

    /// A section before has that payload type.
    fn uses(&self, pt: u8) -> bool {
        let codecs = self.media.iter().flat_map(|m| &m.codecs);
        let mut types = codecs.flat_map(|c| [Some(c.pt), c.rtx_pt, c.red_pt]);
        types.any(|used| used == Some(pt))
    }

    /// Direction attributes are inherited, and `sendrecv` is the default
    /// (RFC 8866 §6.7).
    fn check_direction(&self, section: &Section<'_>) -> Result<(), NegotiateError> {
        const WAYS: [&str; 4] = ["sendrecv", "sendonly", "recvonly", "inactive"];
        let own = WAYS.into_iter().find(|way| section.has(way));
        let found = own
            .or_else(|| {
                WAYS.into_iter()
                    .find(|way| section.inherited(way).is_some())
            })
            .unwrap_or("sendrecv");
        match (self.direction, found) {
            (_, "sendrecv") | (Direction::Publish, "sendonly") | (Direction::View, "recvonly") => {
                Ok(())
            }
            (expected, found) => Err(NegotiateError::WrongDirection {
                mid: section.label(),
                found,
                expected,
            }),
        }
    }

    /// A data channel section as RFC 8841 writes it, the first if allowed.
    fn data(&mut self, section: &Section<'_>) -> LineKind {
        let is_channel = section.formats().any(|f| f == "webrtc-datachannel")
            && section.media.proto.ends_with("/DTLS/SCTP");
        if !is_channel || !self.policy.data_channels || self.data.is_some() {
            return rejected(section);
        }
        self.data = Some(DataSection {
            mid: section.label(),
            sctp_port: section
                .own("sctp-port")
                .and_then(|port| port.parse().ok())
                .filter(|port| *port > 0)
                .unwrap_or(5000),
        });
        LineKind::Data
    }
}

/// All RTP profiles are taken for the secure one with feedback (RFC 8829 §5.1.2);
/// the fingerprint, which is required, says that it is.
pub(super) fn is_rtp(proto: &str) -> bool {
    matches!(
        proto.rsplit_once("RTP/"),
        Some((_, "SAVPF" | "SAVP" | "AVPF" | "AVP"))
    )
}

/// Port 0. A rejected section needs one format, and any will do (RFC 3264 §6).
fn rejected(section: &Section<'_>) -> LineKind {
    let first = section.formats().next().filter(|f| f.len() <= MAX_TOKEN);
    LineKind::Rejected {
        formats: first.unwrap_or("0").to_owned(),
    }
}
