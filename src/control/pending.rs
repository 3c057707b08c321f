//! Requests to workers that wait for their reply.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;
use tokio::sync::oneshot;

use super::id::EntityTag;
use super::messages::{Refusal, WorkerSnapshot};
use super::rooms::Seat;
use super::session::Session;
use crate::peer::negotiate::{IceCredentials, LocalTransport};
use crate::units::RequestId;

/// Requests under way at once, all workers together. A worker answers within
/// one turn of its loop, so this many means that one of them hangs.
const MAX_PENDING: usize = 4096;

/// Who waits for a reply, and what the reply means.
#[derive(Debug)]
pub(super) enum Waiting {
    /// A session to be registered when it is open.
    Open {
        session: Arc<Session>,
        seat: Seat,
        /// Index of its worker.
        worker: usize,
        tell: oneshot::Sender<Result<LocalTransport, Refusal>>,
    },
    /// An ICE restart to be recorded when it is done.
    Restart {
        session: Arc<Session>,
        remote: IceCredentials,
        tag: EntityTag,
        tell: oneshot::Sender<Result<IceCredentials, Refusal>>,
    },
    /// A choice of layers, or the answer to an offer of ours.
    Done {
        tell: oneshot::Sender<Result<(), Refusal>>,
    },
    /// A snapshot.
    Snapshot {
        tell: oneshot::Sender<Box<WorkerSnapshot>>,
    },
}

/// The table of requests. Whoever takes an entry out decides its outcome, so
/// a reply and a time-out can't both win.
#[derive(Debug, Default)]
pub(super) struct Pending {
    next: AtomicU64,
    waiting: DashMap<RequestId, Waiting>,
}

impl Pending {
    /// Notes a request; `None` when too many are under way.
    pub fn insert(&self, waiting: Waiting) -> Option<RequestId> {
        if self.waiting.len() >= MAX_PENDING {
            return None;
        }
        let request = RequestId(self.next.fetch_add(1, Ordering::Relaxed));
        self.waiting.insert(request, waiting);
        Some(request)
    }

    /// Takes a request out.
    pub fn take(&self, request: RequestId) -> Option<Waiting> {
        self.waiting.remove(&request).map(|(_, waiting)| waiting)
    }
}
