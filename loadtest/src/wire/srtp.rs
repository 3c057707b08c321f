//! SRTP and SRTCP, one direction at a time (RFC 3711, RFC 7714).

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;

const GCM_TAG: usize = 16;
const CM_TAG: usize = 10;
/// Bytes an SRTCP packet ends with: the index, and the tag before or after it.
pub const RTCP_TRAILER_MAX: usize = 4 + GCM_TAG;

/// What DTLS can agree on (RFC 5764 §4.1.2, RFC 7714 §14.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// `SRTP_AEAD_AES_256_GCM`
    Gcm256,
    /// `SRTP_AEAD_AES_128_GCM`
    Gcm128,
    /// `SRTP_AES128_CM_HMAC_SHA1_80`
    CmSha1,
}

impl Profile {
    fn key_len(self) -> usize {
        match self {
            Self::Gcm256 => 32,
            Self::Gcm128 | Self::CmSha1 => 16,
        }
    }

    fn salt_len(self) -> usize {
        match self {
            Self::Gcm256 | Self::Gcm128 => 12,
            Self::CmSha1 => 14,
        }
    }

    fn tag_len(self) -> usize {
        match self {
            Self::Gcm256 | Self::Gcm128 => GCM_TAG,
            Self::CmSha1 => CM_TAG,
        }
    }
}

enum Cipher {
    Gcm(Box<LessSafeKey>),
    Cm(Box<(EncryptingKey, hmac::Key)>),
}

struct Half {
    cipher: Cipher,
    salt: [u8; 14],
}

/// The keys of one direction.
pub struct Srtp {
    profile: Profile,
    rtp: Half,
    rtcp: Half,
    rtcp_index: u32,
}

/// Both directions' keys from what DTLS exported: the first is for what the DTLS
/// client sends (RFC 5764 §4.2). `None` when the length is wrong.
pub fn from_exported(profile: Profile, exported: &[u8]) -> Option<(Srtp, Srtp)> {
    let (k, s) = (profile.key_len(), profile.salt_len());
    if exported.len() != 2 * (k + s) {
        return None;
    }
    let (keys, salts) = exported.split_at(2 * k);
    let client = Srtp::new(profile, &keys[..k], &salts[..s])?;
    let server = Srtp::new(profile, &keys[k..], &salts[s..])?;
    Some((client, server))
}

impl Srtp {
    /// Session keys from a master key and salt (RFC 3711 §4.3).
    pub fn new(profile: Profile, key: &[u8], salt: &[u8]) -> Option<Self> {
        Some(Self {
            profile,
            rtp: Half::derive(profile, key, salt, 0)?,
            rtcp: Half::derive(profile, key, salt, 3)?,
            rtcp_index: 0,
        })
    }

    /// Bytes that sealing adds to an RTP packet.
    pub fn rtp_overhead(&self) -> usize {
        self.profile.tag_len()
    }

    /// Seals the RTP packet at `packet[start..]`, whose header is `header_len`
    /// bytes, and appends the tag. False when the packet is no RTP packet.
    pub fn seal_rtp(
        &self,
        packet: &mut Vec<u8>,
        start: usize,
        header_len: usize,
        roc: u32,
    ) -> bool {
        let Some((ssrc, seq)) = ids(&packet[start..]) else {
            return false;
        };
        match &self.rtp.cipher {
            Cipher::Gcm(key) => {
                let (header, body) = packet[start..].split_at_mut(header_len);
                let nonce = self.rtp.gcm_iv(ssrc, u64::from(roc) << 16 | u64::from(seq));
                let Ok(tag) = key.seal_in_place_separate_tag(
                    Nonce::assume_unique_for_key(nonce),
                    Aad::from(&*header),
                    body,
                ) else {
                    return false;
                };
                packet.extend_from_slice(tag.as_ref());
            }
            Cipher::Cm(keys) => {
                let (key, auth) = &**keys;
                let iv = self.rtp.cm_iv(ssrc, u64::from(roc) << 16 | u64::from(seq));
                if !ctr(key, iv, &mut packet[start + header_len..]) {
                    return false;
                }
                let tag = cm_tag(auth, &packet[start..], &roc.to_be_bytes());
                packet.extend_from_slice(&tag);
            }
        }
        true
    }

    /// Opens an RTP packet in place and returns the length of the plain packet.
    /// `None` when it is not authentic.
    pub fn open_rtp(&self, packet: &mut [u8], header_len: usize, roc: u32) -> Option<usize> {
        let (ssrc, seq) = ids(packet)?;
        let len = packet.len().checked_sub(self.profile.tag_len())?;
        if len < header_len {
            return None;
        }
        match &self.rtp.cipher {
            Cipher::Gcm(key) => {
                let (header, body) = packet.split_at_mut(header_len);
                let nonce = self.rtp.gcm_iv(ssrc, u64::from(roc) << 16 | u64::from(seq));
                key.open_in_place(
                    Nonce::assume_unique_for_key(nonce),
                    Aad::from(&*header),
                    body,
                )
                .ok()?;
            }
            Cipher::Cm(keys) => {
                let (key, auth) = &**keys;
                let (plain, tag) = packet.split_at_mut(len);
                if cm_tag(auth, plain, &roc.to_be_bytes()) != *tag {
                    return None;
                }
                let iv = self.rtp.cm_iv(ssrc, u64::from(roc) << 16 | u64::from(seq));
                ctr(key, iv, &mut plain[header_len..]).then_some(())?;
            }
        }
        Some(len)
    }

    /// Seals a compound RTCP packet.
    pub fn seal_rtcp(&mut self, plain: &[u8]) -> Option<Vec<u8>> {
        let ssrc = u32::from_be_bytes(plain.get(4..8)?.try_into().ok()?);
        self.rtcp_index = (self.rtcp_index + 1) & 0x7FFF_FFFF;
        let index = self.rtcp_index;
        let word = (index | 0x8000_0000).to_be_bytes();
        let mut out = Vec::with_capacity(plain.len() + RTCP_TRAILER_MAX);
        out.extend_from_slice(plain);
        match &self.rtcp.cipher {
            Cipher::Gcm(key) => {
                let mut aad = [0; 12];
                aad[..8].copy_from_slice(&plain[..8]);
                aad[8..].copy_from_slice(&word);
                let nonce = self.rtcp.gcm_iv(ssrc, u64::from(index));
                let tag = key
                    .seal_in_place_separate_tag(
                        Nonce::assume_unique_for_key(nonce),
                        Aad::from(aad),
                        &mut out[8..],
                    )
                    .ok()?;
                out.extend_from_slice(tag.as_ref());
                out.extend_from_slice(&word);
            }
            Cipher::Cm(keys) => {
                let (key, auth) = &**keys;
                let iv = self.rtcp.cm_iv(ssrc, u64::from(index));
                ctr(key, iv, &mut out[8..]).then_some(())?;
                out.extend_from_slice(&word);
                let tag = cm_tag(auth, &out, &[]);
                out.extend_from_slice(&tag);
            }
        }
        Some(out)
    }

    /// Opens an SRTCP packet in place and returns the plain bytes.
    pub fn open_rtcp<'a>(&self, packet: &'a mut [u8]) -> Option<&'a [u8]> {
        let ssrc = u32::from_be_bytes(packet.get(4..8)?.try_into().ok()?);
        match &self.rtcp.cipher {
            Cipher::Gcm(key) => {
                let len = packet.len().checked_sub(4).filter(|&l| l >= 8 + GCM_TAG)?;
                let word: [u8; 4] = packet[len..].try_into().ok()?;
                let index = u32::from_be_bytes(word);
                // Unencrypted SRTCP is for nobody here.
                if index & 0x8000_0000 == 0 {
                    return None;
                }
                let mut aad = [0; 12];
                aad[..8].copy_from_slice(&packet[..8]);
                aad[8..].copy_from_slice(&word);
                let nonce = self.rtcp.gcm_iv(ssrc, u64::from(index & 0x7FFF_FFFF));
                key.open_in_place(
                    Nonce::assume_unique_for_key(nonce),
                    Aad::from(aad),
                    &mut packet[8..len],
                )
                .ok()?;
                packet.get(..len - GCM_TAG)
            }
            Cipher::Cm(keys) => {
                let (key, auth) = &**keys;
                let len = packet.len().checked_sub(CM_TAG + 4).filter(|&l| l >= 8)?;
                if cm_tag(auth, &packet[..len + 4], &[]) != packet[len + 4..] {
                    return None;
                }
                let index = u32::from_be_bytes(packet[len..len + 4].try_into().ok()?);
                if index & 0x8000_0000 != 0 {
                    let iv = self.rtcp.cm_iv(ssrc, u64::from(index & 0x7FFF_FFFF));
                    ctr(key, iv, &mut packet[8..len]).then_some(())?;
                }
                packet.get(..len)
            }
        }
    }
}

impl Half {
    fn derive(profile: Profile, key: &[u8], master_salt: &[u8], label: u8) -> Option<Self> {
        let algorithm = match profile {
            Profile::Gcm256 => &AES_256,
            Profile::Gcm128 | Profile::CmSha1 => &AES_128,
        };
        let prf = UnboundCipherKey::new(algorithm, key)
            .and_then(EncryptingKey::ctr)
            .ok()?;
        // The key stream from `salt XOR label << 48`, shifted left by 16 bits.
        let expand = |label: u8, out: &mut [u8]| {
            let mut iv = [0; 16];
            iv[..master_salt.len()].copy_from_slice(master_salt);
            iv[7] ^= label;
            out.fill(0);
            ctr(&prf, iv, out).then_some(())
        };
        let mut session_key = [0; 32];
        let session_key = &mut session_key[..profile.key_len()];
        expand(label, session_key)?;
        let mut salt = [0; 14];
        expand(label + 2, &mut salt[..profile.salt_len()])?;
        let cipher = match profile {
            Profile::Gcm256 | Profile::Gcm128 => {
                let algorithm = if profile == Profile::Gcm256 {
                    &AES_256_GCM
                } else {
                    &AES_128_GCM
                };
                Cipher::Gcm(Box::new(LessSafeKey::new(
                    UnboundKey::new(algorithm, session_key).ok()?,
                )))
            }
            Profile::CmSha1 => {
                let mut auth = [0; 20];
                expand(label + 1, &mut auth)?;
                let key = UnboundCipherKey::new(&AES_128, session_key)
                    .and_then(EncryptingKey::ctr)
                    .ok()?;
                let auth = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &auth);
                Cipher::Cm(Box::new((key, auth)))
            }
        };
        Some(Self { cipher, salt })
    }

    /// RFC 7714 §8.1 and §9.1: zeros, the SSRC, the 48-bit index; XOR the salt.
    fn gcm_iv(&self, ssrc: u32, index: u64) -> [u8; 12] {
        let mut iv = [0; 12];
        iv[2..6].copy_from_slice(&ssrc.to_be_bytes());
        iv[6..12].copy_from_slice(&index.to_be_bytes()[2..]);
        for (b, s) in iv.iter_mut().zip(self.salt) {
            *b ^= s;
        }
        iv
    }

    /// RFC 3711 §4.1.1: `salt << 16 XOR ssrc << 64 XOR index << 16`.
    fn cm_iv(&self, ssrc: u32, index: u64) -> [u8; 16] {
        let mut iv = [0; 16];
        iv[4..8].copy_from_slice(&ssrc.to_be_bytes());
        iv[8..14].copy_from_slice(&index.to_be_bytes()[2..]);
        for (b, s) in iv.iter_mut().zip(self.salt) {
            *b ^= s;
        }
        iv
    }
}

fn ids(packet: &[u8]) -> Option<(u32, u16)> {
    let h = packet.get(..12)?;
    Some((
        u32::from_be_bytes([h[8], h[9], h[10], h[11]]),
        u16::from_be_bytes([h[2], h[3]]),
    ))
}

fn ctr(key: &EncryptingKey, iv: [u8; 16], data: &mut [u8]) -> bool {
    key.less_safe_encrypt(data, EncryptionContext::Iv128(FixedLength::from(iv)))
        .is_ok()
}

fn cm_tag(key: &hmac::Key, packet: &[u8], roc: &[u8]) -> [u8; CM_TAG] {
    let mut context = hmac::Context::with_key(key);
    context.update(packet);
    context.update(roc);
    let tag = context.sign();
    let mut out = [0; CM_TAG];
    out.copy_from_slice(&tag.as_ref()[..CM_TAG]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(profile: Profile) -> (Srtp, Srtp) {
        let key: Vec<u8> = (0..profile.key_len() as u8).collect();
        let salt: Vec<u8> = (100..100 + profile.salt_len() as u8).collect();
        (
            Srtp::new(profile, &key, &salt).unwrap(),
            Srtp::new(profile, &key, &salt).unwrap(),
        )
    }

    #[test]
    fn packets_open_unless_touched() {
        for profile in [Profile::Gcm256, Profile::Gcm128, Profile::CmSha1] {
            let (mut tx, rx) = pair(profile);
            let mut plain = vec![0x80, 96, 0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 2];
            plain.extend_from_slice(&[5; 50]);
            let mut packet = plain.clone();
            assert!(tx.seal_rtp(&mut packet, 0, 12, 3));
            assert_eq!(packet.len(), plain.len() + tx.rtp_overhead());
            assert_ne!(packet[12..62], plain[12..62]);
            assert_eq!(rx.open_rtp(&mut packet.clone(), 12, 4), None);
            let mut touched = packet.clone();
            touched[1] ^= 1;
            assert_eq!(rx.open_rtp(&mut touched, 12, 3), None);
            assert_eq!(rx.open_rtp(&mut packet, 12, 3), Some(62));
            assert_eq!(packet[..62], plain);

            let rtcp = [0x80, 201, 0, 2, 0, 0, 0, 9, 1, 2, 3, 4];
            let mut sealed = tx.seal_rtcp(&rtcp).unwrap();
            assert_eq!(rx.open_rtcp(&mut sealed.clone()), Some(&rtcp[..]));
            sealed[9] ^= 1;
            assert_eq!(rx.open_rtcp(&mut sealed), None);
        }
    }

    /// RFC 7714 §16.1.1: AES-128-GCM with these session keys. The key derivation
    /// is left out there, so the half is built from the parts.
    #[test]
    fn rfc_7714_packet() {
        let key: Vec<u8> = (0..16).collect();
        let salt = *b"\x51\x75\x69\x64\x20\x70\x72\x6f\x20\x71\x75\x6f\x00\x00";
        let half = |_| Half {
            cipher: Cipher::Gcm(Box::new(LessSafeKey::new(
                UnboundKey::new(&AES_128_GCM, &key).unwrap(),
            ))),
            salt,
        };
        let srtp = Srtp {
            profile: Profile::Gcm128,
            rtp: half(0),
            rtcp: half(1),
            rtcp_index: 0,
        };
        let mut packet = vec![
            0x80, 0x40, 0xf1, 0x7b, 0x80, 0x41, 0xf8, 0xd3, 0x55, 0x01, 0xa0, 0xb2,
        ];
        packet.extend_from_slice(b"Gallia est omnis divisa in partes tres");
        assert!(srtp.seal_rtp(&mut packet, 0, 12, 0));
        assert_eq!(
            packet[12..24],
            [
                0xf2, 0x4d, 0xe3, 0xa3, 0xfb, 0x34, 0xde, 0x6c, 0xac, 0xba, 0x86, 0x1c
            ]
        );
        assert_eq!(
            packet[packet.len() - 16..],
            [
                0x89, 0x9d, 0x7f, 0x27, 0xbe, 0xb1, 0x6a, 0x91, 0x52, 0xcf, 0x76, 0x5e, 0xe4, 0x39,
                0x0c, 0xce
            ]
        );
    }
}
