//! Why a session ended.

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
}
