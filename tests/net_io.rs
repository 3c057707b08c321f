//! The sockets' cost a datagram: no allocation, and nanoseconds of CPU. To see the latter:
//! `cargo test --profile quick --test net_io -- --ignored --nocapture`.
#![allow(unsafe_code)]

#[path = "support/counting.rs"]
mod counting;

use std::net::SocketAddr;
use std::time::Duration;

use weir::net::sys::thread_cpu_time;
use weir::net::{AddressTable, Path, Proto, RecvBatch, SendArena, UdpOptions, UdpPort};

use counting::allocations;

const SIZE: usize = 1150;

struct Pair {
    from: UdpPort,
    to: UdpPort,
    arena: SendArena,
    batch: RecvBatch,
    table: AddressTable,
    path: Path,
}

#[derive(Default)]
struct Cost {
    datagrams: u64,
    send: Duration,
    receive: Duration,
    syscalls: u64,
}

impl Pair {
    fn new() -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let from = UdpPort::bind(any, UdpOptions::default()).expect("bind");
        let to = UdpPort::bind(any, UdpOptions::default()).expect("bind");
        let path = Path {
            proto: Proto::Udp,
            local: from.local(),
            remote: to.local(),
        };
        let mut table = AddressTable::with_capacity(16);
        table.insert(Proto::Udp, from.local(), 3);
        Self {
            from,
            to,
            arena: SendArena::new(1 << 20, 1024),
            batch: RecvBatch::new(),
            table,
            path,
        }
    }

    /// Sends and receives `runs` runs of `segments` datagrams.
    fn round(&mut self, runs: usize, segments: usize, cost: &mut Cost) {
        let begin = thread_cpu_time();
        self.arena.clear();
        for run in 0..runs {
            for n in 0..segments {
                // A shorter last one ends a run, a longer one begins the next.
                let len = match segments {
                    1 => SIZE - runs + run,
                    _ => SIZE - usize::from(n + 1 == segments),
                };
                let room = self.arena.reserve(self.path, SIZE).expect("room");
                room[0] = 0x80;
                self.arena.commit(len);
            }
        }
        let report = self.from.send(&self.arena);
        let sent = thread_cpu_time();
        let wanted = (runs * segments) as u64;
        assert_eq!(self.arena.runs().len(), runs);
        assert_eq!((report.datagrams, report.dropped_full), (wanted, 0));
        let mut seen = 0;
        for _ in 0..10_000 {
            if seen == wanted {
                break;
            }
            self.to.receive(&mut self.batch).expect("receive");
            for datagram in self.batch.iter() {
                assert_eq!(
                    weir::net::classify::classify(datagram.bytes),
                    Ok(weir::net::classify::Class::Rtp)
                );
                assert_eq!(self.table.get(datagram.proto, datagram.remote), Some(3));
                seen += 1;
            }
        }
        assert_eq!(seen, wanted, "nothing is lost on loopback");
        cost.datagrams += wanted;
        cost.syscalls += report.syscalls;
        cost.send += sent - begin;
        cost.receive += thread_cpu_time() - sent;
    }
}

#[test]
fn sending_and_receiving_allocate_nothing() {
    let mut pair = Pair::new();
    let mut cost = Cost::default();
    pair.round(32, 8, &mut cost);
    let before = allocations();
    for _ in 0..20 {
        pair.round(32, 8, &mut cost);
        pair.round(64, 1, &mut cost);
    }
    assert_eq!(allocations() - before, 0, "in {} datagrams", cost.datagrams);
    drop(vec![1u8; 10]);
    assert!(allocations() > before, "the counter counts");
}

#[test]
#[ignore = "prints a measurement"]
fn cost_of_a_datagram() {
    for (segments, gso) in [(1, true), (4, true), (8, true), (32, true), (8, false)] {
        let mut pair = Pair::new();
        if !gso {
            pair.from.disable_gso();
        }
        let mut cost = Cost::default();
        for _ in 0..20 {
            pair.round(256 / segments, segments, &mut cost);
        }
        let mut cost = Cost::default();
        for _ in 0..400 {
            pair.round(256 / segments, segments, &mut cost);
        }
        let each = |time: Duration| time.as_nanos() as u64 / cost.datagrams;
        println!(
            "runs of {segments:2}{}: send {:5} ns, receive {:5} ns a datagram of {SIZE} bytes, {:.3} sendmmsg",
            if gso { "" } else { " without GSO" },
            each(cost.send),
            each(cost.receive),
            cost.syscalls as f64 / cost.datagrams as f64,
        );
    }
}
