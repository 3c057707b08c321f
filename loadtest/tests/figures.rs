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
    let report = against(&fake, options);
    (report, fake.deeds())
}

fn against(fake: &Fake, options: &[&str]) -> Report {
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
    runtime.block_on(run::run(&plan)).unwrap()
}

/// The run fails by this limit; on a machine so busy that the generator itself was
/// late it is inconclusive, but the limit has broken all the same.
fn fails(r: &Report, limit: &str) {
    let step = &r.steps[0];
    let broken = step.limits_broken.iter().any(|l| l.starts_with(limit));
    assert!(broken, "{:?}", step.limits_broken);
    match step.inconclusive {
        Some(_) => assert_eq!(r.verdict, "inconclusive", "{}", r.reason),
        None => {
            assert_eq!(r.verdict, "fail", "{}", r.reason);
            assert!(r.limit_broken.is_some());
        }
    }
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
    fails(&r, "loss-percent");
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
    // Those who count look into one packet of 31, so a little may be unseen.
    assert!((measured - 0.05).abs() < 0.012, "{measured} {f:?}");
    fails(&r, "loss-percent");
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
    fails(&r, "duplicates");
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
    fails(&r, "delay-p50-ms");
}

#[test]
fn a_server_that_stops_sending_is_seen() {
    let badness = Badness {
        stop_after: 60,
        ..Badness::default()
    };
    let (r, _) = measure(badness, &[]);
    let f = &r.figures;
    // Everything the publisher went on to send is lost to each viewer.
    assert!(f.loss_percent > 20.0, "{f:?}");
    assert!(f.freezes >= VIEWERS - 1, "{f:?}");
    fails(&r, "loss-percent");
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
    fails(&r, "connected-percent");
}

#[test]
fn answers_that_are_none_are_told_by_kind() {
    let garbled = Badness {
        garble_every: 2,
        ..Badness::default()
    };
    let (r, _) = measure(garbled, &[]);
    let kind = "answer: the answer is not SDP";
    assert_eq!(r.figures.http_errors.get(kind), Some(&(VIEWERS / 2)));
    let silent = Badness {
        hang_up_every: 4,
        ..Badness::default()
    };
    let (r, _) = measure(silent, &[]);
    assert_eq!(r.figures.http_errors.get("broken"), Some(&1), "{r:?}");
    assert_eq!(r.figures.connected, VIEWERS - 1);
}

/// The answer comes late, and a keyframe only when one is asked for, which the first picture
/// that is none brings about.
#[test]
fn the_parts_of_a_join_are_told_apart() {
    let badness = Badness {
        answer_delay: Duration::from_millis(300),
        ..Badness::default()
    };
    let (r, deeds) = measure(badness, &["media.gop-frames=0"]);
    let f = &r.figures;
    let (connect, packet, join) = (f.connect_ms, f.first_packet_ms, f.join_ms);
    let counts = (connect.count, packet.count, join.count);
    assert_eq!(counts, (VIEWERS, VIEWERS, VIEWERS), "{f:?}");
    assert!(connect.p50 >= 300.0, "{f:?}");
    assert!(packet.p50 >= connect.p50 * 0.99, "{f:?}");
    assert!(join.p50 > packet.p50, "{f:?}");
    assert!(deeds.keyframe_requests > 0, "{deeds:?}");
    assert!(join.max >= packet.max, "{f:?}");
}

/// Who comes while it is measured counts as one of those who join.
#[test]
fn joins_while_measuring_count() {
    let (r, _) = measure(Badness::default(), &["churn.viewers-per-second=2.0"]);
    let f = &r.figures;
    assert_eq!((f.connected, f.lost_packets), (VIEWERS, 0), "{f:?}");
    assert!(f.connect_ms.count > VIEWERS, "{f:?}");
    // Who came last may not have had its keyframe yet.
    assert!(
        (VIEWERS + 1..=f.connect_ms.count).contains(&f.join_ms.count),
        "{f:?}"
    );
    assert_eq!(f.http_errors.values().sum::<u64>(), 0, "{f:?}");
}

#[test]
fn threads_and_coalescing_change_no_figure() {
    let options = ["generator.receive-threads=2", "generator.gro=true"];
    let (r, _) = measure(Badness::default(), &options);
    let f = &r.figures;
    assert_eq!(
        (f.connected, f.lost_packets, f.duplicates, f.bad_packets),
        (VIEWERS, 0, 0, 0),
        "{f:?}"
    );
    assert_eq!(f.generator.fully_checking, VIEWERS / 2);
    let received = share(f.received_packets, f.sent_packets * VIEWERS);
    assert!((0.9..1.1).contains(&received), "{f:?}");
}

/// Two of a hundred packets come late: the 99th percentile sees them, the median
/// does not.
#[test]
fn percentiles_tell_few_late_packets_from_many() {
    const SLOW: Duration = Duration::from_millis(400);
    let every = |n| Badness {
        slow: Some((n, SLOW)),
        ..Badness::default()
    };
    let options = ["viewer.full-check-every=1", "media.audio=false"];
    let (r, _) = measure(every(50), &options);
    let d = r.figures.delay_ms;
    assert!(d.p50 < 200.0 && d.p99 >= 399.0 && d.p999 >= 399.0, "{d:?}");
    let (r, _) = measure(every(130), &options);
    let d = r.figures.delay_ms;
    assert!(d.p95 < 300.0 && d.p999 >= 399.0 && d.max >= 399.0, "{d:?}");
    // Every packet was looked at.
    assert!(d.count + 10 >= r.figures.received_packets, "{d:?}");
    assert!(r.figures.generator.checked_percent > 99.0);
}

#[test]
fn a_pause_is_one_freeze_of_its_length() {
    let badness = Badness {
        stall: Some((100, Duration::from_millis(1500))),
        ..Badness::default()
    };
    let options = ["limits.freeze-ms=1000.0", "limits.freezes=0"];
    let (r, _) = measure(badness, &options);
    let f = &r.figures;
    assert_eq!(f.freezes + f.generator.freezes, VIEWERS, "{f:?}");
    assert!((1400.0..2200.0).contains(&f.longest_gap_ms), "{f:?}");
    assert_eq!(f.lost_packets, 0, "{f:?}");
    assert!(r.limit_broken.unwrap().starts_with("freezes"));
}

#[test]
fn sound_that_is_off_is_told() {
    let badness = Badness {
        audio_shift: Duration::from_millis(300),
        ..Badness::default()
    };
    let (r, _) = measure(badness, &[]);
    let offset = r.figures.av_offset_ms;
    assert!(offset.count >= VIEWERS, "{offset:?}");
    assert!((offset.p50 - 300.0).abs() < 60.0, "{offset:?}");
    let (r, _) = measure(Badness::default(), &[]);
    assert!(r.figures.av_offset_ms.p50 < 60.0, "{:?}", r.figures);
}

/// One packet a frame, every second one 20 ms late: each transit differs from the
/// one before by that.
#[test]
fn jitter_is_measured() {
    let badness = Badness {
        shake: Duration::from_millis(20),
        ..Badness::default()
    };
    let one = ["media.packets-per-frame=1", "media.audio=false"];
    let (r, _) = measure(badness, &one);
    let shaken = r.figures.jitter_ms;
    assert!(shaken.p50 > 12.0 && shaken.p50 < 40.0, "{shaken:?}");
    let (r, _) = measure(Badness::default(), &one);
    assert!(
        r.figures.jitter_ms.p50 < shaken.p50 / 2.0,
        "{:?}",
        r.figures
    );
}

#[test]
fn changes_of_the_encoding_are_counted() {
    let badness = Badness {
        switch_every: 15,
        ..Badness::default()
    };
    let options = ["media.layers=2", "viewer.full-check-every=1"];
    let (r, deeds) = measure(badness, &options);
    let f = &r.figures;
    // Some 90 frames are measured of each viewer, so there are 6 changes.
    assert!(f.layer_switches >= 4 * VIEWERS, "{f:?} {deeds:?}");
    assert!(f.layer_switches <= deeds.switches, "{f:?} {deeds:?}");
    // None of it is loss or repetition, though the numbers go on.
    assert_eq!((f.lost_packets, f.duplicates), (0, 0), "{f:?}");
}

#[test]
fn repeats_under_new_numbers_are_counted() {
    let badness = Badness {
        double_every: 10,
        ..Badness::default()
    };
    let (r, deeds) = measure(badness, &["viewer.full-check-every=1"]);
    let f = &r.figures;
    assert!(deeds.doubled > 50, "{deeds:?}");
    let distinct = f.received_packets - f.duplicates - 150 * VIEWERS;
    let measured = share(f.duplicates, distinct);
    assert!((measured - 0.1).abs() < 0.015, "{measured} {f:?}");
    assert_eq!(f.lost_packets, 0, "{f:?}");
}

/// Another implementation reads our feedback and our reports, and finds its losses
/// in them.
#[test]
fn feedback_and_reports_tell_the_losses() {
    let badness = Badness {
        lose_every: 5,
        ..Badness::default()
    };
    let (r, deeds) = measure(badness, &["media.audio=false"]);
    let f = &r.figures;
    assert!(f.feedbacks > 10 * VIEWERS, "{f:?}");
    assert!((15.0..30.0).contains(&deeds.feedback_loss), "{deeds:?}");
    let reported = deeds.report_loss.0 / deeds.report_loss.1 as f32;
    assert!((14.0..26.0).contains(&reported), "{deeds:?}");
    // What can't be decoded is asked for anew.
    assert!(f.plis > 0 && deeds.keyframe_requests > 0, "{f:?} {deeds:?}");
    assert!(f.keyframe_requests > 0, "{f:?}");
    let (r, _) = measure(badness, &["viewer.feedback=none"]);
    assert_eq!(r.figures.feedbacks, 0);
}

#[test]
fn publishers_send_again_what_they_left_out() {
    let options = ["media.drop-percent=5.0", "media.audio=false"];
    let (r, deeds) = measure(Badness::default(), &options);
    let f = &r.figures;
    assert!(f.generator.publisher_drops > 5, "{f:?}");
    assert!(f.publisher_nacks > 0 && f.publisher_resends > 0, "{f:?}");
    // The server asked for all it missed and forwarded it, though late.
    assert!(deeds.published > 200, "{deeds:?}");
    assert!(f.loss_percent < 1.0 && f.reordered > 5, "{f:?}");
}

#[test]
fn simulated_links_delay_throttle_and_reorder_without_charge() {
    let options = [
        "viewer.bad-link-every=2",
        "viewer.link-delay-ms=300.0",
        "viewer.link-jitter-ms=50.0",
        "viewer.link-reorder-percent=5.0",
        "viewer.full-check-every=1",
    ];
    let (r, _) = measure(Badness::default(), &options);
    let f = &r.figures;
    assert_eq!(
        (f.lost_packets, f.duplicates, f.reordered),
        (0, 0, 0),
        "{f:?}"
    );
    assert!(f.generator.simulated_reorders > 10, "{f:?}");
    assert!(f.delay_ms.p50 < 250.0, "the link's delay is our own: {f:?}");
    assert_eq!(f.connected, VIEWERS);
    // Half of what is sent fits.
    let options = [
        "viewer.bad-link-every=2",
        "viewer.link-kbps=300",
        "viewer.full-check-every=1",
    ];
    let (r, _) = measure(Badness::default(), &options);
    let f = &r.figures;
    assert!(f.generator.simulated_losses > 100, "{f:?}");
    assert_eq!((f.lost_packets, f.duplicates), (0, 0), "{f:?}");
}

#[test]
fn viewers_that_read_no_more_are_no_loss() {
    let (r, _) = measure(Badness::default(), &["viewer.stop-reading-every=2"]);
    let f = &r.figures;
    assert_eq!((f.lost_packets, f.freezes), (0, 0), "{f:?}");
    assert_eq!(f.connected, VIEWERS);
    // Two of four go on.
    let received = share(f.received_packets, f.sent_packets * VIEWERS);
    assert!((0.4..0.6).contains(&received), "{f:?}");
}

#[test]
fn abuse_is_told_by_kind_and_hurts_nobody() {
    let fake = Fake::start(Badness::default());
    let options = [
        "abuse.slow-requests=2",
        "abuse.half-bodies=2",
        "abuse.bad-tokens-per-second=5.0",
        "abuse.garbage-requests-per-second=5.0",
        "abuse.garbage-datagrams-per-second=100.0",
    ];
    let r = against(&fake, &options);
    let f = &r.figures;
    assert_eq!(f.connected, VIEWERS, "{f:?}");
    // This server takes no offers that are none, and knows no tokens.
    assert!(f.abuse.get("bad token: status 503") > Some(&5), "{f:?}");
    let garbage: u64 = f
        .abuse
        .iter()
        .filter(|(k, _)| k.starts_with("garbage request"))
        .map(|(_, n)| n)
        .sum();
    assert!(garbage > 5, "{f:?}");
    assert!(f.abuse.get("slow request: open") == Some(&2), "{f:?}");
    assert!(f.abuse.get("half body: open") == Some(&2), "{f:?}");
    assert!(f.abuse.get("garbage datagram: sent") > Some(&100), "{f:?}");
    assert!(fake.deeds().garbage > 50, "{:?}", fake.deeds());
    assert_eq!(f.http_errors.values().sum::<u64>(), 0, "{f:?}");
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
    assert!(f.retransmissions <= deeds.repairs, "{f:?} {deeds:?}");
    assert!(
        f.retransmissions * 10 > deeds.repairs * 7,
        "{f:?} {deeds:?}"
    );
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
