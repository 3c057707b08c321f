//! What an offer and this server agreed on, in the form the worker uses.

use std::sync::Arc;

use crate::codec::Codec;
use crate::units::MediaKind;

/// Which way media flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The peer sends to us (WHIP); our answer is `recvonly`.
    Publish,
    /// We send to the peer (WHEP); our answer is `sendonly`.
    View,
}

/// ICE credentials of one side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IceCredentials {
    /// `a=ice-ufrag`.
    pub ufrag: String,
    /// `a=ice-pwd`.
    pub pwd: String,
}

/// A certificate fingerprint as in `a=fingerprint`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    /// Hash function name, lower case (`sha-256`).
    pub algorithm: String,
    /// The digest.
    pub bytes: Vec<u8>,
}

/// What kind of certificate the peer can be expected to bring to DTLS. SDP only
/// has the certificate's hash, so this is known by who wrote the offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PeerKeys {
    /// ECDSA, as RFC 8827 §6.5 wants it: the `o=` line is a browser's or that of
    /// another stack which never makes anything else by default.
    Ecdsa,
    /// Any kind, RSA too: everybody else.
    Unknown,
}

/// A header extension Weir knows, by meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HeaderExtension {
    /// `urn:ietf:params:rtp-hdrext:sdes:mid` (RFC 9143).
    Mid,
    /// `urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id` (RFC 8852).
    RtpStreamId,
    /// `urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id` (RFC 8852).
    RepairedRtpStreamId,
    /// `urn:ietf:params:rtp-hdrext:ssrc-audio-level` (RFC 6464).
    AudioLevel,
    /// `http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time`.
    AbsSendTime,
    /// `http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time`.
    AbsCaptureTime,
    /// `http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01`.
    TransportWideCc,
    /// `urn:3gpp:video-orientation`.
    VideoOrientation,
    /// `http://www.webrtc.org/experiments/rtp-hdrext/playout-delay`.
    PlayoutDelay,
    /// The AV1 dependency descriptor.
    DependencyDescriptor,
    /// `http://www.webrtc.org/experiments/rtp-hdrext/video-layers-allocation00`.
    VideoLayersAllocation,
    /// `http://www.webrtc.org/experiments/rtp-hdrext/color-space`.
    ColorSpace,
    /// `http://www.webrtc.org/experiments/rtp-hdrext/video-content-type`.
    VideoContentType,
}

impl HeaderExtension {
    const ALL: [(Self, &'static str); 13] = [
        (Self::Mid, "urn:ietf:params:rtp-hdrext:sdes:mid"),
        (
            Self::RtpStreamId,
            "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
        ),
        (
            Self::RepairedRtpStreamId,
            "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
        ),
        (
            Self::AudioLevel,
            "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
        ),
        (
            Self::AbsSendTime,
            "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
        ),
        (
            Self::AbsCaptureTime,
            "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time",
        ),
        (
            Self::TransportWideCc,
            "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
        ),
        (Self::VideoOrientation, "urn:3gpp:video-orientation"),
        (
            Self::PlayoutDelay,
            "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay",
        ),
        (
            Self::DependencyDescriptor,
            "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension",
        ),
        (
            Self::VideoLayersAllocation,
            "http://www.webrtc.org/experiments/rtp-hdrext/video-layers-allocation00",
        ),
        (
            Self::ColorSpace,
            "http://www.webrtc.org/experiments/rtp-hdrext/color-space",
        ),
        (
            Self::VideoContentType,
            "http://www.webrtc.org/experiments/rtp-hdrext/video-content-type",
        ),
    ];

    /// The extension's URI in `a=extmap`.
    pub fn uri(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(extension, _)| *extension == self)
            .map_or("", |(_, uri)| uri)
    }

    /// The extension of a URI, when Weir knows it.
    pub fn from_uri(uri: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(_, known)| *known == uri)
            .map(|(extension, _)| *extension)
    }
}

/// Which RTCP feedback both ends agreed on for a codec (`a=rtcp-fb`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Feedback {
    /// Generic NACK (RFC 4585).
    pub nack: bool,
    /// Picture loss indication (RFC 4585).
    pub pli: bool,
    /// Full intra request (RFC 5104).
    pub fir: bool,
    /// Receiver estimated maximum bitrate.
    pub remb: bool,
    /// Transport-wide congestion control.
    pub transport_cc: bool,
}

/// One payload type of an m-section, with its repair payload type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NegotiatedCodec {
    /// The payload type in the offer and in the answer.
    pub pt: u8,
    /// RTX (RFC 4588) payload type for it.
    pub rtx_pt: Option<u8>,
    /// RED (RFC 2198) payload type that wraps it (audio).
    pub red_pt: Option<u8>,
    /// The codec.
    pub codec: Codec,
    /// Channels of audio codecs, 1 otherwise.
    pub channels: u8,
    /// `a=fmtp` parameters as offered, empty when there are none. Shared: a session keeps its
    /// codecs in several places.
    pub fmtp: Arc<str>,
    /// RTCP feedback agreed on.
    pub feedback: Feedback,
}

/// An SSRC the offer announced, with its RTX SSRC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignalledSsrc {
    /// The media SSRC.
    pub ssrc: u32,
    /// The FID partner (RFC 5576 §4.2).
    pub rtx: Option<u32>,
}

/// One accepted audio or video section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaSection {
    /// `a=mid`.
    pub mid: String,
    /// Index of the m-line in the offer.
    pub index: usize,
    /// Audio or video.
    pub kind: MediaKind,
    /// Codecs both ends have, in the offer's order; never empty.
    pub codecs: Vec<NegotiatedCodec>,
    /// Agreed header extensions with their ids.
    pub extensions: Vec<(u8, HeaderExtension)>,
    /// Simulcast layers the publisher sends, in the offer's order; empty without simulcast.
    pub rids: Vec<String>,
    /// SSRCs of simulcast layers without rids (`a=ssrc-group:SIM`), each one of
    /// [`ssrcs`](Self::ssrcs); empty with rids and without simulcast.
    pub layer_ssrcs: Vec<u32>,
    /// SSRCs the offer announced for this section; empty when viewing, and often
    /// with simulcast.
    pub ssrcs: Vec<SignalledSsrc>,
    /// The offer has `a=rtcp-rsize` (RFC 5506).
    pub rtcp_rsize: bool,
    /// It has `a=extmap-allow-mixed`: header extensions of one and of two bytes may be mixed in a
    /// stream (RFC 8285 §6).
    pub mixed_extensions: bool,
}

impl MediaSection {
    /// The names of its simulcast layers, empty without simulcast: their rids, or
    /// where it has none, their places in the group.
    pub fn layer_names(&self) -> Vec<String> {
        if self.rids.is_empty() {
            (0..self.layer_ssrcs.len()).map(|i| i.to_string()).collect()
        } else {
            self.rids.clone()
        }
    }

    /// RTX was agreed on for one of its codecs at least.
    pub fn has_rtx(&self) -> bool {
        self.codecs.iter().any(|c| c.rtx_pt.is_some())
    }
}

/// The accepted data channel section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataSection {
    /// `a=mid`.
    pub mid: String,
    /// `a=sctp-port`, 5000 by default.
    pub sctp_port: u16,
}

/// What this server takes in an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Accept a data channel section.
    pub data_channels: bool,
    /// How many video sections of a viewer are accepted; further ones get port 0.
    pub max_view_video: usize,
    /// How many audio sections of a viewer are accepted; further ones get port 0.
    pub max_view_audio: usize,
}

impl Default for Policy {
    /// No data channel, and one section of each kind.
    fn default() -> Self {
        Self {
            data_channels: false,
            max_view_video: 1,
            max_view_audio: 1,
        }
    }
}

/// Names that an answer carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerNames<'a> {
    /// The session id of the `o=` line; its top bit is cleared (RFC 8829 §5.2.1).
    pub session_id: u64,
    /// The media stream id (RFC 8830), the same in every section so that a
    /// page finds both tracks in one stream. A token of at most 64 characters.
    pub stream_id: &'a str,
    /// The canonical name of our SSRCs (RFC 7022), at most 64 characters.
    pub cname: &'a str,
}

/// All that a worker needs of a successful negotiation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Negotiated {
    /// Which way media flows.
    pub direction: Direction,
    /// The peer's ICE credentials.
    pub ice: IceCredentials,
    /// The peer's certificate fingerprint.
    pub fingerprint: Fingerprint,
    /// The kind of certificate the peer can be expected to bring.
    pub peer_keys: PeerKeys,
    /// True when our side sends the DTLS ClientHello (the offer said `passive`).
    pub dtls_active: bool,
    /// The accepted audio and video sections in m-line order.
    pub media: Vec<MediaSection>,
    /// The data channel section.
    pub data: Option<DataSection>,
}

impl Negotiated {
    /// The codecs of sections of `kind`, each once, in the offer's order.
    pub fn codecs(&self, kind: MediaKind) -> Vec<Codec> {
        let mut list = Vec::new();
        for section in self.media.iter().filter(|m| m.kind == kind) {
            for codec in &section.codecs {
                if !list.contains(&codec.codec) {
                    list.push(codec.codec);
                }
            }
        }
        list
    }
}

/// Our half of the transport, chosen by the worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalTransport {
    /// Our ICE credentials; the ufrag names the worker and the slot.
    pub ice: IceCredentials,
    /// For each section of [`Negotiated::media`], the SSRCs we send with; empty when publishing.
    pub ssrcs: Vec<SignalledSsrc>,
}
