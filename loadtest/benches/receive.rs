//! How many packets a second one core receives, counting and checking.
//!
//! ```text
//! cargo bench -p weir-loadtest
//! ```
//!
//! A second thread sends each viewer the 7 packets of a frame, again and again, as
//! a server would. What counts is the CPU time of the receiving thread alone; the
//! time-stamps, stamps, accounts and transport-wide feedback are those of a run.

use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use weir_loadtest::engine::viewer::{Behaviour, NewViewer};
use weir_loadtest::engine::{Event, Seed, Shared, Streams, mailbox, receiver};
use weir_loadtest::measure::window::Window;
use weir_loadtest::media::VideoCodec;
use weir_loadtest::media::stamp::{STAMP_LEN, Stamp};
use weir_loadtest::scenario::types::{Feedback, Tracks};
use weir_loadtest::signal::negotiated::Negotiated;
use weir_loadtest::signal::offer::{Formats, TRANSPORT_CC_EXTENSION, VIDEO_PT};
use weir_loadtest::sys::{self, SendBatch};
use weir_loadtest::wire::rtp;
use weir_loadtest::wire::srtp::{Profile, Srtp};
use weir_loadtest::wire::stun::Role;
use weir_loadtest::wire::transport::{Credentials, Remote};

const FRAME_PACKETS: usize = 7;
const PAYLOAD: usize = 1160;
const TIME: Duration = Duration::from_secs(3);

struct Case {
    name: &'static str,
    viewers: usize,
    full_check_every: usize,
    packets_per_second: f64,
}

const CASES: [Case; 5] = [
    Case {
        name: "counting",
        viewers: 100,
        full_check_every: 0,
        packets_per_second: 150_000.0,
    },
    Case {
        name: "counting",
        viewers: 1000,
        full_check_every: 0,
        packets_per_second: 150_000.0,
    },
    Case {
        name: "counting",
        viewers: 4000,
        full_check_every: 0,
        packets_per_second: 150_000.0,
    },
    Case {
        name: "checking every 10th",
        viewers: 1000,
        full_check_every: 10,
        packets_per_second: 150_000.0,
    },
    Case {
        name: "fully checking",
        viewers: 1000,
        full_check_every: 1,
        packets_per_second: 80_000.0,
    },
];

fn keys() -> Srtp {
    Srtp::new(Profile::Gcm128, &[1; 16], &[2; 12]).unwrap()
}

fn main() {
    let limit = sys::raise_open_files().unwrap();
    println!("open files allowed: {limit}");
    println!("viewers  mode                 packets/s per core  ns/packet  feedback  drops");
    for case in &CASES {
        // Two sockets a viewer, both here.
        if limit < 2 * case.viewers as u64 + 64 {
            println!("{:7}  too many for the limit of open files", case.viewers);
            continue;
        }
        let w = run(case);
        let seconds = w.receive_cpu_ns as f64 / 1e9;
        println!(
            "{:7}  {:<19}  {:18.0}  {:9.0}  {:8}  {:5}",
            case.viewers,
            case.name,
            w.received_packets as f64 / seconds,
            w.receive_cpu_ns as f64 / w.received_packets.max(1) as f64,
            w.feedbacks,
            w.socket_drops,
        );
        assert_eq!((w.not_authentic, w.malformed), (0, 0));
        assert_eq!(w.lost_packets as i64, 0, "{w:?}");
    }
}

fn run(case: &Case) -> Window {
    let (events, mut told) = tokio::sync::mpsc::unbounded_channel();
    let shared = Shared {
        phase: Arc::new(AtomicU32::new(0)),
        events,
        streams: Arc::new(Streams::default()),
    };
    let stream = shared.streams.add(0, 0);
    let (mail, inbox) = mailbox().unwrap();
    let thread =
        receiver::Thread::new(shared.clone(), inbox, false, std::time::Duration::ZERO).unwrap();
    let receiving = std::thread::spawn(move || thread.run());

    let mut senders = Vec::new();
    for i in 0..case.viewers {
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.set_nonblocking(true).unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        socket2::SockRef::from(&socket)
            .set_recv_buffer_size(1 << 20)
            .unwrap();
        sys::prepare_socket(&socket, false).unwrap();
        let to = sender.local_addr().unwrap();
        socket.connect(to).unwrap();
        sender.connect(socket.local_addr().unwrap()).unwrap();
        senders.push(sender);
        let full = case.full_check_every > 0 && i % case.full_check_every == 0;
        mail.send(receiver::Command::Add(Box::new(NewViewer {
            seed: Seed {
                id: i as u64,
                socket,
                local: Credentials::random(),
                remote: Remote {
                    credentials: Credentials::random(),
                    fingerprint: Vec::new(),
                    we_are_client: true,
                    candidates: vec![to],
                    role: Role::Controlling,
                },
                formats: Formats::offered(true),
                negotiated: Negotiated {
                    video_transport_cc: true,
                    rtx: true,
                    ..Negotiated::default()
                },
                sections: Vec::new(),
                posted_ns: sys::realtime_ns(),
                keys: Some((keys(), keys())),
            },
            behaviour: Behaviour {
                full_check: full,
                nack: true,
                video: Some(VideoCodec::H264),
                link: None,
                feedback: Feedback::Auto,
                stop_reading: false,
                freeze_ns: 10_000_000_000,
                tracks: Tracks { audio: 1, video: 1 },
                room: None,
            },
        })));
    }
    let mut connected = 0;
    while connected < case.viewers {
        if let Some(Event::Connected(_)) = told.blocking_recv() {
            connected += 1;
        }
    }
    let srtp = keys();
    let mut batch = SendBatch::default();
    // Packets of 1.2 kB take 5 times that of a socket's buffer.
    let gap =
        Duration::from_secs_f64((case.viewers * FRAME_PACKETS) as f64 / case.packets_per_second);
    let frame = |number: u64, batch: &mut SendBatch| {
        batch.clear();
        for i in 0..FRAME_PACKETS as u64 {
            let sequence = number * FRAME_PACKETS as u64 + i;
            let start = batch.buffer().len();
            let transport = (sequence as u16).to_be_bytes();
            let extensions = [(TRANSPORT_CC_EXTENSION, &transport[..])];
            let last = i + 1 == FRAME_PACKETS as u64;
            let ticks = (number * 3000) as u32;
            let header = rtp::write(
                batch.buffer(),
                last,
                VIDEO_PT,
                sequence as u16,
                ticks,
                5,
                &extensions,
            );
            let mut payload = vec![0x41; PAYLOAD];
            if number == 0 {
                payload[0] = 0x65;
            }
            let stamp = Stamp {
                stream: stream.id,
                sequence: sequence as u32,
                sent_ns: sys::realtime_ns(),
                age_us: 0,
            };
            payload[PAYLOAD - STAMP_LEN..].copy_from_slice(&stamp.encode());
            batch.buffer().extend_from_slice(&payload);
            assert!(srtp.seal_rtp(batch.buffer(), start, header, (sequence >> 16) as u32));
            batch.commit(start, None, None);
            stream.sent.fetch_add(1, Ordering::Release);
        }
    };
    let mut number = 0;
    let mut send = |batch: &mut SendBatch| {
        frame(number, batch);
        number += 1;
        for sender in &senders {
            batch.send(sender.as_raw_fd()).unwrap();
        }
    };
    // The first frame is for the keyframe and belongs to no measurement.
    send(&mut batch);
    std::thread::sleep(Duration::from_millis(300));
    shared.phase.store(1, Ordering::Release);
    mail.send(receiver::Command::Phase);
    let start = Instant::now();
    let mut due = start;
    while start.elapsed() < TIME {
        send(&mut batch);
        due += gap;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    std::thread::sleep(Duration::from_millis(500));
    mail.send(receiver::Command::Stop);
    receiving.join().unwrap();
    let mut sum = Window::default();
    while let Ok(event) = told.try_recv() {
        if let Event::Window { phase: 1, window } = event {
            sum.add(&window);
        }
    }
    sum
}
