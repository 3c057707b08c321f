//! What one worker hands another of an encoding, so that its joiners need not wait.

use std::time::{Duration, Instant};

use super::{Encoding, SenderClock};
use crate::codec::Grid;
use crate::codec::dependency_descriptor::{MAX_SPATIAL, Reader};
use crate::room::keyframe_request::Reaction;
use crate::room::packet::Packet;
use crate::room::parameter_sets::ParameterSets;

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

impl Encoding {
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
}
