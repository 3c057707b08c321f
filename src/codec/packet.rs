//! What a packet's payload tells, for every codec alike.

use super::picture_id::PictureId;
use super::{Codec, av1, h264, h265, vp8, vp9};

/// What one RTP packet tells about its place in the stream. A packet that
/// can't be read tells nothing: all fields are false, zero or `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketInfo {
    /// A decoder can start here: the first packet of a VP8 keyframe, of a VP9
    /// keyframe's spatial layer 0, or of an AV1 coded video sequence. For
    /// H.264 and H.265, a packet with an SPS (or VPS) or with the beginning of
    /// an IDR (IRAP) picture; where several packets of one access unit (one RTP
    /// time-stamp) say so, the first one is the start.
    pub starts_keyframe: bool,
    /// Belongs to a keyframe, as far as the packet itself can tell: later
    /// packets of a VP8 or AV1 keyframe can't, nor can upper spatial layers.
    pub keyframe: bool,
    /// Has the beginning of a frame. For H.264 and H.265 also true for
    /// parameter sets, SEI and delimiters, which stand ahead of a picture.
    pub starts_frame: bool,
    /// Has the end of a frame: VP9's E bit; the marker for all other video
    /// codecs, which is where their payload formats put it.
    pub ends_frame: bool,
    /// Spatial layer, from 0.
    pub spatial: u8,
    /// Temporal layer, from 0.
    pub temporal: u8,
    /// From this frame on a receiver may take this temporal layer: VP8's Y bit,
    /// VP9's U bit, H.265 TSA and STSA pictures, the dependency descriptor's switch indication.
    pub switch_up: bool,
    /// No other frame refers to this one: VP8's N bit, H.264's `nal_ref_idc` 0,
    /// the dependency descriptor's discardable indication.
    pub discardable: bool,
    /// Picture ids and where they lie in the payload.
    pub ids: PictureIds,
    /// Picture width and height in pixels, when this packet tells them; of the
    /// largest spatial layer where a packet tells several.
    pub size: Option<(u16, u16)>,
    /// Carries an SPS (H.264), or a VPS or SPS (H.265): the access unit brings its own parameter sets.
    pub has_parameter_sets: bool,
    /// Carries a PPS (H.264, H.265).
    pub has_pps: bool,
    /// Carries the beginning of an H.264 B slice.
    pub b_frame: bool,
    /// Carries the beginning of an H.264 slice whose header makes no sense: it is damaged, or
    /// encrypted, and then what others seem to say is worth nothing either.
    pub unreadable: bool,
    /// Has only what stands beside the slices of an H.264 picture (delimiters, SEI, filler),
    /// which does not tell the picture's layer.
    pub beside: bool,
}

/// The picture ids of a VP8 or VP9 payload descriptor, and where they lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PictureIds {
    /// The picture id.
    pub picture: Option<PictureId>,
    /// `TL0PICIDX`.
    pub tl0: Option<u8>,
    /// Where the picture id lies; a descriptor is some twenty bytes at most.
    picture_at: u8,
    tl0_at: u8,
}

impl PictureIds {
    pub(super) fn new(
        picture: Option<PictureId>,
        picture_at: usize,
        tl0: Option<u8>,
        tl0_at: usize,
    ) -> Self {
        Self {
            picture,
            tl0,
            picture_at: picture_at as u8,
            tl0_at: tl0_at as u8,
        }
    }

    /// Writes both ids, moved by these, into the payload that they were read from:
    /// what is not there is not added, and a 7-bit picture id keeps 7 bits.
    #[inline]
    pub fn write_moved(&self, payload: &mut [u8], picture: u16, tl0: u8) {
        if let Some(id) = self.picture {
            let at = usize::from(self.picture_at);
            let moved = id.value.wrapping_add(picture) & 0x7fff;
            vp8::write_picture_id(payload, at, id.wide, moved);
        }
        if let Some(value) = self.tl0
            && let Some(byte) = payload.get_mut(usize::from(self.tl0_at))
        {
            *byte = value.wrapping_add(tl0);
        }
    }
}

/// Reads what the payload of one RTP packet tells. `payload` is what follows
/// the RTP header; `marker` is the header's marker bit. Any bytes are accepted.
pub fn inspect(codec: Codec, payload: &[u8], marker: bool) -> PacketInfo {
    match codec {
        Codec::H264 => h264::inspect(payload, marker),
        Codec::H265 => h265::inspect(payload, marker),
        Codec::Vp8 => vp8::inspect(payload, marker),
        Codec::Vp9 => vp9::inspect(payload),
        Codec::Av1 => av1::inspect(payload, marker),
        // One audio packet is one frame, and each can be decoded on its own.
        Codec::Opus | Codec::Pcmu | Codec::Pcma | Codec::G722 => PacketInfo {
            starts_frame: true,
            ends_frame: true,
            ..PacketInfo::default()
        },
    }
}

/// A width and height that fit and are not empty.
pub(super) fn checked_size(width: u64, height: u64) -> Option<(u16, u16)> {
    let width = u16::try_from(width).ok().filter(|w| *w > 0)?;
    let height = u16::try_from(height).ok().filter(|h| *h > 0)?;
    Some((width, height))
}
