//! One connection's ICE and DTLS, without sockets and clocks: an agent that
//! brings a session up and keeps consent alive. It controls when we offered (WHIP
//! and WHEP), and is controlled when the server did.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use dimpl::{Config, Dtls, DtlsCertificate, Output};
use rand::RngExt;

use super::srtp::{self, Profile, Srtp};
use super::stun::{self, Message, Role, TransactionId};

/// Between checks until one is answered (RFC 8445 §14.3 allows 500 ms and less
/// on fast links).
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// Between consent checks; RFC 7675 §5.1 asks for 5 s, give or take a fifth.
const CONSENT_INTERVAL: Duration = Duration::from_secs(5);
/// Without an answer for this long the peer is gone (RFC 7675 §5.1).
const CONSENT_TIMEOUT: Duration = Duration::from_secs(30);
/// A first flight that is not answered is repeated after this, as by libwebrtc on short paths:
/// a server may get it before it is ready, and would seem slow for a second.
const FLIGHT_TIMEOUT: Duration = Duration::from_millis(50);
const FRAGMENT_CHARS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// An ICE user name fragment and password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// `a=ice-ufrag`
    pub fragment: String,
    /// `a=ice-pwd`
    pub password: String,
}

impl Credentials {
    /// Random ones of the lengths browsers use.
    pub fn random() -> Self {
        Self {
            fragment: random_text(4),
            password: random_text(24),
        }
    }
}

fn random_text(len: usize) -> String {
    let mut rng = rand::rng();
    (0..len)
        .map(|_| char::from(FRAGMENT_CHARS[rng.random_range(0..FRAGMENT_CHARS.len())]))
        .collect()
}

/// What the server's description says about its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// The server's ICE credentials.
    pub credentials: Credentials,
    /// SHA-256 of the server's certificate.
    pub fingerprint: Vec<u8>,
    /// True when our end opens the DTLS handshake (the answer is `passive`).
    pub we_are_client: bool,
    /// Our ICE role: controlling when we made the offer, or when the server is lite.
    pub role: Role,
    /// The server's UDP candidates, best first.
    pub candidates: Vec<SocketAddr>,
}

/// What came out of a datagram or a timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Keys are agreed: media may flow.
    Connected,
    /// The peer said good-bye.
    Closed,
}

/// Why a connection could not be made or kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The DTLS engine gave up.
    #[error("the DTLS handshake failed")]
    Dtls,
    /// The certificate is not the one of the answer.
    #[error("the certificate does not match the fingerprint of the answer")]
    Fingerprint,
    /// The SRTP profile or its keys are unknown.
    #[error("no usable SRTP profile was agreed on")]
    Profile,
    /// No consent for too long.
    #[error("the server stopped answering connectivity checks")]
    Consent,
}

/// One certificate and one validated configuration serve every session of the
/// process: making them costs more than a handshake.
struct Shared {
    config: Arc<Config>,
    certificate: DtlsCertificate,
    fingerprint: String,
}

fn shared() -> Result<&'static Shared, Failure> {
    static SHARED: OnceLock<Option<Shared>> = OnceLock::new();
    SHARED
        .get_or_init(|| {
            let config = Config::builder()
                .use_server_cookie(false)
                .mtu(1200)
                .flight_start_rto(FLIGHT_TIMEOUT)
                .build()
                .ok()?;
            let certificate = dimpl::certificate::generate_self_signed_certificate().ok()?;
            let fingerprint = certificate.fingerprint_str();
            Some(Shared {
                config: Arc::new(config),
                certificate,
                fingerprint,
            })
        })
        .as_ref()
        .ok_or(Failure::Dtls)
}

/// The fingerprint to offer, as `a=fingerprint:sha-256` writes it.
pub fn local_fingerprint() -> Result<&'static str, Failure> {
    shared().map(|s| s.fingerprint.as_str())
}

/// One connection. Feed it datagrams and time; send what [`Transport::outgoing`] holds.
pub struct Transport {
    local: Credentials,
    remote: Remote,
    username: String,
    tie_breaker: u64,
    /// Checks on their way, the newest last.
    pending: VecDeque<TransactionId>,
    /// Addresses that answered a check of ours, while we are controlled.
    valid: Vec<SocketAddr>,
    /// The address of the pair that the controlling server nominated.
    nominated: Option<SocketAddr>,
    selected: Option<SocketAddr>,
    next_check: Instant,
    last_consent: Instant,
    dtls: Option<Box<Dtls>>,
    dtls_timeout: Option<Instant>,
    verified: bool,
    exported: Option<(Srtp, Srtp)>,
    connected: bool,
    /// Datagrams to send, with their destinations.
    pub outgoing: VecDeque<(SocketAddr, Vec<u8>)>,
}

impl Transport {
    /// A connection to the server of an answer.
    pub fn new(local: Credentials, remote: Remote, now: Instant) -> Self {
        let username = format!("{}:{}", remote.credentials.fragment, local.fragment);
        Self {
            local,
            remote,
            username,
            tie_breaker: rand::random(),
            pending: VecDeque::new(),
            valid: Vec::new(),
            nominated: None,
            selected: None,
            next_check: now,
            last_consent: now,
            dtls: None,
            dtls_timeout: None,
            verified: false,
            exported: None,
            connected: false,
            outgoing: VecDeque::new(),
        }
    }

    /// The server's address, once a check came back.
    pub fn selected(&self) -> Option<SocketAddr> {
        self.selected
    }

    /// The keys of both directions: what we send with, what the server sends with.
    pub fn take_keys(&mut self) -> Option<(Srtp, Srtp)> {
        let (client, server) = self.exported.take()?;
        Some(if self.remote.we_are_client {
            (client, server)
        } else {
            (server, client)
        })
    }

    /// When [`Transport::handle_timeout`] is due.
    pub fn deadline(&self) -> Instant {
        match self.dtls_timeout {
            Some(t) if !self.connected => t.min(self.next_check),
            _ => self.next_check,
        }
    }

    /// Sends checks and retransmits flights that are due.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<Option<Event>, Failure> {
        if now >= self.next_check {
            if self.selected.is_some() && now - self.last_consent > CONSENT_TIMEOUT {
                return Err(Failure::Consent);
            }
            self.check(now);
        }
        if self.dtls_timeout.is_some_and(|t| now >= t)
            && let Some(dtls) = &mut self.dtls
        {
            dtls.handle_timeout(now).map_err(|_| Failure::Dtls)?;
            return self.drain_dtls();
        }
        Ok(None)
    }

    fn check(&mut self, now: Instant) {
        let id: TransactionId = rand::random();
        if self.pending.len() >= 16 {
            self.pending.pop_front();
        }
        self.pending.push_back(id);
        let password = &self.remote.credentials.password;
        // Only one pair is ever nominated: a server sends from the one that was
        // nominated last, and with several under way that is not the one we chose.
        let nominate = self.remote.role == Role::Controlling
            && (self.selected.is_some() || self.remote.candidates.len() == 1);
        let role = (self.remote.role, self.tie_breaker);
        let message = stun::binding_request(id, &self.username, password, role, nominate);
        match self.selected {
            Some(to) => {
                self.outgoing.push_back((to, message));
                self.next_check =
                    now + CONSENT_INTERVAL.mul_f64(rand::rng().random_range(0.8..1.2));
            }
            None => {
                for &to in &self.remote.candidates {
                    self.outgoing.push_back((to, message.clone()));
                }
                self.next_check = now + CHECK_INTERVAL;
            }
        }
    }

    /// Takes a STUN datagram.
    pub fn handle_stun(
        &mut self,
        now: Instant,
        from: SocketAddr,
        data: &[u8],
    ) -> Result<Option<Event>, Failure> {
        // Requests come under our password, answers under the server's (RFC 8445 §7.2.2).
        if let Some(Message::Request(id, nominates)) = stun::parse(data, &self.local.password) {
            let answer = stun::binding_success(id, from, &self.local.password);
            self.outgoing.push_back((from, answer));
            if self.remote.role == Role::Controlled && self.selected.is_none() {
                if nominates {
                    self.nominated = Some(from);
                }
                if !self.remote.candidates.contains(&from) && self.remote.candidates.len() < 16 {
                    // A peer-reflexive candidate (RFC 8445 §7.3.1.3), checked at once.
                    self.remote.candidates.push(from);
                    self.check(now);
                }
                return self.conclude(now);
            }
            return Ok(None);
        }
        match stun::parse(data, &self.remote.credentials.password) {
            Some(Message::Success(id)) if self.pending.contains(&id) => {
                self.last_consent = now;
                if self.remote.role == Role::Controlled {
                    // One check goes to all candidates, so its id stays for the others.
                    if !self.valid.contains(&from) && self.valid.len() < 16 {
                        self.valid.push(from);
                    }
                    return self.conclude(now);
                }
                self.pending.retain(|p| *p != id);
                if self.selected.is_none() {
                    self.selected = Some(from);
                    if self.remote.candidates.len() > 1 {
                        self.check(now);
                    }
                    self.next_check = now + CONSENT_INTERVAL;
                    return self.start_dtls(now);
                }
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    /// While controlled: the nominated pair is ours once our own check of it came
    /// back (RFC 8445 §7.3.1.5).
    fn conclude(&mut self, now: Instant) -> Result<Option<Event>, Failure> {
        match self.nominated {
            Some(at) if self.selected.is_none() && self.valid.contains(&at) => {
                self.selected = Some(at);
                self.next_check = now + CONSENT_INTERVAL;
                self.start_dtls(now)
            }
            _ => Ok(None),
        }
    }

    fn start_dtls(&mut self, now: Instant) -> Result<Option<Event>, Failure> {
        if self.dtls.is_some() {
            return Ok(None);
        }
        let shared = shared()?;
        let mut dtls = Dtls::new_12(Arc::clone(&shared.config), shared.certificate.clone(), now);
        dtls.set_active(self.remote.we_are_client);
        dtls.handle_timeout(now).map_err(|_| Failure::Dtls)?;
        self.dtls = Some(Box::new(dtls));
        self.drain_dtls()
    }

    /// Takes a DTLS datagram.
    pub fn handle_dtls(
        &mut self,
        now: Instant,
        from: SocketAddr,
        data: &[u8],
    ) -> Result<Option<Event>, Failure> {
        if self.dtls.is_none() {
            // A server that opens the handshake may do so before its answer to
            // our check arrives; only the addresses of the answer count.
            if self.remote.we_are_client || !self.remote.candidates.contains(&from) {
                return Ok(None);
            }
            self.selected.get_or_insert(from);
            self.start_dtls(now)?;
        }
        if let Some(dtls) = &mut self.dtls {
            dtls.handle_packet(data).map_err(|_| Failure::Dtls)?;
        }
        self.drain_dtls()
    }

    fn drain_dtls(&mut self) -> Result<Option<Event>, Failure> {
        let (Some(dtls), Some(to)) = (&mut self.dtls, self.selected) else {
            return Ok(None);
        };
        let mut event = None;
        let mut buffer = vec![0; 2048];
        loop {
            match dtls.poll_output(&mut buffer) {
                Output::Packet(p) => self.outgoing.push_back((to, p.to_vec())),
                Output::BufferTooSmall { needed } => buffer.resize(needed, 0),
                Output::Timeout(at) => {
                    self.dtls_timeout = Some(at);
                    break;
                }
                Output::PeerCert(der) => {
                    let hash = digest::digest(&digest::SHA256, der);
                    if hash.as_ref() != self.remote.fingerprint {
                        return Err(Failure::Fingerprint);
                    }
                    self.verified = true;
                }
                Output::KeyingMaterial(material, profile) => {
                    let profile = match profile {
                        dimpl::SrtpProfile::AEAD_AES_256_GCM => Profile::Gcm256,
                        dimpl::SrtpProfile::AEAD_AES_128_GCM => Profile::Gcm128,
                        dimpl::SrtpProfile::AES128_CM_SHA1_80 => Profile::CmSha1,
                        _ => return Err(Failure::Profile),
                    };
                    let keys = srtp::from_exported(profile, &material);
                    self.exported = Some(keys.ok_or(Failure::Profile)?);
                }
                Output::CloseNotify => event = Some(Event::Closed),
                _ => {}
            }
            if self.exported.is_some() && self.verified && !self.connected {
                self.connected = true;
                event = Some(Event::Connected);
            }
        }
        Ok(event)
    }

    /// Says good-bye (DTLS `close_notify`).
    pub fn close(&mut self) {
        if let Some(dtls) = &mut self.dtls
            && dtls.close().is_ok()
        {
            // Nothing depends on what the last drain says.
            let _ = self.drain_dtls();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server may not be ready for the first flight when its check is answered. Browsers
    /// repeat it after 50 ms.
    #[test]
    fn a_lost_flight_is_repeated_as_soon_as_by_browsers() {
        let server: SocketAddr = "127.0.0.1:9".parse().unwrap();
        let credentials = Credentials::random();
        let remote = Remote {
            credentials: credentials.clone(),
            fingerprint: vec![0; 32],
            we_are_client: true,
            role: Role::Controlling,
            candidates: vec![server],
        };
        let now = Instant::now();
        let mut transport = Transport::new(Credentials::random(), remote, now);
        transport.handle_timeout(now).unwrap();
        let (_, check) = transport.outgoing.pop_front().unwrap();
        let id = check[8..20].try_into().unwrap();
        let answer = stun::binding_success(id, server, &credentials.password);
        transport.handle_stun(now, server, &answer).unwrap();
        let flight = |t: &mut Transport| {
            let sent = std::mem::take(&mut t.outgoing);
            sent.iter().filter(|(_, d)| d[0] == 22).count()
        };
        assert_eq!(flight(&mut transport), 1);
        let later = now + Duration::from_millis(30);
        transport.handle_timeout(later).unwrap();
        assert_eq!(flight(&mut transport), 0, "not at once");
        assert!(transport.deadline() <= now + Duration::from_millis(70));
        let later = now + Duration::from_millis(70);
        transport.handle_timeout(later).unwrap();
        assert_eq!(flight(&mut transport), 1);
    }
}
