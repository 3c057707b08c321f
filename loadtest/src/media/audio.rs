//! Opus packets of an Ogg file (RFC 7845), and padding inside an Opus packet.

use std::time::Duration;

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

/// Sound to publish, over and over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sound {
    /// Opus packets.
    pub packets: Vec<Vec<u8>>,
    /// What each of them lasts.
    pub interval: Duration,
}

/// The sound of an Ogg Opus file, whose packets must all last equally long.
pub fn sound(data: &[u8]) -> Result<Sound, MediaError> {
    let packets = packets(data)?;
    let mut lengths = packets.iter().map(|p| duration(p));
    let interval = lengths
        .next()
        .flatten()
        .ok_or(MediaError::Form("an Opus packet of no known length"))?;
    if lengths.any(|l| l != Some(interval)) {
        return Err(MediaError::Form("the Opus packets last unequally long"));
    }
    Ok(Sound { packets, interval })
}

/// How long a packet lasts (RFC 6716 §3.1, §3.2).
fn duration(packet: &[u8]) -> Option<Duration> {
    let (&toc, rest) = packet.split_first()?;
    let frame_us = match toc >> 3 {
        config @ 0..12 => [10_000, 20_000, 40_000, 60_000][usize::from(config & 3)],
        config @ 12..16 => [10_000, 20_000][usize::from(config & 1)],
        config => [2_500, 5_000, 10_000, 20_000][usize::from(config & 3)],
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u64::from(rest.first()? & 63),
    };
    let us = frame_us * frames;
    (us > 0 && us <= 120_000).then(|| Duration::from_micros(us))
}

/// The built-in tone: 20 ms packets.
pub fn builtin() -> Result<Sound, MediaError> {
    sound(include_bytes!("fixtures/audio.opus"))
}

/// Appends an Opus packet with `padding` at its end, where decoders skip it: it
/// becomes a code 3 packet with padding (RFC 6716 §3.2.5). One that has padding
/// already, or is empty, is appended as it is; false then.
pub fn append_padded(out: &mut Vec<u8>, packet: &[u8], padding: &[u8]) -> bool {
    // Frame count byte: variable rate, padding, number of frames.
    const PADDING: u8 = 0x40;
    let (toc, count, frames) = match packet {
        [toc, frames @ ..] if toc & 3 == 0 => (*toc, PADDING | 1, frames),
        [toc, frames @ ..] if toc & 3 == 1 => (*toc, PADDING | 2, frames),
        // The length of the first frame is coded alike in both forms (§3.2.4).
        [toc, frames @ ..] if toc & 3 == 2 => (*toc, 0x80 | PADDING | 2, frames),
        [toc, count, frames @ ..] if toc & 3 == 3 && count & PADDING == 0 => {
            (*toc, count | PADDING, frames)
        }
        _ => {
            out.extend_from_slice(packet);
            return false;
        }
    };
    if padding.len() >= 255 {
        out.extend_from_slice(packet);
        return false;
    }
    out.extend_from_slice(&[toc | 3, count, padding.len() as u8]);
    out.extend_from_slice(frames);
    out.extend_from_slice(padding);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_tone_is_single_frames() {
        let Sound { packets, interval } = builtin().unwrap();
        assert!(packets.len() >= 49, "{}", packets.len());
        assert_eq!(interval, Duration::from_millis(20));
        assert!(packets.iter().all(|p| p[0] & 3 == 0 && p.len() < 300));
    }

    #[test]
    fn padding_goes_last() {
        let mut out = vec![9];
        assert!(append_padded(&mut out, &[0xFC, 1, 2], &[7, 7, 7]));
        assert_eq!(out, [9, 0xFF, 0x41, 3, 1, 2, 7, 7, 7]);
        for (packet, padded) in [
            (&[0xFD, 1, 2][..], &[0xFF, 0x42, 1, 1, 2, 7][..]),
            (&[0xFE, 1, 8, 9], &[0xFF, 0xC2, 1, 1, 8, 9, 7]),
            (&[0xFF, 0x03, 8, 9, 5], &[0xFF, 0x43, 1, 8, 9, 5, 7]),
        ] {
            let mut out = Vec::new();
            assert!(append_padded(&mut out, packet, &[7]));
            assert_eq!(out, padded);
        }
        let mut out = Vec::new();
        assert!(!append_padded(&mut out, &[0xFF, 0x41, 1, 8, 0], &[7]));
        assert_eq!(out, [0xFF, 0x41, 1, 8, 0]);
    }

    #[test]
    fn packets_tell_how_long_they_last() {
        let ms = |packet: &[u8]| duration(packet).map(|d| d.as_micros());
        assert_eq!(ms(&[0xFC, 1]), Some(20_000));
        assert_eq!(ms(&[0x08, 1]), Some(20_000));
        assert_eq!(ms(&[0x18, 1]), Some(60_000));
        assert_eq!(ms(&[0x80, 1]), Some(2_500));
        assert_eq!(ms(&[0x61, 1]), Some(20_000));
        assert_eq!(ms(&[0xFB, 6]), Some(120_000));
        assert_eq!(ms(&[0xFB, 7]), None);
        assert_eq!(ms(&[0xFB, 0]), None);
        assert_eq!(ms(&[0xFB]), None);
        assert_eq!(ms(&[]), None);
    }

    #[test]
    fn damaged_files_are_refused() {
        let file = include_bytes!("fixtures/audio.opus");
        assert!(packets(&file[..file.len() - 5]).is_err());
        assert!(packets(b"RIFF").is_err());
        assert!(packets(&[]).is_err());
    }
}
