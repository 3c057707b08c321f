//! The numbers of an encoding's packets, over all SSRCs that it came with.
//!
//! A publisher may give an encoding another SSRC in mid-session (an encoder
//! that restarts, RFC 3550 §8.2), and its numbers start anew. Viewers' lines and
//! the ring want one line that only rises.

use std::time::{Duration, Instant};

use crate::room::encoding::LINE_BREAK;

/// Packets of the former SSRC may still be on their way for this long.
const STRAYS: Duration = Duration::from_secs(1);

/// How far a new SSRC begins beyond the last packet: certainly a break of the
/// line, for a viewer that got the last one and for its first packets, should they come
/// out of order.
const STEP: u64 = 2 * LINE_BREAK;

/// The line of one encoding.
#[derive(Debug, Default)]
pub struct Numbering {
    ssrc: Option<u32>,
    former: Option<(u32, Instant)>,
    /// Added to the present SSRC's numbers, modulo 2^64.
    offset: u64,
    /// Behind the highest number.
    next: u64,
}

/// A packet's number on the encoding's line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Number {
    /// The number.
    pub seq: u64,
    /// It is the first with a new SSRC: a keyframe is needed.
    pub begins: bool,
}

impl Numbering {
    /// Whether a packet with `ssrc` is left over from before it changed.
    pub fn is_stray(&self, now: Instant, ssrc: u32) -> bool {
        self.former
            .is_some_and(|(former, until)| former == ssrc && now < until)
    }

    /// The number of a packet that has `seq` among those of its SSRC; `None` for a stray one.
    pub fn number(&mut self, now: Instant, ssrc: u32, seq: u64) -> Option<Number> {
        let begins = self.ssrc.is_some_and(|present| present != ssrc);
        if begins && self.is_stray(now, ssrc) {
            return None;
        }
        if begins {
            self.former = self.ssrc.map(|former| (former, now + STRAYS));
            self.offset = (self.next + STEP).wrapping_sub(seq);
        }
        self.ssrc = Some(ssrc);
        let seq = seq.wrapping_add(self.offset);
        self.next = self.next.max(seq + 1);
        Some(Number { seq, begins })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_ssrc_goes_on_beyond_a_break_of_the_line() {
        let start = Instant::now();
        let mut numbering = Numbering::default();
        let mut number = |ms, ssrc: u32, seq| {
            let at = start + Duration::from_millis(ms);
            let number = numbering.number(at, ssrc, seq);
            number.map(|n| (n.seq, n.begins))
        };
        assert_eq!(number(0, 1, 90_000), Some((90_000, false)));
        assert_eq!(number(1, 1, 89_999), Some((89_999, false)));
        let first = 90_001 + STEP;
        assert!(first > 90_001 + LINE_BREAK);
        assert_eq!(number(2, 2, 50), Some((first, true)));
        assert_eq!(number(3, 2, 52), Some((first + 2, false)));
        assert_eq!(number(4, 2, 49), Some((first - 1, false)));
        // What is left of the former one changes nothing.
        assert_eq!(number(5, 1, 90_001), None);
        assert_eq!(number(6, 2, 53), Some((first + 3, false)));
        // Later it is a change back.
        assert_eq!(number(1500, 1, 90_002), Some((first + 4 + STEP, true)));
        assert_eq!(number(1501, 3, 7), Some((first + 5 + 2 * STEP, true)));
    }
}
