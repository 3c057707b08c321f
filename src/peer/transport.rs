//! A session's transport: our ICE-lite agent in front, DTLS behind it: alone (`secure`), or
//! with data channels in the protocol engine. Media goes past both.
//!
//! The engine never sees a real address. It is shown one fixed pair, nominated
//! once by a binding request of our own making, so that moving to another
//! path, ICE restarts and TCP are all the business of [`IceLite`] alone.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use str0m::crypto::CryptoProvider;
use str0m::ice::{StunMessage, TransId};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcError};

use super::crypto::{Crypto, Keying, take_keying};
use super::ice::IceLite;
use super::negotiate::{IceCredentials, Negotiated};
pub use super::secure::Said;
use super::secure::Secure;
use super::setup;
use crate::control::messages::CloseReason;
use crate::net::arena::SendArena;

/// Addresses from TEST-NET-1 (RFC 5737) stand for both ends.
const ENGINE_LOCAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9);
const ENGINE_REMOTE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)), 9);

/// The engine forgets a pair that no check refreshed for 15 s; ours are this
/// far apart.
const REFRESH: Duration = Duration::from_secs(5);

/// How far a session has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// No authentic connectivity check yet.
    New,
    /// ICE is up, DTLS is not.
    Handshake,
    /// Media can flow.
    Connected,
    /// `close_notify` is on its way.
    Closing,
}

/// What is behind the ICE agent.
enum Behind {
    Engine(Box<Engine>),
    Secure(Secure),
}

struct Engine {
    rtc: Rtc,
    credentials: (IceCredentials, IceCredentials),
    refreshed: Option<Instant>,
    deadline: Option<Instant>,
}

/// See the module's description.
pub struct Transport {
    behind: Behind,
    /// The ICE agent.
    pub ice: IceLite,
    phase: Phase,
    keying: Option<Keying>,
    /// The engine's time.
    now: Instant,
    /// When the flight of the handshake was sent that is not answered yet.
    flight: Option<Instant>,
    round_trip: Option<Duration>,
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport")
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}

/// What the engine's failure means for the session.
pub fn close_reason(error: &RtcError) -> CloseReason {
    tracing::debug!(%error, "the engine gave a session up");
    match error {
        RtcError::Dtls(_) | RtcError::RemoteSdp(_) => CloseReason::DtlsFailed,
        _ => CloseReason::Internal,
    }
}

impl Transport {
    /// A transport with our credentials for a negotiated session.
    pub fn new(
        crypto: &Crypto,
        local: IceCredentials,
        negotiated: &Negotiated,
        now: Instant,
    ) -> Result<Self, RtcError> {
        let behind = if setup::needs_engine(negotiated) {
            let mut rtc = setup::engine(crypto, &local, negotiated, now)?;
            if let Ok(candidate) = Candidate::host(ENGINE_LOCAL, Protocol::Udp) {
                rtc.add_local_candidate(candidate);
            }
            Behind::Engine(Box::new(Engine {
                rtc,
                credentials: (local.clone(), negotiated.ice.clone()),
                refreshed: None,
                deadline: None,
            }))
        } else {
            Behind::Secure(Secure::new(crypto, negotiated, now)?)
        };
        Ok(Self {
            behind,
            ice: IceLite::new(local, negotiated.ice.clone()),
            phase: Phase::New,
            keying: None,
            now,
            flight: None,
            round_trip: None,
        })
    }

    /// How far it has come.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The SRTP keys, once, after the handshake.
    pub fn take_keying(&mut self) -> Option<Keying> {
        self.keying.take()
    }

    /// The shortest time that the peer took to answer a flight of the handshake: the
    /// round trip at most.
    pub fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// When [`tick`](Self::tick) wants to be called.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.behind {
            Behind::Engine(engine) => engine.deadline,
            Behind::Secure(secure) => secure.deadline(),
        }
    }

    /// An authentic connectivity check arrived: DTLS may begin, and the engine's pair lives on.
    pub fn checked(&mut self, now: Instant, provider: &CryptoProvider) -> Result<(), RtcError> {
        self.now = now;
        if self.phase == Phase::New {
            self.phase = Phase::Handshake;
        }
        match &mut self.behind {
            Behind::Engine(engine) => engine.refresh(now, provider),
            Behind::Secure(secure) => secure.start(now),
        }
    }

    /// Gives the engine a datagram. [`poll`](Self::poll) must follow before
    /// the next one.
    pub fn receive(&mut self, now: Instant, bytes: &[u8]) -> Result<(), RtcError> {
        self.now = now;
        if self.phase == Phase::Handshake
            && is_dtls(bytes)
            && let Some(sent) = self.flight.take()
        {
            let trip = now.saturating_duration_since(sent);
            self.round_trip = Some(self.round_trip.map_or(trip, |before| before.min(trip)));
        }
        match &mut self.behind {
            Behind::Engine(engine) => engine.receive(now, bytes),
            Behind::Secure(secure) => secure.receive(now, bytes),
        }
    }

    /// Lets time pass for the engine; [`poll`](Self::poll) must follow.
    pub fn tick(&mut self, now: Instant) -> Result<(), RtcError> {
        self.now = now;
        match &mut self.behind {
            Behind::Engine(engine) => engine.rtc.handle_input(Input::Timeout(now)),
            Behind::Secure(_) => Ok(()), // it is told the time when it is drained
        }
    }

    /// Drains the engine: datagrams into the arena, the rest is returned. Datagrams with nowhere
    /// to go are lost, as on a network; the engine repeats what matters.
    pub fn poll(&mut self, arena: &mut SendArena) -> Result<Said, RtcError> {
        let outcome = self.drain(arena);
        // After a failure as well: what one session's handshake left is not the next one's.
        let keying = take_keying();
        let said = outcome?;
        self.keying = keying.or(self.keying.take());
        Ok(said)
    }

    fn drain(&mut self, arena: &mut SendArena) -> Result<Said, RtcError> {
        let (now, path, phase) = (self.now, self.ice.path(), &mut self.phase);
        let flight = &mut self.flight;
        let mut send = |phase: Phase, contents: &[u8]| {
            if let Some(path) = path {
                if phase == Phase::Handshake && is_dtls(contents) {
                    flight.get_or_insert(now);
                }
                arena.push(path, contents);
            }
        };
        let connected = |phase: &mut Phase| {
            if *phase != Phase::Closing {
                *phase = Phase::Connected;
            }
        };
        match &mut self.behind {
            Behind::Engine(engine) => {
                let mut said = Said::default();
                loop {
                    match engine.rtc.poll_output()? {
                        Output::Timeout(at) => {
                            engine.deadline = engine.rtc.is_alive().then_some(at);
                            return Ok(said);
                        }
                        Output::Transmit(transmit) => {
                            // Answers to our own checks go nowhere.
                            if transmit.contents.first().is_none_or(|first| *first >= 4) {
                                send(*phase, &transmit.contents);
                            }
                        }
                        Output::Event(Event::Connected) => {
                            connected(phase);
                            said.connected = true;
                        }
                        Output::Event(Event::Closed) => said.closed = true,
                        Output::Event(_) => {}
                    }
                }
            }
            Behind::Secure(secure) => {
                let said = secure.drain(now, |datagram| send(*phase, datagram))?;
                if said.connected {
                    connected(phase);
                }
                Ok(said)
            }
        }
    }

    /// Starts the end: DTLS `close_notify` comes out of the next
    /// [`poll`](Self::poll).
    pub fn close(&mut self) -> Result<(), RtcError> {
        self.phase = Phase::Closing;
        match &mut self.behind {
            Behind::Engine(engine) => engine.rtc.close(),
            Behind::Secure(secure) => secure.close(),
        }
    }
}

impl Engine {
    fn refresh(&mut self, now: Instant, provider: &CryptoProvider) -> Result<(), RtcError> {
        if self
            .refreshed
            .is_some_and(|at| now.saturating_duration_since(at) < REFRESH)
        {
            return Ok(());
        }
        self.refreshed = Some(now);
        let (local, remote) = &self.credentials;
        let username = format!("{}:{}", local.ufrag, remote.ufrag);
        let request = StunMessage::binding_request(&username, TransId::new(), true, 1, 1, true);
        let mut buffer = [0; 256];
        let hmac = |key: &[u8], parts: &[&[u8]]| provider.sha1_hmac_provider.sha1_hmac(key, parts);
        if let Ok(length) = request.to_bytes(Some(local.pwd.as_bytes()), &mut buffer, hmac) {
            self.receive(now, &buffer[..length])?;
        }
        Ok(())
    }

    fn receive(&mut self, now: Instant, bytes: &[u8]) -> Result<(), RtcError> {
        let receive = Receive::new(Protocol::Udp, ENGINE_REMOTE, ENGINE_LOCAL, bytes);
        match receive {
            Ok(receive) => self.rtc.handle_input(Input::Receive(now, receive)),
            Err(_) => Ok(()), // classified before; what the engine can't read it drops
        }
    }
}

/// RFC 7983 §7.
fn is_dtls(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|first| (20..=63).contains(first))
}
