//! From a picture to RTP payloads of the wanted size in total, each with room
//! for a stamp at its end.

use super::stamp::STAMP_LEN;
use super::{MediaError, Picture, VideoCodec, h264};

/// A payload, and whether its last [`STAMP_LEN`] bytes may be written over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// False for a fragment in the middle of a unit, which has no bytes to spare.
    pub stamped: bool,
}

/// Payload descriptor of VP8 with only the S bit (RFC 7741 §4.2).
const VP8_START: u8 = 0x10;
const VP8_GOES_ON: u8 = 0x00;
/// Fill that decoders skip; never a zero, so that no start code can arise.
const FILL: u8 = 0xFF;
/// Header, length and stamp of a filler unit inside an aggregate.
const FILLER_ROOM: usize = 2 + 1 + STAMP_LEN;

/// Cuts a picture into payloads of at most `max` bytes, filled up so that all
/// together have at least `total` bytes.
pub fn packetize(codec: VideoCodec, picture: &Picture, total: usize, max: usize) -> Vec<Payload> {
    let max = max.max(2 * FILLER_ROOM);
    let mut out = match codec {
        VideoCodec::H264 => h264_payloads(picture, max),
        VideoCodec::Vp8 => vp8_payloads(picture, max),
    };
    let mut missing = total.saturating_sub(out.iter().map(|p| p.bytes.len()).sum());
    // What is there grows first, then whole payloads of fill follow.
    for payload in out.iter_mut().filter(|p| p.stamped) {
        let grow = (max - payload.bytes.len().min(max)).min(missing);
        grow_payload(codec, payload, grow);
        missing -= grow;
    }
    while missing > 0 {
        let size = missing.clamp(FILLER_ROOM, max);
        let first = match codec {
            VideoCodec::H264 => h264::FILLER,
            VideoCodec::Vp8 => VP8_GOES_ON,
        };
        let mut bytes = vec![FILL; size];
        bytes[0] = first;
        out.push(Payload {
            bytes,
            stamped: true,
        });
        missing = missing.saturating_sub(size);
    }
    out
}

/// Cuts a picture into exactly `count` payloads of exactly `size` bytes, or tells
/// that it does not fit.
pub fn packetize_exactly(
    codec: VideoCodec,
    picture: &Picture,
    count: usize,
    size: usize,
) -> Result<Vec<Payload>, MediaError> {
    let out = packetize(codec, picture, count * size, size);
    if out.len() == count && out.iter().all(|p| p.bytes.len() == size) {
        return Ok(out);
    }
    Err(MediaError::Unfit(format!(
        "a picture of the stream can't be sent as {count} packets of {size} bytes: \
         it needs {} packets",
        out.len()
    )))
}

fn grow_payload(codec: VideoCodec, payload: &mut Payload, by: usize) {
    let filler = payload.bytes.len() - STAMP_LEN;
    payload.bytes.resize(payload.bytes.len() + by, FILL);
    if codec == VideoCodec::H264 && payload.bytes[0] & 31 == h264::STAP_A {
        // The length before the filler unit's header byte.
        let len = (1 + STAMP_LEN + by) as u16;
        payload.bytes[filler - 3..filler - 1].copy_from_slice(&len.to_be_bytes());
    }
}

/// Units that fit go into aggregates, each with a filler unit for the stamp;
/// larger ones are cut into fragments, with a filler packet after them.
fn h264_payloads(picture: &Picture, max: usize) -> Vec<Payload> {
    let mut out: Vec<Payload> = Vec::new();
    let mut aggregate: Vec<u8> = Vec::new();
    for unit in &picture.units {
        let Some(&header) = unit.first() else {
            continue;
        };
        let fits = 1 + 2 + unit.len() + FILLER_ROOM <= max;
        if !aggregate.is_empty() && (!fits || aggregate.len() + 2 + unit.len() + FILLER_ROOM > max)
        {
            out.push(close(std::mem::take(&mut aggregate)));
        }
        if fits {
            if aggregate.is_empty() {
                aggregate.push(h264::STAP_A);
            }
            // The aggregate is as important as its most important unit.
            aggregate[0] = h264::STAP_A | (aggregate[0] & 0x60).max(header & 0x60);
            aggregate.extend_from_slice(&(unit.len() as u16).to_be_bytes());
            aggregate.extend_from_slice(unit);
            continue;
        }
        let pieces: Vec<&[u8]> = unit[1..].chunks(max - 2).collect();
        for (i, piece) in pieces.iter().enumerate() {
            let start = u8::from(i == 0) << 7;
            let end = u8::from(i + 1 == pieces.len()) << 6;
            let mut bytes = vec![(header & 0x60) | h264::FU_A, start | end | (header & 31)];
            bytes.extend_from_slice(piece);
            out.push(Payload {
                bytes,
                stamped: false,
            });
        }
    }
    if !aggregate.is_empty() {
        out.push(close(aggregate));
    } else if out.last().is_some_and(|p| !p.stamped) {
        let mut bytes = vec![FILL; 1 + STAMP_LEN];
        bytes[0] = h264::FILLER;
        out.push(Payload {
            bytes,
            stamped: true,
        });
    }
    out
}

fn close(mut aggregate: Vec<u8>) -> Payload {
    aggregate.extend_from_slice(&((1 + STAMP_LEN) as u16).to_be_bytes());
    aggregate.push(h264::FILLER);
    aggregate.resize(aggregate.len() + STAMP_LEN, FILL);
    Payload {
        bytes: aggregate,
        stamped: true,
    }
}

/// A VP8 decoder ignores what follows the last partition, so fill goes there.
fn vp8_payloads(picture: &Picture, max: usize) -> Vec<Payload> {
    let frame = picture.units.first().map_or(&[][..], Vec::as_slice);
    let mut out: Vec<Payload> = frame
        .chunks(max - 1)
        .enumerate()
        .map(|(i, piece)| {
            let mut bytes = vec![if i == 0 { VP8_START } else { VP8_GOES_ON }];
            bytes.extend_from_slice(piece);
            Payload {
                bytes,
                stamped: false,
            }
        })
        .collect();
    match out.last_mut() {
        Some(last) if last.bytes.len() + STAMP_LEN <= max => {
            last.bytes.resize(last.bytes.len() + STAMP_LEN, FILL);
            last.stamped = true;
        }
        _ => {
            let mut bytes = vec![FILL; 1 + STAMP_LEN];
            bytes[0] = VP8_GOES_ON;
            out.push(Payload {
                bytes,
                stamped: true,
            });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{Size, builtin, starts_keyframe};

    /// The NAL units a receiver would hand to its decoder, filler left out.
    fn reassemble(payloads: &[Payload]) -> Vec<Vec<u8>> {
        let mut out: Vec<Vec<u8>> = Vec::new();
        for p in payloads {
            let b = &p.bytes;
            match b[0] & 31 {
                h264::STAP_A => {
                    let mut rest = &b[1..];
                    while let [a, c, tail @ ..] = rest {
                        let len = usize::from(u16::from_be_bytes([*a, *c]));
                        out.push(tail[..len].to_vec());
                        rest = &tail[len..];
                    }
                }
                h264::FU_A => {
                    if b[1] & 0x80 != 0 {
                        out.push(vec![(b[0] & 0x60) | (b[1] & 31)]);
                    }
                    out.last_mut().unwrap().extend_from_slice(&b[2..]);
                }
                _ => out.push(b.clone()),
            }
        }
        out.retain(|u| u[0] & 31 != h264::FILLER);
        out
    }

    #[test]
    fn h264_survives_and_has_the_wanted_size() {
        for picture in builtin(VideoCodec::H264, Size::Full).unwrap().pictures {
            for (total, max) in [(0, 1200), (9000, 1200), (9001, 1100), (700, 120)] {
                let payloads = packetize(VideoCodec::H264, &picture, total, max);
                assert_eq!(reassemble(&payloads), picture.units);
                assert!(payloads.iter().all(|p| p.bytes.len() <= max));
                let sum: usize = payloads.iter().map(|p| p.bytes.len()).sum();
                assert!(sum >= total);
                if total == 9000 {
                    assert!(sum <= total + FILLER_ROOM);
                }
                assert_eq!(
                    starts_keyframe(VideoCodec::H264, &payloads[0].bytes),
                    picture.keyframe
                );
            }
        }
    }

    #[test]
    fn vp8_survives_with_fill_behind_it() {
        for picture in builtin(VideoCodec::Vp8, Size::Full).unwrap().pictures {
            for (total, max) in [(0, 1200), (9000, 1200), (700, 120)] {
                let payloads = packetize(VideoCodec::Vp8, &picture, total, max);
                let joined: Vec<u8> = payloads
                    .iter()
                    .flat_map(|p| &p.bytes[1..])
                    .copied()
                    .collect();
                assert!(joined.starts_with(&picture.units[0]));
                assert!(joined[picture.units[0].len()..].iter().all(|&b| b == FILL));
                assert!(payloads.iter().all(|p| p.bytes.len() <= max));
                assert_eq!(
                    starts_keyframe(VideoCodec::Vp8, &payloads[0].bytes),
                    picture.keyframe
                );
                assert!(payloads[1..].iter().all(|p| p.bytes[0] == VP8_GOES_ON));
            }
        }
    }

    #[test]
    fn exact_bursts_are_exact_or_refused() {
        for codec in [VideoCodec::H264, VideoCodec::Vp8] {
            for picture in builtin(codec, Size::Full).unwrap().pictures {
                let burst = packetize_exactly(codec, &picture, 7, 1160).unwrap();
                assert_eq!(burst.len(), 7);
                assert!(burst.iter().all(|p| p.bytes.len() == 1160));
                assert!(burst.iter().all(|p| p.stamped));
            }
            let large = Picture {
                keyframe: true,
                units: vec![vec![0x65; 5000]],
            };
            let refused = packetize_exactly(codec, &large, 3, 1160).unwrap_err();
            assert!(
                refused.to_string().contains("as 3 packets of 1160 bytes"),
                "{refused}"
            );
        }
    }
}
