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
    /// It can't be sent as the scenario wants.
    #[error("{0}")]
    Unfit(String),
}

/// A stream to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// Its pictures; the first is a keyframe.
    pub pictures: Vec<Picture>,
    /// Where it goes on after its last picture without a keyframe, if it can:
    /// a stream with this has groups of pictures of any length.
    pub goes_on: Option<usize>,
}

/// Size of a built-in stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// 160 × 90
    Quarter,
    /// 320 × 180
    Half,
    /// 640 × 360
    Full,
}

impl Size {
    /// The sizes of simulcast encodings, the smallest first; one has full size.
    pub fn of_layers(layers: u32) -> &'static [Self] {
        const ALL: [Size; 3] = [Size::Quarter, Size::Half, Size::Full];
        &ALL[3 - layers.clamp(1, 3) as usize..]
    }
}

/// The H.264 streams were made so that their second half starts with an I picture
/// that is no IDR picture and looks back no further: it can be repeated for ever.
/// Their `frame_num` wraps at 16, and both halves have 64 pictures.
const H264_GOES_ON: usize = 64;
/// In the last pictures of the VP8 streams nothing moves: they change nothing.
const VP8_GOES_ON: usize = 96;

/// The built-in stream of a codec: a square that crosses the picture.
pub fn builtin(codec: VideoCodec, size: Size) -> Result<Stream, MediaError> {
    let (pictures, goes_on) = match codec {
        VideoCodec::H264 => {
            let data: &[u8] = match size {
                Size::Quarter => include_bytes!("fixtures/video-160x90.h264"),
                Size::Half => include_bytes!("fixtures/video-320x180.h264"),
                Size::Full => include_bytes!("fixtures/video-640x360.h264"),
            };
            (h264::pictures(data)?, H264_GOES_ON)
        }
        VideoCodec::Vp8 => {
            let data: &[u8] = match size {
                Size::Quarter => include_bytes!("fixtures/video-160x90.ivf"),
                Size::Half => include_bytes!("fixtures/video-320x180.ivf"),
                Size::Full => include_bytes!("fixtures/video-640x360.ivf"),
            };
            (vp8::pictures(data)?, VP8_GOES_ON)
        }
    };
    Ok(Stream {
        pictures,
        goes_on: Some(goes_on),
    })
}

fn read(path: &str) -> Result<Vec<u8>, MediaError> {
    std::fs::read(path).map_err(|source| MediaError::Read {
        path: path.to_owned(),
        source,
    })
}

/// The stream of a file: Annex B (`.h264`) or IVF, by the codec.
pub fn from_file(codec: VideoCodec, path: &str) -> Result<Stream, MediaError> {
    let data = read(path)?;
    let pictures = match codec {
        VideoCodec::H264 => h264::pictures(&data)?,
        VideoCodec::Vp8 => vp8::pictures(&data)?,
    };
    Ok(Stream {
        pictures,
        goes_on: None,
    })
}

/// The sound of an Ogg Opus file.
pub fn audio_from_file(path: &str) -> Result<audio::Sound, MediaError> {
    audio::sound(&read(path)?)
}

impl Stream {
    /// Pictures from the keyframe at the start to the next one; `None` when none
    /// follows.
    pub fn first_group(&self) -> Option<usize> {
        let next = self.pictures.iter().skip(1).position(|p| p.keyframe);
        next.map(|i| i + 1)
    }
}

/// True when a payload of this codec starts a picture that a decoder can start at.
pub fn starts_keyframe(codec: VideoCodec, payload: &[u8]) -> bool {
    match codec {
        VideoCodec::H264 => h264::starts_keyframe(payload),
        VideoCodec::Vp8 => vp8::starts_keyframe(payload),
    }
}
