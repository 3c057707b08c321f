//! Spatial and temporal layers as a grid of sixteen cells, so that one word
//! tells what a frame is to every choice of layers.
//!
//! A [`Cell`] stands for "up to this spatial and this temporal layer". Where a
//! stream has a dependency descriptor the cells are its decode targets; else
//! they follow from the layer ids of the payload descriptor.

use super::Codec;
use super::dependency_descriptor::{Descriptor, Indication, Structure};
use super::packet::PacketInfo;

/// Layers a side; higher ones count as the highest. AV1 and VP9 encoders make three.
const SIDE: u8 = 4;

/// A choice of layers: everything up to a spatial and a temporal layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cell(u8);

impl Default for Cell {
    fn default() -> Self {
        Self::ALL
    }
}

impl Cell {
    /// All layers, whatever they are.
    pub const ALL: Self = Self(u8::MAX);

    /// Up to these layers.
    pub fn new(spatial: u8, temporal: u8) -> Self {
        Self(spatial.min(SIDE - 1) * SIDE + temporal.min(SIDE - 1))
    }

    /// The spatial layer.
    pub fn spatial(self) -> u8 {
        (self.0 / SIDE).min(SIDE - 1)
    }

    /// The temporal layer.
    pub fn temporal(self) -> u8 {
        self.0 % SIDE
    }

    /// All of them, in the order of their bits.
    pub fn each() -> impl DoubleEndedIterator<Item = Self> {
        (0..SIDE * SIDE).map(Self)
    }

    /// Its bit in a mask.
    #[inline]
    pub fn bit(self) -> u16 {
        1u16.checked_shl(u32::from(self.0)).unwrap_or(0)
    }

    /// Its place in a table of all cells; 15 for [`Cell::ALL`].
    pub fn index(self) -> usize {
        usize::from(self.0).min(usize::from(SIDE * SIDE) - 1)
    }

    /// The cells that hold frames of these layers, by their ids alone.
    fn holding(spatial: u8, temporal: u8) -> u16 {
        let least = Self::new(spatial, temporal);
        Self::each()
            .filter(|c| c.spatial() >= least.spatial() && c.temporal() >= least.temporal())
            .fold(0, |mask, c| mask | c.bit())
    }

    /// The cells of one spatial layer from a temporal layer on.
    fn row(spatial: u8, temporal: u8) -> u16 {
        let least = Self::new(spatial, temporal);
        Self::each()
            .filter(|c| c.spatial() == least.spatial() && c.temporal() >= least.temporal())
            .fold(0, |mask, c| mask | c.bit())
    }
}

/// What a frame is to each cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameLayers {
    /// The cells that it belongs to.
    pub present: u16,
    /// The cells that can be taken from this frame on, if it can be decoded.
    pub switch: u16,
    /// It can be decoded by who has only the temporal layer right below its own.
    pub begins_layer: bool,
}

impl Default for FrameLayers {
    /// A frame of a stream without layers.
    fn default() -> Self {
        Self {
            present: u16::MAX,
            switch: u16::MAX,
            begins_layer: false,
        }
    }
}

impl FrameLayers {
    /// What the layer ids tell, for streams without a dependency descriptor.
    pub fn from_ids(codec: Codec, info: &PacketInfo) -> Self {
        let (spatial, temporal) = (info.spatial, info.temporal);
        match codec {
            // RFC 7741 §4.2: with Y set, a frame refers to the base layer only. RFC 7798: so do TSA
            // and STSA pictures, to lower temporal layers.
            Codec::Vp8 | Codec::H264 | Codec::H265 => Self {
                present: Cell::holding(0, temporal),
                switch: if temporal > 0 && info.switch_up {
                    Cell::new(0, temporal).bit()
                } else {
                    0
                },
                begins_layer: temporal > 0 && info.switch_up,
            },
            // RFC 9628 §4.2: U says that later pictures of higher temporal layers refer to
            // none before this one. Senders that mean only this very picture by it
            // have base layer pictures to which the rule applies all the same.
            Codec::Vp9 => Self {
                present: Cell::holding(spatial, temporal),
                switch: if temporal == 0 && info.switch_up {
                    Cell::row(spatial, temporal)
                } else {
                    0
                },
                begins_layer: false,
            },
            // Without a descriptor, AV1's later packets of a frame tell nothing.
            _ => Self::default(),
        }
    }

    /// What a dependency descriptor tells.
    pub fn from_descriptor(d: &Descriptor, structure: &Structure) -> Self {
        let mut layers = Self {
            present: 0,
            switch: 0,
            begins_layer: false,
        };
        let mut known = 0u16;
        for target in 0..structure.targets() {
            let Some((spatial, temporal)) = structure.target_layers(target) else {
                continue;
            };
            let bit = Cell::new(spatial, temporal).bit();
            known |= bit;
            match d.indications.get(target) {
                Indication::NotPresent => {}
                Indication::Switch => {
                    layers.present |= bit;
                    layers.switch |= bit;
                }
                Indication::Discardable | Indication::Required => layers.present |= bit,
            }
        }
        layers.present |= Cell::holding(d.spatial, d.temporal) & !known;
        layers
    }
}

/// Which cells a stream has, and how they lie in each other.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grid {
    /// The cells there are; none for a stream without layers.
    pub known: u16,
    /// For each cell, those of which every frame is in it too.
    below: [u16; 16],
}

impl Grid {
    /// The grid of all layers up to these, each holding all those below it.
    pub fn of_ids(spatial: u8, temporal: u8) -> Self {
        let top = Cell::new(spatial, temporal);
        let within =
            |c: Cell, top: Cell| c.spatial() <= top.spatial() && c.temporal() <= top.temporal();
        let mut grid = Self::default();
        if top == Cell::new(0, 0) {
            return grid;
        }
        for cell in Cell::each().filter(|c| within(*c, top)) {
            grid.known |= cell.bit();
            grid.below[cell.index()] = Cell::each()
                .filter(|c| within(*c, cell))
                .fold(0, |mask, c| mask | c.bit());
        }
        grid
    }

    /// The grid of a template structure.
    pub fn of_structure(structure: &Structure) -> Self {
        let mut grid = Self::default();
        let mut target_of = [None; 16];
        for target in 0..structure.targets() {
            if let Some((spatial, temporal)) = structure.target_layers(target) {
                let cell = Cell::new(spatial, temporal);
                grid.known |= cell.bit();
                target_of[cell.index()] = Some(target);
            }
        }
        if grid.known.count_ones() < 2 {
            return Self::default();
        }
        for (upper, below) in grid.below.iter_mut().enumerate() {
            for (lower, cell) in Cell::each().enumerate() {
                let (Some(upper), Some(lower)) = (target_of[upper], target_of[lower]) else {
                    continue;
                };
                let is_in = |target: usize, template: &super::dependency_descriptor::Template| {
                    template.indications.get(target) != Indication::NotPresent
                };
                let holds = structure
                    .templates()
                    .iter()
                    .all(|t| is_in(upper, t) || !is_in(lower, t));
                if holds {
                    *below |= cell.bit();
                }
            }
        }
        grid
    }

    /// The stream has layers.
    pub fn is_layered(&self) -> bool {
        self.known != 0
    }

    /// The highest cell: of the highest spatial layer, the highest temporal one.
    pub fn top(&self) -> Cell {
        Cell::each()
            .rev()
            .find(|c| self.known & c.bit() != 0)
            .unwrap_or(Cell::ALL)
    }

    /// The decode targets that are whole for who gets `cell`, bit 0 for the first.
    pub fn targets_within(&self, structure: &Structure, cell: Cell) -> u32 {
        (0..structure.targets())
            .filter(|target| {
                structure
                    .target_layers(*target)
                    .is_some_and(|(s, t)| self.holds(cell, Cell::new(s, t)))
            })
            .fold(0, |mask, target| mask | 1 << target)
    }

    /// Every frame of `lower` is sent to who gets `upper`.
    pub fn holds(&self, upper: Cell, lower: Cell) -> bool {
        let upper = if upper == Cell::ALL {
            self.top()
        } else {
            upper
        };
        self.below[upper.index()] & lower.bit() != 0
    }

    /// Who gets the highest cell gets every frame, so that nothing need be cut for it.
    pub fn top_is_all(&self) -> bool {
        self.below[self.top().index()] & self.known == self.known
    }
}

#[cfg(test)]
#[path = "layers_tests.rs"]
mod tests;
