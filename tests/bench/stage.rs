//! A real worker core and its peers on a virtual clock, without a network
//! between them: what benches measure.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir::control::messages::{Command, Event, OpenSession, Reply, SessionRole, ViewTarget};
use weir::net::{Datagram, Proto, SendArena};
use weir::peer::crypto::Crypto;
use weir::peer::negotiate::{
    AnswerContext, AnswerNames, Direction, IceCredentials, PeerKeys, Policy, read_offer,
};
use weir::units::{ParticipantId, RequestId, RoomId, SessionKey, WorkerId};
use weir::worker::clock::WallClock;
use weir::worker::{Core, CoreConfig, Input};

use super::peer::{Peer, Profiles};

const PUBLISHER: &str = include_str!("../fixtures/offers/chromium-h264.sdp");
const VIEWER: &str = include_str!("../fixtures/offers/chromium-recvonly.sdp");

/// 30 pictures a second of 7 packets of 1160 bytes: 2 Mb/s of video.
pub const PICTURE: usize = 7;
pub const PAYLOAD: usize = 1160;
pub const INTERVAL: Duration = Duration::from_nanos(33_333_333);

/// Where the core is reached.
pub fn server() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 7882))
}

/// A publisher's line.
#[derive(Debug)]
struct Source {
    ssrc: u32,
    pt: u8,
    seq: u64,
    timestamp: u32,
}

/// Runs before and after each step of the core while somebody joins.
pub trait Watch {
    fn begin(&mut self) {}
    fn end(&mut self) {}
}

impl Watch for () {}

/// See the module's description.
pub struct Stage {
    pub core: Core,
    pub now: Instant,
    pub peers: Vec<Peer>,
    pub keys: Vec<SessionKey>,
    by_address: HashMap<SocketAddr, usize>,
    /// The server's credentials for each peer.
    ice: Vec<IceCredentials>,
    context: AnswerContext,
    video: Option<Source>,
    audio: Option<Source>,
    transport_sequence: u16,
}

impl Stage {
    pub fn new() -> Self {
        let start = Instant::now();
        let crypto = Crypto::dangerously_seeded(1).expect("crypto");
        let context = AnswerContext::new(&crypto.fingerprint(), &[server()], &[]);
        let config = CoreConfig {
            id: WorkerId(0),
            workers: 1,
            max_sessions: 10_000,
            consent_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(15),
            seed: [1; 32],
            clock: WallClock::new(start, Duration::from_secs(1_700_000_000)),
        };
        Self {
            core: Core::new(config, crypto),
            now: start,
            peers: Vec::new(),
            keys: Vec::new(),
            by_address: HashMap::new(),
            ice: Vec::new(),
            context,
            video: None,
            audio: None,
            transport_sequence: 0,
        }
    }

    /// Connects the publisher; its peer is number 0.
    pub fn publish(&mut self) {
        assert!(self.peers.is_empty(), "the publisher comes first");
        let role = SessionRole::Publisher(ParticipantId(1));
        self.join(role, Profiles::Gcm, PeerKeys::Ecdsa, &mut ());
    }

    /// Connects a viewer and returns its peer's number.
    pub fn view(&mut self, profiles: Profiles, keys: PeerKeys, watch: &mut impl Watch) -> usize {
        self.join(SessionRole::Viewer(ViewTarget::Room), profiles, keys, watch)
    }

    /// Connects `count` viewers like Chromium.
    pub fn views(&mut self, count: usize) {
        for _ in 0..count {
            self.view(Profiles::Gcm, PeerKeys::Ecdsa, &mut ());
        }
    }

    fn join(
        &mut self,
        role: SessionRole,
        profiles: Profiles,
        keys: PeerKeys,
        watch: &mut impl Watch,
    ) -> usize {
        let index = self.peers.len();
        let (browser, direction) = match role {
            SessionRole::Publisher(_) => (PUBLISHER, Direction::Publish),
            SessionRole::Viewer(_) => (VIEWER, Direction::View),
        };
        let peer = Peer::new(index, profiles);
        let offer = peer.offer(browser);
        let (address, log_id) = (peer.address, format!("client-{index}"));
        self.by_address.insert(address, index);
        self.peers.push(peer);

        watch.begin();
        let mut accepted = read_offer(&offer, direction, &Policy::default()).expect("an offer");
        accepted.negotiated.peer_keys = keys;
        let open = OpenSession {
            request: RequestId(index as u64),
            room: RoomId(1),
            role,
            identity: None,
            negotiated: accepted.negotiated.clone(),
            log_id: Arc::from(log_id.as_str()),
        };
        self.core
            .handle(self.now, Input::Command(Command::Open(Box::new(open))));
        watch.end();
        self.turn(watch);
        let (key, local) = self.opened();
        watch.begin();
        let names = AnswerNames {
            session_id: index as u64 + 1,
            stream_id: "stream",
            cname: &log_id,
        };
        let answer = accepted.answer(&self.context, &local, &names);
        watch.end();
        assert!(answer.starts_with("v=0"));
        self.core.outputs.events.clear();
        if index == 0 {
            let source = |kind: usize| {
                let section = &accepted.negotiated.media[kind];
                Source {
                    ssrc: section.ssrcs[0].ssrc,
                    pt: section.codecs[0].pt,
                    seq: 1000,
                    timestamp: 1_000_000,
                }
            };
            (self.audio, self.video) = (Some(source(0)), Some(source(1)));
        }
        self.keys.push(key);
        self.ice.push(local.ice);
        self.connect(index, watch);
        index
    }

    fn opened(&self) -> (SessionKey, weir::peer::negotiate::LocalTransport) {
        let events = &self.core.outputs.events;
        let opened = events.iter().find_map(|event| match event {
            Event::Reply {
                reply: Reply::Opened { key, local },
                ..
            } => Some((*key, local.clone())),
            _ => None,
        });
        opened.expect("the session is opened")
    }

    /// ICE and DTLS, until the core says that the peer is connected.
    fn connect(&mut self, index: usize, watch: &mut impl Watch) {
        let check = self.check(index);
        self.deliver(index, &check, watch);
        self.turn(watch);
        self.peers[index].handshake();
        for _ in 0..100 {
            for bytes in std::mem::take(&mut self.peers[index].outgoing) {
                self.deliver(index, &bytes, watch);
            }
            self.turn(watch);
            let connected =
                |e: &Event| matches!(e, Event::Connected { key } if *key == self.keys[index]);
            if self.core.outputs.events.iter().any(connected) && self.peers[index].is_connected() {
                self.core.outputs.events.clear();
                return;
            }
            self.now += Duration::from_millis(1);
        }
        panic!("peer {index} does not connect");
    }

    /// A connectivity check of a peer's.
    pub fn check(&self, index: usize) -> Vec<u8> {
        self.peers[index].check(&self.ice[index])
    }

    /// Gives the core a datagram of a peer's.
    pub fn deliver(&mut self, index: usize, bytes: &[u8], watch: &mut impl Watch) {
        let datagram = Datagram {
            proto: Proto::Udp,
            local: server(),
            remote: self.peers[index].address,
            waited: Duration::ZERO,
            bytes,
        };
        watch.begin();
        self.core.handle(self.now, Input::Datagram(datagram));
        watch.end();
    }

    /// A turn of the core, whose datagrams the peers get.
    pub fn turn(&mut self, watch: &mut impl Watch) {
        let mut sent = Vec::new();
        watch.begin();
        self.core.turn(self.now, &mut |arena: &mut SendArena| {
            sent.extend(arena.datagrams().map(|(path, b)| (path.remote, b.to_vec())));
            arena.clear();
        });
        watch.end();
        for (remote, bytes) in sent {
            if let Some(index) = self.by_address.get(&remote) {
                self.peers[*index].receive(&bytes);
            }
        }
    }

    /// The next picture of the publisher's, sealed; `key` for an IDR picture
    /// with its parameter sets. The last packet is shorter by `tail`.
    pub fn picture(&mut self, key: bool, tail: usize) -> Vec<Vec<u8>> {
        self.now += INTERVAL;
        let mut source = self.video.take().expect("a publisher");
        source.timestamp = source.timestamp.wrapping_add(3000);
        let mut packets = Vec::new();
        if key {
            // STAP-A of an SPS (640x360, baseline) and a PPS.
            const SETS: &[u8] = &[
                0x18, 0, 9, 0x67, 0x42, 0xc0, 0x1f, 0xda, 0x02, 0x80, 0xbf, 0xe5, 0, 4, 0x68, 0xce,
                0x3c, 0x80,
            ];
            packets.push(self.packet(&mut source, SETS, false, None));
        }
        let nal = if key { 0x65 } else { 0x41 };
        for n in 0..PICTURE {
            let last = n + 1 == PICTURE;
            let mut payload = vec![0xab; if last { PAYLOAD - tail } else { PAYLOAD }];
            // FU-A (RFC 6184 §5.8).
            payload[0] = nal & 0xe0 | 28;
            payload[1] = nal & 0x1f | if n == 0 { 0x80 } else { 0 } | if last { 0x40 } else { 0 };
            payload[2] = 0x88; // the slice begins the picture
            packets.push(self.packet(&mut source, &payload, last, None));
        }
        self.video = Some(source);
        packets
    }

    /// So many packets of the publisher's pictures never come.
    pub fn lose(&mut self, packets: u64) {
        self.video.as_mut().expect("a publisher").seq += packets;
    }

    /// The next 20 ms of the publisher's sound, sealed.
    pub fn sound(&mut self) -> Vec<u8> {
        self.now += Duration::from_millis(20);
        let mut source = self.audio.take().expect("a publisher");
        source.timestamp = source.timestamp.wrapping_add(960);
        let packet = self.packet(&mut source, &[0x78; 160], false, Some(0x9e));
        self.audio = Some(source);
        packet
    }

    fn packet(
        &mut self,
        source: &mut Source,
        payload: &[u8],
        marker: bool,
        level: Option<u8>,
    ) -> Vec<u8> {
        let mut header = vec![0x90, source.pt | if marker { 0x80 } else { 0 }];
        header.extend((source.seq as u16).to_be_bytes());
        header.extend(source.timestamp.to_be_bytes());
        header.extend(source.ssrc.to_be_bytes());
        // The ids of the offers: 1 audio level, 2 absolute send time, 3
        // transport-wide sequence number (RFC 8285 §4.2).
        let [t0, t1] = self.transport_sequence.to_be_bytes();
        self.transport_sequence = self.transport_sequence.wrapping_add(1);
        let mut elements = vec![0x22, 1, 2, 3, 0x31, t0, t1];
        if let Some(level) = level {
            elements.extend([0x10, level]);
        }
        elements.resize(elements.len().next_multiple_of(4), 0);
        header.extend([0xbe, 0xde, 0, (elements.len() / 4) as u8]);
        header.extend(elements);
        let roc = (source.seq >> 16) as u32;
        source.seq += 1;
        self.peers[0].seal(&header, payload, roc)
    }

    /// Takes media in without measuring, and gives the viewers what comes out.
    pub fn forward(&mut self, packets: &[Vec<u8>]) {
        for bytes in packets {
            self.deliver(0, bytes, &mut ());
        }
        self.turn(&mut ());
        self.core.outputs.events.clear();
    }

    /// Starts the flow: a keyframe and some pictures and sound, so that what
    /// grows on the first packets has grown.
    pub fn warm_up(&mut self) {
        let picture = self.picture(true, 0);
        self.forward(&picture);
        for _ in 0..4 {
            let (picture, sound) = (self.picture(false, 0), self.sound());
            self.forward(&picture);
            self.forward(&[sound]);
        }
    }
}
