//! Pure parsers per codec: keyframes, layers, picture sizes, rewriting.
//!
//! Nothing here allocates per packet, and no input makes it panic.

use std::fmt;

use crate::units::MediaKind;

pub mod av1;
mod bits;
pub mod dependency_descriptor;
pub mod fmtp;
pub mod h264;
pub mod h265;
pub mod layers;
mod nal;
pub mod opus;
mod packet;
mod picture_id;
pub mod red;
pub mod vp8;
pub mod vp9;

pub use layers::{Cell, FrameLayers, Grid};
pub use packet::{PacketInfo, PictureIds, inspect};
pub use picture_id::PictureId;

/// A codec that Weir forwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Codec {
    /// Opus (RFC 7587).
    Opus,
    /// G.711 µ-law, static payload type 0.
    Pcmu,
    /// G.711 A-law, static payload type 8.
    Pcma,
    /// G.722, static payload type 9; its RTP clock is 8000 Hz (RFC 3551 §4.5.2).
    G722,
    /// VP8 (RFC 7741).
    Vp8,
    /// VP9 (RFC 9628).
    Vp9,
    /// H.264 (RFC 6184).
    H264,
    /// H.265 (RFC 7798).
    H265,
    /// AV1 (AOM RTP specification).
    Av1,
}

impl Codec {
    /// The encoding name as in `a=rtpmap`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Opus => "opus",
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
            Self::G722 => "G722",
            Self::Vp8 => "VP8",
            Self::Vp9 => "VP9",
            Self::H264 => "H264",
            Self::H265 => "H265",
            Self::Av1 => "AV1",
        }
    }

    /// The codec of an `a=rtpmap` encoding name, compared without case.
    pub fn from_name(name: &str) -> Option<Self> {
        const ALL: [Codec; 9] = [
            Codec::Opus,
            Codec::Pcmu,
            Codec::Pcma,
            Codec::G722,
            Codec::Vp8,
            Codec::Vp9,
            Codec::H264,
            Codec::H265,
            Codec::Av1,
        ];
        ALL.into_iter()
            .find(|c| c.name().eq_ignore_ascii_case(name))
    }

    /// Audio or video.
    pub fn kind(self) -> MediaKind {
        match self {
            Self::Opus | Self::Pcmu | Self::Pcma | Self::G722 => MediaKind::Audio,
            _ => MediaKind::Video,
        }
    }

    /// The RTP clock in Hz.
    pub fn clock_rate(self) -> u32 {
        match self {
            Self::Opus => 48_000,
            Self::Pcmu | Self::Pcma | Self::G722 => 8_000,
            _ => 90_000,
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod cross_check_tests;
#[cfg(test)]
pub(crate) mod fixture_tests;
#[cfg(test)]
mod mutation_tests;
