//! Who is found a keyframe, and when it is sent.

use std::time::Duration;

use super::backlog::Starving;
use super::guard_tests::stage::Stage;
use super::guard_tests::{pictures, staged, turn, viewer};
use crate::units::MediaKind;

/// Index of the viewer's slot of this kind.
fn slot(stage: &Stage, peer: usize, kind: MediaKind) -> u8 {
    let slots = &viewer(stage, peer).slots;
    let at = slots.iter().position(|s| s.kind == kind);
    at.expect("a slot") as u8
}

/// It would never come, and be asked for without end.
#[test]
fn nobody_is_asked_for_a_keyframe_of_sound() {
    for (kind, hungry) in [(MediaKind::Audio, 0), (MediaKind::Video, 1)] {
        let mut stage = staged();
        stage.core.starving.push(Starving {
            session: stage.keys[1].slot,
            slot: slot(&stage, 1, kind),
            needed: None,
        });
        turn(&mut stage, &[]);
        assert_eq!(stage.core.hungry.len(), hungry, "{kind:?}");
    }
}

#[test]
fn what_was_handed_out_while_there_was_no_path_is_sent_when_there_is_one() {
    let mut stage = staged();
    let key = stage.keys[1].slot;
    let address = stage.peers[1].address;
    let video = slot(&stage, 1, MediaKind::Video);
    let ice = |stage: &mut Stage, lost: bool| {
        let session = stage.core.sessions.get_mut(key).expect("a session");
        if lost {
            session.transport.ice.lost(address, crate::net::Proto::Udp);
        }
        session.transport.ice.path().is_some()
    };
    assert!(!ice(&mut stage, true), "no path");
    let session = stage.core.sessions.get_mut(key).expect("a session");
    let slot = &mut session.viewer().expect("a viewer").slots[usize::from(video)];
    slot.selection.interrupt();
    stage.core.starving.push(Starving {
        session: key,
        slot: video,
        needed: Some(0),
    });
    turn(&mut stage, &[]);
    pictures(&mut stage, 1);
    let check = stage.check(1);
    stage.deliver(1, &check, &mut ());
    stage.turn(&mut ());
    assert!(ice(&mut stage, false), "a path");
    let mut got = 0;
    for _ in 0..45 {
        stage.now += Duration::from_millis(33);
        let picture = stage.picture(false, 0);
        turn(&mut stage, &picture);
        got += pictures(&mut stage, 1);
    }
    assert!(got > 0, "no picture in 1.5 s");
}

/// Who asks then has not seen it yet; a second one would only be in its way.
#[test]
fn who_was_sent_a_keyframe_right_now_gets_no_other_one() {
    for (waits, hungry) in [(Duration::ZERO, 0), (Duration::from_secs(1), 1)] {
        let mut stage = staged();
        let keyframe = stage.picture(true, 0);
        turn(&mut stage, &keyframe);
        stage.now += waits;
        stage.core.starving.push(Starving {
            session: stage.keys[1].slot,
            slot: slot(&stage, 1, MediaKind::Video),
            needed: None,
        });
        turn(&mut stage, &[]);
        assert_eq!(stage.core.hungry.len(), hungry, "after {waits:?}");
    }
}
