//! SRTP and SRTCP (RFC 3711, RFC 7714) over the keys a DTLS handshake exported.
//!
//! [`SrtpReceiver`] opens what a peer sends: a publisher's media, a viewer's reports.
//! [`SrtpSender`] seals packets where they lie in the send arena. Neither allocates per
//! packet.

mod cipher;
mod kdf;
#[cfg(debug_assertions)]
mod nonce_guard;
mod receiver;
mod replay;
mod sender;

#[cfg(test)]
mod interop_tests;
#[cfg(test)]
mod measure_tests;
#[cfg(test)]
mod tests;

pub use crate::peer::crypto::{Keying, MasterKey, SrtpProfile};
pub(crate) use receiver::RtpWindow;
pub use receiver::{MAX_SOURCES, OpenedRtp, SrtpReceiver};
pub use sender::SrtpSender;

/// The most bytes that sealing adds to an RTP packet, whatever the profile.
pub const MAX_RTP_OVERHEAD: usize = 16;

/// The most bytes that sealing adds to an RTCP packet, whatever the profile.
pub const MAX_RTCP_OVERHEAD: usize = 20;

/// The E flag and the SRTCP index (RFC 3711 §3.4).
const SRTCP_INDEX_LEN: usize = 4;

/// RTCP header and sender SSRC, which SRTCP leaves in clear (RFC 3711 §3.4).
const RTCP_CLEAR_LEN: usize = 8;

/// An RTP header without CSRCs and extension.
const RTP_HEADER_LEN: usize = 12;

/// Why a packet was not sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum SrtpError {
    /// The key or salt has another length than the profile's, or was refused.
    #[error("the keys can't be used")]
    Keys,
    /// The buffer is too short for header, payload and tag.
    #[error("too short")]
    TooShort,
    /// Not RTP version 2, or its header is longer than the packet.
    #[error("malformed header")]
    Malformed,
    /// The tag is wrong: forged, damaged, or sealed with other keys.
    #[error("authentication failed")]
    Authentication,
    /// Its index was seen before.
    #[error("replayed")]
    Replayed,
    /// Its index lies before the replay window.
    #[error("too old")]
    TooOld,
    /// SRTCP without the E flag: WebRTC always encrypts (RFC 8827 §6.5).
    #[error("not encrypted")]
    Clear,
    /// The cryptographic library failed.
    #[error("the cryptographic library failed")]
    Library,
    /// All 2^31 SRTCP indices are used up (RFC 3711 §9.2).
    #[error("the keys are used up")]
    Exhausted,
}

#[inline]
fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_be_bytes(*word))
}

#[inline]
fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    let word = bytes.get(at..)?.first_chunk::<2>()?;
    Some(u16::from_be_bytes(*word))
}
