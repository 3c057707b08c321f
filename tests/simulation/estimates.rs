//! What the server thinks that viewers' paths carry, through whole calls: the
//! viewers are str0m's, which write transport-wide feedback of their own.

use std::time::Duration;

use weir::control::messages::ViewTarget;
use weir::units::ParticipantId;

use crate::checks::{continuous, over_seeds, video};
use crate::client::Plan;
use crate::link::Conditions;
use crate::world::{ClientId, World};

const ALICE: ViewTarget = ViewTarget::Participant(ParticipantId(1));

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

#[test]
fn loss_on_the_publishers_way_moves_no_estimate() {
    over_seeds("loss_on_the_publishers_way_moves_no_estimate", 3, |seed| {
        let mut world = World::new(seed, 1);
        let publisher = world.publish(0, 1, 1, Plan::default());
        let viewers = [world.view(0, 1, ALICE), world.view(0, 1, ALICE)];
        world.down[viewers[1].0].conditions = limited(3_000_000);
        world.run(Duration::from_secs(15));
        let before = viewers.map(|v| estimate(&mut world, v).expect("known"));
        world.up[publisher.0].conditions.loss = 0.02;
        for _ in 0..20 {
            world.run(Duration::from_secs(1));
            let now = viewers.map(|v| estimate(&mut world, v).expect("known"));
            for (before, now) in before.iter().zip(now) {
                let moved = (now / before - 1.0).abs();
                assert!(moved <= 0.05, "{before} became {now}");
            }
        }
    });
}

#[test]
fn viewers_on_different_paths_do_not_touch_each_other() {
    over_seeds(
        "viewers_on_different_paths_do_not_touch_each_other",
        3,
        |seed| {
            let mut world = World::new(seed, 1);
            world.publish(0, 1, 1, Plan::default());
            let good = world.view(0, 1, ALICE);
            let poor = world.view(0, 1, ALICE);
            world.run(Duration::from_secs(10));
            let before = estimate(&mut world, good).expect("known");
            world.down[poor.0].conditions = Conditions {
                loss: 0.05,
                ..limited(600_000)
            };
            for _ in 0..15 {
                world.run(Duration::from_secs(1));
                let now = estimate(&mut world, good).expect("known");
                assert!((now / before - 1.0).abs() <= 0.05, "{before} became {now}");
            }
            let poor = estimate(&mut world, poor).expect("known");
            assert!(poor < 0.65e6, "{poor} of 0.6 Mb/s");
            continuous(&video(world.client(good)), 0);
        },
    );
}
