//! Why the control plane refuses.

use std::time::Duration;

use crate::codec::Codec;
use crate::units::MediaKind;

/// Why a request could not be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// The server is stopping.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// A queue or a session table is full, or a worker did not answer in time.
    #[error("the server is overloaded: {0}")]
    Overloaded(&'static str),
    /// A limit on sessions or rooms is reached.
    #[error("{0}")]
    Limit(String),
    /// The room does not exist, and the request may not make it.
    #[error("there is no such room")]
    NoSuchRoom,
    /// Nobody publishes what the viewer wants, and waiting is not allowed.
    #[error("nobody publishes there")]
    NoPublisher,
    /// The viewer offered no codec that the publisher sends.
    #[error("the offer has no {kind} codec that the publisher sends")]
    CodecMismatch {
        /// Audio or video.
        kind: MediaKind,
        /// What the publisher sends, or may send.
        publishes: Vec<Codec>,
        /// What the viewer offered.
        offered: Vec<Codec>,
    },
    /// There is no such session (any more).
    #[error("there is no such session")]
    UnknownSession,
    /// The session could not be set up.
    #[error("the session could not be set up")]
    Setup,
    /// What is watched has no such encoding or layer.
    #[error("there is no such layer")]
    UnknownLayer,
    /// The session has no such section.
    #[error("the session has no such media section")]
    UnknownMedia,
    /// No random bytes for an id.
    #[error(transparent)]
    NoRandomness(#[from] super::id::NoRandomness),
}

impl ControlError {
    /// When to try again, for the `Retry-After` field; `None` when trying again can't help.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::ShuttingDown | Self::Limit(_) => Some(Duration::from_secs(5)),
            Self::Overloaded(_) | Self::NoPublisher => Some(Duration::from_secs(2)),
            Self::NoRandomness(_) => Some(Duration::from_secs(1)),
            Self::NoSuchRoom
            | Self::CodecMismatch { .. }
            | Self::UnknownSession
            | Self::Setup
            | Self::UnknownLayer
            | Self::UnknownMedia => None,
        }
    }
}
