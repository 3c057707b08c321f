//! Real media for the publishers: small streams of real encoders, packetized as
//! RFC 6184, RFC 7741 and RFC 7587 say and padded to the wanted bitrate with
//! bytes that every decoder skips, the last of them a stamp.

pub mod audio;
pub mod h264;
pub mod packetizer;
pub mod stamp;
pub mod vp8;

use serde::{Deserialize, Serialize};

/// The video codec to publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VideoCodec {
    /// H.264, constrained baseline, `packetization-mode=1`.
    H264,
    /// VP8.
    Vp8,
}

/// A coded picture: what must be sent for it, in decoding order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// A decoder can start here.
    pub keyframe: bool,
    /// H.264: the NAL units without start codes. VP8: one frame.
    pub units: Vec<Vec<u8>>,
}

/// Why a media file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// It could not be read.
    #[error("can't read {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It does not start with a keyframe, or is not of the expected form.
    #[error("{0}")]
    Form(&'static str),
}

/// The pictures of the built-in stream of a codec.
pub fn builtin(codec: VideoCodec) -> Result<Vec<Picture>, MediaError> {
    match codec {
        VideoCodec::H264 => h264::pictures(include_bytes!("fixtures/video.h264")),
        VideoCodec::Vp8 => vp8::pictures(include_bytes!("fixtures/video.ivf")),
    }
}

/// The pictures of a file: Annex B (`.h264`) or IVF, by the codec.
pub fn from_file(codec: VideoCodec, path: &str) -> Result<Vec<Picture>, MediaError> {
    let data = std::fs::read(path).map_err(|source| MediaError::Read {
        path: path.to_owned(),
        source,
    })?;
    match codec {
        VideoCodec::H264 => h264::pictures(&data),
        VideoCodec::Vp8 => vp8::pictures(&data),
    }
}

/// True when a payload of this codec starts a picture that a decoder can start at.
pub fn starts_keyframe(codec: VideoCodec, payload: &[u8]) -> bool {
    match codec {
        VideoCodec::H264 => h264::starts_keyframe(payload),
        VideoCodec::Vp8 => vp8::starts_keyframe(payload),
    }
}
