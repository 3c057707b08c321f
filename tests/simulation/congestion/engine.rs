//! str0m's own bandwidth estimation as a sender, with str0m as the receiver: the
//! yardstick.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use str0m::bwe::{Bitrate, BweKind};
use str0m::format::Codec;
use str0m::media::{Direction, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::RtpWrite;
use str0m::{Candidate, Event, Input, Output, Rtc};

use super::flow::{Content, Datagram, Encoder, Flow};

const SENDER: SocketAddr = SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 2, 0, 1)),
    5000,
);
const RECEIVER: SocketAddr = SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 2, 0, 2)),
    5000,
);

/// The estimate it begins with, as browsers do.
const START: u64 = 300_000;

/// One end: an engine, what it wants to send, and what it found.
struct End {
    rtc: Rtc,
    address: SocketAddr,
    remote: SocketAddr,
    timeout: Instant,
    out: Vec<Vec<u8>>,
    connected: bool,
    estimate: u64,
    received: HashSet<u64>,
    bytes: u64,
}

impl End {
    fn new(rtc: Rtc, address: SocketAddr, remote: SocketAddr, now: Instant) -> Self {
        Self {
            rtc,
            address,
            remote,
            timeout: now,
            out: Vec::new(),
            connected: false,
            estimate: START,
            received: HashSet::new(),
            bytes: 0,
        }
    }

    fn tick(&mut self, now: Instant) {
        while self.timeout <= now {
            self.rtc
                .handle_input(Input::Timeout(now))
                .expect("it goes on");
            self.drain();
        }
    }

    fn take(&mut self, now: Instant, bytes: &[u8]) {
        if let Ok(receive) = Receive::new(Protocol::Udp, self.remote, self.address, bytes) {
            self.rtc
                .handle_input(Input::Receive(now, receive))
                .expect("it goes on");
            self.drain();
        }
    }

    fn drain(&mut self) {
        loop {
            match self.rtc.poll_output().expect("it goes on") {
                Output::Timeout(at) => {
                    self.timeout = at;
                    return;
                }
                Output::Transmit(transmit) => self.out.push(transmit.contents.to_vec()),
                Output::Event(Event::Connected) => self.connected = true,
                Output::Event(Event::EgressBitrateEstimate(BweKind::Twcc { estimate, .. })) => {
                    self.estimate = estimate.as_u64();
                }
                Output::Event(Event::RtpPacket(packet)) => {
                    if self.received.insert(*packet.seq_no) {
                        self.bytes += packet.payload.len() as u64;
                    }
                }
                Output::Event(_) => {}
            }
        }
    }
}

pub struct Engine {
    sender: End,
    receiver: End,
    mid: Mid,
    encoder: Encoder,
    sequence: u64,
    timestamp: u32,
}

impl Engine {
    /// A connected pair: the handshake takes place before `start`.
    pub fn new(start: Instant, most: f64, seed: u64) -> Self {
        let mut now = start - Duration::from_secs(1);
        let end = |bwe: bool, address, remote| {
            let mut builder = Rtc::builder()
                .set_rtp_mode(true)
                .clear_codecs()
                .enable_vp8(true);
            if bwe {
                builder = builder.enable_bwe(Some(Bitrate::from(START)));
            }
            let mut rtc = builder.build(now);
            rtc.add_local_candidate(Candidate::host(address, Protocol::Udp).expect("a candidate"));
            End::new(rtc, address, remote, now)
        };
        let mut sender = end(true, SENDER, RECEIVER);
        let mut receiver = end(false, RECEIVER, SENDER);
        let mut api = sender.rtc.sdp_api();
        let mid = api.add_media(MediaKind::Video, Direction::SendOnly, None, None, None);
        let (offer, pending) = api.apply().expect("an offer");
        let answer = receiver
            .rtc
            .sdp_api()
            .accept_offer(offer)
            .expect("an answer");
        sender
            .rtc
            .sdp_api()
            .accept_answer(pending, answer)
            .expect("taken");
        sender
            .rtc
            .bwe()
            .set_bitrate(Bitrate::ZERO, Bitrate::from(most as u64));
        while !(sender.connected && receiver.connected) {
            assert!(now < start, "no connection");
            sender.tick(now);
            receiver.tick(now);
            for bytes in std::mem::take(&mut sender.out) {
                receiver.take(now, &bytes);
            }
            for bytes in std::mem::take(&mut receiver.out) {
                sender.take(now, &bytes);
            }
            now += Duration::from_millis(1);
        }
        Self {
            sender,
            receiver,
            mid,
            encoder: Encoder::new(most, seed),
            sequence: 1000,
            timestamp: 0,
        }
    }
}

impl Flow for Engine {
    fn send(&mut self, now: Instant, out: &mut Vec<Datagram>) {
        if let Some(frame) = self.encoder.frame(now, self.sender.estimate as f64) {
            self.timestamp = self.timestamp.wrapping_add(3000);
            let pt = self
                .sender
                .rtc
                .codec_config()
                .find(|p| p.spec().codec == Codec::Vp8)
                .expect("a codec")
                .pt();
            let last = frame.len() - 1;
            for (index, size) in frame.into_iter().enumerate() {
                let mut api = self.sender.rtc.direct_api();
                let stream = api.stream_tx_by_mid(self.mid, None).expect("a stream");
                let payload = vec![0x10; size];
                let write = RtpWrite::new(pt, self.sequence.into(), self.timestamp, now, payload)
                    .marker(index == last);
                stream.write_rtp(write);
                self.sequence += 1;
            }
            self.sender.timeout = now;
        }
        self.sender.tick(now);
        out.extend(self.sender.out.drain(..).map(|bytes| Datagram {
            size: bytes.len(),
            content: Content::Bytes(bytes),
        }));
    }

    fn arrive(&mut self, at: Instant, datagram: Datagram) {
        if let Content::Bytes(bytes) = datagram.content {
            self.receiver.take(at, &bytes);
        }
    }

    fn report(&mut self, now: Instant, out: &mut Vec<Vec<u8>>) {
        self.receiver.tick(now);
        out.append(&mut self.receiver.out);
    }

    fn hear(&mut self, now: Instant, feedback: &[u8]) {
        self.sender.take(now, feedback);
    }

    fn estimate(&self) -> f64 {
        self.sender.estimate as f64
    }

    fn delivered(&self) -> u64 {
        self.receiver.bytes
    }
}
