//! A run: packets of one source that all move by the same, and what a number of the line
//! was made of.

use crate::codec::Cell;
use crate::room::Track;
use crate::viewer::timeline::Timeline;

/// Which packets a run holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceId {
    /// The track's publisher count.
    pub epoch: u32,
    /// Index of the encoding.
    pub encoding: u8,
}

impl SourceId {
    /// The packets of `track`'s present publisher in an encoding.
    #[inline]
    pub fn of(track: &Track, encoding: u8) -> Self {
        Self {
            epoch: track.epoch,
            encoding,
        }
    }
}

/// What the packets of a run are moved by, beside their sequence numbers and
/// timestamps, and which of them were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moves {
    /// Added to picture ids, modulo their size.
    pub picture: u16,
    /// Added to `TL0PICIDX`.
    pub tl0: u8,
    /// Added to the frame numbers of dependency descriptors.
    pub frame: u16,
    /// The layers that are sent.
    pub cell: Cell,
    /// RED packets go out as their primary block alone: their redundancy is of a
    /// time in which the viewer heard somebody else.
    pub alone: bool,
}

/// What an outgoing sequence number was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A packet of the source's line.
    Packet {
        /// The source.
        source: SourceId,
        /// Its extended sequence number there.
        seq: u64,
        /// What its timestamp became.
        times: Timeline,
        /// What else it is moved by.
        moves: Moves,
    },
    /// Parameter sets put in ahead of an entry frame.
    ParameterSets {
        /// The source.
        source: SourceId,
        /// The outgoing timestamp.
        timestamp: u32,
    },
    /// An empty packet, where one of a cut layer would have left a hole.
    Filler {
        /// The source.
        source: SourceId,
        /// The outgoing timestamp.
        timestamp: u32,
        /// The payload type that it was sent with.
        pt: u8,
    },
}

impl Origin {
    /// What it belongs to.
    pub fn source(&self) -> SourceId {
        match *self {
            Self::Packet { source, .. }
            | Self::ParameterSets { source, .. }
            | Self::Filler { source, .. } => source,
        }
    }
}

/// A packet's place on the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Extended outgoing sequence number; its upper bits are the roll-over counter.
    pub seq: u64,
    /// Outgoing timestamp.
    pub timestamp: u32,
    /// What else the packet is moved by.
    pub moves: Moves,
}

/// A packet of our own that stands right ahead of a run, with its timestamp.
#[derive(Debug, Clone, Copy)]
pub(super) enum Own {
    ParameterSets(u32),
    /// And its payload type.
    Filler(u32, u8),
}

/// See the module's description.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub(super) source: SourceId,
    pub(super) out_first: u64,
    pub(super) in_first: u64,
    pub(super) times: Timeline,
    pub(super) moves: Moves,
    pub(super) own: Option<Own>,
}

impl Run {
    /// Where the numbers end that belong to the run before.
    #[inline]
    pub(super) fn begin(&self) -> u64 {
        self.out_first - u64::from(self.own.is_some())
    }

    /// Where a packet of the run goes, which is not from before it.
    #[inline]
    pub(super) fn place(&self, seq: u64, timestamp: u32) -> Place {
        Place {
            seq: self.out_first + (seq - self.in_first),
            timestamp: self.times.map(timestamp),
            moves: self.moves,
        }
    }
}
