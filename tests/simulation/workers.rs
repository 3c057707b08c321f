//! Several workers are as one, and nothing is left when all have gone.

use std::time::Duration;

use weir::control::messages::ViewTarget;
use weir::units::ParticipantId;
use weir::worker::Held;

use crate::checks::{audio, continuous, longest_freeze, over_seeds, video};
use crate::client::Plan;
use crate::world::{ALICE, ClientId, World};

/// One publisher, six viewers spread over the workers; what each viewer saw.
fn call(seed: u64, workers: u8) -> Vec<(Vec<u32>, usize)> {
    let mut world = World::new(seed, workers);
    world.publish(0, 1, 1, Plan::default());
    let viewers: Vec<ClientId> = (0..6u8)
        .map(|i| world.view(i % workers, 1, ALICE))
        .collect();
    world.run(Duration::from_secs(5));
    viewers
        .into_iter()
        .map(|viewer| {
            let client = world.client(viewer);
            let video = video(client);
            continuous(&video, 0);
            continuous(&audio(client), 0);
            (crate::checks::complete_frames(&video), audio(client).len())
        })
        .collect()
}

#[test]
fn four_workers_give_what_one_gives() {
    over_seeds("four_workers_give_what_one_gives", 3, |seed| {
        let (one, four) = (call(seed, 1), call(seed, 4));
        for (alone, spread) in one.iter().zip(&four) {
            // The same frames; joining may differ by the frames of one keyframe request.
            let (first, last) = (alone.0[0].max(spread.0[0]), alone.0.last().unwrap());
            let cut = |frames: &[u32]| -> Vec<u32> {
                frames
                    .iter()
                    .copied()
                    .filter(|f| f >= &first && f <= last)
                    .collect()
            };
            assert_eq!(cut(&alone.0), cut(&spread.0));
            assert!(alone.0[0].abs_diff(spread.0[0]) <= 15);
            assert!(alone.1.abs_diff(spread.1) <= 25);
        }
    });
}

#[test]
fn pictures_lost_between_workers_are_followed_by_a_keyframe() {
    over_seeds("pictures_lost_between_workers", 3, |seed| {
        let mut world = World::new(seed, 2);
        world.publish(0, 1, 1, Plan::default());
        let viewer = world.view(1, 1, ALICE);
        world.run(Duration::from_secs(3));
        world.mesh_is_full = true;
        world.run(Duration::from_millis(90));
        world.mesh_is_full = false;
        let from = world.now;
        world.run(Duration::from_secs(2));
        let to = world.now;
        let video = video(world.client(viewer));
        let freeze = longest_freeze(&video, from, to);
        assert!(freeze < Duration::from_millis(500), "{freeze:?}");
    });
}

#[test]
fn nothing_is_left_when_all_have_gone() {
    over_seeds("nothing_is_left_when_all_have_gone", 5, |seed| {
        let mut world = World::new(seed, 3);
        let mut clients = Vec::new();
        for room in 1..4u64 {
            for worker in 0..3u8 {
                clients.push(world.publish(worker, room, u64::from(worker), Plan::default()));
                clients.push(world.view(worker, room, ViewTarget::Room));
                let other = ParticipantId(u64::from((worker + 1) % 3));
                clients.push(world.view(worker, room, ViewTarget::Participant(other)));
            }
        }
        world.run(Duration::from_secs(2));
        // Some leave politely, some vanish, in an order that the seed decides.
        let count = clients.len();
        for step in 0..count {
            let at = (step * 7 + seed as usize) % clients.len();
            let client = clients.remove(at);
            if step % 3 == 0 {
                world.unplug(client);
            } else {
                world.close(client);
            }
            world.run(Duration::from_millis(300));
        }
        world.run(Duration::from_secs(35));
        for core in &world.cores {
            assert_eq!(core.held(), Held::default());
        }
    });
}

#[test]
fn noise_from_strangers_changes_nothing() {
    over_seeds("noise_from_strangers_changes_nothing", 3, |seed| {
        use rand::rngs::StdRng;
        use rand::{RngExt, SeedableRng};
        let mut rng = StdRng::seed_from_u64(seed);
        let mut world = World::new(seed, 1);
        let publisher = world.publish(0, 1, 1, Plan::default());
        let viewer = world.view(0, 1, ViewTarget::Room);
        world.run(Duration::from_secs(1));
        let peer = world.client(publisher).address;
        for round in 0..3000u32 {
            let mut bytes: Vec<u8> = (0..rng.random_range(0..300))
                .map(|_| rng.random())
                .collect();
            // Half of it looks like a known protocol and comes from a known address.
            if let Some(first) = bytes.first_mut()
                && round % 2 == 0
            {
                *first = [0x00, 0x01, 0x16, 0x17, 0x80, 0x90, 0x81][round as usize % 7];
            }
            let from = if round % 4 == 0 {
                peer
            } else {
                std::net::SocketAddr::from(([10, 9, 9, (round % 200) as u8], 4000))
            };
            world.inject(0, from, &bytes);
            world.run(Duration::from_millis(1));
        }
        world.run(Duration::from_secs(1));
        let drops = world.snapshot(0).totals.drops.total();
        assert!(drops > 2000, "{drops} counted");
        let video = video(world.client(viewer));
        continuous(&video, 0);
        assert_eq!(world.cores[0].sessions(), 2);
    });
}
