//! One room and its participants.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

use crate::control::session::Session;
use crate::units::{ParticipantId, WorkerId};

#[derive(Debug)]
pub(super) struct Participant {
    pub id: ParticipantId,
    pub publisher: Option<Publisher>,
    pub watchers: usize,
    /// Publishers that are about to open.
    pub pending: usize,
    pub idle_since: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct Publisher {
    pub session: Arc<Session>,
    /// Order of arrival: the room's viewers see who has published longest.
    pub order: u64,
}

impl Participant {
    /// It publishes, or is about to.
    pub fn publishes(&self) -> bool {
        self.publisher.is_some() || self.pending > 0
    }

    pub fn vacant(&self) -> bool {
        self.publisher.is_none() && self.watchers == 0 && self.pending == 0
    }
}

/// A room.
#[derive(Debug)]
pub(super) struct Room {
    pub name: Arc<str>,
    pub participants: HashMap<Arc<str>, Participant>,
    /// Open viewers; watched by event streams.
    pub viewers: watch::Sender<usize>,
    /// Sessions that are about to open.
    pub pending: usize,
    /// Viewers among them.
    pub pending_viewers: usize,
    /// Open sessions by worker.
    pub members: BTreeMap<WorkerId, usize>,
    pub idle_since: Option<Instant>,
}

impl Room {
    pub fn vacant(&self) -> bool {
        self.members.is_empty() && self.pending == 0
    }

    /// Who has published longest.
    pub fn eldest(&self) -> Option<&Arc<Session>> {
        self.participants
            .values()
            .filter_map(|p| p.publisher.as_ref())
            .min_by_key(|p| p.order)
            .map(|p| &p.session)
    }

    /// Where the room lives: with its eldest publisher, else with most of its members.
    pub fn home(&self) -> Option<WorkerId> {
        self.eldest().and_then(worker_of).or_else(|| {
            self.members
                .iter()
                .max_by_key(|(_, count)| **count)
                .map(|(worker, _)| *worker)
        })
    }

    pub fn add_member(&mut self, worker: WorkerId) {
        *self.members.entry(worker).or_default() += 1;
    }

    pub fn remove_member(&mut self, worker: WorkerId) {
        if let Some(count) = self.members.get_mut(&worker) {
            *count -= 1;
            if *count == 0 {
                self.members.remove(&worker);
            }
        }
    }
}

pub(super) fn worker_of(session: &Arc<Session>) -> Option<WorkerId> {
    session.key().map(|key| key.worker)
}
