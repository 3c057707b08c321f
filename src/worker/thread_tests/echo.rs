//! The core of the thread's tests: it sends back what it is given, and notes what was done with it.

use std::net::UdpSocket;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;

use super::super::*;
use crate::control::messages::{CloseReason, Event};
use crate::net::{Datagram, Path};
use crate::units::SessionKey;
use crate::worker::core::Flush;
use crate::worker::junction::MESH_QUEUE;
use crate::worker::sans_io::IoCounts;

/// Sends each datagram back `copies` times; answers commands; passes on to worker 1.
pub(super) struct Echo {
    id: WorkerId,
    pub(super) copies: usize,
    arena: SendArena,
    events: Vec<Event>,
    mesh: Vec<(WorkerId, Message)>,
    pub(super) deadline: Option<Instant>,
    pub(super) mid_frame: bool,
    pub(super) media: bool,
    /// How long a turn takes.
    pub(super) work: Duration,
    /// Sends the end of each frame, as soon as its beginning was read.
    pub(super) publisher: Arc<OnceLock<UdpSocket>>,
    /// Turns that a frame's end came too late for.
    pub(super) torn: Arc<AtomicU64>,
    pub(super) fired: Arc<AtomicU64>,
    pub(super) heard: Arc<AtomicU64>,
    pub(super) turns: Arc<AtomicU64>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Message {
    Media,
    Control(u64),
}

impl MeshValue for Message {
    fn may_drop(&self) -> bool {
        matches!(self, Self::Media)
    }
}

impl Echo {
    pub(super) fn new(id: WorkerId) -> Self {
        Self {
            id,
            copies: 1,
            arena: SendArena::new(1 << 20, 1000),
            events: Vec::new(),
            mesh: Vec::new(),
            deadline: None,
            mid_frame: false,
            media: true,
            work: Duration::ZERO,
            publisher: Arc::default(),
            torn: Arc::default(),
            fired: Arc::default(),
            heard: Arc::default(),
            turns: Arc::default(),
        }
    }
}

pub(super) fn key(slot: u32) -> SessionKey {
    SessionKey {
        worker: WorkerId(0),
        slot,
        generation: 0,
    }
}

impl SansIo for Echo {
    type Mesh = Message;

    fn datagram(&mut self, now: Instant, datagram: Datagram<'_>) {
        assert_ne!(datagram.bytes, b"panic");
        if datagram.bytes == b"later" {
            self.deadline = Some(now + Duration::from_millis(20));
        }
        match datagram.bytes {
            b"begin" => {
                self.mid_frame = true;
                if let Some(publisher) = self.publisher.get() {
                    publisher.send(b"end").expect("send");
                }
            }
            b"end" => self.mid_frame = false,
            _ => {}
        }
        let path = Path {
            proto: datagram.proto,
            local: datagram.local,
            remote: datagram.remote,
        };
        for _ in 0..self.copies {
            assert!(self.arena.push(path, datagram.bytes));
        }
    }

    fn expect(&mut self, _: &Datagram<'_>) {}

    fn tcp_closed(&mut self, _: Instant, _: SocketAddr) {
        self.events.push(Event::Connected { key: key(7) });
    }

    fn command(&mut self, _: Instant, command: Command) {
        match command {
            Command::Close { key, reason } if reason == CloseReason::Deleted => {
                self.events.push(Event::Closed { key, reason });
            }
            Command::Close { .. } => {
                // More than the queue holds: media first, then what may not be lost.
                for n in 0..2 * MESH_QUEUE as u64 {
                    self.mesh.push((WorkerId(1), Message::Media));
                    self.mesh.push((WorkerId(1), Message::Control(n)));
                }
            }
            Command::Snapshot { .. } => {}
            other => panic!("not sent in these tests: {other:?}"),
        }
    }

    fn knows(&self, _: SocketAddr) -> bool {
        true
    }

    fn refused(&mut self, message: Message) {
        assert!(message.may_drop());
    }

    fn mesh(&mut self, _: Instant, from: WorkerId, message: Message) {
        assert_eq!((from, self.id), (WorkerId(0), WorkerId(1)));
        if let Message::Control(n) = message {
            let before = self.heard.fetch_add(1, Ordering::SeqCst);
            assert_eq!(before, n, "in order");
        }
    }

    fn is_mid_frame(&self) -> bool {
        self.mid_frame
    }

    fn has_media(&self) -> bool {
        self.media
    }

    fn turn(&mut self, now: Instant, flush: &mut dyn Flush) {
        self.turns.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(self.work);
        if self.mid_frame {
            self.torn.fetch_add(1, Ordering::SeqCst);
        }
        if self.deadline.is_some_and(|at| at <= now) {
            self.deadline = None;
            self.fired.fetch_add(1, Ordering::SeqCst);
        }
        if !self.arena.is_empty() {
            flush.flush(&mut self.arena);
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.deadline
    }

    fn events(&mut self) -> &mut Vec<Event> {
        &mut self.events
    }

    fn mesh_out(&mut self) -> &mut Vec<(WorkerId, Message)> {
        &mut self.mesh
    }

    fn io_counts(&mut self, counts: IoCounts) {
        assert!(counts.cpu > Duration::ZERO);
        let slot = counts.datagrams_out as u32;
        self.events.push(Event::Connected { key: key(slot) });
    }
}
