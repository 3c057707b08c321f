//! The publishing side of a client: what it sends, when, and what of it is lost on purpose.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use str0m::format::Codec;
use str0m::rtp::{ExtensionValues, RtpWrite};

use super::{Client, Role, pt};
use crate::media::{Stamp, vp8, vp9};

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
    /// Its video is VP9 of these spatial layers: packets of each in a picture, and in a keyframe.
    pub svc: Vec<(u16, u16)>,
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
            svc: Vec::new(),
            speech: None,
        }
    }
}

impl Plan {
    /// Three layers with so many packets a frame.
    pub fn layered(packets: [u16; 3]) -> Self {
        let sizes = [("q", (320, 180)), ("h", (640, 360)), ("f", (1280, 720))];
        Self {
            layers: sizes.map(|(rid, size)| (rid.into(), size)).to_vec(),
            layer_packets: packets.to_vec(),
            ..Self::default()
        }
    }
}

/// One encoding of the video.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) rid: Option<String>,
    size: (u16, u16),
    seq: u64,
    pub(super) wants_keyframe: bool,
    layer: u8,
}

pub struct Publishing {
    pub plan: Plan,
    pub(super) sources: Vec<Source>,
    frame: u32,
    audio_seq: u64,
    audio_time: u32,
    pub(super) next_frame: Option<Instant>,
    pub(super) next_audio: Option<Instant>,
    pub sending: bool,
    /// The first packets of keyframes are lost when they are sent first.
    pub loses_starts: bool,
    lost: Vec<u16>,
    /// Simulcast layers that are not sent at present.
    pub silent: Vec<u8>,
    timestamp_offset: u32,
}

impl Publishing {
    pub(super) fn new(plan: Plan) -> Self {
        let sources = if plan.layers.is_empty() {
            vec![(None, (640, 360))]
        } else {
            let layers = plan.layers.iter();
            layers.map(|(r, s)| (Some(r.clone()), *s)).collect()
        };
        Self {
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
        }
    }
}

impl Client {
    /// The datagram is one of those that are to be lost.
    pub(super) fn loses(&mut self, datagram: &[u8]) -> bool {
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

    /// Sends the frames and the sound that are due.
    /// Sends the frames and the sound that are due, one stream after the other: of several that wait the engine
    /// takes them in the order of a hash table.
    pub(super) fn send_media(&mut self, now: Instant, sent: &mut Vec<(SocketAddr, Vec<u8>)>) {
        if self.connected.is_none() {
            return;
        }
        while let Role::Publisher(p) = &mut self.role
            && p.sending
            && let Some(at) = p.next_frame.filter(|at| *at <= now)
        {
            p.next_frame = Some(at + Duration::from_secs(1) / p.plan.fps);
            p.frame += 1;
            for source in 0..p.sources.len() {
                self.send_frame(at, source);
                // Several writes, then one timeout: the engine's rule.
                self.timeout = Some(now);
                self.drain(now, sent);
            }
        }
        while let Role::Publisher(p) = &mut self.role
            && p.sending
            && let Some(at) = p.next_audio.filter(|at| *at <= now)
        {
            p.next_audio = Some(at + Duration::from_millis(20));
            self.send_sound(at);
            self.timeout = Some(now);
            self.drain(now, sent);
        }
    }

    /// Writes the frame of one layer.
    fn send_frame(&mut self, at: Instant, source: usize) {
        let Role::Publisher(p) = &mut self.role else {
            return;
        };
        let periodic =
            p.plan.gop > 0 && p.frame % p.plan.gop == 1 && !(p.plan.starts_late && p.frame == 1);
        let timestamp = p
            .timestamp_offset
            .wrapping_add((u64::from(p.frame) * 90_000 / u64::from(p.plan.fps)) as u32);
        let source = &mut p.sources[source];
        if p.silent.contains(&source.layer) {
            return;
        }
        let keyframe = std::mem::take(&mut source.wants_keyframe) || periodic;
        if !p.plan.svc.is_empty() {
            return self.send_layers(at, timestamp, keyframe);
        }
        let Some(mid) = self.video else { return };
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

    /// Writes the picture of all spatial layers.
    fn send_layers(&mut self, at: Instant, timestamp: u32, keyframe: bool) {
        let (Role::Publisher(p), Some(mid)) = (&mut self.role, self.video) else {
            return;
        };
        let pt = pt(&self.rtc, Codec::Vp9);
        let mut api = self.rtc.direct_api();
        let Some(stream) = api.stream_tx_by_mid(mid, None) else {
            return;
        };
        let sizes = [(240, 136), (480, 270), (960, 540)];
        let source = &mut p.sources[0];
        let top = p.plan.svc.len() - 1;
        for (layer, (count, in_keyframe)) in p.plan.svc.iter().copied().enumerate() {
            let count = if keyframe { in_keyframe } else { count };
            for index in 0..count {
                let stamp = Stamp {
                    frame: p.frame,
                    index,
                    count,
                    keyframe,
                    layer: layer as u8,
                    from: p.plan.tag,
                };
                let payload = vp9(stamp, &sizes[..=top], p.plan.packet_size);
                let write = RtpWrite::new(pt, source.seq.into(), timestamp, at, payload)
                    .marker(layer == top && index + 1 == count)
                    .nackable(true);
                stream.write_rtp(write);
                source.seq += 1;
            }
        }
    }

    /// Writes a packet of sound.
    fn send_sound(&mut self, at: Instant) {
        let Role::Publisher(p) = &mut self.role else {
            return;
        };
        let Some(mid) = self.audio else { return };
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
            let write =
                RtpWrite::new(pt, p.audio_seq.into(), p.audio_time, at, payload).ext_vals(values);
            stream.write_rtp(write);
        }
        p.audio_seq += 1;
        p.audio_time = p.audio_time.wrapping_add(960);
    }
}
