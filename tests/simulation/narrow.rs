//! Paths that do not carry everything: who gets what there is, and what viewers
//! say who know other feedback than transport-wide numbers.

use std::time::{Duration, Instant};

use weir::control::messages::{Event, InactiveReason};

use crate::checks::{audio, continuous, over_seeds, video};
use crate::client::{Plan, Received};
use crate::link::Conditions;
use crate::world::{ALICE, ClientId, World};

const SECOND: Duration = Duration::from_secs(1);

/// Layers of 0.28, 0.56 and 1.7 Mb/s on the wire.
fn layered() -> Plan {
    Plan::layered([1, 2, 6])
}

fn limit(world: &mut World, viewer: ClientId, rate: Option<u64>) {
    world.down[viewer.0].conditions = Conditions {
        rate,
        ..Conditions::default()
    };
}

/// The share of pictures since `from` that were of each layer.
fn shares(packets: &[&Received], from: Instant) -> [f64; 3] {
    let mut counts = [0; 3];
    for stamp in packets
        .iter()
        .filter(|p| p.at >= from)
        .filter_map(|p| p.stamp.filter(|s| s.index == 0))
    {
        counts[usize::from(stamp.layer)] += 1;
    }
    let all = counts.iter().sum::<usize>().max(1) as f64;
    counts.map(|n| n as f64 / all)
}

/// What a viewer was told of its pictures, the newest last: `Ok` is that they flow.
fn told(world: &World, viewer: ClientId) -> Vec<Result<(), InactiveReason>> {
    let its = world.keys[viewer.0];
    let events = world.events.iter();
    events
        .filter_map(|(_, event)| match event {
            Event::ViewerActive { key } if *key == its => Some(Ok(())),
            Event::ViewerInactive { key, why } if *key == its => Some(Err(*why)),
            _ => None,
        })
        .collect()
}

#[test]
fn pictures_stop_with_a_word_where_only_sound_fits_and_come_again() {
    over_seeds("pictures_stop_with_a_word", 3, |seed| {
        let mut world = World::new(seed, 1);
        world.publish(0, 1, 1, layered());
        let viewer = world.view(0, 1, ALICE);
        limit(&mut world, viewer, Some(3_000_000));
        world.run(8 * SECOND);
        assert_eq!(told(&world, viewer).last(), Some(&Ok(())));

        limit(&mut world, viewer, Some(105_000));
        let limited = world.now;
        world.run(8 * SECOND);
        let paused = world.now;
        world.run(8 * SECOND);
        let told_now = told(&world, viewer);
        assert!(
            told_now.contains(&Err(InactiveReason::Bandwidth)),
            "{told_now:?}"
        );
        let client = world.client(viewer);
        let sound = audio(client);
        let heard = sound.iter().filter(|p| p.at >= paused).count();
        assert!(heard >= 340, "{heard} of 400 packets of sound");
        // Now and then the path is tried; that is not a flicker.
        let tries = world
            .events
            .iter()
            .filter(|(at, event)| *at > limited && matches!(event, Event::ViewerActive { .. }));
        let tries = tries.count();
        assert!(tries <= 2, "pictures came {tries} times in 16 s");

        limit(&mut world, viewer, Some(3_000_000));
        world.run(12 * SECOND);
        let back = world.now;
        world.run(2 * SECOND);
        assert_eq!(told(&world, viewer).last(), Some(&Ok(())));
        let pictures = video(world.client(viewer));
        let shares = shares(&pictures, back);
        assert!(shares[2] > 0.9, "{shares:?} at the end");
        let latest: Vec<&Received> = pictures.into_iter().filter(|p| p.at >= back).collect();
        continuous(&latest, 0);
    });
}

#[test]
fn pictures_that_hardly_fit_stay_live_beside_good_sound() {
    over_seeds("pictures_that_hardly_fit_stay_live", 3, |seed| {
        let mut world = World::new(seed, 1);
        // 0.28 Mb/s in one layer, and a keyframe for whoever asks.
        let plan = Plan {
            packets_per_frame: 1,
            keyframe_packets: 3,
            gop: 1_000_000,
            ..Plan::default()
        };
        let publisher = world.publish(0, 1, 1, plan);
        let viewer = world.view(0, 1, ALICE);
        limit(&mut world, viewer, Some(3_000_000));
        world.run(8 * SECOND);
        let asked = world.client(publisher).keyframe_requests;
        limit(&mut world, viewer, Some(250_000));
        world.run(5 * SECOND);
        let from = world.now;
        world.run(30 * SECOND);
        let asked = world.client(publisher).keyframe_requests - asked;
        assert!((3..=12).contains(&asked), "{asked} keyframes in 35 s");

        let begun = world.client(publisher).connected.expect("connected");
        let client = world.client(viewer);
        let pictures = video(client);
        let pictures = pictures.iter().filter(|p| p.at >= from);
        let ages = pictures.map(|p| {
            let made = begun + SECOND * (p.stamp.expect("a stamp").frame - 1) / 30;
            p.at.saturating_duration_since(made)
        });
        let ages: Vec<Duration> = ages.collect();
        assert!(ages.len() > 400, "{} pictures in 30 s", ages.len());
        let oldest = ages.iter().max().expect("pictures");
        assert!(*oldest < 3 * SECOND, "a picture is {oldest:?} old");
        let heard = audio(client).iter().filter(|p| p.at >= from).count();
        assert!(heard >= 1480, "{heard} of 1500 packets of sound");
    });
}

#[test]
fn who_speaks_has_the_better_picture() {
    over_seeds("who_speaks_has_the_better_picture", 3, |seed| {
        let mut world = World::new(seed, 1);
        let start = world.now;
        let spoken = |from: u64, to: u64| {
            let at = |s: u64| start + Duration::from_secs(s);
            Some(vec![(at(from), at(to), -25)])
        };
        for (tag, speech) in [(1, spoken(2, 18)), (2, spoken(18, 40))] {
            let plan = Plan {
                tag,
                speech,
                ..layered()
            };
            world.publish(0, 1, u64::from(tag), plan);
        }
        world.run(SECOND);
        let viewer = world.view_room(0, 1, None, (2, 2));
        // Two of the middle layer, or one of the largest and one of the smallest.
        limit(&mut world, viewer, Some(2_700_000));
        for (until, speaker) in [(17, 1), (36, 2)] {
            world.run(start + Duration::from_secs(until - 4) - world.now);
            let from = world.now;
            world.run(4 * SECOND);
            let packets = video(world.client(viewer));
            for who in [1, 2] {
                let his: Vec<&Received> = packets
                    .iter()
                    .filter(|p| p.from == Some(who))
                    .copied()
                    .collect();
                let shares = shares(&his, from);
                let best = shares[2] > 0.9;
                assert_eq!(
                    best,
                    who == speaker,
                    "{who} while {speaker} speaks: {shares:?}"
                );
            }
        }
    });
}

#[test]
fn layers_follow_what_a_viewer_says_by_remb() {
    over_seeds("layers_follow_what_a_viewer_says_by_remb", 3, |seed| {
        let mut world = World::new(seed, 1);
        world.publish(0, 1, 1, layered());
        world.unsaid = Some("transport");
        let viewer = world.view(0, 1, ALICE);
        for (rate, layer) in [(4_000_000, 2), (900_000, 1), (450_000, 0), (4_000_000, 2)] {
            for _ in 0..10 {
                world.client(viewer).tell_remb(rate);
                world.run(SECOND);
            }
            let from = world.now;
            world.client(viewer).tell_remb(rate);
            world.run(2 * SECOND);
            let packets = video(world.client(viewer));
            assert!(packets.iter().all(|p| p.transport.is_none()));
            let shares = shares(&packets, from);
            assert!(shares[layer] > 0.9, "{shares:?} at {rate}");
            continuous(&packets, 0);
        }
    });
}

#[test]
fn layers_follow_receiver_reports_where_there_is_nothing_else() {
    over_seeds("layers_follow_receiver_reports", 3, |seed| {
        let mut world = World::new(seed, 1);
        world.publish(0, 1, 1, layered());
        world.unsaid = Some("transport");
        let viewer = world.view(0, 1, ALICE);
        world.run(20 * SECOND);
        let from = world.now;
        world.run(2 * SECOND);
        let wide = shares(&video(world.client(viewer)), from);
        assert!(wide[2] > 0.9, "{wide:?} on a path without limit");

        limit(&mut world, viewer, Some(900_000));
        world.run(20 * SECOND);
        let from = world.now;
        world.run(10 * SECOND);
        let narrow = shares(&video(world.client(viewer)), from);
        assert!(narrow[2] < 0.1, "{narrow:?} of 0.9 Mb/s");
        let sound = audio(world.client(viewer));
        let heard = sound.iter().filter(|p| p.at >= from).count();
        assert!(heard >= 475, "{heard} of 500 packets of sound");
    });
}
