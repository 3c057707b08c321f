//! What viewers can choose from: a track's encodings and their layers, ranked
//! by what they measure.

use super::encoding::Encoding;
use crate::codec::Cell;
use crate::units::Bitrate;

/// Rungs of a ladder; more than any encoder makes.
pub const MAX_RUNGS: usize = 48;

/// An encoding of the same size takes another one's rank only when it has this
/// much more rate, in percent: rates waver, and each change costs a keyframe.
const CLEARLY_MORE: u64 = 150;

/// One choice: an encoding up to some of its layers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rung {
    /// Index of the encoding.
    pub encoding: u8,
    /// Its layers.
    pub cell: Cell,
    /// Spatial layer, from 0.
    pub spatial: u8,
    /// Temporal layer, from 0.
    pub temporal: u8,
    /// What it takes; zero while it is not measured yet.
    pub bitrate: Bitrate,
    /// Picture size, once known.
    pub size: Option<(u16, u16)>,
    /// Pictures per second.
    pub frame_rate: f32,
}

impl Rung {
    /// What viewers see of it, rates aside.
    fn shape(&self) -> (u8, Cell, Option<(u16, u16)>) {
        (self.encoding, self.cell, self.size)
    }
}

/// The choices of a track, from the lowest to the highest. Temporal layers lie closer than spatial
/// ones: who has to go down loses pictures before sharpness.
#[derive(Debug, Default)]
pub struct Ladder {
    rungs: Vec<Rung>,
    /// Encodings that are alive, lowest first.
    order: Vec<u8>,
    scratch: Vec<Rung>,
    changes: u32,
}

impl Ladder {
    /// The choices, lowest first.
    pub fn rungs(&self) -> &[Rung] {
        &self.rungs
    }

    /// Counts changes of what there is to choose from, rates aside.
    pub fn changes(&self) -> u32 {
        self.changes
    }

    /// The encoding of the highest rung.
    pub fn best(&self) -> Option<u8> {
        self.rungs.last().map(|r| r.encoding)
    }

    /// The encoding can be chosen.
    pub fn has(&self, encoding: u8) -> bool {
        self.order.contains(&encoding)
    }

    /// Encoding `a` ranks below `b`.
    pub fn is_below(&self, a: u8, b: u8) -> bool {
        let rank = |encoding| self.order.iter().position(|o| *o == encoding);
        rank(a).zip(rank(b)).is_some_and(|(a, b)| a < b)
    }

    /// Forgets all: the publisher has gone.
    pub fn clear(&mut self) {
        self.changes = self.changes.wrapping_add(1);
        self.rungs.clear();
        self.order.clear();
    }

    /// Ranks the encodings that `is_alive` anew; when none is, the former ones stay, so that
    /// the first to return goes on.
    pub fn update(&mut self, encodings: &[Encoding], is_alive: impl Fn(u8) -> bool) {
        let alive = |i: &u8| is_alive(*i);
        let count = u8::try_from(encodings.len()).unwrap_or(u8::MAX);
        if (0..count).any(|i| alive(&i)) {
            self.order.retain(alive);
            for encoding in (0..count).filter(alive) {
                if !self.order.contains(&encoding) {
                    self.order.push(encoding);
                }
            }
        }
        self.sort(encodings);
        self.scratch.clear();
        for &index in &self.order {
            if let Some(encoding) = encodings.get(usize::from(index)) {
                encoding.rungs(index, &mut self.scratch);
            }
        }
        self.scratch.truncate(MAX_RUNGS);
        let same = self.scratch.len() == self.rungs.len()
            && self
                .scratch
                .iter()
                .zip(&self.rungs)
                .all(|(new, old)| new.shape() == old.shape());
        if !same {
            self.changes = self.changes.wrapping_add(1);
        }
        std::mem::swap(&mut self.rungs, &mut self.scratch);
    }

    /// Puts larger pictures above smaller ones, and clearly fatter streams above others.
    fn sort(&mut self, encodings: &[Encoding]) {
        let rank = |i: u8| encodings.get(usize::from(i)).map_or((0, 0), Encoding::rank);
        for end in 1..self.order.len() {
            for at in (0..end).rev() {
                let (lower, upper) = (rank(self.order[at]), rank(self.order[at + 1]));
                let swap = lower.0 > upper.0
                    || lower.0 == upper.0 && lower.1 * 100 > upper.1 * CLEARLY_MORE;
                if !swap {
                    break;
                }
                self.order.swap(at, at + 1);
            }
        }
    }
}
