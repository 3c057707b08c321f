//! Rooms: who publishes and who speaks, the tracks, their packets and who gets them.
//!
//! A publisher's [`packet`] goes to its [`track`], and there to an [`encoding`] that measures it
//! ([`stats`], [`meter`], and [`health`] for the [`doctor`]) and keeps the newest in a [`ring`].
//! The [`ladder`] ranks what viewers can choose from; [`keyframe_request`] says when a publisher is
//! asked. A room itself is [`membership`]; [`voice`] and [`speaker`] tell who speaks in it.

pub mod doctor;
pub mod encoding;
pub mod health;
pub mod keyframe_request;
pub mod ladder;
pub mod membership;
pub mod meter;
pub mod packet;
pub mod parameter_sets;
pub mod picture_end;
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
