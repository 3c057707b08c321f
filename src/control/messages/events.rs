//! What a worker answers and tells by itself.

use std::sync::Arc;
use std::time::Instant;

use super::{CloseReason, WorkerSnapshot};
use crate::codec::Codec;
use crate::peer::negotiate::{IceCredentials, LocalTransport};
use crate::units::{MediaKind, ParticipantId, RequestId, SessionKey};

/// Why a worker refused a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// The worker's session table is full.
    #[error("this worker has no room for another session")]
    Full,
    /// There is no such session (any more).
    #[error("there is no such session")]
    UnknownSession,
    /// The protocol engine could not be set up.
    #[error("the session could not be set up")]
    Setup,
    /// What is watched has no such encoding or layer.
    #[error("there is no such layer")]
    UnknownLayer,
    /// The session has no such section.
    #[error("the session has no such media section")]
    UnknownMedia,
}

/// A worker's answer to a request.
#[derive(Debug, Clone)]
pub enum Reply {
    /// The session exists; its transport goes into the SDP answer.
    Opened {
        /// Names it in later commands.
        key: SessionKey,
        /// Our ICE credentials and SSRCs.
        local: LocalTransport,
    },
    /// The new local credentials after an ICE restart.
    Restarted {
        /// They go into the answering fragment.
        ice: IceCredentials,
    },
    /// Totals and rooms.
    Snapshot(Box<WorkerSnapshot>),
    /// The viewer may connect.
    Answered,
    /// The wish is noted; the switch comes with the next frame that allows it.
    LayersChosen,
    /// The command was not carried out.
    Refused(Refusal),
}

/// From a worker to the control plane.
#[derive(Debug, Clone)]
pub enum Event {
    /// Answers a request.
    Reply {
        /// The request.
        request: RequestId,
        /// The answer.
        reply: Reply,
    },
    /// ICE and DTLS are up.
    Connected {
        /// The session.
        key: SessionKey,
    },
    /// The session is gone; its key is dead.
    Closed {
        /// The session.
        key: SessionKey,
        /// Why.
        reason: CloseReason,
    },
    /// A publisher's track sends this codec, first or anew.
    TrackCodec {
        /// The publishing session.
        key: SessionKey,
        /// The track's kind.
        kind: MediaKind,
        /// What arrives now.
        codec: Codec,
    },
    /// A viewer's slot got its first media from a publisher (again).
    ViewerActive {
        /// The viewing session.
        key: SessionKey,
    },
    /// What a viewer watches has gone, or can't be sent to it.
    ViewerInactive {
        /// The viewing session.
        key: SessionKey,
        /// Why nothing comes.
        why: InactiveReason,
    },
    /// Others than before are in the slots of a viewer of a room.
    SlotsChanged {
        /// The viewing session.
        key: SessionKey,
        /// For each slot its `a=mid`, and whom it shows now.
        slots: Vec<(Arc<str>, Option<ParticipantId>)>,
    },
    /// What a viewer can choose from, or what was chosen for it, has changed:
    /// the next snapshot tells.
    LayersChanged {
        /// The viewing session.
        key: SessionKey,
    },
}

/// Why a viewer receives nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InactiveReason {
    /// Nobody publishes what it watches.
    NoPublisher,
    /// It did not negotiate the codec that the publisher sends.
    Codec {
        /// Audio or video.
        kind: MediaKind,
        /// The publisher's codec.
        publishes: Codec,
    },
    /// Its path carries too little for even the lowest layer; sound goes on.
    Bandwidth,
    /// Pictures come of the publisher, but none that a decoder can start with.
    Keyframe {
        /// When the wait began.
        since: Instant,
        /// When the publisher's next keyframe comes by itself, as far as its former ones tell.
        expected: Option<Instant>,
    },
}
