//! H.264: cutting an Annex B stream into pictures, and telling keyframes in RTP
//! payloads (RFC 6184).

use super::{MediaError, Picture};

/// Coded slice of a non-IDR picture.
const SLICE: u8 = 1;
/// Coded slice of an IDR picture.
const IDR: u8 = 5;
const SEI: u8 = 6;
/// Sequence parameter set.
const SPS: u8 = 7;
/// Picture parameter set.
const PPS: u8 = 8;
const DELIMITER: u8 = 9;
/// Filler data, which decoders skip.
pub const FILLER: u8 = 12;
/// Aggregation packet (RFC 6184 §5.7.1).
pub const STAP_A: u8 = 24;
/// Fragmentation unit (RFC 6184 §5.8).
pub const FU_A: u8 = 28;

/// The NAL units of an Annex B stream, without start codes and trailing zeros.
fn nal_units(data: &[u8]) -> Vec<&[u8]> {
    let mut starts = Vec::new();
    let mut at = 0;
    while let Some(i) = data[at..].windows(3).position(|w| w == [0, 0, 1]) {
        starts.push(at + i);
        at += i + 3;
    }
    let ends = starts.iter().skip(1).copied().chain([data.len()]);
    starts
        .iter()
        .zip(ends)
        .map(|(&start, end)| {
            let unit = &data[start + 3..end];
            let len = unit.iter().rposition(|&b| b != 0).map_or(0, |i| i + 1);
            &unit[..len]
        })
        .filter(|u| !u.is_empty())
        .collect()
}

/// Cuts a stream into pictures. Parameter sets go with the IDR picture after
/// them; SEI, delimiters and filler are left out.
pub fn pictures(data: &[u8]) -> Result<Vec<Picture>, MediaError> {
    let mut out: Vec<Picture> = Vec::new();
    let mut sets: Vec<Vec<u8>> = Vec::new();
    for unit in nal_units(data) {
        match unit[0] & 31 {
            SPS | PPS => sets.push(unit.to_vec()),
            kind @ (SLICE | IDR) => {
                // `first_mb_in_slice` is 0, coded as a single 1 bit, in the first slice.
                let first = unit.get(1).is_some_and(|b| b & 0x80 != 0);
                if first || out.is_empty() {
                    let mut units = std::mem::take(&mut sets);
                    units.push(unit.to_vec());
                    out.push(Picture {
                        keyframe: kind == IDR,
                        units,
                    });
                } else if let Some(last) = out.last_mut() {
                    last.units.push(unit.to_vec());
                }
            }
            SEI | DELIMITER | FILLER => {}
            _ => {
                return Err(MediaError::Form(
                    "an H.264 stream with unexpected NAL units",
                ));
            }
        }
    }
    match out.first() {
        Some(p) if p.keyframe && p.units.len() >= 3 => Ok(out),
        _ => Err(MediaError::Form(
            "an H.264 stream must start with SPS, PPS and an IDR picture",
        )),
    }
}

/// True when the payload holds a parameter set or the start of an IDR slice.
/// Parameter sets come with the IDR picture, so either starts one.
pub fn starts_keyframe(payload: &[u8]) -> bool {
    let Some(&first) = payload.first() else {
        return false;
    };
    match first & 31 {
        SPS | IDR => true,
        FU_A => payload
            .get(1)
            .is_some_and(|h| h & 0x80 != 0 && h & 31 == IDR),
        STAP_A => {
            let mut rest = &payload[1..];
            while let [a, b, tail @ ..] = rest {
                let len = usize::from(u16::from_be_bytes([*a, *b]));
                if tail.first().is_some_and(|h| matches!(h & 31, SPS | IDR)) {
                    return true;
                }
                rest = tail.get(len..).unwrap_or(&[]);
            }
            false
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{Size, VideoCodec, builtin};

    #[test]
    fn the_built_in_streams_have_one_keyframe_and_go_on() {
        for size in [Size::Quarter, Size::Half, Size::Full] {
            let stream = builtin(VideoCodec::H264, size).unwrap();
            let pictures = &stream.pictures;
            assert_eq!(pictures.len(), 128);
            assert!(pictures[0].keyframe && stream.first_group().is_none());
            // What is repeated starts with an I slice (§7.4.3: slice type 7) of a
            // picture with `frame_num` 0, as at the start of the stream.
            let again = &pictures[stream.goes_on.unwrap()].units;
            assert_eq!(again[0][..2], [0x61, 0x88]);
            assert!((pictures.len() - stream.goes_on.unwrap()).is_multiple_of(16));
            let longest = pictures.iter().flat_map(|p| &p.units).map(Vec::len).max();
            assert!(longest < Some(1000), "{longest:?}");
        }
    }

    #[test]
    fn keyframes_are_told_in_every_form() {
        assert!(starts_keyframe(&[0x67, 1]));
        assert!(starts_keyframe(&[0x65, 0x88]));
        assert!(starts_keyframe(&[24, 0, 2, 0x67, 1, 0, 1, 0x68]));
        assert!(starts_keyframe(&[24, 0, 1, 0x68, 0, 1, 0x65]));
        assert!(starts_keyframe(&[0x7C, 0x85]));
        assert!(!starts_keyframe(&[0x7C, 0x05]));
        assert!(!starts_keyframe(&[0x41, 0x9A]));
        assert!(!starts_keyframe(&[24, 0, 1, 0x41, 0, 1, 12]));
        assert!(!starts_keyframe(&[24, 0xFF, 0xFF]));
        assert!(!starts_keyframe(&[]));
    }

    #[test]
    fn streams_without_a_start_are_refused() {
        assert!(pictures(&[]).is_err());
        assert!(pictures(&[0, 0, 1, 0x41, 0x9A, 1]).is_err());
    }
}
