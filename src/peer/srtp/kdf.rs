//! Session keys from master keys (RFC 3711 §4.3, RFC 6188 §3, RFC 7714 §11).

use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use zeroize::Zeroizing;

use super::{MasterKey, SrtpError, SrtpProfile};

/// Bytes of an HMAC-SHA1 key (RFC 3711 §5.2).
pub(super) const AUTH_KEY_LEN: usize = 20;

/// Which packets a set of session keys is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// Labels 0 to 2.
    Rtp,
    /// Labels 3 to 5.
    Rtcp,
}

/// The session keys of one direction and use. Wiped when dropped.
pub(super) struct SessionKeys {
    pub(super) profile: SrtpProfile,
    key: Zeroizing<[u8; 32]>,
    salt: Zeroizing<[u8; 14]>,
    auth: Zeroizing<[u8; AUTH_KEY_LEN]>,
}

impl SessionKeys {
    /// Derives them. The key derivation rate is always 0 with DTLS-SRTP
    /// (RFC 5764 §4.1.2), so this happens once.
    pub(super) fn derive(master: MasterKey<'_>, usage: Use) -> Result<Self, SrtpError> {
        let profile = master.profile;
        let algorithm = match profile {
            SrtpProfile::AeadAes256Gcm => &AES_256,
            SrtpProfile::AeadAes128Gcm | SrtpProfile::Aes128CmHmacSha1_80 => &AES_128,
        };
        if master.key.len() != profile.key_len() || master.salt.len() != profile.salt_len() {
            return Err(SrtpError::Keys);
        }
        let prf = UnboundCipherKey::new(algorithm, master.key)
            .and_then(EncryptingKey::ctr)
            .map_err(|_| SrtpError::Keys)?;
        // The 96-bit salts of RFC 7714 are padded at their end to 112 bits (§11).
        let mut salt = Zeroizing::new([0; 14]);
        salt[..master.salt.len()].copy_from_slice(master.salt);

        let first = match usage {
            Use::Rtp => 0,
            Use::Rtcp => 3,
        };
        let mut keys = Self {
            profile,
            key: Zeroizing::new([0; 32]),
            salt: Zeroizing::new([0; 14]),
            auth: Zeroizing::new([0; AUTH_KEY_LEN]),
        };
        expand(&prf, &salt, first, &mut keys.key[..profile.key_len()])?;
        // An AEAD authenticates by itself (RFC 7714 §11).
        if profile == SrtpProfile::Aes128CmHmacSha1_80 {
            expand(&prf, &salt, first + 1, &mut keys.auth[..])?;
        }
        expand(&prf, &salt, first + 2, &mut keys.salt[..profile.salt_len()])?;
        Ok(keys)
    }

    /// Keys given outright, as test vectors do.
    #[cfg(test)]
    pub(super) fn given(profile: SrtpProfile, key: &[u8], salt: &[u8], auth: &[u8]) -> Self {
        let mut keys = Self {
            profile,
            key: Zeroizing::new([0; 32]),
            salt: Zeroizing::new([0; 14]),
            auth: Zeroizing::new([0; AUTH_KEY_LEN]),
        };
        keys.key[..profile.key_len()].copy_from_slice(key);
        keys.salt[..profile.salt_len()].copy_from_slice(salt);
        keys.auth[..auth.len()].copy_from_slice(auth);
        keys
    }

    /// The cipher key, as long as the profile's.
    pub(super) fn key(&self) -> &[u8] {
        &self.key[..self.profile.key_len()]
    }

    /// The salt, zero-padded at its end.
    pub(super) fn salt(&self) -> &[u8; 14] {
        &self.salt
    }

    /// The HMAC key.
    pub(super) fn auth(&self) -> &[u8; AUTH_KEY_LEN] {
        &self.auth
    }
}

/// The PRF: the key stream of AES in counter mode from `x * 2^16`, where `x` is
/// the salt with the label in its eighth octet (§4.3.1, §4.3.3).
fn expand(
    prf: &EncryptingKey,
    salt: &[u8; 14],
    label: u8,
    out: &mut [u8],
) -> Result<(), SrtpError> {
    let mut iv = Zeroizing::new([0; 16]);
    iv[..14].copy_from_slice(salt);
    iv[7] ^= label;
    out.fill(0);
    prf.less_safe_encrypt(out, EncryptionContext::Iv128(FixedLength::from(&*iv)))
        .map(drop)
        .map_err(|_| SrtpError::Keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3711 appendix B.3.
    #[test]
    fn rfc_3711_b3() {
        let master = MasterKey {
            profile: SrtpProfile::Aes128CmHmacSha1_80,
            key: &0xE1F9_7A0D_3E01_8BE0_D64F_A32C_06DE_4139_u128.to_be_bytes(),
            salt: &0x0EC6_75AD_498A_FEEB_B696_0B3A_ABE6_u128.to_be_bytes()[2..],
        };
        let keys = SessionKeys::derive(master, Use::Rtp).unwrap();
        assert_eq!(
            keys.key(),
            0xC61E_7A93_744F_39EE_1073_4AFE_3FF7_A087_u128.to_be_bytes()
        );
        assert_eq!(
            keys.salt()[..],
            0x30CB_BC08_863D_8C85_D49D_B34A_9AE1_u128.to_be_bytes()[2..]
        );
        // The first 160 bits of the authentication key of the appendix.
        assert_eq!(
            keys.auth()[..16],
            0xCEBE_321F_6FF7_716B_6FD4_AB49_AF25_6A15_u128.to_be_bytes()
        );
        assert_eq!(keys.auth()[16..], 0x6D38_BAA4_u32.to_be_bytes());
        // SRTCP has other labels, so other keys.
        let rtcp = SessionKeys::derive(master, Use::Rtcp).unwrap();
        assert_ne!(rtcp.key(), keys.key());
        assert_ne!(rtcp.auth(), keys.auth());
        assert_ne!(rtcp.salt(), keys.salt());
    }

    #[test]
    fn keys_of_another_length_are_refused() {
        for (key, salt) in [(15, 14), (16, 12), (32, 14), (16, 0)] {
            let master = MasterKey {
                profile: SrtpProfile::Aes128CmHmacSha1_80,
                key: &vec![1; key],
                salt: &vec![2; salt],
            };
            let refused = SessionKeys::derive(master, Use::Rtp);
            assert!(matches!(refused, Err(SrtpError::Keys)), "{key} {salt}");
        }
    }
}
