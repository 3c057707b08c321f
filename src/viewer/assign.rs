//! Whom a viewer of a room sees and hears: its slots are a fixed number, the
//! room's participants are not. Pure functions of the room and of what the
//! slots show already.

use smallvec::SmallVec;

use crate::room::membership::PublishedTrack;
use crate::room::{Publication, Room};
use crate::units::{MediaKind, ParticipantId};

/// Participants for the slots of one kind, most wanted first.
pub type Wanted = SmallVec<[ParticipantId; 16]>;

/// Whom a viewer is to see or hear, at most `limit` of them: speakers first,
/// then who is shown already (`near`), then who has published longest. The
/// viewer's own participant, `own`, is there only when nobody else is: nobody
/// wants to hear himself. Those of whom it `decodes` nothing come last, whoever
/// speaks: a place is not dark while somebody else could be in it.
pub fn wanted(
    room: &Room,
    kind: MediaKind,
    own: Option<&str>,
    near: &[ParticipantId],
    limit: usize,
    decodes: impl Fn(ParticipantId, &PublishedTrack) -> bool,
) -> Wanted {
    let mut list = Wanted::new();
    fill(&mut list, room, kind, own, near, limit, &decodes);
    if list.len() < limit {
        fill(&mut list, room, kind, own, near, limit, &|_, _| true);
    }
    list
}

fn fill(
    list: &mut Wanted,
    room: &Room,
    kind: MediaKind,
    own: Option<&str>,
    near: &[ParticipantId],
    limit: usize,
    decodes: &dyn Fn(ParticipantId, &PublishedTrack) -> bool,
) {
    let is_own = |publication: &Publication| own.is_some_and(|own| *own == *publication.identity);
    let alone = room.publications().iter().all(is_own);
    let fits = |publication: &Publication| {
        let is_usable = |t: &PublishedTrack| t.kind == kind && decodes(publication.participant, t);
        publication.tracks.iter().any(is_usable) && (alone || !is_own(publication))
    };
    let mut add = |publication: Option<&Publication>| {
        if let Some(publication) = publication
            && list.len() < limit
            && !list.contains(&publication.participant)
            && fits(publication)
        {
            list.push(publication.participant);
        }
        list.len() < limit
    };
    let find = |participant| room.publication(participant);
    let more = match kind {
        MediaKind::Audio => room.speakers.heard().all(|p| add(find(p))),
        MediaKind::Video => room.speakers.seen().all(|p| add(find(p))),
    };
    if more && near.iter().all(|p| add(find(*p))) {
        room.publications().iter().all(|p| add(Some(p)));
    }
}

/// Gives `wanted` to `slots`: who is wanted stays in its slot, the others take
/// the free ones in order. A slot that nobody is left for keeps whom it had,
/// so that the return of somebody who left is seen at once.
pub fn assign(slots: &mut [Option<ParticipantId>], wanted: &[ParticipantId]) {
    for participant in wanted {
        if slots.contains(&Some(*participant)) {
            continue;
        }
        let free = |slot: &Option<ParticipantId>| slot.is_none_or(|p| !wanted.contains(&p));
        // An empty one before one that somebody is to leave.
        let at = slots
            .iter()
            .position(Option::is_none)
            .or_else(|| slots.iter().position(free));
        if let Some(slot) = at.and_then(|at| slots.get_mut(at)) {
            *slot = Some(*participant);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::room::voice::{Phase, Voice};
    use crate::units::WorkerId;

    const BOTH: &[MediaKind] = &[MediaKind::Audio, MediaKind::Video];

    fn ids(numbers: &[u64]) -> Vec<ParticipantId> {
        numbers.iter().map(|n| ParticipantId(*n)).collect()
    }

    fn slots(numbers: &[u64]) -> Vec<Option<ParticipantId>> {
        let slot = |n: &u64| (*n > 0).then_some(ParticipantId(*n));
        numbers.iter().map(slot).collect()
    }

    fn room(participants: &[(u64, &[MediaKind])]) -> Room {
        let start = Instant::now();
        let mut room = Room::default();
        for (number, kinds) in participants {
            room.publish(Publication {
                participant: ParticipantId(*number),
                identity: format!("p{number}").into(),
                worker: WorkerId(0),
                generation: 1,
                since: start + Duration::from_secs(*number),
                tracks: kinds
                    .iter()
                    .map(|kind| PublishedTrack {
                        kind: *kind,
                        formats: Vec::new(),
                        rids: Vec::new(),
                    })
                    .collect(),
            });
        }
        room
    }

    fn all(_: ParticipantId, _: &PublishedTrack) -> bool {
        true
    }

    #[test]
    fn who_can_be_decoded_comes_first() {
        let mut room = room(&[(1, BOTH), (2, BOTH), (3, BOTH), (4, BOTH)]);
        talk(&mut room, 3, Phase::Talking);
        let see = |limit, lacks: &[u64]| {
            let decodes = |p: ParticipantId, _: &PublishedTrack| !ids(lacks).contains(&p);
            wanted(&room, MediaKind::Video, None, &ids(&[4]), limit, decodes).to_vec()
        };
        assert_eq!(see(1, &[3]), ids(&[4]));
        assert_eq!(see(2, &[3, 4]), ids(&[1, 2]));
        // There is a place left for them.
        assert_eq!(see(4, &[3, 4]), ids(&[1, 2, 3, 4]));
        assert_eq!(see(2, &[1, 2, 3, 4]), ids(&[3, 4]));
    }

    fn talk(room: &mut Room, participant: u64, phase: Phase) {
        let now = Instant::now();
        let voice = Voice {
            phase,
            begun: now,
            last: now,
            talked: (phase == Phase::Talking).then_some(now),
            loudness: -30.0,
        };
        room.speakers.hear(ParticipantId(participant), voice);
        room.speakers.evaluate(now);
    }

    #[test]
    fn who_is_wanted_stays_in_its_slot() {
        let cases: &[(&[u64], &[u64], &[u64])] = &[
            (&[0, 0, 0], &[5, 6], &[5, 6, 0]),
            (&[5, 6, 7], &[7, 6, 5], &[5, 6, 7]),
            (&[5, 6, 7], &[8, 7, 5], &[5, 8, 7]),
            (&[5, 6, 7], &[9, 8, 7], &[9, 8, 7]),
            (&[5, 0, 7], &[9, 7], &[5, 9, 7]),
            (&[5, 6], &[], &[5, 6]),
            (&[], &[1], &[]),
        ];
        for (before, wanted, after) in cases {
            let mut now = slots(before);
            assign(&mut now, &ids(wanted));
            assert_eq!(now, slots(after), "{before:?} with {wanted:?}");
        }
    }

    #[test]
    fn speakers_come_first_then_who_is_shown_then_the_eldest() {
        let mut room = room(&[(1, BOTH), (2, BOTH), (3, BOTH), (4, BOTH)]);
        let see = |room: &Room, near: &[u64], limit| {
            wanted(room, MediaKind::Video, None, &ids(near), limit, all).to_vec()
        };
        assert_eq!(see(&room, &[], 2), ids(&[1, 2]));
        assert_eq!(see(&room, &[4], 2), ids(&[4, 1]));
        talk(&mut room, 3, Phase::Talking);
        assert_eq!(see(&room, &[4], 1), ids(&[3]));
        assert_eq!(see(&room, &[4], 3), ids(&[3, 4, 1]));
        // An onset is heard, not yet seen.
        talk(&mut room, 2, Phase::Onset);
        assert_eq!(see(&room, &[4], 1), ids(&[3]));
        let heard = wanted(&room, MediaKind::Audio, None, &[], 2, all);
        assert_eq!(heard.to_vec(), ids(&[3, 2]));
    }

    #[test]
    fn who_lacks_the_kind_is_passed_over() {
        let mut room = room(&[(1, &[MediaKind::Video]), (2, &[MediaKind::Audio])]);
        talk(&mut room, 2, Phase::Talking);
        let see = wanted(&room, MediaKind::Video, None, &[], 4, all);
        let hear = wanted(&room, MediaKind::Audio, None, &[], 4, all);
        assert_eq!((see.to_vec(), hear.to_vec()), (ids(&[1]), ids(&[2])));
    }

    #[test]
    fn nobody_sees_or_hears_himself_unless_alone() {
        let mut two = room(&[(1, BOTH), (2, BOTH)]);
        talk(&mut two, 1, Phase::Talking);
        for kind in [MediaKind::Audio, MediaKind::Video] {
            let list = wanted(&two, kind, Some("p1"), &ids(&[1]), 4, all);
            assert_eq!(list.to_vec(), ids(&[2]));
        }
        let one = room(&[(1, BOTH)]);
        let list = wanted(&one, MediaKind::Video, Some("p1"), &[], 4, all);
        assert_eq!(list.to_vec(), ids(&[1]));
    }
}
