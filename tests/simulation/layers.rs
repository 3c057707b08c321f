//! Which layers a viewer gets.

use std::time::Duration;

use weir::control::messages::{Event, LayerWish, Refusal, Reply};

use crate::checks::{continuous, led_back, over_seeds, video};
use crate::client::{Plan, Role};
use crate::world::{ALICE, ClientId, World};

fn simulcast() -> Plan {
    Plan {
        layers: vec![
            ("a".into(), (320, 180)),
            ("b".into(), (1280, 720)),
            ("c".into(), (640, 360)),
        ],
        ..Plan::default()
    }
}

fn rid(rid: &str) -> LayerWish {
    LayerWish {
        rid: Some(rid.into()),
        ..LayerWish::default()
    }
}

/// The layers of the packets that came in the last `time`.
fn flowing(world: &mut World, viewer: ClientId, time: Duration) -> Vec<u8> {
    let from = world.now - time;
    let client = world.client(viewer);
    let recent = client.received.iter().filter(|p| p.video && p.at >= from);
    let mut layers: Vec<u8> = recent.filter_map(|p| p.stamp).map(|s| s.layer).collect();
    layers.sort_unstable();
    layers.dedup();
    layers
}

#[test]
fn a_wish_moves_a_viewer_and_an_empty_one_returns_to_automatic() {
    let name = "a_wish_moves_a_viewer_and_an_empty_one_returns_to_automatic";
    over_seeds(name, 3, |seed| {
        let mut world = World::new(seed, 2);
        world.publish(0, 1, 1, simulcast());
        let viewers = [world.view(0, 1, ALICE), world.view(1, 1, ALICE)];
        let other = world.view(0, 1, ALICE);
        world.run(Duration::from_secs(2));
        for viewer in viewers {
            let mid = world.video_slot(viewer).mid;
            for (wish, layer, shown) in [
                (rid("a"), 0, "a"),
                (rid("c"), 2, "c"),
                (LayerWish::default(), 1, "b"),
            ] {
                let told = world.events.len();
                let reply = world.choose(viewer, &mid, wish.clone());
                assert!(matches!(reply, Reply::LayersChosen), "{reply:?}");
                let key = world.keys[viewer.0];
                let news = |e: &Event| matches!(e, Event::LayersChanged { key: k } if *k == key);
                assert!(world.events[told..].iter().any(|(_, e)| news(e)));
                world.run(Duration::from_secs(2));
                let last = Duration::from_millis(500);
                assert_eq!(flowing(&mut world, viewer, last), [layer], "{wish:?}");
                let slot = world.video_slot(viewer);
                assert_eq!(slot.rid.as_deref(), Some(shown));
                assert_eq!(slot.wish, wish);
            }
            continuous(&video(world.client(viewer)), 0);
        }
        let all = Duration::from_secs(30);
        assert_eq!(flowing(&mut world, other, all), [1], "the others stay");
    });
}

#[test]
fn a_wish_for_what_is_not_there_is_refused() {
    let mut world = World::new(1, 1);
    world.publish(0, 1, 1, simulcast());
    let viewer = world.view(0, 1, ALICE);
    world.run(Duration::from_secs(2));
    let mid = world.video_slot(viewer).mid;
    for (mid, wish, refusal) in [
        (&*mid, rid("z"), Refusal::UnknownLayer),
        ("nosuch", rid("a"), Refusal::UnknownMedia),
        ("nosuch", LayerWish::default(), Refusal::UnknownMedia),
    ] {
        match world.choose(viewer, mid, wish) {
            Reply::Refused(why) => assert_eq!(why, refusal),
            other => panic!("{other:?}"),
        }
    }
    let slot = world.video_slot(viewer);
    assert!(slot.wish.is_automatic());
    world.run(Duration::from_secs(1));
    assert_eq!(flowing(&mut world, viewer, Duration::from_millis(500)), [1]);
    world.close(viewer);
    match world.choose(viewer, &mid, rid("a")) {
        Reply::Refused(why) => assert_eq!(why, Refusal::UnknownSession),
        other => panic!("{other:?}"),
    }
}

/// Stops and starts a publisher's simulcast layers.
fn silence(world: &mut World, publisher: ClientId, layers: &[u8]) {
    if let Role::Publisher(publishing) = &mut world.client(publisher).role {
        publishing.silent = layers.to_vec();
    }
}

#[test]
fn a_layer_that_falls_silent_gives_way_at_once_and_is_taken_again_when_it_returns() {
    let name = "a_layer_that_falls_silent_gives_way_at_once_and_is_taken_again_when_it_returns";
    over_seeds(name, 5, |seed| {
        let mut world = World::new(seed, 2);
        let publisher = world.publish(0, 1, 1, simulcast());
        let viewers = [world.view(0, 1, ALICE), world.view(1, 1, ALICE)];
        world.run(Duration::from_secs(2));
        let recently = Duration::from_millis(200);
        for (silent, layer) in [(&[1][..], 2), (&[1, 2], 0), (&[], 1)] {
            silence(&mut world, publisher, silent);
            // Taking a layer may wait for its measurement and its keyframe.
            let within = if silent.is_empty() { 2500 } else { 1000 };
            world.run(Duration::from_millis(within));
            for viewer in viewers {
                assert_eq!(flowing(&mut world, viewer, recently), [layer], "{silent:?}");
            }
            world.run(Duration::from_secs(1));
        }
        for viewer in viewers {
            let video = video(world.client(viewer));
            continuous(&video, 0);
            let gaps = video.windows(2).map(|p| p[1].at - p[0].at);
            let longest = gaps.max().unwrap();
            assert!(longest < Duration::from_millis(700), "{longest:?}");
        }
    });
}

#[test]
fn layers_that_first_come_late_are_taken() {
    over_seeds("layers_that_first_come_late_are_taken", 3, |seed| {
        let mut world = World::new(seed, 2);
        let publisher = world.publish(0, 1, 1, simulcast());
        // As browsers do whose uplink carries the others only later.
        silence(&mut world, publisher, &[1, 2]);
        let viewers = [world.view(0, 1, ALICE), world.view(1, 1, ALICE)];
        world.run(Duration::from_secs(4));
        let recently = Duration::from_millis(200);
        for (silent, layer) in [(&[1, 2][..], 0), (&[1], 2), (&[], 1)] {
            silence(&mut world, publisher, silent);
            world.run(Duration::from_millis(2500));
            for viewer in viewers {
                assert_eq!(flowing(&mut world, viewer, recently), [layer], "{silent:?}");
            }
        }
        for viewer in viewers {
            continuous(&video(world.client(viewer)), 0);
        }
    });
}

#[test]
fn keyframes_are_asked_of_layers_that_somebody_watches() {
    over_seeds(
        "keyframes_are_asked_of_layers_that_somebody_watches",
        3,
        |seed| {
            let mut world = World::new(seed, 1);
            let publisher = world.publish(0, 1, 1, simulcast());
            let viewer = world.view(0, 1, ALICE);
            world.run(Duration::from_secs(2));
            let mid = world.video_slot(viewer).mid;
            world.choose(viewer, &mid, rid("c"));
            world.run(Duration::from_secs(2));
            world.client(publisher).asked_for.clear();
            // So much is lost of every layer that only keyframes help.
            world.up[publisher.0].conditions.loss = 1.0;
            world.run(Duration::from_secs(3));
            world.up[publisher.0].conditions.loss = 0.0;
            world.run(Duration::from_secs(2));
            let asked = &world.client(publisher).asked_for;
            assert!(asked.iter().any(|rid| rid == "c"), "{asked:?}");
            assert!(asked.iter().all(|rid| rid == "c"), "{asked:?}");
            assert_eq!(flowing(&mut world, viewer, Duration::from_millis(300)), [2]);
        },
    );
}

/// Switches to and fro between two layers, at moments that have nothing to do with keyframes. Returns how long
/// each took.
fn to_and_fro(world: &mut World, viewer: ClientId, times: usize) -> Vec<Duration> {
    let mid = world.video_slot(viewer).mid;
    let recently = Duration::from_millis(40);
    let mut took = Vec::new();
    for at in 0..times {
        let layer = (at % 2) as u8;
        world.choose(viewer, &mid, rid(["a", "b"][at % 2]));
        let asked = world.now;
        while flowing(world, viewer, recently) != [layer] {
            world.run(Duration::from_millis(20));
            assert!(world.now < asked + Duration::from_secs(12), "switch {at}");
        }
        took.push(world.now - asked);
        world.run(Duration::from_millis(300 + 170 * (at as u64 % 9)));
    }
    took
}

/// A kept keyframe is no way to switch to what is live: its pictures were seen already, in another layer.
#[test]
fn a_switch_shows_nobody_again_what_he_has_seen() {
    over_seeds("a_switch_shows_nobody_again_what_he_has_seen", 4, |seed| {
        for (reacts, limit, switches) in [(true, 1700, 20), (false, 5500, 6)] {
            let mut world = World::new(seed, 2);
            let plan = Plan {
                gop: 150,
                reacts,
                packets_per_frame: 1,
                ..simulcast()
            };
            world.publish(0, 1, 1, plan);
            let viewers = [world.view(0, 1, ALICE), world.view(1, 1, ALICE)];
            world.run(Duration::from_secs(6));
            for viewer in viewers {
                for took in to_and_fro(&mut world, viewer, switches) {
                    assert!(took < Duration::from_millis(limit), "{took:?}");
                }
                let frames = video(world.client(viewer));
                continuous(&frames, 0);
                let back = led_back(&frames);
                assert!(back <= 2, "{back} pictures back, reacts: {reacts}");
            }
        }
    });
}

/// Nor is it a way to recover, where the publisher makes another one.
#[test]
fn who_asks_for_a_keyframe_is_not_led_back() {
    over_seeds("who_asks_for_a_keyframe_is_not_led_back", 4, |seed| {
        let mut world = World::new(seed, 1);
        let plan = Plan {
            packets_per_frame: 1,
            ..Plan::default()
        };
        world.publish(0, 1, 1, plan);
        let viewer = world.view(0, 1, ALICE);
        world.run(Duration::from_secs(3));
        for wait in 0..8 {
            world.client(viewer).request_keyframe();
            let asked = world.now;
            world.run(Duration::from_millis(3300 + 170 * wait));
            let keyframes = video(world.client(viewer));
            let mut keyframes = keyframes
                .iter()
                .filter(|p| p.stamp.is_some_and(|s| s.keyframe));
            let helped =
                keyframes.any(|p| p.at > asked && p.at < asked + Duration::from_millis(400));
            assert!(helped, "after {wait} requests");
        }
        let frames = video(world.client(viewer));
        continuous(&frames, 0);
        assert_eq!(led_back(&frames), 0, "pictures back");
    });
}
