//! Why an offer or a fragment was refused, in words for whoever sent it.

use crate::units::MediaKind;

use super::types::Direction;

/// Why an offer gets no answer. The message says what is wrong and what to
/// change; [`NegotiateError::status`] gives the HTTP status.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NegotiateError {
    /// The text is not SDP (RFC 8866), or an attribute breaks its grammar.
    #[error(
        "the offer does not parse: line {line}: {why}; send an SDP offer as RFC 8866 writes it"
    )]
    Malformed {
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// An attribute of a section, or of the session, can't be right.
    #[error("the offer does not parse: {place}: {why}; send the offer as the WebRTC stack made it")]
    BadAttribute {
        /// `session` or the section's mid or index.
        place: String,
        /// What is wrong with it.
        why: String,
    },
    /// The offer is larger than any WebRTC stack makes it.
    #[error(
        "the offer is too large: {what} are limited to {limit}; offer fewer codecs or sections"
    )]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much is allowed.
        limit: usize,
    },
    /// There is no m-line.
    #[error("the offer has no m= section; add an audio or video section")]
    NoMedia,
    /// No section has ICE credentials.
    #[error(
        "the offer has no a=ice-ufrag and a=ice-pwd; wait for the local description before sending it"
    )]
    MissingIce,
    /// No section has a certificate fingerprint.
    #[error(
        "the offer has no a=fingerprint; offer DTLS-SRTP (UDP/TLS/RTP/SAVPF) with a certificate"
    )]
    MissingFingerprint,
    /// All fingerprints use hashes other than SHA-256.
    #[error("the offer's fingerprints use {offered}; offer a sha-256 fingerprint")]
    UnsupportedFingerprint {
        /// The hash functions offered.
        offered: String,
    },
    /// Every section is disabled, or of a kind this server has no use for.
    #[error("the offer has no audio or video section that is enabled; enable one")]
    NothingUsable,
    /// A section's media flow the other way, or not at all.
    #[error(
        "section {mid} is {found}; {} must be {}",
        endpoint(.expected), wanted(.expected)
    )]
    WrongDirection {
        /// The section.
        mid: String,
        /// The direction offered.
        found: &'static str,
        /// What the endpoint is for.
        expected: Direction,
    },
    /// A publisher offered two sections of one kind.
    #[error(
        "the offer has more than one {kind} section; publish one audio and one video track a session, and simulcast layers by a=simulcast"
    )]
    TwoTracksOfKind {
        /// Audio or video.
        kind: MediaKind,
    },
    /// More simulcast layers than a track can have.
    #[error("section {mid} has {offered} simulcast layers; offer at most {limit}")]
    TooManyLayers {
        /// The section.
        mid: String,
        /// How many were offered.
        offered: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// A section has no codec that this server forwards.
    #[error(
        "the {kind} section has no codec in common: it offers {}, the server takes {supported}; enable one of these",
        list(.offered)
    )]
    NoCommonCodec {
        /// Audio or video.
        kind: MediaKind,
        /// Encoding names offered.
        offered: Vec<String>,
        /// Encoding names that would have been accepted.
        supported: String,
    },
    /// A section's transport protocol is not RTP over DTLS.
    #[error("section {mid} uses {proto}; offer UDP/TLS/RTP/SAVPF")]
    UnsupportedProtocol {
        /// The section.
        mid: String,
        /// The m-line's protocol.
        proto: String,
    },
    /// Sections would need a transport each.
    #[error(
        "section {mid} is outside the BUNDLE group; put every section into one group (bundlePolicy max-bundle)"
    )]
    NotBundled {
        /// The section.
        mid: String,
    },
    /// The offer comes from an ICE-lite agent, which this server is too.
    #[error("the offer has a=ice-lite, and so has this server; connect with a full ICE agent")]
    BothIceLite,
    /// Even with one codec a section the answer would be longer than clients read.
    #[error("the answer would be longer than {limit} bytes; offer fewer sections")]
    AnswerTooLong {
        /// The longest answer in bytes.
        limit: usize,
    },
}

impl NegotiateError {
    /// The HTTP status: 400 when the offer is not a WebRTC offer at all, 422
    /// when it is one that this server can't meet (RFC 9725 §4.2).
    pub fn status(&self) -> u16 {
        match self {
            Self::Malformed { .. }
            | Self::BadAttribute { .. }
            | Self::TooLarge { .. }
            | Self::NoMedia
            | Self::MissingIce
            | Self::MissingFingerprint => 400,
            Self::UnsupportedFingerprint { .. }
            | Self::NothingUsable
            | Self::WrongDirection { .. }
            | Self::TwoTracksOfKind { .. }
            | Self::TooManyLayers { .. }
            | Self::NoCommonCodec { .. }
            | Self::UnsupportedProtocol { .. }
            | Self::NotBundled { .. }
            | Self::BothIceLite
            | Self::AnswerTooLong { .. } => 422,
        }
    }
}

/// Why a trickle fragment was refused; all of it is HTTP status 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FragmentError {
    /// The text is not an SDP fragment (RFC 8840 §9).
    #[error("the fragment does not parse: line {line}: {why}")]
    Malformed {
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// An attribute breaks its grammar.
    #[error("the fragment does not parse: a={attribute}: {why}")]
    BadAttribute {
        /// The attribute's name.
        attribute: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Longer than any ICE agent makes it.
    #[error("the fragment is too large: {what} are limited to {limit}")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much is allowed.
        limit: usize,
    },
    /// Neither credentials nor candidates nor their end.
    #[error(
        "the fragment has no ICE credentials, no candidate and no a=end-of-candidates; send at least one of them"
    )]
    Empty,
}

impl FragmentError {
    /// The HTTP status, 400 for all.
    pub fn status(&self) -> u16 {
        400
    }
}

fn endpoint(direction: &Direction) -> &'static str {
    match direction {
        Direction::Publish => "an offer to publish",
        Direction::View => "an offer to watch",
    }
}

fn wanted(direction: &Direction) -> &'static str {
    match direction {
        Direction::Publish => "sendonly",
        Direction::View => "recvonly",
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        "nothing known".to_owned()
    } else {
        names.join(", ")
    }
}
