//! Why sessions end, and how many did for which reason.

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CloseReason {
    /// DELETE on its resource.
    Deleted,
    /// Another publisher took the participant over.
    TakenOver,
    /// The server is shutting down.
    Shutdown,
    /// The peer sent DTLS `close_notify`.
    PeerClosed,
    /// Nothing authentic came from the peer for the consent time-out.
    TimedOut,
    /// It never got as far as an ICE and DTLS connection.
    NeverConnected,
    /// DTLS failed (wrong fingerprint, no common cipher, protocol error).
    DtlsFailed,
    /// An internal failure of this session.
    Internal,
}

impl CloseReason {
    /// Every reason, in the order of its index.
    pub const ALL: [Self; 8] = [
        Self::Deleted,
        Self::TakenOver,
        Self::Shutdown,
        Self::PeerClosed,
        Self::TimedOut,
        Self::NeverConnected,
        Self::DtlsFailed,
        Self::Internal,
    ];

    /// The reason's name in metrics, logs and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::TakenOver => "taken_over",
            Self::Shutdown => "shutdown",
            Self::PeerClosed => "peer_closed",
            Self::TimedOut => "timed_out",
            Self::NeverConnected => "never_connected",
            Self::DtlsFailed => "dtls_failed",
            Self::Internal => "internal",
        }
    }

    const fn index(self) -> usize {
        self as usize
    }
}

/// How many sessions ended, by reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CloseCounters {
    counts: [u64; CloseReason::ALL.len()],
}

impl CloseCounters {
    /// Counts an ended session.
    pub fn add(&mut self, reason: CloseReason) {
        self.counts[reason.index()] += 1;
    }

    /// Every reason's name and count, those at zero included.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let reasons = CloseReason::ALL.iter().map(|reason| reason.as_str());
        reasons.zip(self.counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lists_every_reason_at_its_index() {
        for (index, reason) in CloseReason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), index, "{reason:?}");
        }
        // `Internal` is the last variant: a new one behind it fails here.
        assert_eq!(CloseReason::Internal.index() + 1, CloseReason::ALL.len());
    }

    #[test]
    fn reasons_are_counted_apart() {
        let mut closed = CloseCounters::default();
        closed.add(CloseReason::TimedOut);
        closed.add(CloseReason::TimedOut);
        closed.add(CloseReason::Internal);
        let rows: Vec<_> = closed.iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(rows, [("timed_out", 2), ("internal", 1)]);
        assert_eq!(closed.iter().count(), CloseReason::ALL.len());
    }
}
