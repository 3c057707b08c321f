//! Two sessions connected over a perfect virtual link, for tests of the keys
//! and of what is sealed with them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use str0m::crypto::dtls::{
    self, DtlsCert, DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, DtlsVersion,
    ProtocolVersion,
};
use str0m::crypto::{CryptoError, CryptoProvider};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};

use super::{Keying, SrtpProfile, take_keying};

/// A session, its address, and what came out of it.
pub(crate) struct End {
    pub(crate) rtc: Rtc,
    pub(crate) addr: SocketAddr,
    pub(crate) events: Vec<Event>,
    pub(crate) outgoing: Vec<Vec<u8>>,
    pub(crate) keying: Option<Keying>,
    pub(crate) deadline: Instant,
    /// Why polling failed; the session is over then.
    pub(crate) failure: Option<String>,
}

impl End {
    fn new(config: RtcConfig, addr: &str, now: Instant) -> Self {
        let addr: SocketAddr = addr.parse().unwrap();
        let mut rtc = config.build(now);
        rtc.add_local_candidate(Candidate::host(addr, "udp").unwrap());
        Self {
            rtc,
            addr,
            events: Vec::new(),
            outgoing: Vec::new(),
            keying: None,
            deadline: now,
            failure: None,
        }
    }

    /// Drains to the next time-out and takes what was exported.
    pub(crate) fn drain(&mut self) {
        loop {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(at)) => {
                    self.deadline = at;
                    break;
                }
                Ok(Output::Transmit(t)) => self.outgoing.push(t.contents.to_vec()),
                Ok(Output::Event(e)) => self.events.push(e),
                Err(error) => {
                    self.failure = Some(error.to_string());
                    drop(take_keying());
                    break;
                }
            }
        }
        if let Some(keying) = take_keying() {
            assert!(self.keying.is_none(), "a session exports once");
            self.keying = Some(keying);
        }
    }

    pub(crate) fn receive(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        let input = Input::Receive(
            now,
            Receive {
                proto: Protocol::Udp,
                source: from,
                destination: self.addr,
                contents: datagram.try_into().unwrap(),
            },
        );
        match self.rtc.handle_input(input) {
            Ok(()) => self.drain(),
            Err(error) => self.failure = Some(error.to_string()),
        }
    }

    fn connected(&self) -> bool {
        self.events.iter().any(|e| matches!(e, Event::Connected))
    }
}

/// Our end and the peer's, with the clock they share.
pub(crate) struct Pair {
    pub(crate) ours: End,
    pub(crate) peer: End,
    pub(crate) now: Instant,
}

impl Pair {
    /// Two sessions that know each other; our DTLS role is client when `active`.
    pub(crate) fn new(ours: RtcConfig, peer: RtcConfig, active: bool) -> Self {
        let now = Instant::now();
        let mut ours = End::new(ours.set_ice_lite(true), "10.0.0.1:5000", now);
        let mut peer = End::new(peer, "10.0.0.2:6000", now);
        introduce(&mut ours, &mut peer, false, active);
        introduce(&mut peer, &mut ours, true, !active);
        Self { ours, peer, now }
    }

    /// Runs until both are connected.
    pub(crate) fn connect(&mut self) {
        for _ in 0..2000 {
            self.step();
            assert_eq!((&self.ours.failure, &self.peer.failure), (&None, &None));
            if self.ours.connected() && self.peer.connected() {
                self.step();
                return;
            }
        }
        panic!("not connected after {:?}", self.now);
    }

    /// One round: timers, then everything that waits crosses the link.
    pub(crate) fn step(&mut self) {
        let next = self.ours.deadline.min(self.peer.deadline);
        self.now = next.clamp(
            self.now + Duration::from_millis(1),
            self.now + Duration::from_millis(50),
        );
        for end in [&mut self.ours, &mut self.peer] {
            // A session that failed is over.
            if end.failure.is_none() {
                end.rtc.handle_input(Input::Timeout(self.now)).unwrap();
                end.drain();
            }
        }
        while !(self.ours.outgoing.is_empty() && self.peer.outgoing.is_empty()) {
            for datagram in std::mem::take(&mut self.ours.outgoing) {
                self.peer.receive(self.now, self.ours.addr, &datagram);
            }
            for datagram in std::mem::take(&mut self.peer.outgoing) {
                self.ours.receive(self.now, self.peer.addr, &datagram);
            }
        }
    }
}

fn introduce(end: &mut End, other: &mut End, controlling: bool, active: bool) {
    let creds = other.rtc.direct_api().local_ice_credentials();
    let fingerprint = other.rtc.direct_api().local_dtls_fingerprint().clone();
    end.rtc
        .add_remote_candidate(Candidate::host(other.addr, "udp").unwrap());
    let mut api = end.rtc.direct_api();
    api.set_remote_ice_credentials(creds);
    api.set_remote_fingerprint(fingerprint);
    api.set_ice_controlling(controlling);
    api.start_dtls(active).unwrap();
}

/// str0m as it comes, certificate per session and all.
pub(crate) fn plain_config() -> RtcConfig {
    RtcConfig::new().set_crypto_provider(Arc::new(plain_provider()))
}

/// str0m's own provider.
pub(crate) fn plain_provider() -> CryptoProvider {
    str0m::crypto::from_feature_flags()
}

/// The exported bytes a [`with_profile`] session cut to its profile, for whoever
/// builds SRTP contexts from them.
pub(crate) type Exported = Arc<Mutex<Option<Vec<u8>>>>;

/// A provider whose DTLS ends claim `profile` was agreed on, whatever was: every
/// library here prefers AES-256-GCM and none can be told otherwise. Both ends of
/// a pair must use it.
pub(crate) fn with_profile(
    base: CryptoProvider,
    profile: SrtpProfile,
) -> (CryptoProvider, Exported) {
    let exported = Exported::default();
    let dtls = ForcedProfile {
        base: base.dtls_provider,
        profile,
        exported: Arc::clone(&exported),
    };
    let provider = CryptoProvider {
        dtls_provider: Box::leak(Box::new(dtls)),
        ..base
    };
    (provider, exported)
}

#[derive(Debug)]
struct ForcedProfile {
    base: &'static dyn DtlsProvider,
    profile: SrtpProfile,
    exported: Exported,
}

impl DtlsProvider for ForcedProfile {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        self.base.generate_certificate()
    }

    fn new_dtls(
        &self,
        cert: &DtlsCert,
        now: Instant,
        version: DtlsVersion,
        mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        Ok(Box::new(ForcedDtls {
            dtls: self.base.new_dtls(cert, now, version, mtu)?,
            profile: self.profile,
            exported: Arc::clone(&self.exported),
        }))
    }
}

#[derive(Debug)]
struct ForcedDtls {
    dtls: Box<dyn DtlsInstance>,
    profile: SrtpProfile,
    exported: Exported,
}

impl DtlsInstance for ForcedDtls {
    fn poll_output<'a>(&mut self, buf: &'a mut [u8]) -> DtlsOutput<'a> {
        let output = self.dtls.poll_output(buf);
        let DtlsOutput::KeyingMaterial(material, _) = &output else {
            return output;
        };
        let cut = &material[..self.profile.material_len()];
        *self.exported.lock().unwrap() = Some(cut.to_vec());
        let profile = match self.profile {
            SrtpProfile::AeadAes256Gcm => dtls::SrtpProfile::AEAD_AES_256_GCM,
            SrtpProfile::AeadAes128Gcm => dtls::SrtpProfile::AEAD_AES_128_GCM,
            SrtpProfile::Aes128CmHmacSha1_80 => dtls::SrtpProfile::AES128_CM_SHA1_80,
        };
        DtlsOutput::KeyingMaterial(dtls::KeyingMaterial::new(cut), profile)
    }

    fn set_active(&mut self, active: bool) {
        self.dtls.set_active(active);
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        self.dtls.handle_packet(packet)
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

    fn close(&mut self) -> Result<(), DtlsImplError> {
        self.dtls.close()
    }
}
