//! What the control plane and the workers say to each other: plain values,
//! commands in, events out, over bounded queues.

mod closing;
mod commands;
mod events;
mod snapshots;
mod totals;

pub use closing::{CloseCounters, CloseReason};
pub use commands::{Command, LayerWish, OpenSession, SessionRole, ViewTarget};
pub use events::{Event, InactiveReason, Refusal, Reply};
pub use snapshots::{
    EncodingHealth, EncodingSnapshot, LayerSnapshot, PublisherSnapshot, SlotSnapshot, TrackRepair,
    TrackSnapshot, ViewerSnapshot, WorkerSnapshot,
};
pub use totals::Totals;
