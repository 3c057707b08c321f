//! A track of made-up packets: ranking, formats, rings.

use std::time::Duration;

use super::*;
use crate::room::ring::SEGMENT_BYTES;
use crate::room::testing::{keyframe_sized, packet};

fn track(rids: &[&str]) -> Track {
    let mut track = Track::new(TrackKey {
        room: RoomId(1),
        participant: ParticipantId(1),
        kind: MediaKind::Video,
    });
    let rids: Vec<String> = rids.iter().map(|r| (*r).to_owned()).collect();
    let format = Format {
        codec: Codec::Vp8,
        fmtp: String::new(),
        channels: 1,
    };
    track.attach(Source::Local { session: 0 }, 1, vec![format], &rids);
    track
}

#[test]
fn the_largest_layer_is_best_whatever_its_name() {
    let mut track = track(&["0", "1", "2"]);
    assert_eq!(track.ladder.best(), None);
    track.ingest(2, keyframe_sized(1, 0, (320, 180)));
    assert_eq!(track.ladder.best(), Some(2));
    track.ingest(0, keyframe_sized(1, 0, (1280, 720)));
    assert_eq!(track.ladder.best(), Some(0));
    track.ingest(1, keyframe_sized(1, 0, (640, 360)));
    assert_eq!(track.ladder.best(), Some(0));
}

#[test]
fn a_dead_layer_gives_way_to_the_next_best() {
    let mut track = track(&["l", "h"]);
    let mut first = keyframe_sized(1, 0, (1280, 720));
    let start = first.arrival;
    track.ingest(1, first.clone());
    for second in 0..6u64 {
        first = keyframe_sized(second, second as u32 * 90_000, (640, 360));
        first.arrival = start + Duration::from_secs(second);
        track.ingest(0, first.clone());
        track.roll(first.arrival, SEGMENT_BYTES);
    }
    assert_eq!(track.ladder.best(), Some(0));
}

#[test]
fn pictures_that_change_with_each_packet_rank_the_layers_ten_times_a_second_at_most() {
    let mut track = track(&["l", "h"]);
    let first = keyframe_sized(0, 0, (640, 360));
    let start = first.arrival;
    track.ingest(0, first);
    track.ingest(1, keyframe_sized(0, 0, (1280, 720)));
    let mut ranked = 0;
    for n in 1..=2000u64 {
        // 2000 packets in two seconds; no two that are ranked after another alike.
        let size = (640 + (n % 7) as u16 * 200, 360 + (n % 7) as u16 * 100);
        let mut picture = keyframe_sized(n, n as u32 * 90, size);
        picture.arrival = start + Duration::from_millis(n);
        let before = track.ladder.changes();
        track.ingest(0, picture);
        ranked += u32::from(track.ladder.changes() != before);
    }
    assert!((15..=20).contains(&ranked), "{ranked} times");
}

#[test]
fn formats_that_change_with_each_packet_are_followed_ten_times_a_second_at_most() {
    let mut track = track(&[]);
    let (mut followed, mut current) = (0, None);
    for n in 0..=2000u64 {
        // 2000 packets in two seconds; the last ones are alike.
        let mut next = packet(n, n as u32 * 90);
        next.format = if n < 1850 { (n % 2) as u8 } else { 1 };
        track.ingest(0, next);
        followed += u32::from(track.current_format != current);
        current = track.current_format;
    }
    assert!((15..=22).contains(&followed), "{followed} times");
    assert_eq!(current, Some(1));
    // Another publisher's is taken note of at once.
    let formats = track.formats.clone();
    track.attach(Source::Local { session: 2 }, 2, formats, &[]);
    let mut next = packet(1, 2000 * 90);
    next.format = 3;
    track.ingest(0, next);
    assert_eq!(track.current_format, Some(3));
}

#[test]
fn packets_settle_into_their_encodings_ring() {
    let mut track = track(&[]);
    track.ingest(0, packet(5, 0));
    assert_eq!(track.pending.len(), 1);
    track.settle();
    assert!(track.pending.is_empty());
    assert!(track.encodings[0].ring.get(5).is_some());
    assert!(!track.ingest(7, packet(6, 0)));
}
