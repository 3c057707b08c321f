//! Sealing what we send.

use super::cipher::{Cipher, PacketId};
use super::kdf::{SessionKeys, Use};
use super::{Keying, MasterKey, RTCP_CLEAR_LEN, RTP_HEADER_LEN, SrtpError, be16, be32};

#[cfg(debug_assertions)]
use super::nonce_guard::NonceGuard;

/// One past the last SRTCP index (RFC 3711 §3.2.1).
const SRTCP_INDICES: u32 = 1 << 31;

/// The sending half of a session's SRTP. All its streams share the keys.
#[derive(Debug)]
pub struct SrtpSender {
    rtp: Cipher,
    rtcp: Cipher,
    /// The next SRTCP index. One counter for all SSRCs: indices need only be
    /// fresh and rising for each of them.
    srtcp_index: u32,
    #[cfg(debug_assertions)]
    guard: NonceGuard,
}

impl SrtpSender {
    /// A sender with our side's keys.
    ///
    /// # Errors
    /// [`SrtpError::Keys`] when the cryptographic library refuses them.
    pub fn new(keying: &Keying) -> Result<Self, SrtpError> {
        Self::from_master(keying.local())
    }

    /// A sender with these keys, for ends that are not DTLS sessions.
    ///
    /// # Errors
    /// [`SrtpError::Keys`] when the lengths are not the profile's.
    pub fn from_master(master: MasterKey<'_>) -> Result<Self, SrtpError> {
        Ok(Self::with_ciphers(
            Cipher::new(&SessionKeys::derive(master, Use::Rtp)?)?,
            Cipher::new(&SessionKeys::derive(master, Use::Rtcp)?)?,
            0,
        ))
    }

    pub(super) fn with_ciphers(rtp: Cipher, rtcp: Cipher, srtcp_index: u32) -> Self {
        Self {
            rtp,
            rtcp,
            srtcp_index,
            #[cfg(debug_assertions)]
            guard: NonceGuard::default(),
        }
    }

    /// Seals the RTP packet `buf[..len]` in place and appends its tag; returns
    /// the length with the tag. `header_len` counts CSRCs and the header
    /// extension, `roc` is the upper part of the packet's extended sequence
    /// number (the roll-over counter of RFC 3711 §3.3.1, 0 until the sequence
    /// number first wraps). SSRC and sequence number are read from the header.
    ///
    /// The same SSRC, `roc` and sequence number must never be sealed again with
    /// any other header or payload: with GCM that gives the keys away (RFC 7714
    /// §14.1). A plain retransmission is therefore sent byte for byte as before,
    /// header extensions included. Debug builds panic when it is violated.
    ///
    /// # Errors
    /// [`SrtpError::TooShort`] when `buf` has no room for the tag
    /// ([`MAX_RTP_OVERHEAD`](super::MAX_RTP_OVERHEAD) is enough) or the lengths contradict each other;
    /// nothing is written then.
    #[inline]
    pub fn protect_rtp(
        &mut self,
        buf: &mut [u8],
        header_len: usize,
        len: usize,
        roc: u32,
    ) -> Result<usize, SrtpError> {
        if header_len < RTP_HEADER_LEN || len < header_len || len > buf.len() {
            return Err(SrtpError::TooShort);
        }
        let (Some(seq), Some(ssrc)) = (be16(buf, 2), be32(buf, 8)) else {
            return Err(SrtpError::TooShort);
        };
        let index = (u64::from(roc) << 16) | u64::from(seq);
        let id = PacketId { ssrc, index };
        #[cfg(debug_assertions)]
        self.guard.check(id, &[&buf[..len]]);
        self.rtp.seal_rtp(buf, header_len, len, id)
    }

    /// Like [`SrtpSender::protect_rtp`] with the header in `buf[..header_len]`
    /// and the payload elsewhere: with GCM it is sealed from there into `buf`
    /// without a copy.
    ///
    /// # Errors
    /// As [`SrtpSender::protect_rtp`].
    #[inline]
    pub fn protect_rtp_from(
        &mut self,
        buf: &mut [u8],
        header_len: usize,
        payload: &[u8],
        roc: u32,
    ) -> Result<usize, SrtpError> {
        if header_len < RTP_HEADER_LEN || header_len > buf.len() {
            return Err(SrtpError::TooShort);
        }
        let (Some(seq), Some(ssrc)) = (be16(buf, 2), be32(buf, 8)) else {
            return Err(SrtpError::TooShort);
        };
        let index = (u64::from(roc) << 16) | u64::from(seq);
        let id = PacketId { ssrc, index };
        #[cfg(debug_assertions)]
        self.guard.check(id, &[&buf[..header_len], payload]);
        self.rtp.seal_rtp_from(buf, header_len, payload, id)
    }

    /// Seals the RTCP packet `buf[..len]` (compound or reduced-size) in place and
    /// appends index and tag; returns the length with them.
    ///
    /// # Errors
    /// [`SrtpError::TooShort`] when `buf` has no room for them
    /// ([`MAX_RTCP_OVERHEAD`](super::MAX_RTCP_OVERHEAD) is enough) or `len` is less than an RTCP header with
    /// SSRC; [`SrtpError::Exhausted`] after 2^31 packets.
    pub fn protect_rtcp(&mut self, buf: &mut [u8], len: usize) -> Result<usize, SrtpError> {
        if len < RTCP_CLEAR_LEN || len > buf.len() {
            return Err(SrtpError::TooShort);
        }
        if self.srtcp_index >= SRTCP_INDICES {
            return Err(SrtpError::Exhausted);
        }
        let id = PacketId {
            ssrc: be32(buf, 4).ok_or(SrtpError::TooShort)?,
            index: u64::from(self.srtcp_index),
        };
        let total = self.rtcp.seal_rtcp(buf, len, id)?;
        self.srtcp_index += 1;
        Ok(total)
    }
}
