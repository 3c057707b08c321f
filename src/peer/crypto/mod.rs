//! The cryptography every session shares: one certificate, one validated DTLS
//! configuration, and a tap on the keys that each DTLS handshake exports.
//!
//! Every session has a DTLS endpoint from a provider of str0m's kind. The one
//! here differs from str0m's own in three ways: the DTLS configuration is
//! validated and our key is parsed once instead of once a session, and exported
//! keys can be taken by [`take_keying`], so that SRTP is ours
//! ([`srtp`](super::srtp)).
//!
//! Its DTLS takes ECDSA certificates only, as every browser brings. Peers not
//! known to be such get a second DTLS stack, OpenSSL, with the same certificate
//! of ours and the same tap. Without the cargo feature `openssl` they get the
//! first one, and a handshake with an RSA certificate fails.

mod dtls;
#[cfg(feature = "openssl")]
mod dtls_openssl;
mod keying;
mod signing;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

use str0m::config::{DtlsCert, Fingerprint as Str0mFingerprint};
use str0m::crypto::dtls::{DtlsInstance, DtlsVersion};
use str0m::crypto::{CryptoError, CryptoProvider};
use str0m::{RtcConfig, crypto};

use crate::peer::negotiate::{Fingerprint, PeerKeys};

pub use keying::{Keying, MasterKey, SrtpProfile, take_keying};

/// Why [`Crypto`] could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// No certificate could be made.
    #[error("the DTLS certificate could not be generated")]
    Certificate,
    /// The DTLS library refused its configuration.
    #[error("the DTLS configuration was refused: {0}")]
    Dtls(String),
}

/// The process's certificate and crypto provider. Made once, cloned freely.
#[derive(Debug, Clone)]
pub struct Crypto {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    provider: Arc<CryptoProvider>,
    /// The same with a DTLS that takes every kind of certificate.
    #[cfg(feature = "openssl")]
    any_keys: Arc<CryptoProvider>,
    certificate: DtlsCert,
    fingerprint: Fingerprint,
    /// The engine's defaults.
    version: DtlsVersion,
    mtu: usize,
}

impl Crypto {
    /// Generates the certificate (ECDSA P-256) and validates the DTLS
    /// configuration, which takes about a millisecond.
    ///
    /// Each call leaks a few small providers, since str0m wants it for the life of
    /// the process: make one and clone it.
    pub fn new() -> Result<Self, SetupError> {
        Self::build(None)
    }

    /// Like [`Crypto::new`], with every random value that DTLS itself draws
    /// (hello randoms, cookies, session ids) coming from `seed`, so that a
    /// simulated run repeats. Keys and signatures stay random.
    ///
    /// Only for tests: peers can predict what must be unpredictable.
    #[doc(hidden)]
    pub fn dangerously_seeded(seed: u64) -> Result<Self, SetupError> {
        Self::build(Some(seed))
    }

    fn build(seed: Option<u64>) -> Result<Self, SetupError> {
        let base = crypto::from_feature_flags();
        let certificate = base
            .dtls_provider
            .generate_certificate()
            .ok_or(SetupError::Certificate)?;
        let fingerprint = Fingerprint {
            algorithm: "sha-256".to_owned(),
            bytes: base
                .sha256_provider
                .sha256(&certificate.certificate)
                .to_vec(),
        };
        // The MTU sessions use by default; others are added when first seen.
        let defaults = RtcConfig::new();
        let (mtu, version) = (defaults.mtu(), defaults.dtls_version());
        let dtls = dtls::SharedConfigDtls::new(seed, mtu, &certificate.private_key)
            .map_err(|e| SetupError::Dtls(e.to_string()))?;
        let provider = CryptoProvider {
            dtls_provider: Box::leak(Box::new(dtls)),
            ..base
        };
        #[cfg(feature = "openssl")]
        let any_keys = {
            let dtls = dtls_openssl::OpensslDtls::new(certificate.clone())
                .map_err(|e| SetupError::Dtls(e.to_string()))?;
            CryptoProvider {
                dtls_provider: Box::leak(Box::new(dtls)),
                ..provider.clone()
            }
        };
        Ok(Self {
            shared: Arc::new(Shared {
                provider: Arc::new(provider),
                #[cfg(feature = "openssl")]
                any_keys: Arc::new(any_keys),
                certificate,
                fingerprint,
                version,
                mtu,
            }),
        })
    }

    /// A session configuration with the shared provider and certificate, and
    /// str0m's defaults otherwise. The DTLS stack is the one for `peer`'s keys.
    pub fn rtc_config(&self, peer: PeerKeys) -> RtcConfig {
        RtcConfig::new()
            .set_crypto_provider(Arc::clone(self.provider_for(peer)))
            .set_dtls_cert(self.shared.certificate.clone())
    }

    /// A DTLS endpoint as the engine would have it, without the engine, and the provider
    /// that it comes from.
    ///
    /// # Errors
    /// When the DTLS library makes none.
    pub fn endpoint(
        &self,
        peer: PeerKeys,
        now: Instant,
    ) -> Result<(Box<dyn DtlsInstance>, Arc<CryptoProvider>), CryptoError> {
        let provider = self.provider_for(peer);
        let certificate = &self.shared.certificate;
        let (version, mtu) = (self.shared.version, Some(self.shared.mtu));
        let endpoint = provider
            .dtls_provider
            .new_dtls(certificate, now, version, mtu)?;
        Ok((endpoint, Arc::clone(provider)))
    }

    fn provider_for(&self, peer: PeerKeys) -> &Arc<CryptoProvider> {
        match peer {
            PeerKeys::Ecdsa => &self.shared.provider,
            #[cfg(feature = "openssl")]
            PeerKeys::Unknown => &self.shared.any_keys,
            #[cfg(not(feature = "openssl"))]
            PeerKeys::Unknown => &self.shared.provider,
        }
    }

    /// The certificate's SHA-256 fingerprint, for SDP answers.
    pub fn fingerprint(&self) -> Fingerprint {
        self.shared.fingerprint.clone()
    }

    /// The provider itself, for protocol pieces used without a session (STUN).
    pub fn provider(&self) -> &Arc<CryptoProvider> {
        &self.shared.provider
    }
}

impl From<Fingerprint> for Str0mFingerprint {
    fn from(f: Fingerprint) -> Self {
        Self {
            hash_func: f.algorithm,
            bytes: f.bytes,
        }
    }
}
