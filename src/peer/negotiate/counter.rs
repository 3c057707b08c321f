//! Counter-offers (draft-ietf-wish-whep, "Server Sends Counter-offer"): an
//! offer of our own to a viewer, and the viewer's answer to it.

use std::fmt::Write;

use super::answer::{ICE_OPTIONS, write_offered_m_line, write_stream};
use super::context::AnswerContext;
use super::error::NegotiateError;
use super::offer::{bundle, bundle_group, check_tokens, is_rtp, peer_keys};
use super::syntax::{self, Section};
use super::types::{
    AnswerNames, Direction, Feedback, Fingerprint, HeaderExtension, IceCredentials, LocalTransport,
    MediaSection, Negotiated, NegotiatedCodec, PeerKeys,
};
use super::{codecs, extensions, transport};
use crate::codec::Codec;
use crate::units::MediaKind;

/// What is wrong with an answer to a counter-offer, in words for whoever sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerError(pub NegotiateError);

impl std::fmt::Display for AnswerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The rules and their words are those of offers.
        let text = self.0.to_string();
        let text = text
            .replace("the offer", "the answer")
            .replace("an offer", "an answer")
            .replace("SDP offer", "SDP answer")
            .replace("WebRTC offer", "WebRTC answer");
        f.write_str(&text)
    }
}

impl std::error::Error for AnswerError {}

/// A payload format as we offer it: codec, channels, `a=rtpmap` and `a=fmtp`.
type Offered = (Codec, u8, &'static str, &'static str);

/// Every codec that can be forwarded, in the forms that publishers send.
const VIDEO: [Offered; 9] = [
    (Codec::Vp8, 1, "VP8/90000", ""),
    (
        Codec::H264,
        1,
        "H264/90000",
        "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
    ),
    (
        Codec::H264,
        1,
        "H264/90000",
        "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f",
    ),
    (
        Codec::H264,
        1,
        "H264/90000",
        "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=4d001f",
    ),
    (
        Codec::H264,
        1,
        "H264/90000",
        "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=64001f",
    ),
    (Codec::Vp9, 1, "VP9/90000", "profile-id=0"),
    (Codec::Vp9, 1, "VP9/90000", "profile-id=2"),
    (Codec::Av1, 1, "AV1/90000", "level-idx=5;profile=0;tier=0"),
    (
        Codec::H265,
        1,
        "H265/90000",
        "level-id=180;profile-id=1;tier-flag=0;tx-mode=SRST",
    ),
];
const AUDIO: [Offered; 4] = [
    (
        Codec::Opus,
        2,
        "opus/48000/2",
        "minptime=10;useinbandfec=1;sprop-stereo=1",
    ),
    (Codec::G722, 1, "G722/8000", ""),
    (Codec::Pcmu, 1, "PCMU/8000", ""),
    (Codec::Pcma, 1, "PCMA/8000", ""),
];

/// RED around Opus (RFC 2198).
const RED: u8 = 63;

/// Header extensions with their ids: the same in both sections (RFC 8843 §8.2).
const EXTENSIONS: [(u8, HeaderExtension); 10] = [
    (1, HeaderExtension::Mid),
    (2, HeaderExtension::AbsSendTime),
    (3, HeaderExtension::TransportWideCc),
    (4, HeaderExtension::AbsCaptureTime),
    (5, HeaderExtension::AudioLevel),
    (6, HeaderExtension::VideoOrientation),
    (7, HeaderExtension::PlayoutDelay),
    (8, HeaderExtension::DependencyDescriptor),
    (9, HeaderExtension::ColorSpace),
    (10, HeaderExtension::VideoContentType),
];

fn of_use(extension: HeaderExtension, kind: MediaKind) -> bool {
    use HeaderExtension as E;
    match extension {
        E::Mid | E::AbsSendTime | E::TransportWideCc | E::AbsCaptureTime => true,
        E::AudioLevel => kind == MediaKind::Audio,
        _ => kind == MediaKind::Video,
    }
}

/// An offer of our own: one audio and one video section, every codec that can
/// be forwarded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CounterOffer {
    negotiated: Negotiated,
}

impl CounterOffer {
    /// An offer with `preferred` codecs first in their sections.
    pub fn new(preferred: &[Codec]) -> Self {
        let section = |index: usize, kind, list: &[Offered]| {
            let mut list: Vec<&Offered> = list.iter().collect();
            list.sort_by_key(|(codec, ..)| !preferred.contains(codec));
            // Dynamic payload types: 96 and up for one section, 110 and up for the other.
            let (mut pt, step) = match kind {
                MediaKind::Video => (96, 2),
                MediaKind::Audio => (120, 1),
            };
            let mut codecs = Vec::with_capacity(list.len());
            for &&(codec, channels, _, fmtp) in &list {
                let own = match codec {
                    Codec::Pcmu => 0,
                    Codec::Pcma => 8,
                    Codec::G722 => 9,
                    _ => {
                        pt += step;
                        pt - step
                    }
                };
                codecs.push(NegotiatedCodec {
                    pt: own,
                    rtx_pt: (kind == MediaKind::Video).then_some(own + 1),
                    red_pt: (codec == Codec::Opus).then_some(RED),
                    codec,
                    channels,
                    fmtp: fmtp.into(),
                    feedback: feedback(kind),
                });
            }
            let extensions = EXTENSIONS.into_iter().filter(|(_, e)| of_use(*e, kind));
            MediaSection {
                mid: index.to_string(),
                index,
                kind,
                codecs,
                extensions: extensions.collect(),
                rids: Vec::new(),
                layer_ssrcs: Vec::new(),
                ssrcs: Vec::new(),
                rtcp_rsize: true,
                mixed_extensions: true,
            }
        };
        let media = vec![
            section(0, MediaKind::Audio, &AUDIO),
            section(1, MediaKind::Video, &VIDEO),
        ];
        // Nobody has answered yet: credentials that no peer can have.
        let nobody = IceCredentials {
            ufrag: String::new(),
            pwd: String::new(),
        };
        Self {
            negotiated: Negotiated {
                direction: Direction::View,
                ice: nobody,
                fingerprint: Fingerprint {
                    algorithm: "sha-256".to_owned(),
                    bytes: vec![0; 32],
                },
                peer_keys: PeerKeys::Unknown,
                dtls_active: false,
                media,
                data: None,
            },
        }
    }

    /// What is reserved for whoever will answer.
    pub fn negotiated(&self) -> &Negotiated {
        &self.negotiated
    }

    /// The mids of its BUNDLE group.
    pub fn bundle_mids(&self) -> Vec<String> {
        self.negotiated
            .media
            .iter()
            .map(|m| m.mid.clone())
            .collect()
    }

    /// Writes it: CRLF throughout, begins with `v=0`.
    pub fn write(
        &self,
        context: &AnswerContext,
        local: &LocalTransport,
        names: &AnswerNames<'_>,
    ) -> String {
        let mut out = String::with_capacity(super::MAX_ANSWER);
        let _ = write!(
            out,
            "v=0\r\no=- {} 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {}\r\na=extmap-allow-mixed\r\na=ice-lite\r\n",
            names.session_id & (u64::MAX >> 1),
            self.bundle_mids().join(" "),
        );
        out.push_str(ICE_OPTIONS);
        for section in &self.negotiated.media {
            self.write_section(&mut out, section, context, local, names);
        }
        out
    }

    fn write_section(
        &self,
        out: &mut String,
        section: &MediaSection,
        context: &AnswerContext,
        local: &LocalTransport,
        names: &AnswerNames<'_>,
    ) {
        let mut types: Vec<u8> = Vec::new();
        for codec in &section.codecs {
            types.push(codec.pt);
            types.extend(codec.red_pt);
            types.extend(codec.rtx_pt);
        }
        write_offered_m_line(out, section.kind, &types, context);
        let _ = write!(
            out,
            "a=mid:{}\r\na=ice-ufrag:{}\r\na=ice-pwd:{}\r\n",
            section.mid, local.ice.ufrag, local.ice.pwd
        );
        out.push_str(&context.fingerprint);
        out.push_str("a=setup:actpass\r\n");
        if section.index == 0 {
            out.push_str(&context.candidates);
        }
        out.push_str("a=sendonly\r\na=rtcp-mux\r\na=rtcp-mux-only\r\na=rtcp-rsize\r\n");
        for (id, extension) in &section.extensions {
            let _ = write!(out, "a=extmap:{id} {}\r\n", extension.uri());
        }
        for codec in &section.codecs {
            write_codec(out, codec);
        }
        let ssrcs = local.ssrcs.get(section.index);
        write_stream(out, section.index, section, ssrcs, names);
    }

    /// Reads the answer. Nothing of the text makes this panic, and its work is
    /// bounded by the text's length.
    ///
    /// # Errors
    /// Why it is no answer to this offer.
    pub fn read_answer(&self, sdp: &str) -> Result<Negotiated, AnswerError> {
        self.read(sdp).map_err(AnswerError)
    }

    fn read(&self, sdp: &str) -> Result<Negotiated, NegotiateError> {
        let session = syntax::parse(sdp)?;
        let sections: Vec<Section<'_>> = session.sections().collect();
        if sections.is_empty() {
            return Err(NegotiateError::NoMedia);
        }
        check_tokens(&sections)?;
        if session.has("ice-lite") {
            return Err(NegotiateError::BothIceLite);
        }
        let offered = &self.negotiated.media;
        if sections.len() != offered.len() {
            return Err(NegotiateError::BadAttribute {
                place: "session".to_owned(),
                why: format!(
                    "there are {} m= sections where {} were offered",
                    sections.len(),
                    offered.len()
                ),
            });
        }
        let mut media = Vec::new();
        let mut accepted = Vec::new();
        for (section, ours) in sections.iter().zip(offered) {
            if let Some(agreed) = read_section(section, ours)? {
                media.push(agreed);
                accepted.push(*section);
            }
        }
        let (_, tagged) = bundle(&bundle_group(&session), &accepted)?;
        let mut order: Vec<Section<'_>> = accepted
            .iter()
            .copied()
            .filter(|s| s.index == tagged)
            .collect();
        order.extend(accepted.iter().filter(|s| s.index != tagged));
        let transport = transport::read(&order)?;
        Ok(Negotiated {
            direction: Direction::View,
            ice: transport.ice,
            fingerprint: transport.fingerprint,
            peer_keys: peer_keys(session.origin()),
            dtls_active: transport.dtls_active,
            media,
            data: None,
        })
    }
}

fn feedback(kind: MediaKind) -> Feedback {
    let video = kind == MediaKind::Video;
    Feedback {
        nack: video,
        pli: video,
        fir: video,
        remb: video,
        transport_cc: true,
    }
}

fn write_codec(out: &mut String, codec: &NegotiatedCodec) {
    let pt = codec.pt;
    let known = VIDEO.iter().chain(&AUDIO);
    let rtpmap = known
        .filter(|(c, ..)| *c == codec.codec)
        .map(|(_, _, rtpmap, _)| *rtpmap)
        .next()
        .unwrap_or_default();
    let _ = write!(out, "a=rtpmap:{pt} {rtpmap}\r\n");
    codecs::write_feedback(out, &pt.to_string(), codec.feedback);
    if !codec.fmtp.is_empty() {
        let _ = write!(out, "a=fmtp:{pt} {}\r\n", codec.fmtp);
    }
    if let Some(red) = codec.red_pt {
        let _ = write!(
            out,
            "a=rtpmap:{red} red/48000/2\r\na=fmtp:{red} {pt}/{pt}\r\n"
        );
    }
    if let Some(rtx) = codec.rtx_pt {
        let _ = write!(out, "a=rtpmap:{rtx} rtx/90000\r\na=fmtp:{rtx} apt={pt}\r\n");
    }
}

/// One section of the answer; `None` when it was rejected.
fn read_section(
    section: &Section<'_>,
    ours: &MediaSection,
) -> Result<Option<MediaSection>, NegotiateError> {
    let bad = |why: &str| NegotiateError::BadAttribute {
        place: section.label(),
        why: why.to_owned(),
    };
    if section.media.media != ours.kind.as_str() {
        return Err(bad("its kind is not that of the offer's section"));
    }
    if section.own("mid").is_some_and(|mid| mid != ours.mid) {
        return Err(bad("its a=mid is not that of the offer's section"));
    }
    if section.media.port == 0 && !section.has("bundle-only") {
        return Ok(None);
    }
    let found = ["recvonly", "sendrecv", "sendonly", "inactive"]
        .into_iter()
        .find(|way| section.inherited(way).is_some());
    match found {
        // Nothing said is sendrecv (RFC 8866 §6.7); only what we send is meant.
        None | Some("recvonly" | "sendrecv") => {}
        Some("inactive") => return Ok(None),
        Some(found) => {
            return Err(NegotiateError::WrongDirection {
                mid: section.label(),
                found,
                expected: Direction::View,
            });
        }
    }
    if !is_rtp(&section.media.proto) {
        return Err(NegotiateError::UnsupportedProtocol {
            mid: section.label(),
            proto: section.media.proto.clone(),
        });
    }
    let mut answered = codecs::read(section, ours.kind, Direction::View)?.codecs;
    let same = |theirs: &NegotiatedCodec| {
        let mut offered = ours.codecs.iter();
        offered.any(|mine| (mine.pt, mine.codec) == (theirs.pt, theirs.codec))
    };
    answered.retain(same);
    if answered.is_empty() {
        return Err(bad("it keeps none of the offer's payload types"));
    }
    let extensions = extensions::read(section, Direction::View)
        .into_iter()
        .map(|e| (e.id, e.extension))
        .filter(|pair| ours.extensions.contains(pair))
        .collect();
    Ok(Some(MediaSection {
        mid: ours.mid.clone(),
        index: ours.index,
        kind: ours.kind,
        codecs: answered,
        extensions,
        rids: Vec::new(),
        layer_ssrcs: Vec::new(),
        ssrcs: Vec::new(),
        rtcp_rsize: section.has("rtcp-rsize"),
        mixed_extensions: section.inherited("extmap-allow-mixed").is_some(),
    }))
}

#[cfg(test)]
#[path = "counter_tests.rs"]
mod tests;
