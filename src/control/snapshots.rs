//! Snapshots of the workers, shared by everybody who asks at nearly the same time.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::messages::{Command, PublisherSnapshot, ViewerSnapshot, WorkerSnapshot};
use super::pending::Waiting;
use super::{Control, Inner};
use crate::units::{ParticipantId, RoomId, SessionKey, WorkerId};

/// All workers at nearly one moment.
#[derive(Debug, Clone, Default)]
pub struct SnapshotSet {
    /// When they were asked.
    pub taken: Option<Instant>,
    /// Each worker that answered.
    pub workers: Vec<(WorkerId, Arc<WorkerSnapshot>)>,
    /// Places of viewers: worker and row.
    viewers: HashMap<SessionKey, (usize, usize)>,
    /// Places of publishers.
    publishers: HashMap<(RoomId, ParticipantId), (usize, usize)>,
}

impl SnapshotSet {
    fn new(taken: Instant, workers: Vec<(WorkerId, Arc<WorkerSnapshot>)>) -> Self {
        let mut set = Self {
            taken: Some(taken),
            ..Self::default()
        };
        for (at, (_, worker)) in workers.iter().enumerate() {
            for (row, viewer) in worker.viewers.iter().enumerate() {
                set.viewers.insert(viewer.key, (at, row));
            }
            for (row, publisher) in worker.publishers.iter().enumerate() {
                let name = (publisher.room, publisher.participant);
                // One that was taken over has no tracks any more.
                if !publisher.tracks.is_empty() {
                    set.publishers.insert(name, (at, row));
                }
            }
        }
        set.workers = workers;
        set
    }

    /// A viewing session's row.
    pub fn viewer(&self, key: SessionKey) -> Option<&ViewerSnapshot> {
        let (at, row) = *self.viewers.get(&key)?;
        self.workers.get(at)?.1.viewers.get(row)
    }

    /// The row of who publishes as this participant.
    pub fn publisher(&self, room: RoomId, who: ParticipantId) -> Option<&PublisherSnapshot> {
        let (at, row) = *self.publishers.get(&(room, who))?;
        self.workers.get(at)?.1.publishers.get(row)
    }
}

pub(super) struct Snapshots {
    newest: Mutex<Arc<SnapshotSet>>,
    /// One refresh at a time; whoever comes meanwhile gets its result.
    refreshing: tokio::sync::Mutex<()>,
    /// Load of each worker, as the bits of an `f32`.
    cpu: Vec<AtomicU32>,
}

impl Snapshots {
    pub fn new(workers: usize) -> Self {
        Self {
            newest: Mutex::default(),
            refreshing: tokio::sync::Mutex::new(()),
            cpu: (0..workers).map(|_| AtomicU32::new(0)).collect(),
        }
    }

    /// Share of a core that the worker used between the two newest snapshots.
    pub fn cpu(&self, index: usize) -> f32 {
        self.cpu
            .get(index)
            .map_or(0.0, |bits| f32::from_bits(bits.load(Ordering::Relaxed)))
    }

    fn newest(&self) -> Arc<SnapshotSet> {
        self.newest
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn fresh(&self, since: Instant) -> Option<Arc<SnapshotSet>> {
        let newest = self.newest();
        newest
            .taken
            .is_some_and(|taken| taken >= since)
            .then_some(newest)
    }
}

impl Control {
    /// Snapshots of all workers that are at most `max_age` old. A worker that
    /// does not answer is left out.
    pub async fn snapshots(&self, max_age: Duration) -> Arc<SnapshotSet> {
        let now = Instant::now();
        self.snapshots_since(now.checked_sub(max_age).unwrap_or(now))
            .await
    }

    /// Snapshots of all workers that were asked for at `since` or later.
    pub async fn snapshots_since(&self, since: Instant) -> Arc<SnapshotSet> {
        let cache = &self.0.snapshots;
        if let Some(fresh) = cache.fresh(since) {
            return fresh;
        }
        let _refreshing = cache.refreshing.lock().await;
        if let Some(fresh) = cache.fresh(since) {
            return fresh;
        }
        let taken = Instant::now();
        let asked: Vec<_> = self
            .0
            .workers
            .iter()
            .map(|worker| (worker.link.id, self.ask_snapshot(worker.link.id)))
            .collect();
        let mut workers = Vec::with_capacity(asked.len());
        for (id, asked) in asked {
            if let Some((request, mut told)) = asked
                && let Ok(snapshot) = self.0.reply(request, &mut told).await
            {
                workers.push((id, Arc::from(snapshot)));
            }
        }
        let set = Arc::new(SnapshotSet::new(taken, workers));
        self.0.note_loads(&cache.newest(), &set);
        *cache.newest.lock().unwrap_or_else(PoisonError::into_inner) = set.clone();
        set
    }

    fn ask_snapshot(
        &self,
        worker: WorkerId,
    ) -> Option<(
        crate::units::RequestId,
        oneshot::Receiver<Box<WorkerSnapshot>>,
    )> {
        let (tell, told) = oneshot::channel();
        let request = self.0.pending.insert(Waiting::Snapshot { tell })?;
        if self.send(worker, Command::Snapshot { request }).is_err() {
            self.0.pending.take(request);
            return None;
        }
        Some((request, told))
    }
}

impl Inner {
    /// Works out loads from CPU time used between two snapshots.
    fn note_loads(&self, before: &SnapshotSet, now: &SnapshotSet) {
        let (Some(start), Some(end)) = (before.taken, now.taken) else {
            return;
        };
        let wall = end.saturating_duration_since(start).as_nanos() as f32;
        // Two snapshots close together say little: keep what was measured before.
        if wall < 200_000_000.0 {
            return;
        }
        for (index, worker) in self.workers.iter().enumerate() {
            let cpu = |set: &SnapshotSet| {
                set.workers
                    .iter()
                    .find(|(id, _)| *id == worker.link.id)
                    .map(|(_, snapshot)| snapshot.totals.cpu_nanos)
            };
            if let (Some(old), Some(new), Some(load)) =
                (cpu(before), cpu(now), self.snapshots.cpu.get(index))
            {
                let share = new.saturating_sub(old) as f32 / wall;
                load.store(share.to_bits(), Ordering::Relaxed);
            }
        }
    }
}
