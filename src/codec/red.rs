//! Redundant audio (RFC 2198): what the headers of a packet's blocks say.

/// The most blocks that are read. Browsers send two to nine.
const MAX_BLOCKS: usize = 16;

/// What a packet's headers say, read once for everybody who gets the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Where the data of the primary block begins in the payload: the newest, which the packet's time-stamp
    /// names. It is the last block, and the rest of the payload (RFC 2198 §3).
    pub primary: u16,
    /// The RTP payload type that all blocks are of; `None` where they are of several.
    pub only: Option<u8>,
}

impl Summary {
    /// Reads the headers of a payload. `None` when they and the data do not fit together, or where the
    /// primary block begins further into it than a datagram is long.
    pub fn of(payload: &[u8]) -> Option<Self> {
        let (mut rest, mut redundant, mut only) = (payload, 0, None);
        for at in 0..MAX_BLOCKS {
            let (&first, after) = rest.split_first()?;
            let pt = first & 0x7f;
            only = if at == 0 {
                Some(pt)
            } else {
                only.filter(|o| *o == pt)
            };
            if first & 0x80 == 0 {
                let data = after.get(redundant..)?;
                let primary = u16::try_from(payload.len() - data.len()).ok()?;
                return Some(Self { primary, only });
            }
            let (&[_, high, low], after) = after.split_first_chunk()?;
            redundant += usize::from(high & 3) << 8 | usize::from(low);
            rest = after;
        }
        None
    }

    /// A receiver whose number for their codec is `pt` can read all blocks: each names its own (RFC 2198 §3).
    #[inline]
    pub fn is_all_of(&self, pt: u8) -> bool {
        self.only == Some(pt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(primary: u16, only: Option<u8>) -> Option<Summary> {
        Some(Summary { primary, only })
    }

    #[test]
    fn primary_alone() {
        assert_eq!(Summary::of(&[111, 1, 2, 3]), summary(1, Some(111)));
        assert_eq!(Summary::of(&[111]), summary(1, Some(111)), "it is empty");
    }

    #[test]
    fn redundancy_before_the_primary() {
        // Two old blocks of 2 and 1 bytes, 1920 and 960 ticks back.
        let payload = [
            0xef, 0x1e, 0x00, 0x02, 0xef, 0x0f, 0x00, 0x01, 0x6f, 1, 2, 3, 4, 5,
        ];
        let told = Summary::of(&payload);
        assert_eq!(told, summary(12, Some(111)));
        assert!(told.is_some_and(|t| t.is_all_of(111) && !t.is_all_of(120)));
        for (at, header) in [(0, 0xf8), (4, 0xf8), (8, 0x78)] {
            let mut mixed = payload;
            mixed[at] = header;
            let told = Summary::of(&mixed);
            assert_eq!(told, summary(12, None), "block {at}");
            assert!(told.is_some_and(|t| !t.is_all_of(111) && !t.is_all_of(120)));
        }
        let mut far = vec![0xef, 0x1e, 0x03, 0xff, 0x6f];
        far.resize(5 + 1023 + 2, 0);
        assert_eq!(Summary::of(&far), summary(5 + 1023, Some(111)), "ten bits");
    }

    #[test]
    fn what_does_not_fit_is_nothing() {
        assert_eq!(Summary::of(&[]), None);
        assert_eq!(Summary::of(&[0xef, 0, 0]), None, "header cut short");
        assert_eq!(Summary::of(&[0xef, 0, 0, 9]), None, "no primary block");
        assert_eq!(
            Summary::of(&[0xef, 0, 0, 9, 0x6f, 1]),
            None,
            "data cut short"
        );
        assert_eq!(Summary::of(&[0xff; 200]), None, "headers without an end");
    }
}
