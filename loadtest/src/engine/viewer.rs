//! One viewer: what a browser would do with what it gets, and what is counted.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rtcp::sender_report::SenderReport;
use webrtc_util::marshal::Unmarshal as _;

use super::link::Link;
use super::peer::{Peer, Seed};
use super::rtcp_out;
use super::track::{Medium, Track};
use super::{Event, Shared};
use crate::measure::line::Arrival;
use crate::measure::window::Window;
use crate::media::stamp::Stamp;
use crate::media::{VideoCodec, starts_keyframe};
use crate::signal::offer::Formats;
use crate::sys::realtime_ns;
use crate::wire::rtp::Header;
use crate::wire::{self, Kind, transport};

/// Viewers that do not check everything look into one packet of this many.
const SAMPLE: i64 = 128;
/// Between two requests for a keyframe.
const PLI_INTERVAL: Duration = Duration::from_millis(500);
/// Receiver reports (RFC 3550 §6.2 scales it; browsers send about one a second).
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// A stream that has been silent for this long has lost what was sent since.
const SILENT_NS: u64 = 500_000_000;
/// How often a viewer with nothing urgent is looked at.
const IDLE: Duration = Duration::from_millis(100);

/// How a viewer behaves.
#[derive(Debug, Clone)]
pub struct Behaviour {
    /// Decrypt and check everything.
    pub full_check: bool,
    /// Send NACKs.
    pub nack: bool,
    /// RTX was offered.
    pub rtx: bool,
    /// Codec of the video stream, if any.
    pub video: Option<VideoCodec>,
    /// The link in front of it, if it is a bad one.
    pub link: Option<Link>,
    /// Stop reading the socket once the first keyframe is there.
    pub stop_reading: bool,
    /// A gap between decodable frames beyond this is a freeze, nanoseconds.
    pub freeze_ns: u64,
}

/// A new viewer.
pub struct NewViewer {
    /// The session.
    pub seed: Seed,
    /// What it does.
    pub behaviour: Behaviour,
}

pub(super) struct Viewer {
    pub(super) peer: Peer,
    behaviour: Behaviour,
    formats: Formats,
    ssrc: u32,
    connected_ns: u64,
    first_packet: bool,
    decoded: bool,
    tracks: [Option<Track>; 2],
    rtx_highest: Option<i64>,
    drops: u32,
    lost: i64,
    drops_at_frame: u32,
    charged: i64,
    complete: bool,
    next_report: Instant,
    next_pli: Instant,
}

impl Viewer {
    pub(super) fn new(new: NewViewer, now: Instant) -> Self {
        Self {
            formats: new.seed.formats,
            peer: Peer::new(new.seed, now),
            behaviour: new.behaviour,
            ssrc: rand::random(),
            connected_ns: 0,
            first_packet: false,
            decoded: false,
            tracks: [None, None],
            rtx_highest: None,
            drops: 0,
            lost: 0,
            drops_at_frame: 0,
            charged: 0,
            complete: false,
            next_report: now + REPORT_INTERVAL,
            next_pli: now,
        }
    }

    /// True when its socket must not be read any more.
    pub(super) fn deaf(&self) -> bool {
        self.behaviour.stop_reading && self.decoded
    }

    pub(super) fn connected(&mut self, now: Instant, shared: &Shared, window: &mut Window) {
        self.connected_ns = realtime_ns();
        // Reports of many viewers that joined together are spread over the second.
        let spread = rand::random::<u16>();
        self.next_report = now + REPORT_INTERVAL.mul_f64(0.5 + f64::from(spread) / 65_536.0);
        self.next_pli = now + PLI_INTERVAL;
        let passed = self.connected_ns.saturating_sub(self.peer.posted_ns);
        window.connect.record_ns(passed);
        let _ = shared.events.send(Event::Connected(self.peer.id));
    }

    /// Takes one datagram of any kind. `kernel_ns` is when it came.
    pub(super) fn datagram(
        &mut self,
        now: Instant,
        kernel_ns: u64,
        from: std::net::SocketAddr,
        data: &mut [u8],
        shared: &Shared,
        window: &mut Window,
    ) -> Result<(), String> {
        match wire::classify(data) {
            Kind::Rtp => {
                self.rtp(now, kernel_ns, data, shared, window);
                Ok(())
            }
            Kind::Rtcp => {
                self.rtcp(kernel_ns, data, window);
                Ok(())
            }
            _ => match self.peer.control(now, from, data) {
                Ok(Some(transport::Event::Connected)) => {
                    self.connected(now, shared, window);
                    Ok(())
                }
                Ok(Some(transport::Event::Closed)) => Err("closed by the server".to_owned()),
                Ok(None) => Ok(()),
                Err(e) => Err(e.to_string()),
            },
        }
    }

    /// The socket has dropped so many datagrams so far.
    pub(super) fn note_drops(&mut self, drops: u32, window: &mut Window) {
        window.socket_drops += u64::from(drops.saturating_sub(self.drops));
        self.drops = self.drops.max(drops);
    }

    fn rtp(
        &mut self,
        now: Instant,
        kernel_ns: u64,
        data: &mut [u8],
        shared: &Shared,
        window: &mut Window,
    ) {
        let Some(header) = wire::rtp::parse(data) else {
            window.malformed += 1;
            return;
        };
        if self.peer.receive.is_none() {
            return;
        }
        window.received_packets += 1;
        window.received_bytes += data.len() as u64;
        if !self.first_packet {
            self.first_packet = true;
            let passed = kernel_ns.saturating_sub(self.peer.posted_ns);
            window.first_packet.record_ns(passed);
        }
        let lost = match &mut self.behaviour.link {
            Some(link) => !link.passes(kernel_ns, data.len()),
            None => false,
        };
        match header.payload_type {
            pt if pt == self.formats.video && self.behaviour.video.is_some() => {
                self.media(
                    Medium::Video,
                    now,
                    kernel_ns,
                    &header,
                    data,
                    lost,
                    shared,
                    window,
                );
            }
            pt if pt == self.formats.audio => {
                self.media(
                    Medium::Audio,
                    now,
                    kernel_ns,
                    &header,
                    data,
                    lost,
                    shared,
                    window,
                );
            }
            pt if Some(pt) == self.formats.rtx && self.behaviour.rtx => {
                window.retransmissions += 1;
                if !lost {
                    self.rtx(now, kernel_ns, &header, data, shared, window);
                }
            }
            _ => window.malformed += 1,
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn media(
        &mut self,
        medium: Medium,
        now: Instant,
        kernel_ns: u64,
        header: &Header,
        data: &mut [u8],
        lost: bool,
        shared: &Shared,
        window: &mut Window,
    ) {
        let track =
            self.tracks[medium as usize].get_or_insert_with(|| Track::new(medium, header.ssrc));
        let number = track.line.extend(header.sequence);
        if number < 0 {
            return;
        }
        if lost {
            window.simulated_losses += 1;
            if let Arrival::New { skipped } = track.line.lose(number) {
                track.passed_over(number + 1, skipped + 1, now);
            }
            return;
        }
        // Looked at before the line knows it, so that a repeat is not opened twice.
        let fresh = !track.line.has(number);
        track.last_ns = kernel_ns;
        if fresh {
            track.interarrival(kernel_ns, header.timestamp);
        }
        let own_rtx = self.behaviour.rtx && self.formats.rtx.is_some() && medium == Medium::Video;
        track.take(number, header.marker, false, own_rtx, now, window);
        let wanted = self.behaviour.full_check
            || number % SAMPLE == 0
            || track.loss.stream().is_none()
            || medium == Medium::Video && track.frames.needs_keyframe();
        if fresh && wanted {
            self.open(medium, number, kernel_ns, header, data, window);
        }
        self.advance(medium, kernel_ns, shared, window);
    }

    fn open(
        &mut self,
        medium: Medium,
        number: i64,
        kernel_ns: u64,
        header: &Header,
        data: &mut [u8],
        window: &mut Window,
    ) {
        let (Some(srtp), Some(track)) = (&self.peer.receive, &mut self.tracks[medium as usize])
        else {
            return;
        };
        let roc = (number >> 16) as u32;
        let Some(len) = srtp.open_rtp(data, header.len, roc) else {
            window.not_authentic += 1;
            return;
        };
        window.opened += 1;
        let Some(mut payload) = data.get(header.len..len) else {
            return;
        };
        if header.padding {
            let padding = usize::from(payload.last().copied().unwrap_or(0));
            payload = &payload[..payload.len().saturating_sub(padding)];
        }
        if payload.is_empty() {
            track.loss.padding();
            return;
        }
        if self.behaviour.full_check && number % SAMPLE == 0 && !agrees(&data[..len], header) {
            window.malformed += 1;
        }
        if medium == Medium::Video
            && let Some(codec) = self.behaviour.video
            && track.frames.needs_keyframe()
            && starts_keyframe(codec, payload)
        {
            track.frames.keyframe_at(number);
        }
        self.stamped(
            medium,
            number,
            kernel_ns,
            header.timestamp,
            Stamp::decode(payload),
            window,
        );
    }

    fn stamped(
        &mut self,
        medium: Medium,
        number: i64,
        kernel_ns: u64,
        timestamp: u32,
        stamp: Option<Stamp>,
        window: &mut Window,
    ) {
        // What was sent before this viewer was there came from the server's
        // cache: it has neither delay nor a place in the publisher's line.
        let Some(stamp) = stamp.filter(|s| s.sent_ns >= self.connected_ns) else {
            return;
        };
        let Some(track) = &mut self.tracks[medium as usize] else {
            return;
        };
        if track.loss.stream().is_none_or(|s| s.id != stamp.stream) {
            if track.switched(stamp.stream) && medium == Medium::Video {
                window.layer_switches += 1;
            }
            return self.anchor_new(medium, number, kernel_ns, timestamp, stamp, window);
        }
        if let Some(stream) = track.loss.stream().cloned() {
            track
                .loss
                .anchor(&track.line, number, stamp.sequence, &stream);
        }
        self.timed(medium, kernel_ns, timestamp, stamp, window);
    }

    fn anchor_new(
        &mut self,
        medium: Medium,
        number: i64,
        kernel_ns: u64,
        timestamp: u32,
        stamp: Stamp,
        window: &mut Window,
    ) {
        if let Some(track) = &mut self.tracks[medium as usize] {
            let stream = STREAMS.with_borrow(|s| s.as_ref().and_then(|s| s.get(stamp.stream)));
            if let Some(stream) = stream {
                track.switched(stamp.stream);
                track
                    .loss
                    .anchor(&track.line, number, stamp.sequence, &stream);
            }
        }
        self.timed(medium, kernel_ns, timestamp, stamp, window);
    }

    fn timed(
        &mut self,
        medium: Medium,
        kernel_ns: u64,
        timestamp: u32,
        stamp: Stamp,
        window: &mut Window,
    ) {
        window
            .delay
            .record_ns(kernel_ns.saturating_sub(stamp.sent_ns));
        if let Some(track) = &mut self.tracks[medium as usize] {
            track.synchronize(timestamp, &stamp);
        }
    }

    fn rtx(
        &mut self,
        now: Instant,
        kernel_ns: u64,
        header: &Header,
        data: &mut [u8],
        shared: &Shared,
        window: &mut Window,
    ) {
        let number = match self.rtx_highest {
            None => i64::from(header.sequence),
            Some(h) => h + i64::from(header.sequence.wrapping_sub(h as u16) as i16),
        };
        self.rtx_highest = Some(self.rtx_highest.unwrap_or(number).max(number));
        let Some(srtp) = &self.peer.receive else {
            return;
        };
        let roc = (number.max(0) >> 16) as u32;
        let Some(len) = srtp.open_rtp(data, header.len, roc) else {
            window.not_authentic += 1;
            return;
        };
        // The original sequence number goes before the payload (RFC 4588 §4).
        let Some([a, b, payload @ ..]) = data.get(header.len..len) else {
            return;
        };
        let Some(track) = &mut self.tracks[Medium::Video as usize] else {
            return;
        };
        let number = track.line.extend(u16::from_be_bytes([*a, *b]));
        if number < 0 {
            return;
        }
        let arrival = track.take(number, header.marker, true, true, now, window);
        if arrival != Arrival::Duplicate
            && let Some(codec) = self.behaviour.video
            && track.frames.needs_keyframe()
            && starts_keyframe(codec, payload)
        {
            track.frames.keyframe_at(number);
        }
        self.advance(Medium::Video, kernel_ns, shared, window);
    }

    fn advance(&mut self, medium: Medium, kernel_ns: u64, shared: &Shared, window: &mut Window) {
        let Some(track) = &mut self.tracks[medium as usize] else {
            return;
        };
        let complete = match medium {
            Medium::Video => track.frames.advance(&track.line, kernel_ns),
            // Every packet of sound is decodable, but it makes no picture.
            Medium::Audio => u32::from(self.behaviour.video.is_none()),
        };
        if complete == 0 {
            return;
        }
        window.frames += u64::from(complete);
        if self.decoded {
            let gap = kernel_ns.saturating_sub(track.last_frame_ns);
            if gap > self.behaviour.freeze_ns {
                let late = track
                    .loss
                    .stream()
                    .map_or(0, |s| s.late_ns.load(Ordering::Acquire));
                let own = late > track.last_frame_ns || self.drops > self.drops_at_frame;
                if own {
                    window.own_freezes += 1;
                } else {
                    window.freezes += 1;
                }
            }
            window.longest_gap_ns = window.longest_gap_ns.max(gap);
        } else {
            self.decoded = true;
            let passed = kernel_ns.saturating_sub(self.peer.posted_ns);
            window.join.record_ns(passed);
            let _ = shared.events.send(Event::Decoded(self.peer.id));
        }
        track.last_frame_ns = track.last_frame_ns.max(kernel_ns);
        self.drops_at_frame = self.drops;
    }

    fn rtcp(&mut self, kernel_ns: u64, data: &mut [u8], window: &mut Window) {
        let Some(srtp) = &self.peer.receive else {
            return;
        };
        let Some(plain) = srtp.open_rtcp(data) else {
            window.not_authentic += 1;
            return;
        };
        // Reports only are read, so the compound is walked without the crate
        // unless one is there.
        if plain.get(1) != Some(&200) {
            return;
        }
        let Ok(packets) = rtcp::packet::unmarshal(&mut &*plain) else {
            window.malformed += 1;
            return;
        };
        for packet in packets {
            if let Some(report) = packet.as_any().downcast_ref::<SenderReport>()
                && let Some(track) = self
                    .tracks
                    .iter_mut()
                    .flatten()
                    .find(|t| t.ssrc == report.ssrc)
            {
                track.report(report.ntp_time, report.rtp_time, kernel_ns);
            }
        }
    }

    /// After the packets of one read: asks for what is missing.
    pub(super) fn after_batch(&mut self, now: Instant, window: &mut Window) {
        if !self.behaviour.nack {
            return;
        }
        // Only video: browsers conceal lost sound.
        let Some(track) = &mut self.tracks[Medium::Video as usize] else {
            return;
        };
        if track.has_missing() {
            let wanted = track.wanted(now);
            if !wanted.is_empty()
                && let Some(nack) = rtcp_out::nack(self.ssrc, track.ssrc, &wanted)
            {
                window.nacks += 1;
                let _ = self.peer.send_rtcp(&nack);
            }
        }
    }

    /// Runs what is due, and tells when to come again.
    pub(super) fn tick(
        &mut self,
        now: Instant,
        shared: &Shared,
        window: &mut Window,
    ) -> Result<Instant, String> {
        match self.peer.tick(now) {
            Ok(Some(transport::Event::Connected)) => self.connected(now, shared, window),
            Ok(Some(transport::Event::Closed)) => return Err("closed by the server".to_owned()),
            Ok(None) => {}
            Err(e) => return Err(e.to_string()),
        }
        if self.peer.send.is_none() {
            return Ok(self.peer.transport.deadline().min(now + IDLE));
        }
        self.after_batch(now, window);
        if now >= self.next_pli
            && let Some(track) = &self.tracks[Medium::Video as usize]
            && track.frames.needs_keyframe()
        {
            self.next_pli = now + PLI_INTERVAL;
            if let Some(pli) = rtcp_out::pli(self.ssrc, track.ssrc) {
                window.plis += 1;
                let _ = self.peer.send_rtcp(&pli);
            }
        }
        if now >= self.next_report {
            self.next_report = now + REPORT_INTERVAL;
            self.report(window);
        }
        let busy = self.tracks.iter().flatten().any(Track::has_missing);
        let soon = if busy { IDLE / 4 } else { IDLE };
        Ok((now + soon).min(self.next_report.max(now + Duration::from_millis(1))))
    }

    fn report(&mut self, window: &mut Window) {
        let now_ns = realtime_ns();
        let mut blocks = Vec::new();
        for track in self.tracks.iter_mut().flatten() {
            if let Some(block) = track.reception(now_ns) {
                blocks.push(block);
                window
                    .jitter
                    .record_us((track.jitter_seconds() * 1e6) as u64);
            }
        }
        if let [Some(audio), Some(video)] = &self.tracks
            && let (Some(a), Some(v)) = (audio.sync_error_ns, video.sync_error_ns)
        {
            window.av_offset.record_ns(a.abs_diff(v));
        }
        if let Some(report) = rtcp_out::receiver_report(self.ssrc, blocks) {
            let _ = self.peer.send_rtcp(&report);
        }
        if let Some(bound) = self.behaviour.link.as_ref().and_then(Link::bound)
            && let Some(track) = &self.tracks[Medium::Video as usize]
            && let Some(remb) = rtcp_out::remb(self.ssrc, track.ssrc, bound)
        {
            let _ = self.peer.send_rtcp(&remb);
        }
    }

    /// Adds this viewer's losses since the last call. `complete` says that the
    /// publishers have stopped and nothing is on its way.
    pub(super) fn settle(&mut self, now_ns: u64, complete: bool, window: &mut Window) {
        if self.deaf() || self.complete {
            return;
        }
        self.complete = complete;
        let (mut expected, mut lost) = (0, 0);
        for track in self.tracks.iter_mut().flatten() {
            let live = track
                .loss
                .stream()
                .is_some_and(|s| complete || !s.ended.load(Ordering::Acquire));
            let silent = now_ns.saturating_sub(track.last_ns) > SILENT_NS;
            let (e, l, r) = track.settle(live && (complete || silent));
            expected += e;
            lost += l;
            window.duplicates += r.max(0) as u64;
        }
        window.expected_packets = window.expected_packets.wrapping_add_signed(expected);
        // What our own socket dropped is not the server's loss.
        self.lost += lost;
        let charged = (self.lost - i64::from(self.drops)).max(0);
        window.lost_packets = window
            .lost_packets
            .wrapping_add_signed(charged - self.charged);
        self.charged = charged;
    }

    /// At the end: a picture that has stood still since is frozen, too.
    pub(super) fn final_freeze(&self, now_ns: u64, window: &mut Window) {
        if let Some(track) = &self.tracks[Medium::Video as usize]
            && self.decoded
            && !self.deaf()
        {
            let gap = now_ns.saturating_sub(track.last_frame_ns);
            if gap > self.behaviour.freeze_ns {
                window.freezes += 1;
                window.longest_gap_ns = window.longest_gap_ns.max(gap);
            }
        }
    }
}

/// A second opinion on the header, by the `rtp` crate.
fn agrees(packet: &[u8], ours: &Header) -> bool {
    let Ok(theirs) = rtp::header::Header::unmarshal(&mut &*packet) else {
        return false;
    };
    theirs.sequence_number == ours.sequence
        && theirs.timestamp == ours.timestamp
        && theirs.ssrc == ours.ssrc
        && theirs.marker == ours.marker
        && theirs.payload_type == ours.payload_type
}

thread_local! {
    /// The run's streams, for the rare packet that starts a new anchor.
    static STREAMS: std::cell::RefCell<Option<Arc<super::Streams>>> =
        const { std::cell::RefCell::new(None) };
}

/// Gives this thread the run's streams.
pub(super) fn use_streams(streams: Arc<super::Streams>) {
    STREAMS.set(Some(streams));
}
