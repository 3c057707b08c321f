//! Which runs of an arena can leave in one message although others lie between them.
//!
//! Packets are written track by track, so what one viewer of several tracks gets in a turn lies
//! apart: a picture's run, and a packet of sound behind those of all other viewers. The kernel takes
//! a message in two pieces, and cuts it as if it were one; what is spared is a message, which costs as
//! much as three further datagrams of one.

use std::net::IpAddr;

use super::arena::{MAX_RUN_BYTES, MAX_SEGMENTS, Run, SendArena};

/// Places of the table, a power of two: twice the runs of an arena.
const PLACES: usize = 2048;

/// "None" among indices of runs.
const NONE: u32 = u32::MAX;

/// This run is the second piece of another.
const TAKEN: u32 = u32::MAX - 1;

/// See the module's description.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    /// The newest run to an address, with the number of the search that it is of. Allocated at
    /// the first search.
    places: Box<[(u32, u32)]>,
    search: u32,
    /// For each run its second piece, [`NONE`] or [`TAKEN`].
    tails: Vec<u32>,
}

impl Pairs {
    /// Looks for pairs. What goes to one address stays in its order.
    pub(super) fn search(&mut self, arena: &SendArena) {
        self.search = self.search.wrapping_add(1);
        if self.places.is_empty() {
            self.places = vec![(0, 0); PLACES].into_boxed_slice();
        } else if self.search == 0 {
            self.places.fill((0, 0));
        }
        self.search = self.search.max(1);
        self.tails.clear();
        self.tails.reserve(arena.most_runs()); // allocates at the first search only
        for (number, run) in (0u32..).zip(arena.runs()) {
            self.tails.push(NONE);
            let Some(place) = self.places.get_mut(place(&run)) else {
                continue;
            };
            let (of, newest) = *place;
            if of == self.search
                && let Some(head) = arena.run(newest as usize)
                && fits(&head, &run)
                && let Some(tail) = self.tails.get_mut(newest as usize)
                && *tail == NONE
            {
                *tail = number;
                if let Some(this) = self.tails.get_mut(number as usize) {
                    *this = TAKEN;
                }
            }
            *place = (self.search, number);
        }
    }

    /// Nothing is paired.
    pub(super) fn clear(&mut self) {
        self.tails.clear();
    }

    /// The second piece of a run; `None` when the run itself is one.
    pub(super) fn tail<'a>(&self, number: usize, arena: &'a SendArena) -> Option<&'a [u8]> {
        match self.tails.get(number).copied().unwrap_or(NONE) {
            TAKEN => None,
            NONE => Some(&[]),
            tail => Some(arena.run(tail as usize).map_or(&[], |run| run.bytes)),
        }
    }
}

/// `next` can be the end of `head`: all segments but the last are of one size.
fn fits(head: &Run<'_>, next: &Run<'_>) -> bool {
    let bytes = head.bytes.len() + next.bytes.len();
    let one_shorter = next.count() == 1 && next.segment <= head.segment;
    head.path == next.path
        && head.bytes.len().is_multiple_of(head.segment.max(1))
        && (next.segment == head.segment || one_shorter)
        && bytes <= MAX_RUN_BYTES
        && head.count() + next.count() <= MAX_SEGMENTS
}

/// Where the table has a run's address. Others may have the same place: then a pair is missed.
fn place(run: &Run<'_>) -> usize {
    let ip = match run.path.remote.ip() {
        IpAddr::V4(ip) => u64::from(ip.to_bits()),
        IpAddr::V6(ip) => {
            let bits = ip.to_bits();
            (bits >> 64) as u64 ^ bits as u64
        }
    };
    let address = ip ^ u64::from(run.path.remote.port()) << 40;
    (address.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - PLACES.ilog2())) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::arena::tests::path;

    /// The pairs of an arena with these datagrams, as numbers of runs.
    fn pairs(pairs: &mut Pairs, datagrams: &[(u16, usize)]) -> Vec<(usize, usize)> {
        let mut arena = SendArena::new(1 << 20, 1000);
        for (port, size) in datagrams {
            assert!(arena.push(path(*port), &vec![0; *size]));
        }
        pairs.search(&arena);
        let tails = pairs.tails.iter().enumerate();
        let paired = tails.filter(|(_, tail)| **tail < TAKEN);
        let paired: Vec<_> = paired.map(|(head, tail)| (head, *tail as usize)).collect();
        for (head, tail) in &paired {
            assert_eq!(pairs.tail(*tail, &arena), None);
            let bytes = arena.run(*tail).map(|run| run.bytes);
            assert_eq!(pairs.tail(*head, &arena), bytes);
        }
        paired
    }

    #[test]
    fn sound_behind_other_viewers_pictures_goes_with_its_own() {
        let mut p = Pairs::default();
        let both = [(1, 1000), (1, 1000), (2, 1000), (2, 1000), (1, 90), (2, 90)];
        assert_eq!(pairs(&mut p, &both), [(0, 2), (1, 3)]);
        // A run that a shorter packet has ended takes none, nor does one of shorter packets.
        assert_eq!(pairs(&mut p, &[(1, 1000), (1, 900), (2, 50), (1, 90)]), []);
        assert_eq!(
            pairs(&mut p, &[(1, 80), (2, 50), (1, 90), (2, 50)]),
            [(1, 3)]
        );
        // A second run of equal size does, and of another size not.
        let runs = |size| [(1, 500), (1, 500), (2, 9), (1, size), (1, size)];
        assert_eq!(pairs(&mut p, &runs(500)), [(0, 2)]);
        assert_eq!(pairs(&mut p, &runs(400)), []);
    }

    #[test]
    fn nothing_overtakes_what_goes_to_the_same_address() {
        let mut p = Pairs::default();
        // The second is too long for the first; the third would fit there, but goes with the second.
        assert_eq!(
            pairs(&mut p, &[(1, 500), (2, 9), (1, 700), (2, 99), (1, 90)]),
            [(2, 4)]
        );
        // One piece more a message, no further.
        assert_eq!(
            pairs(
                &mut p,
                &[(1, 90), (2, 9), (1, 90), (2, 99), (1, 90), (3, 1), (1, 90)]
            ),
            [(0, 2), (4, 6)]
        );
    }

    #[test]
    fn limits_of_the_kernel_hold() {
        let mut p = Pairs::default();
        let mut full = vec![(1, 20); MAX_SEGMENTS];
        full.extend([(2, 20), (1, 20)]);
        assert_eq!(pairs(&mut p, &full), []);
        full.remove(0);
        assert_eq!(pairs(&mut p, &full), [(0, 2)]);
    }
}
