//! Rooms: who publishes and who speaks, the tracks, their packets and their fan-out lists.

pub mod doctor;
pub mod encoding;
pub mod health;
pub mod keyframe_request;
pub mod ladder;
pub mod membership;
pub mod meter;
pub mod packet;
pub mod parameter_sets;
pub mod ring;
pub mod speaker;
pub mod stats;
#[cfg(test)]
pub(crate) mod testing;
pub mod track;
pub mod voice;

pub use encoding::{Encoding, SenderClock};
pub use ladder::{Ladder, Rung};
pub use membership::{Publication, Room};
pub use packet::Packet;
pub use track::{Format, RemoteSubscriber, Source, Subscriber, Track, TrackKey};
