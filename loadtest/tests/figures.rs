//! Every figure against a server whose faults are known.

mod fake;

use fake::{Badness, Deeds, Fake};
use std::time::Duration;
use weir_loadtest::report::Report;
use weir_loadtest::run::{self, Plan};
use weir_loadtest::scenario;

const VIEWERS: u64 = 4;

/// Runs the tool's own code against such a server; every second viewer checks
/// everything, the others count.
fn measure(badness: Badness, options: &[&str]) -> (Report, Deeds) {
    let fake = Fake::start(badness);
    let mut all = vec![
        format!("load.viewers={VIEWERS}"),
        "seconds=3.0".to_owned(),
        "settle-seconds=0.2".to_owned(),
        "media.kbps=600".to_owned(),
        "viewer.full-check-every=2".to_owned(),
        "viewer.nack=false".to_owned(),
        "viewer.rtx=false".to_owned(),
        // A busy machine must not decide these tests.
        "limits.delay-p99-ms=2000.0".to_owned(),
        "limits.freeze-ms=2000.0".to_owned(),
    ];
    all.extend(options.iter().map(ToString::to_string));
    let plan = Plan::new(scenario::load("broadcast", &all).unwrap(), &*fake.url);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let report = runtime.block_on(run::run(&plan)).unwrap();
    (report, fake.deeds())
}

/// All that was sent in a run, before it was measured and after, is a little
/// more than what was measured.
fn share(part: u64, of: u64) -> f64 {
    part as f64 / of as f64
}

#[test]
fn a_good_server_shows_no_faults() {
    let (r, _) = measure(Badness::default(), &[]);
    let f = &r.figures;
    assert_eq!(f.connected, VIEWERS, "{f:?}");
    assert_eq!(
        (f.lost_packets, f.duplicates, f.reordered),
        (0, 0, 0),
        "{f:?}"
    );
    assert_eq!(
        (f.freezes, f.bad_packets, f.layer_switches),
        (0, 0, 0),
        "{f:?}"
    );
    // 30 frames a second for 3 seconds, for each viewer.
    let frames = 90 * VIEWERS;
    assert!(f.frames.abs_diff(frames) <= frames / 5, "{f:?}");
    // Each packet of the publisher goes to each viewer.
    let received = share(f.received_packets, f.sent_packets * VIEWERS);
    assert!((0.9..1.1).contains(&received), "{f:?}");
    assert_eq!(f.join_ms.count, VIEWERS, "{f:?}");
    assert_ne!(r.verdict, "fail", "{}", r.reason);
}

#[test]
fn losses_on_the_wire_are_counted() {
    let badness = Badness {
        lose_every: 20,
        ..Badness::default()
    };
    let (r, deeds) = measure(badness, &[]);
    let f = &r.figures;
    assert_eq!((f.duplicates, f.reordered), (0, 0), "{f:?}");
    assert!(deeds.lost > 50, "{deeds:?}");
    // Every 20th video packet, and 50 packets of sound a second beside them.
    let video = share(deeds.lost, deeds.lost + deeds.sent);
    assert!((video - 0.05).abs() < 0.004, "{deeds:?}");
    let expected = f.expected_packets as f64 - 150.0 * VIEWERS as f64;
    let measured = f.lost_packets as f64 / expected;
    assert!((measured - 0.05).abs() < 0.006, "{measured} {f:?}");
    assert_eq!(r.verdict, "fail", "{}", r.reason);
    assert!(r.limit_broken.unwrap().starts_with("loss-percent"));
}

#[test]
fn losses_without_a_gap_are_counted() {
    let badness = Badness {
        hide_every: 20,
        ..Badness::default()
    };
    let (r, deeds) = measure(badness, &[]);
    let f = &r.figures;
    assert!(deeds.hidden > 50, "{deeds:?}");
    let expected = f.expected_packets as f64 - 150.0 * VIEWERS as f64;
    let measured = f.lost_packets as f64 / expected;
    // Those who count look into one packet of 128, so a little may be unseen.
    assert!((measured - 0.05).abs() < 0.012, "{measured} {f:?}");
    assert_eq!(r.verdict, "fail", "{}", r.reason);
}

#[test]
fn repeats_are_counted_and_are_no_packets() {
    let badness = Badness {
        repeat_every: 10,
        ..Badness::default()
    };
    let (r, deeds) = measure(badness, &[]);
    let f = &r.figures;
    assert_eq!((f.lost_packets, f.reordered), (0, 0), "{f:?}");
    assert!(deeds.repeated > 100, "{deeds:?}");
    let distinct = f.received_packets - f.duplicates - 150 * VIEWERS;
    let measured = share(f.duplicates, distinct);
    assert!((measured - 0.1).abs() < 0.01, "{measured} {f:?}");
    assert!(r.limit_broken.unwrap().starts_with("duplicates"));
}

#[test]
fn reordering_is_counted_and_is_no_loss() {
    let badness = Badness {
        swap_every: 10,
        ..Badness::default()
    };
    let (r, deeds) = measure(badness, &[]);
    let f = &r.figures;
    assert!(deeds.swapped > 100, "{deeds:?}");
    assert_eq!(f.duplicates, 0, "{f:?}");
    // At the very end one packet of each viewer may still be held back.
    assert!(f.lost_packets <= VIEWERS, "{f:?}");
    let measured = share(f.reordered, f.received_packets - 150 * VIEWERS);
    assert!((measured - 0.1).abs() < 0.01, "{measured} {f:?}");
}

#[test]
fn delay_is_measured_to_the_kernel() {
    let badness = Badness {
        delay: Duration::from_millis(120),
        ..Badness::default()
    };
    let (r, _) = measure(badness, &["limits.delay-p50-ms=100.0", "media.audio=false"]);
    let d = r.figures.delay_ms;
    assert!(d.p50 >= 119.0 && d.p50 < 180.0, "{d:?}");
    assert!(d.count > 100, "{d:?}");
    assert_eq!(r.figures.lost_packets, 0, "{d:?}");
    assert!(r.limit_broken.unwrap().starts_with("delay-p50-ms"));
}

#[test]
fn a_server_that_stops_sending_is_seen() {
    let badness = Badness {
        stop_after: 150,
        ..Badness::default()
    };
    let (r, _) = measure(badness, &[]);
    let f = &r.figures;
    // Everything the publisher went on to send is lost to each viewer.
    assert!(f.loss_percent > 20.0, "{f:?}");
    assert!(f.freezes >= VIEWERS - 1, "{f:?}");
    assert_eq!(r.verdict, "fail", "{}", r.reason);
}

#[test]
fn refused_viewers_are_told_by_kind() {
    let badness = Badness {
        refuse_every: 2,
        ..Badness::default()
    };
    let (r, _) = measure(badness, &[]);
    assert_eq!(r.figures.connected, VIEWERS / 2);
    assert_eq!(
        r.figures.http_errors.get("status 503"),
        Some(&(VIEWERS / 2))
    );
    assert_eq!(r.verdict, "fail", "{}", r.reason);
    assert!(r.limit_broken.unwrap().starts_with("connected-percent"));
}

#[test]
fn repaired_losses_are_none() {
    let badness = Badness {
        lose_every: 20,
        repair: true,
        ..Badness::default()
    };
    let (r, deeds) = measure(badness, &["viewer.nack=true", "viewer.rtx=true"]);
    let f = &r.figures;
    assert!(deeds.lost > 50, "{deeds:?}");
    assert!(f.nacks > 0 && f.retransmissions > 0, "{f:?}");
    assert!(share(f.recovered, deeds.lost) > 0.6, "{f:?} {deeds:?}");
    assert!(f.loss_percent < 0.5, "{f:?}");
}

#[test]
fn our_own_bad_links_are_not_charged_to_the_server() {
    let options = ["viewer.bad-link-every=2", "viewer.link-loss-percent=10.0"];
    let (r, _) = measure(Badness::default(), &options);
    let f = &r.figures;
    assert!(f.generator.simulated_losses > 50, "{f:?}");
    assert_eq!((f.lost_packets, f.duplicates), (0, 0), "{f:?}");
}
