//! DTLS endpoints over one shared configuration, with a tap on exported keys.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use dimpl::crypto::{CryptoProvider, aws_lc_rs};
use dimpl::{Config, Dtls};
use str0m::crypto::CryptoError;
use str0m::crypto::dtls::{
    DtlsCert, DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, DtlsVersion, ProtocolVersion,
};

use super::keying;
use super::signing::SharedKey;

/// How many MTUs keep their configuration. A server uses one or two; beyond
/// that a session builds its own, so that nothing grows without bound.
const MAX_CONFIGS: usize = 8;

/// Makes DTLS endpoints that share validated configurations.
///
/// `dimpl::Config::build` runs known-answer tests of every cipher suite, which
/// costs more than the handshake itself.
pub(super) struct SharedConfigDtls {
    seed: Option<u64>,
    provider: CryptoProvider,
    /// By MTU; `None` is the library's default. Locked once a connection.
    configs: Mutex<Vec<(Option<usize>, Arc<Config>)>>,
}

impl SharedConfigDtls {
    /// `private_key` is the one that sessions will come with.
    pub(super) fn new(
        seed: Option<u64>,
        mtu: usize,
        private_key: &[u8],
    ) -> Result<Self, DtlsImplError> {
        let base = aws_lc_rs::default_provider();
        let key = SharedKey::new(private_key, base.key_provider);
        let provider = CryptoProvider {
            key_provider: Box::leak(Box::new(key)),
            ..base
        };
        let config = build(&provider, seed, Some(mtu))?;
        Ok(Self {
            seed,
            provider,
            configs: Mutex::new(vec![(Some(mtu), config)]),
        })
    }

    fn config(&self, mtu: Option<usize>) -> Result<Arc<Config>, DtlsImplError> {
        // The list is consistent at every point, so a poisoned lock is no harm.
        let mut configs = self.configs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, config)) = configs.iter().find(|(m, _)| *m == mtu) {
            return Ok(Arc::clone(config));
        }
        let config = build(&self.provider, self.seed, mtu)?;
        if configs.len() < MAX_CONFIGS {
            configs.push((mtu, Arc::clone(&config)));
        }
        Ok(config)
    }
}

fn build(
    provider: &CryptoProvider,
    seed: Option<u64>,
    mtu: Option<usize>,
) -> Result<Arc<Config>, DtlsImplError> {
    // ICE has proved the peer's address before DTLS starts, which is what a
    // cookie would do again for one more round trip.
    let mut builder = Config::builder()
        .with_crypto_provider(provider.clone())
        .use_server_cookie(false);
    if let Some(mtu) = mtu {
        builder = builder.mtu(mtu);
    }
    if let Some(seed) = seed {
        builder = builder.dangerously_set_rng_seed(seed);
    }
    builder.build().map(Arc::new)
}

impl fmt::Debug for SharedConfigDtls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedConfigDtls").finish_non_exhaustive()
    }
}

impl DtlsProvider for SharedConfigDtls {
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
        let config = self
            .config(mtu)
            .map_err(|e| CryptoError::Other(format!("DTLS configuration: {e}")))?;
        let cert = cert.clone();
        let dtls = match version {
            DtlsVersion::Dtls12 => Dtls::new_12(config, cert, now),
            DtlsVersion::Dtls13 => Dtls::new_13(config, cert, now),
            DtlsVersion::Auto => Dtls::new_auto(config, cert, now),
            other => {
                return Err(CryptoError::Other(format!(
                    "unsupported DTLS version {other}"
                )));
            }
        };
        Ok(Box::new(TappedDtls {
            dtls,
            number: keying::next_endpoint(),
        }))
    }

    /// Seeding is ours to decide, not a build feature's.
    fn is_test(&self) -> bool {
        false
    }
}

/// A DTLS endpoint that leaves a copy of what it exports in the mailbox.
struct TappedDtls {
    dtls: Dtls,
    number: u64,
}

impl fmt::Debug for TappedDtls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TappedDtls")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

impl DtlsInstance for TappedDtls {
    fn set_active(&mut self, active: bool) {
        self.dtls.set_active(active);
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        self.dtls.handle_packet(packet)
    }

    fn poll_output<'a>(&mut self, buf: &'a mut [u8]) -> DtlsOutput<'a> {
        keying::discard_others(self.number);
        let output = self.dtls.poll_output(buf);
        keying::tap(self.number, self.dtls.is_active(), &output);
        output
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.dtls.handle_timeout(now)
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<usize, DtlsImplError> {
        self.dtls.send_application_data(data)
    }

    fn is_active(&self) -> bool {
        self.dtls.is_active()
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.dtls.protocol_version()
    }

    fn is_closing(&self) -> bool {
        self.dtls.is_closing()
    }

    fn is_closed(&self) -> bool {
        self.dtls.is_closed()
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        self.dtls.close()
    }
}
