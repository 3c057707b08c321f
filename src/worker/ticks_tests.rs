//! What is due and finds no room in the arena is counted, whoever it is for.

use std::time::Duration;

use super::guard_tests::stage::Stage;
use super::guard_tests::staged;
use crate::net::arena::SendArena;
use crate::net::path::{Path, Proto};
use crate::telemetry::DropReason;

/// The arena is full of what is for others.
fn crowd(stage: &mut Stage) {
    let nobody = Path {
        proto: Proto::Udp,
        local: ([127, 0, 0, 1], 1).into(),
        remote: ([127, 0, 0, 1], 2).into(),
    };
    while stage.core.outputs.arena.push(nobody, &[0; 1100]) {}
}

fn without_room(stage: &Stage) -> u64 {
    stage.core.totals.drops.get(DropReason::EgressFull)
}

#[test]
fn what_a_publisher_is_not_told_is_counted() {
    let mut stage = Stage::new();
    stage.publish();
    stage.warm_up();
    assert_eq!(without_room(&stage), 0);
    crowd(&mut stage);
    stage.now += Duration::from_millis(1500);
    let now = stage.now;
    let keeps = &mut |_: &mut SendArena| {};
    stage.core.turn(now, keeps);
    assert!(without_room(&stage) > 0, "its reports are due");
}

#[test]
fn what_a_viewer_is_not_told_is_counted() {
    let mut stage = staged();
    // The publisher reports nothing: for so long its clock is not known.
    for _ in 0..200 {
        let (picture, sound) = (stage.picture(false, 0), stage.sound());
        stage.forward(&picture);
        stage.forward(&[sound]);
    }
    stage.now += Duration::from_millis(1500);
    let (now, slot) = (stage.now, stage.keys[2].slot);
    crowd(&mut stage);
    stage.core.viewer_tick(now, slot);
    assert_eq!(without_room(&stage), 2, "of sound and picture");
    stage.core.outputs.arena.clear();
    stage.now += Duration::from_millis(1500);
    let now = stage.now;
    stage.core.viewer_tick(now, slot);
    assert_eq!(without_room(&stage), 2);
}
