//! DTLS 1.2 endpoints over OpenSSL, for peers that may bring an RSA certificate.
//!
//! RFC 8827 §6.5 wants ECDSA of everybody, and what speaks for itself as a
//! browser gets the faster endpoint in [`super::dtls`], which knows nothing else.
//! GStreamer, Janus and older stacks sign with RSA-2048; they end here.

mod endpoint;
#[cfg(test)]
mod tests;
mod wire;

use std::fmt;
use std::time::Instant;

use openssl::error::ErrorStack;
use openssl::pkey::PKey;
use openssl::ssl::{
    Ssl, SslContext, SslContextBuilder, SslMethod, SslMode, SslOptions, SslSessionCacheMode,
    SslVerifyMode, SslVersion,
};
use openssl::x509::X509;
use str0m::crypto::CryptoError;
use str0m::crypto::dtls::{DtlsCert, DtlsInstance, DtlsProvider, DtlsVersion};

use endpoint::Endpoint;

/// Forward secrecy and AES-GCM only (RFC 8827 §6.5): every stack in use has it.
const CIPHERS: &str = "ECDHE+AESGCM";

/// Key exchange groups, most wanted first.
const GROUPS: &str = "X25519:P-256:P-384";

/// In the order of [`super::dtls`]'s endpoints.
const SRTP_PROFILES: &str = "SRTP_AEAD_AES_256_GCM:SRTP_AEAD_AES_128_GCM:SRTP_AES128_CM_SHA1_80";

/// Makes endpoints that share one context: parsing the key and setting a
/// context up costs as much as a good part of the handshake.
pub(super) struct OpensslDtls {
    certificate: DtlsCert,
    context: SslContext,
}

impl OpensslDtls {
    /// A provider that is quick for `certificate` and works for others.
    pub(super) fn new(certificate: DtlsCert) -> Result<Self, ErrorStack> {
        let context = context(&certificate)?;
        Ok(Self {
            certificate,
            context,
        })
    }

    fn endpoint(&self, certificate: &DtlsCert, mtu: Option<usize>) -> Result<Ssl, ErrorStack> {
        let mut ssl = if certificate.certificate == self.certificate.certificate {
            Ssl::new(&self.context)?
        } else {
            let context = context(certificate)?;
            Ssl::new(&context)?
        };
        if let Some(mtu) = mtu.and_then(|mtu| u32::try_from(mtu).ok()) {
            ssl.set_mtu(mtu)?;
        }
        Ok(ssl)
    }
}

fn context(certificate: &DtlsCert) -> Result<SslContext, ErrorStack> {
    let mut builder = SslContextBuilder::new(SslMethod::dtls())?;
    builder.set_min_proto_version(Some(SslVersion::DTLS1_2))?;
    builder.set_max_proto_version(Some(SslVersion::DTLS1_2))?;
    builder.set_cipher_list(CIPHERS)?;
    builder.set_groups_list(GROUPS)?;
    builder.set_tlsext_use_srtp(SRTP_PROFILES)?;
    let x509 = X509::from_der(&certificate.certificate)?;
    let key = PKey::private_key_from_der(&certificate.private_key)?;
    builder.set_certificate(&x509)?;
    builder.set_private_key(&key)?;
    // The certificate is self-signed: what proves it is the fingerprint in the
    // SDP (RFC 8122 §5), which str0m compares before it takes the keys.
    builder.set_verify_callback(
        SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT,
        |_, _| true,
    );
    // A session is never resumed, so nothing of it is kept or handed out.
    builder.set_session_cache_mode(SslSessionCacheMode::OFF);
    builder.set_options(
        SslOptions::NO_QUERY_MTU | SslOptions::NO_TICKET | SslOptions::NO_RENEGOTIATION,
    );
    builder.set_mode(SslMode::RELEASE_BUFFERS);
    Ok(builder.build())
}

impl fmt::Debug for OpensslDtls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpensslDtls").finish_non_exhaustive()
    }
}

impl DtlsProvider for OpensslDtls {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        dimpl::certificate::generate_self_signed_certificate().ok()
    }

    fn new_dtls(
        &self,
        cert: &DtlsCert,
        now: Instant,
        version: DtlsVersion,
        mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        if !matches!(version, DtlsVersion::Dtls12 | DtlsVersion::Auto) {
            return Err(CryptoError::Other(format!(
                "unsupported DTLS version {version}"
            )));
        }
        let endpoint = self
            .endpoint(cert, mtu)
            .and_then(|ssl| Endpoint::new(ssl, now))
            .map_err(|e| CryptoError::Other(format!("DTLS endpoint: {e}")))?;
        Ok(Box::new(endpoint))
    }

    /// Seeding is ours to decide, not a build feature's.
    fn is_test(&self) -> bool {
        false
    }
}
