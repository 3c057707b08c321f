//! What a receiver report says of the viewer's own path: packets that never
//! reached the server left holes in the line, and are nobody's loss but the
//! publisher's.

use crate::peer::rtcp::ReportBlock;

/// More packets than this between two reports are another line's.
const PLAUSIBLE: u32 = 1 << 16;

/// The state of one slot's line at its newest report.
#[derive(Debug, Default)]
pub struct Reception {
    last: Option<(u32, i32, i64)>,
}

impl Reception {
    /// Packets since the last report that were expected to arrive, and those of
    /// them that were sent and did not. `holes` counts the numbers of the line
    /// that were never sent so far. `None` for the first report.
    pub fn since_last(&mut self, block: &ReportBlock, holes: i64) -> Option<(u32, u32)> {
        let now = (block.ext_max_seq, block.cumulative_lost, holes);
        let (highest, lost, holes_then) = self.last.replace(now)?;
        let expected = block.ext_max_seq.wrapping_sub(highest);
        if expected > PLAUSIBLE {
            return None;
        }
        let lost = i64::from(block.cumulative_lost) - i64::from(lost);
        let holes = (holes - holes_then).clamp(0, i64::from(expected));
        let sent = expected - holes as u32;
        let lost = (lost - holes).clamp(0, i64::from(sent)) as u32;
        Some((sent, lost))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(ext_max_seq: u32, cumulative_lost: i32) -> ReportBlock {
        ReportBlock {
            ext_max_seq,
            cumulative_lost,
            ..ReportBlock::default()
        }
    }

    #[test]
    fn holes_of_the_publisher_are_not_the_viewers_loss() {
        let mut reception = Reception::default();
        assert_eq!(reception.since_last(&block(1000, 5), 3), None);
        // (reported, lost so far, holes so far) and what is left of it.
        let table = [
            ((1100, 15, 3), Some((100, 10))),
            ((1200, 25, 13), Some((90, 0))),
            ((1300, 40, 18), Some((95, 10))),
            // Repairs filled holes, duplicates outnumber losses.
            ((1400, 38, 16), Some((100, 0))),
            ((1400, 38, 16), Some((0, 0))),
            // Another line, and back.
            ((900, 0, 16), None),
            ((1000, 10, 16), Some((100, 10))),
        ];
        for ((highest, lost, holes), expected) in table {
            let found = reception.since_last(&block(highest, lost), holes);
            assert_eq!(found, expected, "{highest} {lost} {holes}");
        }
    }
}
