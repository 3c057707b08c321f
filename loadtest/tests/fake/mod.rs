//! A WHIP and WHEP server on another implementation (str0m), whose way out is a
//! bad link of known badness: it loses, repeats, delays and reorders exactly the
//! packets it is told to.

mod http;

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use str0m::change::SdpOffer;
use str0m::media::MediaKind;
use str0m::net::{Protocol, Receive};
use str0m::rtp::{RtpPacket, RtpWrite, Ssrc};
use str0m::{Candidate, Event, Input, Output, Rtc};

/// What is done to the video packets on their way to each viewer, by their
/// count since that viewer's first.
#[derive(Debug, Clone, Copy, Default)]
pub struct Badness {
    /// Lose every n-th packet on the wire.
    pub lose_every: usize,
    /// Send every n-th packet twice.
    pub repeat_every: usize,
    /// Swap every n-th packet with the one after it.
    pub swap_every: usize,
    /// Hold every packet for so long.
    pub delay: Duration,
    /// Leave every n-th packet out before it gets a number, so that no gap shows.
    pub hide_every: usize,
    /// Send nothing more after so many packets.
    pub stop_after: usize,
    /// Refuse every n-th viewer with 503.
    pub refuse_every: usize,
    /// Answer NACKs.
    pub repair: bool,
}

/// What was really done, of all viewers together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Deeds {
    /// Packets lost on the wire.
    pub lost: u64,
    /// Packets sent twice.
    pub repeated: u64,
    /// Pairs swapped.
    pub swapped: u64,
    /// Packets that never got a number.
    pub hidden: u64,
    /// Video packets that went out, repeats included.
    pub sent: u64,
}

/// A running server. It ends with this value.
pub struct Fake {
    /// Its base URL.
    pub url: String,
    deeds: Arc<Mutex<Deeds>>,
    stop: Arc<AtomicBool>,
}

pub(crate) enum Request {
    Offer {
        viewer: bool,
        sdp: String,
        answer: mpsc::Sender<Option<String>>,
    },
}

struct Session {
    rtc: Rtc,
    socket: UdpSocket,
    address: SocketAddr,
    viewer: bool,
    deadline: Instant,
    lines: HashMap<MediaKind, Line>,
    video_packets: usize,
    held: Option<Vec<u8>>,
    delayed: Vec<(Instant, Vec<u8>)>,
    peer: Option<SocketAddr>,
    connected: bool,
}

#[derive(Default)]
struct Line {
    ssrc: Option<Ssrc>,
    next: u64,
    first_in: Option<u64>,
    count: usize,
}

impl Fake {
    /// Starts one.
    pub fn start(badness: Badness) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, requests) = mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        http::serve(listener, sender, Arc::clone(&stop));
        let deeds = Arc::new(Mutex::new(Deeds::default()));
        let fake = Self {
            url,
            deeds: Arc::clone(&deeds),
            stop: Arc::clone(&stop),
        };
        std::thread::spawn(move || media(badness, &requests, &deeds, &stop));
        fake
    }

    /// What it has done so far.
    pub fn deeds(&self) -> Deeds {
        *self.deeds.lock().unwrap()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

fn media(
    badness: Badness,
    requests: &mpsc::Receiver<Request>,
    deeds: &Mutex<Deeds>,
    stop: &AtomicBool,
) {
    let mut sessions: Vec<Session> = Vec::new();
    let mut viewers = 0;
    while !stop.load(Ordering::Acquire) {
        while let Ok(Request::Offer {
            viewer,
            sdp,
            answer,
        }) = requests.try_recv()
        {
            viewers += usize::from(viewer);
            if viewer && badness.refuse_every > 0 && viewers % badness.refuse_every == 0 {
                answer.send(None).unwrap();
                continue;
            }
            let (session, text) = Session::new(viewer, sdp);
            sessions.push(session);
            answer.send(Some(text)).unwrap();
        }
        let now = Instant::now();
        let mut packets: Vec<(MediaKind, RtpPacket)> = Vec::new();
        let mut keyframe_wanted = false;
        let mut deeds = deeds.lock().unwrap();
        for s in &mut sessions {
            s.receive(now);
            if now >= s.deadline {
                s.rtc.handle_input(Input::Timeout(now)).unwrap();
            }
            s.release(now);
            keyframe_wanted |= s.drain(&badness, &mut deeds, &mut packets);
        }
        for s in sessions.iter_mut().filter(|s| s.viewer && s.connected) {
            for (kind, packet) in &packets {
                s.forward(*kind, packet, &badness, &mut deeds);
            }
            keyframe_wanted |= s.drain(&badness, &mut deeds, &mut Vec::new());
        }
        drop(deeds);
        if keyframe_wanted {
            for s in sessions.iter_mut().filter(|s| !s.viewer) {
                s.ask_for_keyframe();
            }
        }
        sessions.retain(|s| s.rtc.is_alive());
        if packets.is_empty() {
            std::thread::sleep(Duration::from_micros(500));
        }
    }
}

impl Session {
    fn new(viewer: bool, sdp: String) -> (Self, String) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let address = socket.local_addr().unwrap();
        let now = Instant::now();
        let mut rtc = Rtc::builder()
            .set_ice_lite(true)
            .set_rtp_mode(true)
            .build(now);
        rtc.add_local_candidate(Candidate::host(address, "udp").unwrap());
        let offer = SdpOffer::from_sdp_string(&sdp).unwrap();
        let answer = rtc.sdp_api().accept_offer(offer).unwrap();
        let session = Self {
            rtc,
            socket,
            address,
            viewer,
            deadline: now,
            lines: HashMap::new(),
            video_packets: 0,
            held: None,
            delayed: Vec::new(),
            peer: None,
            connected: false,
        };
        (session, answer.to_sdp_string())
    }

    fn receive(&mut self, now: Instant) {
        let mut buffer = [0; 2000];
        while let Ok((n, source)) = self.socket.recv_from(&mut buffer) {
            if let Ok(contents) = buffer[..n].try_into() {
                let receive = Receive {
                    proto: Protocol::Udp,
                    source,
                    destination: self.address,
                    contents,
                };
                self.rtc.handle_input(Input::Receive(now, receive)).unwrap();
                // One input, one drain: the events wait in the engine's queue, so
                // only one datagram is taken at a time.
                break;
            }
        }
    }

    /// Polls to the time-out. True when a keyframe is asked for.
    fn drain(
        &mut self,
        badness: &Badness,
        deeds: &mut Deeds,
        packets: &mut Vec<(MediaKind, RtpPacket)>,
    ) -> bool {
        let mut keyframe = false;
        loop {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(at)) => {
                    self.deadline = at;
                    return keyframe;
                }
                Ok(Output::Transmit(t)) => {
                    self.peer = Some(t.destination);
                    self.transmit(t.contents.to_vec(), badness, deeds);
                }
                Ok(Output::Event(Event::Connected)) => self.connected = true,
                Ok(Output::Event(Event::RtpPacket(p))) => {
                    let kind = if p.header.payload_type == 111.into() {
                        MediaKind::Audio
                    } else {
                        MediaKind::Video
                    };
                    packets.push((kind, p));
                }
                Ok(Output::Event(Event::KeyframeRequest(_))) => keyframe = true,
                Ok(Output::Event(_)) => {}
                Err(_) => return keyframe,
            }
        }
    }

    /// Applies the badness to video and sends.
    fn transmit(&mut self, datagram: Vec<u8>, badness: &Badness, deeds: &mut Deeds) {
        let video = self.viewer
            && datagram.len() > 12
            && (128..192).contains(&datagram[0])
            && datagram[1] & 0x7F == 96;
        if !video {
            self.send(&datagram);
            return;
        }
        self.video_packets += 1;
        let n = self.video_packets;
        let every = |k: usize| k > 0 && n.is_multiple_of(k);
        if badness.stop_after > 0 && n > badness.stop_after {
            return;
        }
        if every(badness.lose_every) {
            deeds.lost += 1;
            return;
        }
        deeds.sent += 1;
        if !badness.delay.is_zero() {
            self.delayed
                .push((Instant::now() + badness.delay, datagram));
            return;
        }
        if let Some(held) = self.held.take() {
            self.send(&datagram);
            self.send(&held);
            deeds.swapped += 1;
            return;
        }
        if every(badness.swap_every) {
            self.held = Some(datagram);
            return;
        }
        self.send(&datagram);
        if every(badness.repeat_every) {
            self.send(&datagram);
            deeds.repeated += 1;
            deeds.sent += 1;
        }
    }

    fn release(&mut self, now: Instant) {
        while self.delayed.first().is_some_and(|(at, _)| *at <= now) {
            let (_, datagram) = self.delayed.remove(0);
            self.send(&datagram);
        }
    }

    fn send(&self, datagram: &[u8]) {
        if let Some(peer) = self.peer {
            let _ = self.socket.send_to(datagram, peer);
        }
    }

    fn forward(
        &mut self,
        kind: MediaKind,
        packet: &RtpPacket,
        badness: &Badness,
        deeds: &mut Deeds,
    ) {
        let mid = if kind == MediaKind::Audio { "0" } else { "1" };
        let line = self.lines.entry(kind).or_default();
        let sequence = *packet.seq_no;
        let first = *line.first_in.get_or_insert(sequence);
        line.count += 1;
        let hide = badness.hide_every;
        if kind == MediaKind::Video && hide > 0 && line.count.is_multiple_of(hide) {
            deeds.hidden += 1;
            line.next += 1;
            return;
        }
        // The line keeps the publisher's gaps, but not what was hidden.
        let number = 1000 + (sequence - first) - line.next;
        let mut api = self.rtc.direct_api();
        let Some(stream) = api.stream_tx_by_mid(mid.into(), None) else {
            return;
        };
        line.ssrc = Some(stream.ssrc());
        let write = RtpWrite::new(
            packet.header.payload_type,
            number.into(),
            packet.header.timestamp,
            packet.timestamp,
            packet.payload.clone(),
        )
        .marker(packet.header.marker)
        .nackable(badness.repair);
        stream.write_rtp(write);
        // Each packet leaves before the next is written.
        let _ = self.drain(badness, deeds, &mut Vec::new());
    }

    fn ask_for_keyframe(&mut self) {
        let mut api = self.rtc.direct_api();
        if let Some(stream) = api.stream_rx_by_mid("1".into(), None) {
            stream.request_keyframe(str0m::media::KeyframeRequestKind::Pli);
        }
    }
}
