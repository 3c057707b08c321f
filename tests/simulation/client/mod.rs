//! A WHIP or WHEP client on a plain str0m: an implementation of everything the
//! server does on the wire that shares no code with its egress.

mod publishing;

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use str0m::bwe::BweKind;
use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::format::Codec;
use str0m::media::{Direction, KeyframeRequestKind, MediaKind, Mid, Pt, Simulcast, SimulcastLayer};
use str0m::net::{Protocol, Receive};
use str0m::rtp::Ssrc;
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};

use crate::media::{Stamp, read_vp8, read_vp9};

pub use publishing::{Plan, Publishing};

/// A packet as a viewer got it.
#[derive(Debug, Clone)]
pub struct Received {
    pub at: Instant,
    pub video: bool,
    pub ssrc: u32,
    /// Extended sequence number.
    pub seq: u64,
    pub timestamp: u32,
    pub stamp: Option<Stamp>,
    /// When it was captured, as the newest sender report tells: time since
    /// the Unix epoch on the server's clock.
    pub captured: Option<Duration>,
    /// The publisher's own number of an audio packet.
    pub audio_number: Option<u32>,
    /// The publisher's [`Plan::tag`].
    pub from: Option<u8>,
    /// The viewer's section.
    pub mid: Mid,
    /// Transport-wide sequence number.
    pub transport: Option<u16>,
    pub marker: bool,
}

/// The media side of a client.
pub enum Role {
    Publisher(Box<Publishing>),
    Viewer,
}

pub struct Client {
    pub address: SocketAddr,
    pub rtc: Rtc,
    pub role: Role,
    pub connected: Option<Instant>,
    pub closed: bool,
    /// Its checks are no longer answered.
    pub cut_off: bool,
    pub received: Vec<Received>,
    /// When sender reports came.
    pub reports: Vec<Instant>,
    pub keyframe_requests: u64,
    /// The maximum rates that it was told, bits per second.
    pub told: Vec<(Instant, u64)>,
    /// The simulcast layers that keyframes were asked of.
    pub asked_for: Vec<String>,
    /// It asks for repairs although it has no RTX.
    pub plain: bool,
    /// Its video is VP9, else VP8.
    vp9: bool,
    pending: Option<SdpPendingOffer>,
    audio: Option<Mid>,
    video: Option<Mid>,
    videos: Vec<Mid>,
    timeout: Option<Instant>,
}

impl Client {
    /// A client whose offer has so many audio and video `sections`.
    pub fn new(
        address: SocketAddr,
        now: Instant,
        publish: Option<Plan>,
        sections: (usize, usize),
        vp9: bool,
    ) -> (Self, String) {
        let h264 = publish.as_ref().is_some_and(|p| p.h264);
        let codecs = builder().enable_vp8(!h264 && !vp9);
        let mut rtc = codecs.enable_h264(h264).enable_vp9(vp9).build(now);
        rtc.add_local_candidate(Candidate::host(address, Protocol::Udp).expect("host candidate"));
        let direction = match publish {
            Some(_) => Direction::SendOnly,
            None => Direction::RecvOnly,
        };
        let simulcast = publish.as_ref().filter(|p| !p.layers.is_empty()).map(|p| {
            let mut simulcast = Simulcast::new();
            for (rid, _) in &p.layers {
                simulcast.add_send_layer(SimulcastLayer::new(rid));
            }
            simulcast
        });
        let with_audio = publish.as_ref().is_none_or(|p| p.audio);
        let with_video = publish.as_ref().is_none_or(|p| p.video);
        let mut api = rtc.sdp_api();
        let audio =
            with_audio.then(|| api.add_media(MediaKind::Audio, direction, None, None, None));
        let video =
            with_video.then(|| api.add_media(MediaKind::Video, direction, None, None, simulcast));
        let mut videos: Vec<Mid> = video.into_iter().collect();
        for _ in 1..sections.0 {
            api.add_media(MediaKind::Audio, direction, None, None, None);
        }
        for _ in 1..sections.1 {
            videos.push(api.add_media(MediaKind::Video, direction, None, None, None));
        }
        let (offer, pending) = api.apply().expect("an offer");
        let mut offer = offer.to_sdp_string();
        if publish.as_ref().is_some_and(|p| p.obeys.is_some()) {
            let lines = offer.split_inclusive("\r\n");
            let known =
                |line: &&str| !line.contains("transport-cc") && !line.contains("transport-wide");
            offer = lines.filter(known).collect();
        }
        let role = match publish {
            None => Role::Viewer,
            Some(plan) => Role::Publisher(Box::new(Publishing::new(plan))),
        };
        let client = Self {
            address,
            rtc,
            role,
            connected: None,
            closed: false,
            cut_off: false,
            received: Vec::new(),
            reports: Vec::new(),
            keyframe_requests: 0,
            told: Vec::new(),
            asked_for: Vec::new(),
            plain: false,
            vp9,
            pending: Some(pending),
            audio,
            video,
            videos,
            timeout: Some(now),
        };
        (client, offer)
    }

    /// A client that will answer an offer.
    pub fn answering(address: SocketAddr, now: Instant, offer: &str) -> (Self, String) {
        let (mut client, _) = Self::new(address, now, None, (1, 1), false);
        let mut rtc = builder().build(now);
        rtc.add_local_candidate(Candidate::host(address, Protocol::Udp).expect("host candidate"));
        let offer = SdpOffer::from_sdp_string(offer).expect("str0m reads the offer");
        let answer = rtc.sdp_api().accept_offer(offer).expect("and takes it");
        client.rtc = rtc;
        client.pending = None;
        client.videos.clear();
        client.timeout = None;
        (client, answer.to_sdp_string())
    }

    pub fn answer(&mut self, sdp: &str) {
        let answer = SdpAnswer::from_sdp_string(sdp).expect("str0m reads the answer");
        let pending = self.pending.take().expect("an offer is open");
        self.rtc
            .sdp_api()
            .accept_answer(pending, answer)
            .expect("str0m takes the answer");
        self.timeout = None;
    }

    pub fn receive(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) {
        // SRTCP leaves the first header in the clear (RFC 3711 §3.4); type 200 (RFC 3550 §6.4.1).
        if matches!(bytes, [128..=191, 200, ..]) {
            self.reports.push(now);
        }
        if let Ok(receive) = Receive::new(Protocol::Udp, from, self.address, bytes) {
            self.rtc
                .handle_input(Input::Receive(now, receive))
                .expect("the client goes on");
        }
    }

    pub fn deadline(&self) -> Option<Instant> {
        let media = match &self.role {
            Role::Publisher(p) if p.sending && self.connected.is_some() => {
                [p.next_frame, p.next_audio].into_iter().flatten().min()
            }
            _ => None,
        };
        [self.timeout, media].into_iter().flatten().min()
    }

    /// Lets time pass: sends what is due, and gives what leaves to `transmit`.
    pub fn tick(&mut self, now: Instant, mut transmit: impl FnMut(SocketAddr, &[u8])) {
        let mut sent = Vec::new();
        self.drain(now, &mut sent);
        self.send_media(now, &mut sent);
        for (to, bytes) in sent {
            transmit(to, &bytes);
        }
    }

    /// Takes out of the engine what there is.
    fn drain(&mut self, now: Instant, sent: &mut Vec<(SocketAddr, Vec<u8>)>) {
        if self.timeout.is_none_or(|at| at <= now) {
            self.rtc
                .handle_input(Input::Timeout(now))
                .expect("the client goes on");
        }
        loop {
            match self.rtc.poll_output().expect("the client goes on") {
                Output::Timeout(at) => {
                    self.timeout = self.rtc.is_alive().then_some(at);
                    break;
                }
                Output::Transmit(t) if self.loses(&t.contents) => {}
                Output::Transmit(t) => sent.push((t.destination, t.contents.to_vec())),
                Output::Event(event) => self.event(now, event),
            }
        }
    }

    fn event(&mut self, now: Instant, event: Event) {
        match event {
            Event::Connected => {
                self.connected = Some(now);
                if let Role::Publisher(p) = &mut self.role {
                    p.next_frame = Some(now);
                    p.next_audio = Some(now);
                }
            }
            Event::MediaAdded(media) if media.kind == MediaKind::Video => {
                self.videos.push(media.mid);
            }
            Event::Closed => self.closed = true,
            Event::IceConnectionStateChange(state) => self.cut_off = state.is_disconnected(),
            Event::EgressBitrateEstimate(BweKind::Remb { estimate, .. }) => {
                self.told.push((now, estimate.as_u64()));
                if let Role::Publisher(p) = &mut self.role
                    && let Some(most) = p.plan.obeys
                {
                    let packet = p.plan.packet_size as u64 * 8 * u64::from(p.plan.fps);
                    let packets = u16::try_from(estimate.as_u64() / packet).unwrap_or(most);
                    p.plan.packets_per_frame = packets.clamp(1, most);
                }
            }
            Event::KeyframeRequest(request) => {
                self.keyframe_requests += 1;
                self.asked_for.extend(request.rid.map(|r| r.to_string()));
                assert!(matches!(
                    request.kind,
                    KeyframeRequestKind::Pli | KeyframeRequestKind::Fir
                ));
                if let Role::Publisher(p) = &mut self.role
                    && p.plan.reacts
                {
                    let rid = request.rid.map(|r| r.to_string());
                    for source in &mut p.sources {
                        if rid.is_none() || source.rid == rid {
                            source.wants_keyframe = true;
                        }
                    }
                }
            }
            Event::RtpPacket(packet) => {
                let ssrc: Ssrc = packet.header.ssrc;
                let mut api = self.rtc.direct_api();
                let mid = api
                    .stream_rx(&ssrc)
                    .map(|s| s.mid())
                    .expect("a known stream");
                let video = self.videos.contains(&mid);
                if video
                    && self.plain
                    && let Some(stream) = api.stream_rx(&ssrc)
                {
                    stream.suppress_nack(false);
                }
                let captured = packet.last_sender_info.as_ref().and_then(|info| {
                    let rate = if video { 90_000.0 } else { 48_000.0 };
                    let ticks = packet
                        .header
                        .timestamp
                        .wrapping_sub(info.rtp_time.numer() as u32)
                        as i32;
                    let report = info.ntp_time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
                    Some(Duration::from_secs_f64(
                        report.as_secs_f64() + f64::from(ticks) / rate,
                    ))
                });
                let number = packet
                    .payload
                    .first_chunk::<4>()
                    .map(|b| u32::from_be_bytes(*b));
                let stamp = match (video, self.vp9) {
                    (true, false) => read_vp8(&packet.payload),
                    (true, true) => read_vp9(&packet.payload),
                    _ => None,
                };
                let from = match stamp {
                    Some(stamp) => Some(stamp.from),
                    None => packet.payload.get(4).copied(),
                };
                self.received.push(Received {
                    from,
                    mid,
                    transport: packet.header.ext_vals.transport_cc,
                    captured,
                    audio_number: number.filter(|_| !video),
                    at: now,
                    video,
                    ssrc: *ssrc,
                    seq: *packet.seq_no,
                    timestamp: packet.header.timestamp,
                    stamp,
                    marker: packet.header.marker,
                });
            }
            _ => {}
        }
    }

    /// Asks for a keyframe of the video it watches, as a decoder does that has
    /// lost its way.
    pub fn request_keyframe(&mut self) {
        let ssrc = self.received.iter().rev().find(|r| r.video).map(|r| r.ssrc);
        let mut api = self.rtc.direct_api();
        if let Some(stream) = ssrc.and_then(|ssrc| api.stream_rx(&ssrc.into())) {
            stream.request_keyframe(KeyframeRequestKind::Pli);
        }
        self.timeout = None;
    }

    /// Tells the server what the viewer's path carries.
    pub fn tell_remb(&mut self, rate: u64) {
        let ssrc = self.received.iter().rev().find(|r| r.video).map(|r| r.ssrc);
        let mut api = self.rtc.direct_api();
        if let Some(stream) = ssrc.and_then(|ssrc| api.stream_rx(&ssrc.into())) {
            stream.request_remb(str0m::bwe::Bitrate::bps(rate));
        }
        self.timeout = None;
    }
}

fn pt(rtc: &Rtc, codec: Codec) -> Pt {
    rtc.codec_config()
        .find(|p| p.spec().codec == codec)
        .expect("a configured codec")
        .pt()
}

fn builder() -> RtcConfig {
    Rtc::builder()
        .set_rtp_mode(true)
        .clear_codecs()
        .enable_vp8(true)
        .enable_opus(true, false)
}
