//! One endpoint: the handshake, what it exports, and the records after it.

use std::collections::VecDeque;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use dimpl::{CertificateError, CryptoOperation, SecurityError, TimeoutError};
use openssl::error::ErrorStack;
use openssl::srtp::SrtpProfileId;
use openssl::ssl::{Error as SslError, ErrorCode, Ssl, SslStream};
use str0m::crypto::dtls::{
    DtlsImplError, DtlsInstance, DtlsOutput, KeyingMaterial, ProtocolVersion,
    SrtpProfile as DtlsSrtpProfile,
};

use super::wire::Wire;
use crate::net;
use crate::peer::crypto::keying::{self, SrtpProfile};

/// The exporter label of DTLS-SRTP (RFC 5764 §4.2).
const EXPORTER: &str = "EXTRACTOR-dtls_srtp";

/// How often a handshake looks whether a flight is due again. OpenSSL decides
/// that by the wall clock (one second, then doubling: RFC 6347 §4.2.4.1) and
/// only when asked; asking costs next to nothing.
const POLL: Duration = Duration::from_millis(250);

/// When nothing is due.
const IDLE: Duration = Duration::from_secs(24 * 3600);

/// Plaintext of one record that is taken at once: more than any path's MTU.
const RECORD: usize = 2048;

/// Records that wait for `poll_output`. It follows each datagram, so no honest
/// peer gets here; SCTP repeats what is dropped.
const MAX_WAITING: usize = 64;

/// OpenSSL gives a received alert as this plus the alert's number.
const ALERT_OFFSET: i32 = 1000;

/// OpenSSL's reason when a flight was repeated in vain too often.
const READ_TIMEOUT_EXPIRED: i32 = 312;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Handshake,
    Established,
    /// We sent `close_notify`, or closed before there was a session.
    Closed,
    Failed,
}

/// What [`DtlsInstance::poll_output`] has to tell, besides datagrams.
enum Event {
    PeerCert(Vec<u8>),
    Keying(KeyingMaterial, DtlsSrtpProfile),
    Connected,
    Data(Vec<u8>),
    CloseNotify,
}

/// See the module's description.
pub(super) struct Endpoint {
    /// A panic can't leave it half-changed: the crate catches those of
    /// [`Wire`], which has none.
    stream: AssertUnwindSafe<SslStream<Wire>>,
    number: u64,
    active: Option<bool>,
    phase: Phase,
    events: VecDeque<Event>,
    /// Why the session is over, told once our alert has left.
    failure: Option<DtlsImplError>,
    now: Instant,
    deadline: Instant,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("number", &self.number)
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}

impl Endpoint {
    /// An endpoint that does not know yet whether it is the client.
    pub(super) fn new(ssl: Ssl, now: Instant) -> Result<Self, ErrorStack> {
        Ok(Self {
            stream: AssertUnwindSafe(SslStream::new(ssl, Wire::default())?),
            number: keying::next_endpoint(),
            active: None,
            phase: Phase::Handshake,
            events: VecDeque::new(),
            failure: None,
            now,
            deadline: now + IDLE,
        })
    }

    /// Goes on with whatever the phase is about, until OpenSSL wants a datagram.
    fn drive(&mut self) -> Result<(), DtlsImplError> {
        if self.phase == Phase::Handshake {
            self.handshake()?;
        }
        if matches!(self.phase, Phase::Established | Phase::Closed) {
            self.read()?;
            // Few records come from here on, and most sessions get none.
            net::tls::free_buffers(&mut self.stream);
            self.stream.get_mut().incoming = Vec::new();
        }
        Ok(())
    }

    fn handshake(&mut self) -> Result<(), DtlsImplError> {
        let done = match self.active {
            None => return Ok(()),
            Some(true) => self.stream.connect(),
            Some(false) => self.stream.accept(),
        };
        match done {
            Ok(()) => self.established(),
            Err(e) if e.code() == ErrorCode::WANT_READ => Ok(()),
            Err(e) => Err(implementation_error(&e)),
        }
    }

    /// The certificate goes first, so that no key is used before it is checked.
    fn established(&mut self) -> Result<(), DtlsImplError> {
        let ssl = self.stream.ssl();
        let certificate = ssl.peer_certificate().and_then(|c| c.to_der().ok()).ok_or(
            DtlsImplError::CertificateError(CertificateError::ParseFailed),
        )?;
        let no_keys = || operation_failed(CryptoOperation::ExtractSrtpKeyingMaterial);
        let profile = ssl
            .selected_srtp_profile()
            .and_then(|p| dtls_profile(p.id()))
            .ok_or_else(no_keys)?;
        let length = SrtpProfile::from_dtls(profile)
            .ok_or_else(no_keys)?
            .material_len();
        let mut material = zeroize::Zeroizing::new(vec![0; length]);
        ssl.export_keying_material(&mut material, EXPORTER, None)
            .map_err(|_| no_keys())?;
        self.events.extend([
            Event::PeerCert(certificate),
            Event::Keying(KeyingMaterial::new(&material), profile),
            Event::Connected,
        ]);
        self.phase = Phase::Established;
        self.deadline = self.now + IDLE;
        Ok(())
    }

    /// Reads records until the datagram is used up. This also answers a peer
    /// that repeats its last flight because ours was lost.
    fn read(&mut self) -> Result<(), DtlsImplError> {
        let mut record = [0; RECORD];
        loop {
            match self.stream.ssl_read(&mut record) {
                Ok(0) => return Ok(()),
                Ok(length) => {
                    if self.phase == Phase::Established && self.events.len() < MAX_WAITING {
                        self.events
                            .push_back(Event::Data(record[..length].to_vec()));
                    }
                }
                Err(e) if e.code() == ErrorCode::WANT_READ => return Ok(()),
                Err(e) if e.code() == ErrorCode::ZERO_RETURN => {
                    let told = self.events.iter().any(|e| matches!(e, Event::CloseNotify));
                    if self.phase == Phase::Established && !told {
                        self.events.push_back(Event::CloseNotify);
                    }
                    return Ok(());
                }
                // After our close_notify the peer may well be gone already.
                Err(_) if self.phase == Phase::Closed => return Ok(()),
                Err(e) => return Err(implementation_error(&e)),
            }
        }
    }

    /// Ends the session for `error`. When OpenSSL has an alert for the peer,
    /// the error waits for it: it is told by `handle_timeout`, which is due at
    /// once and comes after the datagrams.
    fn fail(&mut self, error: DtlsImplError) -> Result<(), DtlsImplError> {
        self.phase = Phase::Failed;
        if self.stream.get_mut().outgoing.is_empty() {
            return Err(error);
        }
        self.failure = Some(error);
        self.deadline = self.now;
        Ok(())
    }
}

fn operation_failed(operation: CryptoOperation) -> DtlsImplError {
    DtlsImplError::CryptoError(dimpl::CryptoError::OperationFailed(operation))
}

fn dtls_profile(id: SrtpProfileId) -> Option<DtlsSrtpProfile> {
    match id {
        SrtpProfileId::SRTP_AEAD_AES_256_GCM => Some(DtlsSrtpProfile::AEAD_AES_256_GCM),
        SrtpProfileId::SRTP_AEAD_AES_128_GCM => Some(DtlsSrtpProfile::AEAD_AES_128_GCM),
        SrtpProfileId::SRTP_AES128_CM_SHA1_80 => Some(DtlsSrtpProfile::AES128_CM_SHA1_80),
        _ => None,
    }
}

/// The nearest of the errors that str0m knows; OpenSSL's own words go to the log.
pub(super) fn implementation_error(error: &SslError) -> DtlsImplError {
    tracing::debug!(%error, "OpenSSL gave a DTLS session up");
    let reasons = || {
        let stack = error.ssl_error().map(ErrorStack::errors);
        stack.unwrap_or_default().iter().map(|e| e.reason_code())
    };
    if let Some(description) = reasons().find_map(|r| u8::try_from(r - ALERT_OFFSET).ok()) {
        return DtlsImplError::SecurityError(SecurityError::FatalAlert { description });
    }
    if reasons().any(|r| r == READ_TIMEOUT_EXPIRED) {
        return DtlsImplError::Timeout(TimeoutError::Handshake);
    }
    operation_failed(CryptoOperation::CompleteKeyExchange)
}

impl DtlsInstance for Endpoint {
    fn set_active(&mut self, active: bool) {
        self.active = Some(active);
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        // str0m gives a client an empty datagram for a start.
        if !packet.is_empty() {
            self.stream.get_mut().arrive(packet);
        }
        self.drive().or_else(|error| self.fail(error))
    }

    fn poll_output<'a>(&mut self, buf: &'a mut [u8]) -> DtlsOutput<'a> {
        keying::discard_others(self.number);
        if let Some(datagram) = self.stream.get_mut().outgoing.pop_front() {
            return match fill(buf, &datagram) {
                Ok(filled) => DtlsOutput::Packet(filled),
                Err(needed) => {
                    self.stream.get_mut().outgoing.push_front(datagram);
                    DtlsOutput::BufferTooSmall { needed }
                }
            };
        }
        let Some(event) = self.events.pop_front() else {
            return DtlsOutput::Timeout(self.deadline);
        };
        match event {
            Event::Connected => DtlsOutput::Connected,
            Event::CloseNotify => DtlsOutput::CloseNotify,
            Event::Keying(material, profile) => {
                let output = DtlsOutput::KeyingMaterial(material, profile);
                keying::tap(self.number, self.is_active(), &output);
                output
            }
            Event::PeerCert(der) => match fill(buf, &der) {
                Ok(filled) => DtlsOutput::PeerCert(filled),
                Err(needed) => {
                    self.events.push_front(Event::PeerCert(der));
                    DtlsOutput::BufferTooSmall { needed }
                }
            },
            Event::Data(record) => match fill(buf, &record) {
                Ok(filled) => DtlsOutput::ApplicationData(filled),
                Err(needed) => {
                    self.events.push_front(Event::Data(record));
                    DtlsOutput::BufferTooSmall { needed }
                }
            },
        }
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.now = now;
        if let Some(error) = self.failure.take() {
            return Err(error);
        }
        self.deadline = now
            + match self.phase {
                Phase::Handshake => POLL,
                _ => IDLE,
            };
        if self.phase == Phase::Handshake {
            return self.drive().or_else(|error| self.fail(error));
        }
        Ok(())
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<usize, DtlsImplError> {
        match self.phase {
            Phase::Handshake => return Ok(0),
            Phase::Closed | Phase::Failed => return Err(DtlsImplError::ConnectionClosed),
            Phase::Established if data.is_empty() => return Ok(0),
            Phase::Established => {}
        }
        // A record is written whole or not at all: the wire never blocks.
        self.stream
            .ssl_write(data)
            .map_err(|_| operation_failed(CryptoOperation::Encrypt))
    }

    fn is_active(&self) -> bool {
        self.active.unwrap_or(false)
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        (self.phase != Phase::Handshake).then_some(ProtocolVersion::DTLS1_2)
    }

    fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closed | Phase::Failed)
    }

    fn is_closed(&self) -> bool {
        self.is_closing() && self.stream.get_ref().outgoing.is_empty()
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        if self.phase == Phase::Established {
            // Writes our close_notify; the peer's is not waited for (RFC 5246 §7.2.1).
            let _ = self.stream.shutdown();
        }
        self.phase = Phase::Closed;
        Ok(())
    }
}

/// Copies `bytes` to the front of `buf`, or says how long it would have to be.
fn fill<'a>(buf: &'a mut [u8], bytes: &[u8]) -> Result<&'a [u8], usize> {
    let front = buf.get_mut(..bytes.len()).ok_or(bytes.len())?;
    front.copy_from_slice(bytes);
    Ok(front)
}
