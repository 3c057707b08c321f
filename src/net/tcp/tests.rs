//! Connections over loopback: framing, strangers, limits.

use std::io::{Read, Write};
use std::net::TcpStream as Client;

use mio::{Events, Poll};

use super::*;

const FIRST: usize = 100;

struct Bench {
    poll: Poll,
    port: TcpPort,
    frames: Vec<(SocketAddr, Vec<u8>)>,
    closed: Vec<SocketAddr>,
    start: Instant,
    /// No session is known at any connection.
    strangers: bool,
}

impl Bench {
    fn new(limits: TcpLimits) -> Self {
        let poll = Poll::new().expect("poll");
        let address = "127.0.0.1:0".parse().expect("address");
        let mut port = TcpPort::bind(address, false, limits).expect("bind");
        port.register(poll.registry(), Token(1), FIRST)
            .expect("register");
        Self {
            poll,
            port,
            frames: Vec::new(),
            closed: Vec::new(),
            start: Instant::now(),
            strangers: false,
        }
    }

    /// How many connections are left after so many seconds.
    fn left_after(&mut self, seconds: u64) -> usize {
        self.port.next_tick = Some(self.start);
        let now = self.start + Duration::from_secs(seconds);
        self.port.expire(now, |_| !self.strangers);
        self.port.connections()
    }

    fn client(&mut self) -> Client {
        let client = Client::connect(self.port.local()).expect("connect");
        client
            .set_read_timeout(Some(Duration::from_secs(5)))
            .expect("timeout");
        client
    }

    /// Runs the port until `done`, at the real time plus `ahead`.
    fn run(&mut self, ahead: Duration, done: impl Fn(&Self) -> bool) {
        let mut events = Events::with_capacity(16);
        while !done(self) {
            assert!(
                self.start.elapsed() < Duration::from_secs(10),
                "took too long"
            );
            let timeout = if self.port.has_more() { 0 } else { 10 };
            self.poll
                .poll(&mut events, Some(Duration::from_millis(timeout)))
                .expect("poll");
            let now = Instant::now() + ahead;
            let frames = &mut self.frames;
            let mut keep = |d: Datagram<'_>| {
                assert_eq!(d.proto, Proto::Tcp);
                frames.push((d.remote, d.bytes.to_vec()));
            };
            for event in &events {
                match event.token() {
                    Token(1) => self.port.accept(now),
                    _ => self.port.ready(event, now, &mut keep),
                }
            }
            self.port.resume(now, &mut keep);
            self.port.expire(now, |_| !self.strangers);
            while let Some(remote) = self.port.pop_closed() {
                self.closed.push(remote);
            }
        }
    }

    fn path(&self, client: &Client) -> Path {
        Path {
            proto: Proto::Tcp,
            local: self.port.local(),
            remote: client.local_addr().expect("address"),
        }
    }
}

fn framed(bytes: &[u8]) -> Vec<u8> {
    let mut all = (bytes.len() as u16).to_be_bytes().to_vec();
    all.extend_from_slice(bytes);
    all
}

const STUN: [u8; 20] = [0; 20];

#[test]
fn frames_come_whole_however_they_are_cut() {
    let mut bench = Bench::new(TcpLimits::default());
    let mut client = bench.client();
    let remote = client.local_addr().expect("address");
    let mut wanted = vec![(remote, STUN.to_vec())];
    let mut stream = framed(&STUN);
    for n in 0..100usize {
        let bytes = vec![n as u8; 1 + n * 20];
        stream.extend(framed(&bytes));
        if n % 10 == 0 {
            stream.extend(framed(&[]));
        }
        wanted.push((remote, bytes));
    }
    let (slow, fast) = stream.split_at(300);
    for byte in slow {
        client.write_all(&[*byte]).expect("write");
        bench.run(Duration::ZERO, |b| b.port.connections() == 1);
        let before = bench.port.connections();
        bench.run(Duration::ZERO, |_| before == 1);
    }
    client.write_all(fast).expect("write");
    bench.run(Duration::ZERO, |b| b.frames.len() >= wanted.len());
    assert_eq!(bench.frames, wanted);
    drop(client);
    bench.run(Duration::ZERO, |b| b.port.connections() == 0);
    assert_eq!(bench.closed, [remote]);
}

#[test]
fn the_arena_reaches_the_connection() {
    let mut bench = Bench::new(TcpLimits::default());
    let mut client = bench.client();
    client.write_all(&framed(&STUN)).expect("write");
    bench.run(Duration::ZERO, |b| b.frames.len() == 1);
    let path = bench.path(&client);
    assert!(bench.port.carries(&path));
    let nobody = Path {
        remote: ([127, 0, 0, 1], 1).into(),
        ..path
    };
    let mut arena = SendArena::new(10_000, 100);
    assert!(arena.push(path, &[1; 500]));
    assert!(arena.push(path, &[2; 500]));
    assert!(arena.push(nobody, &[3; 500]));
    assert!(arena.push(path, &[4; 90]));
    let report = bench.port.send(&arena, Instant::now());
    assert_eq!((report.datagrams, report.bytes), (3, 1090));
    assert!(!bench.port.carries(&nobody));
    let wanted = [framed(&[1; 500]), framed(&[2; 500]), framed(&[4; 90])].concat();
    let mut got = vec![0; wanted.len()];
    client.read_exact(&mut got).expect("read");
    assert_eq!(got, wanted);
    bench.port.close_key(0);
    assert!(!bench.port.carries(&path));
    assert_eq!(client.read(&mut got).expect("end"), 0);
}

#[test]
fn a_connection_that_takes_nothing_loses_frames_and_is_closed() {
    let mut bench = Bench::new(TcpLimits::default());
    let mut client = bench.client();
    client.write_all(&framed(&STUN)).expect("write");
    bench.run(Duration::ZERO, |b| b.frames.len() == 1);
    let path = bench.path(&client);
    let mut arena = SendArena::new(100_000, 100);
    while arena.push(path, &[7; 1000]) {}
    let mut sent = 0;
    for _ in 0..200 {
        sent += bench.port.send(&arena, Instant::now()).datagrams;
    }
    let dropped = bench.port.take_drops().get(DropReason::TcpBackpressure);
    assert!(dropped > 0);
    assert_eq!(sent + dropped, 200 * arena.len() as u64);
    let kept = &bench
        .port
        .connections
        .iter()
        .next()
        .expect("connection")
        .1
        .waiting;
    assert!(
        kept.capacity() <= 4 * connection::MAX_WRITE,
        "{}",
        kept.capacity()
    );
    bench.run(Duration::from_secs(7), |b| b.port.connections() == 0);
    // What did arrive is whole frames and the beginning of one.
    let mut got = Vec::new();
    let _ = client.read_to_end(&mut got);
    assert!(!got.is_empty());
    for frame in got.chunks_exact(1002) {
        assert!(frame == framed(&[7; 1000]));
    }
}

#[test]
fn strangers_are_shown_out() {
    for bytes in [framed(&[0x80; 40]), b"GET / HTTP/1.1\r\n\r\n".to_vec()] {
        let mut bench = Bench::new(TcpLimits::default());
        let mut client = bench.client();
        client.write_all(&bytes).expect("write");
        bench.run(Duration::ZERO, |b| !b.closed.is_empty());
        assert!(bench.frames.is_empty());
        assert_eq!(bench.port.take_drops().total(), 1);
    }
    // Nor does it help to say something that looks like a check now and then.
    for says in [&[][..], &framed(&[0; 20])] {
        let mut bench = Bench::new(TcpLimits::default());
        bench.strangers = true;
        let mut client = bench.client();
        client.write_all(says).expect("write");
        bench.run(Duration::ZERO, |b| {
            b.port.connections() == 1 && b.frames.is_empty() == says.is_empty()
        });
        assert_eq!(bench.left_after(9), 1);
        assert_eq!(bench.left_after(11), 0);
        assert!(bench.port.next_deadline().is_none());
    }
    let mut known = Bench::new(TcpLimits::default());
    let mut client = known.client();
    client.write_all(&framed(&[0; 20])).expect("write");
    known.run(Duration::ZERO, |b| !b.frames.is_empty());
    assert_eq!(known.left_after(59), 1);
    assert_eq!(known.left_after(62), 0);
}

#[test]
fn an_address_of_ipv6_counts_with_its_neighbours() {
    let owner = |address: &str| AddressKey::of(address.parse().expect("an address"));
    assert_eq!(owner("2001:db8:1:2::3"), owner("2001:db8:1:2:ffff::4"));
    assert_ne!(owner("2001:db8:1:2::3"), owner("2001:db8:1:3::3"));
    assert_eq!(owner("::ffff:192.0.2.1"), owner("192.0.2.1"));
    assert_ne!(owner("192.0.2.1"), owner("192.0.2.2"));
}

#[test]
fn connections_are_limited_per_address_and_in_total() {
    let limits = TcpLimits {
        per_address: 3,
        ..TcpLimits::default()
    };
    let mut bench = Bench::new(limits);
    let clients: Vec<_> = (0..5).map(|_| bench.client()).collect();
    bench.run(Duration::ZERO, |b| {
        b.port.connections() == 3 && b.port.drops.get(DropReason::SessionTableFull) == 2
    });
    drop(clients);
    bench.run(Duration::ZERO, |b| b.port.connections() == 0);
    assert!(bench.port.per_address.is_empty());
    let _again = bench.client();
    bench.run(Duration::ZERO, |b| b.port.connections() == 1);
    let limits = TcpLimits {
        total: 2,
        ..TcpLimits::default()
    };
    let mut bench = Bench::new(limits);
    let _clients: Vec<_> = (0..3).map(|_| bench.client()).collect();
    bench.run(Duration::ZERO, |b| {
        b.port.connections() == 2 && b.port.drops.get(DropReason::SessionTableFull) == 1
    });
}

#[test]
fn of_several_with_more_to_read_each_gets_its_turn() {
    let mut bench = Bench::new(TcpLimits::default());
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    // They send as fast as they can, which is faster than they are read here.
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let (mut client, stop) = (bench.client(), stop.clone());
            let from = client.local_addr().expect("address");
            let thread = std::thread::spawn(move || {
                let more = framed(&[0x80; 2000]).repeat(100);
                let _ = client.write_all(&framed(&STUN));
                while !stop.load(std::sync::atomic::Ordering::Relaxed)
                    && client.write_all(&more).is_ok()
                {}
            });
            (from, thread)
        })
        .collect();
    let mut events = Events::with_capacity(16);
    let mut frames: Vec<SocketAddr> = Vec::new();
    while bench.port.unfinished.len() < 3 {
        assert!(
            bench.start.elapsed() < Duration::from_secs(10),
            "took too long"
        );
        let timeout = Some(Duration::from_millis(10));
        bench.poll.poll(&mut events, timeout).expect("poll");
        for event in &events {
            match event.token() {
                Token(1) => bench.port.accept(Instant::now()),
                _ => bench.port.ready(event, Instant::now(), &mut |_| {}),
            }
        }
    }
    std::thread::sleep(Duration::from_millis(100)); // until their windows are full
    let waiting = bench.port.unfinished.clone();
    bench
        .port
        .resume(Instant::now(), &mut |d| frames.push(d.remote));
    assert_eq!(waiting.len(), 3);
    for (from, _) in &threads {
        assert!(frames.contains(from), "one was left out");
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    drop(bench);
    for (_, thread) in threads {
        thread.join().expect("a client");
    }
}
