//! One peer of the fake server: takes media in or sends it out, with all the badness asked for.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use str0m::change::{SdpOffer, SdpPendingOffer};
use str0m::format::{Codec, FormatParams};
use str0m::media::{Direction, Frequency, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{RtpPacket, RtpWrite, Ssrc};
use str0m::{Candidate, Event, Input, Output, Rtc};

use super::{Badness, Deeds};

/// Payload types and `mid`s that a viewer was offered by us, which are other ones
/// than the publisher's.
const OWN_OPUS: u8 = 109;
const OWN_VIDEO: u8 = 107;
const OWN_RTX: u8 = 108;

pub(super) struct Session {
    pub(super) id: u64,
    pub(super) invitation: Option<SdpPendingOffer>,
    mids: [Mid; 2],
    opus: u8,
    video: u8,
    pub(super) rtc: Rtc,
    socket: UdpSocket,
    address: SocketAddr,
    pub(super) viewer: bool,
    /// One of the first viewers.
    pub(super) favoured: bool,
    pub(super) deadline: Instant,
    lines: HashMap<MediaKind, Line>,
    video_packets: usize,
    held: Option<Vec<u8>>,
    delayed: Vec<(Instant, Vec<u8>)>,
    stalled_until: Option<Instant>,
    /// Which encoding is forwarded, and frames since it is.
    encoding: usize,
    frames: usize,
    peer: Option<SocketAddr>,
    pub(super) connected: bool,
}

#[derive(Default)]
struct Line {
    ssrc: Option<Ssrc>,
    /// What is added to the publisher's numbers.
    shift: Option<i64>,
    highest: i64,
    count: usize,
}

/// The encodings of a publisher of two, and the one of another.
const RIDS: [&str; 2] = ["h", "f"];

impl Session {
    fn new(ip: IpAddr, viewer: bool, build: impl FnOnce(Instant) -> Rtc) -> Self {
        let socket = UdpSocket::bind((ip, 0)).unwrap();
        socket.set_nonblocking(true).unwrap();
        let address = socket.local_addr().unwrap();
        let now = Instant::now();
        let mut rtc = build(now);
        rtc.add_local_candidate(Candidate::host(address, "udp").unwrap());
        Self {
            id: 0,
            invitation: None,
            mids: ["0".into(), "1".into()],
            opus: 111,
            video: 96,
            rtc,
            socket,
            address,
            viewer,
            favoured: false,
            deadline: now,
            lines: HashMap::new(),
            video_packets: 0,
            held: None,
            delayed: Vec::new(),
            stalled_until: None,
            encoding: 0,
            frames: 0,
            peer: None,
            connected: false,
        }
    }

    pub(super) fn answer(ip: IpAddr, viewer: bool, sdp: &str) -> Option<(Self, String)> {
        let mut session = Self::new(ip, viewer, |now| {
            Rtc::builder()
                .set_ice_lite(true)
                .set_rtp_mode(true)
                .set_stats_interval(Some(Duration::from_secs(1)))
                .set_rtcp_report_interval_audio(Duration::from_millis(500))
                .set_rtcp_report_interval_video(Duration::from_millis(500))
                .build(now)
        });
        let offer = SdpOffer::from_sdp_string(sdp).ok()?;
        let answer = session.rtc.sdp_api().accept_offer(offer).ok()?;
        Some((session, answer.to_sdp_string()))
    }

    /// A viewer that is offered to by a full, controlling agent.
    pub(super) fn invite(ip: IpAddr, id: u64) -> (Self, String) {
        let mut session = Self::new(ip, true, |now| {
            let mut builder = Rtc::builder().clear_codecs().set_rtp_mode(true);
            let codecs = builder.codec_config();
            codecs.add_config(
                OWN_OPUS.into(),
                None,
                Codec::Opus,
                Frequency::FORTY_EIGHT_KHZ,
                Some(2),
                FormatParams::default(),
            );
            codecs.add_h264(OWN_VIDEO.into(), Some(OWN_RTX.into()), true, 0x42_e01f);
            builder.build(now)
        });
        let mut api = session.rtc.sdp_api();
        let one = Direction::SendOnly;
        let audio = api.add_media(MediaKind::Audio, one, None, None, None);
        let video = api.add_media(MediaKind::Video, one, None, None, None);
        let (offer, pending) = api.apply().unwrap();
        session.id = id;
        session.mids = [audio, video];
        (session.opus, session.video) = (OWN_OPUS, OWN_VIDEO);
        session.invitation = Some(pending);
        (session, offer.to_sdp_string())
    }

    pub(super) fn receive(&mut self, now: Instant, deeds: &mut Deeds) {
        let mut buffer = [0; 2000];
        while let Ok((n, source)) = self.socket.recv_from(&mut buffer) {
            if let Ok(contents) = buffer[..n].try_into() {
                let receive = Receive {
                    proto: Protocol::Udp,
                    source,
                    destination: self.address,
                    contents,
                };
                // Garbage must not end the test server.
                let _ = self.rtc.handle_input(Input::Receive(now, receive));
                // One input, one drain: the events wait in the engine's queue, so
                // only one datagram is taken at a time.
                break;
            }
            deeds.garbage += 1;
        }
    }

    /// Polls to the time-out. True when a keyframe is asked for.
    pub(super) fn drain(
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
                Ok(Output::Event(Event::PeerStats(stats))) if self.viewer => {
                    let loss = stats.egress_loss_fraction.unwrap_or(0.0) * 100.0;
                    deeds.feedback_loss = deeds.feedback_loss.max(loss);
                }
                Ok(Output::Event(Event::MediaEgressStats(stats))) if stats.mid == "1".into() => {
                    if let Some(loss) = stats.loss {
                        deeds.report_loss.0 += loss * 100.0;
                        deeds.report_loss.1 += 1;
                    }
                }
                Ok(Output::Event(_)) => {}
                Err(_) => return keyframe,
            }
        }
    }

    /// Applies the badness to video and sends.
    fn transmit(&mut self, mut datagram: Vec<u8>, badness: &Badness, deeds: &mut Deeds) {
        let video = self.viewer
            && datagram.len() > 12
            && (128..192).contains(&datagram[0])
            && datagram[1] & 0x7F == self.video;
        let repair = self.viewer
            && datagram.len() > 12
            && (128..192).contains(&datagram[0])
            && datagram[1] & 0x7F == self.video + 1;
        deeds.repairs += u64::from(repair);
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
        if every(badness.damage_every) {
            let last = datagram.len() - 1;
            datagram[last] ^= 1;
        }
        let now = Instant::now();
        if let Some((after, time)) = badness.stall
            && n > after
            && now < *self.stalled_until.get_or_insert(now + time)
        {
            self.delayed
                .push((self.stalled_until.unwrap_or(now), datagram));
            return;
        }
        let slow = badness.slow.filter(|(k, _)| every(*k)).map(|(_, d)| d);
        let shake = every(2).then_some(badness.shake).filter(|d| !d.is_zero());
        let delay = if self.favoured || badness.favour_first.is_zero() {
            badness.delay
        } else {
            badness.favour_first
        };
        let delay = Some(delay).filter(|d| !d.is_zero());
        if let Some(delay) = slow.or(shake).or(delay) {
            self.delayed.push((now + delay, datagram));
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

    pub(super) fn release(&mut self, now: Instant) {
        let (due, later) = std::mem::take(&mut self.delayed)
            .into_iter()
            .partition(|(at, _)| *at <= now);
        self.delayed = later;
        for (_, datagram) in due as Vec<(Instant, Vec<u8>)> {
            self.send(&datagram);
        }
    }

    fn send(&self, datagram: &[u8]) {
        if let Some(peer) = self.peer {
            let _ = self.socket.send_to(datagram, peer);
        }
    }

    pub(super) fn forward(
        &mut self,
        kind: MediaKind,
        packet: &RtpPacket,
        badness: &Badness,
        deeds: &mut Deeds,
    ) {
        let (mid, payload_type) = match kind {
            MediaKind::Audio => (self.mids[0], self.opus),
            _ => (self.mids[1], self.video),
        };
        let video = kind == MediaKind::Video;
        let rid = packet.header.ext_vals.rid.as_ref().map(ToString::to_string);
        if let Some(rid) = rid
            && video
            && rid != RIDS[self.encoding]
        {
            return;
        }
        let line = self.lines.entry(kind).or_default();
        line.count += 1;
        let every = |n: usize| video && n > 0 && line.count.is_multiple_of(n);
        let sequence = *packet.seq_no as i64;
        let start = if line.count == 1 {
            1000
        } else {
            line.highest + 1
        };
        let shift = *line.shift.get_or_insert(start - sequence);
        if every(badness.hide_every) {
            deeds.hidden += 1;
            line.shift = Some(shift - 1);
            return;
        }
        // The line keeps the publisher's gaps, but not what was hidden.
        let number = sequence + shift;
        line.highest = line.highest.max(number);
        let mut numbers = vec![number];
        if every(badness.double_every) {
            deeds.doubled += 1;
            line.shift = Some(shift + 1);
            line.highest += 1;
            numbers.push(number + 1);
        }
        if video && packet.header.marker && badness.switch_every > 0 {
            self.frames += 1;
            if self.frames.is_multiple_of(badness.switch_every) {
                deeds.switches += 1;
                self.encoding = 1 - self.encoding;
                // The other encoding's next packet goes on where this one ends.
                line.shift = None;
            }
        }
        let mut api = self.rtc.direct_api();
        let Some(stream) = api.stream_tx_by_mid(mid, None) else {
            return;
        };
        line.ssrc = Some(stream.ssrc());
        let time = if video {
            packet.timestamp
        } else {
            // A report maps a time-stamp to the time given here: an earlier one.
            packet.timestamp - badness.audio_shift
        };
        for number in numbers {
            let write = RtpWrite::new(
                payload_type.into(),
                (number as u64).into(),
                packet.header.timestamp,
                time,
                packet.payload.clone(),
            )
            .marker(packet.header.marker)
            .nackable(badness.repair);
            stream.write_rtp(write);
        }
        // Each packet leaves before the next is written.
        let _ = self.drain(badness, deeds, &mut Vec::new());
    }

    pub(super) fn ask_for_keyframe(&mut self) {
        let mut api = self.rtc.direct_api();
        let rids = RIDS.iter().map(|rid| Some((*rid).into())).chain([None]);
        for rid in rids {
            if let Some(stream) = api.stream_rx_by_mid("1".into(), rid) {
                stream.request_keyframe(str0m::media::KeyframeRequestKind::Pli);
            }
        }
    }
}
