//! A room as one worker sees it: who publishes, here or elsewhere, and which
//! other workers have viewers of it.

use std::sync::Arc;
use std::time::Instant;

use smallvec::SmallVec;

use super::speaker::Speakers;
use super::track::Format;
use crate::units::{MediaKind, ParticipantId, WorkerId};

/// What one publisher's section offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedTrack {
    /// Audio or video.
    pub kind: MediaKind,
    /// The formats it may send.
    pub formats: Vec<Format>,
    /// Its simulcast layers.
    pub rids: Vec<String>,
}

/// A participant that publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// Who.
    pub participant: ParticipantId,
    /// The same by name, to know a viewer's own publisher by.
    pub identity: Arc<str>,
    /// The worker with the publisher's session.
    pub worker: WorkerId,
    /// Counts that participant's publishers on its worker, so that media of a
    /// former one is told from the present one's.
    pub generation: u32,
    /// When the participant began; a take-over keeps it.
    pub since: Instant,
    /// What it offers.
    pub tracks: Vec<PublishedTrack>,
}

/// See the module's description.
#[derive(Debug, Default)]
pub struct Room {
    /// Ordered by how long they have published.
    publications: Vec<Publication>,
    /// Viewers in this worker that watch the room as such.
    pub followers: Vec<u32>,
    /// Sessions in this worker, publishers and viewers.
    pub sessions: usize,
    /// Viewers in this worker.
    pub viewers: usize,
    /// Other workers with viewers, a bit each.
    pub interested: u64,
    /// Who speaks.
    pub speakers: Speakers,
    /// Local microphones whose spurt lasts, by track.
    pub talking: Vec<u32>,
    /// The worker looks at the room's speakers.
    pub lively: bool,
    /// Somebody sends another format than when followers were last bound.
    pub formats_changed: bool,
    /// The most slots of one kind that a follower has had.
    pub most_slots: usize,
    /// Who stood first when followers were last bound.
    order: Order,
}

/// Those who matter to followers: first who is to be seen, then who is to be heard.
type Order = (SmallVec<[ParticipantId; 8]>, SmallVec<[ParticipantId; 8]>);

impl Room {
    /// Adds a publication or replaces the participant's former one.
    pub fn publish(&mut self, mut publication: Publication) {
        if let Some(old) = self.take(publication.participant) {
            publication.since = old.since.min(publication.since);
        }
        let at = self.publications.partition_point(|p| {
            (p.since, p.participant) <= (publication.since, publication.participant)
        });
        self.publications.insert(at, publication);
    }

    /// Removes the participant's publication.
    pub fn take(&mut self, participant: ParticipantId) -> Option<Publication> {
        let at = self
            .publications
            .iter()
            .position(|p| p.participant == participant)?;
        Some(self.publications.remove(at))
    }

    /// The participant's publication.
    pub fn publication(&self, participant: ParticipantId) -> Option<&Publication> {
        self.publications
            .iter()
            .find(|p| p.participant == participant)
    }

    /// All of them, longest first.
    pub fn publications(&self) -> &[Publication] {
        &self.publications
    }

    /// Whether those are others than at the last call who are to be seen or heard first.
    pub fn order_changed(&mut self) -> bool {
        // One more than there are slots: a viewer's own participant is passed over.
        let count = self.most_slots + 1;
        let order: Order = (
            self.speakers.seen().take(count).collect(),
            self.speakers.heard().take(count).collect(),
        );
        let changed = order != self.order;
        self.order = order;
        changed
    }

    /// Nothing holds the room in this worker any more.
    pub fn is_unused(&self) -> bool {
        self.sessions == 0 && self.publications.is_empty() && self.interested == 0
    }
}

/// The bit that stands for a worker in [`Room::interested`].
pub fn worker_bit(worker: WorkerId) -> u64 {
    1u64.checked_shl(u32::from(worker.0)).unwrap_or(0)
}

/// The workers whose bits are set.
pub fn workers(bits: u64) -> impl Iterator<Item = WorkerId> {
    (0..64u8).filter(move |i| bits >> i & 1 == 1).map(WorkerId)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn publication(participant: u64, since: Instant) -> Publication {
        Publication {
            participant: ParticipantId(participant),
            identity: "somebody".into(),
            worker: WorkerId(0),
            generation: 1,
            since,
            tracks: Vec::new(),
        }
    }

    #[test]
    fn a_take_over_keeps_the_participants_place() {
        let start = Instant::now();
        let mut room = Room::default();
        room.publish(publication(1, start));
        room.publish(publication(2, start + Duration::from_secs(1)));
        room.publish(publication(1, start + Duration::from_secs(2)));
        assert_eq!(room.publications().len(), 2);
        assert_eq!(room.publications()[0].participant, ParticipantId(1));
    }

    #[test]
    fn worker_bits_round_trip() {
        let bits = worker_bit(WorkerId(0)) | worker_bit(WorkerId(5));
        assert_eq!(
            workers(bits).collect::<Vec<_>>(),
            [WorkerId(0), WorkerId(5)]
        );
    }
}
