//! Handshakes of the OpenSSL endpoint with peers of every kind of key: whole
//! sessions on a virtual clock, and bare endpoints where datagrams are at stake.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use dimpl::SecurityError;
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::hash::MessageDigest;
use openssl::rsa::Rsa;
use openssl::ssl::{ErrorCode, SslStream};
use openssl::x509::X509NameBuilder;
use str0m::crypto::CryptoProvider;
use str0m::crypto::dtls::{DtlsImplError, DtlsOutput, ProtocolVersion};
use str0m::{Event as SessionEvent, RtcConfig};

use super::super::testing::{Pair, plain_config, plain_provider};
use super::super::{Crypto, Keying, SrtpProfile, take_keying};
use super::endpoint::implementation_error;
use super::wire::Wire;
use super::*;
use crate::peer::negotiate::PeerKeys;

/// A certificate as GStreamer makes it: RSA-2048, signed by itself.
fn rsa_certificate() -> DtlsCert {
    static MADE: OnceLock<DtlsCert> = OnceLock::new();
    let make = || -> Result<DtlsCert, ErrorStack> {
        let key = PKey::from_rsa(Rsa::generate(2048)?)?;
        let mut name = X509NameBuilder::new()?;
        name.append_entry_by_text("CN", "an RSA peer")?;
        let name = name.build();
        let mut builder = X509::builder()?;
        builder.set_version(2)?;
        let serial = BigNum::from_u32(7)?.to_asn1_integer()?;
        builder.set_serial_number(&serial)?;
        builder.set_subject_name(&name)?;
        builder.set_issuer_name(&name)?;
        let (begin, end) = (Asn1Time::days_from_now(0)?, Asn1Time::days_from_now(30)?);
        builder.set_not_before(&begin)?;
        builder.set_not_after(&end)?;
        builder.set_pubkey(&key)?;
        builder.sign(&key, MessageDigest::sha256())?;
        Ok(DtlsCert {
            certificate: builder.build().to_der()?,
            private_key: key.private_key_to_pkcs8()?,
        })
    };
    MADE.get_or_init(|| make().unwrap()).clone()
}

fn rsa_config() -> RtcConfig {
    let certificate = rsa_certificate();
    let dtls = OpensslDtls::new(certificate.clone()).unwrap();
    let provider = CryptoProvider {
        dtls_provider: Box::leak(Box::new(dtls)),
        ..plain_provider()
    };
    RtcConfig::new()
        .set_crypto_provider(Arc::new(provider))
        .set_dtls_cert(certificate)
}

fn assert_mirrored(ours: &Keying, peer: &Keying) {
    assert_eq!(ours.we_are_client(), !peer.we_are_client());
    assert_eq!(ours.profile(), peer.profile());
    assert_eq!(ours.local().key, peer.remote().key);
    assert_eq!(ours.local().salt, peer.remote().salt);
    assert_eq!(ours.remote().key, peer.local().key);
    assert_eq!(ours.remote().salt, peer.local().salt);
    assert_ne!(ours.local().key, ours.remote().key);
}

#[test]
fn rsa_peers_connect_in_both_roles() {
    let crypto = Crypto::new().unwrap();
    for active in [false, true] {
        let mut pair = Pair::new(crypto.rtc_config(PeerKeys::Unknown), rsa_config(), active);
        pair.connect();
        let ours = pair.ours.keying.as_ref().unwrap();
        assert_eq!(ours.we_are_client(), active);
        assert_eq!(ours.profile(), SrtpProfile::AeadAes256Gcm);
        assert_mirrored(ours, pair.peer.keying.as_ref().unwrap());
        let seen = pair.peer.rtc.direct_api();
        assert_eq!(
            seen.remote_dtls_fingerprint().unwrap().bytes,
            crypto.fingerprint().bytes
        );
    }
}

/// Why there are two stacks. If this fails, the first one suffices.
#[test]
fn the_other_stack_takes_no_rsa() {
    let crypto = Crypto::new().unwrap();
    for active in [false, true] {
        let mut pair = Pair::new(crypto.rtc_config(PeerKeys::Ecdsa), rsa_config(), active);
        for _ in 0..200 {
            pair.step();
        }
        assert!(pair.ours.keying.is_none());
        assert!(!is_connected(&pair.ours.events));
    }
}

fn is_connected(events: &[SessionEvent]) -> bool {
    events.iter().any(|e| matches!(e, SessionEvent::Connected))
}

#[test]
fn ecdsa_peers_connect_in_both_roles() {
    let (a, b) = (Crypto::new().unwrap(), Crypto::new().unwrap());
    for version in [DtlsVersion::Dtls12, DtlsVersion::Auto] {
        for active in [false, true] {
            let mut pair = Pair::new(
                a.rtc_config(PeerKeys::Unknown).set_dtls_version(version),
                b.rtc_config(PeerKeys::Ecdsa).set_dtls_version(version),
                active,
            );
            pair.connect();
            let ours = pair.ours.keying.as_ref().unwrap();
            assert_mirrored(ours, pair.peer.keying.as_ref().unwrap());
        }
    }
}

/// A certificate that the context was not made for gets one of its own.
#[test]
fn other_certificates_work() {
    let crypto = Crypto::new().unwrap();
    let config = crypto.rtc_config(PeerKeys::Unknown);
    let mut pair = Pair::new(config.set_dtls_cert(rsa_certificate()), rsa_config(), false);
    pair.connect();
    let seen = pair.peer.rtc.direct_api();
    let rsa = plain_provider()
        .sha256_provider
        .sha256(&rsa_certificate().certificate);
    assert_eq!(seen.remote_dtls_fingerprint().unwrap().bytes, rsa);
}

#[test]
fn a_wrong_fingerprint_is_refused() {
    let crypto = Crypto::new().unwrap();
    for (peer, active) in [
        (rsa_config(), false),
        (rsa_config(), true),
        (plain_config(), false),
    ] {
        let mut pair = Pair::new(crypto.rtc_config(PeerKeys::Unknown), peer, active);
        let wrong = crypto.fingerprint();
        let mut api = pair.ours.rtc.direct_api();
        api.set_remote_fingerprint(wrong.into());
        for _ in 0..200 {
            pair.step();
        }
        let failure = pair.ours.failure.as_deref().unwrap();
        assert!(failure.contains("fingerprint"), "{failure}");
        assert!(pair.ours.keying.is_none());
        assert!(!is_connected(&pair.ours.events));
    }
}

#[test]
fn either_side_closes() {
    let crypto = Crypto::new().unwrap();
    let closed = |events: &[SessionEvent]| {
        let closes = |e: &&SessionEvent| matches!(e, SessionEvent::Closed);
        events.iter().filter(closes).count()
    };
    for active in [false, true] {
        for peer in [rsa_config, plain_config] {
            for we_close in [false, true] {
                let ours = crypto.rtc_config(PeerKeys::Unknown);
                let mut pair = Pair::new(ours, peer(), active);
                pair.connect();
                let closer = if we_close {
                    &mut pair.ours
                } else {
                    &mut pair.peer
                };
                closer.rtc.close().unwrap();
                closer.drain();
                for _ in 0..20 {
                    pair.step();
                }
                let (told, closer) = if we_close {
                    (&pair.peer, &pair.ours)
                } else {
                    (&pair.ours, &pair.peer)
                };
                assert_eq!(closed(&told.events), 1);
                assert_eq!((&told.failure, &closer.failure), (&None, &None));
            }
        }
    }
}

/// A bare endpoint, and what came out of it.
struct Bare {
    dtls: Box<dyn DtlsInstance>,
    sent: usize,
    longest: usize,
    connected: bool,
    closed: bool,
    data: Vec<Vec<u8>>,
    keying: Option<Keying>,
    timeout: Instant,
    error: Option<DtlsImplError>,
}

impl Bare {
    fn new(certificate: DtlsCert, active: bool, mtu: usize, now: Instant) -> Self {
        let provider = OpensslDtls::new(certificate.clone()).unwrap();
        let mut dtls = provider
            .new_dtls(&certificate, now, DtlsVersion::Dtls12, Some(mtu))
            .unwrap();
        dtls.set_active(active);
        dtls.handle_timeout(now).unwrap();
        Self {
            dtls,
            sent: 0,
            longest: 0,
            connected: false,
            closed: false,
            data: Vec::new(),
            keying: None,
            timeout: now,
            error: None,
        }
    }

    fn drain(&mut self) -> Vec<Vec<u8>> {
        let (mut out, mut buf) = (Vec::new(), [0; 2000]);
        loop {
            match self.dtls.poll_output(&mut buf) {
                DtlsOutput::Packet(p) => {
                    self.sent += 1;
                    self.longest = self.longest.max(p.len());
                    out.push(p.to_vec());
                }
                DtlsOutput::Timeout(at) => {
                    self.timeout = at;
                    break;
                }
                DtlsOutput::Connected => self.connected = true,
                DtlsOutput::CloseNotify => self.closed = true,
                DtlsOutput::ApplicationData(d) => self.data.push(d.to_vec()),
                DtlsOutput::PeerCert(_) => assert!(self.keying.is_none()),
                DtlsOutput::KeyingMaterial(..) => self.keying = take_keying(),
                other => panic!("{other:?}"),
            }
        }
        out
    }

    fn receive(&mut self, datagram: &[u8]) -> Vec<Vec<u8>> {
        if let Err(error) = self.dtls.handle_packet(datagram) {
            self.error = Some(error);
        }
        self.drain()
    }

    fn tick(&mut self, now: Instant) -> Vec<Vec<u8>> {
        if self.timeout <= now
            && let Err(error) = self.dtls.handle_timeout(now)
        {
            self.error = Some(error);
        }
        self.drain()
    }
}

/// Client and server, joined by a link that loses what `lost` names: who sends
/// (client is true), and the how-manieth datagram of that side.
fn join(client: &mut Bare, server: &mut Bare, lost: &[(bool, usize)]) {
    let begin = Instant::now();
    while !(client.connected && server.connected) {
        let now = Instant::now();
        assert!(now - begin < Duration::from_secs(20), "not connected");
        let mut link: VecDeque<(bool, Vec<u8>)> = VecDeque::new();
        let send = |link: &mut VecDeque<_>, from: &Bare, active: bool, out: Vec<Vec<u8>>| {
            let first = from.sent - out.len();
            for (n, datagram) in out.into_iter().enumerate() {
                if !lost.contains(&(active, first + n)) {
                    link.push_back((active, datagram));
                }
            }
        };
        let out = client.tick(now);
        send(&mut link, client, true, out);
        let out = server.tick(now);
        send(&mut link, server, false, out);
        while let Some((from_client, datagram)) = link.pop_front() {
            let to = if from_client {
                &mut *server
            } else {
                &mut *client
            };
            let out = to.receive(&datagram);
            assert_eq!(to.error, None);
            send(&mut link, to, !from_client, out);
        }
        if !lost.is_empty() {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn bare_pair(mtu: usize) -> (Bare, Bare) {
    let now = Instant::now();
    let ecdsa = dimpl::certificate::generate_self_signed_certificate().unwrap();
    let client = Bare::new(rsa_certificate(), true, mtu, now);
    (client, Bare::new(ecdsa, false, mtu, now))
}

/// The hello, a flight in the middle and the last one are repeated when lost.
/// OpenSSL's timers run on the wall clock, so this takes real seconds.
#[test]
fn lost_flights_are_repeated() {
    for lost in [(true, 0), (false, 0), (true, 1)] {
        let (mut client, mut server) = bare_pair(1200);
        join(&mut client, &mut server, &[lost]);
        let keying = client.keying.as_ref().unwrap();
        assert_mirrored(keying, server.keying.as_ref().unwrap());
    }
    // The server is done when its last flight leaves; it repeats it when the
    // client repeats its own.
    let (mut client, mut server) = bare_pair(1200);
    join(&mut client, &mut server, &[]);
    let last = server.sent - 1;
    let (mut client, mut server) = bare_pair(1200);
    join(&mut client, &mut server, &[(false, last)]);
    assert!(client.connected && server.sent > last + 1);
}

#[test]
fn flights_keep_to_the_mtu() {
    for mtu in [300, 600, 1200] {
        let (mut client, mut server) = bare_pair(mtu);
        join(&mut client, &mut server, &[]);
        assert!(client.longest <= mtu, "{} of {mtu}", client.longest);
        assert!(server.longest <= mtu, "{} of {mtu}", server.longest);
        assert!(client.longest > mtu / 2);
    }
}

#[test]
fn data_flows_once_connected() {
    let (mut client, mut server) = bare_pair(1200);
    assert_eq!(client.dtls.send_application_data(b"early"), Ok(0));
    assert_eq!(client.dtls.protocol_version(), None);
    join(&mut client, &mut server, &[]);
    assert_eq!(
        client.dtls.protocol_version(),
        Some(ProtocolVersion::DTLS1_2)
    );
    assert_eq!(client.dtls.send_application_data(b"ping"), Ok(4));
    assert_eq!(client.dtls.send_application_data(b""), Ok(0));
    for datagram in client.drain() {
        assert_eq!(server.receive(&datagram), Vec::<Vec<u8>>::new());
        // A repeated record is taken once.
        server.receive(&datagram);
    }
    assert_eq!(server.data, [b"ping"]);
    server.dtls.close().unwrap();
    assert!(server.dtls.is_closing() && !server.dtls.is_closed());
    for datagram in server.drain() {
        client.receive(&datagram);
        client.receive(&datagram);
    }
    assert!(server.dtls.is_closed());
    assert!(client.closed && client.error.is_none());
    assert_eq!(
        server.dtls.send_application_data(b"late"),
        Err(DtlsImplError::ConnectionClosed)
    );
}

/// Outside bytes of any length, in every phase: nothing panics, and an
/// established session lives on.
#[test]
fn noise_is_survived() {
    let mut seed = 1_u32;
    let mut noise = move |length: usize| {
        let mut bytes: Vec<u8> = (0..length)
            .map(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (seed >> 24) as u8
            })
            .collect();
        // Half of it has a DTLS 1.2 record header.
        if length > 13 && seed.is_multiple_of(2) {
            let body = u16::try_from(length - 13).unwrap_or(u16::MAX).to_be_bytes();
            bytes[0] = 20 + (seed >> 8) as u8 % 4;
            bytes[1..5].copy_from_slice(&[254, 253, 0, (seed >> 16) as u8 % 2]);
            bytes[11..13].copy_from_slice(&body);
        }
        bytes
    };
    let lengths = [0, 1, 12, 13, 14, 25, 60, 300, 1200, 3000, 20_000, 65_507];
    for _ in 0..20 {
        for length in lengths {
            let (mut client, mut server) = bare_pair(1200);
            client.drain();
            client.receive(&noise(length));
            server.receive(&noise(length));
            server.tick(Instant::now());
        }
    }
    let (mut client, mut server) = bare_pair(1200);
    join(&mut client, &mut server, &[]);
    for _ in 0..50 {
        for length in lengths {
            server.receive(&noise(length));
            client.receive(&noise(length));
        }
    }
    assert_eq!((&client.error, &server.error), (&None, &None));
    assert_eq!(client.dtls.send_application_data(b"still here"), Ok(10));
    for datagram in client.drain() {
        server.receive(&datagram);
    }
    assert_eq!(server.data, [b"still here"]);
}

/// A client without a certificate is refused, and told so.
#[test]
fn a_peer_without_a_certificate_is_refused() {
    let mut builder = SslContextBuilder::new(SslMethod::dtls()).unwrap();
    builder.set_tlsext_use_srtp(SRTP_PROFILES).unwrap();
    builder.set_options(SslOptions::NO_QUERY_MTU);
    let mut ssl = Ssl::new(&builder.build()).unwrap();
    ssl.set_mtu(1200).unwrap();
    let mut client = SslStream::new(ssl, Wire::default()).unwrap();
    let (_, mut server) = bare_pair(1200);
    let mut told = None;
    let _ = client.connect();
    while let Some(datagram) = client.get_mut().outgoing.pop_front() {
        for answer in server.receive(&datagram) {
            client.get_mut().arrive(&answer);
            if let Err(e) = client.connect()
                && e.code() != ErrorCode::WANT_READ
            {
                told = Some(implementation_error(&e));
            }
        }
    }
    // The alert left first; the error is due with the next tick.
    let alert = |e| {
        matches!(
            e,
            Some(DtlsImplError::SecurityError(
                SecurityError::FatalAlert { .. }
            ))
        )
    };
    assert!(alert(told));
    assert_eq!(server.error, None);
    server.tick(Instant::now());
    assert!(server.error.is_some() && !server.connected && server.keying.is_none());
}
