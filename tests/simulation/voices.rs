//! Voices that change places quickly: no packet of a microphone reaches a
//! viewer twice, under whatever number.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use weir::control::messages::ViewTarget;

use crate::checks::{audio, over_seeds};
use crate::client::Plan;
use crate::world::{ClientId, World};

/// Publishers of a room, over its workers.
const PEOPLE: u8 = 6;

/// Words of 160 to 500 ms that interrupt each other: somebody begins, somebody
/// else throws in a word, and the first one goes on.
fn quarrel(rng: &mut StdRng, from: Instant, to: Instant) -> Vec<Vec<(Instant, Instant, i8)>> {
    let mut speech = vec![Vec::new(); usize::from(PEOPLE)];
    let millis = |n: u64| Duration::from_millis(n);
    for (who, speech) in speech.iter_mut().enumerate() {
        let mut at = from + millis(rng.random_range(0..600) + 100 * who as u64);
        while at < to {
            let end = at + millis(rng.random_range(160..500));
            speech.push((at, end, rng.random_range(-50..-15)));
            at = end + millis(rng.random_range(160..900));
        }
    }
    speech
}

#[test]
fn no_packet_of_a_microphone_reaches_a_viewer_twice() {
    over_seeds("no_packet_of_a_microphone", 6, |seed| {
        let mut rng = StdRng::seed_from_u64(seed);
        let workers = if seed % 3 == 0 { 1 } else { 3 };
        let mut world = World::new(seed, workers);
        let start = world.now + Duration::from_millis(2000);
        let end = start + Duration::from_secs(20);
        for (index, speech) in (0u8..).zip(quarrel(&mut rng, start, end)) {
            let plan = Plan {
                tag: index + 1,
                packets_per_frame: 1,
                speech: Some(speech),
                ..Plan::default()
            };
            world.publish(index % workers, 1, u64::from(index) + 1, plan);
        }
        world.run(Duration::from_millis(1000));
        let viewers: Vec<ClientId> = (0..workers)
            .flat_map(|worker| {
                [
                    world.view(worker, 1, ViewTarget::Room),
                    world.view_room(worker, 1, None, (2, 1)),
                    world.view_room(worker, 1, Some("p1"), (3, 2)),
                ]
            })
            .collect();
        world.run(end - world.now);
        for viewer in viewers {
            let client = &world.clients[viewer.0];
            let mut heard: BTreeMap<(u8, u32), usize> = BTreeMap::new();
            for packet in audio(client) {
                let number = packet.audio_number.expect("a number");
                *heard
                    .entry((packet.from.expect("a tag"), number))
                    .or_default() += 1;
            }
            assert!(heard.len() > 500, "{} packets heard", heard.len());
            let twice: Vec<_> = heard.iter().filter(|(_, times)| **times > 1).collect();
            assert!(twice.is_empty(), "{viewer:?} got twice: {twice:?}");
            let repeats = world.nonces.repeats(client.address);
            assert_eq!(repeats, 0, "datagrams to {viewer:?} that were sent twice");
        }
    });
}
