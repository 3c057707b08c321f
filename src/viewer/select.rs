//! Which source a slot forwards: a state machine whose illegal states can't
//! be spelt. Only an entry frame moves it, so that no decoder sees a delta
//! without what it refers to.

use super::line::SourceId;
use crate::codec::{Cell, FrameLayers, Grid};

/// What a slot does with its sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Selection {
    /// There is nothing to forward.
    #[default]
    Idle,
    /// Nothing flows until the target's next entry frame.
    Waiting {
        /// The source waited for.
        target: SourceId,
    },
    /// The source flows.
    Forwarding {
        /// The source.
        current: SourceId,
    },
    /// The current source flows until the target's next entry frame.
    Switching {
        /// What flows.
        current: SourceId,
        /// What will.
        target: SourceId,
    },
}

/// What is to be done with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is of no source that flows.
    Drop,
    /// Send it on.
    Forward,
    /// It begins another source: start a new segment of the line, then send it on.
    Switch,
}

impl Selection {
    /// Aims at `target`. `alive` tells whether what flows now can go on until
    /// the target's entry frame comes.
    pub fn aim(&mut self, target: SourceId, alive: bool) {
        *self = match *self {
            Self::Forwarding { current } | Self::Switching { current, .. } if current == target => {
                Self::Forwarding { current }
            }
            Self::Forwarding { current } | Self::Switching { current, .. }
                if alive && current.epoch == target.epoch =>
            {
                Self::Switching { current, target }
            }
            _ => Self::Waiting { target },
        };
    }

    /// Nothing is to flow.
    pub fn stop(&mut self) {
        *self = Self::Idle;
    }

    /// What flowed can't be decoded any more: its next entry frame is waited for.
    pub fn interrupt(&mut self) {
        if let Self::Forwarding { current: target } | Self::Switching { target, .. } = *self {
            *self = Self::Waiting { target };
        }
    }

    /// What flows until the switch is not worth it: it ends now.
    pub fn abandon(&mut self) {
        if let Self::Switching { target, .. } = *self {
            *self = Self::Waiting { target };
        }
    }

    /// The source whose entry frame is waited for.
    pub fn awaited(&self) -> Option<SourceId> {
        match *self {
            Self::Waiting { target } | Self::Switching { target, .. } => Some(target),
            Self::Idle | Self::Forwarding { .. } => None,
        }
    }

    /// What flows.
    pub fn current(&self) -> Option<SourceId> {
        match *self {
            Self::Forwarding { current } | Self::Switching { current, .. } => Some(current),
            Self::Idle | Self::Waiting { .. } => None,
        }
    }

    /// Judges a packet of `source`; `entry` tells whether a decoder can start with it.
    #[inline]
    pub fn judge(&mut self, source: SourceId, entry: impl Fn() -> bool) -> Verdict {
        match *self {
            Self::Forwarding { current } if current == source => Verdict::Forward,
            Self::Waiting { target } | Self::Switching { target, .. }
                if target == source && entry() =>
            {
                *self = Self::Forwarding { current: source };
                Verdict::Switch
            }
            Self::Switching { current, .. } if current == source => Verdict::Forward,
            _ => Verdict::Drop,
        }
    }
}

/// Which layers of the source that flows are sent.
///
/// Layers are let go at the next picture, and taken on only with a frame from which
/// they can be decoded: a keyframe, or one that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Layers {
    current: Cell,
    target: Cell,
}

/// What the layers aimed at wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaited {
    /// Nothing: they flow.
    Nothing,
    /// A frame to switch up a temporal layer at; encoders make some by themselves.
    SwitchPoint,
    /// A keyframe: it has to be asked for.
    Keyframe,
}

/// What a packet's frame tells of its place among the layers.
#[derive(Debug, Clone, Copy)]
pub struct FramePlace {
    /// Its spatial layer.
    pub spatial: u8,
    /// Its temporal layer.
    pub temporal: u8,
    /// What it is to each choice of layers.
    pub layers: FrameLayers,
    /// It is the first frame of its picture.
    pub new_picture: bool,
    /// It has a dependency descriptor, whose receivers have to be told of cut layers.
    pub described: bool,
}

impl Layers {
    /// These layers flow and are wanted, as after a keyframe.
    pub fn of(cell: Cell) -> Self {
        Self {
            current: cell,
            target: cell,
        }
    }

    /// Wants other layers.
    pub fn aim(&mut self, target: Cell) {
        self.target = target;
    }

    /// The layers that flow.
    pub fn current(&self) -> Cell {
        self.current
    }

    /// The layers that are wanted.
    pub fn target(&self) -> Cell {
        self.target
    }

    /// Everything flows and will: no packet need be looked at.
    #[inline]
    pub fn is_open(&self) -> bool {
        self.current == Cell::ALL && self.target == Cell::ALL
    }

    /// A keyframe starts: all that is wanted can be had.
    pub fn enter(&mut self) -> bool {
        std::mem::replace(&mut self.current, self.target) != self.target
    }

    /// `cell` holds frames like this one.
    #[inline]
    pub fn keeps(cell: Cell, frame: &FrameLayers) -> bool {
        cell == Cell::ALL || frame.present & cell.bit() != 0
    }

    /// A frame begins that is no keyframe. True when other layers flow from it on.
    pub fn advance(&mut self, frame: &FramePlace, grid: &Grid) -> bool {
        if self.current == self.target {
            return false;
        }
        let before = self.current;
        let named = |cell: Cell| if cell == Cell::ALL { grid.top() } else { cell };
        let (mut from, goal) = (named(self.current), named(self.target));
        if frame.new_picture && from != goal {
            let spatial = from.spatial().min(goal.spatial());
            let temporal = from.temporal().min(goal.temporal());
            // Where lower layers are coded by themselves, only temporal ones can go.
            let lower = [
                Cell::new(spatial, temporal),
                Cell::new(from.spatial(), temporal),
            ];
            if let Some(lower) = lower.into_iter().find(|c| grid.holds(from, *c)) {
                from = lower;
                self.current = lower;
            }
        }
        if from != goal
            && self.is_decodable(from, frame)
            && let Some(higher) = best_switch(from, goal, frame.layers.switch)
            // Within a picture, the layer below has ended it with the marker.
            && (frame.new_picture || higher.spatial() == from.spatial())
        {
            from = higher;
            self.current = higher;
        }
        // Receivers of descriptors were told of the cut; a keyframe will tell them anew.
        if from == goal && self.target == Cell::ALL && !frame.described {
            self.current = Cell::ALL;
        }
        self.current != before
    }

    /// Who gets the layers of `from` can decode the frame.
    fn is_decodable(&self, from: Cell, frame: &FramePlace) -> bool {
        let above = frame.spatial <= from.spatial() && frame.temporal == from.temporal() + 1;
        Self::keeps(from, &frame.layers) || frame.layers.begins_layer && above
    }

    /// What the wanted layers wait for.
    pub fn awaited(&self, grid: &Grid) -> Awaited {
        let named = |cell: Cell| if cell == Cell::ALL { grid.top() } else { cell };
        let (from, goal) = (named(self.current), named(self.target));
        if from == goal || grid.holds(from, goal) {
            Awaited::Nothing
        } else if goal.spatial() <= from.spatial() && grid.holds(from, Cell::new(goal.spatial(), 0))
        {
            Awaited::SwitchPoint
        } else {
            Awaited::Keyframe
        }
    }
}

/// The highest of the cells in `switch` on the way from one to another.
fn best_switch(from: Cell, goal: Cell, switch: u16) -> Option<Cell> {
    if switch & goal.bit() != 0 {
        return Some(goal);
    }
    let on_the_way = |c: &Cell| {
        *c != from
            && (from.spatial()..=goal.spatial()).contains(&c.spatial())
            && (from.temporal()..=goal.temporal()).contains(&c.temporal())
    };
    Cell::each()
        .rev()
        .filter(|c| switch & c.bit() != 0)
        .find(on_the_way)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(encoding: u8) -> SourceId {
        SourceId { epoch: 1, encoding }
    }

    #[test]
    fn nothing_flows_before_an_entry_frame() {
        let mut selection = Selection::default();
        assert_eq!(selection.judge(source(0), || true), Verdict::Drop);
        selection.aim(source(0), false);
        assert_eq!(selection.judge(source(0), || false), Verdict::Drop);
        assert_eq!(selection.judge(source(1), || true), Verdict::Drop);
        assert_eq!(selection.judge(source(0), || true), Verdict::Switch);
        assert_eq!(selection.judge(source(0), || false), Verdict::Forward);
    }

    #[test]
    fn the_old_layer_flows_until_the_new_one_can_be_decoded() {
        let mut selection = Selection::Forwarding { current: source(0) };
        selection.aim(source(1), true);
        assert_eq!(selection.judge(source(0), || false), Verdict::Forward);
        assert_eq!(selection.judge(source(1), || false), Verdict::Drop);
        assert_eq!(selection.judge(source(1), || true), Verdict::Switch);
        assert_eq!(selection.judge(source(0), || true), Verdict::Drop);
    }

    #[test]
    fn aiming_back_cancels_a_switch() {
        let mut selection = Selection::Forwarding { current: source(0) };
        selection.aim(source(1), true);
        selection.aim(source(0), true);
        assert_eq!(selection, Selection::Forwarding { current: source(0) });
        assert_eq!(selection.awaited(), None);
    }

    #[test]
    fn another_publisher_is_waited_for() {
        let mut selection = Selection::Forwarding { current: source(0) };
        let next = SourceId {
            epoch: 2,
            encoding: 0,
        };
        selection.aim(next, true);
        assert_eq!(selection, Selection::Waiting { target: next });
        assert_eq!(selection.judge(source(0), || true), Verdict::Drop);
    }

    fn frame(spatial: u8, temporal: u8, layers: FrameLayers) -> FramePlace {
        FramePlace {
            spatial,
            temporal,
            layers,
            new_picture: spatial == 0,
            described: false,
        }
    }

    fn vp9(spatial: u8, temporal: u8, switch_up: bool) -> FramePlace {
        let info = crate::codec::PacketInfo {
            spatial,
            temporal,
            switch_up,
            ..Default::default()
        };
        let layers = FrameLayers::from_ids(crate::codec::Codec::Vp9, &info);
        frame(spatial, temporal, layers)
    }

    #[test]
    fn layers_are_let_go_at_the_next_picture_and_not_within_one() {
        let grid = Grid::of_ids(2, 2);
        let mut layers = Layers::default();
        assert!(layers.is_open());
        layers.aim(Cell::new(0, 1));
        assert!(!layers.advance(&vp9(1, 0, false), &grid));
        assert!(layers.advance(&vp9(0, 0, false), &grid));
        assert_eq!(layers.current(), Cell::new(0, 1));
        assert!(Layers::keeps(layers.current(), &vp9(0, 1, false).layers));
        assert!(!Layers::keeps(layers.current(), &vp9(0, 2, false).layers));
        assert!(!Layers::keeps(layers.current(), &vp9(1, 0, false).layers));
        assert_eq!(layers.awaited(&grid), Awaited::Nothing);
    }

    #[test]
    fn a_temporal_layer_is_taken_at_a_switching_point_and_a_spatial_one_at_a_keyframe() {
        let grid = Grid::of_ids(2, 2);
        let mut layers = Layers::of(Cell::new(1, 0));
        layers.aim(Cell::new(1, 2));
        assert_eq!(layers.awaited(&grid), Awaited::SwitchPoint);
        assert!(!layers.advance(&vp9(0, 1, true), &grid));
        assert!(!layers.advance(&vp9(0, 0, false), &grid));
        // The picture's base layer says so of itself, its upper layer then too.
        layers.advance(&vp9(0, 0, true), &grid);
        assert_ne!(layers.current(), Cell::new(1, 2));
        assert!(layers.advance(&vp9(1, 0, true), &grid));
        assert_eq!(layers.current(), Cell::new(1, 2));
        layers.aim(Cell::ALL);
        assert_eq!(layers.awaited(&grid), Awaited::Keyframe);
        assert!(!layers.advance(&vp9(2, 0, true), &grid));
        assert!(layers.enter() && layers.is_open());
    }

    #[test]
    fn vp8_climbs_one_temporal_layer_at_a_time() {
        let info = |temporal, switch_up| crate::codec::PacketInfo {
            temporal,
            switch_up,
            ..Default::default()
        };
        let vp8 = |temporal, sync| {
            let layers = FrameLayers::from_ids(crate::codec::Codec::Vp8, &info(temporal, sync));
            FramePlace {
                new_picture: true,
                ..frame(0, temporal, layers)
            }
        };
        let grid = Grid::of_ids(0, 2);
        let mut layers = Layers::of(Cell::new(0, 0));
        layers.aim(Cell::ALL);
        assert!(
            !layers.advance(&vp8(2, true), &grid),
            "its lower layer is not there"
        );
        assert!(!layers.advance(&vp8(1, false), &grid));
        assert!(layers.advance(&vp8(1, true), &grid));
        assert!(!layers.advance(&vp8(2, false), &grid));
        assert!(layers.advance(&vp8(2, true), &grid));
        assert!(layers.is_open());
    }
}
