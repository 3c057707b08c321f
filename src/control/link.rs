//! How the control plane reaches a worker.

use std::sync::Arc;

use super::messages::Command;
use crate::peer::negotiate::AnswerContext;
use crate::units::WorkerId;

/// A worker's command queue is full: it is overloaded, so the request is
/// refused (503) instead of queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the worker's command queue is full")]
pub struct QueueFull;

/// The sending half of a worker's bounded command queue.
pub trait CommandSink: Send + Sync {
    /// Queues a command without waiting.
    fn send(&self, command: Command) -> Result<(), QueueFull>;
}

/// A running worker as the control plane knows it.
#[derive(Clone)]
pub struct WorkerLink {
    /// Which worker.
    pub id: WorkerId,
    /// Its command queue.
    pub sink: Arc<dyn CommandSink>,
    /// What its SDP answers share: fingerprint and candidates.
    pub context: Arc<AnswerContext>,
}
