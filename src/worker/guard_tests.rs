//! A viewer whose line panics is closed alone, whatever the worker was doing with
//! it, and the others get their pictures.

#[allow(dead_code)]
#[path = "../../tests/bench/peer.rs"]
mod peer;
#[allow(dead_code)]
#[path = "../../tests/bench/stage.rs"]
pub(super) mod stage;

use std::time::Duration;

use super::backlog::Starving;
use super::session::{Media, Session};
use crate::control::messages::{CloseReason, Event};
use crate::net::arena::SendArena;
use crate::units::MediaKind;
use crate::viewer::Viewer;
use crate::viewer::slot::doom::{Doing, doom};
use stage::{PICTURE, Stage};

/// The peer as the core knows it.
pub(super) fn viewer(stage: &Stage, peer: usize) -> &Viewer {
    let session = stage.core.sessions.get(stage.keys[peer].slot);
    let Some(Session {
        media: Media::Viewer(viewer),
        ..
    }) = session
    else {
        panic!("peer {peer} is no viewer");
    };
    viewer
}

/// The SSRC that a viewer gets its pictures with.
fn ssrc(stage: &Stage, peer: usize) -> u32 {
    let mut slots = viewer(stage, peer).slots.iter();
    let video = slots.find(|s| s.kind == MediaKind::Video);
    video.expect("a video slot").ssrcs.ssrc
}

/// Gives the core these packets in one turn; returns the peers that it closed.
pub(super) fn turn(stage: &mut Stage, packets: &[Vec<u8>]) -> Vec<usize> {
    for bytes in packets {
        stage.deliver(0, bytes, &mut ());
    }
    stage.turn(&mut ());
    let events = std::mem::take(&mut stage.core.outputs.events);
    let closed = events.into_iter().filter_map(|event| match event {
        Event::Closed { key, reason } => {
            assert_eq!(reason, CloseReason::Internal);
            Some(key)
        }
        _ => None,
    });
    closed
        .filter_map(|key| stage.keys.iter().position(|k| *k == key))
        .collect()
}

/// Pictures' packets that a peer was sent since the last call.
pub(super) fn pictures(stage: &mut Stage, peer: usize) -> usize {
    let ssrc = ssrc(stage, peer);
    let seen = std::mem::take(&mut stage.peers[peer].seen);
    seen.iter().filter(|packet| packet.ssrc == ssrc).count()
}

/// A publisher and three viewers that get its pictures.
pub(super) fn staged() -> Stage {
    let mut stage = Stage::new();
    stage.publish();
    stage.views(3);
    stage.warm_up();
    // Whoever was behind is live again.
    for _ in 0..30 {
        let picture = stage.picture(false, 0);
        stage.forward(&picture);
    }
    for peer in 1..=3 {
        stage.peers[peer].watching = true;
    }
    stage
}

/// The next picture reaches all but these.
fn others_go_on(stage: &mut Stage, without: usize) {
    for peer in (1..=3).filter(|peer| *peer != without) {
        pictures(stage, peer);
    }
    let picture = stage.picture(false, 0);
    assert_eq!(turn(stage, &picture), [0; 0]);
    for peer in (1..=3).filter(|peer| *peer != without) {
        assert_eq!(pictures(stage, peer), PICTURE, "peer {peer}");
    }
    let gone = stage.peers.len() - stage.core.sessions();
    assert_eq!(gone, usize::from(without > 0 || stage.peers.len() > 4));
}

#[test]
fn a_line_that_panics_on_a_packet_ends_alone() {
    let mut stage = staged();
    others_go_on(&mut stage, 0);
    doom(ssrc(&stage, 2), Doing::Forward);
    let picture = stage.picture(false, 0);
    assert_eq!(turn(&mut stage, &picture), [2]);
    for peer in [1, 3] {
        assert_eq!(pictures(&mut stage, peer), PICTURE, "peer {peer}");
    }
    others_go_on(&mut stage, 2);
}

#[test]
fn a_line_that_panics_while_it_catches_up_ends_alone() {
    let mut stage = staged();
    // It is given the kept keyframe and what followed.
    let late = stage.view(
        peer::Profiles::Gcm,
        weir::peer::negotiate::PeerKeys::Ecdsa,
        &mut (),
    );
    assert_eq!(late, 4);
    doom(ssrc(&stage, late), Doing::Advance);
    let mut closed = Vec::new();
    for _ in 0..30 {
        let picture = stage.picture(false, 0);
        closed.extend(turn(&mut stage, &picture));
    }
    assert_eq!(closed, [late]);
    others_go_on(&mut stage, 0);
}

#[test]
fn a_line_that_panics_while_it_is_aimed_ends_alone() {
    let mut stage = staged();
    doom(ssrc(&stage, 2), Doing::Aim);
    let index = stage
        .core
        .tracks
        .iter()
        .find(|(_, t)| t.key.kind == MediaKind::Video);
    let index = index.expect("a video track").0 as u32;
    stage.core.aim_soon(index);
    assert_eq!(turn(&mut stage, &[]), [2]);
    others_go_on(&mut stage, 2);
}

/// All are bound, as when somebody has come.
fn binds_and_ends_alone(doing: Doing) {
    let mut stage = staged();
    doom(ssrc(&stage, 2), doing);
    for peer in 1..=3 {
        stage.core.bind_viewer(stage.keys[peer].slot);
    }
    assert_eq!(turn(&mut stage, &[]), [2]);
    others_go_on(&mut stage, 2);
}

#[test]
fn a_line_that_panics_while_it_is_bound_for_anothers_sake_ends_alone() {
    binds_and_ends_alone(Doing::Bind);
}

#[test]
fn a_line_that_panics_while_it_is_aimed_for_anothers_sake_ends_alone() {
    binds_and_ends_alone(Doing::Aim);
}

#[test]
fn a_line_that_panics_while_it_is_found_a_keyframe_ends_alone() {
    let mut stage = staged();
    doom(ssrc(&stage, 2), Doing::Feed);
    let session = stage.keys[2].slot;
    for slot in 0..2 {
        stage.core.starving.push(Starving {
            session,
            slot,
            needed: None,
        });
    }
    assert_eq!(turn(&mut stage, &[]), [2]);
    others_go_on(&mut stage, 2);
}

#[test]
fn a_line_that_panics_at_a_timer_ends_alone() {
    let mut stage = staged();
    doom(ssrc(&stage, 3), Doing::Aim);
    // Viewers are aimed once a second, too.
    stage.now += Duration::from_millis(1500);
    let now = stage.now;
    stage
        .core
        .turn(now, &mut |arena: &mut SendArena| arena.clear());
    stage.core.outputs.events.clear();
    others_go_on(&mut stage, 3);
}
