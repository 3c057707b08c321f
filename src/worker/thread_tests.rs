//! The thread around a core of the tests: sockets, queues, rests and wake-ups.

use std::net::UdpSocket;
use std::sync::atomic::AtomicU64;

use super::*;
use crate::control::messages::{CloseReason, Event};
use crate::net::{TcpLimits, UdpOptions};
use crate::units::RequestId;
use crate::worker::junction::{MESH_QUEUE, junction};

#[path = "thread_tests/echo.rs"]
mod echo;

use echo::{Echo, key};

fn no_panic(_: WorkerId) {
    panic!("the core panicked");
}

fn sockets() -> Sockets {
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let options = UdpOptions {
        lanes: true,
        ..UdpOptions::default()
    };
    let udp = UdpPort::bind(address, options).expect("bind");
    let tcp = TcpPort::bind(address, false, TcpLimits::default()).expect("bind");
    Sockets {
        udp: vec![udp],
        tcp: vec![tcp],
    }
}

type Events = mpsc::Receiver<(WorkerId, Event)>;

fn start(echo: Echo, queue: usize) -> (WorkerHandle, Events) {
    let seat = junction(1).expect("junction").remove(0);
    let (sender, receiver) = mpsc::channel(queue);
    let handle = spawn(seat, sockets(), sender, move || echo, no_panic).expect("spawn");
    (handle, receiver)
}

fn client(handle: &WorkerHandle) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
    socket.connect(handle.udp[0]).expect("connect");
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .expect("timeout");
    socket
}

fn until(what: &str, done: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(5);
    while !done() {
        assert!(Instant::now() < end, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn datagrams_go_through_the_core_and_out_in_runs() {
    let mut echo = Echo::new(WorkerId(0));
    echo.copies = 8;
    let (handle, mut events) = start(echo, 8);
    let socket = client(&handle);
    let mut buffer = [0; 2000];
    for n in 0..20u8 {
        socket.send(&[n; 1100]).expect("send");
        for _ in 0..8 {
            let len = socket.recv(&mut buffer).expect("answer");
            assert_eq!(buffer[..len], [n; 1100]);
        }
    }
    let request = RequestId(1);
    handle.send(Command::Snapshot { request }).expect("send");
    let counted = events.blocking_recv().expect("event").1;
    assert!(matches!(counted, Event::Connected { key } if key.slot == 160));
    handle.stop();
    handle.join();
}

#[test]
fn the_rest_of_a_frame_is_read_before_the_turn() {
    let echo = Echo::new(WorkerId(0));
    let (publisher, torn) = (Arc::clone(&echo.publisher), Arc::clone(&echo.torn));
    let (handle, _events) = start(echo, 8);
    let socket = client(&handle);
    let mut buffer = [0; 100];
    publisher.set(client(&handle)).expect("once");
    let other = publisher.get().expect("set");
    for _ in 0..20 {
        socket.send(b"begin").expect("send");
        let len = socket.recv(&mut buffer).expect("answer");
        assert_eq!(&buffer[..len], b"begin");
        let len = other.recv(&mut buffer).expect("answer");
        assert_eq!(&buffer[..len], b"end");
    }
    assert_eq!(torn.load(Ordering::SeqCst), 0);
    handle.stop();
    handle.join();
}

#[test]
fn a_frame_without_end_does_not_hold_the_worker() {
    let echo = Echo::new(WorkerId(0));
    let torn = Arc::clone(&echo.torn);
    let (handle, _events) = start(echo, 8);
    let socket = client(&handle);
    let mut buffer = [0; 100];
    for _ in 0..20 {
        socket.send(b"begin").expect("send");
        socket.recv(&mut buffer).expect("answer");
    }
    assert!(torn.load(Ordering::SeqCst) >= 20);
    handle.stop();
    handle.join();
}

/// Turns of a worker whose turns take so long while a datagram with this first byte comes every
/// 200 µs, and the time that was; the worker had as much time before to see how busy it is.
fn turns(first: u8, work: Duration, media: bool) -> (u64, Duration) {
    const DATAGRAMS: usize = 1000;
    let mut echo = Echo::new(WorkerId(0));
    (echo.work, echo.copies, echo.media) = (work, 0, media);
    let turns = Arc::clone(&echo.turns);
    let (handle, _events) = start(echo, 8);
    let socket = client(&handle);
    let (mut began, mut before) = (Instant::now(), 0);
    for n in 0..2 * DATAGRAMS {
        if n == DATAGRAMS {
            (began, before) = (Instant::now(), turns.load(Ordering::SeqCst));
        }
        socket.send(&[first, n as u8]).expect("send");
        std::thread::sleep(Duration::from_micros(200));
    }
    let made = (turns.load(Ordering::SeqCst) - before, began.elapsed());
    handle.stop();
    handle.join();
    made
}

#[test]
fn a_busy_worker_takes_what_comes_in_slices() {
    let (made, time) = turns(0x80, Duration::from_micros(400), true);
    // It works for 0.4 ms of each slice, which is more than a millisecond then.
    let most = time.div_duration_f64(Duration::from_micros(800)) as u64;
    assert!(made <= most, "{made} turns in {time:?}");
}

#[test]
fn what_may_wait_is_read_many_at_a_time() {
    // A thousand STUN messages, without media.
    let (made, time) = turns(0, Duration::ZERO, false);
    let most = time.div_duration_f64(Duration::from_millis(15)) as u64;
    assert!(made > 0 && made <= most, "{made} turns in {time:?}");
}

#[test]
fn what_may_wait_wakes_a_sleeping_worker_and_is_answered() {
    let (handle, _events) = start(Echo::new(WorkerId(0)), 8);
    let socket = client(&handle);
    let mut buffer = [0; 100];
    for pause in [0, 1, 30, 300] {
        std::thread::sleep(Duration::from_millis(pause));
        for message in [[0, 1], [0x80, 200], [0x80, 96]] {
            socket.send(&message).expect("send");
            let len = socket.recv(&mut buffer).expect("answer");
            assert_eq!(buffer[..len], message);
        }
    }
    handle.stop();
    handle.join();
}

#[test]
fn media_does_not_wait_for_what_may_wait() {
    const MEDIA: [u8; 2] = [0x80, 96];
    const REPORT: [u8; 2] = [0x80, 201];
    let mut echo = Echo::new(WorkerId(0));
    echo.work = Duration::from_millis(200);
    let (handle, _events) = start(echo, 8);
    let socket = client(&handle);
    socket.send(&MEDIA).expect("send");
    std::thread::sleep(Duration::from_millis(50));
    // In the first turn, which has no reason to look at the patient socket.
    socket.send(&REPORT).expect("send");
    socket.send(&MEDIA).expect("send");
    let mut buffer = [0; 100];
    for answer in [MEDIA, MEDIA, REPORT] {
        let len = socket.recv(&mut buffer).expect("answer");
        assert_eq!(buffer[..len], answer);
    }
    handle.stop();
    handle.join();
}

#[test]
fn a_sleeping_worker_wakes_for_a_command_and_for_its_deadline() {
    let echo = Echo::new(WorkerId(0));
    let fired = Arc::clone(&echo.fired);
    let (handle, mut events) = start(echo, 8);
    for slot in 0..50 {
        // Sometimes it has gone to sleep by now, sometimes not yet.
        std::thread::sleep(Duration::from_micros(u64::from(slot) * 40));
        let reason = CloseReason::Deleted;
        handle
            .send(Command::Close {
                key: key(slot),
                reason,
            })
            .expect("send");
        let (_, event) = events.blocking_recv().expect("event");
        assert!(matches!(event, Event::Closed { key, .. } if key.slot == slot));
    }
    let socket = client(&handle);
    let sent = Instant::now();
    socket.send(b"later").expect("send");
    until("the deadline", || fired.load(Ordering::SeqCst) == 1);
    assert!(sent.elapsed() >= Duration::from_millis(20));
    handle.stop();
    handle.join();
}

#[test]
fn a_full_event_queue_loses_no_reply_and_a_full_command_queue_is_told() {
    let (handle, mut events) = start(Echo::new(WorkerId(0)), 2);
    let mut accepted = 0u32;
    let full = loop {
        let close = Command::Close {
            key: key(accepted),
            reason: CloseReason::Deleted,
        };
        match handle.send(close) {
            Ok(()) => accepted += 1,
            Err(QueueFull) => break true,
        }
        if accepted > 100_000 {
            break false;
        }
    };
    assert!(full, "the queue is bounded");
    assert!(accepted as usize >= COMMAND_QUEUE);
    for slot in 0..accepted {
        let (_, event) = events.blocking_recv().expect("event");
        assert!(matches!(event, Event::Closed { key, .. } if key.slot == slot));
    }
    handle.stop();
    handle.join();
}

#[test]
fn tcp_frames_are_datagrams_and_a_closed_connection_is_told() {
    use std::io::{Read, Write};
    let (handle, mut events) = start(Echo::new(WorkerId(0)), 8);
    let mut stream = std::net::TcpStream::connect(handle.tcp[0]).expect("connect");
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .expect("timeout");
    let mut frame = vec![0, 20];
    frame.extend([0; 20]);
    stream.write_all(&frame).expect("write");
    let mut answer = [1; 22];
    stream.read_exact(&mut answer).expect("read");
    assert_eq!(answer[..], frame);
    drop(stream);
    let (_, event) = events.blocking_recv().expect("event");
    assert!(matches!(event, Event::Connected { key } if key.slot == 7));
    handle.stop();
    handle.join();
}

#[test]
fn between_workers_only_media_is_lost() {
    let mut seats = junction(2).expect("junction");
    let (sender, _events) = mpsc::channel(8);
    let second = Echo::new(WorkerId(1));
    let heard = Arc::clone(&second.heard);
    let seat = seats.remove(1);
    let first_seat = seats.remove(0);
    let events = sender.clone();
    let first = spawn(
        first_seat,
        sockets(),
        events,
        || Echo::new(WorkerId(0)),
        no_panic,
    )
    .expect("spawn");
    let close = Command::Close {
        key: key(0),
        reason: CloseReason::Internal,
    };
    first.send(close).expect("send");
    // The second worker comes late, so the queue fills up.
    std::thread::sleep(Duration::from_millis(30));
    let second = spawn(seat, sockets(), sender, move || second, no_panic).expect("spawn");
    until("the last control message", || {
        heard.load(Ordering::SeqCst) == 2 * MESH_QUEUE as u64
    });
    for handle in [first, second] {
        handle.stop();
        handle.join();
    }
}

#[test]
fn a_panic_of_the_core_is_reported() {
    static PANICKED: AtomicU64 = AtomicU64::new(0);
    fn note(worker: WorkerId) {
        PANICKED.store(u64::from(worker.0) + 1, Ordering::SeqCst);
    }
    let seat = junction(1).expect("junction").remove(0);
    let (sender, _events) = mpsc::channel(8);
    let make = || Echo::new(WorkerId(0));
    let handle = spawn(seat, sockets(), sender, make, note).expect("spawn");
    client(&handle).send(b"panic").expect("send");
    until("the report", || PANICKED.load(Ordering::SeqCst) == 1);
    handle.join();
}

#[test]
fn an_idle_worker_sleeps() {
    let echo = Echo::new(WorkerId(0));
    let turns = Arc::clone(&echo.turns);
    let (handle, _events) = start(echo, 8);
    std::thread::sleep(Duration::from_millis(50));
    let before = turns.load(Ordering::SeqCst);
    std::thread::sleep(Duration::from_millis(100));
    let more = turns.load(Ordering::SeqCst) - before;
    assert!(more <= 1, "{more} turns without work");
    handle.stop();
    handle.join();
}
