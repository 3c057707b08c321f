//! Event streams of viewers (draft-ietf-wish-whep-events): who asked for what,
//! and where the news comes from.
//!
//! A stream reads states, not a queue of messages: a slow reader misses
//! intermediate states, never the newest one, and holds no memory.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::id::{NoRandomness, random_text};
use super::session::{Activity, Session, Slots};

/// Event streams of one session: a page opens one; more than a few is a mistake or an attack.
pub const MAX_STREAMS: usize = 4;

/// Random bytes of a stream's name.
const STREAM_BYTES: usize = 9;

/// Which events a stream carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EventSet {
    /// Media flows (again).
    pub active: bool,
    /// Nothing comes.
    pub inactive: bool,
    /// What can be chosen, and what flows.
    pub layers: bool,
    /// How many watch the room.
    pub viewercount: bool,
    /// What the viewer's path carries, and what it gets; an event of our own.
    pub quality: bool,
    /// Who is in which section of a room's viewer; an event of our own.
    pub slots: bool,
}

impl EventSet {
    /// The names of the draft's events, as in the `Link` field.
    pub const NAMES: [&'static str; 4] = ["active", "inactive", "layers", "viewercount"];

    /// The names of our own events, as in a `Link` field of their own.
    pub const OWN_NAMES: [&'static str; 2] = ["quality", "slots"];

    /// Adds the event of that name; false when there is none.
    pub fn add(&mut self, name: &str) -> bool {
        match name {
            "active" => self.active = true,
            "inactive" => self.inactive = true,
            "layers" => self.layers = true,
            "viewercount" => self.viewercount = true,
            "quality" => self.quality = true,
            "slots" => self.slots = true,
            _ => return false,
        }
        true
    }

    /// No event at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A stream that was asked for.
#[derive(Debug)]
pub struct StreamSlot {
    id: Arc<str>,
    events: EventSet,
    ended: CancellationToken,
}

/// Ends whoever reads the stream.
impl Drop for StreamSlot {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

/// What a reader of a stream listens to.
#[derive(Debug)]
pub struct EventSource {
    /// Which events to tell.
    pub events: EventSet,
    /// What the viewer receives.
    pub activity: watch::Receiver<Activity>,
    /// How many watch the room.
    pub viewers: watch::Receiver<usize>,
    /// Counts changes of the viewer's layers.
    pub layers: watch::Receiver<u64>,
    /// Who is in which section.
    pub slots: watch::Receiver<Slots>,
    /// The stream was deleted, or its session ended.
    pub ended: CancellationToken,
}

/// Too many streams, or no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubscribeError {
    /// The session has [`MAX_STREAMS`] already.
    #[error("this session has {MAX_STREAMS} event streams already")]
    TooMany,
    /// The session has ended.
    #[error("the session has ended")]
    Ended,
    /// No random bytes for a name.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

/// Makes a stream and returns its name.
pub(super) fn subscribe(session: &Session, events: EventSet) -> Result<Arc<str>, SubscribeError> {
    let id: Arc<str> = random_text::<STREAM_BYTES>()?.into();
    if session.closed().is_some() {
        return Err(SubscribeError::Ended);
    }
    session.with_streams(|streams| {
        if streams.len() >= MAX_STREAMS {
            return Err(SubscribeError::TooMany);
        }
        streams.push(StreamSlot {
            id: id.clone(),
            events,
            ended: CancellationToken::new(),
        });
        Ok(id)
    })
}

/// The stream's events and its end, when it exists.
pub(super) fn find(session: &Session, id: &str) -> Option<(EventSet, CancellationToken)> {
    session.with_streams(|streams| {
        streams
            .iter()
            .find(|s| &*s.id == id)
            .map(|s| (s.events, s.ended.clone()))
    })
}

/// Ends a stream; false when it does not exist.
pub(super) fn unsubscribe(session: &Session, id: &str) -> bool {
    session.with_streams(|streams| {
        let before = streams.len();
        streams.retain(|s| &*s.id != id);
        streams.len() != before
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_advertised_event_is_known_and_others_are_not() {
        for name in EventSet::NAMES.into_iter().chain(EventSet::OWN_NAMES) {
            let mut set = EventSet::default();
            assert!(set.add(name));
            assert!(!set.is_empty());
        }
        let mut set = EventSet::default();
        assert!(!set.add("scte35"));
        assert!(!set.add("Active"));
        assert!(set.is_empty());
    }
}
