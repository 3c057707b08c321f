//! Ways between clients and server: many at a time, others' and those of ICE restarts.

use std::net::SocketAddr;
use std::time::Duration;

use weir::control::messages::ViewTarget;
use weir::telemetry::DropReason;

use crate::checks::{continuous, over_seeds, video};
use crate::client::Plan;
use crate::world::{ALICE, World};

/// How many datagrams were nobody's, or not to be read by whom they were taken for.
fn lost(world: &mut World) -> u64 {
    let drops = world.snapshot(0).totals.drops;
    drops.get(DropReason::UnknownSource) + drops.get(DropReason::MediaRejected)
}

/// A machine with a dozen network interfaces validates a dozen ways.
#[test]
fn the_way_in_use_is_kept_among_many_that_are_not() {
    over_seeds("the_way_in_use_is_kept", 3, |seed| {
        let mut world = World::new(seed, 1);
        let publisher = world.publish(0, 1, 1, Plan::default());
        let viewer = world.view(0, 1, ALICE);
        world.run(Duration::from_secs(2));
        for round in 0..50u8 {
            for interface in 0..12 {
                let check = world.check(publisher, false);
                let from = SocketAddr::from(([10, 7, 0, interface], 4000));
                world.inject(0, from, &check);
                world.run(Duration::from_millis(3));
            }
            world.run(Duration::from_millis(u64::from(round)));
        }
        assert_eq!(lost(&mut world), 0);
        continuous(&video(world.client(viewer)), 0);
    });
}

/// Anybody can write another's address on a datagram.
#[test]
fn nobody_takes_the_address_of_somebody_who_is_there() {
    over_seeds("nobody_takes_the_address", 3, |seed| {
        let mut world = World::new(seed, 1);
        let publisher = world.publish(0, 1, 1, Plan::default());
        let viewer = world.view(0, 1, ALICE);
        let thief = world.view(0, 2, ViewTarget::Room);
        world.run(Duration::from_secs(2));
        for victim in [publisher, viewer] {
            let address = world.client(victim).address;
            for _ in 0..20 {
                let check = world.check(thief, true);
                world.inject(0, address, &check);
                world.run(Duration::from_millis(100));
            }
        }
        assert_eq!(lost(&mut world), 0);
        continuous(&video(world.client(viewer)), 0);
        // Who has gone leaves his address to others, also when he did not say so.
        world.unplug(publisher);
        world.run(Duration::from_secs(10));
        let address = world.client(publisher).address;
        let check = world.check(thief, true);
        world.inject(0, address, &check);
        world.run(Duration::from_secs(1));
        world.close(publisher);
        assert_eq!(world.cores[0].held().addresses, 3);
    });
}

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
