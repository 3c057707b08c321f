//! Reading transport-wide feedback
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1).

use super::{Raw, RtcpError, be16, be32};

/// Microseconds of one step of a receive delta.
pub(super) const DELTA_STEP_US: i64 = 250;

/// Microseconds of one step of the reference time.
pub(super) const REFERENCE_STEP_US: i64 = 64_000;

/// What a status symbol says (§3.1.1).
pub(super) mod symbol {
    /// The packet did not arrive.
    pub(in super::super) const LOST: u8 = 0;
    /// It arrived; its delta is one unsigned byte.
    pub(in super::super) const SMALL: u8 = 1;
    /// It arrived; its delta is two signed bytes.
    pub(in super::super) const LARGE: u8 = 2;
}

/// When packets of a transport arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Twcc<'a> {
    /// Who reports.
    pub sender_ssrc: u32,
    /// A media source of the transport.
    pub media_ssrc: u32,
    /// Transport-wide sequence number of the first packet reported on.
    pub base_seq: u16,
    /// How many packets are reported on; a peer may claim 65535 in a few bytes.
    pub packet_count: u16,
    /// Time the first delta counts from, in steps of 64 ms; 24 bits, signed,
    /// on the receiver's clock, wrapping.
    pub reference_time: i32,
    /// Rises by one with each feedback packet.
    pub feedback_count: u8,
    chunks: &'a [u8],
    deltas: &'a [u8],
}

impl<'a> Twcc<'a> {
    pub(super) fn parse(raw: Raw<'a>) -> Result<Self, RtcpError> {
        Self::read(raw.body).ok_or(raw.malformed())
    }

    /// Walks the chunks once, so that the iterator needs no checks that can fail.
    fn read(body: &'a [u8]) -> Option<Self> {
        let packet_count = be16(body, 10)?;
        let word = be32(body, 12)?;
        let after_header = body.get(16..)?;

        let mut chunks = after_header;
        let mut left = packet_count;
        let mut delta_bytes = 0;
        while left > 0 {
            let (chunk, rest) = chunks.split_first_chunk::<2>()?;
            chunks = rest;
            let mut chunk = Chunk::read(u16::from_be_bytes(*chunk));
            if let Chunk::Run { symbol, len } = chunk {
                let len = len.min(left);
                delta_bytes += usize::from(len) * delta_len(symbol)?;
                left -= len;
                continue;
            }
            while left > 0
                && let Some(symbol) = chunk.next()
            {
                delta_bytes += delta_len(symbol)?;
                left -= 1;
            }
        }
        let chunk_bytes = after_header.len() - chunks.len();
        Some(Self {
            sender_ssrc: be32(body, 0)?,
            media_ssrc: be32(body, 4)?,
            base_seq: be16(body, 8)?,
            packet_count,
            // The upper 24 bits, signed.
            reference_time: (word as i32) >> 8,
            feedback_count: word as u8,
            chunks: after_header.get(..chunk_bytes)?,
            deltas: chunks.get(..delta_bytes)?,
        })
    }

    /// The reference time in microseconds.
    pub fn reference_micros(&self) -> i64 {
        i64::from(self.reference_time) * REFERENCE_STEP_US
    }

    /// Each packet reported on: its sequence number, and when it arrived the
    /// microseconds since the packet that arrived before it in this list (since
    /// the reference time for the first). `None` means it has not arrived.
    pub fn statuses(&self) -> TwccStatuses<'a> {
        TwccStatuses {
            seq: self.base_seq,
            left: self.packet_count,
            chunk: Chunk::Run { symbol: 0, len: 0 },
            chunks: self.chunks,
            deltas: self.deltas,
        }
    }
}

/// The iterator of [`Twcc::statuses`].
#[derive(Debug, Clone)]
pub struct TwccStatuses<'a> {
    seq: u16,
    left: u16,
    chunk: Chunk,
    chunks: &'a [u8],
    deltas: &'a [u8],
}

impl Iterator for TwccStatuses<'_> {
    type Item = (u16, Option<i32>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let symbol = loop {
            if let Some(symbol) = self.chunk.next() {
                break symbol;
            }
            let (chunk, rest) = self.chunks.split_first_chunk::<2>()?;
            self.chunk = Chunk::read(u16::from_be_bytes(*chunk));
            self.chunks = rest;
        };
        let steps = match symbol {
            symbol::LOST => None,
            symbol::SMALL => {
                let (delta, rest) = self.deltas.split_first()?;
                self.deltas = rest;
                Some(i32::from(*delta))
            }
            _ => {
                let (delta, rest) = self.deltas.split_first_chunk::<2>()?;
                self.deltas = rest;
                Some(i32::from(i16::from_be_bytes(*delta)))
            }
        };
        let seq = self.seq;
        self.seq = seq.wrapping_add(1);
        Some((seq, steps.map(|steps| steps * DELTA_STEP_US as i32)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::from(self.left), Some(usize::from(self.left)))
    }
}

/// Bytes of the delta that goes with a symbol; `None` for the reserved symbol.
fn delta_len(symbol: u8) -> Option<usize> {
    match symbol {
        symbol::LOST => Some(0),
        symbol::SMALL => Some(1),
        symbol::LARGE => Some(2),
        _ => None,
    }
}

/// A packet status chunk, being used up.
#[derive(Debug, Clone, Copy)]
enum Chunk {
    /// The same symbol `len` times (§3.1.3).
    Run { symbol: u8, len: u16 },
    /// Symbols of `bits` bits each, left-aligned in `symbols` (§3.1.4).
    Vector { symbols: u16, left: u8, bits: u8 },
}

impl Chunk {
    #[inline]
    fn read(word: u16) -> Self {
        if word & 0x8000 == 0 {
            Self::Run {
                symbol: (word >> 13 & 3) as u8,
                len: word & 0x1FFF,
            }
        } else {
            let bits = if word & 0x4000 == 0 { 1 } else { 2 };
            Self::Vector {
                symbols: word << 2,
                left: 14 / bits,
                bits,
            }
        }
    }

    #[inline]
    fn next(&mut self) -> Option<u8> {
        match self {
            Self::Run { symbol, len } => {
                *len = len.checked_sub(1)?;
                Some(*symbol)
            }
            Self::Vector {
                symbols,
                left,
                bits,
            } => {
                *left = left.checked_sub(1)?;
                let symbol = (*symbols >> (16 - *bits)) as u8;
                *symbols <<= *bits;
                Some(symbol)
            }
        }
    }
}
