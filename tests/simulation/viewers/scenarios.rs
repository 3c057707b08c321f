//! The scenarios: one run each gives a viewer's figures for one seed.

use std::time::{Duration, Instant};

use weir::control::messages::ViewTarget;
use weir::units::ParticipantId;

use super::conference;
use super::paths::{
    PACKETS, SECOND, estimate, frames, moved, p95, path, run, sound_took, switches,
};
use crate::checks::{audio, audio_lost, longest_freeze, shown, video};
use crate::client::Plan;
use crate::link::Conditions;
use crate::world::{ALICE, World};

/// What is asked of a figure, whatever the seed.
#[derive(Debug, Clone, Copy)]
pub enum Limit {
    AtLeast(f64),
    AtMost(f64),
    /// Of the mean.
    Mean(f64, f64),
}

/// A figure of a scenario.
#[derive(Debug)]
pub struct Figure {
    pub what: &'static str,
    pub limit: Limit,
    /// Its mean may be worse than in the baseline by this.
    pub slack: f64,
}

pub struct Scenario {
    pub name: &'static str,
    pub seeds: u64,
    pub figures: &'static [Figure],
    pub run: fn(u64) -> Vec<f64>,
}

const fn figure(what: &'static str, limit: Limit, slack: f64) -> Figure {
    Figure { what, limit, slack }
}

/// Of viewers that join over a narrow path, with a keyframe every 2 or 10 s.
const JOINING: &[Figure] = &[
    figure("first picture, ms", Limit::AtMost(400.0), 50.0),
    figure("longest freeze, ms", Limit::AtMost(2000.0), 200.0),
    figure("audio lost", Limit::AtMost(0.03), 0.005),
];
const JOINING_RARE: &[Figure] = &[
    figure("first picture, ms", Limit::AtMost(400.0), 50.0),
    figure("longest freeze, ms", Limit::AtMost(8000.0), 700.0),
    figure("audio lost", Limit::AtMost(0.04), 0.005),
];

/// Of viewers whose path narrows until it carries the lowest layer or nothing but sound.
const BARELY: &[Figure] = &[
    figure("audio lost", Limit::AtMost(0.02), 0.003),
    figure("sound p95, ms", Limit::AtMost(250.0), 20.0),
    figure("sound p95 from 5 s on, ms", Limit::AtMost(250.0), 20.0),
    figure("pictures a second", Limit::AtLeast(0.0), 3.0),
];

/// Of viewers that join a conference of ten: where the path has room for all nine pictures, for
/// all of them in the lowest layer, and for some.
const NINE_PICTURES: &[Figure] = &[
    figure("first picture, ms", Limit::AtMost(40.0), 5.0),
    figure("last picture, ms", Limit::AtMost(200.0), 20.0),
    figure("audio lost", Limit::AtMost(0.0), 0.0),
    figure("sound p95, ms", Limit::AtMost(70.0), 10.0),
    figure("keyframe requests", Limit::AtMost(9.0), 1.5),
    figure("all live, ms", Limit::AtMost(600.0), 60.0),
];
const NINE_AT_8: &[Figure] = &[
    figure("first picture, ms", Limit::AtMost(60.0), 10.0),
    figure("last picture, ms", Limit::AtMost(400.0), 40.0),
    figure("audio lost", Limit::AtMost(0.01), 0.003),
    figure("sound p95, ms", Limit::AtMost(400.0), 30.0),
    // Nobody is led back to a kept keyframe: each of two steps up takes one, and so do those that are taken again.
    figure("keyframe requests", Limit::AtMost(27.0), 4.0),
];
const NINE_NARROW: &[Figure] = &[
    figure("first picture, ms", Limit::AtMost(300.0), 30.0),
    figure("last picture, ms", Limit::AtMost(8000.0), 800.0),
    figure("audio lost", Limit::AtMost(0.02), 0.004),
    figure("sound p95, ms", Limit::AtMost(400.0), 30.0),
    figure("keyframe requests", Limit::AtMost(20.0), 4.0),
];

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "steps 4, 0.8, 4 Mb/s",
        seeds: 15,
        figures: &[
            figure("use at 4", Limit::AtLeast(0.85), 0.03),
            figure("use at 0.8", Limit::AtLeast(0.85), 0.03),
            figure("use at 4 again", Limit::AtLeast(0.85), 0.03),
            figure("back at the top, s", Limit::AtMost(6.5), 1.0),
            figure("queue p95, ms", Limit::AtMost(150.0), 10.0),
            figure("audio lost", Limit::AtMost(0.005), 0.001),
            figure("switches in 10 s", Limit::AtMost(1.0), 0.5),
        ],
        run: steps,
    },
    Scenario {
        name: "2 % lost by the publisher",
        seeds: 5,
        figures: &[figure("estimates moved", Limit::AtMost(0.05), 0.02)],
        run: lossy_publisher,
    },
    Scenario {
        name: "5 % lost to the viewer",
        seeds: 12,
        figures: &[
            figure("longest freeze, ms", Limit::AtMost(300.0), 40.0),
            figure("shown", Limit::AtLeast(0.99), 0.005),
        ],
        run: lossy_viewer,
    },
    Scenario {
        name: "a neighbour at 0.6 Mb/s",
        seeds: 5,
        figures: &[
            figure("estimate moved", Limit::AtMost(0.05), 0.02),
            figure("longest freeze, ms", Limit::AtMost(100.0), 20.0),
            figure("use at no limit", Limit::AtLeast(0.99), 0.01),
            figure("the neighbour's use", Limit::AtLeast(0.85), 0.05),
        ],
        run: neighbours,
    },
    Scenario {
        name: "two on one path of 3 Mb/s",
        seeds: 7,
        figures: &[
            figure("share of the first", Limit::Mean(0.3, 0.7), 0.15),
            // One step of three layers is a third of the path.
            figure("share of the lesser", Limit::AtLeast(0.2), 0.1),
            figure("queue p95, ms", Limit::AtMost(150.0), 15.0),
        ],
        run: shared,
    },
    Scenario {
        name: "a joiner at 1 Mb/s",
        seeds: 10,
        figures: JOINING,
        run: |seed| narrow_joiner(seed, 2),
    },
    Scenario {
        name: "the same, rare keyframes",
        seeds: 10,
        figures: JOINING_RARE,
        run: |seed| narrow_joiner(seed, 10),
    },
    Scenario {
        name: "4, then 0.35 Mb/s",
        seeds: 10,
        figures: BARELY,
        run: |seed| barely(seed, 350_000),
    },
    Scenario {
        name: "4, then 0.25 Mb/s",
        seeds: 10,
        figures: BARELY,
        run: |seed| barely(seed, 250_000),
    },
    Scenario {
        name: "4, then 0.15 Mb/s",
        seeds: 10,
        figures: BARELY,
        run: |seed| barely(seed, 150_000),
    },
    Scenario {
        name: "nine pictures, no limit",
        seeds: 8,
        figures: NINE_PICTURES,
        run: |seed| conference::join(seed, None, false),
    },
    Scenario {
        name: "nine of three layers, no limit",
        seeds: 8,
        figures: NINE_PICTURES,
        run: |seed| conference::join(seed, None, true),
    },
    Scenario {
        name: "nine of three layers, 8 Mb/s",
        seeds: 8,
        figures: NINE_AT_8,
        run: |seed| conference::join(seed, Some(8_000_000), true),
    },
    Scenario {
        name: "nine of three layers, 3 Mb/s",
        seeds: 8,
        figures: NINE_NARROW,
        run: |seed| conference::join(seed, Some(3_000_000), true),
    },
    Scenario {
        name: "nine pictures, 1 Mb/s",
        seeds: 8,
        figures: NINE_NARROW,
        run: |seed| conference::join(seed, Some(1_000_000), false),
    },
    Scenario {
        name: "nine of three layers, 1 Mb/s",
        seeds: 8,
        figures: NINE_NARROW,
        run: |seed| conference::join(seed, Some(1_000_000), true),
    },
];

/// A viewer with three layers to choose from.
fn steps(seed: u64) -> Vec<f64> {
    let mut world = World::new(seed, 1);
    world.publish(0, 1, 1, Plan::layered(PACKETS));
    world.run(3 * SECOND);
    let viewer = world.view(0, 1, ALICE);
    let mut waits = Vec::new();
    world.down[viewer.0].conditions = path(seed, Some(4_000_000));
    let begin = world.now;
    run(&mut world, viewer, 25, &mut waits);
    let down = world.now;
    world.down[viewer.0].conditions = path(seed, Some(800_000));
    run(&mut world, viewer, 25, &mut waits);
    let up = world.now;
    world.down[viewer.0].conditions = path(seed, Some(4_000_000));
    run(&mut world, viewer, 25, &mut waits);
    let end = world.now;

    let client = world.client(viewer);
    let packets = video(client);
    // The best layer set: the top one at 4 Mb/s, the middle one at 0.8.
    let used = |from: Instant, to: Instant, best: usize| {
        let counts = frames(&packets, from, to);
        let rate = |layer: usize| f64::from(PACKETS[layer]);
        let got: f64 = (0..=best).map(|l| counts[l] as f64 * rate(l)).sum();
        got / ((to - from).as_secs_f64() * 30.0 * rate(best))
    };
    let back = packets
        .iter()
        .find(|p| p.at > up && p.stamp.is_some_and(|s| s.layer == 2))
        .map_or(f64::MAX, |p| (p.at - up).as_secs_f64());
    let steady = [begin, down, up].map(|from| from + 10 * SECOND);
    let steady = steady.map(|from| switches(&packets, from, from + 15 * SECOND));
    vec![
        used(begin + 5 * SECOND, down, 2),
        used(down + 5 * SECOND, up, 1),
        used(up + 8 * SECOND, end, 2),
        back,
        p95(waits),
        audio_lost(client),
        steady.into_iter().fold(0.0, f64::max),
    ]
}

/// Losses on one publisher's uplink are nobody else's.
fn lossy_publisher(seed: u64) -> Vec<f64> {
    let mut world = World::new(seed, 1);
    let publisher = world.publish(0, 1, 1, Plan::default());
    let viewers = [0, 1].map(|_| world.view(0, 1, ALICE));
    world.down[viewers[1].0].conditions = path(seed, Some(3_000_000));
    world.run(15 * SECOND);
    let before = viewers.map(|v| estimate(&mut world, v));
    world.up[publisher.0].conditions.loss = 0.02;
    vec![moved(&mut world, viewers, before)]
}

/// Repairs keep the pictures coming.
fn lossy_viewer(seed: u64) -> Vec<f64> {
    let mut world = World::new(seed, 1);
    world.publish(0, 1, 1, Plan::default());
    let viewer = world.view(0, 1, ALICE);
    let delay = Duration::from_millis([10, 20, 35][seed as usize % 3]);
    world.down[viewer.0].conditions.delay = delay;
    world.up[viewer.0].conditions.delay = delay;
    world.run(2 * SECOND);
    world.down[viewer.0].conditions.loss = 0.05;
    let from = world.now;
    world.run(30 * SECOND);
    let to = world.now;
    world.run(SECOND);
    let packets = video(world.client(viewer));
    let freeze = longest_freeze(&packets, from, to);
    let shown = shown(&packets)
        .iter()
        .filter(|t| (from..to).contains(*t))
        .count();
    vec![freeze.as_secs_f64() * 1000.0, shown as f64 / 900.0]
}

/// A good path beside a poor one.
fn neighbours(seed: u64) -> Vec<f64> {
    let mut world = World::new(seed, 1);
    world.publish(0, 1, 1, Plan::layered(PACKETS));
    world.run(3 * SECOND);
    let [good, poor] = [0, 1].map(|_| world.view(0, 1, ALICE));
    world.run(12 * SECOND);
    let before = estimate(&mut world, good);
    world.down[poor.0].conditions = Conditions {
        loss: 0.01,
        ..path(seed, Some(600_000))
    };
    let from = world.now;
    let moved = moved(&mut world, [good], [before]);
    let to = world.now;
    let packets = video(world.client(good));
    let freeze = longest_freeze(&packets, from, to).as_secs_f64() * 1000.0;
    let used = frames(&packets, from, to)[2] as f64 / 600.0;
    // It can have the lowest one.
    let poors = frames(&video(world.client(poor)), from + 5 * SECOND, to);
    let poors = poors.iter().sum::<usize>() as f64 / 450.0;
    vec![moved, freeze, used, poors]
}

/// Two viewers, each of another publisher, behind one link.
fn shared(seed: u64) -> Vec<f64> {
    let mut world = World::new(seed, 1);
    // 0.26, 1.05 and 2.6 Mb/s: both can have the middle one.
    for participant in [1, 2] {
        world.publish(0, 1, participant, Plan::layered([1, 4, 10]));
    }
    world.run(3 * SECOND);
    let first = world.view(0, 1, ALICE);
    world.down[first.0].conditions = path(seed, Some(3_000_000));
    world.run(SECOND * (seed % 4) as u32 * 3);
    let second = world.view(0, 1, ViewTarget::Participant(ParticipantId(2)));
    world.share_link(second, first);
    world.run(20 * SECOND);
    let from = world.now;
    let mut waits = Vec::new();
    run(&mut world, first, 100, &mut waits);
    let bytes = [first, second].map(|viewer| {
        let got = &world.client(viewer).received;
        got.iter().filter(|p| p.video && p.at >= from).count() as f64
    });
    let share = bytes[0] / (bytes[0] + bytes[1]);
    vec![share, share.min(1.0 - share), p95(waits)]
}

/// A viewer whose path narrows: how long its sound takes, and how many pictures come beside it.
fn barely(seed: u64, rate: u64) -> Vec<f64> {
    let mut world = World::new(seed, 1);
    let publisher = world.publish(0, 1, 1, Plan::layered(PACKETS));
    world.run(3 * SECOND);
    let viewer = world.view(0, 1, ALICE);
    world.down[viewer.0].conditions = path(seed, Some(4_000_000));
    world.run(10 * SECOND);
    let from = world.now;
    world.down[viewer.0].conditions = path(seed, Some(rate));
    world.run(30 * SECOND);
    let begun = world.clients[publisher.0].connected.expect("connected");
    let client = world.client(viewer);
    let delays = |since: Instant| {
        let heard = audio(client);
        let heard = heard.iter().filter(|p| p.at >= since);
        p95(heard.map(|p| sound_took(p, begun).1).collect())
    };
    let pictures = shown(&video(client))
        .iter()
        .filter(|at| **at >= from)
        .count();
    vec![
        audio_lost(client),
        delays(from),
        delays(from + 5 * SECOND),
        pictures as f64 / 30.0,
    ]
}

/// A viewer that joins over a narrow path, in the middle of a segment of so many seconds.
fn narrow_joiner(seed: u64, keyframes: u32) -> Vec<f64> {
    let mut world = World::new(seed, 1);
    let plan = Plan {
        gop: keyframes * 30,
        reacts: false,
        ..Plan::layered(PACKETS)
    };
    world.publish(0, 1, 1, plan);
    let since = u64::from(keyframes) * 1000 * seed / 11;
    world.run(12 * SECOND + Duration::from_millis(since));
    world.links = path(seed, Some(1_000_000));
    let viewer = world.view(0, 1, ALICE);
    let mut pictures = (0, world.now);
    for _ in 0..75 {
        world.run(SECOND / 5);
        // As browsers do, it asks for a keyframe when nothing can be decoded.
        let now = world.now;
        let client = world.client(viewer);
        let count = shown(&video(client)).len();
        if count > pictures.0 {
            pictures = (count, now);
        } else if now - pictures.1 > SECOND {
            client.request_keyframe();
        }
    }
    let end = world.now;
    let client = world.client(viewer);
    let connected = client.connected.expect("connected");
    let packets = video(client);
    let first = shown(&packets).first().copied().unwrap_or(end);
    let freeze = longest_freeze(&packets, first, end);
    vec![
        (first - connected).as_secs_f64() * 1000.0,
        freeze.as_secs_f64() * 1000.0,
        audio_lost(client),
    ]
}
