//! What the control plane tells a worker to do.

use std::sync::Arc;

use super::CloseReason;
use crate::peer::negotiate::{IceCredentials, Negotiated};
use crate::units::{ParticipantId, RequestId, RoomId, SessionKey};

/// What a viewer watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ViewTarget {
    /// The room: who speaks in it, as many as there are slots.
    Room,
    /// One participant, present or awaited.
    Participant(ParticipantId),
}

/// What a session does in its room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SessionRole {
    /// Publishes as this participant.
    Publisher(ParticipantId),
    /// Watches.
    Viewer(ViewTarget),
}

/// A new session.
#[derive(Debug, Clone)]
pub struct OpenSession {
    /// Whom to answer.
    pub request: RequestId,
    /// Its room.
    pub room: RoomId,
    /// What it does there.
    pub role: SessionRole,
    /// Who publishes, or who watches where its token tells.
    pub identity: Option<Arc<str>>,
    /// What offer and server agreed on.
    pub negotiated: Negotiated,
    /// The session's public id, shortened, for logs.
    pub log_id: Arc<str>,
}

/// From the control plane to a worker.
#[derive(Debug, Clone)]
pub enum Command {
    /// Open a session; answered by [`Reply::Opened`](super::Reply::Opened) or [`Reply::Refused`](super::Reply::Refused).
    Open(Box<OpenSession>),
    /// ICE restart (RFC 8445 §9); answered by [`Reply::Restarted`](super::Reply::Restarted) or [`Reply::Refused`](super::Reply::Refused).
    RestartIce {
        /// Whom to answer.
        request: RequestId,
        /// The session.
        key: SessionKey,
        /// The peer's new credentials.
        ice: IceCredentials,
    },
    /// End a session with DTLS `close_notify`; answered by [`Event::Closed`](super::Event::Closed).
    Close {
        /// The session.
        key: SessionKey,
        /// Why, for the event and the log.
        reason: CloseReason,
    },
    /// A viewer's answer to the offer that it was made: its session begins.
    /// Answered by [`Reply::Answered`](super::Reply::Answered) or [`Reply::Refused`](super::Reply::Refused).
    Answer {
        /// Whom to answer.
        request: RequestId,
        /// The viewing session.
        key: SessionKey,
        /// What was agreed on, instead of what it was opened with; its sections
        /// are some of those.
        negotiated: Box<Negotiated>,
    },
    /// What a viewer wants of one of its slots; answered by [`Reply::LayersChosen`](super::Reply::LayersChosen) or [`Reply::Refused`](super::Reply::Refused).
    ChooseLayers {
        /// Whom to answer.
        request: RequestId,
        /// The viewing session.
        key: SessionKey,
        /// The slot's `a=mid`.
        mid: Arc<str>,
        /// The wish; an empty one returns to automatic.
        wish: LayerWish,
    },
    /// Totals and the state of every room; answered by [`Reply::Snapshot`](super::Reply::Snapshot).
    Snapshot {
        /// Whom to answer.
        request: RequestId,
    },
}

/// What a viewer wants of a slot's layers. All fields empty: the best that its
/// estimate carries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LayerWish {
    /// This simulcast encoding and no other while it is alive.
    pub rid: Option<String>,
    /// This spatial layer, from 0, with those below it.
    pub spatial: Option<u8>,
    /// This temporal layer, from 0, with those below it.
    pub temporal: Option<u8>,
    /// No spatial layer above this one.
    pub max_spatial: Option<u8>,
    /// No temporal layer above this one.
    pub max_temporal: Option<u8>,
    /// The box in pixels that the picture is shown in (width, height): nothing larger
    /// than the smallest layer that fills it is of use.
    pub max_size: Option<(u16, u16)>,
}

impl LayerWish {
    /// Nothing is wished for: the choice is automatic.
    pub fn is_automatic(&self) -> bool {
        *self == Self::default()
    }
}
