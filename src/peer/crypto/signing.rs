//! Our private key, parsed once instead of once a session.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use dimpl::crypto::{Buf, HashAlgorithm, KeyProvider, SignatureAlgorithm, SigningKey};
use dimpl::{CryptoError, CryptoOperation};
use zeroize::Zeroizing;

/// Gives every session the same parsed key, and leaves other keys to `others`.
pub(super) struct SharedKey {
    der: Zeroizing<Vec<u8>>,
    /// `None` when it is not ECDSA over P-256 in PKCS #8: then `others` parses it.
    pair: Option<Arc<EcdsaKeyPair>>,
    others: &'static dyn KeyProvider,
}

impl SharedKey {
    /// Parses `der`, a private key in PKCS #8.
    pub(super) fn new(der: &[u8], others: &'static dyn KeyProvider) -> Self {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der);
        Self {
            der: Zeroizing::new(der.to_vec()),
            pair: pair.ok().map(Arc::new),
            others,
        }
    }
}

impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedKey").finish_non_exhaustive()
    }
}

impl KeyProvider for SharedKey {
    fn load_private_key(&self, der: &[u8]) -> Result<Box<dyn SigningKey>, CryptoError> {
        match &self.pair {
            Some(pair) if *self.der == der => Ok(Box::new(Signing(Arc::clone(pair)))),
            _ => self.others.load_private_key(der),
        }
    }
}

/// A session's hold of the shared key.
struct Signing(Arc<EcdsaKeyPair>);

impl fmt::Debug for Signing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signing").finish_non_exhaustive()
    }
}

impl SigningKey for Signing {
    fn sign(&mut self, data: &[u8], hash: HashAlgorithm, out: &mut Buf) -> Result<(), CryptoError> {
        if hash != HashAlgorithm::SHA256 {
            return Err(CryptoError::SigningKeyHashMismatch {
                key_hash: HashAlgorithm::SHA256,
                requested: hash,
            });
        }
        let signature = self
            .0
            .sign(&SystemRandom::new(), data)
            .map_err(|_| CryptoError::OperationFailed(CryptoOperation::Sign))?;
        out.clear();
        out.extend_from_slice(signature.as_ref());
        Ok(())
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }

    fn hash_algorithm(&self) -> HashAlgorithm {
        HashAlgorithm::SHA256
    }

    fn supported_hash_algorithms(&self) -> &[HashAlgorithm] {
        &[HashAlgorithm::SHA256]
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, KeyPair, UnparsedPublicKey};
    use dimpl::certificate::generate_self_signed_certificate;
    use dimpl::crypto::aws_lc_rs::default_provider;

    use super::*;

    /// Counts what is left to it.
    #[derive(Debug)]
    struct Others(std::sync::atomic::AtomicUsize);

    impl KeyProvider for Others {
        fn load_private_key(&self, der: &[u8]) -> Result<Box<dyn SigningKey>, CryptoError> {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            default_provider().key_provider.load_private_key(der)
        }
    }

    #[test]
    fn sessions_share_one_key_and_others_are_parsed() {
        let (ours, other) = (
            generate_self_signed_certificate().unwrap(),
            generate_self_signed_certificate().unwrap(),
        );
        let others: &'static Others = Box::leak(Box::new(Others(0.into())));
        let keys = SharedKey::new(&ours.private_key, others);
        let parsed = || others.0.load(std::sync::atomic::Ordering::Relaxed);
        for (certificate, by_others) in [(&ours, 0), (&ours, 0), (&other, 1)] {
            let mut key = keys.load_private_key(&certificate.private_key).unwrap();
            assert_eq!(parsed(), by_others);
            assert_eq!(key.algorithm(), SignatureAlgorithm::ECDSA);
            assert_eq!(key.supported_hash_algorithms(), [key.hash_algorithm()]);
            let mut signature = Buf::new();
            let hash = key.hash_algorithm();
            key.sign(b"hello", hash, &mut signature).unwrap();
            assert!(
                key.sign(b"hello", HashAlgorithm::SHA384, &mut signature)
                    .is_err()
            );
            let pair =
                EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &certificate.private_key)
                    .unwrap();
            let public = UnparsedPublicKey::new(
                &ECDSA_P256_SHA256_ASN1,
                pair.public_key().as_ref().to_vec(),
            );
            public.verify(b"hello", &signature).unwrap();
            assert!(public.verify(b"hallo", &signature).is_err());
        }
        assert!(keys.load_private_key(b"no key").is_err());
    }
}
