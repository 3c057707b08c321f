//! Ways between clients and server: those of ICE restarts.

use std::time::Duration;

use crate::checks::{continuous, over_seeds, video};
use crate::client::Plan;
use crate::world::{ALICE, World};

/// A restart whose answer is lost is none for the client: it goes on with its credentials.
#[test]
fn a_restart_that_the_client_never_hears_of_ends_nothing() {
    over_seeds("a_restart_that_the_client_never_hears_of", 3, |seed| {
        let mut world = World::new(seed, 1);
        world.publish(0, 1, 1, Plan::default());
        let viewer = world.view(0, 1, ALICE);
        world.run(Duration::from_secs(2));
        world.restart_ice(viewer);
        world.run(Duration::from_secs(40));
        let end = world.now;
        let client = world.client(viewer);
        assert!(!client.cut_off);
        let pictures = video(client);
        continuous(&pictures, 0);
        let last = pictures.last().expect("pictures");
        assert!(end - last.at < Duration::from_millis(200));
    });
}
