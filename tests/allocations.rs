//! Forwarding allocates nothing: a packet that comes in is allocated once, and with fifty viewers
//! or with one, a turn of the worker core makes no allocation at all.
#![allow(unsafe_code)]

#[path = "simulation/client/mod.rs"]
#[allow(dead_code)]
mod client;
#[path = "support/counting.rs"]
mod counting;
#[path = "simulation/link.rs"]
#[allow(dead_code)]
mod link;
#[path = "simulation/media.rs"]
#[allow(dead_code)]
mod media;
#[path = "simulation/nonces.rs"]
#[allow(dead_code)]
mod nonces;
#[path = "simulation/world/mod.rs"]
#[allow(dead_code)]
mod world;

use std::time::Duration;

use weir::control::messages::ViewTarget;
use weir::net::{Datagram, Proto, SendArena};
use weir::worker::Input;

use counting::allocations;

/// Allocations in the fan-out, in taking packets in, and packets sent, over
/// pictures in the middle of a call.
fn call(viewers: usize) -> (u64, u64, u64) {
    let plan = client::Plan {
        packets_per_frame: 7,
        audio: false,
        ..client::Plan::default()
    };
    let mut world = world::World::new(1, 1);
    world.publish(0, 1, 1, plan);
    for _ in 0..viewers {
        world.view(0, 1, ViewTarget::Room);
    }
    // Until nothing is under way: what is lost would be asked for.
    world.run(Duration::from_millis(2020));
    let publisher = world.clients[0].address;
    let (mut fan_out, mut intake, mut sent) = (0, 0, 0u64);
    for picture in 0..20 {
        // Within one second of the last report, so that no timer is due.
        world.now += Duration::from_millis(33);
        let now = world.now;
        let mut datagrams = Vec::new();
        world.clients[0].tick(now, |_, bytes| datagrams.push(bytes.to_vec()));
        let core = &mut world.cores[0];
        let before = allocations();
        for bytes in &datagrams {
            let datagram = Datagram {
                proto: Proto::Udp,
                local: ([10, 0, 0, 1], 7882).into(),
                remote: publisher,
                waited: Duration::ZERO,
                bytes,
            };
            core.handle(now, Input::Datagram(datagram));
        }
        let taken_in = allocations();
        core.turn(now, &mut |arena: &mut SendArena| {
            sent += arena.len() as u64;
            arena.clear();
        });
        // The first pictures grow what is then reused.
        if picture >= 5 {
            intake += taken_in - before;
            fan_out += allocations() - taken_in;
        }
    }
    (fan_out, intake, sent)
}

#[test]
fn the_fan_out_allocates_nothing() {
    let (one, intake_for_one, _) = call(1);
    let (fifty, intake_for_fifty, sent) = call(50);
    assert!(sent > 50 * 7 * 15, "{sent} packets were sent");
    // A publisher's packet is allocated, once: its payload, which is kept for repairs and joiners
    // and is the same for any number of viewers.
    assert!(
        (7 * 15..7 * 15 + 4).contains(&intake_for_one),
        "{intake_for_one}"
    );
    assert_eq!(intake_for_one, intake_for_fifty);
    assert_eq!((one, fifty), (0, 0));
}
