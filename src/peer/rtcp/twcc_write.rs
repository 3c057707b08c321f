//! Writing transport-wide feedback
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1).

use super::RtcpError;
use super::twcc::{DELTA_STEP_US, REFERENCE_STEP_US, symbol};

/// Bytes from the base sequence number to the first chunk.
const FIXED_LEN: usize = 8;

/// Symbols of a one-bit and of a two-bit vector chunk.
const ONE_BIT: usize = 14;
const TWO_BIT: usize = 7;

/// The longest run a chunk can count.
const MAX_RUN: usize = 0x1FFF;

/// A packet that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Its transport-wide sequence number, extended so that it does not wrap.
    pub seq: u64,
    /// When it came, in microseconds on any clock that all feedback of the
    /// session shares.
    pub micros: u64,
}

/// What [`write()`] did.
pub(super) struct Written {
    /// Bytes written, not yet whole words.
    pub(super) bytes: usize,
    /// Arrivals told.
    pub(super) arrivals: usize,
}

/// Writes base sequence number, status count, reference time, feedback count,
/// chunks and deltas for the first arrivals, as many as fit. What is missing from
/// `base` on is told as lost.
pub(super) fn write(
    out: &mut [u8],
    feedback_count: u8,
    base: u64,
    arrivals: &[Arrival],
) -> Result<Written, RtcpError> {
    let first = arrivals.first().ok_or(RtcpError::NoRoom)?;
    // Padding may need three bytes more.
    let (header, rest) = out
        .split_first_chunk_mut::<FIXED_LEN>()
        .ok_or(RtcpError::NoRoom)?;
    let room = rest.len().saturating_sub(3);

    let reference = (first.micros as i64).div_euclid(REFERENCE_STEP_US);
    let mut chunks = ChunkWriter::default();
    let mut deltas = Deltas::new(reference);
    let mut delta_bytes = 0;
    let mut told = 0;
    let mut next_seq = base;
    for arrival in arrivals {
        // Sequence numbers that don't rise are the caller's mistake; the packet
        // ends before them, so that what is on the wire stays true.
        let Some(lost) = arrival.seq.checked_sub(next_seq) else {
            break;
        };
        let count = arrival.seq - base + 1;
        let Some(delta) = deltas.next(arrival.micros) else {
            break;
        };
        if count > u64::from(u16::MAX) {
            break;
        }
        let mut grown = chunks;
        let fits = grown
            .push_run(rest, symbol::LOST, lost as usize)
            .and_then(|()| grown.push(rest, delta.symbol()))
            .is_some();
        let needed = grown.bytes_when_done() + delta_bytes + delta.len();
        if !fits || needed > room {
            break;
        }
        chunks = grown;
        delta_bytes += delta.len();
        told += 1;
        next_seq = arrival.seq + 1;
    }
    if told == 0 {
        return Err(RtcpError::NoRoom);
    }
    let chunk_bytes = chunks.finish(rest).ok_or(RtcpError::NoRoom)?;

    // The deltas again, now that their place is known.
    let mut deltas = Deltas::new(reference);
    let mut at = chunk_bytes;
    for arrival in &arrivals[..told] {
        let Some(delta) = deltas.next(arrival.micros) else {
            break;
        };
        let bytes = delta.0.to_be_bytes();
        let bytes = &bytes[2 - delta.len()..];
        let place = rest.get_mut(at..at + bytes.len());
        place.ok_or(RtcpError::NoRoom)?.copy_from_slice(bytes);
        at += bytes.len();
    }

    let [base_high, base_low] = (base as u16).to_be_bytes();
    let [count_high, count_low] = ((next_seq - base) as u16).to_be_bytes();
    let [_, r0, r1, r2] = (reference as u32).to_be_bytes();
    *header = [
        base_high,
        base_low,
        count_high,
        count_low,
        r0,
        r1,
        r2,
        feedback_count,
    ];
    Ok(Written {
        bytes: FIXED_LEN + at,
        arrivals: told,
    })
}

/// A receive delta in steps.
#[derive(Clone, Copy)]
struct Delta(i16);

impl Delta {
    fn symbol(self) -> u8 {
        if (0..=0xFF).contains(&self.0) {
            symbol::SMALL
        } else {
            symbol::LARGE
        }
    }

    fn len(self) -> usize {
        usize::from(self.symbol())
    }
}

/// Turns arrival times into deltas. Each is taken from the rounded time of the
/// one before, so that rounding errors don't add up.
struct Deltas {
    /// The time told so far, in steps.
    told: i64,
}

impl Deltas {
    fn new(reference: i64) -> Self {
        Self {
            told: reference * (REFERENCE_STEP_US / DELTA_STEP_US),
        }
    }

    /// `None` when it is further away than a delta reaches (8.19 s).
    fn next(&mut self, micros: u64) -> Option<Delta> {
        let steps = (micros as i64 + DELTA_STEP_US / 2).div_euclid(DELTA_STEP_US);
        let delta = i16::try_from(steps.wrapping_sub(self.told)).ok()?;
        self.told = steps;
        Some(Delta(delta))
    }
}

/// Collects symbols and writes a chunk when no more fit in it. What it holds can
/// always be written as one chunk: up to 7 symbols, or up to 14 without a large
/// delta, or equal ones up to a run's maximum.
#[derive(Clone, Copy, Default)]
struct ChunkWriter {
    /// The first symbols held.
    symbols: [u8; ONE_BIT],
    /// Symbols held; more than the array's length only when all are equal.
    held: usize,
    /// Bytes written.
    written: usize,
}

impl ChunkWriter {
    fn all_equal(&self) -> bool {
        let known = &self.symbols[..self.held.min(ONE_BIT)];
        known.windows(2).all(|pair| pair[0] == pair[1])
    }

    fn has_large(&self) -> bool {
        self.symbols[..self.held.min(ONE_BIT)].contains(&symbol::LARGE)
    }

    fn can_take(&self, symbol: u8) -> bool {
        let equal = self.all_equal() && (self.held == 0 || self.symbols[0] == symbol);
        self.held < TWO_BIT
            || (equal && self.held < MAX_RUN)
            || (self.held < ONE_BIT && symbol != symbol::LARGE && !self.has_large())
    }

    fn push(&mut self, out: &mut [u8], symbol: u8) -> Option<()> {
        while !self.can_take(symbol) {
            self.flush(out, false)?;
        }
        if let Some(place) = self.symbols.get_mut(self.held) {
            *place = symbol;
        }
        self.held += 1;
        Some(())
    }

    /// Pushes `count` times the same; constant work per chunk, not per symbol.
    fn push_run(&mut self, out: &mut [u8], symbol: u8, count: usize) -> Option<()> {
        let mut left = count;
        while left > 0 {
            self.push(out, symbol)?;
            left -= 1;
            if self.held >= ONE_BIT && self.all_equal() && self.symbols[0] == symbol {
                let more = left.min(MAX_RUN - self.held);
                self.held += more;
                left -= more;
            }
        }
        Some(())
    }

    /// Writes one chunk of what is held and keeps the rest. Only the last chunk
    /// of a packet may be a vector that is not full.
    fn flush(&mut self, out: &mut [u8], last: bool) -> Option<()> {
        let (word, used) = if self.all_equal() {
            let run = u16::from(self.symbols[0]) << 13 | self.held as u16;
            (run, self.held)
        } else if !self.has_large() && (self.held == ONE_BIT || last && self.held > TWO_BIT) {
            (0x8000 | self.vector(1, self.held, ONE_BIT), self.held)
        } else {
            let used = TWO_BIT.min(self.held);
            (0xC000 | self.vector(2, used, TWO_BIT), used)
        };
        out.get_mut(self.written..self.written + 2)?
            .copy_from_slice(&word.to_be_bytes());
        self.written += 2;
        let known = self.held.min(ONE_BIT);
        self.symbols.copy_within(used.min(known)..known, 0);
        self.held -= used;
        Some(())
    }

    /// The first `count` symbols left-aligned in a vector of `capacity`.
    fn vector(&self, bits: usize, count: usize, capacity: usize) -> u16 {
        let packed = self.symbols[..count]
            .iter()
            .fold(0, |word: u16, symbol| word << bits | u16::from(*symbol));
        packed << (bits * (capacity - count))
    }

    /// Bytes of all chunks if no more symbols came.
    fn bytes_when_done(&self) -> usize {
        self.written + if self.held > 0 { 2 } else { 0 }
    }

    fn finish(mut self, out: &mut [u8]) -> Option<usize> {
        while self.held > 0 {
            self.flush(out, true)?;
        }
        Some(self.written)
    }
}
