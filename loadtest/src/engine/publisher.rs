//! The thread that publishes: every frame at its time, stamped, sealed and sent
//! in one call, and a note when it was late.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rand::RngExt;
use rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtcp::transport_feedbacks::transport_layer_nack::TransportLayerNack;

use super::mailbox::Inbox;
use super::peer::{Peer, Seed};
use super::{Event, REPORT_INTERVAL, Shared, rtcp_out};
use crate::measure::loss::StreamInfo;
use crate::measure::window::Window;
use crate::media::audio;
use crate::media::packetizer::Payload;
use crate::media::stamp::{STAMP_LEN, Stamp};
use crate::signal::offer::{
    AUDIO_MID, MID_EXTENSION, OPUS_PT, RID_EXTENSION, Sending, VIDEO_MID, VIDEO_PT,
};
use crate::sys::{Epoll, RecvBatch, SendBatch, realtime_ns, sharp_timers, thread_cpu_ns};
use crate::wire::srtp::Srtp;
use crate::wire::{self, transport};

/// A burst that leaves so much after its time is late.
pub const LATE: Duration = Duration::from_millis(5);
/// A burst so late that a viewer may see a freeze for it.
const STALL: Duration = Duration::from_millis(50);
const AUDIO_INTERVAL: Duration = Duration::from_millis(20);
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// Sealed packets kept to be sent again.
const HISTORY: usize = 512;
const BELL: u64 = u64::MAX;

/// One picture, ready to be stamped and sent.
#[derive(Debug)]
pub struct ReadyPicture {
    /// A decoder can start here.
    pub keyframe: bool,
    /// Its payloads.
    pub payloads: Vec<Payload>,
}

/// What every publisher of a run sends.
#[derive(Debug)]
pub struct Program {
    /// Frames a second.
    pub fps: f64,
    /// Frames from keyframe to keyframe, at most as many as there are pictures.
    pub gop: usize,
    /// For each encoding its pictures, the smallest encoding first.
    pub encodings: Vec<Vec<ReadyPicture>>,
    /// Opus packets, or none.
    pub audio: Vec<Vec<u8>>,
}

/// A new publisher.
pub struct NewPublisher {
    /// The session.
    pub seed: Seed,
    /// The streams it announced.
    pub sending: Sending,
}

/// What the thread can be told.
pub enum Command {
    /// Bring a publisher up and send.
    Add(Box<NewPublisher>),
    /// End one, with good-bye.
    Remove(u64),
    /// Send no more media, on any.
    Mute,
    /// The phase has changed: hand in what belongs to the old one.
    Phase,
    /// Hand in the rest and end.
    Stop,
}

struct Output {
    ssrc: u32,
    payload_type: u8,
    clock: u32,
    sequence: u64,
    timestamp_base: u32,
    interval: Duration,
    mid: &'static str,
    rid: Option<String>,
    /// `None` for audio.
    encoding: Option<usize>,
    stream: Arc<StreamInfo>,
    /// Frames sent, and the place in the group of pictures.
    frames: u64,
    place: usize,
    keyframe_wanted: bool,
    packets: u32,
    octets: u32,
    history: HashMap<u16, Vec<u8>>,
}

struct Publisher {
    peer: Peer,
    outputs: Vec<Output>,
    /// When frame 0 was due; set when connected.
    started: Option<(Instant, u64)>,
}

/// The thread.
pub struct Thread {
    program: Arc<Program>,
    shared: Shared,
    inbox: Inbox<Command>,
    epoll: Epoll,
    publishers: HashMap<u64, Publisher>,
    due: BinaryHeap<Reverse<(Instant, u64, usize)>>,
    receive: RecvBatch,
    batch: SendBatch,
    window: Window,
    phase: u32,
    cpu_ns: u64,
    muted: bool,
}

impl Thread {
    /// Prepares it; [`Thread::run`] is for a thread of its own.
    pub fn new(program: Arc<Program>, shared: Shared, inbox: Inbox<Command>) -> io::Result<Self> {
        let epoll = Epoll::new()?;
        epoll.add(&inbox, BELL)?;
        Ok(Self {
            program,
            shared,
            inbox,
            epoll,
            publishers: HashMap::new(),
            due: BinaryHeap::new(),
            receive: RecvBatch::new(false),
            batch: SendBatch::default(),
            window: Window::default(),
            phase: 0,
            cpu_ns: 0,
            muted: false,
        })
    }

    /// Runs until told to stop.
    pub fn run(mut self) {
        sharp_timers();
        self.cpu_ns = thread_cpu_ns();
        let mut ready = Vec::new();
        let mut next_report = Instant::now() + REPORT_INTERVAL;
        let mut next_timers = Instant::now();
        loop {
            let now = Instant::now();
            let wake = self
                .due
                .peek()
                .map_or(next_timers, |Reverse((at, ..))| (*at).min(next_timers));
            let wait = wake.saturating_duration_since(now);
            if self.epoll.wait(wait, &mut ready).is_err() {
                break;
            }
            self.send_due();
            for token in std::mem::take(&mut ready) {
                if token != BELL {
                    self.read(token);
                }
            }
            self.inbox.quiet();
            while let Some(command) = self.inbox.take() {
                match command {
                    Command::Add(new) => self.add(*new),
                    Command::Remove(id) => self.remove(id),
                    Command::Mute => self.mute(),
                    // The report at the end of the loop sees to it.
                    Command::Phase => {}
                    Command::Stop => {
                        self.report();
                        for id in self.publishers.keys().copied().collect::<Vec<_>>() {
                            self.remove(id);
                        }
                        let _ = self.shared.events.send(Event::Stopped);
                        return;
                    }
                }
            }
            let now = Instant::now();
            if now >= next_timers {
                next_timers = now + Duration::from_millis(20);
                self.timers(now);
            }
            if now >= next_report || self.phase != self.shared.phase.load(Ordering::Acquire) {
                next_report = now + REPORT_INTERVAL;
                self.report();
            }
        }
    }

    fn report(&mut self) {
        let cpu = thread_cpu_ns();
        self.window.publish_cpu_ns += cpu - self.cpu_ns;
        self.cpu_ns = cpu;
        let window = Box::new(self.window.clone());
        let _ = self.shared.events.send(Event::Window {
            phase: self.phase,
            window,
        });
        self.window.clear();
        self.phase = self.shared.phase.load(Ordering::Acquire);
    }

    fn add(&mut self, new: NewPublisher) {
        let mut rng = rand::rng();
        let mut outputs = Vec::new();
        if !self.program.audio.is_empty() {
            outputs.push((new.sending.audio_ssrc, None, None));
        }
        let video = self.program.encodings.len();
        for encoding in 0..video {
            let ssrc = new.sending.video_ssrc.wrapping_add(encoding as u32);
            outputs.push((
                ssrc,
                Some(encoding),
                new.sending.rids.get(encoding).cloned(),
            ));
        }
        let outputs = outputs
            .into_iter()
            .map(|(ssrc, encoding, rid)| {
                let video = encoding.is_some();
                Output {
                    ssrc,
                    payload_type: if video { VIDEO_PT } else { OPUS_PT },
                    clock: if video { 90_000 } else { 48_000 },
                    sequence: rng.random_range(0..30_000),
                    timestamp_base: rng.random(),
                    interval: if video {
                        Duration::from_secs_f64(1.0 / self.program.fps)
                    } else {
                        AUDIO_INTERVAL
                    },
                    mid: if video { VIDEO_MID } else { AUDIO_MID },
                    rid,
                    encoding,
                    stream: self.shared.streams.add(),
                    frames: 0,
                    place: 0,
                    keyframe_wanted: false,
                    packets: 0,
                    octets: 0,
                    history: HashMap::with_capacity(HISTORY),
                }
            })
            .collect();
        let id = new.seed.id;
        let mut peer = Peer::new(new.seed, Instant::now());
        if let Err(e) = self.epoll.add(&peer.socket, id) {
            let _ = self.shared.events.send(Event::Ended(id, e.to_string()));
            return;
        }
        // The first checks leave at once.
        let _ = peer.tick(Instant::now());
        self.publishers.insert(
            id,
            Publisher {
                peer,
                outputs,
                started: None,
            },
        );
    }

    fn remove(&mut self, id: u64) {
        if let Some(mut p) = self.publishers.remove(&id) {
            p.end_streams();
            let ssrcs: Vec<u32> = p.outputs.iter().map(|o| o.ssrc).collect();
            let _ = p.peer.send_rtcp(&rtcp_out::goodbye(&ssrcs));
            p.peer.close();
        }
    }

    fn mute(&mut self) {
        self.muted = true;
        self.due.clear();
        for p in self.publishers.values() {
            p.end_streams();
        }
    }

    fn timers(&mut self, now: Instant) {
        let mut over = Vec::new();
        for (&id, p) in &mut self.publishers {
            match p.peer.tick(now) {
                Ok(Some(transport::Event::Connected)) => {
                    start(id, p, &mut self.due, &self.shared, self.muted);
                }
                Ok(Some(transport::Event::Closed)) => over.push((id, "closed".to_owned())),
                Ok(None) => {}
                Err(e) => over.push((id, e.to_string())),
            }
        }
        self.end(over);
    }

    fn end(&mut self, over: Vec<(u64, String)>) {
        for (id, why) in over {
            if let Some(p) = self.publishers.remove(&id) {
                p.end_streams();
                self.window.ended += 1;
                let _ = self.shared.events.send(Event::Ended(id, why));
            }
        }
    }

    fn send_due(&mut self) {
        loop {
            let now = Instant::now();
            match self.due.peek() {
                Some(Reverse((at, ..))) if *at <= now => {}
                _ => return,
            }
            let Some(Reverse((at, id, index))) = self.due.pop() else {
                return;
            };
            let Some(p) = self.publishers.get_mut(&id) else {
                continue;
            };
            let late = now - at;
            let Some(interval) = p.burst(
                index,
                &self.program,
                late,
                &mut self.batch,
                &mut self.window,
            ) else {
                continue;
            };
            self.due.push(Reverse((at + interval, id, index)));
        }
    }

    fn read(&mut self, id: u64) {
        let Some(p) = self.publishers.get_mut(&id) else {
            return;
        };
        let now = Instant::now();
        let n = self.receive.recv(p.peer.socket.as_raw_fd()).unwrap_or(0);
        for i in 0..n {
            let got = self.receive.get(i);
            let Some(from) = got.from else { continue };
            if wire::classify(got.data) == wire::Kind::Rtcp {
                if let Some(receive) = &p.peer.receive
                    && let Some(plain) = receive.open_rtcp(got.data)
                {
                    let plain = plain.to_vec();
                    p.feedback(&plain, &mut self.window);
                }
                continue;
            }
            match p.peer.control(now, from, got.data) {
                Ok(Some(transport::Event::Connected)) => {
                    start(id, p, &mut self.due, &self.shared, self.muted);
                }
                Ok(None) => {}
                Ok(Some(transport::Event::Closed)) => {
                    self.end(vec![(id, "closed".to_owned())]);
                    return;
                }
                Err(e) => {
                    self.end(vec![(id, e.to_string())]);
                    return;
                }
            }
        }
    }
}

fn start(
    id: u64,
    p: &mut Publisher,
    due: &mut BinaryHeap<Reverse<(Instant, u64, usize)>>,
    shared: &Shared,
    muted: bool,
) {
    if p.started.is_some() {
        return;
    }
    // Publishers of one run do not all send in the same moment.
    let spread = Duration::from_micros(rand::rng().random_range(0..20_000));
    let at = Instant::now() + spread;
    p.started = Some((at, realtime_ns() + spread.as_nanos() as u64));
    if !muted {
        for index in 0..p.outputs.len() {
            due.push(Reverse((at, id, index)));
        }
    }
    let _ = shared.events.send(Event::Connected(id));
}

impl Publisher {
    fn end_streams(&self) {
        for o in &self.outputs {
            o.stream.ended.store(true, Ordering::Release);
        }
    }

    /// Sends the next frame of an output and returns the time to the one after.
    fn burst(
        &mut self,
        index: usize,
        program: &Program,
        late: Duration,
        batch: &mut SendBatch,
        window: &mut Window,
    ) -> Option<Duration> {
        let (_, started_ns) = self.started?;
        let o = self.outputs.get_mut(index)?;
        let srtp = self.peer.send.as_ref()?;
        let media_ns = (o.interval.as_secs_f64() * o.frames as f64 * 1e9) as u64;
        let ticks = (media_ns as f64 * f64::from(o.clock) / 1e9).round() as u64;
        let timestamp = o.timestamp_base.wrapping_add(ticks as u32);
        let sent_ns = realtime_ns();
        let age_us = (sent_ns.saturating_sub(started_ns + media_ns) / 1000) as u32;
        window.sends += 1;
        if late > LATE {
            window.late_sends += 1;
        }
        if late > STALL {
            o.stream.late_ns.store(sent_ns, Ordering::Release);
        }
        batch.clear();
        let report = sent_ns;
        match o.encoding {
            Some(encoding) => {
                let pictures = program.encodings.get(encoding)?;
                // Two IDR pictures in a row would need different ids (H.264
                // §7.4.3), so one wanted right after one waits a frame.
                if o.place >= program.gop || o.keyframe_wanted && o.place > 1 {
                    o.place = 0;
                    o.keyframe_wanted = false;
                }
                let picture = pictures.get(o.place)?;
                o.place += 1;
                let last = picture.payloads.len().saturating_sub(1);
                for (i, payload) in picture.payloads.iter().enumerate() {
                    let stamped = payload.stamped.then_some((sent_ns, age_us));
                    o.packet(
                        srtp,
                        batch,
                        timestamp,
                        i == last,
                        &payload.bytes,
                        stamped,
                        window,
                    );
                }
            }
            None => {
                let packet = program.audio.get(o.place % program.audio.len())?;
                o.place += 1;
                let mut bytes = Vec::with_capacity(packet.len() + STAMP_LEN + 2);
                let padded = audio::append_padded(&mut bytes, packet, &[0; STAMP_LEN]);
                let stamped = padded.then_some((sent_ns, age_us));
                // The marker of audio starts a talk spurt (RFC 3551 §4.1).
                o.packet(
                    srtp,
                    batch,
                    timestamp,
                    o.frames == 0,
                    &bytes,
                    stamped,
                    window,
                );
            }
        }
        match batch.send(self.peer.socket.as_raw_fd()) {
            Ok(n) => window.send_failures += (batch.len() - n) as u64,
            Err(_) => window.send_failures += batch.len() as u64,
        }
        o.frames += 1;
        let per_report = (REPORT_EVERY.as_secs_f64() / o.interval.as_secs_f64()) as u64;
        let interval = o.interval;
        if o.frames % per_report.max(1) == 1 {
            // The report maps the media's own time, which lateness does not move.
            let at = report.min(started_ns + media_ns);
            let sr = rtcp_out::sender_report(o.ssrc, at, timestamp, o.packets, o.octets);
            if let Some(sr) = sr {
                let _ = self.peer.send_rtcp(&sr);
            }
        }
        Some(interval)
    }

    fn feedback(&mut self, plain: &[u8], window: &mut Window) {
        let Ok(packets) = rtcp::packet::unmarshal(&mut &plain[..]) else {
            window.malformed += 1;
            return;
        };
        for packet in packets {
            let any = packet.as_any();
            if let Some(pli) = any.downcast_ref::<PictureLossIndication>() {
                self.want_keyframe(pli.media_ssrc, window);
            } else if let Some(fir) = any.downcast_ref::<FullIntraRequest>() {
                for entry in &fir.fir {
                    self.want_keyframe(entry.ssrc, window);
                }
            } else if let Some(nack) = any.downcast_ref::<TransportLayerNack>() {
                window.publisher_nacks += 1;
                let output = self.outputs.iter().find(|o| o.ssrc == nack.media_ssrc);
                let wanted = nack.nacks.iter().flat_map(|n| n.packet_list());
                for sequence in wanted {
                    if let Some(bytes) = output.and_then(|o| o.history.get(&sequence)) {
                        window.publisher_resends += 1;
                        let _ = self.peer.socket.send(bytes);
                    }
                }
            }
        }
    }

    fn want_keyframe(&mut self, ssrc: u32, window: &mut Window) {
        for o in self.outputs.iter_mut().filter(|o| o.ssrc == ssrc) {
            window.keyframe_requests += 1;
            o.keyframe_wanted = o.encoding.is_some();
        }
    }
}

impl Output {
    #[allow(clippy::too_many_arguments)]
    fn packet(
        &mut self,
        srtp: &Srtp,
        batch: &mut SendBatch,
        timestamp: u32,
        marker: bool,
        payload: &[u8],
        stamped: Option<(u64, u32)>,
        window: &mut Window,
    ) {
        let start = batch.buffer().len();
        let rid = self.rid.as_deref().map(str::as_bytes);
        let mid = self.mid.as_bytes();
        let both = [
            (MID_EXTENSION, mid),
            (RID_EXTENSION, rid.unwrap_or_default()),
        ];
        let extensions = if rid.is_some() { &both[..] } else { &both[..1] };
        let header = wire::rtp::write(
            batch.buffer(),
            marker,
            self.payload_type,
            self.sequence as u16,
            timestamp,
            self.ssrc,
            extensions,
        );
        batch.buffer().extend_from_slice(payload);
        let index = self.stream.sent.load(Ordering::Relaxed);
        if let Some((sent_ns, age_us)) = stamped {
            let stamp = Stamp {
                stream: self.stream.id,
                sequence: index,
                sent_ns,
                age_us,
            };
            let at = batch.buffer().len() - STAMP_LEN;
            batch.buffer()[at..].copy_from_slice(&stamp.encode());
        }
        let roc = (self.sequence >> 16) as u32;
        if !srtp.seal_rtp(batch.buffer(), start, header, roc) {
            batch.buffer().truncate(start);
            return;
        }
        batch.commit(start, None, None);
        self.remember(&batch.buffer()[start..]);
        self.stream.sent.store(index + 1, Ordering::Release);
        window.sent_packets += 1;
        window.sent_bytes += (batch.buffer().len() - start) as u64;
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(payload.len() as u32);
        self.sequence += 1;
    }

    fn remember(&mut self, sealed: &[u8]) {
        let sequence = self.sequence as u16;
        // The oldest packet's memory serves the newest.
        let mut bytes = self
            .history
            .remove(&sequence.wrapping_sub(HISTORY as u16))
            .unwrap_or_default();
        bytes.clear();
        bytes.extend_from_slice(sealed);
        self.history.insert(sequence, bytes);
    }
}
