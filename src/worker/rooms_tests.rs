//! Tracks and voices that are no longer what a message or a list means.

use std::time::{Duration, Instant};

use super::core::tests::core_of;
use super::mesh::MeshMessage;
use super::{Core, Held, Input};
use crate::codec::Codec;
use crate::net::arena::SendArena;
use crate::room::membership::{Publication, PublishedTrack};
use crate::room::{Format, Source, TrackKey};
use crate::units::{MediaKind, ParticipantId, RoomId, WorkerId};

fn core() -> (Core, Instant) {
    core_of(2)
}

fn microphone(room: u64, participant: u64) -> TrackKey {
    TrackKey {
        room: RoomId(room),
        participant: ParticipantId(participant),
        kind: MediaKind::Audio,
    }
}

/// Publishes a microphone; returns its track.
fn publish(core: &mut Core, now: Instant, room: u64, participant: u64) -> u32 {
    let opus = Format {
        codec: Codec::Opus,
        fmtp: "".into(),
        channels: 2,
    };
    let publication = Publication {
        participant: ParticipantId(participant),
        identity: participant.to_string().into(),
        worker: WorkerId(0),
        generation: 1,
        since: now,
        tracks: vec![PublishedTrack {
            kind: MediaKind::Audio,
            formats: vec![opus],
            rids: Vec::new(),
        }],
    };
    let source = Source::Local { session: 0 };
    core.publish(now, RoomId(room), publication, source);
    core.track_index[&microphone(room, participant)]
}

#[test]
fn a_voice_of_another_room_is_not_heard_where_its_place_was() {
    let (mut core, start) = core();
    let first = publish(&mut core, start, 1, 1);
    publish(&mut core, start, 1, 2);
    let elsewhere = publish(&mut core, start, 2, 3);
    // The room looks at a place which is another room's microphone by now.
    let room = core.rooms.get_mut(&RoomId(1)).expect("the room");
    room.talking.push(elsewhere);
    for n in 0..100 {
        let now = start + n * Duration::from_millis(20);
        for index in [first, elsewhere] {
            core.hear(now, index, n * 960, 48_000, 0x80 | 20);
        }
        core.tick_speakers(now);
    }
    let room = &core.rooms[&RoomId(1)];
    assert_eq!(room.speakers.active(), Some(ParticipantId(1)));
    let heard: Vec<_> = room.speakers.heard().chain(room.speakers.seen()).collect();
    assert!(!heard.contains(&ParticipantId(3)), "{heard:?}");
    assert!(!room.talking.contains(&elsewhere));
}

#[test]
fn who_subscribes_to_what_has_ended_leaves_no_track_behind() {
    let (mut core, now) = core();
    let subscribe = |on| Input::Mesh {
        from: WorkerId(1),
        message: MeshMessage::Subscribe {
            track: microphone(1, 1),
            index: 7,
            subscription: 1,
            on,
        },
    };
    for on in [true, false, true] {
        core.handle(now, subscribe(on));
        core.turn(now, &mut |arena: &mut SendArena| arena.clear());
        assert_eq!(core.held(), Held::default());
    }
    // What is published is found and kept.
    publish(&mut core, now, 1, 1);
    core.handle(now, subscribe(true));
    assert_eq!(core.held().tracks, 1);
    let index = core.track_index[&microphone(1, 1)];
    assert_eq!(core.tracks[index as usize].remote_subscribers.len(), 1);
}
