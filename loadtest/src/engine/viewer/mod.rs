//! One viewer: what a browser would do with what it gets, and what is counted.

mod demux;
mod feedback;
mod media;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::link::{Link, LinkSpec};
use super::peer::{Peer, Seed};
use super::rtcp_in::{self, Incoming};
use super::track::{Medium, Track};
use super::{Event, Shared, twcc};
use crate::measure::window::Window;
use crate::media::VideoCodec;
use crate::scenario::types::{Feedback, Tracks};
use crate::signal::negotiated::Section;
use crate::signal::offer::Formats;
use crate::sys::realtime_ns;
use crate::wire::{self, Kind, transport};

use demux::Demux;
use feedback::PLI_INTERVAL;
pub(super) use media::use_streams;

/// Receiver reports (RFC 3550 §6.2 scales it; browsers send about one a second).
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// A stream that has been silent for this long has lost what was sent since.
const SILENT_NS: u64 = 500_000_000;
/// How often a viewer with nothing urgent is looked at.
const IDLE: Duration = Duration::from_millis(100);
/// How often a viewer with gaps is looked at; libwebrtc does so every 20 ms.
const BUSY: Duration = Duration::from_millis(20);
/// How often a simulated link is. What comes out of it has the time it should
/// have, however late it is looked at.
const LINK: Duration = Duration::from_millis(5);
/// A viewer that reads no more is not looked at.
const DEAF: Duration = Duration::from_secs(3600);

/// How a viewer behaves.
#[derive(Debug, Clone)]
pub struct Behaviour {
    /// Decrypt and check everything.
    pub full_check: bool,
    /// Send NACKs.
    pub nack: bool,
    /// Codec of the video stream, if any.
    pub video: Option<VideoCodec>,
    /// The link in front of it, if it is a bad one.
    pub link: Option<LinkSpec>,
    /// What it tells of the bandwidth.
    pub feedback: Feedback,
    /// Stop reading the socket once the first keyframe is there.
    pub stop_reading: bool,
    /// A gap between decodable frames beyond this is a freeze, nanoseconds.
    pub freeze_ns: u64,
    /// How many it is to hear and to see.
    pub tracks: Tracks,
    /// Of a viewer of a whole room, the participant whose viewer it is: that one does not
    /// count among those that it hears and sees, and the others count once each.
    pub room: Option<u64>,
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
    demux: Demux,
    /// One for each section.
    slots: Vec<Slot>,
    /// Whose sounds and pictures have come.
    shown: Vec<(Medium, u64)>,
    link: Option<Link>,
    /// Arrivals for transport-wide feedback, where it was negotiated.
    arrivals: Option<twcc::Arrivals>,
    next_feedback: Instant,
    /// Bytes received since the last feedback.
    fed_bytes: u64,
    fed_at: Instant,
    message: Vec<u8>,
    drops: u32,
    lost: i64,
    charged: i64,
    complete: bool,
    next_report: Instant,
    /// No keyframe is asked for before.
    first_pli: Instant,
}

/// A section, and what is received in it.
struct Slot {
    medium: Medium,
    track: Option<Track>,
    /// The newest number on its retransmission stream.
    rtx_highest: Option<i64>,
}

/// The sections of a session; one of each kind where none are known.
fn sections_of(seed: &mut Seed) -> Vec<Section> {
    let mut sections = std::mem::take(&mut seed.sections);
    if sections.is_empty() {
        sections.extend([Medium::Audio, Medium::Video].map(|medium| Section {
            medium,
            mid: String::new(),
            ssrcs: Vec::new(),
        }));
    }
    sections
}

impl Viewer {
    pub(super) fn new(mut new: NewViewer, now: Instant) -> Self {
        let sections = sections_of(&mut new.seed);
        let negotiated = &new.seed.negotiated;
        let transport_cc = negotiated.audio_transport_cc || negotiated.video_transport_cc;
        Self {
            link: new.behaviour.link.map(Link::new),
            arrivals: transport_cc.then(twcc::Arrivals::default),
            next_feedback: now,
            fed_bytes: 0,
            fed_at: now,
            message: Vec::new(),
            formats: new.seed.formats,
            peer: Peer::new(new.seed, now),
            behaviour: new.behaviour,
            ssrc: rand::random(),
            connected_ns: 0,
            first_packet: false,
            decoded: false,
            demux: Demux::new(&sections),
            slots: sections
                .iter()
                .map(|section| Slot {
                    medium: section.medium,
                    track: None,
                    rtx_highest: None,
                })
                .collect(),
            shown: Vec::new(),
            drops: 0,
            lost: 0,
            charged: 0,
            complete: false,
            next_report: now + REPORT_INTERVAL,
            first_pli: now,
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
        self.first_pli = now + PLI_INTERVAL;
        let passed = self.connected_ns.saturating_sub(self.peer.posted_ns);
        window.connect.record_ns(passed);
        let _ = shared.events.send(Event::Connected(self.peer.id));
    }

    /// Takes one datagram of any kind. `kernel_ns` is when it came.
    pub(super) fn datagram(
        &mut self,
        now: Instant,
        kernel_ns: u64,
        from: SocketAddr,
        data: &mut [u8],
        shared: &Shared,
        window: &mut Window,
    ) -> Result<(), String> {
        match wire::classify(data) {
            kind @ (Kind::Rtp | Kind::Rtcp) => {
                if let Some(link) = &mut self.link {
                    link.put(kernel_ns, data);
                } else {
                    let when = When {
                        now,
                        kernel_ns,
                        seen_ns: kernel_ns,
                    };
                    self.carried(when, kind, false, data, shared, window);
                }
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

    fn carried(
        &mut self,
        when: When,
        kind: Kind,
        lost: bool,
        data: &mut [u8],
        shared: &Shared,
        window: &mut Window,
    ) {
        if kind == Kind::Rtp {
            self.rtp(when, data, lost, shared, window);
        } else if !lost {
            self.rtcp(when.seen_ns, data, window);
        }
    }

    /// Takes what has come out of the simulated link by `until_ns`.
    pub(super) fn release(
        &mut self,
        now: Instant,
        until_ns: u64,
        shared: &Shared,
        window: &mut Window,
    ) {
        while let Some(mut c) = self.link.as_mut().and_then(|l| l.take(until_ns)) {
            let when = When {
                now,
                kernel_ns: c.kernel_ns,
                seen_ns: c.out_ns,
            };
            let kind = wire::classify(&c.data);
            self.carried(when, kind, c.lost, &mut c.data, shared, window);
            if let Some(link) = &mut self.link {
                link.recycle(c.data);
            }
        }
    }

    /// The socket has dropped so many datagrams so far.
    pub(super) fn note_drops(&mut self, drops: u32, window: &mut Window) {
        window.socket_drops += u64::from(drops.saturating_sub(self.drops));
        self.drops = self.drops.max(drops);
    }

    fn rtcp(&mut self, seen_ns: u64, data: &mut [u8], window: &mut Window) {
        let Some(srtp) = &self.peer.receive else {
            return;
        };
        let Some(plain) = srtp.open_rtcp(data) else {
            window.not_authentic += 1;
            return;
        };
        for packet in rtcp_in::read(plain) {
            match packet {
                // One from before the first packet maps nothing.
                Incoming::SenderReport(report) if report.packet_count > 0 => {
                    let mut tracks = self.slots.iter_mut().flat_map(|s| &mut s.track);
                    if let Some(track) = tracks.find(|t| t.ssrc == report.ssrc) {
                        track.report(report.ntp_time, report.rtp_time, seen_ns);
                    }
                }
                Incoming::Malformed => window.malformed += 1,
                _ => {}
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
        if self.deaf() {
            // It is as if the process stood still: not even consent is kept up.
            return Ok(now + DEAF);
        }
        self.release(now, realtime_ns(), shared, window);
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
        if now >= self.next_report {
            self.next_report = now + REPORT_INTERVAL;
            self.report(window);
        }
        let busy = self.tracks().any(Track::has_missing);
        let soon = match (&self.link, busy) {
            (Some(_), _) => LINK,
            (None, true) => BUSY,
            (None, false) => IDLE,
        };
        let mut next = (now + soon).min(self.next_report);
        if self.arrivals.is_some() {
            if now >= self.next_feedback {
                self.feed_back(now, window);
            }
            next = next.min(self.next_feedback);
        }
        Ok(next.max(now + Duration::from_millis(1)))
    }

    /// Adds this viewer's losses since the last call. `complete` says that the
    /// publishers have stopped and nothing is on its way.
    pub(super) fn settle(&mut self, now_ns: u64, complete: bool, window: &mut Window) {
        if self.deaf() || self.complete {
            return;
        }
        self.complete = complete;
        let (mut expected, mut lost) = (0, 0);
        for track in self.slots.iter_mut().flat_map(|s| &mut s.track) {
            let live = track
                .loss
                .stream()
                .is_some_and(|s| complete || !s.ended.load(Ordering::Acquire));
            let silent = now_ns.saturating_sub(track.last_ns) > SILENT_NS;
            let (e, l, r) = track.settle(live && (complete || silent));
            expected += e;
            lost += l;
            window.duplicates += r.max(0) as u64;
            window.forwarded_packets = window.forwarded_packets.wrapping_add_signed(-r);
            if complete && self.drops == 0 && self.link.is_none() {
                window.worst_track_ppm = window.worst_track_ppm.max(track.lost_ppm());
            }
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
        if self.deaf() {
            return;
        }
        for track in self.of(Medium::Video) {
            let gap = now_ns.saturating_sub(track.last_frame_ns);
            if track.last_frame_ns == 0 || gap <= self.behaviour.freeze_ns {
                continue;
            }
            if self.link.is_some() {
                window.link_freezes += 1;
                continue;
            }
            window.freezes += 1;
            window.longest_gap_ns = window.longest_gap_ns.max(gap);
        }
    }

    fn tracks(&self) -> impl Iterator<Item = &Track> {
        self.slots.iter().filter_map(|s| s.track.as_ref())
    }

    fn of(&self, medium: Medium) -> impl Iterator<Item = &Track> {
        let slots = self.slots.iter().filter(move |s| s.medium == medium);
        slots.filter_map(|s| s.track.as_ref())
    }
}

/// When a packet is looked at, when the kernel took it, and when the viewer sees
/// it, which is later behind a simulated link.
#[derive(Debug, Clone, Copy)]
struct When {
    now: Instant,
    kernel_ns: u64,
    seen_ns: u64,
}
