//! From the engine's RTP packets to a track's packets: which track, which
//! encoding, which format, and what the payload says.

use std::time::{Duration, Instant, SystemTime};

use smallvec::SmallVec;
use str0m::Rtc;
use str0m::media::{KeyframeRequestKind, Mid, Rid};
use str0m::rtp::{RtpPacket, Ssrc};

use super::header::{ClearHeader, ExtensionIds, PassedExtensions};
use super::nack::{NackSender, NackTracker};
use super::negotiate::{HeaderExtension, MediaSection};
use super::numbering::Numbering;
use super::remb::{Arrived, MaximumRate};
use super::setup::engine_mid;
use crate::codec::{self, FrameLayers, red};
use crate::control::messages::TrackRepair;
use crate::net::{Path, SendArena};
use crate::room::{Packet, SenderClock};
use crate::units::MediaKind;

/// SSRCs that a publisher may bring up without announcing them; more than any
/// client needs, few enough that forged ones cost nothing.
const MAX_UNANNOUNCED: usize = 16;

/// Bytes of a packet on the wire beside its payload: IP, UDP, RTP with
/// extensions, and the tag, about.
const OVERHEAD: usize = 64;

/// Streams that a maximum rate is told for; the simulcast layers of a few cameras.
const RATED_STREAMS: usize = 16;

/// A publisher's section.
#[derive(Debug)]
struct Section {
    mid: Mid,
    kind: MediaKind,
    track: u32,
    rids: Vec<Rid>,
    codecs: Vec<codec::Codec>,
    nack: bool,
    rtx: bool,
    pli: bool,
    fir: bool,
    bound: bool,
    reduced: bool,
    /// It takes a maximum rate from us, and nothing better.
    rated: bool,
    /// By encoding.
    lines: Vec<Numbering>,
}

/// What a payload type means.
#[derive(Debug, Clone, Copy)]
struct PayloadType {
    section: u8,
    format: u8,
    use_as: Use,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Media,
    Red,
    Rtx,
}

/// Where a stream's packets go.
#[derive(Debug)]
struct Stream {
    ssrc: Ssrc,
    section: u8,
    encoding: u8,
    nack: Option<NackTracker>,
    /// The highest number that came.
    highest: Option<u64>,
}

/// Why a datagram gave no packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unroutable {
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

/// A publisher's receiving side.
#[derive(Debug)]
pub struct Ingress {
    sections: Vec<Section>,
    payload_types: Box<[Option<PayloadType>; 128]>,
    streams: Vec<Stream>,
    unannounced: usize,
    /// The round trip as the handshake told it.
    round_trip: Option<Duration>,
    ids: ExtensionIds,
    /// This server's clock minus the publisher's in microseconds, from its
    /// first report.
    clock_offset: Option<i128>,
    /// Numbers of the request in hand.
    missing: Vec<u16>,
    /// What it may send, where that is ours to tell.
    maximum: Option<Box<MaximumRate>>,
}

impl Ingress {
    /// The receiving side of a publisher with these sections; `tracks` are the
    /// sections' tracks in the worker.
    pub fn new(sections: &[MediaSection], tracks: &[u32]) -> Self {
        let mut payload_types = Box::new([None; 128]);
        let mut ids = ExtensionIds::default();
        let mut streams = Vec::new();
        let mut all = Vec::new();
        for (index, (section, &track)) in (0u8..).zip(sections.iter().zip(tracks)) {
            ids.add(&section.extensions);
            for (format, codec) in (0u8..).zip(&section.codecs) {
                let uses = [
                    (Some(codec.pt), Use::Media),
                    (codec.red_pt, Use::Red),
                    (codec.rtx_pt, Use::Rtx),
                ];
                for (pt, use_as) in uses {
                    if let Some(pt) = pt
                        && let Some(entry) = payload_types.get_mut(usize::from(pt))
                    {
                        *entry = Some(PayloadType {
                            section: index,
                            format,
                            use_as,
                        });
                    }
                }
            }
            let any = |feedback: fn(&super::negotiate::Feedback) -> bool| {
                section.codecs.iter().any(|c| feedback(&c.feedback))
            };
            if section.rids.is_empty() {
                let layer = |ssrc| {
                    let at = section.layer_ssrcs.iter().position(|l| *l == ssrc);
                    at.and_then(|at| u8::try_from(at).ok()).unwrap_or(0)
                };
                streams.extend(section.ssrcs.iter().map(|s| Stream {
                    ssrc: s.ssrc.into(),
                    section: index,
                    encoding: layer(s.ssrc),
                    nack: tracker(section.kind, any(|f| f.nack), None),
                    highest: None,
                }));
            }
            all.push(Section {
                mid: engine_mid(&section.mid),
                kind: section.kind,
                track,
                rids: section.rids.iter().map(|r| Rid::from(r.as_str())).collect(),
                codecs: section.codecs.iter().map(|c| c.codec).collect(),
                nack: any(|f| f.nack),
                rtx: section.has_rtx(),
                pli: any(|f| f.pli),
                fir: any(|f| f.fir),
                bound: !section.ssrcs.is_empty(),
                reduced: section.rtcp_rsize,
                rated: any(|f| f.remb) && !numbered(section),
                lines: (0..section.layer_names().len().max(1))
                    .map(|_| Numbering::default())
                    .collect(),
            });
        }
        let rated = all.iter().any(|section| section.rated);
        Self {
            sections: all,
            maximum: rated.then(Box::default),
            payload_types,
            streams,
            unannounced: 0,
            round_trip: None,
            ids,
            clock_offset: None,
            missing: Vec::new(),
        }
    }

    /// The ids its header extensions come with.
    pub fn extension_ids(&self) -> &ExtensionIds {
        &self.ids
    }

    /// Makes sure that the engine will take a packet with this header. An SSRC
    /// that nothing announced, and whose packets carry no mid, belongs to the
    /// section with its payload type (RFC 8843 §9.2).
    pub fn admit(&mut self, rtc: &mut Rtc, header: &ClearHeader) -> Result<(), Unroutable> {
        let Some(meaning) = self
            .payload_types
            .get(usize::from(header.payload_type))
            .copied()
            .flatten()
        else {
            return Err(Unroutable::PayloadType);
        };
        if meaning.use_as == Use::Rtx || self.streams.iter().any(|s| *s.ssrc == header.ssrc) {
            return Ok(());
        }
        let Some(section) = self.sections.get_mut(usize::from(meaning.section)) else {
            return Err(Unroutable::PayloadType);
        };
        let has_mid = self
            .ids
            .id(super::negotiate::HeaderExtension::Mid)
            .is_some();
        if !section.rids.is_empty() || has_mid || section.bound {
            return Ok(()); // the engine finds it by its mid and rid, or refuses it
        }
        if self.unannounced >= MAX_UNANNOUNCED {
            return Err(Unroutable::Ssrc);
        }
        self.unannounced += 1;
        section.bound = true;
        rtc.direct_api()
            .expect_stream_rx(header.ssrc.into(), None, section.mid, None)
            .suppress_nack(true);
        Ok(())
    }

    /// The section and encoding of an SSRC.
    fn stream(&mut self, rtc: &mut Rtc, now: Instant, ssrc: Ssrc) -> Option<(u8, u8)> {
        if let Some(stream) = self.streams.iter().find(|s| s.ssrc == ssrc) {
            return Some((stream.section, stream.encoding));
        }
        let mut api = rtc.direct_api();
        let engine = api.stream_rx(&ssrc)?;
        let (mid, rid) = (engine.mid(), engine.rid());
        let (index, section) = (0u8..)
            .zip(&self.sections)
            .find(|(_, section)| section.mid == mid)?;
        let encoding = match rid {
            // Some clients send a rid that they never announced.
            Some(rid) if !section.rids.is_empty() => {
                u8::try_from(section.rids.iter().position(|r| *r == rid)?).ok()?
            }
            _ => 0,
        };
        let line = section.lines.get(usize::from(encoding))?;
        if line.is_stray(now, ssrc) {
            return None;
        }
        engine.suppress_nack(true); // we ask ourselves: see `nack`
        let stream = Stream {
            ssrc,
            section: index,
            encoding,
            nack: tracker(section.kind, section.nack, self.round_trip),
            highest: None,
        };
        // A stream that changed its SSRC takes the place of its former one.
        self.streams
            .retain(|s| (s.section, s.encoding) != (stream.section, stream.encoding));
        self.streams.push(stream);
        Some((index, encoding))
    }

    /// Makes a track's packet of the engine's.
    pub fn route(
        &mut self,
        rtc: &mut Rtc,
        now: Instant,
        rtp: RtpPacket,
        passed: PassedExtensions,
    ) -> Option<Routed> {
        let (section_index, encoding) = self.stream(rtc, now, rtp.header.ssrc)?;
        let section = self.sections.get_mut(usize::from(section_index))?;
        let meaning = self.payload_types[usize::from(*rtp.header.payload_type & 0x7f)]?;
        if meaning.section != section_index || meaning.use_as == Use::Rtx {
            return None;
        }
        let codec = *section.codecs.get(usize::from(meaning.format))?;
        let red_primary = match meaning.use_as {
            Use::Red => {
                // The primary block is the last one (RFC 2198 §3).
                let primary = red::primary(&rtp.payload)?.data.len();
                u16::try_from(rtp.payload.len() - primary).ok()
            }
            Use::Media | Use::Rtx => None,
        };
        let media = rtp.payload.get(red_primary.map_or(0, usize::from)..)?;
        let info = codec::inspect(codec, media, rtp.header.marker);
        let ssrc = rtp.header.ssrc;
        let line = section.lines.get_mut(usize::from(encoding))?;
        let number = line.number(now, ssrc, *rtp.seq_no)?;
        let stream = self.streams.iter_mut().find(|s| s.ssrc == ssrc)?;
        if let Some(maximum) = self.maximum.as_mut().filter(|_| section.rated) {
            let next = stream.highest.map_or(*rtp.seq_no, |highest| highest + 1);
            let packet = Arrived {
                size: rtp.payload.len() + OVERHEAD,
                missing: rtp.seq_no.checked_sub(next),
                sent: rtp.header.ext_vals.abs_send_time,
            };
            maximum.arrived(now, packet);
        }
        stream.highest = stream.highest.max(Some(*rtp.seq_no));
        let nack = stream.nack.as_mut();
        let hopeless = nack.is_some_and(|nack| nack.arrived(now, *rtp.seq_no));
        Some(Routed {
            track: section.track,
            encoding,
            ssrc: *ssrc,
            hopeless: (hopeless || number.begins) && codec.kind() == MediaKind::Video,
            packet: Packet {
                arrival: now,
                seq: number.seq,
                timestamp: rtp.header.timestamp,
                marker: rtp.header.marker,
                format: meaning.format,
                red_primary,
                codec,
                info,
                layers: FrameLayers::default(),
                structure: 0,
                targets: 0,
                entry: false,
                needs_parameter_sets: false,
                passed,
                payload: rtp.payload,
            },
        })
    }

    /// A sender report: which track's encoding it is about, and its clock on
    /// this server's time. All reports of a publisher are moved by the same
    /// offset, so its tracks stay in sync.
    pub fn sender_clock(
        &mut self,
        ssrc: Ssrc,
        ntp: SystemTime,
        timestamp: u32,
        received: Duration,
    ) -> Option<(u32, u8, SenderClock)> {
        let stream = self.streams.iter().find(|s| s.ssrc == ssrc)?;
        let encoding = stream.encoding;
        let track = self.sections.get(usize::from(stream.section))?.track;
        // Publishers may count from anywhere, before 1970 too.
        let theirs = match ntp.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => after.as_micros() as i128,
            Err(before) => -(before.duration().as_micros() as i128),
        };
        let ours = received.as_micros() as i128;
        let offset = *self.clock_offset.get_or_insert(ours - theirs);
        let wall = u64::try_from(theirs + offset).ok()?;
        let clock = SenderClock {
            wall: Duration::from_micros(wall),
            timestamp,
        };
        Some((track, encoding, clock))
    }

    /// Asks the publisher for a keyframe of one encoding of `track`.
    pub fn request_keyframe(&self, rtc: &mut Rtc, track: u32, encoding: u8) -> bool {
        let Some((index, section)) = (0u8..)
            .zip(&self.sections)
            .find(|(_, section)| section.track == track)
        else {
            return false;
        };
        let Some(stream) = self
            .streams
            .iter()
            .find(|s| s.section == index && s.encoding == encoding)
        else {
            return false;
        };
        // Also asked where neither was agreed on: it costs nothing, and some
        // encoders react all the same.
        let kind = if section.fir && !section.pli {
            KeyframeRequestKind::Fir
        } else {
            KeyframeRequestKind::Pli
        };
        match rtc.direct_api().stream_rx(&stream.ssrc) {
            Some(engine) => {
                engine.request_keyframe(kind);
                true
            }
            None => false,
        }
    }

    /// The handshake took this round trip; nothing has come yet.
    pub fn learn_round_trip(&mut self, round_trip: Option<Duration>) {
        self.round_trip = round_trip;
        for stream in &mut self.streams {
            if let Some(nack) = &mut stream.nack {
                nack.learn_round_trip(round_trip);
            }
        }
    }

    /// When [`ask_for_repairs`](Self::ask_for_repairs) or
    /// [`tell_maximum`](Self::tell_maximum) wants to be called.
    pub fn deadline(&self) -> Option<Instant> {
        let trackers = self.streams.iter().filter_map(|s| s.nack.as_ref());
        let maximum = self.maximum.as_ref().and_then(|m| m.deadline());
        trackers
            .filter_map(NackTracker::deadline)
            .chain(maximum)
            .min()
    }

    /// Asks for what is missing and due; returns how many packets that are. The tracks and
    /// encodings whose pictures lack something for good go into `lost`.
    pub fn ask_for_repairs(
        &mut self,
        now: Instant,
        sender: &mut NackSender,
        arena: &mut SendArena,
        path: Path,
        lost: &mut SmallVec<[(u32, u8); 4]>,
    ) -> u64 {
        let mut asked = 0;
        for stream in &mut self.streams {
            let Some(tracker) = &mut stream.nack else {
                continue;
            };
            let Some(section) = self.sections.get(usize::from(stream.section)) else {
                continue;
            };
            if tracker.due(now, &mut self.missing) && section.kind == MediaKind::Video {
                lost.push((section.track, stream.encoding));
            }
            if self.missing.is_empty() {
                continue;
            }
            if sender.send(arena, path, *stream.ssrc, &self.missing, section.reduced) {
                asked += self.missing.len() as u64;
            }
        }
        asked
    }

    /// Tells the publisher what it may send, when that is due.
    pub fn tell_maximum(
        &mut self,
        now: Instant,
        sender: &mut NackSender,
        arena: &mut SendArena,
        path: Path,
    ) {
        let Some(rate) = self.maximum.as_mut().and_then(|m| m.due(now)) else {
            return;
        };
        let mut ssrcs = SmallVec::<[u32; RATED_STREAMS]>::new();
        let mut reduced = true;
        for stream in self.streams.iter().filter(|s| s.highest.is_some()) {
            if let Some(section) = self.sections.get(usize::from(stream.section))
                && section.rated
                && ssrcs.len() < RATED_STREAMS
            {
                ssrcs.push(*stream.ssrc);
                reduced &= section.reduced;
            }
        }
        // One that does not fit is told anew in a second.
        sender.maximum_rate(arena, path, rate, &ssrcs, reduced);
    }

    /// How losses of `track` can be repaired.
    pub fn repair(&self, track: u32) -> TrackRepair {
        let section = self.sections.iter().find(|s| s.track == track);
        section.map_or_else(TrackRepair::default, |s| TrackRepair {
            nack: s.nack,
            rtx: s.rtx,
        })
    }

    /// The tracks of its sections.
    pub fn tracks(&self) -> impl Iterator<Item = u32> {
        self.sections.iter().map(|s| s.track)
    }
}

/// What notices losses of a stream: of pictures also where they can't be asked for, since only
/// a keyframe repairs them then.
fn tracker(kind: MediaKind, asks: bool, round_trip: Option<Duration>) -> Option<NackTracker> {
    (asks || kind == MediaKind::Video).then(|| NackTracker::new(round_trip, asks))
}

/// Its packets have transport-wide numbers, and the engine gives feedback on them.
fn numbered(section: &MediaSection) -> bool {
    let has =
        |(_, extension): &(u8, HeaderExtension)| *extension == HeaderExtension::TransportWideCc;
    let agreed = section.codecs.iter().any(|c| c.feedback.transport_cc);
    agreed && section.extensions.iter().any(has)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Codec;
    use crate::control::testing::negotiated;
    use crate::peer::negotiate::{Direction, SignalledSsrc};

    #[test]
    fn each_ssrc_of_a_simulcast_group_is_an_encoding() {
        let mut section = negotiated(Direction::Publish, &[&[Codec::Vp8]])
            .media
            .remove(0);
        section.layer_ssrcs = vec![30, 10, 20];
        section.ssrcs = [10, 20, 30]
            .map(|ssrc| SignalledSsrc { ssrc, rtx: None })
            .to_vec();
        assert_eq!(section.layer_names(), ["0", "1", "2"]);
        let ingress = Ingress::new(&[section], &[7]);
        let streams = ingress.streams.iter().map(|s| (*s.ssrc, s.encoding));
        assert_eq!(streams.collect::<Vec<_>>(), [(10, 1), (20, 2), (30, 0)]);
    }
}
