//! One encoding of a track: its packets, its measurements, its clock.

use std::time::{Duration, Instant};

use super::health::Health;
use super::keyframe_request::{KeyframeRequester, Reaction};
use super::ladder::Rung;
use super::meter::LayerMeter;
use super::packet::Packet;
use super::parameter_sets::ParameterSets;
use super::ring::PacketRing;
use super::stats::EncodingStats;
use crate::codec::dependency_descriptor::{MAX_SPATIAL, Reader};
use crate::codec::{Cell, Codec, FrameLayers, Grid, h264, h265, vp9};
use crate::control::messages::{EncodingSnapshot, LayerSnapshot};
use crate::units::{Bitrate, MediaKind};

/// A packet this far ahead of the newest one is not on its line any more: the
/// publisher started over, and viewers must not ask for what lies between.
pub const LINE_BREAK: u64 = 3000;

/// A keyframe that comes this much before or after the expected time is a
/// regular one.
const EARLY: Duration = Duration::from_millis(250);

/// A publisher that sent no sender report for this long sends none at all.
const REPORTS_LATE: Duration = Duration::from_secs(5);

/// Ties an encoding's RTP timestamps to wall-clock time, from sender reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderClock {
    /// Wall-clock time since the Unix epoch, on this server's clock.
    pub wall: Duration,
    /// The RTP timestamp of that moment.
    pub timestamp: u32,
}

/// What another worker needs to begin where this one is.
#[derive(Debug, Clone)]
pub struct Cached {
    /// The newest keyframe segment; payloads copied.
    packets: Vec<Packet>,
    parameter_sets: ParameterSets,
    size: Option<(u16, u16)>,
    grid: Grid,
    descriptors: Reader,
    sizes: [Option<(u16, u16)>; MAX_SPATIAL],
    seen: (u8, u8),
    clock: Option<SenderClock>,
    reaction: Reaction,
    last_keyframe: Option<Instant>,
    keyframe_interval: Option<Duration>,
}

/// An encoding: the only one of a track, or a simulcast layer.
#[derive(Debug)]
pub struct Encoding {
    /// The simulcast layer's rid.
    pub rid: Option<String>,
    /// The SSRC it arrives with, once seen.
    pub ssrc: Option<u32>,
    /// The newest packets.
    pub ring: PacketRing,
    /// Measurements.
    pub stats: EncodingStats,
    /// Keyframe requests towards the publisher.
    pub keyframes: KeyframeRequester,
    /// Picture size, from the newest keyframe that told it.
    pub size: Option<(u16, u16)>,
    /// How many slots in this worker get it or wait for it.
    pub viewers: u32,
    /// How many pictures of its track had come with its newest packet.
    pub heard_at: u32,
    /// Its layers.
    pub grid: Grid,
    /// The template structure of its dependency descriptors.
    pub descriptors: Reader,
    /// RTP to wall clock.
    pub clock: Option<SenderClock>,
    /// Parameter sets, where the codec has them.
    pub parameter_sets: ParameterSets,
    /// What tells of the publisher's set-up.
    pub health: Health,
    /// What each choice of layers takes.
    meter: LayerMeter,
    /// Picture size of each spatial layer, where told.
    sizes: [Option<(u16, u16)>; MAX_SPATIAL],
    /// The highest layers seen, of streams without descriptors.
    seen: (u8, u8),
    /// Moving rate of all of it.
    rate: f64,
    codec: Option<Codec>,
    parameter_sets_timestamp: Option<u32>,
    carry: h264::LayerCarry,
    entry_timestamp: Option<u32>,
    last_keyframe: Option<Instant>,
    keyframe_interval: Option<Duration>,
    /// When the first and the newest packet came, and the newest timestamp.
    arrivals: Option<(Instant, Instant, u32)>,
}

impl Encoding {
    /// An encoding nothing came for yet.
    pub fn new(kind: MediaKind, rid: Option<String>) -> Self {
        Self {
            rid,
            ssrc: None,
            ring: PacketRing::new(kind),
            stats: EncodingStats::default(),
            keyframes: KeyframeRequester::default(),
            size: None,
            viewers: 0,
            heard_at: 0,
            grid: Grid::default(),
            descriptors: Reader::default(),
            meter: LayerMeter::default(),
            sizes: [None; MAX_SPATIAL],
            seen: (0, 0),
            rate: 0.0,
            clock: None,
            parameter_sets: ParameterSets::None,
            health: Health::default(),
            codec: None,
            parameter_sets_timestamp: None,
            carry: h264::LayerCarry::default(),
            entry_timestamp: None,
            last_keyframe: None,
            keyframe_interval: None,
            arrivals: None,
        }
    }

    /// Takes the parameter sets that came with the offer
    /// (`sprop-parameter-sets`, RFC 6184 §8.1; `sprop-vps` and others, RFC 7798 §7.1).
    pub fn offer_parameter_sets(&mut self, codec: Codec, fmtp: &str) {
        self.codec = Some(codec);
        self.parameter_sets = match codec {
            Codec::H264 => ParameterSets::H264(h264::ParameterSets::from_fmtp(fmtp)),
            Codec::H265 => ParameterSets::H265(h265::ParameterSets::from_fmtp(fmtp)),
            _ => ParameterSets::None,
        };
    }

    /// How long until the next keyframe comes by itself, judged by the last
    /// interval; `None` when that is not known or proved wrong.
    pub fn next_keyframe(&self, now: Instant) -> Option<Duration> {
        let due = self.keyframe_due(now)?;
        Some(due.saturating_duration_since(now))
    }

    /// When the next keyframe comes by itself; see [`next_keyframe`](Self::next_keyframe).
    pub fn keyframe_due(&self, now: Instant) -> Option<Instant> {
        let due = self.last_keyframe? + self.keyframe_interval?;
        (now < due + EARLY).then_some(due)
    }

    /// A copy of what joiners need.
    pub fn cached(&self) -> Cached {
        let first = self.ring.segment().map(|segment| segment.first);
        let packets = first.map(|first| self.ring.from(first).map(Packet::detached).collect());
        Cached {
            packets: packets.unwrap_or_default(),
            parameter_sets: self.parameter_sets.clone(),
            size: self.size,
            grid: self.grid.clone(),
            descriptors: self.descriptors.clone(),
            sizes: self.sizes,
            seen: self.seen,
            clock: self.clock,
            reaction: self.keyframes.reaction(),
            last_keyframe: self.last_keyframe,
            keyframe_interval: self.keyframe_interval,
        }
    }

    /// Takes over what another worker has of this encoding, before any packet
    /// of it arrives here. It is not measured: rates are those of arrivals.
    pub fn restore(&mut self, cached: Cached, now: Instant) {
        self.ring.clear();
        if let Some(first) = cached.packets.first() {
            self.codec = Some(first.codec);
            self.entry_timestamp = Some(first.timestamp);
        }
        self.parameter_sets = cached.parameter_sets;
        self.size = cached.size;
        self.descriptors = cached.descriptors;
        self.sizes = cached.sizes;
        self.seen = cached.seen;
        self.set_grid(cached.grid, now);
        self.clock = cached.clock.or(self.clock);
        self.keyframes.learn(cached.reaction);
        self.last_keyframe = cached.last_keyframe;
        self.keyframe_interval = cached.keyframe_interval;
        for packet in cached.packets {
            self.ring.insert(packet);
        }
    }

    /// The clock for sender reports: the publisher's own, or when it never
    /// reports, what arrival times tell.
    pub fn report_clock(&self, now: Instant, wall: Duration) -> Option<SenderClock> {
        if self.clock.is_some() {
            return self.clock;
        }
        let (first, newest, timestamp) = self.arrivals?;
        if now.saturating_duration_since(first) < REPORTS_LATE {
            return None;
        }
        let age = now.saturating_duration_since(newest);
        Some(SenderClock {
            wall: wall.saturating_sub(age),
            timestamp,
        })
    }

    /// Takes a packet in: measures it and completes what only its
    /// neighbours can tell. Returns true when the picture size or the layers changed.
    pub fn absorb(&mut self, packet: &mut Packet) -> bool {
        if self.codec != Some(packet.codec) {
            self.codec = Some(packet.codec);
            self.parameter_sets = ParameterSets::for_codec(packet.codec);
            self.size = None;
            self.ring.clear();
            self.descriptors.reset();
            self.sizes = [None; MAX_SPATIAL];
            self.seen = (0, 0);
            self.set_grid(Grid::default(), packet.arrival);
        }
        let grid_changed = packet.codec.kind() == MediaKind::Video && self.read_layers(packet);
        if self.grid.is_layered() {
            self.meter.count(
                &self.grid,
                &packet.layers,
                &packet.info,
                packet.payload.len(),
            );
        }
        let is_newest = self.stats.highest().is_none_or(|seq| packet.seq > seq);
        let breaks = self.stats.count(
            packet.arrival,
            packet.seq,
            packet.timestamp,
            packet.payload.len(),
        );
        if breaks {
            (self.clock, self.arrivals) = (None, None); // timestamps may start anew too
        }
        if is_newest {
            // A repair or what was overtaken comes later than its timestamp says.
            let first = self.arrivals.map_or(packet.arrival, |(first, ..)| first);
            self.arrivals = Some((first, packet.arrival, packet.timestamp));
        }
        let rate = packet.codec.clock_rate();
        self.health
            .packet(packet.arrival, packet.seq, packet.timestamp, rate);
        let info = &packet.info;
        if info.unreadable {
            self.health.unreadable_slice();
        } else if info.b_frame {
            self.health.b_frame(packet.arrival);
        }
        if info.has_parameter_sets {
            self.parameter_sets_timestamp = Some(packet.timestamp);
        }
        if info.has_parameter_sets || info.has_pps {
            self.parameter_sets.absorb(&packet.payload);
        }
        // Several packets of one access unit may each look like its start
        // (parameter sets, then the first slice): the first one is.
        packet.entry = info.starts_keyframe && self.entry_timestamp != Some(packet.timestamp);
        if packet.entry {
            self.entry_timestamp = Some(packet.timestamp);
            // The first one of all comes whoever asks.
            let due = self.last_keyframe.is_none()
                || self
                    .next_keyframe(packet.arrival)
                    .is_some_and(|next| next < EARLY);
            self.keyframes.satisfied(packet.arrival, due);
            self.keyframe_interval = self
                .last_keyframe
                .map(|last| packet.arrival.saturating_duration_since(last));
            self.last_keyframe = Some(packet.arrival);
            let bare = self.parameter_sets_timestamp != Some(packet.timestamp);
            packet.needs_parameter_sets = bare && self.parameter_sets.is_complete();
            let incomplete = bare && self.parameter_sets.is_needed();
            self.health.keyframe(packet.arrival, incomplete);
        }
        match info.size {
            Some(size) if self.size != Some(size) => {
                self.size = Some(size);
                true
            }
            _ => grid_changed,
        }
    }

    /// Finds a packet's place among the layers; what a dependency descriptor says goes ahead
    /// of the payload, which may be encrypted. True when the stream's layers changed.
    fn read_layers(&mut self, packet: &mut Packet) -> bool {
        if packet.passed.dependency.is_empty() {
            return self.read_layer_ids(packet);
        }
        let Ok(d) = self.descriptors.read(&packet.passed.dependency) else {
            return false; // its structure has not come yet, or is gone
        };
        let Some(structure) = self.descriptors.structure() else {
            return false;
        };
        packet.layers = FrameLayers::from_descriptor(&d, structure);
        packet.structure = self.descriptors.version();
        packet.targets = match self.descriptors.active_decode_targets() {
            // It overtook the one that says so.
            active if active & d.targets(structure) == 0 => structure.all_targets(),
            active => active,
        };
        let told = d.packet_info();
        let info = &mut packet.info;
        info.starts_keyframe = told.starts_keyframe;
        info.keyframe = told.keyframe;
        info.starts_frame = told.starts_frame;
        info.ends_frame = told.ends_frame;
        (info.spatial, info.temporal) = (told.spatial, told.temporal);
        if !d.has_structure {
            info.size = None; // what an encrypted payload seems to say
            return false;
        }
        let layers = structure.spatial_layers();
        for (spatial, size) in (0..layers).zip(&mut self.sizes) {
            *size = structure.resolution(spatial);
        }
        let largest = structure.resolution(layers.saturating_sub(1));
        info.size = largest.or(info.size);
        let grid = Grid::of_structure(structure);
        self.set_grid(grid, packet.arrival)
    }

    fn read_layer_ids(&mut self, packet: &mut Packet) -> bool {
        if packet.codec == Codec::H264 {
            let (timestamp, payload) = (packet.timestamp, &packet.payload);
            self.carry.complete(timestamp, payload, &mut packet.info);
        }
        // Pictures that no other refers to can be left out like a temporal layer.
        if packet.codec == Codec::H264 && packet.info.discardable {
            packet.info.temporal = packet.info.temporal.max(1);
            packet.info.switch_up = true;
        }
        packet.layers = FrameLayers::from_ids(packet.codec, &packet.info);
        let info = &packet.info;
        if packet.codec == Codec::Vp9
            && info.keyframe
            && let Some(structure) =
                vp9::Descriptor::parse(&packet.payload).and_then(|d| d.structure)
        {
            let told = structure.sizes.unwrap_or_default();
            for (spatial, (size, told)) in self.sizes.iter_mut().zip(told).enumerate() {
                let is_there = spatial < usize::from(structure.spatial_layers);
                *size = (is_there && told.0 > 0 && told.1 > 0).then_some(told);
            }
        }
        if packet.codec == Codec::Av1 {
            return false;
        }
        let seen = (
            self.seen.0.max(info.spatial),
            self.seen.1.max(info.temporal),
        );
        if seen == self.seen {
            return false;
        }
        self.seen = seen;
        self.set_grid(Grid::of_ids(seen.0, seen.1), packet.arrival)
    }

    fn set_grid(&mut self, grid: Grid, now: Instant) -> bool {
        let changed = self.grid != grid;
        if changed {
            self.grid = grid;
            self.meter.reset(now);
        }
        changed
    }

    /// Ends a second of measuring.
    pub fn roll(&mut self, now: Instant) {
        self.stats.roll(now);
        let newest = self.stats.bitrate().0 as f64;
        // What it took before it fell silent is the best guess for its return.
        if newest > 0.0 {
            self.rate = if self.rate > 0.0 {
                self.rate * 0.6 + newest * 0.4
            } else {
                newest
            };
        }
        if self.grid.is_layered() {
            self.meter.roll(now);
        }
    }

    /// Adds what can be chosen of it, lowest first; `index` is its own.
    pub fn rungs(&self, index: u8, out: &mut Vec<Rung>) {
        let whole = Rung {
            encoding: index,
            cell: Cell::ALL,
            spatial: 0,
            temporal: 0,
            bitrate: Bitrate(self.rate as u64),
            size: self.size,
            frame_rate: self.stats.frame_rate(),
        };
        let sent = self.grid.known & self.meter.active();
        if !self.grid.is_layered() || sent == 0 {
            return out.push(whole);
        }
        // Who gets all that is sent gets what will be sent too, without a new choice.
        let highest = Cell::each().rev().find(|c| sent & c.bit() != 0);
        for cell in Cell::each().filter(|c| sent & c.bit() != 0) {
            let all = Some(cell) == highest && self.grid.top_is_all();
            let size = self.sizes.get(usize::from(cell.spatial()));
            out.push(Rung {
                cell: if all { Cell::ALL } else { cell },
                spatial: cell.spatial(),
                temporal: cell.temporal(),
                bitrate: self.meter.bitrate(cell),
                size: size.copied().flatten().or(self.size),
                frame_rate: self.meter.frame_rate(cell),
                ..whole
            });
        }
    }

    /// How good it is, for ranking: pixels first, then rate. Layers are never
    /// ranked by the order or the names of their rids.
    pub fn rank(&self) -> (u32, u64) {
        let pixels = self.size.map_or(0, |(w, h)| u32::from(w) * u32::from(h));
        (pixels, self.rate as u64)
    }

    fn layers(&self) -> Vec<LayerSnapshot> {
        let mut rungs = Vec::new();
        self.rungs(0, &mut rungs);
        let layers = rungs.into_iter().map(|rung| LayerSnapshot {
            spatial: rung.spatial,
            temporal: rung.temporal,
            bitrate: rung.bitrate,
            size: rung.size,
            frame_rate: rung.frame_rate,
        });
        layers.collect()
    }

    /// The row the API shows.
    pub fn snapshot(&self, now: Instant) -> EncodingSnapshot {
        EncodingSnapshot {
            rid: self.rid.clone(),
            ssrc: self.ssrc,
            active: self.stats.is_active(now),
            bitrate: self.stats.bitrate(),
            size: self.size,
            frame_rate: self.stats.frame_rate(),
            packets: self.stats.packets(),
            lost: self.stats.lost(),
            loss: self.stats.loss(),
            keyframe_interval: self.keyframe_interval,
            layers: self.layers(),
            health: self.health.snapshot(
                now,
                self.parameter_sets.is_needed() && !self.parameter_sets.is_complete(),
                self.codec.map_or(90_000, Codec::clock_rate),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::testing::{keyframe, packet};

    #[test]
    fn only_the_first_packet_of_a_keyframe_is_an_entry() {
        let mut encoding = Encoding::new(MediaKind::Video, None);
        let (mut first, mut second) = (keyframe(10, 3000), keyframe(11, 3000));
        encoding.keyframes.want();
        encoding.absorb(&mut first);
        encoding.absorb(&mut second);
        assert!(first.entry && !second.entry);
        assert!(!encoding.keyframes.is_wanted());
    }

    #[test]
    fn what_comes_late_does_not_move_the_clock_of_arrivals() {
        let mut encoding = Encoding::new(MediaKind::Video, None);
        for seq in (0..600).filter(|seq| *seq != 590) {
            encoding.absorb(&mut packet(seq, seq as u32 * 900));
        }
        let newest = packet(599, 599 * 900).arrival;
        let (now, wall) = (newest + Duration::from_millis(50), Duration::from_secs(90));
        let clock = encoding.report_clock(now, wall);
        assert_eq!(clock.map(|c| c.timestamp), Some(599 * 900));
        let mut repair = packet(590, 590 * 900);
        repair.arrival = now;
        encoding.absorb(&mut repair);
        assert_eq!(encoding.report_clock(now, wall), clock);
    }

    #[test]
    fn a_larger_picture_ranks_above_a_fatter_stream() {
        let now = Instant::now();
        let mut small = Encoding::new(MediaKind::Video, Some("2".into()));
        let mut large = Encoding::new(MediaKind::Video, Some("0".into()));
        small.size = Some((320, 180));
        large.size = Some((1280, 720));
        for seq in 0..100 {
            small.absorb(&mut packet(seq, 0));
        }
        small.roll(now + Duration::from_secs(1));
        assert!(large.rank() > small.rank());
    }
}
