//! A worker's absolute totals, plain numbers of one thread.

use crate::control::messages::{CloseReason, Totals};
use crate::telemetry::DropCounters;

/// See the module's description; the fields are those of [`Totals`].
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct WorkerTotals {
    pub datagrams_in: u64,
    pub bytes_in: u64,
    pub datagrams_out: u64,
    pub bytes_out: u64,
    pub rtp_in: u64,
    pub rtp_out: u64,
    pub repairs_out: u64,
    pub padding_out: u64,
    pub nacks_out: u64,
    pub nacks_in: u64,
    pub keyframe_requests_out: u64,
    pub keyframe_requests_in: u64,
    pub cpu_nanos: u64,
    pub drops: DropCounters,
    pub closed: [u64; CLOSE_REASONS.len()],
}

/// All of them, in the order of [`WorkerTotals::closed`].
pub const CLOSE_REASONS: [CloseReason; 8] = [
    CloseReason::Deleted,
    CloseReason::TakenOver,
    CloseReason::Shutdown,
    CloseReason::PeerClosed,
    CloseReason::TimedOut,
    CloseReason::NeverConnected,
    CloseReason::DtlsFailed,
    CloseReason::Internal,
];

impl WorkerTotals {
    /// Counts an ended session.
    pub fn count_closed(&mut self, reason: CloseReason) {
        if let Some(at) = CLOSE_REASONS.iter().position(|r| *r == reason) {
            self.closed[at] += 1;
        }
    }

    /// The values as the control plane gets them.
    pub fn snapshot(&self) -> Totals {
        Totals {
            datagrams_in: self.datagrams_in,
            bytes_in: self.bytes_in,
            datagrams_out: self.datagrams_out,
            bytes_out: self.bytes_out,
            rtp_in: self.rtp_in,
            rtp_out: self.rtp_out,
            repairs_out: self.repairs_out,
            padding_out: self.padding_out,
            nacks_out: self.nacks_out,
            nacks_in: self.nacks_in,
            keyframe_requests_out: self.keyframe_requests_out,
            keyframe_requests_in: self.keyframe_requests_in,
            drops: self.drops.iter().collect(),
            cpu_nanos: self.cpu_nanos,
            closed: CLOSE_REASONS
                .iter()
                .zip(self.closed)
                .map(|(reason, count)| (reason.as_str(), count))
                .collect(),
        }
    }
}
