//! The same seed is the same run.

use std::time::Duration;

use weir::control::messages::ViewTarget;
use weir::units::ParticipantId;

use crate::checks::over_seeds;
use crate::client::Plan;
use crate::link::Conditions;
use crate::world::{Sent, World};

/// A call over rate-limited, lossy paths; everything that was sent.
fn call(seed: u64) -> Vec<Sent> {
    let mut world = World::new(seed, 2);
    world.trace = Some(Vec::new());
    world.links = Conditions {
        rate: Some(1_000_000),
        jitter: Duration::from_millis(3),
        ..Conditions::default()
    };
    let plan = Plan {
        layers: vec![("a".into(), (320, 180)), ("b".into(), (640, 360))],
        ..Plan::default()
    };
    for participant in 1..=2 {
        world.publish(participant as u8 - 1, 1, participant, plan.clone());
    }
    for viewer in 0..4 {
        let whom = ViewTarget::Participant(ParticipantId(1 + viewer / 2));
        world.view((viewer % 2) as u8, 1, whom);
        world.run(Duration::from_millis(500));
    }
    // When a lost handshake message is sent again its library draws.
    for link in world.up.iter_mut().chain(&mut world.down) {
        link.conditions.loss = 0.02;
    }
    world.run(Duration::from_secs(6));
    world.trace.unwrap_or_default()
}

#[test]
fn the_same_seed_is_the_same_run() {
    over_seeds("the_same_seed_is_the_same_run", 4, |seed| {
        let runs = [call(seed), call(seed)];
        assert!(runs[0].len() > 5000, "{} datagrams", runs[0].len());
        let both = runs[0].iter().zip(&runs[1]);
        let differ = both.clone().position(|(a, b)| a != b);
        let first = differ.and_then(|at| both.clone().nth(at));
        assert_eq!(first, None, "the first of {differ:?}");
        assert_eq!(runs[0].len(), runs[1].len());
    });
}
