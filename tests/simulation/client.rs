//! A WHIP or WHEP client on a plain str0m: an implementation of everything the
//! server does on the wire that shares no code with its egress.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use str0m::bwe::BweKind;
use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::format::Codec;
use str0m::media::{Direction, KeyframeRequestKind, MediaKind, Mid, Pt, Simulcast, SimulcastLayer};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{ExtensionValues, RtpWrite, Ssrc};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};

use crate::media::{Stamp, read_vp8, vp8};

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
}

/// What a publisher sends.
#[derive(Debug, Clone)]
pub struct Plan {
    pub fps: u32,
    pub packets_per_frame: u16,
    pub packet_size: usize,
    /// So many more in a keyframe.
    pub keyframe_packets: u16,
    /// Keyframes come by themselves every so many frames; 0 is never.
    pub gop: u32,
    /// Reacts to PLI and FIR.
    pub reacts: bool,
    /// Its first keyframe is that of `gop`, as when a server is started under it.
    pub starts_late: bool,
    /// Simulcast layers: rid and picture size; empty without simulcast.
    pub layers: Vec<(String, (u16, u16))>,
    /// Packets a frame of each layer, where they differ from `packets_per_frame`.
    pub layer_packets: Vec<u16>,
    pub audio: bool,
    pub video: bool,
    /// Tells this publisher's packets from others'.
    pub tag: u8,
    /// It knows no transport-wide feedback and obeys the maximum rate that it is told
    /// with so many packets a frame at most, from `packets_per_frame` on.
    pub obeys: Option<u16>,
    /// Its video is H.264, which viewers here don't have; what is in it is no picture.
    pub h264: bool,
    /// When it speaks and how loud in dBov; `None`: its packets carry no levels.
    pub speech: Option<Vec<(Instant, Instant, i8)>>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            fps: 30,
            packets_per_frame: 4,
            packet_size: 1100,
            keyframe_packets: 0,
            gop: 0,
            reacts: true,
            starts_late: false,
            layers: Vec::new(),
            layer_packets: Vec::new(),
            audio: true,
            video: true,
            tag: 0,
            obeys: None,
            h264: false,
            speech: None,
        }
    }
}

#[derive(Debug)]
struct Source {
    rid: Option<String>,
    size: (u16, u16),
    seq: u64,
    wants_keyframe: bool,
    layer: u8,
}

/// The media side of a client.
pub enum Role {
    Publisher(Box<Publishing>),
    Viewer,
}

pub struct Publishing {
    pub plan: Plan,
    sources: Vec<Source>,
    frame: u32,
    audio_seq: u64,
    audio_time: u32,
    next_frame: Option<Instant>,
    next_audio: Option<Instant>,
    pub sending: bool,
    /// The first packets of keyframes are lost when they are sent first.
    pub loses_starts: bool,
    lost: Vec<u16>,
    /// Simulcast layers that are not sent at present.
    pub silent: Vec<u8>,
    timestamp_offset: u32,
}

pub struct Client {
    pub address: SocketAddr,
    pub rtc: Rtc,
    pub role: Role,
    pub connected: Option<Instant>,
    pub closed: bool,
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
    ) -> (Self, String) {
        let h264 = publish.as_ref().is_some_and(|p| p.h264);
        let mut rtc = builder().enable_vp8(!h264).enable_h264(h264).build(now);
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
            Some(plan) => {
                let sources = if plan.layers.is_empty() {
                    vec![(None, (640, 360))]
                } else {
                    plan.layers
                        .iter()
                        .map(|(r, s)| (Some(r.clone()), *s))
                        .collect()
                };
                Role::Publisher(Box::new(Publishing {
                    sources: (0u8..)
                        .zip(sources)
                        .map(|(layer, (rid, size))| Source {
                            rid,
                            size,
                            seq: 100 + u64::from(layer) * 1000,
                            wants_keyframe: !plan.starts_late,
                            layer,
                        })
                        .collect(),
                    plan,
                    frame: 0,
                    audio_seq: 500,
                    audio_time: 77_000,
                    next_frame: None,
                    next_audio: None,
                    sending: true,
                    loses_starts: false,
                    lost: Vec::new(),
                    silent: Vec::new(),
                    timestamp_offset: 1_000_000,
                }))
            }
        };
        let client = Self {
            address,
            rtc,
            role,
            connected: None,
            closed: false,
            received: Vec::new(),
            reports: Vec::new(),
            keyframe_requests: 0,
            told: Vec::new(),
            asked_for: Vec::new(),
            plain: false,
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
        let (mut client, _) = Self::new(address, now, None, (1, 1));
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
        self.send_media(now);
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
                Output::Transmit(t) => transmit(t.destination, &t.contents),
                Output::Event(event) => self.event(now, event),
            }
        }
    }

    /// The datagram is one of those that are to be lost.
    fn loses(&mut self, datagram: &[u8]) -> bool {
        let Role::Publisher(p) = &mut self.role else {
            return false;
        };
        if p.lost.is_empty() || !matches!(datagram.first(), Some(128..=191)) {
            return false;
        }
        let vp8 = *pt(&self.rtc, Codec::Vp8);
        let number = u16::from_be_bytes([datagram[2], datagram[3]]);
        let at = p.lost.iter().position(|lost| *lost == number);
        let at = at.filter(|_| datagram[1] & 0x7f == vp8);
        at.map(|at| p.lost.swap_remove(at)).is_some()
    }

    /// Whether the first packets of a publisher's keyframes are lost from now on.
    pub fn lose_starts(&mut self, lose: bool) {
        if let Role::Publisher(p) = &mut self.role {
            p.loses_starts = lose;
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
                let stamp = if video {
                    read_vp8(&packet.payload)
                } else {
                    None
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
                });
            }
            _ => {}
        }
    }

    /// Goes on with other SSRCs, numbers and timestamps, as when encoders start over.
    pub fn change_ssrcs(&mut self) {
        let Role::Publisher(p) = &mut self.role else {
            return;
        };
        let mut api = self.rtc.direct_api();
        let rids = p.sources.iter().map(|s| (self.video, s.rid.as_deref()));
        for (mid, rid) in rids.chain([(self.audio, None)]) {
            let Some(mid) = mid else { continue };
            let (ssrc, rtx) = (api.new_ssrc(), api.new_ssrc());
            let rid = rid.map(Into::into);
            let former = api.stream_tx_by_mid(mid, rid).expect("a stream").ssrc();
            assert!(api.remove_stream_tx(former));
            api.declare_stream_tx(ssrc, Some(rtx), mid, rid);
        }
        for source in &mut p.sources {
            source.seq = 20 + u64::from(source.layer) * 9;
        }
        p.audio_seq = 7;
        p.audio_time = 123;
        p.timestamp_offset = 2_000_000_000;
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

    fn send_media(&mut self, now: Instant) {
        let (audio, video) = (self.audio, self.video);
        let Role::Publisher(p) = &mut self.role else {
            return;
        };
        if self.connected.is_none() || !p.sending {
            return;
        }
        while let Some(at) = p.next_frame.filter(|at| *at <= now) {
            p.next_frame = Some(at + Duration::from_secs(1) / p.plan.fps);
            p.frame += 1;
            let periodic = p.plan.gop > 0
                && p.frame % p.plan.gop == 1
                && !(p.plan.starts_late && p.frame == 1);
            let timestamp = p
                .timestamp_offset
                .wrapping_add((u64::from(p.frame) * 90_000 / u64::from(p.plan.fps)) as u32);
            for source in &mut p.sources {
                if p.silent.contains(&source.layer) {
                    continue;
                }
                let keyframe = std::mem::take(&mut source.wants_keyframe) || periodic;
                let Some(mid) = video else { continue };
                let of_layer = p.plan.layer_packets.get(usize::from(source.layer));
                let more = if keyframe { p.plan.keyframe_packets } else { 0 };
                let count = of_layer.copied().unwrap_or(p.plan.packets_per_frame) + more;
                for index in 0..count {
                    let stamp = Stamp {
                        frame: p.frame,
                        index,
                        count,
                        keyframe,
                        layer: source.layer,
                        from: p.plan.tag,
                    };
                    let payload = vp8(stamp, source.size, p.plan.packet_size);
                    let codec = if p.plan.h264 { Codec::H264 } else { Codec::Vp8 };
                    let pt = pt(&self.rtc, codec);
                    let rid = source.rid.as_deref().map(Into::into);
                    let mut api = self.rtc.direct_api();
                    let Some(stream) = api.stream_tx_by_mid(mid, rid) else {
                        continue;
                    };
                    let layer = u32::from(source.layer) * 333;
                    let write = RtpWrite::new(
                        pt,
                        source.seq.into(),
                        timestamp.wrapping_add(layer),
                        at,
                        payload,
                    )
                    .marker(index + 1 == count)
                    .nackable(true);
                    stream.write_rtp(write);
                    if p.loses_starts && keyframe && index == 0 {
                        p.lost.push(source.seq as u16);
                    }
                    source.seq += 1;
                }
            }
        }
        while let Some(at) = p.next_audio.filter(|at| *at <= now) {
            p.next_audio = Some(at + Duration::from_millis(20));
            let Some(mid) = audio else { continue };
            let pt = pt(&self.rtc, Codec::Opus);
            let mut api = self.rtc.direct_api();
            if let Some(stream) = api.stream_tx_by_mid(mid, None) {
                let mut payload = (p.audio_seq as u32).to_be_bytes().to_vec();
                payload.resize(80, p.plan.tag);
                let level = p.plan.speech.as_ref().map(|speech| {
                    let spoken = speech
                        .iter()
                        .filter(|(from, to, _)| (*from..*to).contains(&at));
                    spoken.map(|(.., level)| *level).max().unwrap_or(-80)
                });
                let values = ExtensionValues {
                    audio_level: level,
                    voice_activity: level.map(|_| true),
                    ..ExtensionValues::default()
                };
                let write = RtpWrite::new(pt, p.audio_seq.into(), p.audio_time, at, payload)
                    .ext_vals(values);
                stream.write_rtp(write);
            }
            p.audio_seq += 1;
            p.audio_time = p.audio_time.wrapping_add(960);
        }
        // Several writes, then one timeout: the engine's rule.
        self.timeout = Some(now);
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
