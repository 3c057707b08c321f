//! DTLS and nothing else: what stands in for the protocol engine where a session has no data
//! channels, as most.
//!
//! The engine would be ten kilobytes of agents, streams and SRTP contexts that nobody asks
//! anything. Its DTLS endpoint is the same; what the engine does around one is done here: it
//! compares the peer's certificate with the fingerprint of its SDP, waits until ICE has a path
//! before it begins, and answers the peer's goodbye.

use std::sync::Arc;
use std::time::Instant;

use str0m::RtcError;
use str0m::crypto::dtls::{DtlsImplError, DtlsInstance, DtlsOutput};
use str0m::crypto::{CryptoError, CryptoProvider, DtlsError};

use super::crypto::Crypto;
use super::negotiate::{Fingerprint, Negotiated};

/// Room for what the endpoint says at once: a datagram, or the peer's certificate.
const OUTPUT: usize = 2048;

/// What a drain brought, beside datagrams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Said {
    /// The handshake is over, and the certificate is the one that was signalled.
    pub connected: bool,
    /// The peer has ended the session.
    pub closed: bool,
}

/// See the module's description.
pub(super) struct Secure {
    endpoint: Box<dyn DtlsInstance>,
    provider: Arc<CryptoProvider>,
    fingerprint: Fingerprint,
    /// We send the ClientHello.
    active: bool,
    started: bool,
    /// The peer's certificate has that fingerprint.
    verified: bool,
    closing: bool,
    /// Something has happened since the last drain.
    changed: bool,
    deadline: Option<Instant>,
}

fn dtls_error(error: &DtlsImplError) -> RtcError {
    let text = format!("DTLS error: {error}");
    RtcError::Dtls(DtlsError::CryptoError(CryptoError::Other(text)))
}

fn not_signalled() -> RtcError {
    RtcError::RemoteSdp("the certificate is not the one that was signalled".to_owned())
}

impl Secure {
    /// An endpoint for what was negotiated. A server is ready at once; a client begins with
    /// [`start`](Self::start).
    pub(super) fn new(
        crypto: &Crypto,
        negotiated: &Negotiated,
        now: Instant,
    ) -> Result<Self, RtcError> {
        let (endpoint, provider) = crypto
            .endpoint(negotiated.peer_keys, now)
            .map_err(|error| RtcError::Dtls(DtlsError::CryptoError(error)))?;
        let mut secure = Self {
            endpoint,
            provider,
            fingerprint: negotiated.fingerprint.clone(),
            active: negotiated.dtls_active,
            started: false,
            verified: false,
            closing: false,
            changed: true,
            deadline: None,
        };
        if !secure.active {
            secure.start(now)?;
        }
        Ok(secure)
    }

    /// There is a path to the peer. Does nothing the second time.
    pub(super) fn start(&mut self, now: Instant) -> Result<(), RtcError> {
        if self.started || self.closing {
            return Ok(());
        }
        self.started = true;
        self.changed = true;
        self.endpoint.set_active(self.active);
        self.endpoint
            .handle_timeout(now)
            .map_err(|e| dtls_error(&e))?;
        if self.active {
            // An empty datagram is how a client is told to begin.
            let _ = self.endpoint.handle_packet(&[]);
        }
        Ok(())
    }

    /// Gives the endpoint a datagram; [`drain`](Self::drain) must follow.
    pub(super) fn receive(&mut self, now: Instant, bytes: &[u8]) -> Result<(), RtcError> {
        if !self.started {
            return Ok(());
        }
        self.changed = true;
        // What is due is done after the datagram, by the drain. If nothing is, the endpoint
        // only learns what time it is: its next flight's timer starts from there.
        if self.deadline.is_some_and(|at| at > now) {
            self.endpoint
                .handle_timeout(now)
                .map_err(|e| dtls_error(&e))?;
        }
        self.endpoint
            .handle_packet(bytes)
            .map_err(|e| dtls_error(&e))
    }

    /// When time has to be let pass.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Says goodbye, by what the next [`drain`](Self::drain) brings.
    pub(super) fn close(&mut self) -> Result<(), RtcError> {
        self.closing = true;
        self.changed = true;
        self.endpoint.close().map_err(|e| dtls_error(&e))
    }

    /// Lets the time be `now`, and gives all datagrams to `send`.
    pub(super) fn drain(
        &mut self,
        now: Instant,
        mut send: impl FnMut(&[u8]),
    ) -> Result<Said, RtcError> {
        let mut said = Said::default();
        let mut due = self.deadline.is_some_and(|at| at <= now);
        if !self.started || !(self.changed || due) {
            return Ok(said);
        }
        self.changed = false;
        let mut buffer = [0; OUTPUT];
        // An endpoint that has failed still tells its peer why, and wants the time to be let
        // pass once more to tell us.
        let mut passes = 2;
        while passes > 0 {
            passes -= 1;
            if std::mem::take(&mut due) {
                self.endpoint
                    .handle_timeout(now)
                    .map_err(|e| dtls_error(&e))?;
            }
            let next = loop {
                match self.endpoint.poll_output(&mut buffer) {
                    DtlsOutput::Packet(datagram) => send(datagram),
                    DtlsOutput::PeerCert(der) => self.verify(der)?,
                    DtlsOutput::Connected => said.connected = true,
                    DtlsOutput::CloseNotify => {
                        said.closed = true;
                        self.close()?;
                    }
                    DtlsOutput::Timeout(at) => break at,
                    DtlsOutput::BufferTooSmall { needed } => {
                        let text = format!("a DTLS record of {needed} bytes");
                        return Err(RtcError::Dtls(DtlsError::Io(std::io::Error::other(text))));
                    }
                    // Keys, which the endpoint's tap has, and data, which nobody has negotiated.
                    _ => {}
                }
            };
            self.deadline = Some(next.max(now));
            due = next <= now;
            if !due {
                break;
            }
        }
        self.changed = false;
        if said.connected && !self.verified {
            return Err(not_signalled());
        }
        if self.closing && self.endpoint.is_closed() {
            self.deadline = None;
        }
        Ok(said)
    }

    fn verify(&mut self, der: &[u8]) -> Result<(), RtcError> {
        let digest = self.provider.sha256_provider.sha256(der);
        self.verified = self.fingerprint.algorithm == "sha-256"
            && self.fingerprint.bytes.as_slice() == digest.as_slice();
        self.verified.then_some(()).ok_or_else(not_signalled)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::crypto::take_keying;
    use super::super::negotiate::{Direction, IceCredentials, PeerKeys};
    use super::*;

    fn negotiated(crypto: &Crypto, peer_keys: PeerKeys, dtls_active: bool) -> Negotiated {
        Negotiated {
            direction: Direction::View,
            ice: IceCredentials {
                ufrag: "user".into(),
                pwd: "p".repeat(22),
            },
            fingerprint: crypto.fingerprint(),
            peer_keys,
            dtls_active,
            media: Vec::new(),
            data: None,
        }
    }

    /// Two ends that know each other's certificate, and what each has heard.
    struct Pair {
        ends: [Secure; 2],
        said: [Said; 2],
        keyed: [bool; 2],
        now: Instant,
    }

    impl Pair {
        /// The first one is the client.
        fn new(keys: PeerKeys, change: impl Fn(&mut Negotiated)) -> Self {
            let (crypto, now) = (Crypto::new().unwrap(), Instant::now());
            let end = |active| {
                let mut negotiated = negotiated(&crypto, keys, active);
                change(&mut negotiated);
                Secure::new(&crypto, &negotiated, now).unwrap()
            };
            Self {
                ends: [end(true), end(false)],
                said: [Said::default(); 2],
                keyed: [false; 2],
                now,
            }
        }

        /// What `end` sends now.
        fn drain(&mut self, end: usize) -> Result<Vec<Vec<u8>>, RtcError> {
            let mut sent = Vec::new();
            let said = self.ends[end].drain(self.now, |datagram| sent.push(datagram.to_vec()))?;
            self.said[end].connected |= said.connected;
            self.said[end].closed |= said.closed;
            self.keyed[end] |= take_keying().is_some();
            Ok(sent)
        }

        /// Carries datagrams to and fro until nobody has more to say.
        fn talk(&mut self) -> Result<(), RtcError> {
            loop {
                let mut silent = true;
                for end in 0..2 {
                    for datagram in self.drain(end)? {
                        silent = false;
                        self.ends[1 - end].receive(self.now, &datagram)?;
                        for answer in self.drain(1 - end)? {
                            self.ends[end].receive(self.now, &answer)?;
                        }
                    }
                }
                if silent {
                    return Ok(());
                }
            }
        }
    }

    const STACKS: [PeerKeys; 2] = [PeerKeys::Ecdsa, PeerKeys::Unknown];

    #[test]
    fn both_stacks_connect_once_there_is_a_path_and_say_goodbye() {
        for keys in STACKS {
            let mut pair = Pair::new(keys, |_| {});
            pair.talk().unwrap();
            assert!(
                !pair.said[1].connected,
                "{keys:?}: a client waits for a path"
            );
            let now = pair.now;
            pair.ends[0].start(now).unwrap();
            pair.talk().unwrap();
            let connected = Said {
                connected: true,
                closed: false,
            };
            assert_eq!(pair.said, [connected; 2], "{keys:?}");
            assert_eq!(pair.keyed, [true; 2], "{keys:?}");
            pair.ends[1].close().unwrap();
            pair.talk().unwrap();
            assert!(pair.said[0].closed, "{keys:?}");
            assert_eq!(pair.ends[1].deadline(), None, "{keys:?}");
        }
    }

    #[test]
    fn a_certificate_that_was_not_signalled_ends_the_session() {
        for keys in STACKS {
            for wrong in [
                |n: &mut Negotiated| n.fingerprint.bytes[31] ^= 1,
                |n: &mut Negotiated| n.fingerprint.algorithm = "sha-1".into(),
                |n: &mut Negotiated| n.fingerprint.bytes.truncate(31),
            ] {
                let mut pair = Pair::new(keys, wrong);
                let now = pair.now;
                pair.ends[0].start(now).unwrap();
                let outcome = pair.talk();
                assert!(
                    matches!(outcome, Err(RtcError::RemoteSdp(_))),
                    "{outcome:?}"
                );
                assert_eq!(pair.said, [Said::default(); 2]);
            }
        }
    }

    /// (OpenSSL's timers go by the system's clock.)
    #[test]
    fn a_flight_that_was_lost_is_sent_again_in_time() {
        let mut pair = Pair::new(PeerKeys::Ecdsa, |_| {});
        // A viewer may take its time before it begins.
        pair.drain(1).unwrap();
        pair.now += Duration::from_secs(7);
        let now = pair.now;
        pair.ends[0].start(now).unwrap();
        for hello in pair.drain(0).unwrap() {
            pair.ends[1].receive(now, &hello).unwrap();
        }
        assert!(!pair.drain(1).unwrap().is_empty());
        let again = |end: &Secure| end.deadline().unwrap().saturating_duration_since(now);
        for end in &pair.ends {
            let again = again(end);
            assert!(
                (Duration::from_millis(200)..Duration::from_secs(3)).contains(&again),
                "the timer begins when the flight is sent: {again:?}"
            );
        }
        pair.now += again(&pair.ends[0]).max(again(&pair.ends[1]));
        pair.talk().unwrap();
        assert!(pair.said[1].connected);
    }

    #[test]
    fn nonsense_is_an_error_or_nothing_and_a_silent_endpoint_costs_nothing() {
        for keys in STACKS {
            let mut pair = Pair::new(keys, |_| {});
            for bytes in [&[22u8][..], &[0x16, 0xfe, 0xfd, 0, 0], &[20; 1500], &[]] {
                let now = pair.now;
                let _ = pair.ends[1].receive(now, bytes);
                let _ = pair.drain(1);
            }
            assert!(!pair.said[1].connected);
            assert!(!pair.ends[1].changed);
        }
    }

    /// RFC 6347 §4.1.2.7: whoever writes another's address on a datagram ends nobody's session.
    #[test]
    fn nothing_forged_ends_a_session_that_is_up() {
        let record = |kind: u8, epoch: u16, sequence: u64, body: &[u8]| {
            let mut bytes = vec![kind, 0xfe, 0xfd];
            bytes.extend(epoch.to_be_bytes());
            bytes.extend(&sequence.to_be_bytes()[2..]);
            bytes.extend((body.len() as u16).to_be_bytes());
            bytes.extend(body);
            bytes
        };
        for keys in STACKS {
            let mut pair = Pair::new(keys, |_| {});
            let now = pair.now;
            pair.ends[0].start(now).unwrap();
            // What was said in the handshake, to be said again.
            let mut spoken = Vec::new();
            let hello = pair.drain(0).unwrap();
            for datagram in &hello {
                pair.ends[1].receive(now, datagram).unwrap();
            }
            let flight = pair.drain(1).unwrap();
            for datagram in &flight {
                pair.ends[0].receive(now, datagram).unwrap();
            }
            spoken.extend(hello);
            spoken.extend(flight);
            pair.talk().unwrap();
            assert!(pair.said.iter().all(|said| said.connected), "{keys:?}");
            let mut forged = spoken;
            for kind in 20..=26 {
                for epoch in 0..4 {
                    for sequence in [0, 1, 5, 1 << 40] {
                        for body in [
                            &[2, 40][..],
                            &[1, 0],
                            &[1],
                            &[0; 64],
                            &[1, 0, 0, 4, 0, 9, 0, 0, 0, 0, 0, 4, 1, 2, 3, 4],
                            &[
                                20, 0, 0, 12, 0, 3, 0, 0, 0, 0, 0, 12, 1, 2, 3, 4, 5, 6, 7, 8, 9,
                                10, 11, 12,
                            ],
                            &[],
                        ] {
                            let one = record(kind, epoch, sequence, body);
                            forged.push([&one[..], &one].concat());
                            forged.push(one);
                        }
                    }
                }
            }
            for (at, datagram) in forged.iter().enumerate() {
                for end in 0..2 {
                    let outcome = pair.ends[end].receive(now, datagram);
                    assert!(
                        outcome.is_ok(),
                        "{keys:?} {end} {at} {outcome:?} {datagram:?}"
                    );
                    let answer = pair.drain(end);
                    assert!(
                        answer.is_ok(),
                        "{keys:?} {end} {at} {answer:?} {datagram:?}"
                    );
                }
            }
            assert!(pair.said.iter().all(|said| !said.closed), "{keys:?}");
            pair.ends[1].close().unwrap();
            pair.talk().unwrap();
            assert!(pair.said[0].closed, "{keys:?}: the peer itself still can");
        }
    }
}
