//! Which of a viewer's payload types carries what a publisher sends.

use crate::codec::Codec;
use crate::units::MediaKind;

use super::codecs::parameter;
use super::types::{MediaSection, Negotiated, NegotiatedCodec};

impl Negotiated {
    /// The codecs of sections of `kind`, each once, in the offer's order.
    pub fn codecs(&self, kind: MediaKind) -> Vec<Codec> {
        let mut list = Vec::new();
        for codec in self
            .media
            .iter()
            .filter(|m| m.kind == kind)
            .flat_map(|m| &m.codecs)
        {
            if !list.contains(&codec.codec) {
                list.push(codec.codec);
            }
        }
        list
    }
}

impl MediaSection {
    /// The codec of this viewer's section that carries what a publisher sends as
    /// `published`, or `None` when the viewer can't decode it.
    ///
    /// The same profile is preferred, but a profile alone excludes nothing: OBS
    /// states one H.264 profile whatever the encoder makes, and decoders take
    /// more than they state. The packetization mode does exclude: a stream of mode 1
    /// has packets that a receiver of mode 0 need not understand (RFC 6184 §6.2).
    /// VP9 profiles 1 to 3 and AV1 profiles 1 and 2 exclude too, since browsers
    /// offer them only where they can decode them.
    pub fn carrier(&self, published: &NegotiatedCodec) -> Option<&NegotiatedCodec> {
        let fitting = || self.codecs.iter().filter(|c| carries(c, published));
        fitting()
            .find(|c| profile(c) == profile(published) && mode(c) == mode(published))
            .or_else(|| fitting().find(|c| profile(c) == profile(published)))
            .or_else(|| fitting().find(|c| mode(c) == mode(published)))
            .or_else(|| fitting().next())
    }
}

fn carries(viewer: &NegotiatedCodec, published: &NegotiatedCodec) -> bool {
    viewer.codec == published.codec
        && match viewer.codec {
            Codec::H264 => mode(viewer) >= mode(published),
            Codec::Vp9 | Codec::Av1 => profile(viewer) == profile(published),
            _ => true,
        }
}

/// H.264's packetization mode, 0 by default (RFC 6184 §8.1).
fn mode(codec: &NegotiatedCodec) -> u8 {
    match codec.codec {
        Codec::H264 => parameter(&codec.fmtp, "packetization-mode")
            .and_then(|v| v.parse().ok())
            .unwrap_or(0),
        _ => 0,
    }
}

/// A number that is equal for equal profiles: of H.264 the profile without
/// its level (RFC 6184 §8.1), of VP9, AV1 and H.265 the profile parameter.
fn profile(codec: &NegotiatedCodec) -> u32 {
    let number = |name| {
        parameter(&codec.fmtp, name)
            .and_then(|v| v.parse().ok())
            .unwrap_or(0)
    };
    match codec.codec {
        // Without the parameter it is Baseline at level 1 (RFC 6184 §8.2.2).
        Codec::H264 => h264_profile(
            parameter(&codec.fmtp, "profile-level-id")
                .and_then(|v| u32::from_str_radix(v, 16).ok())
                .unwrap_or(0x42000a),
        ),
        Codec::Vp9 => number("profile-id"),
        Codec::Av1 => number("profile"),
        Codec::H265 => match number("profile-id") {
            // Main is the default (RFC 7798 §7.1).
            0 => 1,
            id => id,
        },
        _ => 0,
    }
}

/// The profiles of RFC 6184 table 5. Constrained Baseline can be written with
/// three values of profile_idc; High and Constrained High differ in two flags.
fn h264_profile(profile_level_id: u32) -> u32 {
    let idc = (profile_level_id >> 16) & 0xff;
    let flags = (profile_level_id >> 8) & 0xff;
    let constrained_baseline = match idc {
        0x42 => flags & 0x40 != 0,
        0x4d => flags & 0x80 != 0,
        0x58 => flags & 0xc0 == 0xc0,
        _ => false,
    };
    if constrained_baseline {
        0x4240
    } else if idc == 0x64 && flags & 0x0c == 0x0c {
        0x640c
    } else {
        idc << 8
    }
}
