//! Publishers that take their rate from the server: they are told enough to
//! reach their best, and not more than their path carries.

use std::time::{Duration, Instant};

use crate::checks::over_seeds;
use crate::client::{Plan, Role};
use crate::link::Conditions;
use crate::world::{ALICE, ClientId, World};

/// Packets of 1100 bytes, 30 frames a second: 264 kb/s each.
const PACKET: f64 = 264_000.0;

fn obedient(most: u16) -> Plan {
    Plan {
        packets_per_frame: 1,
        audio: false,
        obeys: Some(most),
        ..Plan::default()
    }
}

fn rate(world: &World, publisher: ClientId) -> f64 {
    match &world.clients[publisher.0].role {
        Role::Publisher(p) => f64::from(p.plan.packets_per_frame) * PACKET,
        Role::Viewer => 0.0,
    }
}

#[test]
fn a_publisher_that_obeys_a_maximum_reaches_its_best() {
    over_seeds("a_publisher_that_obeys_a_maximum", 3, |seed| {
        let mut world = World::new(seed, 1);
        let publisher = world.publish(0, 1, 1, obedient(10));
        world.view(0, 1, ALICE);
        world.run(Duration::from_secs(5));
        assert_eq!(rate(&world, publisher), 10.0 * PACKET);
        world.run(Duration::from_secs(10));
        assert_eq!(rate(&world, publisher), 10.0 * PACKET);
        let told = &world.clients[publisher.0].told;
        let times: Vec<Instant> = told.iter().map(|(at, _)| *at).collect();
        assert!(
            (12..=16).contains(&times.len()),
            "told {} times",
            times.len()
        );
        for pair in times.windows(2) {
            assert!(pair[1] - pair[0] >= Duration::from_millis(990));
        }
    });
}

#[test]
fn a_publisher_is_told_no_more_than_its_path_carries() {
    over_seeds("a_publisher_is_told_no_more", 3, |seed| {
        let mut world = World::new(seed, 1);
        let publisher = world.publish(0, 1, 1, obedient(12));
        world.up[publisher.0].conditions = Conditions {
            rate: Some(2_000_000),
            queue: Duration::from_secs(2),
            ..Conditions::default()
        };
        world.run(Duration::from_secs(15));
        let (mut sum, mut waits) = (0.0, Vec::new());
        for _ in 0..200 {
            world.run(Duration::from_millis(100));
            sum += rate(&world, publisher) / 200.0;
            waits.push(world.up[publisher.0].waiting(world.now));
        }
        assert!((1.1e6..1.95e6).contains(&sum), "{sum} of 2 Mb/s");
        waits.sort();
        assert!(waits[190] < Duration::from_millis(400), "{:?}", waits[190]);
    });
}

#[test]
fn a_publisher_with_transport_wide_feedback_is_told_no_maximum() {
    over_seeds("a_publisher_with_transport_wide_feedback", 1, |seed| {
        let mut world = World::new(seed, 1);
        let publisher = world.publish(0, 1, 1, Plan::default());
        world.run(Duration::from_secs(5));
        assert_eq!(world.clients[publisher.0].told, []);
    });
}
