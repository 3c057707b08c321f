//! Which source a slot forwards: a state machine whose illegal states can't
//! be spelt. Only an entry frame moves it, so that no decoder sees a delta
//! without what it refers to.

use super::line::SourceId;

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

    /// Judges a packet of `source`; `entry` when a decoder can start with it.
    #[inline]
    pub fn judge(&mut self, source: SourceId, entry: bool) -> Verdict {
        match *self {
            Self::Forwarding { current } if current == source => Verdict::Forward,
            Self::Waiting { target } | Self::Switching { target, .. }
                if target == source && entry =>
            {
                *self = Self::Forwarding { current: source };
                Verdict::Switch
            }
            Self::Switching { current, .. } if current == source => Verdict::Forward,
            _ => Verdict::Drop,
        }
    }
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
        assert_eq!(selection.judge(source(0), true), Verdict::Drop);
        selection.aim(source(0), false);
        assert_eq!(selection.judge(source(0), false), Verdict::Drop);
        assert_eq!(selection.judge(source(1), true), Verdict::Drop);
        assert_eq!(selection.judge(source(0), true), Verdict::Switch);
        assert_eq!(selection.judge(source(0), false), Verdict::Forward);
    }

    #[test]
    fn the_old_layer_flows_until_the_new_one_can_be_decoded() {
        let mut selection = Selection::Forwarding { current: source(0) };
        selection.aim(source(1), true);
        assert_eq!(selection.judge(source(0), false), Verdict::Forward);
        assert_eq!(selection.judge(source(1), false), Verdict::Drop);
        assert_eq!(selection.judge(source(1), true), Verdict::Switch);
        assert_eq!(selection.judge(source(0), true), Verdict::Drop);
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
        assert_eq!(selection.judge(source(0), true), Verdict::Drop);
    }
}
