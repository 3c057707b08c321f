//! One encoding of a track: its packets, its measurements, its clock.

mod absorb;
mod cached;
mod keyframe_sizes;

use std::time::{Duration, Instant};

use self::keyframe_sizes::KeyframeSizes;
use super::health::Health;
use super::keyframe_request::KeyframeRequester;
use super::ladder::Rung;
use super::meter::LayerMeter;
use super::parameter_sets::ParameterSets;
use super::picture_end::PictureEnds;
use super::ring::PacketRing;
use super::stats::EncodingStats;
use crate::codec::dependency_descriptor::{MAX_SPATIAL, Reader};
use crate::codec::{Cell, Codec, Grid, h264, h265};
use crate::control::messages::{EncodingSnapshot, LayerSnapshot};
use crate::units::{Bitrate, MediaKind};

pub use cached::Cached;

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

impl SenderClock {
    /// When that was, since the Unix epoch, which a clock of `rate` ticks a second stamped with `timestamp`.
    pub fn taken(&self, timestamp: u32, rate: u32) -> Duration {
        let ticks = timestamp.wrapping_sub(self.timestamp) as i32;
        let apart = Duration::from_secs(1) * ticks.unsigned_abs() / rate.max(1);
        match ticks < 0 {
            true => self.wall.saturating_sub(apart),
            false => self.wall + apart,
        }
    }
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
    /// Where its pictures end for who gets some of the layers.
    pub ends: PictureEnds,
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
    keyframe_sizes: KeyframeSizes,
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
            ends: PictureEnds::default(),
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
            keyframe_sizes: KeyframeSizes::default(),
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

    /// A keyframe began to arrive after `at`.
    pub fn has_keyframe_since(&self, at: Instant) -> bool {
        self.last_keyframe.is_some_and(|last| last > at)
    }

    /// Bytes of its newest keyframes up to a spatial layer; of two, the larger one.
    pub fn keyframe_bytes(&self, spatial: u8) -> u64 {
        self.keyframe_sizes.up_to(spatial)
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
    fn a_clock_tells_when_a_picture_was_taken() {
        let clock = SenderClock {
            wall: Duration::from_secs(90),
            timestamp: 1000,
        };
        let taken = |ticks: u32| clock.taken(ticks.wrapping_add(1000), 90_000).as_millis();
        let of = [0, 9000, 0u32.wrapping_sub(9000)].map(taken);
        assert_eq!(of, [90_000, 90_100, 89_900], "around the wrap");
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
