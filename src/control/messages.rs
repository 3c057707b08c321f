//! What the control plane and the workers say to each other: plain values,
//! commands in, events out, over bounded queues.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::codec::Codec;
use crate::peer::negotiate::{IceCredentials, LocalTransport, Negotiated};
use crate::units::{Bitrate, MediaKind, ParticipantId, RequestId, RoomId, SessionKey};

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
    /// Open a session; answered by [`Reply::Opened`] or [`Reply::Refused`].
    Open(Box<OpenSession>),
    /// ICE restart (RFC 8445 §9); answered by [`Reply::Restarted`] or [`Reply::Refused`].
    RestartIce {
        /// Whom to answer.
        request: RequestId,
        /// The session.
        key: SessionKey,
        /// The peer's new credentials.
        ice: IceCredentials,
    },
    /// End a session with DTLS `close_notify`; answered by [`Event::Closed`].
    Close {
        /// The session.
        key: SessionKey,
        /// Why, for the event and the log.
        reason: CloseReason,
    },
    /// A viewer's answer to the offer that it was made: its session begins.
    /// Answered by [`Reply::Answered`] or [`Reply::Refused`].
    Answer {
        /// Whom to answer.
        request: RequestId,
        /// The viewing session.
        key: SessionKey,
        /// What was agreed on, instead of what it was opened with; its sections
        /// are some of those.
        negotiated: Box<Negotiated>,
    },
    /// What a viewer wants of one of its slots; answered by [`Reply::LayersChosen`] or [`Reply::Refused`].
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
    /// Totals and the state of every room; answered by [`Reply::Snapshot`].
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

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CloseReason {
    /// DELETE on its resource.
    Deleted,
    /// Another publisher took the participant over.
    TakenOver,
    /// The server is shutting down.
    Shutdown,
    /// The peer sent DTLS `close_notify`.
    PeerClosed,
    /// Nothing authentic came from the peer for the consent time-out.
    TimedOut,
    /// It never got as far as an ICE and DTLS connection.
    NeverConnected,
    /// DTLS failed (wrong fingerprint, no common cipher, protocol error).
    DtlsFailed,
    /// An internal failure of this session.
    Internal,
}

impl CloseReason {
    /// The reason's name in metrics, logs and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::TakenOver => "taken_over",
            Self::Shutdown => "shutdown",
            Self::PeerClosed => "peer_closed",
            Self::TimedOut => "timed_out",
            Self::NeverConnected => "never_connected",
            Self::DtlsFailed => "dtls_failed",
            Self::Internal => "internal",
        }
    }
}

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

/// All a worker tells about itself, by value.
#[derive(Debug, Clone, Default)]
pub struct WorkerSnapshot {
    /// Absolute totals since start.
    pub totals: Totals,
    /// One row a publishing session.
    pub publishers: Vec<PublisherSnapshot>,
    /// One row a viewing session.
    pub viewers: Vec<ViewerSnapshot>,
}

/// Absolute counts of one worker since its start.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// Datagrams read.
    pub datagrams_in: u64,
    /// Bytes read.
    pub bytes_in: u64,
    /// Datagrams sent.
    pub datagrams_out: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// RTP packets accepted from publishers.
    pub rtp_in: u64,
    /// RTP packets sent to viewers, repairs not counted.
    pub rtp_out: u64,
    /// Repairs sent to viewers: RTX and plain resends.
    pub repairs_out: u64,
    /// Padding sent to viewers to probe their paths with.
    pub padding_out: u64,
    /// Packets asked from publishers by NACK.
    pub nacks_out: u64,
    /// Packets that viewers asked for by NACK.
    pub nacks_in: u64,
    /// Keyframe requests sent to publishers.
    pub keyframe_requests_out: u64,
    /// Keyframe requests from viewers.
    pub keyframe_requests_in: u64,
    /// What was dropped, by typed reason (name, count); reasons that never happened included.
    pub drops: Vec<(&'static str, u64)>,
    /// Nanoseconds of thread CPU used.
    pub cpu_nanos: u64,
    /// How many sessions ended, by reason.
    pub closed: Vec<(&'static str, u64)>,
}

/// A publishing session as the API shows it.
#[derive(Debug, Clone)]
pub struct PublisherSnapshot {
    /// The session.
    pub key: SessionKey,
    /// Its room.
    pub room: RoomId,
    /// Whose tracks they are.
    pub participant: ParticipantId,
    /// ICE and DTLS are up.
    pub connected: bool,
    /// Round trip, when known.
    pub rtt: Option<Duration>,
    /// Its tracks.
    pub tracks: Vec<TrackSnapshot>,
}

/// A track as the API shows it.
#[derive(Debug, Clone)]
pub struct TrackSnapshot {
    /// Audio or video.
    pub kind: MediaKind,
    /// The codec that arrives; the negotiated first choice before media came.
    pub codec: Codec,
    /// True once media came.
    pub receiving: bool,
    /// How its losses can be repaired.
    pub repair: TrackRepair,
    /// One row an encoding: one without simulcast, one a layer with it.
    pub encodings: Vec<EncodingSnapshot>,
}

/// Which repairs a publisher's offer allows for a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TrackRepair {
    /// Lost packets can be asked for (generic NACK).
    pub nack: bool,
    /// They come again on a stream of their own (RTX).
    pub rtx: bool,
}

/// An encoding as the API shows it.
#[derive(Debug, Clone, Default)]
pub struct EncodingSnapshot {
    /// The layer's rid, with simulcast.
    pub rid: Option<String>,
    /// The SSRC it comes with, once seen.
    pub ssrc: Option<u32>,
    /// Packets arrived within the last two seconds.
    pub active: bool,
    /// Over the last second.
    pub bitrate: Bitrate,
    /// Picture size in pixels, once a keyframe told it.
    pub size: Option<(u16, u16)>,
    /// Pictures per second over the last seconds (video).
    pub frame_rate: f32,
    /// Packets arrived.
    pub packets: u64,
    /// Packets that never arrived, repairs taken into account.
    pub lost: u64,
    /// Lost share over the last seconds, 0 to 1.
    pub loss: f32,
    /// Time between the two newest keyframes, once known.
    pub keyframe_interval: Option<Duration>,
    /// What can be chosen of it, lowest first: one row a spatial and temporal layer that
    /// arrives; a single row without layers.
    pub layers: Vec<LayerSnapshot>,
    /// What tells of the publisher's set-up.
    pub health: EncodingHealth,
}

/// A layer of an encoding together with all those below it.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerSnapshot {
    /// Spatial layer, from 0.
    pub spatial: u8,
    /// Temporal layer, from 0.
    pub temporal: u8,
    /// What it takes to send, over the last seconds.
    pub bitrate: Bitrate,
    /// Picture size in pixels, once known.
    pub size: Option<(u16, u16)>,
    /// Pictures per second over the last seconds.
    pub frame_rate: f32,
}

/// What an encoding's packets tell of its publisher's set-up, for the doctor.
/// Shares are from 0 to 1, over the last seconds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EncodingHealth {
    /// Since its first packet.
    pub receiving_for: Option<Duration>,
    /// Since its newest packet.
    pub silent_for: Option<Duration>,
    /// B-frames came lately.
    pub b_frames: bool,
    /// Keyframes so far.
    pub keyframes: u64,
    /// Keyframes came without the parameter sets that a decoder needs, and the
    /// server has none to add.
    pub parameter_sets_missing: bool,
    /// The encoder's own pace: the shorter of the two newest times between
    /// keyframes that nobody had asked for.
    pub own_keyframe_interval: Option<Duration>,
    /// Since the newest keyframe.
    pub keyframe_age: Option<Duration>,
    /// Whether keyframe requests bring keyframes, once one showed it.
    pub answers_requests: Option<bool>,
    /// Packets that did not come in their place.
    pub missing: f32,
    /// Packets that did not come later either.
    pub unrepaired: f32,
    /// Interarrival jitter (RFC 3550 §6.4.1) of the pictures' first packets.
    pub jitter: Duration,
    /// Pictures that came much later than the quickest ones.
    pub late: f32,
    /// How fast arrival falls behind the timestamps, in parts per million;
    /// positive when the sender's clock is slow.
    pub drift_ppm: Option<f32>,
    /// How fast the timestamps gain on the clock in the sender's own reports,
    /// in parts per million.
    pub report_drift_ppm: Option<f32>,
}

/// A viewing session as the API shows it.
#[derive(Debug, Clone)]
pub struct ViewerSnapshot {
    /// The session.
    pub key: SessionKey,
    /// Its room.
    pub room: RoomId,
    /// Whom it watches now, when somebody.
    pub watching: Option<ParticipantId>,
    /// ICE and DTLS are up.
    pub connected: bool,
    /// What goes out to it over the last second.
    pub bitrate: Bitrate,
    /// Lost share as its receiver reports say, 0 to 1.
    pub loss: f32,
    /// Round trip, when known.
    pub rtt: Option<Duration>,
    /// Packets sent.
    pub packets: u64,
    /// What its path carries; `None` while no limit is known.
    pub estimate: Option<Bitrate>,
    /// One row a negotiated section.
    pub slots: Vec<SlotSnapshot>,
}

/// A viewer's slot as the API shows it.
#[derive(Debug, Clone)]
pub struct SlotSnapshot {
    /// `a=mid` of its section.
    pub mid: Arc<str>,
    /// Audio or video.
    pub kind: MediaKind,
    /// Whom it shows, when somebody.
    pub participant: Option<ParticipantId>,
    /// The simulcast encoding that flows.
    pub rid: Option<String>,
    /// The spatial layer that flows, with those below it; `None` while nothing flows.
    pub spatial: Option<u8>,
    /// The temporal layer that flows, with those below it; `None` while nothing flows.
    pub temporal: Option<u8>,
    /// What the chosen layer takes; it may still wait for its keyframe.
    pub target_bitrate: Option<Bitrate>,
    /// Size of the pictures that flow, once known.
    pub size: Option<(u16, u16)>,
    /// What the viewer asked for.
    pub wish: LayerWish,
}
