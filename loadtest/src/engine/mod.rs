//! The threads that send and receive, and what they tell the run.

pub mod link;
mod mailbox;
#[cfg(test)]
mod mutation_tests;
mod peer;
pub mod program;
pub mod publisher;
pub mod receiver;
mod rtcp_in;
mod rtcp_out;
mod track;
mod twcc;
pub mod viewer;

use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc::UnboundedSender;

use crate::measure::loss::StreamInfo;
use crate::measure::window::Window;
use crate::signal::negotiated::Medium;

pub use mailbox::{Mailbox, mailbox};
pub use peer::Seed;

/// How often threads hand in what they have measured.
pub const REPORT_INTERVAL: std::time::Duration = std::time::Duration::from_millis(500);

/// What threads tell the run.
#[derive(Debug)]
pub enum Event {
    /// A session has its keys.
    Connected(u64),
    /// A viewer has its first complete keyframe (or sound, without video).
    Decoded(u64),
    /// A participant's sound or picture has come to a viewer for the first time.
    Track(u64, Medium),
    /// A session is over without having been told to.
    Ended(u64, String),
    /// A stretch of measurements of one phase.
    Window {
        /// Which phase of the run.
        phase: u32,
        /// The sums.
        window: Box<Window>,
    },
    /// The thread of this name has ended and will report no more.
    Stopped(String),
}

/// The streams that publishers send, by the number in their stamps.
#[derive(Debug, Default)]
pub struct Streams(Mutex<Vec<Arc<StreamInfo>>>);

impl Streams {
    /// A number for a new stream of a participant's session.
    pub fn add(&self, session: u64, participant: u64) -> Arc<StreamInfo> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let info = Arc::new(StreamInfo {
            id: all.len() as u32,
            session,
            participant,
            ..StreamInfo::default()
        });
        all.push(Arc::clone(&info));
        info
    }

    /// The stream of a number.
    pub fn get(&self, id: u32) -> Option<Arc<StreamInfo>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(id as usize).cloned()
    }
}

/// What all threads share.
#[derive(Debug, Clone)]
pub struct Shared {
    /// The phase of the run.
    pub phase: Arc<AtomicU32>,
    /// Where events go. Few: a handful per session and two windows a second per
    /// thread, so that its length has no bound.
    pub events: UnboundedSender<Event>,
    /// All streams.
    pub streams: Arc<Streams>,
}
