//! A publisher's receiving side: from its opened packets to a track's packets, and
//! what it is told in return.
//!
//! `streams` knows which SSRC is which encoding, `reception` what arrived of it,
//! `nack` what is missing, `arrivals` and `maximum` serve the publisher's congestion
//! control, `numbering` makes one line of an encoding's SSRCs, and `feedback` seals
//! what is said.

mod arrivals;
mod feedback;
mod maximum;
mod nack;
mod numbering;
mod reception;
mod streams;

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use smallvec::SmallVec;

pub use feedback::{FeedbackSender, Sealed};

use self::arrivals::TransportArrivals;
use self::maximum::{Arrived, MaximumRate};
use self::nack::NackTracker;
use self::streams::{Owner, Streams, Use, numbered};
use super::header::{self, ExtensionIds};
use super::negotiate::MediaSection;
use super::rtcp::{FirEntry, MAX_REPORT_BLOCKS, NtpTime, SenderReport};
use super::srtp::OpenedRtp;
use crate::codec::{self, FrameLayers, red};
use crate::control::messages::TrackRepair;
use crate::net::{Path, SendArena};
use crate::room::{Packet, SenderClock};
use crate::units::MediaKind;

/// Bytes of a packet on the wire beside its payload: IP, UDP, RTP with
/// extensions, and the tag, about.
const OVERHEAD: usize = 64;

/// Streams that a maximum rate is told for; the simulcast layers of a few cameras.
const RATED_STREAMS: usize = 16;

/// Reports go out this often while media comes (RFC 3550 §6.2 allows 5 s at most for video),
/// the first one sooner: it is where round trips begin to be measured.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
const FIRST_REPORT: Duration = Duration::from_millis(200);

/// A publisher's clock that has moved against ours by more than this was set.
const CLOCK_SET: i128 = 3_600_000_000;

/// What there was no room for is tried again after this.
const AGAIN: Duration = Duration::from_millis(5);

/// Browsers probe the path with padding under this SSRC before there is media.
const PROBE: u32 = 0;

/// Why a packet that was opened goes nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unroutable {
    /// Its header, padding or RED blocks contradict themselves.
    Malformed,
    /// Its payload type was not negotiated.
    PayloadType,
    /// Its SSRC fits no section.
    Ssrc,
}

/// A packet and where it belongs.
#[derive(Debug)]
pub struct Routed {
    /// Index of the track in the worker.
    pub track: u32,
    /// Index of the encoding.
    pub encoding: u8,
    /// The SSRC it came with.
    pub ssrc: u32,
    /// So much is missing ahead of it that only a keyframe helps, or its SSRC is new.
    pub hopeless: bool,
    /// The packet.
    pub packet: Packet,
}

/// What is asked of a publisher, and where pictures are lost for good.
#[derive(Debug, Default)]
pub struct Asked {
    /// Packets that it was asked to send again.
    pub repairs: u64,
    /// Tracks and encodings whose pictures lack something for good.
    pub lost: SmallVec<[(u32, u8); 4]>,
}

/// See the module's description.
#[derive(Debug)]
pub struct Ingress {
    streams: Streams,
    ids: ExtensionIds,
    /// This server's clock minus the publisher's in microseconds, from the first report since
    /// that was set.
    clock_offset: Option<i128>,
    /// Numbers of the request in hand.
    missing: Vec<u16>,
    /// What it may send, where that is ours to tell.
    maximum: Option<Box<MaximumRate>>,
    /// What its own congestion control is told.
    arrivals: Option<Box<TransportArrivals>>,
    next_report: Option<Instant>,
}

impl Ingress {
    /// The receiving side of a publisher with these sections; `tracks` are the
    /// sections' tracks in the worker.
    pub fn new(sections: &[MediaSection], tracks: &[u32]) -> Self {
        let mut ids = ExtensionIds::default();
        for section in sections {
            ids.add(&section.extensions);
        }
        let streams = Streams::new(sections, tracks);
        let rated = streams.sections.iter().any(|section| section.rated);
        Self {
            streams,
            ids,
            clock_offset: None,
            missing: Vec::new(),
            maximum: rated.then(Box::default),
            arrivals: sections.iter().any(numbered).then(Box::default),
            next_report: None,
        }
    }

    /// Makes a track's packet of one that was opened. `None` when it brings nothing new:
    /// padding, or what has come already. `micros` is now on the worker's clock.
    ///
    /// # Errors
    /// [`Unroutable`] when it fits nothing that was negotiated.
    pub fn route(
        &mut self,
        now: Instant,
        micros: i64,
        packet: &[u8],
        opened: OpenedRtp,
    ) -> Result<Option<Routed>, Unroutable> {
        let (header, found) = header::read(packet, &self.ids).ok_or(Unroutable::Malformed)?;
        if let (Some(arrivals), Some(seq)) = (&mut self.arrivals, found.transport_sequence) {
            let micros = u64::try_from(micros).unwrap_or(0);
            arrivals.arrived(now, micros, seq, header.ssrc);
        }
        let payload = header.payload(packet).ok_or(Unroutable::Malformed)?;
        if header.ssrc == PROBE {
            return Ok(None);
        }
        let meaning = self.streams.meaning(header.payload_type);
        let meaning = meaning.ok_or(Unroutable::PayloadType)?;
        let is_empty = payload.is_empty();
        let owner = self
            .streams
            .owner(now, header.ssrc, meaning, &found, is_empty);
        let owner = match owner {
            Owner::Stream(owner) => owner,
            Owner::Nobody => return Ok(None),
            Owner::Unknown => return Err(Unroutable::Ssrc),
        };
        let Streams { sections, all, .. } = &mut self.streams;
        let stream = all.get_mut(owner.stream).ok_or(Unroutable::Ssrc)?;
        let section = sections.get_mut(usize::from(stream.section));
        let section = section.ok_or(Unroutable::Ssrc)?;
        // RFC 4588 §4: the original number goes ahead of what is repaired; padding has none.
        let original = payload.split_first_chunk::<2>();
        if owner.is_repair && original.is_none() {
            return Ok(None);
        }
        let is_rtx = meaning.use_as == Use::Rtx;
        if meaning.section != stream.section || is_rtx != owner.is_repair {
            return Err(Unroutable::PayloadType);
        }
        let (seq, payload) = match original.filter(|_| is_rtx) {
            Some((number, payload)) => {
                let seq = stream.reception.extend(u16::from_be_bytes(*number));
                let Some(seq) = seq else { return Ok(None) };
                (seq, payload)
            }
            None => (opened.index, payload),
        };
        let codec = section.codecs.get(usize::from(meaning.format));
        let codec = *codec.ok_or(Unroutable::PayloadType)?;
        let reception = &mut stream.reception;
        let highest = reception.highest();
        let is_new = if owner.is_repair {
            reception.accept(seq)
        } else {
            reception.count(now, seq, header.timestamp, codec.clock_rate())
        };
        if !is_new {
            return Ok(None);
        }
        stream.heard = Some(now);
        self.next_report.get_or_insert(now + FIRST_REPORT);
        if let Some(maximum) = self.maximum.as_mut().filter(|_| section.rated) {
            let next = highest.map_or(seq, |highest| highest + 1);
            let packet = Arrived {
                size: payload.len() + OVERHEAD,
                missing: seq.checked_sub(next),
                sent: found.abs_send_time,
            };
            maximum.arrived(now, packet);
        }
        let lost = stream.nack.as_mut();
        let lost = lost.is_some_and(|nack| nack.arrived(now, seq));
        let red = match meaning.use_as {
            Use::Red => Some(red::Summary::of(payload).ok_or(Unroutable::Malformed)?),
            Use::Media | Use::Rtx => None,
        };
        let media = payload.get(red.map_or(0, |red| usize::from(red.primary))..);
        let media = media.ok_or(Unroutable::Malformed)?;
        let info = codec::inspect(codec, media, header.marker);
        let line = section.lines.get_mut(usize::from(stream.encoding));
        let line = line.ok_or(Unroutable::Ssrc)?;
        let Some(number) = line.number(now, stream.ssrc, seq) else {
            return Ok(None);
        };
        Ok(Some(Routed {
            track: section.track,
            encoding: stream.encoding,
            ssrc: stream.ssrc,
            hopeless: (lost || number.begins) && codec.kind() == MediaKind::Video,
            packet: Packet {
                arrival: now,
                seq: number.seq,
                timestamp: header.timestamp,
                marker: header.marker,
                format: meaning.format,
                red,
                codec,
                info,
                layers: FrameLayers::default(),
                structure: 0,
                targets: 0,
                above: None,
                entry: false,
                needs_parameter_sets: false,
                passed: found.passed,
                payload: payload.into(),
            },
        }))
    }

    /// A sender report: which track's encoding it is about, and its clock on
    /// this server's time; `wall` is now. All reports of a publisher are moved by the same
    /// offset, so its tracks stay in sync; it is another one from where the publisher sets its clock.
    pub fn sender_report(
        &mut self,
        now: Instant,
        wall: Duration,
        report: &SenderReport<'_>,
    ) -> Option<(u32, u8, SenderClock)> {
        let mut all = self.streams.all.iter_mut();
        let stream = all.find(|s| s.ssrc == report.ssrc)?;
        stream.reception.sender_report(now, report.info.ntp);
        let encoding = stream.encoding;
        let section = self.streams.sections.get(usize::from(stream.section))?;
        // Publishers may count from anywhere, so only differences count.
        let NtpTime(theirs) = report.info.ntp;
        let theirs = (i128::from(theirs) * 1_000_000) >> 32;
        let ours = wall.as_micros() as i128;
        let offset = self.clock_offset.get_or_insert(ours - theirs);
        if (theirs + *offset - ours).abs() > CLOCK_SET {
            *offset = ours - theirs;
        }
        let offset = *offset;
        let wall = u64::try_from(theirs + offset).ok()?;
        let clock = SenderClock {
            wall: Duration::from_micros(wall),
            timestamp: report.info.rtp,
        };
        Some((section.track, encoding, clock))
    }

    /// Asks the publisher for a keyframe of one encoding of `track`. False when it was not sent.
    pub fn request_keyframe(
        &mut self,
        sender: &mut FeedbackSender,
        arena: &mut SendArena,
        path: Path,
        track: u32,
        encoding: u8,
    ) -> bool {
        let mut sections = (0u8..).zip(&self.streams.sections);
        let Some((index, section)) = sections.find(|(_, section)| section.track == track) else {
            return false;
        };
        let place = self.streams.place(index, encoding);
        let Some(stream) = place.and_then(|at| self.streams.all.get_mut(at)) else {
            return false;
        };
        let media = stream.ssrc;
        // Also asked where neither was agreed on: it costs nothing, and some
        // encoders react all the same.
        let fir = section.fir.then(|| {
            stream.fir_sequence = stream.fir_sequence.wrapping_add(1);
            FirEntry {
                ssrc: media,
                seq: stream.fir_sequence,
            }
        });
        sender.message(arena, path, section.reduced, |writer, ssrc| {
            match fir {
                Some(entry) => writer.fir(ssrc, &[entry])?,
                None => writer.pli(ssrc, media)?,
            }
            Ok(true)
        })
    }

    /// The handshake took this round trip; nothing has come yet.
    pub fn learn_round_trip(&mut self, round_trip: Option<Duration>) {
        self.streams.learn_round_trip(round_trip);
    }

    /// When [`tick`](Self::tick) wants to be called.
    pub fn deadline(&self) -> Option<Instant> {
        let trackers = self.streams.all.iter().filter_map(|s| s.nack.as_ref());
        trackers
            .filter_map(NackTracker::deadline)
            .chain(self.maximum.as_ref().and_then(|m| m.deadline()))
            .chain(self.arrivals.as_ref().and_then(|a| a.deadline()))
            .chain(self.next_report)
            .min()
    }

    /// Tells the publisher what is due; `wall` is now.
    pub fn tick(
        &mut self,
        now: Instant,
        wall: Duration,
        sender: &mut FeedbackSender,
        arena: &mut SendArena,
        path: Path,
    ) -> Asked {
        let asked = self.ask_for_repairs(now, sender, arena, path);
        self.tell_arrivals(now, sender, arena, path);
        self.tell_maximum(now, sender, arena, path);
        self.report(now, wall, sender, arena, path);
        asked
    }

    fn ask_for_repairs(
        &mut self,
        now: Instant,
        sender: &mut FeedbackSender,
        arena: &mut SendArena,
        path: Path,
    ) -> Asked {
        let mut asked = Asked::default();
        for stream in &mut self.streams.all {
            let Some(tracker) = &mut stream.nack else {
                continue;
            };
            let Some(section) = self.streams.sections.get(usize::from(stream.section)) else {
                continue;
            };
            if tracker.due(now, &mut self.missing) && section.kind == MediaKind::Video {
                asked.lost.push((section.track, stream.encoding));
            }
            if self.missing.is_empty() {
                continue;
            }
            let missing = &self.missing;
            if sender.message(arena, path, section.reduced, |writer, ssrc| {
                writer.nack(ssrc, stream.ssrc, missing.iter().copied())?;
                Ok(true)
            }) {
                asked.repairs += missing.len() as u64;
            }
        }
        asked
    }

    fn tell_arrivals(
        &mut self,
        now: Instant,
        sender: &mut FeedbackSender,
        arena: &mut SendArena,
        path: Path,
    ) {
        let Some(arrivals) = &mut self.arrivals else {
            return;
        };
        let reduced = self.streams.sections.iter().all(|s| s.reduced);
        while arrivals.deadline().is_some_and(|at| at <= now) {
            let told = sender.message(arena, path, reduced, |writer, ssrc| {
                arrivals.write(now, writer, ssrc)
            });
            if !told {
                return arrivals.put_off(now + AGAIN);
            }
        }
    }

    fn tell_maximum(
        &mut self,
        now: Instant,
        sender: &mut FeedbackSender,
        arena: &mut SendArena,
        path: Path,
    ) {
        let Some(rate) = self.maximum.as_mut().and_then(|m| m.due(now)) else {
            return;
        };
        let mut ssrcs = SmallVec::<[u32; RATED_STREAMS]>::new();
        let mut reduced = true;
        for stream in self.streams.all.iter().filter(|s| s.heard.is_some()) {
            if let Some(section) = self.streams.sections.get(usize::from(stream.section))
                && section.rated
                && ssrcs.len() < RATED_STREAMS
            {
                ssrcs.push(stream.ssrc);
                reduced &= section.reduced;
            }
        }
        // One that does not fit is told anew in a second.
        sender.message(arena, path, reduced, |writer, ssrc| {
            writer.remb(ssrc, rate, &ssrcs)?;
            Ok(true)
        });
    }

    /// A report on all streams that have sent something since the last one, with our clock,
    /// so that the publisher's answer tells the round trip (RFC 3611 §4.4).
    fn report(
        &mut self,
        now: Instant,
        wall: Duration,
        sender: &mut FeedbackSender,
        arena: &mut SendArena,
        path: Path,
    ) {
        if self.next_report.is_none_or(|at| at > now) {
            return;
        }
        let is_fresh = |heard: Option<Instant>| {
            heard.is_some_and(|at| now.saturating_duration_since(at) <= REPORT_INTERVAL)
        };
        let mut blocks = SmallVec::<[_; 4]>::new();
        for stream in &mut self.streams.all {
            if is_fresh(stream.heard) && blocks.len() < MAX_REPORT_BLOCKS {
                blocks.extend(stream.reception.report(now, stream.ssrc));
            }
        }
        // A silent publisher is told nothing until it sends again.
        self.next_report = (!blocks.is_empty()).then(|| now + REPORT_INTERVAL);
        if blocks.is_empty() {
            return;
        }
        // One that does not fit is made good by the next.
        sender.send(arena, path, |writer, ssrc, cname| {
            writer.receiver_report(ssrc, &blocks)?;
            writer.sdes_cname(ssrc, cname)?;
            writer.xr_rrtr(ssrc, NtpTime::from_unix(wall))?;
            Ok(true)
        });
    }

    /// How losses of `track` can be repaired.
    pub fn repair(&self, track: u32) -> TrackRepair {
        let mut sections = self.streams.sections.iter();
        let section = sections.find(|s| s.track == track);
        section.map_or_else(TrackRepair::default, |s| TrackRepair {
            nack: s.nack,
            rtx: s.rtx,
        })
    }

    /// The tracks of its sections.
    pub fn tracks(&self) -> impl Iterator<Item = u32> {
        self.streams.sections.iter().map(|s| s.track)
    }
}
