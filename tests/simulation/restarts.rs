//! Publishers that come back, are taken over, or vanish: viewers stay.

use std::time::Duration;

use weir::control::messages::{CloseReason, Event, InactiveReason, ViewTarget};

use crate::checks::{audio, continuous, over_seeds, timestamps_follow_time, video};
use crate::client::{Plan, Received};
use crate::world::{ALICE, World};

/// Runs a change of publishers at `worker`s and checks the viewer's line.
fn publisher_changes(seed: u64, workers: u8, second: u8, graceful: bool) {
    let mut world = World::new(seed, workers);
    let first = world.publish(0, 1, 1, Plan::default());
    let viewers = [
        world.view(0, 1, ALICE),
        world.view(workers - 1, 1, ViewTarget::Room),
    ];
    world.run(Duration::from_secs(3));
    if graceful {
        // A take-over: the new one is opened, then the old one closed.
        world.publish(second, 1, 1, Plan::default());
        world.close_for(first, CloseReason::TakenOver);
    } else {
        world.unplug(first);
        world.run(Duration::from_secs(2));
        world.publish(second, 1, 1, Plan::default());
        world.close_for(first, CloseReason::TakenOver);
    }
    let changed = world.now;
    world.run(Duration::from_secs(4));
    for viewer in viewers {
        let video = video(world.client(viewer));
        continuous(&video, 0);
        timestamps_follow_time(&video, 90_000.0, Duration::from_millis(150));
        let back = video
            .iter()
            .find(|p| p.at > changed + Duration::from_millis(20))
            .expect("pictures again");
        let gap = back.at - changed;
        assert!(gap < Duration::from_secs(1), "pictures again after {gap:?}");
        assert!(back.stamp.expect("a stamp").keyframe);
    }
}

#[test]
fn a_take_over_keeps_the_viewers() {
    over_seeds("a_take_over_keeps_the_viewers", 5, |seed| {
        publisher_changes(seed, 1, 0, true);
    });
}

#[test]
fn a_take_over_on_another_worker_keeps_the_viewers() {
    over_seeds(
        "a_take_over_on_another_worker_keeps_the_viewers",
        5,
        |seed| {
            publisher_changes(seed, 3, 1, true);
            publisher_changes(seed, 3, 2, true);
        },
    );
}

#[test]
fn a_lost_publisher_that_returns_keeps_the_viewers() {
    over_seeds(
        "a_lost_publisher_that_returns_keeps_the_viewers",
        5,
        |seed| {
            publisher_changes(seed, 1, 0, false);
            publisher_changes(seed, 2, 1, false);
        },
    );
}

/// An encoder that starts over may take another SSRC (RFC 3550 §8.2).
#[test]
fn a_publisher_that_changes_its_ssrcs_keeps_the_viewers() {
    over_seeds("a_publisher_that_changes_its_ssrcs", 4, |seed| {
        for layered in [false, true] {
            let mut plan = Plan::default();
            if layered {
                plan.layers = vec![("a".into(), (320, 180)), ("b".into(), (640, 360))];
            }
            let mut world = World::new(seed, 2);
            let publisher = world.publish(0, 1, 1, plan);
            // Packets of the former SSRC come after the first of the next.
            world.up[publisher.0].conditions.jitter = Duration::from_millis(15);
            let viewers = [world.view(0, 1, ALICE), world.view(1, 1, ViewTarget::Room)];
            world.run(Duration::from_secs(3));
            for _ in 0..2 {
                world.client(publisher).change_ssrcs();
                let changed = world.now;
                world.run(Duration::from_secs(4));
                let now = world.now;
                for viewer in viewers {
                    let client = world.client(viewer);
                    let after = |p: &&&Received| p.at > changed + Duration::from_millis(150);
                    let (pictures, sound) = (video(client), audio(client));
                    let first = pictures.iter().find(after).expect("pictures go on");
                    let waited = first.at - changed;
                    assert!(waited < Duration::from_millis(400), "{waited:?}");
                    let keyframe =
                        |p: &&&Received| p.at > changed && p.stamp.is_some_and(|s| s.keyframe);
                    let key = pictures.iter().find(keyframe);
                    let key = key.expect("a keyframe was asked for");
                    assert!(key.at - changed < Duration::from_secs(1));
                    for (packets, rate) in [(&pictures, 90_000.0), (&sound, 48_000.0)] {
                        continuous(packets, 8);
                        timestamps_follow_time(packets, rate, Duration::from_millis(300));
                        let last = packets.last().expect("packets");
                        assert!(now - last.at < Duration::from_millis(200));
                    }
                }
            }
        }
    });
}

#[test]
fn viewers_hear_of_a_publisher_that_leaves() {
    over_seeds("viewers_hear_of_a_publisher_that_leaves", 3, |seed| {
        let mut world = World::new(seed, 2);
        let publisher = world.publish(0, 1, 1, Plan::default());
        let viewer = world.view(1, 1, ViewTarget::Room);
        world.run(Duration::from_secs(2));
        world.close(publisher);
        world.run(Duration::from_millis(200));
        assert!(world.client(publisher).closed, "close_notify arrived");
        let key = world.keys[viewer.0];
        let told: Vec<bool> = world
            .events
            .iter()
            .filter_map(|(_, event)| match event {
                Event::ViewerActive { key: k } if *k == key => Some(true),
                Event::ViewerInactive {
                    key: k,
                    why: InactiveReason::NoPublisher,
                } if *k == key => Some(false),
                _ => None,
            })
            .collect();
        assert!(told.ends_with(&[true, false]), "{told:?}");
    });
}

#[test]
fn a_silent_publisher_is_given_up_and_a_talking_one_is_not() {
    over_seeds("a_silent_publisher_is_given_up", 3, |seed| {
        let mut world = World::new(seed, 1);
        let silent = world.publish(0, 1, 1, Plan::default());
        let talking = world.publish(0, 1, 2, Plan::default());
        world.run(Duration::from_secs(2));
        world.unplug(silent);
        world.run(Duration::from_secs(29));
        let closed = |world: &World| -> Vec<_> {
            world
                .events
                .iter()
                .filter_map(|(_, e)| match e {
                    Event::Closed { key, reason } => Some((*key, *reason)),
                    _ => None,
                })
                .collect()
        };
        assert!(closed(&world).is_empty());
        world.run(Duration::from_secs(3));
        assert_eq!(
            closed(&world),
            [(world.keys[silent.0], CloseReason::TimedOut)]
        );
        assert!(!world.client(talking).closed);
    });
}
