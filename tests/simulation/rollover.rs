//! Nonces over a roll-over of sequence numbers, and that a reuse is found.

use std::net::SocketAddr;
use std::time::Duration;

use weir::control::messages::{CloseReason, ViewTarget};

use crate::checks::{over_seeds, video};
use crate::client::Plan;
use crate::nonces::Nonces;
use crate::world::World;

fn packet(sequence: u16, body: u8) -> Vec<u8> {
    let mut packet = vec![0x80, 96];
    packet.extend(sequence.to_be_bytes());
    packet.extend([0, 0, 0, 0, 0, 0, 0, 1, body]);
    packet
}

#[test]
fn an_index_may_come_again_after_the_roll_over_and_as_the_same_packet() {
    let to = SocketAddr::from(([10, 1, 0, 1], 5000));
    let mut nonces = Nonces::default();
    for (sequence, body) in [(65_534, 1), (65_535, 2), (0, 3), (65_535, 2), (1, 4)] {
        nonces.check(to, &packet(sequence, body));
    }
    assert_eq!(nonces.highest(to), 65_537);
}

#[test]
#[should_panic(expected = "sealed again")]
fn another_packet_under_one_index_is_found() {
    let to = SocketAddr::from(([10, 1, 0, 1], 5000));
    let mut nonces = Nonces::default();
    nonces.check(to, &packet(7, 1));
    nonces.check(to, &packet(8, 1));
    nonces.check(to, &packet(7, 2));
}

#[test]
#[should_panic(expected = "sent twice")]
fn a_repeat_where_rtx_is_agreed_on_is_found() {
    let to = SocketAddr::from(([10, 1, 0, 1], 5000));
    let mut nonces = Nonces::default();
    nonces.expect_rtx(to);
    nonces.check(to, &packet(7, 1));
    nonces.check(to, &packet(7, 1));
}

/// Every simulation looks at its nonces; this one goes over the roll-over
/// with loss, repairs by RTX and without, and a publisher that comes back. An index is read off the
/// numbers on the wire; that it is what a packet was sealed with shows in that the client, which
/// counts the roll-over itself, can open it.
#[test]
fn no_nonce_is_used_twice_over_a_roll_over() {
    over_seeds("no_nonce_is_used_twice_over_a_roll_over", 2, |seed| {
        let plan = Plan {
            fps: 400,
            packets_per_frame: 25,
            packet_size: 60,
            ..Plan::default()
        };
        let mut world = World::new(seed, 1);
        world.plain = seed % 2 == 0;
        let publisher = world.publish(0, 1, 1, plan.clone());
        let viewer = world.view(0, 1, ViewTarget::Room);
        world.down[viewer.0].conditions.loss = 0.01;
        world.run(Duration::from_secs(4));
        world.close_for(publisher, CloseReason::Deleted);
        world.run(Duration::from_millis(200));
        world.publish(0, 1, 1, plan);
        world.run(Duration::from_secs(6));
        let address = world.client(viewer).address;
        let highest = world.nonces.highest(address);
        assert!(highest > 1 << 16, "no roll-over: {highest}");
        let repairs = world.snapshot(0).totals.repairs_out;
        assert!(repairs > 100, "{repairs} repairs");
        let repeats = world.nonces.repeats(address);
        assert_eq!(repeats > 100, seed % 2 == 0, "{repeats} sent twice");
        world.down[viewer.0].conditions.loss = 0.0;
        world.run(Duration::from_secs(1));
        let pictures = video(world.client(viewer));
        let last = pictures.iter().map(|p| p.seq).max().unwrap_or(0);
        assert!(last >= highest, "{last} of {highest} opened");
        let behind = pictures.iter().filter(|p| p.seq >= 1 << 16).count() as u64;
        let sent = last + 1 - (1 << 16);
        assert!(behind >= sent - sent / 100, "{behind} of {sent} opened");
    });
}
