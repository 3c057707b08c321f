//! The wire: ICE, DTLS, SRTP and RTP headers, from a client's side.

pub mod rtp;
pub mod srtp;
pub mod stun;
pub mod transport;

/// What a datagram is, by its first byte (RFC 7983) and, for RTP and RTCP that
/// share a port, its second (RFC 5761 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// STUN.
    Stun,
    /// DTLS.
    Dtls,
    /// SRTP.
    Rtp,
    /// SRTCP.
    Rtcp,
    /// None of these.
    Other,
}

/// Classifies a datagram.
pub fn classify(data: &[u8]) -> Kind {
    match (data.first(), data.get(1)) {
        (Some(0..=3), _) => Kind::Stun,
        (Some(20..=63), _) => Kind::Dtls,
        (Some(128..=191), Some(192..=223)) => Kind::Rtcp,
        (Some(128..=191), Some(_)) => Kind::Rtp,
        _ => Kind::Other,
    }
}
