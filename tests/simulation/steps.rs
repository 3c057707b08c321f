//! A viewer with three layers to choose from on a path whose capacity steps
//! from 4 to 0.8 and back to 4 Mb/s: what estimate, layers and probes make of it.

use std::time::{Duration, Instant};

use weir::control::messages::ViewTarget;
use weir::units::ParticipantId;

use crate::checks::{audio, over_seeds, video};
use crate::client::{Plan, Received};
use crate::link::Conditions;
use crate::world::{ClientId, World};

const ALICE: ViewTarget = ViewTarget::Participant(ParticipantId(1));

const SECOND: Duration = Duration::from_secs(1);

/// Packets a frame of the layers: 0.26, 0.53 and 2.6 Mb/s of payload.
const PACKETS: [u16; 3] = [1, 2, 10];

fn layered() -> Plan {
    Plan {
        layers: vec![
            ("q".into(), (320, 180)),
            ("h".into(), (640, 360)),
            ("f".into(), (1280, 720)),
        ],
        layer_packets: PACKETS.to_vec(),
        ..Plan::default()
    }
}

fn capacity(world: &mut World, viewer: ClientId, rate: u64) {
    world.down[viewer.0].conditions = Conditions {
        rate: Some(rate),
        ..Conditions::default()
    };
}

/// Runs for some seconds and notes how long a datagram would wait, in ms.
fn run(world: &mut World, viewer: ClientId, seconds: u32, waits: &mut Vec<u128>) {
    for _ in 0..seconds * 50 {
        world.run(Duration::from_millis(20));
        waits.push(world.down[viewer.0].waiting(world.now).as_millis());
    }
}

/// Frames that came from a time on, by layer.
fn frames(packets: &[&Received], from: Instant, to: Instant) -> [usize; 3] {
    let mut counts = [0; 3];
    for packet in packets {
        if (from..to).contains(&packet.at)
            && let Some(stamp) = packet.stamp.filter(|s| s.index + 1 == s.count)
        {
            counts[usize::from(stamp.layer)] += 1;
        }
    }
    counts
}

/// How often the layer changed.
fn switches(packets: &[&Received], from: Instant, to: Instant) -> usize {
    let mut sorted: Vec<&&Received> = packets.iter().collect();
    sorted.sort_by_key(|p| p.seq);
    let layers: Vec<u8> = sorted
        .iter()
        .filter(|p| (from..to).contains(&p.at))
        .filter_map(|p| p.stamp.map(|s| s.layer))
        .collect();
    layers.windows(2).filter(|pair| pair[0] != pair[1]).count()
}

#[test]
fn layers_follow_the_steps_of_a_viewers_path() {
    println!("seed | use 4 | use .8 | use 4 | back in s | queue p95 ms | audio lost | switches");
    over_seeds("layers_follow_the_steps_of_a_viewers_path", 5, |seed| {
        let mut world = World::new(seed, 1);
        world.publish(0, 1, 1, layered());
        world.run(3 * SECOND);
        let viewer = world.view(0, 1, ALICE);
        let mut waits = Vec::new();
        capacity(&mut world, viewer, 4_000_000);
        let begin = world.now;
        run(&mut world, viewer, 25, &mut waits);
        let down = world.now;
        capacity(&mut world, viewer, 800_000);
        run(&mut world, viewer, 25, &mut waits);
        let up = world.now;
        capacity(&mut world, viewer, 4_000_000);
        run(&mut world, viewer, 25, &mut waits);
        let end = world.now;

        let client = world.client(viewer);
        let packets = video(client);
        // The best layer set: the top one at 4 Mb/s, the middle one at 0.8.
        let share = |from: Instant, to: Instant, best: usize| {
            let counts = frames(&packets, from, to);
            let rate = |layer: usize| f64::from(PACKETS[layer]);
            let got: f64 = (0..=best).map(|l| counts[l] as f64 * rate(l)).sum();
            got / ((to - from).as_secs_f64() * 30.0 * rate(best))
        };
        let first = share(begin + 5 * SECOND, down, 2);
        let narrow = share(down + 5 * SECOND, up, 1);
        let back = packets
            .iter()
            .find(|p| p.at > up && p.stamp.is_some_and(|s| s.layer == 2))
            .map_or(f64::MAX, |p| (p.at - up).as_secs_f64());
        let last = share(up + 8 * SECOND, end, 2);
        let steady: Vec<usize> = [begin, down, up]
            .map(|from| switches(&packets, from + 10 * SECOND, from + 25 * SECOND))
            .to_vec();
        waits.sort_unstable();
        let p95 = waits[waits.len() * 95 / 100];
        let sound = audio(client);
        let numbers: Vec<u32> = sound.iter().filter_map(|p| p.audio_number).collect();
        let sent = numbers.iter().max().unwrap() - numbers.iter().min().unwrap() + 1;
        let lost = 1.0 - numbers.len() as f64 / f64::from(sent);
        println!(
            "{seed:4} | {first:5.2} | {narrow:6.2} | {last:5.2} | {back:9.1} | {p95:12} | {lost:10.4} | {steady:?}"
        );
        // By bytes; the narrow time alone has few of them, and a wait for the middle layer.
        let weights = [20.0 * 10.0, 20.0 * 2.0, 17.0 * 10.0];
        let all = weights[0] * first + weights[1] * narrow + weights[2] * last;
        let all = all / weights.iter().sum::<f64>();
        assert!(all >= 0.85, "{all} of what the best layers are");
        for share in [first, narrow, last] {
            assert!(
                share >= 0.65,
                "{share} of the best layer: {first} {narrow} {last}"
            );
        }
        assert!(back <= 6.5, "{back} s to the top layer");
        assert!(p95 < 150, "{p95} ms in the queue");
        assert!(lost < 0.005, "{lost} of audio");
        assert!(
            steady.iter().all(|s| *s <= 2),
            "{steady:?} switches in 15 s"
        );
    });
}
