//! VP8: frames of an IVF file, and telling keyframes in RTP payloads (RFC 7741).

use super::{MediaError, Picture};

/// The frames of an IVF file.
pub fn pictures(data: &[u8]) -> Result<Vec<Picture>, MediaError> {
    const FORM: MediaError = MediaError::Form("not an IVF file of VP8");
    let header = data.first_chunk::<32>().ok_or(FORM)?;
    if !header.starts_with(b"DKIF") || header[8..12] != *b"VP80" {
        return Err(FORM);
    }
    let mut out = Vec::new();
    let mut rest = data
        .get(usize::from(u16::from_le_bytes([header[6], header[7]]))..)
        .ok_or(FORM)?;
    while let Some((head, tail)) = rest.split_first_chunk::<12>() {
        let len = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let frame = tail.get(..len).filter(|f| !f.is_empty()).ok_or(FORM)?;
        out.push(Picture {
            // The inverse key frame flag (RFC 6386 §9.1).
            keyframe: frame[0] & 1 == 0,
            units: vec![frame.to_vec()],
        });
        rest = &tail[len..];
    }
    match out.first() {
        Some(p) if p.keyframe => Ok(out),
        _ => Err(MediaError::Form("a VP8 stream must start with a keyframe")),
    }
}

/// True when the payload is the first of a keyframe (RFC 7741 §4.2, §4.3).
pub fn starts_keyframe(payload: &[u8]) -> bool {
    let Some(&first) = payload.first() else {
        return false;
    };
    // The start of partition 0.
    if first & 0x1F != 0x10 {
        return false;
    }
    let mut at = 1;
    if first & 0x80 != 0 {
        let Some(&extended) = payload.get(1) else {
            return false;
        };
        at = 2;
        if extended & 0x80 != 0 {
            at += match payload.get(2) {
                Some(id) if id & 0x80 != 0 => 2,
                _ => 1,
            };
        }
        at += usize::from(extended & 0x40 != 0) + usize::from(extended & 0x30 != 0);
    }
    payload.get(at).is_some_and(|b| b & 1 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{Size, VideoCodec, builtin};

    #[test]
    fn the_built_in_streams_start_with_their_only_keyframe() {
        for size in [Size::Quarter, Size::Half, Size::Full] {
            let stream = builtin(VideoCodec::Vp8, size).unwrap();
            assert_eq!(stream.pictures.len(), 112);
            assert!(stream.pictures[0].keyframe && stream.first_group().is_none());
            // What is repeated changes nothing, so it is very short.
            let again = &stream.pictures[stream.goes_on.unwrap()..];
            assert!(again.iter().all(|p| p.units[0].len() < 50));
        }
    }

    #[test]
    fn keyframes_are_told_behind_every_descriptor() {
        assert!(starts_keyframe(&[0x10, 0x00]));
        assert!(!starts_keyframe(&[0x10, 0x01]));
        assert!(!starts_keyframe(&[0x00, 0x00]));
        assert!(!starts_keyframe(&[0x11, 0x00]));
        assert!(starts_keyframe(&[0x90, 0x80, 0x7F, 0x00]));
        assert!(starts_keyframe(&[0x90, 0xF0, 0x80, 0x01, 5, 5, 0x00]));
        assert!(!starts_keyframe(&[0x90, 0xF0, 0x80, 0x01, 5, 5, 0x01]));
        assert!(!starts_keyframe(&[0x90, 0x80]));
        assert!(!starts_keyframe(&[]));
    }
}
