//! Identifiers and quantities as types, so that they can't be mixed up.

use std::fmt;

/// A worker thread, by index from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct WorkerId(pub u8);

/// A room, numbered by the control plane; never reused while the process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomId(pub u64);

/// A participant identity within a room, numbered by the control plane. It is
/// stable over reconnects and take-overs of the participant's publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParticipantId(pub u64);

/// A session inside a worker: its slot and the slot's generation, so that a
/// late message for an ended session can't reach the slot's next owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionKey {
    /// The worker that owns the session.
    pub worker: WorkerId,
    /// Index into the worker's session table.
    pub slot: u32,
    /// How often the slot was used before.
    pub generation: u32,
}

impl fmt::Display for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.worker.0, self.slot, self.generation)
    }
}

/// Matches a worker's reply to the control plane's request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// Bits per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Bitrate(pub u64);

impl Bitrate {
    /// The rate that moves `bytes` in `micros` microseconds; zero for no time.
    pub fn from_bytes(bytes: u64, micros: u64) -> Self {
        match bytes.saturating_mul(8_000_000).checked_div(micros) {
            Some(bits) => Self(bits),
            None => Self(0),
        }
    }
}

impl fmt::Display for Bitrate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bit/s", self.0)
    }
}

/// Audio or video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MediaKind {
    /// Sound.
    Audio,
    /// Pictures.
    Video,
}

impl MediaKind {
    /// The kind's name in SDP and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Audio => "audio",
            Self::Video => "video",
        }
    }
}

impl fmt::Display for MediaKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
