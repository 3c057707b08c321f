//! Whole worker cores and clients on one virtual clock: the same seed is the
//! same run, many times faster than real time.

mod joining;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use str0m::ice::{StunMessage, TransId};
use weir::control::messages::{
    CloseReason, Command, Event, LayerWish, Reply, SlotSnapshot, ViewTarget, WorkerSnapshot,
};
use weir::net::classify::{Class, classify};
use weir::net::{Datagram, Path, Proto, SendArena};
use weir::peer::crypto::Crypto;
use weir::peer::negotiate::IceCredentials;
use weir::units::{MediaKind, ParticipantId, RequestId, SessionKey, WorkerId};
use weir::worker::clock::WallClock;
use weir::worker::mesh::MeshMessage;
use weir::worker::{Core, CoreConfig, Input};

use crate::client::Client;
use crate::link::{Conditions, Link};

/// Watches the participant who publishes first in most tests.
pub const ALICE: ViewTarget = ViewTarget::Participant(ParticipantId(1));

/// Names a client in a world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub usize);

enum Delivery {
    ToCore(usize, SocketAddr, Vec<u8>),
    ToClient(usize, SocketAddr, Vec<u8>),
    Mesh(usize, WorkerId, Box<MeshMessage>),
}

pub struct World {
    pub seed: u64,
    pub now: Instant,
    pub cores: Vec<Core>,
    pub clients: Vec<Client>,
    pub up: Vec<Link>,
    pub down: Vec<Link>,
    /// What paths to and from the server are like for those who come.
    pub links: Conditions,
    /// Which of `down` a client is behind.
    behind: Vec<usize>,
    pub keys: Vec<SessionKey>,
    pub events: Vec<(Instant, Event)>,
    pub nonces: crate::nonces::Nonces,
    /// Lines of coming offers that contain this are left out.
    pub unsaid: Option<&'static str>,
    /// Packets for other workers find no room in their queues.
    pub mesh_is_full: bool,
    /// Viewers that come are repaired without RTX, by the same datagrams once more.
    pub plain: bool,
    /// So much is to be sent in each turn, to others, that the arena is full before it begins.
    pub crowded: bool,
    /// Clients that come have VP9, and no VP8.
    pub vp9: bool,
    /// RTCP lies so long in the server's sockets until it is read.
    pub patience: Duration,
    crypto: Crypto,
    /// The ICE credentials of each client's session: the server's, then the client's.
    pub ice: Vec<(IceCredentials, IceCredentials)>,
    /// What was sent, where that is to be noted.
    pub trace: Option<Vec<Sent>>,
    /// When everything began.
    pub start: Instant,
    queue: BinaryHeap<Reverse<(Instant, u64)>>,
    deliveries: BTreeMap<u64, Delivery>,
    next: u64,
}

/// A datagram, as far as one seed makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    pub at: Duration,
    pub client: usize,
    pub to_server: bool,
    pub weight: usize,
}

/// A worker's.
fn core_address(index: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 7882 + index as u16))
}

/// The bytes that a datagram takes on a path. Signatures of one seed are not always of one length.
fn weight(bytes: &[u8]) -> usize {
    match classify(bytes) {
        Ok(Class::Dtls) => bytes.len().next_multiple_of(64),
        _ => bytes.len(),
    }
}

/// A client's.
fn address(index: usize) -> SocketAddr {
    SocketAddr::from(([10, 1, (index >> 8) as u8, index as u8], 5000))
}

impl World {
    pub fn new(seed: u64, workers: u8) -> Self {
        // One for all worlds: engines round times on the wire by how far they are from a start of their own.
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        let start = *START;
        fastrand::seed(seed); // the clients' engines draw from it
        let crypto = Crypto::dangerously_seeded(seed).expect("crypto");
        let clock = WallClock::new(start, Duration::from_secs(1_700_000_000));
        let cores = (0..workers)
            .map(|id| {
                let mut bytes = [id; 32];
                bytes[..8].copy_from_slice(&seed.to_be_bytes());
                let config = CoreConfig {
                    id: WorkerId(id),
                    workers,
                    max_sessions: 10_000,
                    consent_timeout: Duration::from_secs(30),
                    connect_timeout: Duration::from_secs(15),
                    seed: bytes,
                    clock,
                };
                Core::new(config, crypto.clone())
            })
            .collect();
        Self {
            seed,
            now: start,
            cores,
            clients: Vec::new(),
            up: Vec::new(),
            down: Vec::new(),
            links: Conditions::default(),
            behind: Vec::new(),
            keys: Vec::new(),
            events: Vec::new(),
            nonces: crate::nonces::Nonces::default(),
            unsaid: None,
            mesh_is_full: false,
            plain: false,
            crowded: false,
            vp9: false,
            patience: Duration::ZERO,
            ice: Vec::new(),
            crypto,
            trace: None,
            start,
            queue: BinaryHeap::new(),
            deliveries: BTreeMap::new(),
            next: 0,
        }
    }

    pub fn close(&mut self, client: ClientId) {
        self.close_for(client, CloseReason::Deleted);
    }

    pub fn close_for(&mut self, client: ClientId, reason: CloseReason) {
        let key = self.keys[client.0];
        let core = usize::from(key.worker.0);
        self.cores[core].handle(self.now, Input::Command(Command::Close { key, reason }));
        self.turn(core);
    }

    pub fn snapshot(&mut self, worker: usize) -> WorkerSnapshot {
        let request = RequestId(u64::MAX);
        self.cores[worker].handle(self.now, Input::Command(Command::Snapshot { request }));
        self.turn(worker);
        self.events
            .iter()
            .rev()
            .find_map(|(_, event)| match event {
                Event::Reply {
                    reply: Reply::Snapshot(snapshot),
                    ..
                } => Some((**snapshot).clone()),
                _ => None,
            })
            .expect("a snapshot")
    }

    /// Asks for layers of the viewer's slot `mid`.
    pub fn choose(&mut self, client: ClientId, mid: &str, wish: LayerWish) -> Reply {
        let key = self.keys[client.0];
        let core = usize::from(key.worker.0);
        let request = RequestId(u64::MAX - 1);
        let command = Command::ChooseLayers {
            request,
            key,
            mid: mid.into(),
            wish,
        };
        self.cores[core].handle(self.now, Input::Command(command));
        self.turn(core);
        self.events
            .iter()
            .rev()
            .find_map(|(_, event)| match event {
                Event::Reply { request: r, reply } if *r == request => Some(reply.clone()),
                _ => None,
            })
            .expect("a reply")
    }

    /// The viewer's video slot as the API shows it.
    pub fn video_slot(&mut self, client: ClientId) -> SlotSnapshot {
        let key = self.keys[client.0];
        let snapshot = self.snapshot(usize::from(key.worker.0));
        let viewer = snapshot.viewers.into_iter().find(|v| v.key == key);
        let mut slots = viewer.expect("a viewer").slots.into_iter();
        slots.find(|s| s.kind == MediaKind::Video).expect("video")
    }

    /// A connectivity check as a client's session takes it, with the credentials of this time.
    pub fn check(&self, client: ClientId, nominates: bool) -> Vec<u8> {
        let (server, own) = &self.ice[client.0];
        let username = format!("{}:{}", server.ufrag, own.ufrag);
        let id = TransId::new();
        let request = StunMessage::binding_request(&username, id, true, 1, 1, nominates);
        let hmac = |key: &[u8], parts: &[&[u8]]| {
            let provider = self.crypto.provider().sha1_hmac_provider;
            provider.sha1_hmac(key, parts)
        };
        let mut bytes = vec![0; 256];
        let length = request.to_bytes(Some(server.pwd.as_bytes()), &mut bytes, hmac);
        bytes.truncate(length.expect("room"));
        bytes
    }

    /// Restarts the ICE of a client's session with other credentials of the client, which its
    /// engine does not hear of.
    pub fn restart_ice(&mut self, client: ClientId) {
        let key = self.keys[client.0];
        let core = usize::from(key.worker.0);
        let ice = IceCredentials {
            ufrag: "another".into(),
            pwd: "another-password-of-ice".into(),
        };
        let request = RequestId(u64::MAX - 3);
        let command = Command::RestartIce {
            request,
            key,
            ice: ice.clone(),
        };
        self.cores[core].handle(self.now, Input::Command(command));
        self.turn(core);
        let mut events = self.events.iter().rev();
        let local = events.find_map(|(_, event)| match event {
            Event::Reply {
                request: r,
                reply: Reply::Restarted { ice },
            } if *r == request => Some(ice.clone()),
            _ => None,
        });
        self.ice[client.0] = (local.expect("a reply"), ice);
    }

    /// Puts a client behind the link of another one: they share its rate.
    pub fn share_link(&mut self, client: ClientId, with: ClientId) {
        self.behind[client.0] = with.0;
    }

    /// Cuts a client off: nothing passes either way any more.
    pub fn unplug(&mut self, client: ClientId) {
        self.up[client.0].conditions.loss = 1.0;
        self.down[client.0].conditions.loss = 1.0;
    }

    pub fn client(&mut self, id: ClientId) -> &mut Client {
        &mut self.clients[id.0]
    }

    fn push(&mut self, at: Instant, delivery: Delivery) {
        self.next += 1;
        self.queue.push(Reverse((at, self.next)));
        self.deliveries.insert(self.next, delivery);
    }

    fn turn(&mut self, core: usize) {
        if self.crowded {
            let nobody = Path {
                proto: Proto::Udp,
                local: core_address(core),
                remote: SocketAddr::from(([10, 9, 9, 9], 9)),
            };
            while self.cores[core].outputs.arena.push(nobody, &[0; 1100]) {}
        }
        let mut sent: Vec<(Path, Vec<u8>)> = Vec::new();
        let mut flush = |arena: &mut SendArena| {
            sent.extend(arena.datagrams().map(|(path, b)| (path, b.to_vec())));
            arena.clear();
        };
        self.cores[core].turn(self.now, &mut flush);
        for (path, bytes) in sent {
            self.deliver(path, bytes);
        }
        let repairs: u64 = self.cores.iter().map(|c| c.totals.repairs_out).sum();
        let repeats = self.nonces.all_repeats();
        assert!(
            repeats <= repairs,
            "{repeats} sent twice, {repairs} repairs"
        );
        let events = std::mem::take(&mut self.cores[core].outputs.events);
        self.events
            .extend(events.into_iter().map(|e| (self.now, e)));
        let from = WorkerId(core as u8);
        for (to, message) in std::mem::take(&mut self.cores[core].outputs.mesh) {
            if self.mesh_is_full && message.is_media() {
                self.cores[core].refused(&message);
                continue;
            }
            self.push(
                self.now,
                Delivery::Mesh(usize::from(to.0), from, Box::new(message)),
            );
        }
    }

    fn deliver(&mut self, path: Path, bytes: Vec<u8>) {
        self.nonces.check(path.remote, &bytes);
        let Some(index) = self.clients.iter().position(|c| c.address == path.remote) else {
            return;
        };
        self.note(index, &bytes, false);
        for at in self.down[self.behind[index]].send(self.now, weight(&bytes)) {
            self.push(at, Delivery::ToClient(index, path.local, bytes.clone()));
        }
    }

    fn note(&mut self, client: usize, bytes: &[u8], to_server: bool) {
        if let Some(trace) = &mut self.trace {
            trace.push(Sent {
                at: self.now - self.start,
                client,
                to_server,
                weight: weight(bytes),
            });
        }
    }

    fn tick_client(&mut self, index: usize) {
        let mut sent = Vec::new();
        self.clients[index].tick(self.now, |to, bytes| sent.push((to, bytes.to_vec())));
        for (to, bytes) in sent {
            let Some(core) = (0..self.cores.len()).find(|i| core_address(*i) == to) else {
                continue;
            };
            let from = self.clients[index].address;
            self.note(index, &bytes, true);
            for at in self.up[index].send(self.now, weight(&bytes)) {
                let at = at + self.waits(&bytes);
                self.push(at, Delivery::ToCore(core, from, bytes.clone()));
            }
        }
    }

    /// How long a datagram lies in the server's socket.
    fn waits(&self, bytes: &[u8]) -> Duration {
        match classify(bytes) {
            Ok(Class::Rtcp) => self.patience,
            _ => Duration::ZERO,
        }
    }

    /// Gives a core a datagram from an address of nobody's.
    pub fn inject(&mut self, core: usize, from: SocketAddr, bytes: &[u8]) {
        self.push(self.now, Delivery::ToCore(core, from, bytes.to_vec()));
    }

    fn next_event(&self) -> Option<Instant> {
        let queue = self.queue.peek().map(|r| r.0.0);
        let cores = self.cores.iter().filter_map(Core::next_deadline).min();
        let clients = self.clients.iter().filter_map(Client::deadline).min();
        [queue, cores, clients].into_iter().flatten().min()
    }

    /// Runs for `time`.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.next_event().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.step();
        }
        self.now = end;
    }

    fn step(&mut self) {
        let mut touched = vec![false; self.cores.len()];
        while let Some(Reverse((at, id))) = self.queue.peek().copied() {
            if at > self.now {
                break;
            }
            self.queue.pop();
            match self.deliveries.remove(&id) {
                Some(Delivery::ToCore(core, remote, bytes)) => {
                    touched[core] = true;
                    let datagram = Datagram {
                        proto: Proto::Udp,
                        local: core_address(core),
                        remote,
                        waited: self.waits(&bytes),
                        bytes: &bytes,
                    };
                    self.cores[core].handle(self.now, Input::Datagram(datagram));
                }
                Some(Delivery::ToClient(client, from, bytes)) => {
                    self.clients[client].receive(self.now, from, &bytes);
                    self.tick_client(client);
                }
                Some(Delivery::Mesh(core, from, message)) => {
                    touched[core] = true;
                    let message = *message;
                    self.cores[core].handle(self.now, Input::Mesh { from, message });
                }
                None => {}
            }
        }
        for (core, touched) in touched.into_iter().enumerate() {
            let due = self.cores[core]
                .next_deadline()
                .is_some_and(|at| at <= self.now);
            if touched || due {
                self.turn(core);
            }
        }
        for client in 0..self.clients.len() {
            if self.clients[client]
                .deadline()
                .is_some_and(|at| at <= self.now)
            {
                self.tick_client(client);
            }
        }
    }
}
