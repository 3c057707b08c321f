//! Measurements of streams with one thing wrong, and with nothing.

use super::*;

const RATE: u32 = 90_000;

fn at(start: Instant, millis: u64) -> Instant {
    start + Duration::from_millis(millis)
}

/// Pictures at 25 a second, `seconds` long; `change` moves their arrival in
/// microseconds.
fn watch(health: &mut Health, start: Instant, seconds: u64, change: impl Fn(u64) -> i64) {
    for frame in 0..seconds * 25 {
        let micros = (frame * 40_000).saturating_add_signed(change(frame));
        health.packet(
            start + Duration::from_micros(micros),
            frame,
            frame as u32 * 3600,
            RATE,
        );
        if frame % 25 == 24 {
            health.roll();
        }
    }
}

#[test]
fn a_steady_stream_has_no_drift_no_jitter_and_nothing_late() {
    let start = Instant::now();
    let mut health = Health::default();
    // Some milliseconds of noise, as every network has.
    watch(&mut health, start, 40, |frame| (frame * 7919 % 5000) as i64);
    let seen = health.snapshot(at(start, 40_000), false, RATE);
    assert!(seen.drift_ppm.unwrap().abs() < 100.0, "{seen:?}");
    assert!(seen.jitter < Duration::from_millis(5), "{seen:?}");
    assert_eq!((seen.late, seen.missing, seen.unrepaired), (0.0, 0.0, 0.0));
}

#[test]
fn a_stream_that_begins_anew_is_measured_again() {
    let start = Instant::now();
    let mut health = Health::default();
    for frame in 0..100u64 {
        // A new SSRC has another timestamp to begin with, and its pictures come in pairs.
        let (timestamp, pair) = match frame {
            0..50 => (3_000_000_000, 0),
            _ => (2_000_000_000, frame % 2 * 40),
        };
        let arrival = at(start, frame * 40 - pair);
        let timestamp = timestamp + frame as u32 * 3600;
        health.packet(arrival, frame, timestamp, RATE);
    }
    let seen = health.snapshot(at(start, 4_000), false, RATE);
    assert!(seen.jitter > Duration::from_millis(20), "{seen:?}");
}

#[test]
fn a_clock_that_runs_off_is_measured_in_parts_per_million() {
    for wanted in [-4000i64, 4000] {
        let start = Instant::now();
        let mut health = Health::default();
        watch(&mut health, start, 40, |frame| {
            frame as i64 * 40_000 * wanted / 1_000_000 + (frame * 7919 % 5000) as i64
        });
        let ppm = health.snapshot(at(start, 40_000), false, RATE).drift_ppm;
        let off = (ppm.unwrap() - wanted as f32).abs();
        assert!(off < 400.0, "{ppm:?} for {wanted}");
    }
}

#[test]
fn pictures_that_come_in_bursts_are_late_and_jitter() {
    let start = Instant::now();
    let mut health = Health::default();
    // Every second picture waits for 300 ms.
    watch(&mut health, start, 10, |frame| {
        if frame % 2 == 1 { 300_000 } else { 0 }
    });
    let seen = health.snapshot(at(start, 10_000), false, RATE);
    assert!(seen.late > 0.4, "{seen:?}");
    assert!(seen.jitter > Duration::from_millis(200), "{seen:?}");
}

#[test]
fn lost_packets_count_as_missing_and_repaired_ones_not_as_lost() {
    let start = Instant::now();
    let mut health = Health::default();
    for second in 0..20u64 {
        for n in 0..100u64 {
            let seq = second * 100 + n;
            let now = at(start, seq * 10);
            if n % 10 == 5 {
                continue; // one in ten
            }
            health.packet(now, seq, seq as u32 * 900, RATE);
            // Half of the holes are filled a little later.
            if n % 20 == 8 {
                health.packet(now, seq - 3, (seq - 3) as u32 * 900, RATE);
            }
        }
        health.roll();
    }
    let seen = health.snapshot(at(start, 20_000), false, RATE);
    assert!((seen.missing - 0.1).abs() < 0.02, "{seen:?}");
    assert!((seen.unrepaired - 0.05).abs() < 0.02, "{seen:?}");
}

fn frames(health: &mut Health, from: Instant, seq: &mut u64, count: u64) {
    for n in 0..count {
        health.packet(at(from, n * 40), *seq, *seq as u32 * 3600, RATE);
        *seq += 1;
    }
}

#[test]
fn a_request_that_brings_nothing_while_pictures_come_is_ignored() {
    let start = Instant::now();
    let (mut health, mut seq) = (Health::default(), 0);
    health.keyframe(start, false);
    health.asked(at(start, 100));
    frames(&mut health, at(start, 100), &mut seq, 100);
    let seen = health.snapshot(at(start, 4_100), false, RATE);
    assert_eq!(seen.answers_requests, Some(false));
    health.keyframe(at(start, 8_000), false);
    health.keyframe(at(start, 16_000), false);
    let seen = health.snapshot(at(start, 16_000), false, RATE);
    assert_eq!(seen.answers_requests, Some(false));
    assert_eq!(seen.own_keyframe_interval, Some(Duration::from_secs(8)));
    // It does answer after all.
    health.asked(at(start, 17_000));
    health.keyframe(at(start, 17_100), false);
    let seen = health.snapshot(at(start, 17_200), false, RATE);
    assert_eq!(seen.answers_requests, Some(true));
}

#[test]
fn a_publisher_that_sends_nothing_ignores_nothing() {
    let start = Instant::now();
    let mut health = Health::default();
    health.asked(start);
    let seen = health.snapshot(at(start, 9_000), false, RATE);
    assert_eq!(seen.answers_requests, None);
}

#[test]
fn keyframes_that_were_asked_for_say_nothing_of_the_encoders_pace() {
    let start = Instant::now();
    let mut health = Health::default();
    health.keyframe(start, false);
    for second in [7, 15, 40] {
        health.asked(at(start, second * 1000 - 50));
        health.keyframe(at(start, second * 1000), false);
    }
    let seen = health.snapshot(at(start, 41_000), false, RATE);
    assert_eq!(seen.own_keyframe_interval, None);
    assert_eq!(seen.keyframe_age, Some(Duration::from_secs(1)));
}

#[test]
fn sender_reports_tell_a_media_clock_that_is_off() {
    let clock = |seconds: u64, rate: f64| SenderClock {
        wall: Duration::from_secs(1000 + seconds),
        timestamp: (seconds as f64 * rate) as u32,
    };
    for (rate, wanted) in [(48_000.0, 0.0), (48_096.0, 2000.0)] {
        let mut health = Health::default();
        for second in (0..=40).step_by(5) {
            health.reported(clock(second, rate));
        }
        let seen = health.snapshot(Instant::now(), false, 48_000);
        let ppm = seen.report_drift_ppm.unwrap();
        assert!((ppm - wanted).abs() < 5.0, "{ppm}");
    }
}

#[test]
fn b_frames_are_forgotten_once_they_stop() {
    let start = Instant::now();
    let mut health = Health::default();
    for _ in 0..SURE {
        assert!(!health.snapshot(at(start, 500), false, RATE).b_frames);
        health.b_frame(start);
    }
    assert!(health.snapshot(at(start, 500), false, RATE).b_frames);
    assert!(!health.snapshot(at(start, 20_000), false, RATE).b_frames);
}
