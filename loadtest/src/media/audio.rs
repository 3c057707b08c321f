//! Opus packets of an Ogg file (RFC 7845), and padding inside an Opus packet.

use super::MediaError;

/// The packets of an Ogg Opus file, without its two headers.
pub fn packets(data: &[u8]) -> Result<Vec<Vec<u8>>, MediaError> {
    const FORM: MediaError = MediaError::Form("not an Ogg Opus file");
    let mut out: Vec<Vec<u8>> = Vec::new();
    let mut open: Vec<u8> = Vec::new();
    let mut rest = data;
    while !rest.is_empty() {
        let page = rest
            .get(..27)
            .filter(|p| p.starts_with(b"OggS"))
            .ok_or(FORM)?;
        let lacing = rest.get(27..27 + usize::from(page[26])).ok_or(FORM)?;
        let mut at = 27 + lacing.len();
        for &len in lacing {
            open.extend_from_slice(rest.get(at..at + usize::from(len)).ok_or(FORM)?);
            at += usize::from(len);
            // A value of 255 says that the packet goes on.
            if len < 255 {
                out.push(std::mem::take(&mut open));
            }
        }
        rest = &rest[at..];
    }
    if out.len() < 3 || !out[0].starts_with(b"OpusHead") || !out[1].starts_with(b"OpusTags") {
        return Err(FORM);
    }
    Ok(out.split_off(2))
}

/// The built-in tone: 20 ms packets.
pub fn builtin() -> Result<Vec<Vec<u8>>, MediaError> {
    packets(include_bytes!("fixtures/audio.opus"))
}

/// Appends an Opus packet with `padding` at its end, where decoders skip it: a
/// packet of one frame becomes a code 3 packet with padding (RFC 6716 §3.2.5).
/// A packet of another code is appended as it is, without padding; false then.
pub fn append_padded(out: &mut Vec<u8>, packet: &[u8], padding: &[u8]) -> bool {
    match packet.split_first() {
        Some((toc, frame)) if toc & 3 == 0 && padding.len() < 255 => {
            out.push(toc | 3);
            // One frame, of constant rate, with padding.
            out.push(0x41);
            out.push(padding.len() as u8);
            out.extend_from_slice(frame);
            out.extend_from_slice(padding);
            true
        }
        _ => {
            out.extend_from_slice(packet);
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_tone_is_single_frames() {
        let packets = builtin().unwrap();
        assert!(packets.len() >= 49, "{}", packets.len());
        assert!(packets.iter().all(|p| p[0] & 3 == 0 && p.len() < 300));
    }

    #[test]
    fn padding_goes_last() {
        let mut out = vec![9];
        assert!(append_padded(&mut out, &[0xFC, 1, 2], &[7, 7, 7]));
        assert_eq!(out, [9, 0xFF, 0x41, 3, 1, 2, 7, 7, 7]);
        let mut out = Vec::new();
        assert!(!append_padded(&mut out, &[0xFD, 1, 2], &[7]));
        assert_eq!(out, [0xFD, 1, 2]);
    }

    #[test]
    fn damaged_files_are_refused() {
        let file = include_bytes!("fixtures/audio.opus");
        assert!(packets(&file[..file.len() - 5]).is_err());
        assert!(packets(b"RIFF").is_err());
        assert!(packets(&[]).is_err());
    }
}
