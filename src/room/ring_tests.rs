//! What is kept, for how long, and what late packets find.

use std::time::Duration;

use super::*;
use crate::room::testing::{keyframe, packet};

/// 30 pictures a second of four packets.
fn fill(ring: &mut PacketRing, from: u64, frames: u64, keyframes: u64) {
    for frame in from..from + frames {
        for index in 0..4 {
            let (seq, timestamp) = (frame * 4 + index, frame as u32 * 3000);
            let mut packet = if index == 0 && frame % keyframes == 0 {
                keyframe(seq, timestamp)
            } else {
                packet(seq, timestamp)
            };
            packet.entry = packet.info.starts_keyframe;
            ring.insert(packet);
        }
    }
}

fn video() -> PacketRing {
    PacketRing::new(MediaKind::Video)
}

#[test]
fn newest_packets_are_found_and_older_ones_give_way() {
    let mut ring = PacketRing::new(MediaKind::Audio);
    for seq in 100..300 {
        ring.insert(packet(seq, 0));
    }
    assert!(ring.get(171).is_none());
    for seq in 172..300 {
        assert_eq!(ring.get(seq).map(|p| p.seq), Some(seq));
    }
    assert!(ring.get(300).is_none());
    assert_eq!(ring.bytes(), 128 * 5);
}

#[test]
fn a_late_packet_fills_its_hole_and_a_very_late_one_is_ignored() {
    let mut ring = video();
    ring.insert(packet(10, 0));
    ring.insert(packet(12, 0));
    assert!(ring.get(11).is_none());
    ring.insert(packet(11, 0));
    assert!(ring.get(11).is_some());
    ring.insert(packet(2, 0));
    assert!(ring.get(2).is_none());
    assert!(ring.get(10).is_some());
    // A number said twice is held once.
    ring.insert(packet(11, 0));
    assert_eq!(ring.bytes(), 3 * 5);
}

#[test]
fn a_publisher_that_starts_over_leaves_nothing_behind() {
    let mut ring = video();
    fill(&mut ring, 0, 30, 30);
    ring.insert(packet(100_000, 0));
    assert_eq!(ring.segment(), None);
    assert!(ring.get(119).is_none() && ring.get(100_000).is_some());
    assert_eq!(ring.bytes(), 5);
}

#[test]
fn a_segment_of_ten_seconds_is_kept_whole() {
    let mut ring = video();
    fill(&mut ring, 0, 299, 300);
    let segment = ring.segment().unwrap();
    assert_eq!((segment.first, segment.end), (0, 299 * 4));
    assert_eq!((segment.packets, segment.bytes), (299 * 4, 299 * 4 * 5));
    assert_eq!(ring.from(segment.first).count(), 299 * 4);
    // The next keyframe begins another; the old one goes step by step.
    fill(&mut ring, 300, 1, 300);
    assert_eq!(ring.segment().unwrap().packets, 4);
    fill(&mut ring, 301, 250, 300);
    assert!(ring.packets.len() < 1100, "{}", ring.packets.len());
}

#[test]
fn a_segment_is_given_up_when_it_is_too_old_or_too_large() {
    let mut ring = video();
    fill(&mut ring, 0, 361, 10_000);
    assert!(ring.segment().is_some());
    fill(&mut ring, 361, 1, 10_000);
    assert_eq!(ring.segment(), None, "older than 12 s");
    fill(&mut ring, 362, 400, 10_000);
    assert!(
        ring.packets.len() <= VIDEO_HISTORY,
        "{}",
        ring.packets.len()
    );

    let mut ring = video();
    ring.limits.segment_bytes = 1000;
    fill(&mut ring, 0, 50, 1000);
    assert!(ring.segment().is_some());
    fill(&mut ring, 50, 1, 1000);
    assert_eq!(ring.segment(), None, "more than 1000 bytes");
}

#[test]
fn a_keyframe_whose_first_packet_is_late_is_counted_whole() {
    let mut ring = video();
    for seq in [1, 2, 3, 0] {
        let mut packet = if seq == 0 {
            keyframe(0, 0)
        } else {
            packet(seq, 0)
        };
        if seq == 1 {
            ring.insert(crate::room::testing::packet(0, 0));
            ring.packets[0] = None;
            ring.bytes = 0;
        }
        packet.entry = seq == 0;
        ring.insert(packet);
    }
    let segment = ring.segment().unwrap();
    assert_eq!((segment.first, segment.packets, segment.bytes), (0, 4, 20));
}

#[test]
fn a_silent_track_holds_no_memory() {
    let mut ring = video();
    assert_eq!(ring.packets.capacity(), 0);
    fill(&mut ring, 0, 100, 300);
    let (edge, _) = ring.edge().unwrap();
    ring.tend(edge + Duration::from_secs(1), SEGMENT_BYTES);
    assert_eq!(ring.end(), Some(400));
    assert!(ring.packets.capacity() >= 600);
    ring.tend(edge + Duration::from_secs(13), SEGMENT_BYTES);
    assert_eq!(
        (ring.end(), ring.bytes(), ring.packets.capacity()),
        (None, 0, 0)
    );
}

#[test]
fn many_encodings_share_the_workers_memory() {
    assert_eq!(share(0), WORKER_BYTES);
    let mut ring = video();
    fill(&mut ring, 0, 3, 300);
    let (edge, _) = ring.edge().unwrap();
    ring.tend(edge, share(1));
    assert_eq!(ring.limits.segment_bytes, SEGMENT_BYTES);
    ring.tend(edge, share(128));
    assert_eq!(ring.limits.segment_bytes, WORKER_BYTES / 128);
    ring.tend(edge, share(1_000_000));
    assert_eq!(ring.limits.segment_bytes, LEAST_BYTES);
}

#[test]
fn holes_are_bounded() {
    // The worst that one publisher can make it hold: a segment, what stood
    // ahead of it, and the largest hole.
    let most = SEGMENT_PACKETS as usize + VIDEO_HISTORY + 2 * MAX_HOLE as usize;
    for hole in [1, 7, 100, MAX_HOLE - 1, MAX_HOLE, 2990] {
        for keyframes in [1, 2, 50, 3000, u64::MAX] {
            let mut ring = video();
            let mut seq = 0;
            for step in 0..20_000 {
                // Now and then a dense stretch, which takes long to let go of.
                seq += if step % 12_000 < 9000 { hole + 1 } else { 1 };
                let mut packet = packet(seq, step);
                packet.entry = u64::from(step) % keyframes == 0;
                ring.insert(packet);
                assert_eq!(ring.end(), Some(seq + 1));
                let held = ring.packets.len();
                assert!(held <= most, "{held} slots with holes of {hole}");
            }
        }
    }
}

#[test]
fn a_hole_that_nobody_repairs_starts_over() {
    let mut ring = video();
    fill(&mut ring, 0, 10, 30);
    ring.insert(packet(40 + MAX_HOLE, 30_000));
    assert!(ring.get(39).is_some(), "the largest hole is kept");
    ring.insert(packet(42 + 2 * MAX_HOLE, 33_000));
    assert_eq!(ring.segment(), None);
    assert_eq!((ring.packets.len(), ring.bytes()), (1, 5));
}
