//! Sockets over loopback: runs, addresses, refusals, the patient socket.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use super::send::REFUSALS;
use super::*;
use crate::net::arena::SendArena;

fn port(address: &str) -> UdpPort {
    UdpPort::bind(address.parse().expect("address"), UdpOptions::default()).expect("bind")
}

fn path(from: &UdpPort, local: &str, remote: SocketAddr) -> Path {
    Path {
        proto: Proto::Udp,
        local: SocketAddr::new(local.parse().expect("ip"), from.local().port()),
        remote,
    }
}

type Seen = (SocketAddr, SocketAddr, Vec<u8>);

/// Reads until `wanted` datagrams came.
fn read(port: &mut UdpPort, wanted: usize) -> Vec<Seen> {
    let mut batch = RecvBatch::new();
    let mut seen = Vec::new();
    let end = Instant::now() + Duration::from_secs(5);
    while seen.len() < wanted && Instant::now() < end {
        let count = port.receive(&mut batch).expect("receive");
        assert_eq!(count, batch.iter().count());
        for datagram in batch.iter() {
            assert_eq!(datagram.proto, Proto::Udp);
            seen.push((datagram.local, datagram.remote, datagram.bytes.to_vec()));
        }
    }
    seen
}

/// Runs of several shapes arrive whole, in order and with both addresses right.
fn exchange(from: &str, to: &str, from_ip: &str, to_ip: &str, gso: bool) {
    let mut from = port(from);
    let sole = SoleAddress::default();
    sole.look().expect("addresses");
    from.follow(sole);
    if !gso {
        from.disable_gso();
    }
    let mut to = port(to);
    let remote = SocketAddr::new(to_ip.parse().expect("ip"), to.local().port());
    let path = path(&from, from_ip, remote);
    let mut arena = SendArena::new(1 << 20, 1000);
    let mut sent = Vec::new();
    for (n, len) in (0..200usize).map(|n| (n, [1150, 1150, 1150, 700, 90][(n / 7) % 5])) {
        let bytes = vec![n as u8; len];
        assert!(arena.push(path, &bytes));
        sent.push(bytes);
    }
    let report = from.send(&arena);
    let bytes = sent.iter().map(Vec::len).sum::<usize>() as u64;
    assert_eq!((report.datagrams, report.bytes), (200, bytes));
    assert_eq!((report.dropped_full, report.errors), (0, 0));
    assert!(report.syscalls <= if gso { 2 } else { 60 }, "{report:?}");
    let seen = read(&mut to, sent.len());
    assert_eq!(seen.len(), sent.len());
    for ((local, remote, bytes), wanted) in seen.into_iter().zip(sent) {
        assert_eq!((local, remote), (path.remote, path.local));
        assert!(bytes == wanted);
    }
}

#[test]
fn runs_arrive_as_the_datagrams_they_were() {
    exchange("127.0.0.1:0", "127.0.0.1:0", "127.0.0.1", "127.0.0.1", true);
    exchange("[::1]:0", "[::1]:0", "::1", "::1", true);
}

#[test]
fn runs_arrive_without_gso_too() {
    exchange(
        "127.0.0.1:0",
        "127.0.0.1:0",
        "127.0.0.1",
        "127.0.0.1",
        false,
    );
    exchange("[::]:0", "[::]:0", "::1", "::1", false);
}

#[test]
fn wildcard_sockets_know_and_choose_the_local_address() {
    exchange("0.0.0.0:0", "0.0.0.0:0", "127.0.0.3", "127.0.0.9", true);
    exchange("[::]:0", "0.0.0.0:0", "127.0.0.3", "127.0.0.9", true);
    exchange("0.0.0.0:0", "[::]:0", "127.0.0.3", "127.0.0.9", true);
    exchange("[::]:0", "[::]:0", "::1", "::1", true);
}

#[test]
fn what_the_kernel_chooses_by_itself_is_the_address_that_was_wanted() {
    exchange("0.0.0.0:0", "0.0.0.0:0", "127.0.0.1", "127.0.0.9", true);
    exchange("[::]:0", "[::]:0", "127.0.0.1", "127.0.0.1", true);
    // Such as this machine has.
    let sole = SoleAddress::default();
    sole.look().expect("addresses");
    if let Some(ip) = sole.get() {
        let ip = ip.to_string();
        exchange("[::]:0", "[::]:0", &ip, &ip, true);
        exchange("[::]:0", "[::]:0", "127.0.0.1", &ip, true);
    }
}

#[test]
fn runs_in_two_pieces_arrive_as_the_datagrams_they_were() {
    for gso in [true, false] {
        let mut from = port("127.0.0.1:0");
        if !gso {
            from.disable_gso();
        }
        let mut viewers = [port("127.0.0.1:0"), port("127.0.0.1:0")];
        let paths = [0, 1].map(|n: usize| path(&from, "127.0.0.1", viewers[n].local()));
        let mut arena = SendArena::new(1 << 20, 100);
        let mut sent = [Vec::new(), Vec::new()];
        // Pictures to both, sound to both, and a second voice that goes with the sound.
        let tracks = [(3, 1100), (1, 90), (1, 80), (1, 90), (2, 70)];
        for (track, (count, size)) in (0u8..).zip(tracks) {
            for (path, sent) in paths.iter().zip(&mut sent) {
                for n in 0..count {
                    let bytes = vec![track * 16 + n; size];
                    assert!(arena.push(*path, &bytes));
                    sent.push(bytes);
                }
            }
        }
        let total = sent.iter().flatten().map(Vec::len).sum::<usize>() as u64;
        let report = from.send(&arena);
        assert_eq!((report.datagrams, report.bytes), (16, total));
        assert_eq!((report.dropped_full, report.errors), (0, 0));
        for (viewer, sent) in viewers.iter_mut().zip(sent) {
            let seen = read(viewer, sent.len());
            assert!(seen.into_iter().map(|(_, _, bytes)| bytes).eq(sent));
        }
        assert_eq!(from.has_gso(), gso);
    }
}

#[test]
fn a_refused_destination_costs_only_its_own_datagrams() {
    let mut from = port("0.0.0.0:0");
    let mut to = port("127.0.0.1:0");
    let good = path(&from, "127.0.0.1", to.local());
    // A source address that no interface has, and a broadcast without permission.
    let bad = [
        path(&from, "192.0.2.77", to.local()),
        path(&from, "0.0.0.0", ([255, 255, 255, 255], 9).into()),
    ];
    let mut arena = SendArena::new(1 << 20, 100);
    for n in 0..10u8 {
        assert!(arena.push(good, &[n; 100]));
        assert!(arena.push(bad[usize::from(n) % 2], &[0; 100]));
        assert!(arena.push(bad[usize::from(n) % 2], &[0; 100]));
    }
    let had_gso = from.has_gso();
    let report = from.send(&arena);
    assert_eq!(
        (report.datagrams, report.errors, report.dropped_full),
        (10, 20, 0)
    );
    assert_eq!(from.has_gso(), had_gso, "no fault of GSO");
    let seen = read(&mut to, 10);
    for (n, (_, _, bytes)) in seen.iter().enumerate() {
        assert_eq!(bytes, &vec![n as u8; 100]);
    }
}

#[test]
fn too_long_datagrams_leave_gso_on() {
    let mut from = port("127.0.0.1:0");
    let to = port("127.0.0.1:0");
    let to = path(&from, "127.0.0.1", to.local());
    let mut arena = SendArena::new(1 << 20, 100);
    assert!(arena.push(to, &vec![0; 65_530]));
    assert!(arena.push(to, &[1; 50]));
    let had_gso = from.has_gso();
    let report = from.send(&arena);
    assert_eq!((report.datagrams, report.errors), (1, 1));
    assert_eq!(from.has_gso(), had_gso);
}

#[test]
fn a_full_receiver_blocks_nobody() {
    let mut from = port("127.0.0.1:0");
    let to = port("127.0.0.1:0");
    let to = path(&from, "127.0.0.1", to.local());
    let mut arena = SendArena::new(4 << 20, 10_000);
    while arena.push(to, &[0; 1000]) {}
    let start = Instant::now();
    for _ in 0..20 {
        let report = from.send(&arena);
        assert_eq!(
            report.datagrams + report.dropped_full + report.errors,
            arena.len() as u64
        );
    }
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn only_paths_of_the_socket_are_sent() {
    let v4 = port("127.0.0.1:0");
    let v6 = UdpPort::bind(
        "[::]:0".parse().expect("address"),
        UdpOptions {
            only_v6: true,
            ..UdpOptions::default()
        },
    )
    .expect("bind");
    let both = port("[::]:0");
    let to_v4 = path(&v4, "127.0.0.1", ([10, 0, 0, 1], 9).into());
    let to_v6 = path(&v6, "::1", "[2001:db8::1]:9".parse().expect("address"));
    assert!(v4.carries(&to_v4) && !v4.carries(&to_v6));
    assert!(!v6.carries(&to_v4) && v6.carries(&to_v6));
    assert!(both.carries(&to_v4) && both.carries(&to_v6));
    let other_source = path(&v4, "127.0.0.2", to_v4.remote);
    assert!(!v4.carries(&other_source) && both.carries(&other_source));
    let tcp = Path {
        proto: Proto::Tcp,
        ..to_v4
    };
    assert!(!v4.carries(&tcp) && !both.carries(&tcp));
}

#[test]
fn a_busy_port_and_a_foreign_address_are_told() {
    let taken = UdpSocket::bind("127.0.0.1:0").expect("bind");
    let address = taken.local_addr().expect("address");
    let error = UdpPort::bind(address, UdpOptions::default()).expect_err("busy");
    assert!(matches!(error, BindError::Busy { .. }));
    assert!(error.to_string().contains("is in use"), "{error}");
    let error = UdpPort::bind(([192, 0, 2, 77], 0).into(), UdpOptions::default());
    assert!(matches!(error, Err(BindError::NotLocal { .. })));
}

#[test]
fn empty_datagrams_are_counted_and_left_out() {
    let mut to = port("127.0.0.1:0");
    let from = UdpSocket::bind("127.0.0.1:0").expect("bind");
    from.send_to(&[], to.local()).expect("send");
    let mut batch = RecvBatch::new();
    let end = Instant::now() + Duration::from_secs(5);
    while batch.malformed() == 0 && Instant::now() < end {
        assert_eq!(to.receive(&mut batch).expect("receive"), 0);
    }
    assert_eq!(batch.malformed(), 1);
    assert!(batch.is_empty() && !batch.is_full());
}

fn with_lanes(address: &str) -> UdpPort {
    let options = UdpOptions {
        lanes: true,
        ..UdpOptions::default()
    };
    UdpPort::bind(address.parse().expect("address"), options).expect("bind")
}

/// All that waits in both sockets, as what is to be taken at once and what may wait.
fn sorted(port: &mut UdpPort) -> [Vec<Vec<u8>>; 2] {
    let mut batch = RecvBatch::new();
    let mut lanes = [Vec::new(), Vec::new()];
    while port.receive(&mut batch).expect("receive") > 0 {
        lanes[0].extend(batch.iter().map(|datagram| datagram.bytes.to_vec()));
    }
    while port.receive_patient(&mut batch).expect("receive") > 0 {
        lanes[1].extend(batch.iter().map(|datagram| datagram.bytes.to_vec()));
    }
    lanes
}

#[test]
fn checks_and_receivers_reports_come_by_the_patient_socket_and_all_else_by_the_other() {
    use crate::net::classify::{Class, classify};
    for (address, from) in [("127.0.0.1:0", "127.0.0.1:0"), ("[::]:0", "127.0.0.1:0")] {
        let mut port = with_lanes(address);
        assert!(port.patient_fd().is_some());
        let from = UdpSocket::bind(from).expect("bind");
        from.connect(("127.0.0.1", port.local().port()))
            .expect("connect");
        // Each first byte with a second of RTP and all borders of what is told apart in RTCP.
        let seconds = [
            0, 96, 191, 192, 199, 200, 201, 204, 205, 206, 207, 223, 224, 255,
        ];
        for first in 0..=255u8 {
            for second in seconds {
                let mut bytes = [0; 40];
                bytes[..2].copy_from_slice(&[first, second]);
                from.send(&bytes).expect("send");
                // A sender report, and feedback but of format 15, are in a hurry.
                let hurry = second == 200 || matches!(second, 205 | 206) && first % 32 != 15;
                let may_wait = match classify(&bytes) {
                    Ok(Class::Stun) => true,
                    Ok(Class::Rtcp) => !hurry,
                    _ => false,
                };
                let mut lanes = sorted(&mut port);
                let (there, other) = (usize::from(may_wait), usize::from(!may_wait));
                assert_eq!(lanes[there], [bytes.to_vec()], "{first} {second}");
                assert!(std::mem::take(&mut lanes[other]).is_empty());
            }
        }
        // Too short to tell.
        from.send(&[0x80]).expect("send");
        assert_eq!(sorted(&mut port), [vec![vec![0x80]], Vec::new()]);
    }
}

#[test]
fn what_may_wait_tells_how_long_it_has_waited() {
    const PAUSE: Duration = Duration::from_millis(20);
    let mut port = with_lanes("127.0.0.1:0");
    let from = UdpSocket::bind("127.0.0.1:0").expect("bind");
    let began = Instant::now();
    for _ in 0..3 {
        let report = [0x80, 201, 0, 1];
        from.send_to(&report, port.local()).expect("send");
    }
    std::thread::sleep(PAUSE);
    let mut batch = RecvBatch::new();
    port.receive_patient(&mut batch).expect("receive");
    assert_eq!(batch.len(), 3);
    for datagram in batch.iter() {
        let waited = datagram.waited;
        assert!(waited >= PAUSE && waited <= began.elapsed(), "{waited:?}");
    }
}

#[test]
fn a_port_with_two_sockets_is_as_busy_as_one_with_one() {
    let first = with_lanes("127.0.0.1:0");
    for lanes in [false, true] {
        let options = UdpOptions {
            lanes,
            ..UdpOptions::default()
        };
        let error = UdpPort::bind(first.local(), options).expect_err("busy");
        assert!(matches!(error, BindError::Busy { .. }));
    }
}

#[test]
fn refusals_turn_gso_off_only_where_it_never_worked() {
    let mut never = port("127.0.0.1:0");
    let had_gso = never.has_gso();
    for _ in 1..REFUSALS {
        never.refused();
    }
    assert_eq!(never.has_gso(), had_gso, "it may have been one path");
    never.refused();
    assert!(!never.has_gso());

    let mut works = port("127.0.0.1:0");
    let mut to = port("127.0.0.1:0");
    let mut arena = SendArena::new(1 << 20, 100);
    for n in 0..2 {
        assert!(arena.push(path(&works, "127.0.0.1", to.local()), &[n; 300]));
    }
    works.send(&arena);
    read(&mut to, 2);
    for _ in 0..2 * REFUSALS {
        works.refused();
    }
    assert_eq!(works.has_gso(), had_gso);
}
