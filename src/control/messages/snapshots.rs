//! A worker's sessions, tracks and slots as they are now.

use std::sync::Arc;
use std::time::Duration;

use super::{LayerWish, Totals};
use crate::codec::Codec;
use crate::units::{Bitrate, MediaKind, ParticipantId, RoomId, SessionKey};

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
