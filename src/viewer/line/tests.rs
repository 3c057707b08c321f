//! Switches, cuts, repairs and backlogs on a line, and a model that it agrees with.

use super::*;
use crate::codec::Cell;

const A: SourceId = SourceId {
    epoch: 1,
    encoding: 0,
};
const B: SourceId = SourceId {
    epoch: 1,
    encoding: 1,
};

fn millis(start: Instant, millis: u64) -> Instant {
    start + Duration::from_millis(millis)
}

#[test]
fn a_switch_leaves_no_hole_and_time_goes_on() {
    let now = Instant::now();
    let mut line = Line::new(90_000, 1000, 5000);
    line.switch(A, 70_000, 400, now, None);
    for i in 0..10u64 {
        let place = line.place(70_000 + i, 400 + i as u32 * 3000, millis(now, i * 33));
        let place = place.map(|p| (p.seq, p.timestamp));
        assert_eq!(place, Some((1000 + i, 5000 + i as u32 * 3000)));
    }
    // The other layer has other numbers; 100 ms pass.
    line.switch(B, 5, 9_000_000, millis(now, 9 * 33 + 100), None);
    let place = line.place(5, 9_000_000, millis(now, 9 * 33 + 100)).unwrap();
    assert_eq!(place.seq, 1010);
    assert_eq!(place.timestamp, 5000 + 9 * 3000 + 9000);
}

#[test]
fn loss_on_the_publishers_way_stays_a_hole_and_a_late_packet_fills_it() {
    let now = Instant::now();
    let mut line = Line::new(90_000, 1, 0);
    line.switch(A, 100, 0, now, None);
    assert_eq!(line.place(100, 0, now).unwrap().seq, 1);
    assert_eq!(line.place(103, 0, now).unwrap().seq, 4);
    assert_eq!(line.place(101, 0, now).unwrap().seq, 2);
    assert_eq!(line.place(99, 0, now), None, "before the switch");
    assert_eq!(line.next_seq(), 5);
}

#[test]
fn a_line_knows_how_far_each_source_was_sent() {
    let now = Instant::now();
    let mut line = Line::new(48_000, 1, 0);
    assert_eq!(line.sent_of(A), None);
    line.switch(A, 100, 0, now, None);
    assert_eq!(line.sent_of(A), None, "nothing of it yet");
    line.place(100, 0, now);
    line.place(104, 0, now);
    line.switch(B, 7, 0, now, None);
    assert_eq!((line.sent_of(A), line.sent_of(B)), (Some(105), None));
    line.place(7, 0, now);
    line.place(8, 0, now);
    line.change(9, |moves| moves.alone = true);
    assert_eq!((line.sent_of(A), line.sent_of(B)), (Some(105), Some(9)));
    line.switch(A, 200, 0, now, None);
    assert_eq!(
        line.sent_of(A),
        Some(105),
        "the new run has sent nothing yet"
    );
    line.place(200, 0, now);
    assert_eq!((line.sent_of(A), line.sent_of(B)), (Some(201), Some(9)));
}

#[test]
fn inserted_parameter_sets_take_a_number_and_are_found_again() {
    let now = Instant::now();
    let mut line = Line::new(90_000, 1, 0);
    line.switch(A, 100, 0, now, None);
    assert_eq!(line.insert(100, 0).unwrap().seq, 1);
    assert_eq!(line.place(100, 0, now).unwrap().seq, 2);
    assert_eq!(line.place(101, 0, now).unwrap().seq, 3);
    assert_eq!(line.insert(102, 3000).unwrap().seq, 4);
    assert_eq!(line.place(102, 3000, now).unwrap().seq, 5);
    // A late one from before the insertion keeps its old place.
    assert_eq!(line.place(101, 0, now).unwrap().seq, 3);
    assert!(matches!(
        line.origin(1),
        Some((1, Origin::ParameterSets { .. }))
    ));
    assert!(matches!(
        line.origin(3),
        Some((3, Origin::Packet { seq: 101, .. }))
    ));
    assert!(matches!(
        line.origin(4),
        Some((4, Origin::ParameterSets { .. }))
    ));
    assert!(matches!(
        line.origin(5),
        Some((5, Origin::Packet { seq: 102, .. }))
    ));
    assert_eq!(line.origin(6), None, "never sent");
}

#[test]
fn repairs_are_found_over_the_roll_over() {
    let now = Instant::now();
    let mut line = Line::new(90_000, 65_530, 0);
    line.switch(A, 0, 0, now, None);
    for seq in 0..20 {
        line.place(seq, 0, now);
    }
    // 65_530 + 10 = 65_540, on the wire 4.
    let (out, origin) = line.origin(4).unwrap();
    assert_eq!(out, 65_540);
    assert!(matches!(origin, Origin::Packet { seq: 10, .. }));
    assert!(matches!(line.origin(65_531), Some((65_531, _))));
}

#[test]
fn a_backlog_is_numbered_as_it_goes_and_ends_on_the_live_line() {
    let now = Instant::now();
    let mut line = Line::new(90_000, 100, 7_000);
    // The keyframe came 3 s ago; the backlog goes out within 300 ms.
    let edge = (now, 500 + 90 * 3000);
    let lasting = Duration::from_millis(300);
    let backlog = Backlog { edge, now, lasting };
    line.catch_up(A, 40, 500, backlog, None);
    let mut last = None;
    for frame in 0..120u64 {
        let (seq, timestamp) = (40 + frame, 500 + frame as u32 * 3000);
        let at = if frame < 100 {
            millis(now, frame * 3)
        } else {
            millis(now, (frame - 90) * 100 / 3)
        };
        let place = line.place(seq, timestamp, at).unwrap();
        assert_eq!(place.seq, 100 + frame);
        // It looks to the receiver as if it were captured when it is sent.
        let sent = ticks(at.saturating_duration_since(now), 90_000);
        let shown = place.timestamp.wrapping_sub(7_000);
        assert!(shown.abs_diff(sent) <= 900, "{shown} {sent}");
        assert!(last.is_none_or(|last| place.timestamp > last));
        last = Some(place.timestamp);
        let Some((_, Origin::Packet { times, .. })) = line.origin(place.seq as u16) else {
            panic!("no origin");
        };
        assert_eq!(times.map(timestamp), place.timestamp, "as a repair");
    }
    let live = 7_000u32.wrapping_sub(90 * 3000);
    assert_eq!(line.timestamp_base(), Some(live.wrapping_sub(500)));
    assert_eq!(last, Some(live.wrapping_add(119 * 3000)));
    // Once more from a keyframe, and sound stays in sync.
    let at = millis(now, 1000);
    let backlog = Backlog {
        edge: (at, 500 + 120 * 3000),
        now: at,
        lasting,
    };
    line.catch_up(A, 130, 500 + 90 * 3000, backlog, None);
    let place = line.place(130, 500 + 90 * 3000, at).unwrap();
    assert_eq!(place.seq, 220);
    assert!(last.is_none_or(|last| place.timestamp > last));
    assert_eq!(line.timestamp_base(), Some(live.wrapping_sub(500)));
}

/// What each packet of a line was sent with: its number there, its own, both timestamps.
type Sent = Vec<(u64, u64, u32, u32)>;

fn as_repairs(line: &Line, sent: &Sent) {
    for (out, seq, from, to) in sent {
        let origin = line.origin(*out as u16).map(|(_, origin)| origin);
        let Some(Origin::Packet { seq: s, times, .. }) = origin else {
            panic!("no origin of {out}");
        };
        assert_eq!((s, times.map(*from)), (*seq, *to), "{out} as a repair");
    }
}

#[test]
fn a_repair_has_its_timestamp_long_after_the_backlog_too() {
    let now = Instant::now();
    let mut line = Line::new(90_000, 100, 7_000);
    let edge = (now, 500 + 30 * 3000);
    let lasting = Duration::from_millis(300);
    line.catch_up(A, 40, 500, Backlog { edge, now, lasting }, None);
    let mut sent = Sent::new();
    // A picture a second once the backlog is through: few are kept for long.
    for frame in 0..400u64 {
        let media = frame.min(60) * 3_000 + frame.saturating_sub(60) * 90_000;
        let (seq, timestamp) = (40 + frame, 500 + media as u32);
        let at = now + Duration::from_micros(media.saturating_sub(90_000) * 100 / 9);
        let place = line.place(seq, timestamp, at).unwrap();
        assert!(sent.last().is_none_or(|last| place.timestamp > last.3));
        sent.push((place.seq, seq, timestamp, place.timestamp));
        line.settle(at);
        as_repairs(&line, &sent);
    }
    // The one that is not there yet belongs behind them.
    assert_eq!(line.origin(500), None);
    let base = line.timestamp_base().unwrap();
    assert_eq!(line.runs.back().unwrap().times, Timeline::live(base));
}

/// 2^31 ticks later what lies behind would seem to lie ahead.
#[test]
fn a_backlog_is_forgotten_while_nothing_is_sent() {
    let now = Instant::now();
    let mut line = Line::new(90_000, 100, 7_000);
    let edge = (now, 500 + 90_000);
    let lasting = Duration::from_millis(300);
    line.catch_up(A, 40, 500, Backlog { edge, now, lasting }, None);
    let mut last = 0;
    for frame in 0..60u32 {
        let at = millis(now, u64::from(frame) * 33);
        last = line
            .place(40 + u64::from(frame), 500 + frame * 3_000, at)
            .unwrap()
            .timestamp;
        line.settle(at);
    }
    let pause = Duration::from_secs(7 * 3600);
    for minute in 0..7 * 60 {
        line.settle(now + Duration::from_secs(60 * minute));
    }
    let later = ticks(pause, 90_000);
    let at = now + pause;
    let timestamp = (500 + 59 * 3_000u32).wrapping_add(later);
    let place = line.place(100, timestamp, at).unwrap();
    assert_eq!(place.timestamp.wrapping_sub(last), later);
}

#[test]
fn a_backlog_behind_a_clock_that_stood_still_does_not_wait_for_it() {
    let now = Instant::now();
    let mut line = Line::new(90_000, 100, 7_000);
    line.switch(A, 10, 500, now, None);
    line.place(10, 500, now).unwrap();
    // Ten minutes later it goes on where it was.
    let then = millis(now, 600_000);
    let backlog = Backlog {
        edge: (then, 500 + 10 * 3000),
        now: then,
        lasting: Duration::from_millis(100),
    };
    line.catch_up(A, 20, 500 + 3000, backlog, None);
    let mut sent = Sent::new();
    for frame in 0..6_000u64 {
        let (seq, timestamp) = (20 + frame, 500 + 3000 + frame as u32 * 3000);
        let at = millis(then, frame.saturating_sub(9) * 100 / 3);
        let place = line.place(seq, timestamp, at).unwrap();
        let passed = ticks(at - now, 90_000);
        let shown = place.timestamp.wrapping_sub(7_000);
        assert!(shown.abs_diff(passed) <= 9_000, "{shown} {passed}");
        sent.push((place.seq, seq, timestamp, place.timestamp));
    }
    as_repairs(&line, &sent);
}

#[test]
fn every_switch_keeps_the_line_growing_by_one() {
    let now = Instant::now();
    let mut line = Line::new(48_000, 7, 0);
    let mut expected = 7;
    let mut last_timestamp = None;
    for round in 0..100u64 {
        let source = if round % 2 == 0 { A } else { B };
        let at = millis(now, round * 60);
        line.switch(source, round * 31, round as u32 * 7, at, None);
        for i in 0..3u64 {
            let place = line
                .place(
                    round * 31 + i,
                    round as u32 * 7 + i as u32 * 960,
                    millis(at, i * 20),
                )
                .unwrap();
            assert_eq!(place.seq, expected);
            expected += 1;
            if let Some(last) = last_timestamp {
                assert!(place.timestamp > last);
            }
            last_timestamp = Some(place.timestamp);
        }
    }
}

#[test]
fn a_line_closes_up_over_cut_packets_and_repairs_still_find_theirs() {
    let now = Instant::now();
    let mut line = Line::new(90_000, 1, 0);
    line.switch(A, 100, 0, now, None);
    let mut sent = Vec::new();
    // Two of three packets are cut: pictures of upper layers.
    for seq in 100..160u64 {
        if seq % 3 == 0 {
            sent.push((seq, line.place(seq, 0, now).unwrap().seq));
        } else {
            line.cut(seq, false);
        }
    }
    for (pair, out) in sent.iter().zip(1..) {
        assert_eq!(pair.1, out, "no hole");
    }
    for (seq, out) in &sent {
        // The line remembers its last 16 runs.
        let origin = line.origin(*out as u16).map(|(_, origin)| origin);
        match origin {
            Some(Origin::Packet { seq: found, .. }) => assert_eq!(found, *seq),
            None => assert!(*seq < 112),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(line.place(158, 0, now), None, "it was cut");
}

#[test]
fn a_missing_packet_between_others_of_a_cut_picture_is_cut_too() {
    let now = Instant::now();
    let mut line = Line::new(90_000, 1, 0);
    line.switch(A, 100, 0, now, None);
    assert_eq!(line.place(100, 0, now).unwrap().seq, 1);
    line.cut(101, false);
    line.cut(104, true);
    assert_eq!(line.place(105, 0, now).unwrap().seq, 2);
    assert_eq!(line.place(102, 0, now), None);
    assert_eq!(line.fill(103, 0, 96), None);
}

#[test]
fn what_turns_out_to_be_cut_only_when_late_is_filled() {
    let now = Instant::now();
    let mut line = Line::new(90_000, 1, 0);
    line.switch(A, 100, 7, now, Some(1000));
    line.change(100, |m| m.picture = 9);
    assert_eq!(line.place(100, 0, now).unwrap().seq, 1);
    // 101 to 103 are missing: nobody knows which of them are of use.
    assert_eq!(line.place(104, 0, now).unwrap().seq, 5);
    let filler = line.fill(102, 50, 96).unwrap();
    assert_eq!((filler.seq, filler.timestamp), (3, 1050));
    assert_eq!(line.place(101, 0, now).unwrap().seq, 2);
    assert_eq!(line.place(103, 0, now).unwrap().seq, 4);
    assert_eq!(line.place(103, 0, now).unwrap().moves.picture, 9);
    assert_eq!(line.fill(102, 50, 96), None, "once only");
    assert_eq!(line.place(102, 0, now), None);
    assert_eq!(line.place(105, 0, now).unwrap().seq, 6);
    let origin = |out| line.origin(out).map(|(_, origin)| origin);
    let filler = Origin::Filler {
        source: A,
        timestamp: 1050,
        pt: 96,
    };
    assert_eq!(origin(3), Some(filler));
    for (out, seq) in [(1, 100), (2, 101), (4, 103), (5, 104), (6, 105)] {
        assert!(matches!(origin(out), Some(Origin::Packet { seq: s, .. }) if s == seq));
    }
}

#[test]
fn a_change_holds_from_its_packet_on() {
    let now = Instant::now();
    let mut line = Line::new(90_000, 1, 0);
    line.switch(A, 100, 0, now, None);
    line.place(100, 0, now);
    // 101 is missing and belongs to what came before.
    line.change(102, |m| m.cell = Cell::new(0, 0));
    assert_eq!(line.place(102, 0, now).unwrap().seq, 3);
    assert_eq!(line.place(102, 0, now).unwrap().moves.cell, Cell::new(0, 0));
    let late = line.place(101, 0, now).unwrap();
    assert_eq!((late.seq, late.moves.cell), (2, Cell::ALL));
    assert_eq!(line.moves().map(|m| m.cell), Some(Cell::new(0, 0)));
}

/// Random losses, reordering, cuts, changes and switches, against a plain list
/// of what every outgoing number was.
#[test]
fn the_line_agrees_with_a_list_of_all_it_did() {
    use std::collections::BTreeMap;

    use rand::{RngExt, SeedableRng};

    for seed in 0..200 {
        let mut rng = rand::rngs::StdRng::seed_from_u64(seed);
        let now = Instant::now();
        let start = rng.random_range(0..65_536u64);
        let mut line = Line::new(90_000, start as u16, 0);
        line.expect_cuts();
        // By outgoing number: source, incoming number, sent or filled.
        let mut sent: BTreeMap<u64, (u8, u64, bool)> = BTreeMap::new();
        let mut missing: Vec<u64> = Vec::new();
        let (mut encoding, mut seq) = (0u8, rng.random_range(0..1_000_000u64));
        let mut is_cut = BTreeMap::new();
        line.switch(SourceId { epoch: 1, encoding }, seq, 0, now, None);
        for step in 0..600u32 {
            match rng.random_range(0..20) {
                0 => {
                    let gap = rng.random_range(1..4);
                    missing.extend(seq..seq + gap);
                    seq += gap;
                }
                1 if step % 3 == 0 => {
                    encoding ^= 1;
                    seq = rng.random_range(0..1_000_000);
                    missing.clear();
                    is_cut.clear();
                    line.switch(SourceId { epoch: 1, encoding }, seq, 0, now, None);
                }
                2 => line.change(seq, |m| m.frame = m.frame.wrapping_add(1)),
                3 => {
                    if let Some(place) = line.insert(seq, 0) {
                        assert!(sent.insert(place.seq, (encoding, seq, true)).is_none());
                        assert!(matches!(
                            line.origin(place.seq as u16),
                            Some((_, Origin::ParameterSets { .. }))
                        ));
                        sent.remove(&place.seq);
                    }
                }
                4..=6 if !missing.is_empty() => {
                    let late = missing.swap_remove(rng.random_range(0..missing.len()));
                    if rng.random_bool(0.5) {
                        if let Some(place) = line.place(late, 0, now) {
                            let before = sent.insert(place.seq, (encoding, late, false));
                            assert_eq!(before, None, "a number twice, seed {seed}");
                        }
                    } else if let Some(place) = line.fill(late, 0, 96) {
                        let before = sent.insert(place.seq, (encoding, late, true));
                        assert_eq!(before, None, "a number twice, seed {seed}");
                        assert_eq!(line.fill(late, 0, 96), None);
                        assert_eq!(line.place(late, 0, now), None);
                    }
                }
                7..=12 => {
                    line.cut(seq, false);
                    is_cut.insert(seq, ());
                    seq += 1;
                }
                _ => {
                    let place = line.place(seq, 0, now).expect("the newest has a place");
                    let before = sent.insert(place.seq, (encoding, seq, false));
                    assert_eq!(before, None, "a number twice, seed {seed}");
                    assert_eq!(line.next_seq(), place.seq + 1);
                    seq += 1;
                }
            }
            assert!(line.expected() <= seq);
            if let Some(cut) = is_cut.keys().next_back() {
                assert_eq!(line.place(*cut, 0, now), None, "cut, seed {seed}");
            }
        }
        let newest = line.next_seq();
        let mut found = 0;
        for (out, (encoding, seq, own)) in sent.iter().rev().take(60) {
            let Some((full, origin)) = line.origin(*out as u16) else {
                continue;
            };
            assert_eq!(full, *out);
            found += 1;
            match origin {
                Origin::Packet { source, seq: s, .. } => {
                    assert!(!own, "seed {seed}");
                    assert_eq!((source.encoding, s), (*encoding, *seq), "seed {seed}");
                }
                Origin::Filler { .. } => assert!(*own, "seed {seed}"),
                Origin::ParameterSets { .. } => panic!("seed {seed}"),
            }
        }
        assert!(found > 30 && newest > start);
    }
}
