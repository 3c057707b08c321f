//! Taking a packet in: its measurements, its place among the layers, and what only its
//! neighbours can tell.

use super::{EARLY, Encoding};
use crate::codec::dependency_descriptor::MAX_SPATIAL;
use crate::codec::{Codec, FrameLayers, Grid, vp9};
use crate::room::packet::Packet;
use crate::room::parameter_sets::ParameterSets;
use crate::units::MediaKind;

impl Encoding {
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
            self.keyframe_sizes.begin();
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
        if self.entry_timestamp == Some(packet.timestamp) {
            let bytes = packet.payload.len();
            self.keyframe_sizes.count(packet.info.spatial, bytes);
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
}
