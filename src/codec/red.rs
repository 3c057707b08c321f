//! Redundant audio (RFC 2198): finding the blocks of a packet.

/// One block of a RED payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block<'a> {
    /// The RTP payload type of its data.
    pub payload_type: u8,
    /// How far its time-stamp lies before the packet's; 0 for the primary block.
    pub timestamp_offset: u16,
    /// Its data.
    pub data: &'a [u8],
}

/// The most blocks that are read. Browsers send two to nine.
const MAX_BLOCKS: usize = 16;

/// The blocks of a RED payload, oldest first and the primary block last, as
/// they lie in the packet (RFC 2198 §3). Empty when headers and data do not fit together.
pub fn blocks(payload: &[u8]) -> impl Iterator<Item = Block<'_>> {
    let mut headers = [(0u8, 0u16, 0usize); MAX_BLOCKS];
    let (count, mut rest) = read_headers(payload, &mut headers).unwrap_or((0, &[]));
    headers.into_iter().take(count).enumerate().map_while(
        move |(index, (payload_type, timestamp_offset, length))| {
            // The primary block has no length: it is the rest.
            let length = if index + 1 == count {
                rest.len()
            } else {
                length
            };
            let (data, after) = rest.split_at_checked(length)?;
            rest = after;
            Some(Block {
                payload_type,
                timestamp_offset,
                data,
            })
        },
    )
}

/// The primary block: the newest data, which the packet's time-stamp names.
pub fn primary(payload: &[u8]) -> Option<Block<'_>> {
    blocks(payload).last()
}

/// All blocks are of the payload type `pt`: a receiver that has another number for their codec can't read
/// them (RFC 2198 §3 has each block name its own).
pub fn is_all_of(payload: &[u8], pt: u8) -> bool {
    let mut rest = payload;
    for _ in 0..MAX_BLOCKS {
        match *rest {
            [last, ..] if last & 0x80 == 0 => return last == pt,
            [first, _, _, _, ref after @ ..] if first & 0x7f == pt => rest = after,
            _ => return false,
        }
    }
    false
}

/// Reads the headers; gives their number and the data after them.
fn read_headers<'a>(
    payload: &'a [u8],
    headers: &mut [(u8, u16, usize); MAX_BLOCKS],
) -> Option<(usize, &'a [u8])> {
    let mut rest = payload;
    let mut total = 0;
    for (index, header) in headers.iter_mut().enumerate() {
        let (&first, after) = rest.split_first()?;
        if first & 0x80 == 0 {
            *header = (first, 0, 0);
            return (total <= after.len()).then_some((index + 1, after));
        }
        let (&[a, b, c], after) = after.split_first_chunk::<3>()?;
        let offset = u16::from(a) << 6 | u16::from(b >> 2);
        let length = usize::from(b & 3) << 8 | usize::from(c);
        total += length;
        *header = (first & 0x7f, offset, length);
        rest = after;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primary_alone() {
        let block = primary(&[111, 1, 2, 3]).unwrap();
        assert_eq!((block.payload_type, block.timestamp_offset), (111, 0));
        assert_eq!(block.data, [1, 2, 3]);
    }

    #[test]
    fn redundancy_before_the_primary() {
        // Two old blocks of 2 and 1 bytes, 1920 and 960 ticks back.
        let payload = [
            0xef, 0x1e, 0x00, 0x02, 0xef, 0x0f, 0x00, 0x01, 0x6f, 1, 2, 3, 4, 5,
        ];
        let read: Vec<_> = blocks(&payload).collect();
        assert_eq!(read.len(), 3);
        assert_eq!(
            (read[0].timestamp_offset, read[0].data),
            (1920, &[1, 2][..])
        );
        assert_eq!((read[1].timestamp_offset, read[1].data), (960, &[3][..]));
        assert_eq!((read[2].payload_type, read[2].data), (111, &[4, 5][..]));
        assert_eq!(primary(&payload), read.last().copied());
        assert!(is_all_of(&payload, 111));
        assert!(!is_all_of(&payload, 120));
        for (at, header) in [(0, 0xf8), (4, 0xf8), (8, 0x78)] {
            let mut mixed = payload;
            mixed[at] = header;
            assert!(!is_all_of(&mixed, 111), "block {at}");
        }
    }

    #[test]
    fn what_does_not_fit_is_nothing() {
        assert_eq!(primary(&[]), None);
        assert_eq!(primary(&[0xef, 0, 0]), None, "header cut short");
        assert_eq!(primary(&[0xef, 0, 0, 9, 0x6f, 1]), None, "data cut short");
        assert_eq!(primary(&[0xff; 200]), None, "headers without an end");
        for payload in [&[][..], &[0xef, 0, 0], &[0xef, 0, 0, 9], &[0xef; 200]] {
            assert!(!is_all_of(payload, 111), "{payload:?}");
        }
        let empty = primary(&[0x6f]).unwrap();
        assert!(empty.data.is_empty());
    }
}
