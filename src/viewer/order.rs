//! In which order the slots of one viewer are sent what they are behind with: who joins a
//! conference is behind with every picture at the same time.
//!
//! First pictures go before all else, so that each slot shows something as soon as the
//! path allows, whatever waits behind them. Then one slot after the other catches up: the
//! speaker's, then whoever has least to catch up with, so that most are live early.

use std::cmp::Reverse;
use std::time::Duration;

use smallvec::SmallVec;

use super::pace::Pacer;
use super::slot::Slot;
use crate::room::Track;

/// Bytes of a packet, where a backlog does not tell more.
const USUAL_PACKET: u64 = 1_200;

/// A backlog that takes longer than this has been overtaken by another keyframe.
const LONGEST: Duration = Duration::from_secs(4);

/// A slot that is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// The slot's index.
    pub slot: u8,
    /// Higher ones go first.
    pub priority: u8,
    /// Bytes of its first picture; zero once that was sent.
    pub first: u64,
    /// Bytes of all that it is behind with, the first picture included.
    pub bytes: u64,
    /// Bytes a second that come while it waits.
    pub live: u64,
    /// It begins with a keyframe of which nothing was sent yet.
    pub begins: bool,
    /// Its first picture is on its way.
    pub begun: bool,
}

/// The slots of a viewer that are behind.
pub type Queue = SmallVec<[Waiting; 12]>;

impl Waiting {
    /// What the slot, which is number `index` of its viewer, is behind with.
    pub fn of(slot: &Slot, index: u8, track: &Track) -> Option<Self> {
        let behind = slot.behind.as_ref()?;
        let encoding = track.encodings.get(usize::from(behind.encoding))?;
        let ring = &encoding.ring;
        let segment = ring.segment();
        // A newer keyframe than where it is will be leapt to.
        let from = segment.map_or(behind.cursor, |s| s.first.max(behind.cursor));
        let packets = ring.end().map_or(0, |end| end.saturating_sub(from));
        let begins = behind.restart.is_some();
        Some(Self {
            slot: index,
            priority: slot.priority,
            first: if begins {
                ring.keyframe_bytes() as u64
            } else {
                0
            },
            bytes: match segment {
                Some(segment) if segment.first == from => segment.bytes as u64,
                _ => packets * USUAL_PACKET,
            },
            live: encoding.stats.bitrate().0 / 8,
            begins,
            begun: behind.opening && !begins,
        })
    }
}

/// Puts the slots in the order in which they are served.
pub fn sort(queue: &mut [Waiting]) {
    queue.sort_unstable_by_key(|w| (!w.begun, Reverse(w.priority), w.bytes, w.slot));
}

/// How long it takes until what the slot at `at` of the sorted `queue` is behind with has been
/// sent, beside `live` bytes a second that go to the viewer already; `None` when it never is.
pub fn through(queue: &[Waiting], at: usize, live: u64, pacer: &Pacer) -> Option<Duration> {
    let (until, after) = queue.split_at_checked(at + 1)?;
    let backlogs: u64 = until.iter().map(|w| w.bytes).sum();
    let pictures: u64 = after.iter().map(|w| w.first).sum();
    let comes: u64 = until.iter().map(|w| w.live).sum();
    let time = pacer.time_for(backlogs + pictures, live + comes)?;
    Some(time.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(slot: u8, priority: u8, first: u64, bytes: u64) -> Waiting {
        Waiting {
            slot,
            priority,
            first,
            bytes,
            live: 0,
            begins: first > 0,
            begun: false,
        }
    }

    #[test]
    fn the_speaker_goes_first_then_who_has_least_to_catch_up_with() {
        let mut queue = [
            waiting(0, 0, 9, 900),
            waiting(1, 0, 9, 300),
            waiting(2, 1, 9, 700),
            waiting(3, 0, 9, 300),
        ];
        sort(&mut queue);
        assert_eq!(queue.map(|w| w.slot), [2, 1, 3, 0]);
    }

    #[test]
    fn a_backlog_waits_for_those_before_it_and_for_the_first_pictures_of_the_others() {
        let pacer = Pacer::default();
        let queue = [
            waiting(0, 0, 10_000, 40_000),
            waiting(1, 0, 10_000, 60_000),
            waiting(2, 0, 10_000, 80_000),
        ];
        let through = |at| through(&queue, at, 0, &pacer).expect("it gets through");
        // 12 Mb/s are 1500 bytes a millisecond.
        assert_eq!(through(0).as_millis(), 40);
        assert_eq!(through(1).as_millis(), 73);
        assert_eq!(through(2).as_millis(), 120);
    }

    #[test]
    fn live_pictures_take_their_share() {
        let mut pacer = Pacer::default();
        let estimate = Some(crate::units::Bitrate(4_000_000));
        pacer.refill(std::time::Instant::now(), estimate);
        let queue = [Waiting {
            live: 250_000,
            ..waiting(0, 0, 10_000, 100_000)
        }];
        // 10 Mb/s, of which 2 are taken by each of the two.
        let time = through(&queue, 0, 250_000, &pacer);
        assert_eq!(time.map(|t| t.as_millis()), Some(133));
        assert_eq!(through(&queue, 0, 2_000_000, &pacer), None);
        assert_eq!(through(&queue, 1, 0, &pacer), None);
    }
}
