//! What a viewer costs that joins, waits and watches: CPU from its offer to its
//! connection (SDP, ICE, DTLS, keys; not HTTP), and memory. Beside it, in the same run, two
//! floors: the handshake alone, and what of it is elliptic curves.
//!
//! ```text
//! cargo bench --bench connect
//! ```
#![allow(unsafe_code, missing_docs)]

#[path = "peer.rs"]
#[allow(dead_code)]
mod peer;
#[path = "stage.rs"]
#[allow(dead_code)]
mod stage;

use std::hint::black_box;
use std::time::{Duration, Instant};

use aws_lc_rs::agreement::{self, EphemeralPrivateKey, X25519, agree_ephemeral};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair,
    UnparsedPublicKey,
};
use str0m::crypto::dtls::DtlsOutput;
use weir::net::SendArena;
use weir::net::sys::thread_cpu_time;
use weir::peer::crypto::{Crypto, take_keying};
use weir::peer::negotiate::PeerKeys;

use peer::{Peer, Profiles};
use stage::{Stage, Watch};

const VIEWERS: usize = 300;

/// Bytes that are allocated, by whatever language.
fn allocated() -> i64 {
    // SAFETY: it only reads the allocator's own numbers.
    let info = unsafe { libc::mallinfo2() };
    (info.uordblks + info.hblkhd) as i64
}

/// CPU and memory of the core's steps.
#[derive(Default)]
struct Meter {
    cpu: Duration,
    bytes: i64,
    begun: Option<(Duration, i64)>,
    memory: bool,
}

impl Watch for Meter {
    fn begin(&mut self) {
        let bytes = if self.memory { allocated() } else { 0 };
        self.begun = Some((thread_cpu_time(), bytes));
    }

    fn end(&mut self) {
        let now = thread_cpu_time();
        if let Some((cpu, bytes)) = self.begun.take() {
            self.cpu += now - cpu;
            if self.memory {
                self.bytes += allocated() - bytes;
            }
        }
    }
}

/// Microseconds of CPU a viewer: the median.
fn cpu(keys: PeerKeys) -> f64 {
    let mut stage = Stage::new();
    stage.publish();
    median(|| {
        let mut meter = Meter::default();
        stage.view(Profiles::Gcm, keys, &mut meter);
        meter.cpu
    })
}

/// Microseconds of CPU of `work`: the median.
fn median(mut work: impl FnMut() -> Duration) -> f64 {
    let mut micros: Vec<f64> = (0..VIEWERS).map(|_| work().as_secs_f64() * 1e6).collect();
    micros.sort_by(f64::total_cmp);
    micros[micros.len() / 2]
}

/// The server's side of a DTLS handshake, and nothing around it.
fn handshake(keys: PeerKeys) -> f64 {
    let crypto = Crypto::new().expect("crypto");
    let mut number = 0;
    median(|| {
        number += 1;
        let mut peer = Peer::new(number, Profiles::Gcm);
        peer.handshake();
        let (mut cpu, now) = (Duration::ZERO, Instant::now());
        let mut timed = |work: &mut dyn FnMut()| {
            let begun = thread_cpu_time();
            work();
            cpu += thread_cpu_time() - begun;
        };
        let mut server = None;
        timed(&mut || {
            let (mut endpoint, _) = crypto.endpoint(keys, now).expect("an endpoint");
            endpoint.set_active(false);
            endpoint.handle_timeout(now).expect("it begins");
            server = Some(endpoint);
        });
        let mut server = server.expect("an endpoint");
        for _ in 0..20 {
            let mut flight = Vec::new();
            let incoming = std::mem::take(&mut peer.outgoing);
            timed(&mut || {
                for datagram in &incoming {
                    server.handle_packet(datagram).expect("it is taken");
                }
                let mut buffer = [0; 2048];
                loop {
                    match server.poll_output(&mut buffer) {
                        DtlsOutput::Packet(datagram) => flight.push(datagram.to_vec()),
                        DtlsOutput::Timeout(_) => break,
                        _ => {}
                    }
                }
            });
            let _ = take_keying();
            for datagram in flight {
                peer.receive(&datagram);
            }
            if peer.is_connected() {
                return cpu;
            }
        }
        panic!("no connection");
    })
}

/// What a server can't do without: a key of its own, the shared secret, its signature, and the
/// check of the peer's.
fn curves() -> f64 {
    let random = SystemRandom::new();
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).expect("a key");
    let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, pair.public_key().as_ref());
    let peer = EphemeralPrivateKey::generate(&X25519, &random).expect("a key");
    let peer = peer.compute_public_key().expect("its public half");
    median(|| {
        let begun = thread_cpu_time();
        let own = EphemeralPrivateKey::generate(&X25519, &random).expect("a key");
        own.compute_public_key().expect("its public half");
        let peer = agreement::UnparsedPublicKey::new(&X25519, peer.as_ref());
        agree_ephemeral(own, peer, (), |secret| Ok(black_box(secret[0]))).expect("a secret");
        let signature = pair.sign(&random, b"parameters").expect("a signature");
        public
            .verify(b"parameters", signature.as_ref())
            .expect("the right one");
        thread_cpu_time() - begun
    })
}

/// Bytes a connected viewer holds before media, and with it.
fn memory(keys: PeerKeys) -> (i64, i64) {
    let mut stage = Stage::new();
    stage.publish();
    let mut meter = Meter {
        memory: true,
        ..Meter::default()
    };
    for _ in 0..VIEWERS {
        stage.view(Profiles::Gcm, keys, &mut meter);
    }
    let idle = meter.bytes / VIEWERS as i64;
    for second in 0..4 {
        for n in 0..30 {
            let picture = stage.picture(second == 0 && n == 0, 300);
            // What the track keeps of the publisher's is no viewer's.
            for bytes in &picture {
                stage.deliver(0, bytes, &mut ());
            }
            let now = stage.now;
            meter.begin();
            // What is sent is dropped at once: it is no viewer's either.
            stage
                .core
                .turn(now, &mut |arena: &mut SendArena| arena.clear());
            stage.core.outputs.events.clear();
            meter.end();
        }
    }
    (idle, meter.bytes / VIEWERS as i64)
}

fn main() {
    println!("DTLS       µs to connect   handshake    ×   kB idle   kB active");
    for (name, keys) in [("dimpl", PeerKeys::Ecdsa), ("OpenSSL", PeerKeys::Unknown)] {
        let (idle, active) = memory(keys);
        let (join, floor) = (cpu(keys), handshake(keys));
        println!(
            "{name:<10} {join:>13.0} {floor:>11.0} {:>4.2} {:>9.1} {:>11.1}",
            join / floor,
            idle as f64 / 1e3,
            active as f64 / 1e3
        );
    }
    println!("elliptic curves {:>8.0}", curves());
}
