//! What forwarding costs: a real worker core with 1, 100 and 1000 viewers that
//! made real handshakes, beside the raw floor (copy, AES-GCM seal, the same
//! batched sends) in the same run.
//!
//! ```text
//! cargo bench --bench forwarding
//! ```
//!
//! Machines are noisy: read the ratios, not the nanoseconds.
#![allow(unsafe_code, missing_docs)]

#[path = "../support/counting.rs"]
mod counting;
#[path = "peer.rs"]
#[allow(dead_code)]
mod peer;
#[path = "stage.rs"]
#[allow(dead_code)]
mod stage;

use std::net::{SocketAddr, UdpSocket};
use std::time::Instant;

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use weir::net::{Datagram, Path, Proto, SendArena, UdpOptions, UdpPort, sys};
use weir::worker::Input;

use counting::allocations;
use stage::{PAYLOAD as SIZE, PICTURE, Stage};

/// Pictures measured, in rounds; the median round counts.
const ROUNDS: usize = 15;

/// Where the datagrams go.
enum Sink {
    /// Nowhere: the core alone.
    Discard,
    /// Through the kernel to one socket on loopback that nobody reads: what
    /// does not fit its buffer the kernel drops after the full way.
    Loopback {
        port: Box<UdpPort>,
        to: SocketAddr,
        _end: UdpSocket,
    },
}

impl Sink {
    fn loopback() -> Self {
        let end = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let to = end.local_addr().expect("its address");
        let port = UdpPort::bind(SocketAddr::from(([127, 0, 0, 1], 0)), UdpOptions::default())
            .expect("a port");
        Self::Loopback {
            port: Box::new(port),
            to,
            _end: end,
        }
    }

    fn take(&mut self, arena: &mut SendArena, copy: &mut SendArena) -> u64 {
        let count = arena.len() as u64;
        if let Self::Loopback { port, to, _end } = self {
            // The same runs to an address that exists; each source keeps its
            // own run, as with many viewers.
            copy.clear();
            let local = port.local();
            for run in arena.runs() {
                let path = Path {
                    proto: Proto::Udp,
                    local,
                    remote: *to,
                };
                for datagram in run.datagrams() {
                    copy.push(path, datagram);
                }
                port.send(copy);
                copy.clear();
            }
        }
        arena.clear();
        count
    }
}

#[derive(Debug, Clone, Copy)]
struct Cost {
    nanos: f64,
    allocations: f64,
}

fn median(mut costs: Vec<Cost>) -> Cost {
    costs.sort_by(|a, b| a.nanos.total_cmp(&b.nanos));
    costs[costs.len() / 2]
}

/// A core with `viewers` connected viewers of one publisher.
fn connected(viewers: usize) -> Stage {
    let mut stage = Stage::new();
    stage.publish();
    stage.views(viewers);
    stage.warm_up();
    stage
}

/// Pushes the publisher's pictures through the core and measures only that.
fn core_cost(viewers: usize, sink: &mut Sink) -> Cost {
    let mut stage = connected(viewers);
    let mut copy = SendArena::new(1 << 20, 64);
    let publisher = stage.peers[0].address;
    let mut costs = Vec::new();
    let pictures = (3000 / viewers.max(1)).clamp(3, 60);
    for _ in 0..ROUNDS {
        let (mut nanos, mut packets, mut allocated) = (0u128, 0u64, 0u64);
        for _ in 0..pictures {
            let picture = stage.picture(false, 0);
            let (now, core) = (stage.now, &mut stage.core);
            let (before, started) = (allocations(), sys::thread_cpu_time());
            for bytes in &picture {
                let datagram = Datagram {
                    proto: Proto::Udp,
                    local: ([10, 0, 0, 1], 7882).into(),
                    remote: publisher,
                    waited: std::time::Duration::ZERO,
                    bytes,
                };
                core.handle(now, Input::Datagram(datagram));
            }
            core.turn(now, &mut |arena: &mut SendArena| {
                packets += sink.take(arena, &mut copy);
            });
            nanos += (sys::thread_cpu_time() - started).as_nanos();
            allocated += allocations() - before;
            core.outputs.events.clear();
        }
        costs.push(Cost {
            nanos: nanos as f64 / packets as f64,
            allocations: allocated as f64 / packets as f64,
        });
    }
    median(costs)
}

/// Copy, seal and send of the same packets to as many receivers, nothing else.
fn floor_cost(viewers: usize, sink: &mut Sink) -> Cost {
    let keys: Vec<LessSafeKey> = (0..viewers)
        .map(|i| {
            let key = [i as u8; 16];
            LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key).expect("a key"))
        })
        .collect();
    let payload = vec![7u8; SIZE];
    let mut arena = SendArena::new(1 << 20, 1024);
    let mut copy = SendArena::new(1 << 20, 64);
    let mut nonce = 0u64;
    let mut costs = Vec::new();
    let pictures = (3000 / viewers.max(1)).clamp(3, 60);
    for _ in 0..ROUNDS {
        let (mut packets, started) = (0u64, sys::thread_cpu_time());
        for _ in 0..pictures {
            for (i, key) in keys.iter().enumerate() {
                let path = Path {
                    proto: Proto::Udp,
                    local: ([10, 0, 0, 1], 7882).into(),
                    remote: SocketAddr::from(([10, 1, (i >> 8) as u8, i as u8], 5000)),
                };
                if arena.room() < 32 * 1024 {
                    packets += sink.take(&mut arena, &mut copy);
                }
                for _ in 0..PICTURE {
                    nonce += 1;
                    let room = arena.reserve(path, 12 + SIZE + 16).expect("room");
                    let (header, body) = room.split_at_mut(12);
                    body[..SIZE].copy_from_slice(&payload);
                    let mut iv = [0; 12];
                    iv[4..].copy_from_slice(&nonce.to_be_bytes());
                    let tag = key
                        .seal_in_place_separate_tag(
                            Nonce::assume_unique_for_key(iv),
                            Aad::from(&*header),
                            &mut body[..SIZE],
                        )
                        .expect("a seal");
                    body[SIZE..SIZE + 16].copy_from_slice(tag.as_ref());
                    arena.commit(12 + SIZE + 16);
                }
            }
            packets += sink.take(&mut arena, &mut copy);
        }
        let nanos = (sys::thread_cpu_time() - started).as_nanos();
        costs.push(Cost {
            nanos: nanos as f64 / packets as f64,
            allocations: 0.0,
        });
    }
    median(costs)
}

fn main() {
    let quick = std::env::args().any(|a| a == "--quick");
    let began = Instant::now();
    println!(
        "ns of CPU per forwarded packet of {SIZE} bytes, {PICTURE} a picture (AES-GCM; median of {ROUNDS} rounds)"
    );
    println!("viewers   core  floor  ratio   core+send  floor+send  ratio   allocations/packet");
    for viewers in [1, 100, 1000] {
        if quick && viewers > 100 {
            break;
        }
        let core = core_cost(viewers, &mut Sink::Discard);
        let floor = floor_cost(viewers, &mut Sink::Discard);
        let core_send = core_cost(viewers, &mut Sink::loopback());
        let floor_send = floor_cost(viewers, &mut Sink::loopback());
        println!(
            "{viewers:>7} {:>6.0} {:>6.0} {:>6.2} {:>11.0} {:>11.0} {:>6.2} {:>12.3}",
            core.nanos,
            floor.nanos,
            core.nanos / floor.nanos,
            core_send.nanos,
            floor_send.nanos,
            core_send.nanos / floor_send.nanos,
            core.allocations,
        );
    }
    println!(
        "allocations are those of taking the packet in (the engine's, once a packet): with one viewer a packet bears them alone\n{:?} in all",
        began.elapsed()
    );
}
