//! What workers say to each other: values, never handles. A packet crosses
//! once per worker, whatever the number of viewers there.

use crate::room::encoding::Cached;
use crate::room::membership::Publication;
use crate::room::voice::Voice;
use crate::room::{Packet, SenderClock, TrackKey};
use crate::units::{ParticipantId, RoomId};

/// From one worker to another. Messages of one pair of workers arrive in
/// order; media may be dropped when the queue is full, the others are kept.
#[derive(Debug, Clone)]
pub enum MeshMessage {
    /// The sender has viewers of the room, or has none any more.
    Interest {
        /// The room.
        room: RoomId,
        /// It has.
        on: bool,
    },
    /// A participant publishes at the sender.
    Publish {
        /// The room.
        room: RoomId,
        /// Who and what.
        publication: Box<Publication>,
    },
    /// A participant's publisher at the sender has gone.
    Unpublish {
        /// The room.
        room: RoomId,
        /// Who.
        participant: ParticipantId,
        /// Which of its publishers.
        generation: u32,
    },
    /// What the voices of publishers at the sender do; sent when that changes,
    /// and no more often than rooms are looked at.
    Voices {
        /// The room.
        room: RoomId,
        /// Those with news.
        voices: Vec<(ParticipantId, Voice)>,
    },
    /// The sender wants a track's packets, or wants them no more.
    Subscribe {
        /// The track.
        track: TrackKey,
        /// The track's index at the sender, to come back with each packet.
        index: u32,
        /// The sender's number of this subscription, to come back likewise.
        subscription: u32,
        /// It wants them.
        on: bool,
    },
    /// A viewer at the sender needs a keyframe.
    Keyframe {
        /// The track.
        track: TrackKey,
        /// The encoding.
        encoding: u8,
    },
    /// What joiners need of a track that the receiver has just subscribed to;
    /// ahead of all its packets.
    Segment(Box<SegmentMessage>),
    /// A packet of a subscribed track.
    Media(Box<MediaMessage>),
    /// A sender report of a subscribed track.
    Clock {
        /// The track's index at the receiver.
        index: u32,
        /// Its name, to make sure that the index still means it.
        track: TrackKey,
        /// The publisher it belongs to.
        generation: u32,
        /// The encoding.
        encoding: u8,
        /// Its clock.
        clock: SenderClock,
    },
}

/// A packet on its way to another worker.
#[derive(Debug, Clone)]
pub struct MediaMessage {
    /// The track's index at the receiver.
    pub index: u32,
    /// Its name, to make sure that the index still means it.
    pub track: TrackKey,
    /// The publisher it belongs to.
    pub generation: u32,
    /// The subscription it is for.
    pub subscription: u32,
    /// The encoding.
    pub encoding: u8,
    /// The packet, its payload copied.
    pub packet: Packet,
}

/// A track's newest keyframe segments on their way to another worker.
#[derive(Debug, Clone)]
pub struct SegmentMessage {
    /// The track's index at the receiver.
    pub index: u32,
    /// Its name, to make sure that the index still means it.
    pub track: TrackKey,
    /// The publisher they belong to.
    pub generation: u32,
    /// The subscription they are for.
    pub subscription: u32,
    /// One an encoding.
    pub encodings: Vec<Cached>,
}

impl MeshMessage {
    /// May be dropped when the receiver can't keep up.
    pub fn is_media(&self) -> bool {
        matches!(self, Self::Media(_))
    }
}
