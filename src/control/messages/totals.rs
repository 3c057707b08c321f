//! What a worker counted since its start.

use super::CloseCounters;
use crate::telemetry::DropCounters;

/// Absolute counts of one worker since its start. Its core counts in them; the control
/// plane gets a copy.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// Datagrams read.
    pub datagrams_in: u64,
    /// Bytes read.
    pub bytes_in: u64,
    /// Datagrams sent.
    pub datagrams_out: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// RTP packets accepted from publishers.
    pub rtp_in: u64,
    /// RTP packets sent to viewers, repairs not counted.
    pub rtp_out: u64,
    /// Repairs sent to viewers: RTX and plain resends.
    pub repairs_out: u64,
    /// Padding sent to viewers to probe their paths with.
    pub padding_out: u64,
    /// Packets asked from publishers by NACK.
    pub nacks_out: u64,
    /// Packets that viewers asked for by NACK.
    pub nacks_in: u64,
    /// Keyframe requests sent to publishers.
    pub keyframe_requests_out: u64,
    /// Keyframe requests from viewers.
    pub keyframe_requests_in: u64,
    /// Nanoseconds of thread CPU used.
    pub cpu_nanos: u64,
    /// What was dropped, by typed reason.
    pub drops: DropCounters,
    /// How many sessions ended, by reason.
    pub closed: CloseCounters,
}
