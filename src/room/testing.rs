//! Packets for the unit tests of this module and of `viewer`.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::packet::Packet;
use crate::codec::{Codec, FrameLayers, PacketInfo};
use crate::peer::header::PassedExtensions;

fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}

/// A delta packet of VP8, arriving when its timestamp says.
pub fn packet(seq: u64, timestamp: u32) -> Packet {
    Packet {
        arrival: start() + Duration::from_micros(u64::from(timestamp) * 100 / 9),
        seq,
        timestamp,
        marker: true,
        format: 0,
        red: None,
        codec: Codec::Vp8,
        info: PacketInfo::default(),
        layers: FrameLayers::default(),
        structure: 0,
        targets: 0,
        above: None,
        entry: false,
        needs_parameter_sets: false,
        passed: PassedExtensions::default(),
        payload: Arc::from(&[0x10, 0, 0, 0, 1][..]),
    }
}

/// A packet that looks like the start of a keyframe.
pub fn keyframe(seq: u64, timestamp: u32) -> Packet {
    let mut packet = packet(seq, timestamp);
    packet.info.starts_keyframe = true;
    packet.info.keyframe = true;
    packet
}

/// The same with a picture size.
pub fn keyframe_sized(seq: u64, timestamp: u32, size: (u16, u16)) -> Packet {
    let mut packet = keyframe(seq, timestamp);
    packet.info.size = Some(size);
    packet
}
