//! Sealing and opening in place with one set of session keys.

use std::fmt;

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_128, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;

use super::kdf::SessionKeys;
use super::{RTCP_CLEAR_LEN, SRTCP_INDEX_LEN, SrtpError, SrtpProfile};

/// Bytes of a GCM tag (RFC 7714 §13.1).
const GCM_TAG: usize = 16;

/// Bytes of an HMAC-SHA1-80 tag (RFC 3711 §5.2).
const HMAC_TAG: usize = 10;

/// The E flag of SRTCP: the packet is encrypted (RFC 3711 §3.4).
pub(super) const E_FLAG: u32 = 1 << 31;

/// Session keys in the form that works per packet: key schedules expanded, HMAC
/// pads hashed.
pub(super) enum Cipher {
    Gcm {
        key: LessSafeKey,
        /// The 96-bit salt, as a number.
        salt: u128,
    },
    /// Boxed: twice as large and used by few peers.
    Cm(Box<Cm>),
}

pub(super) struct Cm {
    key: EncryptingKey,
    salt: [u8; 14],
    auth: hmac::Key,
}

impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gcm { .. } => "Cipher::Gcm",
            Self::Cm { .. } => "Cipher::Cm",
        })
    }
}

impl Cipher {
    pub(super) fn new(keys: &SessionKeys) -> Result<Self, SrtpError> {
        let gcm = |algorithm| {
            let key = UnboundKey::new(algorithm, keys.key()).map_err(|_| SrtpError::Keys)?;
            let mut salt = [0; 16];
            salt[4..].copy_from_slice(&keys.salt()[..12]);
            Ok(Self::Gcm {
                key: LessSafeKey::new(key),
                salt: u128::from_be_bytes(salt),
            })
        };
        match keys.profile {
            SrtpProfile::AeadAes128Gcm => gcm(&AES_128_GCM),
            SrtpProfile::AeadAes256Gcm => gcm(&AES_256_GCM),
            SrtpProfile::Aes128CmHmacSha1_80 => {
                let key = UnboundCipherKey::new(&AES_128, keys.key())
                    .and_then(EncryptingKey::ctr)
                    .map_err(|_| SrtpError::Keys)?;
                Ok(Self::Cm(Box::new(Cm {
                    key,
                    salt: *keys.salt(),
                    auth: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, keys.auth()),
                })))
            }
        }
    }

    /// Bytes of its tag.
    #[inline]
    pub(super) fn tag_len(&self) -> usize {
        match self {
            Self::Gcm { .. } => GCM_TAG,
            Self::Cm { .. } => HMAC_TAG,
        }
    }

    /// Seals the RTP packet `buf[..len]` and appends the tag; the new length.
    #[inline]
    pub(super) fn seal_rtp(
        &self,
        buf: &mut [u8],
        header_len: usize,
        len: usize,
        id: PacketId,
    ) -> Result<usize, SrtpError> {
        let total = len + self.tag_len();
        let packet = buf.get_mut(..total).ok_or(SrtpError::TooShort)?;
        let (header, rest) = packet
            .split_at_mut_checked(header_len)
            .ok_or(SrtpError::TooShort)?;
        let (payload, tag) = rest
            .split_at_mut_checked(len.wrapping_sub(header_len))
            .ok_or(SrtpError::TooShort)?;
        match self {
            // RFC 7714 §8.2: the associated data is the whole header.
            Self::Gcm { key, salt } => {
                let sealed = key
                    .seal_in_place_separate_tag(id.gcm_rtp(*salt), Aad::from(&*header), payload)
                    .map_err(|_| SrtpError::Library)?;
                tag.copy_from_slice(sealed.as_ref());
            }
            // RFC 3711 §3.3: encrypt, then authenticate it with the ROC after it.
            Self::Cm(cm) => {
                cm.crypt(payload, id)?;
                let sum = cm.sum(&[header, payload, &id.roc().to_be_bytes()]);
                tag.copy_from_slice(&sum.as_ref()[..HMAC_TAG]);
            }
        }
        Ok(total)
    }

    /// Seals `payload` behind the header `buf[..header_len]` and appends the
    /// tag; the new length.
    #[inline]
    pub(super) fn seal_rtp_from(
        &self,
        buf: &mut [u8],
        header_len: usize,
        payload: &[u8],
        id: PacketId,
    ) -> Result<usize, SrtpError> {
        let len = header_len + payload.len();
        match self {
            // RFC 7714 §8.2: the associated data is the whole header.
            Self::Gcm { key, salt } => {
                let packet = buf.get_mut(..len + GCM_TAG).ok_or(SrtpError::TooShort)?;
                let (header, rest) = packet.split_at_mut(header_len);
                let (sealed, tag) = rest.split_at_mut(payload.len());
                let header = Aad::from(&*header);
                key.seal_out_of_place_scatter(id.gcm_rtp(*salt), header, payload, sealed, &[], tag)
                    .map_err(|_| SrtpError::Library)?;
                Ok(len + GCM_TAG)
            }
            Self::Cm(_) => {
                buf.get_mut(header_len..len)
                    .ok_or(SrtpError::TooShort)?
                    .copy_from_slice(payload);
                self.seal_rtp(buf, header_len, len, id)
            }
        }
    }

    /// Opens the SRTP packet `buf`; the length of the RTP packet in it.
    pub(super) fn open_rtp(
        &self,
        buf: &mut [u8],
        header_len: usize,
        id: PacketId,
    ) -> Result<usize, SrtpError> {
        let len = buf
            .len()
            .checked_sub(self.tag_len())
            .ok_or(SrtpError::TooShort)?;
        if header_len > len {
            return Err(SrtpError::TooShort);
        }
        match self {
            Self::Gcm { key, salt } => {
                let (header, sealed) = buf.split_at_mut(header_len);
                key.open_in_place(id.gcm_rtp(*salt), Aad::from(&*header), sealed)
                    .map_err(|_| SrtpError::Authentication)?;
            }
            Self::Cm(cm) => {
                let (packet, tag) = buf.split_at_mut(len);
                let sum = cm.sum(&[packet, &id.roc().to_be_bytes()]);
                verify_slices_are_equal(&sum.as_ref()[..HMAC_TAG], tag)
                    .map_err(|_| SrtpError::Authentication)?;
                cm.crypt(&mut packet[header_len..], id)?;
            }
        }
        Ok(len)
    }

    /// Seals the RTCP packet `buf[..len]`; the new length. `id.index` is the
    /// SRTCP index.
    pub(super) fn seal_rtcp(
        &self,
        buf: &mut [u8],
        len: usize,
        id: PacketId,
    ) -> Result<usize, SrtpError> {
        let total = len + self.tag_len() + SRTCP_INDEX_LEN;
        let packet = buf.get_mut(..total).ok_or(SrtpError::TooShort)?;
        let (clear, rest) = packet
            .split_at_mut_checked(RTCP_CLEAR_LEN)
            .ok_or(SrtpError::TooShort)?;
        let (payload, tail) = rest
            .split_at_mut_checked(len.wrapping_sub(RTCP_CLEAR_LEN))
            .ok_or(SrtpError::TooShort)?;
        let trailer = (E_FLAG | id.srtcp_index()).to_be_bytes();
        match self {
            // RFC 7714 §9.2: ciphertext, tag, then the index.
            Self::Gcm { key, salt } => {
                let sealed = key
                    .seal_in_place_separate_tag(
                        id.gcm_rtcp(*salt),
                        rtcp_aad(clear, trailer),
                        payload,
                    )
                    .map_err(|_| SrtpError::Library)?;
                let (tag, index) = tail.split_at_mut(GCM_TAG);
                tag.copy_from_slice(sealed.as_ref());
                index.copy_from_slice(&trailer);
            }
            // RFC 3711 §3.4: ciphertext, index, then the tag over all of it.
            Self::Cm(cm) => {
                cm.crypt(payload, id)?;
                let (index, tag) = tail.split_at_mut(SRTCP_INDEX_LEN);
                index.copy_from_slice(&trailer);
                let sum = cm.sum(&[clear, payload, index]);
                tag.copy_from_slice(&sum.as_ref()[..HMAC_TAG]);
            }
        }
        Ok(total)
    }

    /// The E flag and index of an SRTCP packet, not yet authenticated.
    pub(super) fn srtcp_trailer(&self, packet: &[u8]) -> Option<u32> {
        let after = match self {
            Self::Gcm { .. } => 0,
            Self::Cm { .. } => HMAC_TAG,
        };
        let at = packet.len().checked_sub(after + SRTCP_INDEX_LEN)?;
        super::be32(packet, at)
    }

    /// Opens the SRTCP packet `buf`; the length of the RTCP packet in it.
    pub(super) fn open_rtcp(&self, buf: &mut [u8], id: PacketId) -> Result<usize, SrtpError> {
        let len = buf
            .len()
            .checked_sub(self.tag_len() + SRTCP_INDEX_LEN)
            .filter(|len| *len >= RTCP_CLEAR_LEN)
            .ok_or(SrtpError::TooShort)?;
        match self {
            Self::Gcm { key, salt } => {
                let trailer = (E_FLAG | id.srtcp_index()).to_be_bytes();
                let (clear, rest) = buf.split_at_mut(RTCP_CLEAR_LEN);
                let sealed = len - RTCP_CLEAR_LEN + GCM_TAG;
                key.open_in_place(
                    id.gcm_rtcp(*salt),
                    rtcp_aad(clear, trailer),
                    &mut rest[..sealed],
                )
                .map_err(|_| SrtpError::Authentication)?;
            }
            Self::Cm(cm) => {
                let (packet, tag) = buf.split_at_mut(len + SRTCP_INDEX_LEN);
                let sum = cm.sum(&[packet]);
                verify_slices_are_equal(&sum.as_ref()[..HMAC_TAG], tag)
                    .map_err(|_| SrtpError::Authentication)?;
                cm.crypt(&mut packet[RTCP_CLEAR_LEN..len], id)?;
            }
        }
        Ok(len)
    }
}

impl Cm {
    /// AES in counter mode, in place; its own inverse (RFC 3711 §4.1.1).
    #[inline]
    fn crypt(&self, data: &mut [u8], id: PacketId) -> Result<(), SrtpError> {
        let iv = FixedLength::from(&id.cm(&self.salt));
        self.key
            .less_safe_encrypt(data, EncryptionContext::Iv128(iv))
            .map(drop)
            .map_err(|_| SrtpError::Library)
    }

    #[inline]
    fn sum(&self, parts: &[&[u8]]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.auth);
        for part in parts {
            context.update(part);
        }
        context.sign()
    }
}

/// RFC 7714 §9.2: header, SSRC, then the E flag and index.
#[inline]
fn rtcp_aad(clear: &[u8], trailer: [u8; 4]) -> Aad<[u8; RTCP_CLEAR_LEN + SRTCP_INDEX_LEN]> {
    let mut aad = [0; RTCP_CLEAR_LEN + SRTCP_INDEX_LEN];
    aad[..RTCP_CLEAR_LEN].copy_from_slice(clear);
    aad[RTCP_CLEAR_LEN..].copy_from_slice(&trailer);
    Aad::from(aad)
}

/// What makes a packet's nonce: never the same twice under one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PacketId {
    /// The stream.
    pub(super) ssrc: u32,
    /// 48 bits for RTP: ROC, then sequence number. 31 bits for RTCP.
    pub(super) index: u64,
}

impl PacketId {
    #[inline]
    fn roc(self) -> u32 {
        (self.index >> 16) as u32
    }

    #[inline]
    fn srtcp_index(self) -> u32 {
        self.index as u32 & !E_FLAG
    }

    /// RFC 7714 §8.1: two zero octets, SSRC, ROC, sequence number; XOR salt.
    #[inline]
    fn gcm_rtp(self, salt: u128) -> Nonce {
        self.gcm(salt, self.index & 0xFFFF_FFFF_FFFF)
    }

    /// RFC 7714 §9.1: two zero octets, SSRC, two zero octets, index; XOR salt.
    #[inline]
    fn gcm_rtcp(self, salt: u128) -> Nonce {
        self.gcm(salt, u64::from(self.srtcp_index()))
    }

    #[inline]
    fn gcm(self, salt: u128, low48: u64) -> Nonce {
        let block = (u128::from(self.ssrc) << 48) | u128::from(low48);
        let [_, _, _, _, nonce @ ..] = (block ^ salt).to_be_bytes();
        Nonce::assume_unique_for_key(nonce)
    }

    /// RFC 3711 §4.1.1: salt * 2^16 XOR SSRC * 2^64 XOR index * 2^16.
    #[inline]
    fn cm(self, salt: &[u8; 14]) -> [u8; 16] {
        let mut iv = [0; 16];
        iv[..14].copy_from_slice(salt);
        let block = (u128::from(self.ssrc) << 64) | (u128::from(self.index) << 16);
        (u128::from_be_bytes(iv) ^ block).to_be_bytes()
    }
}
