//! Each finding from the measurements that make it, and none without.

use super::*;
use crate::codec::Codec;
use crate::control::messages::{EncodingHealth, TrackRepair};
use crate::units::Bitrate;

/// A video encoding that does well.
fn well(rid: Option<&str>) -> EncodingSnapshot {
    EncodingSnapshot {
        rid: rid.map(str::to_owned),
        active: true,
        bitrate: Bitrate(2_000_000),
        packets: 20_000,
        health: EncodingHealth {
            receiving_for: Some(Duration::from_secs(60)),
            silent_for: Some(Duration::from_millis(20)),
            keyframes: 30,
            own_keyframe_interval: Some(Duration::from_secs(2)),
            keyframe_age: Some(Duration::from_secs(1)),
            answers_requests: None,
            missing: 0.001,
            jitter: Duration::from_millis(8),
            drift_ppm: Some(40.0),
            ..EncodingHealth::default()
        },
        ..EncodingSnapshot::default()
    }
}

fn track(kind: MediaKind, encodings: Vec<EncodingSnapshot>) -> TrackSnapshot {
    TrackSnapshot {
        kind,
        codec: match kind {
            MediaKind::Audio => Codec::Opus,
            MediaKind::Video => Codec::H264,
        },
        receiving: true,
        repair: TrackRepair {
            nack: true,
            rtx: true,
        },
        encodings,
    }
}

fn sick(change: impl FnOnce(&mut EncodingHealth)) -> Vec<Finding> {
    let mut encoding = well(None);
    change(&mut encoding.health);
    diagnose(&[track(MediaKind::Video, vec![encoding])])
}

fn codes(findings: &[Finding]) -> Vec<(&'static str, Severity)> {
    findings.iter().map(|f| (f.code, f.severity)).collect()
}

#[test]
fn publishers_that_do_well_have_no_findings() {
    let obs = track(MediaKind::Video, vec![well(None)]);
    let simulcast = track(MediaKind::Video, vec![well(Some("0")), well(Some("1"))]);
    let audio = TrackSnapshot {
        repair: TrackRepair::default(),
        ..track(MediaKind::Audio, vec![well(None)])
    };
    // A browser makes a keyframe when it is asked for one, else for minutes none.
    let mut asked = well(None);
    asked.health.own_keyframe_interval = Some(Duration::from_secs(90));
    asked.health.keyframe_age = Some(Duration::from_secs(300));
    asked.health.answers_requests = Some(true);
    // OBS repairs without RTX.
    let mut plain = track(MediaKind::Video, vec![well(None)]);
    plain.repair.rtx = false;
    // One that begins knows nothing yet.
    let new = EncodingSnapshot::default();
    for tracks in [
        vec![obs, audio],
        vec![simulcast],
        vec![track(MediaKind::Video, vec![asked])],
        vec![plain],
        vec![track(MediaKind::Video, vec![new])],
        Vec::new(),
    ] {
        assert_eq!(diagnose(&tracks), []);
    }
}

#[test]
fn every_fault_of_an_encoding_has_its_finding() {
    use Severity::{Error, Notice, Warning};
    type Change = fn(&mut EncodingHealth);
    let table: &[(Change, &[(&str, Severity)])] = &[
        (|h| h.b_frames = true, &[("b_frames", Error)]),
        (
            |h| h.parameter_sets_missing = true,
            &[("parameter_sets_missing", Error)],
        ),
        (
            |h| h.own_keyframe_interval = Some(Duration::from_secs(10)),
            &[("keyframe_interval", Warning)],
        ),
        (
            |h| {
                h.own_keyframe_interval = Some(Duration::from_secs(10));
                h.answers_requests = Some(false);
            },
            &[
                ("keyframe_interval", Warning),
                ("keyframe_requests_ignored", Warning),
            ],
        ),
        (
            |h| {
                h.own_keyframe_interval = None;
                h.keyframe_age = Some(Duration::from_secs(40));
                h.answers_requests = Some(false);
            },
            &[
                ("keyframe_interval", Warning),
                ("keyframe_requests_ignored", Warning),
            ],
        ),
        // Deaf, but with a keyframe every two seconds: nobody notices.
        (|h| h.answers_requests = Some(false), &[]),
        (|h| h.drift_ppm = Some(2000.0), &[("clock_drift", Warning)]),
        (|h| h.drift_ppm = Some(-900.0), &[("clock_drift", Warning)]),
        (
            |h| h.report_drift_ppm = Some(3000.0),
            &[("clock_drift", Warning)],
        ),
        (|h| h.missing = 0.03, &[("uplink_loss", Notice)]),
        (|h| h.unrepaired = 0.01, &[("uplink_loss", Warning)]),
        (|h| h.unrepaired = 0.08, &[("uplink_loss", Error)]),
        (
            |h| h.jitter = Duration::from_millis(90),
            &[("late_frames", Warning)],
        ),
        (|h| h.late = 0.2, &[("late_frames", Warning)]),
    ];
    for (at, (change, wanted)) in table.iter().enumerate() {
        let found = sick(*change);
        assert_eq!(codes(&found), *wanted, "row {at}");
        for finding in found {
            assert!(finding.what.ends_with('.') && finding.effect.ends_with('.'));
            assert!(!finding.change.obs.is_empty() && !finding.change.ffmpeg.is_empty());
        }
    }
}

#[test]
fn a_fast_clock_is_called_fast() {
    // Packets that come ever later than their timestamps say: the clock is slow.
    let words = |change: fn(&mut EncodingHealth)| sick(change).pop().unwrap().what;
    assert!(words(|h| h.drift_ppm = Some(2000.0)).contains("2.0 ms a second too slow"));
    assert!(words(|h| h.drift_ppm = Some(-2000.0)).contains("too fast"));
    assert!(words(|h| h.report_drift_ppm = Some(2000.0)).contains("too fast"));
}

#[test]
fn layers_that_do_not_come_are_named() {
    let mut never = EncodingSnapshot {
        rid: Some("h".into()),
        ..EncodingSnapshot::default()
    };
    let mut stopped = well(Some("m"));
    stopped.active = false;
    stopped.health.silent_for = Some(Duration::from_secs(12));
    let tracks = [track(
        MediaKind::Video,
        vec![never.clone(), stopped.clone(), well(Some("l"))],
    )];
    let found = diagnose(&tracks);
    let rids: Vec<_> = found.iter().map(|f| (f.code, f.rid.as_deref())).collect();
    assert_eq!(rids, [("dead_layer", Some("h")), ("dead_layer", Some("m"))]);
    assert!(found[0].what.contains("never came"));
    assert!(found[1].what.contains("12.0 s"));
    // All silent is a publisher that paused, not a layer that died.
    let mut last = well(Some("l"));
    last.active = false;
    never.active = false;
    let tracks = [track(MediaKind::Video, vec![never, stopped, last])];
    assert_eq!(diagnose(&tracks), []);
}

#[test]
fn a_publisher_without_nack_or_with_loss_and_no_rtx_is_told() {
    let mut deaf = track(MediaKind::Video, vec![well(None)]);
    deaf.repair = TrackRepair::default();
    assert_eq!(codes(&diagnose(&[deaf])), [("no_nack", Severity::Warning)]);
    let mut lossy = well(None);
    lossy.health.missing = 0.015;
    let mut plain = track(MediaKind::Video, vec![lossy]);
    plain.repair.rtx = false;
    assert_eq!(codes(&diagnose(&[plain])), [("no_rtx", Severity::Notice)]);
}

#[test]
fn the_worst_comes_first() {
    let found = sick(|h| {
        h.jitter = Duration::from_millis(100);
        h.b_frames = true;
    });
    assert_eq!(found[0].code, "b_frames");
}
