//! Synthetic media: payloads that a forwarder can read.

/// What a track sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    Opus,
    Vp8,
    H264,
}

/// Pictures per second.
pub const FRAME_RATE: u32 = 30;

/// H.264 parameter sets: baseline, 640x480.
pub const SPS: &[u8] = &[0x67, 0x42, 0xc0, 0x1e, 0xda, 0x02, 0x80, 0xf6, 0x40];
pub const PPS: &[u8] = &[0x68, 0xce, 0x3c, 0x80];

/// How an H.264 stream carries its parameter sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParameterSets {
    /// Before every IDR picture.
    Always,
    /// Before the first one only, as some hardware encoders do.
    Once,
    /// Not at all.
    Never,
}

/// The payloads of one picture, in packets; the last one gets the marker.
pub fn picture(
    codec: Codec,
    number: u32,
    key: bool,
    size: (u16, u16),
    with_sets: bool,
) -> Vec<Vec<u8>> {
    match codec {
        Codec::Opus => vec![vec![0x78; 60]],
        Codec::Vp8 => {
            // RFC 7741 §4.2: S=1, PID=0; then the frame tag of RFC 6386 §9.1.
            let length: u32 = 400;
            let tag = (length << 5) | (1 << 4) | u32::from(!key);
            let mut first = vec![0x10];
            first.extend_from_slice(&tag.to_le_bytes()[..3]);
            if key {
                first.extend_from_slice(&[0x9d, 0x01, 0x2a]);
                first.extend_from_slice(&size.0.to_le_bytes());
                first.extend_from_slice(&size.1.to_le_bytes());
            }
            first.resize(300, 0x55);
            let mut second = vec![0x00];
            second.resize(200, 0x66);
            vec![first, second]
        }
        Codec::H264 => {
            let mut packets = Vec::new();
            if key && with_sets {
                // STAP-A, RFC 6184 §5.7.1.
                let mut stap = vec![0x78];
                for unit in [SPS, PPS] {
                    stap.extend_from_slice(&(unit.len() as u16).to_be_bytes());
                    stap.extend_from_slice(unit);
                }
                packets.push(stap);
            }
            // Every third picture is a B picture nobody refers to: slice_type 6.
            let mut slice = match (key, number % 3) {
                (true, _) => vec![0x65, 0x88, 0x84],
                (false, 1) => vec![0x01, 0x9c, 0x84],
                (false, _) => vec![0x41, 0x9a, 0x84],
            };
            slice.resize(400, 0x77);
            packets.push(slice);
            packets
        }
    }
}

/// True for a payload that begins a keyframe.
pub fn begins_keyframe(codec: Codec, payload: &[u8]) -> bool {
    match codec {
        Codec::Opus => false,
        Codec::Vp8 => payload.first() == Some(&0x10) && payload.get(1).is_some_and(|b| b & 1 == 0),
        Codec::H264 => nal_types(payload).iter().any(|kind| [5, 7].contains(kind)),
    }
}

/// The picture size in a VP8 keyframe's first packet.
pub fn vp8_size(payload: &[u8]) -> Option<(u16, u16)> {
    let at = payload.windows(3).position(|w| w == [0x9d, 0x01, 0x2a])? + 3;
    let two = |at: usize| {
        Some(u16::from_le_bytes([
            *payload.get(at)?,
            *payload.get(at + 1)?,
        ]))
    };
    Some((two(at)? & 0x3fff, two(at + 2)? & 0x3fff))
}

/// The NAL unit types of an H.264 payload: single, STAP-A and the start of FU-A.
pub fn nal_types(payload: &[u8]) -> Vec<u8> {
    let Some(first) = payload.first() else {
        return Vec::new();
    };
    match first & 0x1f {
        24 => {
            let mut kinds = Vec::new();
            let mut rest = &payload[1..];
            while let [high, low, unit @ ..] = rest {
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                kinds.extend(unit.first().map(|b| b & 0x1f));
                rest = unit.get(length..).unwrap_or_default();
            }
            kinds
        }
        28 => match payload.get(1) {
            Some(header) if header & 0x80 != 0 => vec![header & 0x1f],
            _ => Vec::new(),
        },
        kind => vec![kind],
    }
}
