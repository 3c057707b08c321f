//! Every packet or command that is given up has a typed reason and a counter.

/// Why a datagram, packet or message was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum DropReason {
    /// The datagram comes from an address no session has validated, and is not STUN.
    UnknownSource,
    /// The first byte belongs to no protocol of RFC 7983 that is spoken here.
    UnknownProtocol,
    /// The STUN message does not parse (RFC 8489 §5).
    MalformedStun,
    /// The DTLS record does not parse, or the handshake refused it.
    MalformedDtls,
    /// The RTP header or one of its extensions does not parse (RFC 3550 §5.1).
    MalformedRtp,
    /// The RTCP compound does not parse (RFC 3550 §6.1).
    MalformedRtcp,
    /// The STUN username names no session.
    StunUnknownUfrag,
    /// The STUN message integrity is missing or wrong (RFC 8489 §9.1.3).
    StunBadIntegrity,
    /// A connectivity check comes from the address that another session uses, which is still heard.
    AddressTaken,
    /// More plain STUN requests than are answered.
    StunRateLimited,
    /// The worker's session table has no free slot.
    SessionTableFull,
    /// The SRTP or SRTCP authentication failed, or the packet is a replay (RFC 3711 §3.3).
    MediaRejected,
    /// Media before the session's keys were there.
    NotConnected,
    /// The RTP packet's SSRC fits no track.
    UnknownSsrc,
    /// The RTP packet's payload type was not negotiated.
    UnknownPayloadType,
    /// The send arena of this turn of the loop was full.
    EgressFull,
    /// The kernel's send buffer was full.
    KernelFull,
    /// The kernel refused to send (no route, message too long, ...).
    SendFailed,
    /// The queue to another worker was full.
    MeshFull,
    /// The queue of commands to a worker was full.
    CommandQueueFull,
    /// The queue of events to the control plane was full.
    EventQueueFull,
    /// A repair was asked for beyond the viewer's retransmission budget.
    RtxBudget,
    /// A repair was asked for that is no longer kept.
    RtxTooOld,
    /// The viewer did not negotiate the codec of the packet.
    CodecMismatch,
    /// A TCP frame's length is impossible, so the connection was closed (RFC 4571 §2).
    TcpFraming,
    /// A TCP connection did not take the data in time.
    TcpBackpressure,
    /// Longer than any datagram that is forwarded.
    Oversize,
}

impl DropReason {
    /// Every reason, in the order of its index.
    pub const ALL: [Self; 27] = [
        Self::UnknownSource,
        Self::UnknownProtocol,
        Self::MalformedStun,
        Self::MalformedDtls,
        Self::MalformedRtp,
        Self::MalformedRtcp,
        Self::StunUnknownUfrag,
        Self::StunBadIntegrity,
        Self::AddressTaken,
        Self::StunRateLimited,
        Self::SessionTableFull,
        Self::MediaRejected,
        Self::NotConnected,
        Self::UnknownSsrc,
        Self::UnknownPayloadType,
        Self::EgressFull,
        Self::KernelFull,
        Self::SendFailed,
        Self::MeshFull,
        Self::CommandQueueFull,
        Self::EventQueueFull,
        Self::RtxBudget,
        Self::RtxTooOld,
        Self::CodecMismatch,
        Self::TcpFraming,
        Self::TcpBackpressure,
        Self::Oversize,
    ];

    /// The reason's name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnknownSource => "unknown_source",
            Self::UnknownProtocol => "unknown_protocol",
            Self::MalformedStun => "malformed_stun",
            Self::MalformedDtls => "malformed_dtls",
            Self::MalformedRtp => "malformed_rtp",
            Self::MalformedRtcp => "malformed_rtcp",
            Self::StunUnknownUfrag => "stun_unknown_ufrag",
            Self::StunBadIntegrity => "stun_bad_integrity",
            Self::AddressTaken => "address_taken",
            Self::StunRateLimited => "stun_rate_limited",
            Self::SessionTableFull => "session_table_full",
            Self::MediaRejected => "media_rejected",
            Self::NotConnected => "not_connected",
            Self::UnknownSsrc => "unknown_ssrc",
            Self::UnknownPayloadType => "unknown_payload_type",
            Self::EgressFull => "egress_full",
            Self::KernelFull => "kernel_full",
            Self::SendFailed => "send_failed",
            Self::MeshFull => "mesh_full",
            Self::CommandQueueFull => "command_queue_full",
            Self::EventQueueFull => "event_queue_full",
            Self::RtxBudget => "rtx_budget",
            Self::RtxTooOld => "rtx_too_old",
            Self::CodecMismatch => "codec_mismatch",
            Self::TcpFraming => "tcp_framing",
            Self::TcpBackpressure => "tcp_backpressure",
            Self::Oversize => "oversize",
        }
    }

    const fn index(self) -> usize {
        self as usize
    }
}

/// One counter a reason, owned by one thread: counting is an addition in an array.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DropCounters {
    counts: [u64; DropReason::ALL.len()],
}

impl DropCounters {
    /// Counts one drop.
    pub fn add(&mut self, reason: DropReason) {
        self.add_many(reason, 1);
    }

    /// Counts `n` drops.
    pub fn add_many(&mut self, reason: DropReason, n: u64) {
        let count = &mut self.counts[reason.index()];
        *count = count.wrapping_add(n);
    }

    /// Adds all counts of another thread or part.
    pub fn add_all(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count = count.wrapping_add(more);
        }
    }

    /// How often `reason` was counted.
    pub fn get(&self, reason: DropReason) -> u64 {
        self.counts[reason.index()]
    }

    /// All counts together.
    pub fn total(&self) -> u64 {
        self.counts
            .iter()
            .fold(0, |sum, count| sum.wrapping_add(*count))
    }

    /// Every reason's name and count, those at zero included.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        DropReason::ALL
            .iter()
            .map(|reason| (reason.as_str(), self.get(*reason)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn all_lists_every_reason_at_its_index() {
        for (index, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), index, "{reason:?}");
        }
        // `Oversize` is the last variant: a new one behind it fails here.
        assert_eq!(DropReason::Oversize.index() + 1, DropReason::ALL.len());
    }

    #[test]
    fn names_are_distinct_label_values() {
        let names: HashSet<_> = DropReason::ALL.iter().map(|r| r.as_str()).collect();
        assert_eq!(names.len(), DropReason::ALL.len());
        for name in names {
            assert!(
                name.chars().all(|c| c.is_ascii_lowercase() || c == '_'),
                "{name}"
            );
        }
    }

    #[test]
    fn counts_are_kept_apart() {
        let mut drops = DropCounters::default();
        drops.add(DropReason::MeshFull);
        drops.add(DropReason::MeshFull);
        drops.add_many(DropReason::Oversize, 3);
        assert_eq!(drops.get(DropReason::MeshFull), 2);
        assert_eq!(drops.get(DropReason::Oversize), 3);
        assert_eq!(drops.get(DropReason::UnknownSource), 0);
        assert_eq!(drops.total(), 5);
        let mut other = DropCounters::default();
        other.add(DropReason::MeshFull);
        other.add_all(&drops);
        assert_eq!(other.get(DropReason::MeshFull), 3);
        assert_eq!(other.get(DropReason::Oversize), 3);
        assert_eq!(drops.iter().count(), DropReason::ALL.len());
        assert!(drops.iter().any(|row| row == ("mesh_full", 2)));
    }
}
