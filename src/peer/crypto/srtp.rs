//! str0m's SRTP ciphers, with AES-CM keeping its key schedule.

use std::fmt;

use aws_lc_rs::cipher::{AES_128, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use str0m::crypto::{
    Aes128CmSha1_80Cipher, CryptoError, SrtpProvider, SupportedAeadAes128Gcm,
    SupportedAeadAes256Gcm, SupportedAes128CmSha1_80,
};

/// The base provider's SRTP with another AES-CM. FFmpeg publishers offer no
/// other profile, and the base provider expands the key anew for each packet.
#[derive(Debug)]
pub(super) struct CachedSrtp {
    base: &'static dyn SrtpProvider,
}

impl CachedSrtp {
    pub(super) fn new(base: &'static dyn SrtpProvider) -> Self {
        Self { base }
    }
}

impl SrtpProvider for CachedSrtp {
    fn aes_128_cm_sha1_80(&self) -> &'static dyn SupportedAes128CmSha1_80 {
        &CachedAesCm
    }

    fn aead_aes_128_gcm(&self) -> &'static dyn SupportedAeadAes128Gcm {
        self.base.aead_aes_128_gcm()
    }

    fn aead_aes_256_gcm(&self) -> &'static dyn SupportedAeadAes256Gcm {
        self.base.aead_aes_256_gcm()
    }

    fn srtp_aes_128_ecb_round(&self, key: &[u8], input: &[u8], output: &mut [u8]) {
        self.base.srtp_aes_128_ecb_round(key, input, output);
    }

    fn srtp_aes_256_ecb_round(&self, key: &[u8], input: &[u8], output: &mut [u8]) {
        self.base.srtp_aes_256_ecb_round(key, input, output);
    }
}

#[derive(Debug)]
struct CachedAesCm;

impl SupportedAes128CmSha1_80 for CachedAesCm {
    fn create_cipher(&self, key: [u8; 16], _encrypt: bool) -> Box<dyn Aes128CmSha1_80Cipher> {
        let key = UnboundCipherKey::new(&AES_128, &key)
            .and_then(EncryptingKey::ctr)
            .ok();
        Box::new(AesCm { key })
    }
}

/// AES in counter mode; encryption and decryption are the same (RFC 3711 §4.1.1).
struct AesCm {
    /// Absent when the library refused the key, which a 16-byte key never sees;
    /// then every packet fails instead of the process.
    key: Option<EncryptingKey>,
}

impl AesCm {
    fn apply(&self, iv: &[u8; 16], input: &[u8], output: &mut [u8]) -> Result<(), CryptoError> {
        let failed = || CryptoError::Other("AES-CM".to_owned());
        let out = output.get_mut(..input.len()).ok_or_else(failed)?;
        out.copy_from_slice(input);
        let iv = EncryptionContext::Iv128(FixedLength::from(iv));
        self.key
            .as_ref()
            .ok_or_else(failed)?
            .less_safe_encrypt(out, iv)
            .map(drop)
            .map_err(|_| failed())
    }
}

impl fmt::Debug for AesCm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AesCm").finish_non_exhaustive()
    }
}

impl Aes128CmSha1_80Cipher for AesCm {
    fn encrypt(
        &mut self,
        iv: &[u8; 16],
        input: &[u8],
        output: &mut [u8],
    ) -> Result<(), CryptoError> {
        self.apply(iv, input, output)
    }

    fn decrypt(
        &mut self,
        iv: &[u8; 16],
        input: &[u8],
        output: &mut [u8],
    ) -> Result<(), CryptoError> {
        self.apply(iv, input, output)
    }
}
