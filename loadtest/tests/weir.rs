//! The load test's viewers of whole rooms against the real server: everyone sees and hears
//! everyone else in one session, and a viewer that does not is told.

use std::path::PathBuf;
use std::process::Command;

use weir_loadtest::peers::Peer;
use weir_loadtest::report::Report;
use weir_loadtest::run::{self, Plan};
use weir_loadtest::scenario;

/// The real binary, beside the folder of this test. `cargo test --workspace` has built it
/// before any test runs; where nothing has, it is built here. Alone, it is as old as its last build.
fn weir() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.ancestors().nth(2).unwrap();
    let weir = folder.join("weir");
    if !weir.is_file() {
        let profile = match folder.file_name().and_then(|name| name.to_str()) {
            Some("debug") | None => "dev",
            Some(profile) => profile,
        };
        let built = Command::new(env!("CARGO"))
            .args(["build", "--locked", "--quiet", "--bin", "weir"])
            .args(["--profile", profile])
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .status();
        assert!(built.unwrap().success(), "weir could not be built");
    }
    weir
}

/// A room of three, each of whom watches the two others.
fn room(audio_slots: u32, options: &[&str]) -> Report {
    let mut server = Peer::served(&format!(
        "weir={} --http 127.0.0.1:0 --udp-port 0 --workers 1 --auth open --log-level warn",
        weir().display()
    ))
    .unwrap();
    let slots = audio_slots.to_string();
    server.environment = [("WEIR_WHEP_AUDIO_SLOTS".to_owned(), slots)].into();
    let running = server.start(&[]).unwrap();
    let mut all: Vec<String> = [
        "seconds=3.0",
        "load.rooms=1",
        "load.publishers=3",
        "viewer.video-slots=2",
        "viewer.audio-slots=2",
        "media.kbps=600",
        "viewer.full-check-every=2",
        // A busy machine must not decide these tests.
        "limits.delay-p99-ms=10000.0",
        "limits.freeze-ms=10000.0",
        "ramp.join-timeout-seconds=30.0",
    ]
    .map(str::to_owned)
    .into();
    all.extend(options.iter().map(ToString::to_string));
    let plan = Plan::new(
        scenario::load("conference", &all).unwrap(),
        &*running.target,
    );
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(run::run(&plan)).unwrap()
}

#[test]
fn everyone_sees_and_hears_everyone_in_one_session() {
    let r = room(2, &[]);
    let f = &r.figures;
    assert_eq!((f.viewers, f.connected, f.publishers), (3, 3, 3), "{f:?}");
    let t = f.tracks;
    assert_eq!((t.audio_delivered, t.audio_expected), (6, 6), "{t:?}");
    assert_eq!((t.video_delivered, t.video_expected), (6, 6), "{t:?}");
    assert_eq!(f.all_tracks_ms.count, 3, "{f:?}");
    // Every packet of each to the two others, once.
    assert_eq!((f.bad_packets, f.duplicates), (0, 0), "{f:?}");
    assert!(f.http_errors.is_empty(), "{f:?}");
    let expected = f.expected_packets as f64 / f.received_packets as f64;
    assert!((0.9..1.2).contains(&expected), "{expected} {f:?}");
    let received = f.received_packets - f.padding_packets;
    let share = received as f64 / (2 * f.sent_packets) as f64;
    assert!((0.9..1.1).contains(&share), "{share} {f:?}");
    // 25 frames a second of two, for each of the three.
    let frames = (3.0 * 25.0 * 6.0) as u64;
    assert!(f.frames.abs_diff(frames) <= frames / 5, "{f:?}");
    // One space of transport-wide numbers for the whole session, and sound beside its picture.
    assert!(f.feedbacks > 3 * 3, "{f:?}");
    assert!(f.av_offset_ms.count > 0, "{f:?}");
    assert_ne!(r.verdict, "fail", "{}", r.reason);
}

#[test]
fn losses_in_every_section_are_repaired() {
    // Lost sound is not asked for.
    let bad = [
        "media.audio=false",
        "viewer.audio-slots=1",
        "viewer.bad-link-every=1",
        "viewer.link-loss-percent=5.0",
        "limits.loss-percent=2.0",
        "limits.freezes=1000",
    ];
    let r = room(2, &bad);
    let f = &r.figures;
    assert_eq!(f.tracks.video_delivered, 6, "{f:?}");
    let lost = f.generator.simulated_losses;
    assert!(lost > 50, "{f:?}");
    // All but those whose repairs were lost, too, or came after the end.
    assert!(f.recovered * 4 > lost * 3, "{f:?}");
    assert_eq!(f.bad_packets, 0, "{f:?}");
}

#[test]
fn a_viewer_that_misses_somebody_fails_the_run() {
    // The server has room for one voice, so each viewer misses one.
    let r = room(1, &["ramp.join-timeout-seconds=3.0"]);
    let t = r.figures.tracks;
    assert_eq!((t.audio_delivered, t.audio_expected), (3, 6), "{t:?}");
    assert_eq!((t.video_delivered, t.video_expected), (6, 6), "{t:?}");
    let broken = &r.steps[0].limits_broken;
    assert!(
        broken
            .iter()
            .any(|l| l.starts_with("tracks-percent: 75.00 %")),
        "{broken:?}"
    );
    assert_ne!(r.verdict, "pass", "{}", r.reason);

    // A viewer that does not say who it is may be shown itself; that counts for nothing.
    let r = room(
        2,
        &["http.whep=whep/{room}", "ramp.join-timeout-seconds=3.0"],
    );
    let t = r.figures.tracks;
    assert!(t.video_delivered < t.video_expected, "{t:?}");
    // Waiting in vain is not measured.
    let f = &r.figures;
    let expected = f.expected_packets as f64 / f.received_packets as f64;
    assert!((0.9..1.2).contains(&expected), "{expected} {f:?}");
    assert_ne!(r.verdict, "pass", "{}", r.reason);
}
