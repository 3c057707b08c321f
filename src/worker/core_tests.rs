//! One core on given times: panics, limits, sessions that never connect, plain STUN.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::control::messages::{OpenSession, Reply, SessionRole, ViewTarget};
use crate::net::path::{Path, Proto};
use crate::net::stun;
use crate::peer::negotiate::{Direction, Policy, read_offer};
use crate::units::{ParticipantId, RequestId};

const PUBLISHER: &str = include_str!("../../tests/fixtures/offers/obs-32.2-h264.sdp");
const VIEWER: &str = include_str!("../../tests/fixtures/offers/chromium-recvonly.sdp");

/// One core of so many.
pub(in crate::worker) fn core_of(workers: u8) -> (Core, Instant) {
    let start = Instant::now();
    let config = CoreConfig {
        id: WorkerId(0),
        workers,
        max_sessions: 3,
        consent_timeout: Duration::from_secs(30),
        connect_timeout: Duration::from_secs(15),
        seed: [3; 32],
        clock: WallClock::new(start, Duration::from_secs(1_700_000_000)),
    };
    (Core::new(config, Crypto::new().expect("crypto")), start)
}

fn core() -> (Core, Instant) {
    core_of(1)
}

fn open(core: &mut Core, now: Instant, offer: &str, role: SessionRole) -> Option<SessionKey> {
    let direction = match role {
        SessionRole::Publisher(_) => Direction::Publish,
        SessionRole::Viewer(_) => Direction::View,
    };
    let accepted = read_offer(offer, direction, &Policy::default()).expect("a good offer");
    let open = OpenSession {
        request: RequestId(1),
        room: RoomId(1),
        role,
        identity: None,
        negotiated: accepted.negotiated.clone(),
        log_id: Arc::from("test"),
    };
    core.handle(now, Input::Command(Command::Open(Box::new(open))));
    core.turn(now, &mut |arena: &mut SendArena| arena.clear());
    match core.outputs.events.drain(..).next() {
        Some(Event::Reply {
            reply: Reply::Opened { key, .. },
            ..
        }) => Some(key),
        _ => None,
    }
}

/// The sessions that ended, by reason.
fn ended(core: &Core) -> Vec<(&'static str, u64)> {
    let counts = core.totals.closed.iter();
    counts.filter(|(_, count)| *count > 0).collect()
}

#[test]
fn a_panic_inside_a_session_ends_that_session_only() {
    let (mut core, now) = core();
    let publisher = SessionRole::Publisher(ParticipantId(1));
    let first = open(&mut core, now, PUBLISHER, publisher).expect("opened");
    let second = open(
        &mut core,
        now,
        VIEWER,
        SessionRole::Viewer(ViewTarget::Room),
    );
    core.guarded(now, first.slot, |_| panic!("on purpose"));
    let closed: Vec<_> = core
        .outputs
        .events
        .drain(..)
        .filter_map(|event| match event {
            Event::Closed { key, reason } => Some((key, reason)),
            _ => None,
        })
        .collect();
    assert_eq!(closed, [(first, CloseReason::Internal)]);
    assert_eq!(core.sessions(), 1);
    assert_eq!(ended(&core), [("internal", 1)]);
    assert!(second.is_some_and(|key| core.sessions.find(key).is_some()));
}

#[test]
fn a_full_worker_refuses_and_has_room_again_later() {
    let (mut core, now) = core();
    let viewer = SessionRole::Viewer(ViewTarget::Room);
    let keys: Vec<_> = (0..3)
        .map(|_| open(&mut core, now, VIEWER, viewer).expect("room for three"))
        .collect();
    assert_eq!(open(&mut core, now, VIEWER, viewer), None);
    let reason = CloseReason::Deleted;
    let key = keys[1];
    core.handle(now, Input::Command(Command::Close { key, reason }));
    core.outputs.events.clear();
    assert!(open(&mut core, now, VIEWER, viewer).is_some());
}

#[test]
fn sessions_that_never_connect_leave_nothing_behind() {
    let (mut core, now) = core();
    open(
        &mut core,
        now,
        PUBLISHER,
        SessionRole::Publisher(ParticipantId(1)),
    );
    open(
        &mut core,
        now,
        VIEWER,
        SessionRole::Viewer(ViewTarget::Room),
    );
    let mut at = now;
    while at < now + Duration::from_secs(16) {
        at += Duration::from_millis(100);
        core.turn(at, &mut |arena: &mut SendArena| arena.clear());
    }
    assert_eq!(core.held(), Held::default());
    assert_eq!(ended(&core), [("never_connected", 2)]);
}

#[test]
fn the_media_port_is_a_stun_server_within_limits() {
    let (mut core, now) = core();
    let remote = ([127, 0, 0, 1], 4000).into();
    let path = Path {
        proto: Proto::Udp,
        local: ([127, 0, 0, 1], 7882).into(),
        remote,
    };
    let mut request = [0; 64];
    let length = stun::binding_request([7; 12], &mut request).expect("room");
    let (mut answers, mut mapped) = (0u64, None);
    for _ in 0..100 {
        let datagram = Datagram {
            proto: path.proto,
            local: path.local,
            remote,
            waited: Duration::ZERO,
            bytes: &request[..length],
        };
        core.handle(now, Input::Datagram(datagram));
        core.turn(now, &mut |arena: &mut SendArena| {
            for (to, bytes) in arena.datagrams() {
                assert_eq!(to, path);
                mapped = stun::mapped_address(bytes, [7; 12]);
                answers += 1;
            }
            arena.clear();
        });
    }
    assert_eq!(mapped, Some(remote));
    assert!((1..100).contains(&answers));
    assert_eq!(
        core.totals.drops.get(DropReason::StunRateLimited),
        100 - answers
    );
}

#[test]
fn a_plain_request_that_demands_the_unknown_is_refused() {
    let (mut core, now) = core();
    // CHANGE-REQUEST (RFC 5780): there is no second address to answer from.
    let mut request = [0; 28];
    request[..8].copy_from_slice(&[0, 1, 0, 8, 0x21, 0x12, 0xA4, 0x42]);
    request[20..].copy_from_slice(&[0, 3, 0, 4, 0, 0, 0, 6]);
    let datagram = Datagram {
        proto: Proto::Udp,
        local: ([127, 0, 0, 1], 7882).into(),
        remote: ([127, 0, 0, 1], 4000).into(),
        waited: Duration::ZERO,
        bytes: &request,
    };
    core.handle(now, Input::Datagram(datagram));
    let mut answers = Vec::new();
    core.turn(now, &mut |arena: &mut SendArena| {
        answers.extend(arena.datagrams().map(|(_, bytes)| bytes.to_vec()));
        arena.clear();
    });
    let error = [0, 9, 0, 4, 0, 0, 4, 20, 0, 10, 0, 2, 0, 3, 0, 0];
    assert!(answers.len() == 1 && answers[0][..2] == [0x01, 0x11]);
    assert_eq!(answers[0][20..], error);
}
