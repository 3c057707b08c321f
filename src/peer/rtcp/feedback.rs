//! Feedback on packets and pictures: NACK, PLI, FIR, REMB.

use super::{Raw, RtcpError, be32, words};

/// Bytes of sender SSRC and media SSRC, which all feedback starts with (RFC 4585 §6.1).
pub(super) const SSRCS_LEN: usize = 8;

/// REMB's identifier.
pub(super) const REMB: &[u8; 4] = b"REMB";

fn ssrcs(raw: Raw<'_>) -> Result<(u32, u32), RtcpError> {
    match (be32(raw.body, 0), be32(raw.body, 4)) {
        (Some(sender), Some(media)) => Ok((sender, media)),
        _ => Err(raw.malformed()),
    }
}

/// Packets a receiver misses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nack<'a> {
    /// Who asks.
    pub sender_ssrc: u32,
    /// The stream with the gaps.
    pub media_ssrc: u32,
    entries: &'a [u8],
}

impl<'a> Nack<'a> {
    pub(super) fn parse(raw: Raw<'a>) -> Result<Self, RtcpError> {
        let (sender_ssrc, media_ssrc) = ssrcs(raw)?;
        let entries = raw.body.get(SSRCS_LEN..).unwrap_or_default();
        if entries.is_empty() || entries.len() % 4 != 0 {
            return Err(raw.malformed());
        }
        Ok(Self {
            sender_ssrc,
            media_ssrc,
            entries,
        })
    }

    /// The missing sequence numbers, in the packet's order: of each entry the
    /// PID, then the set bits of its BLP (RFC 4585 §6.2.1).
    pub fn seqs(&self) -> impl Iterator<Item = u16> + Clone + 'a {
        words(self.entries).flat_map(|entry| {
            let pid = (entry >> 16) as u16;
            // Bit 0 stands for the PID, bit i for PID + i.
            let mut mask = entry << 1 & 0x1_FFFE | 1;
            std::iter::from_fn(move || {
                if mask == 0 {
                    return None;
                }
                let offset = mask.trailing_zeros() as u16;
                mask &= mask - 1;
                Some(pid.wrapping_add(offset))
            })
        })
    }
}

/// A picture was lost: a keyframe is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pli {
    /// Who asks.
    pub sender_ssrc: u32,
    /// The stream.
    pub media_ssrc: u32,
}

impl Pli {
    pub(super) fn parse(raw: Raw<'_>) -> Result<Self, RtcpError> {
        let (sender_ssrc, media_ssrc) = ssrcs(raw)?;
        Ok(Self {
            sender_ssrc,
            media_ssrc,
        })
    }
}

/// A keyframe wanted of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirEntry {
    /// The stream.
    pub ssrc: u32,
    /// Rises with each new request; a repetition keeps it (RFC 5104 §4.3.1.2).
    pub seq: u8,
}

/// Keyframes are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fir<'a> {
    /// Who asks.
    pub sender_ssrc: u32,
    entries: &'a [u8],
}

impl<'a> Fir<'a> {
    pub(super) fn parse(raw: Raw<'a>) -> Result<Self, RtcpError> {
        let (sender_ssrc, _) = ssrcs(raw)?;
        let entries = raw.body.get(SSRCS_LEN..).unwrap_or_default();
        if entries.is_empty() || entries.len() % 8 != 0 {
            return Err(raw.malformed());
        }
        Ok(Self {
            sender_ssrc,
            entries,
        })
    }

    /// The streams and request numbers.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = FirEntry> + Clone + 'a {
        self.entries.as_chunks::<8>().0.iter().map(|e| FirEntry {
            ssrc: u32::from_be_bytes([e[0], e[1], e[2], e[3]]),
            seq: e[4],
        })
    }
}

/// What a receiver thinks it can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remb<'a> {
    /// Who tells.
    pub sender_ssrc: u32,
    /// Bits per second, [`u64::MAX`] when the number is beyond.
    pub bitrate: u64,
    ssrcs: &'a [u8],
}

impl<'a> Remb<'a> {
    /// Other application layer feedback has another identifier.
    pub(super) fn is(raw: Raw<'_>) -> bool {
        raw.body.get(SSRCS_LEN..SSRCS_LEN + 4) == Some(REMB.as_slice())
    }

    pub(super) fn parse(raw: Raw<'a>) -> Result<Self, RtcpError> {
        let (sender_ssrc, _) = ssrcs(raw)?;
        let word = be32(raw.body, 12).ok_or(raw.malformed())?;
        let count = (word >> 24) as usize;
        let exponent = word >> 18 & 0x3F;
        let mantissa = u64::from(word & 0x3_FFFF);
        let ssrcs = raw.body.get(16..16 + 4 * count).ok_or(raw.malformed())?;
        let bitrate = if mantissa.leading_zeros() >= exponent {
            mantissa << exponent
        } else {
            u64::MAX
        };
        Ok(Self {
            sender_ssrc,
            bitrate,
            ssrcs,
        })
    }

    /// The streams it applies to.
    pub fn ssrcs(&self) -> impl ExactSizeIterator<Item = u32> + Clone + 'a {
        words(self.ssrcs)
    }
}
