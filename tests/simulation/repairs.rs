//! What is lost is repaired: how often publishers are asked, and what repairs
//! do to everything else.

use std::time::Duration;

use weir::control::messages::WorkerSnapshot;

use crate::checks::{audio, continuous, longest_freeze, over_seeds, video};
use crate::client::Plan;
use crate::link::Conditions;
use crate::world::{ALICE, ClientId, World};

#[test]
fn nothing_is_asked_of_a_publisher_twice_within_a_round_trip() {
    let name = "nothing_is_asked_of_a_publisher_twice_within_a_round_trip";
    over_seeds(name, 3, |seed| {
        for delay in [10, 75, 150] {
            let mut world = World::new(seed, 1);
            world.links.delay = Duration::from_millis(delay);
            let plan = Plan {
                audio: false, // nobody waits for what was said
                ..Plan::default()
            };
            let publisher = world.publish(0, 1, 1, plan);
            let viewer = world.view(0, 1, ALICE);
            world.run(Duration::from_secs(3));
            let before = world.up[publisher.0].lost;
            world.up[publisher.0].conditions.loss = 0.03;
            world.run(Duration::from_secs(15));
            world.up[publisher.0].conditions.loss = 0.0;
            world.run(Duration::from_secs(2));
            let lost = (world.up[publisher.0].lost - before) as f64;
            let asked = world.snapshot(0).totals.nacks_out as f64;
            // Each loss once, that of a repair included; reports and checks are lost too.
            assert!(
                (0.85 * lost..=1.05 * lost + 2.0).contains(&asked),
                "{asked} asked for, {lost} lost, {delay} ms"
            );
            let holes = if delay < 100 { 2 } else { 4 };
            continuous(&video(world.client(viewer)), holes);
        }
    });
}

#[test]
fn a_burst_of_repairs_delays_nothing_that_is_fresh() {
    over_seeds(
        "a_burst_of_repairs_delays_nothing_that_is_fresh",
        5,
        |seed| {
            let mut world = World::new(seed, 1);
            world.publish(0, 1, 1, Plan::default());
            let viewer = world.view(0, 1, ALICE);
            world.down[viewer.0].conditions = Conditions {
                rate: Some(2_000_000),
                ..Conditions::default()
            };
            world.run(Duration::from_secs(12));
            let before = world.snapshot(0).totals;
            world.down[viewer.0].conditions.loss = 1.0;
            world.run(Duration::from_millis(500));
            world.down[viewer.0].conditions.loss = 0.0;
            let mut waits = Vec::new();
            for _ in 0..600 {
                world.run(Duration::from_millis(5));
                waits.push(world.down[viewer.0].waiting(world.now));
            }
            let totals = world.snapshot(0).totals;
            let repairs = totals.repairs_out - before.repairs_out;
            let most = waits.iter().max().unwrap();
            let rise = waits.windows(2).map(|w| w[1].saturating_sub(w[0])).max();
            let rise = rise.unwrap();
            assert!(repairs > 40, "{repairs}");
            // All at once they would be a quarter of a second.
            assert!(rise < Duration::from_millis(80), "{rise:?} more in 5 ms");
            assert!(*most < Duration::from_millis(230), "{most:?} in the queue");
            let client = world.client(viewer);
            let lost = 1 + audio(client)
                .windows(2)
                .map(|p| p[1].seq - p[0].seq - 1)
                .sum::<u64>();
            assert!(lost < 30, "{lost} of sound: only what was sent in the gap");
            continuous(&video(client), 4);
        },
    );
}

#[test]
fn a_crowd_that_asks_for_keyframes_is_one_request() {
    over_seeds(
        "a_crowd_that_asks_for_keyframes_is_one_request",
        3,
        |seed| {
            let mut world = World::new(seed, 1);
            let publisher = world.publish(0, 1, 1, Plan::default());
            let viewers: Vec<_> = (0..12).map(|_| world.view(0, 1, ALICE)).collect();
            world.run(Duration::from_secs(4));
            for _ in 0..5 {
                let heard = world.snapshot(0).totals.keyframe_requests_in;
                let asked = world.client(publisher).keyframe_requests;
                for viewer in &viewers {
                    world.client(*viewer).request_keyframe();
                    world.run(Duration::from_millis(10));
                }
                world.run(Duration::from_secs(2));
                let heard = world.snapshot(0).totals.keyframe_requests_in - heard;
                let asked = world.client(publisher).keyframe_requests - asked;
                assert!(heard >= 12, "{heard} of 12");
                // One for those who asked before its keyframe came, one for the others.
                assert!((1..=2).contains(&asked), "{asked} for {heard}");
            }
        },
    );
}

/// Each of them now and then, one after the other, as on many poor paths.
#[test]
fn a_crowd_in_trouble_does_not_set_the_pace_of_keyframes() {
    let name = "a_crowd_in_trouble_does_not_set_the_pace_of_keyframes";
    over_seeds(name, 3, |seed| {
        let mut world = World::new(seed, 1);
        let publisher = world.publish(0, 1, 1, Plan::default());
        let viewers: Vec<_> = (0..30).map(|_| world.view(0, 1, ALICE)).collect();
        world.run(Duration::from_secs(6));
        let before = world.client(publisher).keyframe_requests;
        for round in 0..200 {
            world.client(viewers[round * 7 % 30]).request_keyframe();
            world.run(Duration::from_millis(97 + seed));
        }
        let asked = world.client(publisher).keyframe_requests - before;
        assert!((12..=17).contains(&asked), "{asked} keyframes in 20 s");
        // The next one in trouble is helped at once again.
        world.run(Duration::from_secs(6));
        let before = world.client(publisher).keyframe_requests;
        world.client(viewers[3]).request_keyframe();
        world.run(Duration::from_millis(100));
        assert_eq!(world.client(publisher).keyframe_requests, before + 1);
    });
}

#[test]
fn no_repairs_are_asked_for_or_sent_without_loss() {
    over_seeds("no_repairs_are_asked_for_or_sent_without_loss", 3, |seed| {
        let mut world = World::new(seed, 1);
        world.links = Conditions {
            delay: Duration::from_millis(30),
            jitter: Duration::from_millis(6),
            ..Conditions::default()
        };
        world.publish(0, 1, 1, Plan::default());
        let viewer = world.view(0, 1, ALICE);
        world.run(Duration::from_secs(10));
        let totals = world.snapshot(0).totals;
        assert_eq!(
            (totals.nacks_in, totals.repairs_out, totals.nacks_out),
            (0, 0, 0)
        );
        let from = world.now - Duration::from_secs(8);
        let freeze = longest_freeze(
            &video(world.client(viewer)),
            from,
            from + Duration::from_secs(7),
        );
        assert!(freeze < Duration::from_millis(60), "{freeze:?}");
    });
}

/// A publisher of 900 packets a second, 80 ms away: a repair is 150 packets late.
fn busy_and_far(seed: u64) -> (World, ClientId, ClientId) {
    let mut world = World::new(seed, 1);
    world.links.delay = Duration::from_millis(80);
    let plan = Plan {
        packets_per_frame: 30,
        packet_size: 600,
        audio: false,
        ..Plan::default()
    };
    let publisher = world.publish(0, 1, 1, plan);
    let viewer = world.view(0, 1, ALICE);
    world.run(Duration::from_secs(3));
    (world, publisher, viewer)
}

/// Lets one packet of the publisher be lost.
fn lose_one(world: &mut World, publisher: ClientId) {
    let lost = world.up[publisher.0].lost;
    world.up[publisher.0].conditions.loss = 0.05;
    while world.up[publisher.0].lost == lost {
        world.run(Duration::from_millis(1));
    }
    world.up[publisher.0].conditions.loss = 0.0;
}

/// More packets came since than the simulated viewers' own windows hold: the repair is taken, and
/// sent on.
#[test]
fn a_repair_that_is_many_packets_late_still_reaches_viewers() {
    let name = "a_repair_that_is_many_packets_late_still_reaches_viewers";
    over_seeds(name, 3, |seed| {
        let (mut world, publisher, _) = busy_and_far(seed);
        let video = |snapshot: &WorkerSnapshot| {
            let tracks = &snapshot.publishers[0].tracks;
            let encoding = &tracks[0].encodings[0];
            (encoding.packets, encoding.lost)
        };
        let before = world.snapshot(0);
        for _ in 0..5 {
            lose_one(&mut world, publisher);
            world.run(Duration::from_secs(1));
        }
        let after = world.snapshot(0);
        let (packets, lost) = video(&after);
        assert_eq!(lost, 0, "seed {seed}");
        assert!(after.totals.nacks_out >= 5);
        let sent = after.totals.rtp_out - before.totals.rtp_out;
        assert_eq!(sent, packets - video(&before).0, "seed {seed}");
        let asked = after.totals.keyframe_requests_out - before.totals.keyframe_requests_out;
        assert_eq!(asked, 0, "nothing is lost for good");
    });
}

/// What the publisher does not repair freezes nobody until browsers complain: it is asked
/// for a keyframe.
#[test]
fn a_loss_that_is_never_repaired_is_answered_by_a_keyframe() {
    let name = "a_loss_that_is_never_repaired_is_answered_by_a_keyframe";
    over_seeds(name, 3, |seed| {
        let (mut world, publisher, viewer) = busy_and_far(seed);
        let requests = world.client(publisher).keyframe_requests;
        // It hears nothing until the loss is given up.
        world.down[publisher.0].conditions.loss = 1.0;
        lose_one(&mut world, publisher);
        let from = world.now;
        world.run(Duration::from_millis(1150));
        world.down[publisher.0].conditions.loss = 0.0;
        world.run(Duration::from_millis(2500));
        let to = world.now;
        let freeze = longest_freeze(&video(world.client(viewer)), from, to);
        assert!(freeze < Duration::from_millis(1600), "{freeze:?}");
        let asked = world.client(publisher).keyframe_requests - requests;
        assert!((1..=3).contains(&asked), "{asked} keyframes");
    });
}
