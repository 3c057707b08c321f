//! What the server thinks that viewers' paths carry, through whole calls: the
//! viewers are str0m's, which write transport-wide feedback of their own.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::checks::{audio, continuous, over_seeds, video};
use crate::client::Plan;
use crate::link::Conditions;
use crate::world::{ALICE, ClientId, World};

/// Bits per second on the wire of the default plan, about.
const MEDIA: f64 = 1.15e6;

fn limited(rate: u64) -> Conditions {
    Conditions {
        rate: Some(rate),
        ..Conditions::default()
    }
}

fn estimate(world: &mut World, viewer: ClientId) -> Option<f64> {
    let key = world.keys[viewer.0];
    let snapshot = world.snapshot(0);
    let row = snapshot.viewers.iter().find(|v| v.key == key);
    row.expect("a row").estimate.map(|rate| rate.0 as f64)
}

/// The estimates of some seconds, one each 100 ms.
fn watch(world: &mut World, viewer: ClientId, seconds: u32) -> Vec<f64> {
    (0..seconds * 10)
        .filter_map(|_| {
            world.run(Duration::from_millis(100));
            estimate(world, viewer)
        })
        .collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[test]
fn an_estimate_follows_the_viewers_own_path() {
    over_seeds("an_estimate_follows_the_viewers_own_path", 3, |seed| {
        let mut world = World::new(seed, 1);
        world.publish(0, 1, 1, Plan::default());
        let viewer = world.view(0, 1, ALICE);
        world.down[viewer.0].conditions = limited(4_000_000);
        world.run(Duration::from_secs(5));
        let wide = mean(&watch(&mut world, viewer, 3));
        assert!((MEDIA..4.4e6).contains(&wide), "{wide} of 4 Mb/s");

        world.down[viewer.0].conditions = limited(800_000);
        let down = watch(&mut world, viewer, 1);
        let last = down[down.len() - 1];
        assert!(last < 0.85e6, "{last} of 0.8 Mb/s after a second");
        let narrow = watch(&mut world, viewer, 10);
        let highest = narrow.iter().copied().fold(0.0, f64::max);
        assert!(highest < 0.9e6, "{highest} of 0.8 Mb/s");
        // The publisher sends more than that for good, so the queue stays full
        // and the estimate stays low to drain it.
        assert!(mean(&narrow) > 0.3e6, "{} of 0.8 Mb/s", mean(&narrow));

        world.down[viewer.0].conditions = limited(4_000_000);
        world.run(Duration::from_secs(8));
        let wide = mean(&watch(&mut world, viewer, 2));
        assert!(wide >= MEDIA, "{wide} of 4 Mb/s, again");
    });
}

/// A microphone alone: about 50 packets of 150 bytes a second.
fn microphone() -> Plan {
    Plan {
        video: false,
        ..Plan::default()
    }
}

#[test]
fn sound_has_transport_wide_numbers_of_the_same_line_as_pictures() {
    over_seeds("sound_has_transport_wide_numbers", 2, |seed| {
        let mut world = World::new(seed, 1);
        world.publish(0, 1, 1, Plan::default());
        let viewer = world.view(0, 1, ALICE);
        world.run(Duration::from_secs(4));
        let client = world.client(viewer);
        let numbers = |packets: &[&crate::client::Received]| -> BTreeSet<u16> {
            let numbers = packets.iter().map(|p| p.transport.expect("a number"));
            numbers.collect()
        };
        let (sound, pictures) = (audio(client), video(client));
        let (heard, seen) = (numbers(&sound), numbers(&pictures));
        assert!(heard.is_disjoint(&seen));
        assert_eq!(heard.len() + seen.len(), sound.len() + pictures.len());
    });
}

#[test]
fn a_listener_has_an_estimate_which_does_not_hold_pictures_back() {
    over_seeds("a_listener_has_an_estimate", 3, |seed| {
        let mut world = World::new(seed, 1);
        world.publish(0, 1, 1, microphone());
        let viewer = world.view(0, 1, ALICE);
        world.run(Duration::from_secs(6));
        // What arrives, and as much again as half of it.
        let heard = mean(&watch(&mut world, viewer, 2));
        assert!((60e3..140e3).contains(&heard), "{heard} of sound");
        // The camera is turned on: its pictures come at full rate at once.
        world.publish(0, 1, 1, Plan::default());
        world.run(Duration::from_millis(1500));
        let begun = video(world.client(viewer)).first().map(|p| p.at);
        world.run(Duration::from_secs(3));
        let begun = begun.expect("pictures");
        let pictures = video(world.client(viewer));
        continuous(&pictures, 0);
        let second = pictures
            .iter()
            .filter(|p| p.at < begun + Duration::from_secs(1));
        assert!(second.count() >= 114, "30 pictures of 4 packets");
        let wide = estimate(&mut world, viewer).expect("known");
        assert!(wide > MEDIA, "{wide}");
    });
}

#[test]
fn a_listener_on_a_path_that_is_too_narrow_for_sound_is_told_so() {
    over_seeds("a_listener_on_a_path_that_is_too_narrow", 3, |seed| {
        let mut world = World::new(seed, 1);
        world.publish(0, 1, 1, microphone());
        let viewer = world.view(0, 1, ALICE);
        world.run(Duration::from_secs(6));
        let wide = mean(&watch(&mut world, viewer, 1));
        world.down[viewer.0].conditions = limited(30_000);
        world.run(Duration::from_secs(4));
        let narrow = mean(&watch(&mut world, viewer, 2));
        assert!(narrow < 0.7 * wide, "{narrow} of 30 kb/s, {wide} before");
    });
}

/// The lowest layer and sound are more than the path carries, whatever the estimate says: less of
/// it would drain the queue, but is not to be had.
#[test]
fn a_queue_of_the_viewers_own_is_not_taken_for_anothers() {
    let name = "a_queue_of_the_viewers_own_is_not_taken_for_anothers";
    over_seeds(name, 3, |seed| {
        let mut world = World::new(seed, 1);
        world.publish(0, 1, 1, Plan::layered([1, 2, 10]));
        let viewer = world.view(0, 1, ALICE);
        world.down[viewer.0].conditions = limited(4_000_000);
        world.run(Duration::from_secs(8));
        world.down[viewer.0].conditions = Conditions {
            queue: Duration::from_secs(1),
            ..limited(40_000)
        };
        world.run(Duration::from_millis(1500));
        let mut beside_a_queue = Vec::new();
        for _ in 0..6 {
            let estimates = watch(&mut world, viewer, 1);
            if world.down[viewer.0].waiting(world.now) > Duration::from_millis(500) {
                beside_a_queue.extend(estimates);
            }
        }
        assert!(beside_a_queue.len() >= 40, "{}", beside_a_queue.len());
        let highest = beside_a_queue.iter().copied().fold(0.0, f64::max);
        assert!(
            highest < 0.04e6,
            "{highest} of 0.04 Mb/s: {beside_a_queue:?}"
        );
    });
}
