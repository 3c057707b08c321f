//! Rooms of several: viewers follow who speaks, in as many slots as they have.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use str0m::media::Mid;
use weir::control::messages::{Event, ViewTarget};
use weir::units::ParticipantId;
use weir::worker::Held;

use crate::checks::{audio, continuous, over_seeds, timestamps_follow_time, video};
use crate::client::{Plan, Received};
use crate::world::{ClientId, World};

type Speech = Vec<(Instant, Instant, i8)>;

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Words of 200 to 400 ms with gaps of 40 to 120 ms.
fn words(rng: &mut StdRng, from: Instant, to: Instant, level: i8) -> Speech {
    let mut at = from;
    let mut speech = Vec::new();
    while at < to {
        let end = at + millis(rng.random_range(200..400));
        speech.push((at, end.min(to), level + rng.random_range(-4..=4)));
        at = end + millis(rng.random_range(40..120));
    }
    speech
}

/// A turn of the conversation.
#[derive(Debug, Clone, Copy)]
struct Turn {
    who: usize,
    from: Instant,
    to: Instant,
}

/// People who take turns of 1.5 to 4 s, with pauses in between; the others
/// cough now and then while somebody speaks.
fn conversation(
    rng: &mut StdRng,
    start: Instant,
    people: usize,
    turns: usize,
) -> (Vec<Turn>, Vec<Speech>) {
    let mut speech = vec![Speech::new(); people];
    let mut list = Vec::new();
    let mut at = start;
    let mut last = people;
    for _ in 0..turns {
        let who = loop {
            let who = rng.random_range(0..people);
            if who != last {
                break who;
            }
        };
        last = who;
        let to = at + millis(rng.random_range(1500..4000));
        let level = rng.random_range(-40..-20);
        speech[who].extend(words(rng, at, to, level));
        let other = rng.random_range(0..people);
        if other != who {
            let cough = at + millis(rng.random_range(600..1200));
            speech[other].push((cough, cough + millis(rng.random_range(20..140)), -15));
        }
        list.push(Turn { who, from: at, to });
        at = to + millis(rng.random_range(0..900));
    }
    (list, speech)
}

/// Publishers 1 to n, spread over the workers, with this speech and levels.
fn publish(world: &mut World, workers: u8, speech: &[Speech]) -> Vec<ClientId> {
    (0u8..)
        .zip(speech)
        .map(|(index, speech)| {
            let plan = Plan {
                tag: index + 1,
                packets_per_frame: 2,
                speech: Some(speech.clone()),
                ..Plan::default()
            };
            world.publish(index % workers, 1, u64::from(index) + 1, plan)
        })
        .collect()
}

/// Runs of packets of one publisher: who, first arrival, last arrival.
fn runs(packets: &[&Received]) -> Vec<(usize, Instant, Instant)> {
    let mut sorted = packets.to_vec();
    sorted.sort_by_key(|p| p.seq);
    let mut runs: Vec<(usize, Instant, Instant)> = Vec::new();
    for packet in sorted {
        let who = usize::from(packet.from.expect("a tag")) - 1;
        match runs.last_mut() {
            Some((last, _, end)) if *last == who => *end = packet.at,
            _ => runs.push((who, packet.at, packet.at)),
        }
    }
    runs
}

/// The publisher's number of the audio packet that it sends at `at` or next.
fn number_at(world: &World, publisher: ClientId, at: Instant) -> u32 {
    let begun = world.clients[publisher.0].connected.expect("connected");
    500 + (at - begun).as_millis().div_ceil(20) as u32
}

fn at_most_one_ssrc_a_section(packets: &[&Received]) -> BTreeMap<Mid, Vec<Received>> {
    let mut sections: BTreeMap<Mid, Vec<Received>> = BTreeMap::new();
    for packet in packets {
        sections
            .entry(packet.mid)
            .or_default()
            .push((*packet).clone());
    }
    for packets in sections.values() {
        let packets: Vec<&Received> = packets.iter().collect();
        continuous(&packets, 0);
    }
    sections
}

/// A room of eight; the viewers' pictures and sound, turn by turn.
fn follow(seed: u64, workers: u8) -> Vec<Vec<usize>> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut world = World::new(seed, workers);
    let start = world.now + millis(2500);
    let (turns, speech) = conversation(&mut rng, start, 8, 12);
    let publishers = publish(&mut world, workers, &speech);
    world.run(millis(1000));
    let viewers: Vec<ClientId> = (0..workers.min(2))
        .map(|worker| world.view(worker, 1, ViewTarget::Room))
        .collect();
    let end = turns.last().expect("turns").to + millis(500);
    world.run(end - world.now);
    let mut all = Vec::new();
    for viewer in viewers {
        let client = &world.clients[viewer.0];
        let (video, audio) = (video(client), audio(client));
        continuous(&video, 0);
        continuous(&audio, 0);
        timestamps_follow_time(&video, 90_000.0, millis(100));
        let pictures = runs(&video);
        for turn in &turns {
            let heard = audio
                .iter()
                .find(|p| p.at >= turn.from && p.from == Some(turn.who as u8 + 1))
                .unwrap_or_else(|| panic!("{turn:?} is not heard"));
            let late = heard.at - turn.from;
            assert!(late < millis(300), "heard after {late:?}");
            let seen = pictures
                .iter()
                .find(|(who, _, to)| *who == turn.who && *to >= turn.from)
                .unwrap_or_else(|| panic!("{turn:?} is not seen"));
            let late = seen.1.saturating_duration_since(turn.from);
            assert!(late < millis(750), "seen after {late:?}");
        }
        // Nobody else was shown: no cough, no flapping.
        let spoken: Vec<usize> = turns.iter().map(|t| t.who).collect();
        let mut shown: Vec<usize> = pictures
            .iter()
            .filter(|(_, from, _)| *from > start)
            .map(|(who, ..)| *who)
            .collect();
        if shown.first() != spoken.first() {
            shown.insert(0, spoken[0]); // it was shown before it spoke
        }
        assert_eq!(shown, spoken);
        all.push(shown);
        // The picture never stops for longer than a few frames.
        for pair in video.windows(2) {
            let gap = pair[1].at.saturating_duration_since(pair[0].at);
            assert!(gap < millis(120), "no picture for {gap:?}");
        }
        // The first words are whole: nothing of the first 300 ms is missing.
        let numbers: BTreeSet<(u8, u32)> = audio
            .iter()
            .filter_map(|p| Some((p.from?, p.audio_number?)))
            .collect();
        for turn in &turns {
            let first = number_at(&world, publishers[turn.who], turn.from);
            for number in first..first + 15 {
                assert!(
                    numbers.contains(&(turn.who as u8 + 1, number)),
                    "{turn:?} lacks its packet {}",
                    number - first
                );
            }
        }
    }
    all
}

#[test]
fn a_room_of_eight_is_followed() {
    over_seeds("a_room_of_eight_is_followed", 6, |seed| {
        let one = follow(seed, 1);
        let four = follow(seed, 4);
        assert_eq!(one[0], four[0]);
        assert_eq!(four[0], four[1]);
    });
}

#[test]
fn double_talk_does_not_flap() {
    over_seeds("double_talk_does_not_flap", 5, |seed| {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut world = World::new(seed, 2);
        let start = world.now + millis(2000);
        let end = start + millis(20_000);
        let mut speech = vec![Speech::new(); 3];
        for speech in speech.iter_mut().take(2) {
            let mut at = start;
            while at < end {
                let to = at + millis(rng.random_range(800..2500));
                let said = words(&mut rng, at, to, -30);
                speech.extend(said);
                at = to + millis(rng.random_range(150..450));
            }
        }
        publish(&mut world, 2, &speech);
        let viewer = world.view(1, 1, ViewTarget::Room);
        world.run(end - world.now);
        let pictures = runs(&video(world.client(viewer)));
        let after = pictures
            .iter()
            .filter(|(_, from, _)| *from > start + millis(600));
        assert!(after.count() <= 1, "{pictures:?}");
    });
}

#[test]
fn nobody_sees_or_hears_himself_while_others_are_there() {
    over_seeds("nobody_sees_or_hears_himself", 3, |seed| {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut world = World::new(seed, 1);
        let start = world.now + millis(2000);
        let said = words(&mut rng, start, start + millis(4000), -30);
        let others = words(&mut rng, start + millis(5000), start + millis(6000), -30);
        publish(&mut world, 1, &[said, others, Speech::new()]);
        let own = world.view_room(0, 1, Some("p1"), (1, 1));
        let strange = world.view_room(0, 1, Some("somebody"), (1, 1));
        world.run(millis(9000));
        let shown = |world: &mut World, viewer| -> BTreeSet<u8> {
            let client = world.client(viewer);
            let since = start + millis(1000);
            let late = client.received.iter().filter(|p| p.at > since);
            late.filter_map(|p| p.from).collect()
        };
        assert_eq!(shown(&mut world, own), BTreeSet::from([2]));
        assert_eq!(shown(&mut world, strange), BTreeSet::from([1, 2]));
    });
}

#[test]
fn a_microphone_without_levels_gives_way_to_a_known_speaker() {
    over_seeds("a_microphone_without_levels", 3, |seed| {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut world = World::new(seed, 1);
        let start = world.now + millis(3000);
        let unknown = Plan {
            tag: 1,
            ..Plan::default()
        };
        world.publish(0, 1, 1, unknown);
        let viewer = world.view(0, 1, ViewTarget::Room);
        world.run(millis(1000));
        let guest = Plan {
            tag: 2,
            speech: Some(words(&mut rng, start, start + millis(2000), -30)),
            ..Plan::default()
        };
        let guest = world.publish(0, 1, 2, guest);
        world.run(millis(6000));
        world.close(guest);
        world.run(millis(2000));
        let client = world.client(viewer);
        for packets in [video(client), audio(client)] {
            continuous(&packets, 0);
            let order: Vec<usize> = runs(&packets).into_iter().map(|(who, ..)| who).collect();
            assert_eq!(order, [0, 1, 0]);
        }
    });
}

/// Whom the viewer was told to be in each section, newest first.
fn told(world: &World, viewer: ClientId) -> Vec<(Instant, BTreeMap<String, u64>)> {
    let key = world.keys[viewer.0];
    world
        .events
        .iter()
        .filter_map(|(at, event)| match event {
            Event::SlotsChanged { key: k, slots } if *k == key => {
                let slots = slots
                    .iter()
                    .filter_map(|(mid, p)| Some((mid.to_string(), p.as_ref()?.0)))
                    .collect();
                Some((*at, slots))
            }
            _ => None,
        })
        .collect()
}

#[test]
fn a_viewer_with_slots_sees_the_recent_speakers_and_hears_the_loudest() {
    over_seeds("a_viewer_with_slots", 5, |seed| {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut world = World::new(seed, 3);
        let start = world.now + millis(2500);
        let (turns, mut speech) = conversation(&mut rng, start, 8, 12);
        // At the end three talk at once, one of them new.
        let chorus = turns.last().expect("turns").to + millis(1500);
        for (who, speech) in speech.iter_mut().take(3).enumerate() {
            let from = chorus + millis(who as u64 * 130);
            let said = words(&mut rng, from, chorus + millis(3000), -28);
            speech.extend(said);
        }
        let publishers = publish(&mut world, 3, &speech);
        world.run(millis(1000));
        let viewer = world.view_room(1, 1, None, (3, 4));
        world.run(chorus + millis(3500) - world.now);

        let client = &world.clients[viewer.0];
        let (video, audio) = (video(client), audio(client));
        let pictures = at_most_one_ssrc_a_section(&video);
        assert_eq!(pictures.len(), 4);
        let sound = at_most_one_ssrc_a_section(&audio);
        assert_eq!(sound.len(), 3);
        for packets in pictures.values() {
            let packets: Vec<&Received> = packets.iter().collect();
            timestamps_follow_time(&packets, 90_000.0, millis(150));
        }
        // Whoever speaks is seen, and every word is heard from its first packet.
        let numbers: BTreeSet<(u8, u32)> = audio
            .iter()
            .filter_map(|p| Some((p.from?, p.audio_number?)))
            .collect();
        let mut begins: Vec<(usize, Instant)> = turns.iter().map(|t| (t.who, t.from)).collect();
        begins.extend((0..3).map(|who| (who, chorus + millis(who as u64 * 130))));
        for (who, from) in begins {
            let first = number_at(&world, publishers[who], from);
            for number in first..first + 40 {
                assert!(
                    numbers.contains(&(who as u8 + 1, number)),
                    "{who} lacks packet {} of its turn",
                    number - first
                );
            }
            let seen = video
                .iter()
                .find(|p| p.from == Some(who as u8 + 1) && p.at >= from)
                .expect("seen");
            let late = seen.at - from;
            assert!(late < millis(750), "{who} seen after {late:?}");
        }
        // Slots are told as they are, one participant in one picture slot, and
        // whoever stays in the room's four stays in its slot.
        let told = told(&world, viewer);
        let mids: BTreeSet<String> = pictures.keys().map(ToString::to_string).collect();
        let mut last: Option<BTreeMap<String, u64>> = None;
        for (_, slots) in &told {
            let seen: BTreeMap<String, u64> = slots
                .iter()
                .filter(|(mid, _)| mids.contains(*mid))
                .map(|(mid, p)| (mid.clone(), *p))
                .collect();
            let distinct: BTreeSet<u64> = seen.values().copied().collect();
            assert_eq!(distinct.len(), seen.len(), "{seen:?}");
            if let Some(last) = &last {
                let changed = seen
                    .iter()
                    .filter(|(mid, p)| last.get(*mid) != Some(p))
                    .count();
                assert!(changed <= 1, "{last:?} became {seen:?}");
            }
            if seen.len() == 4 {
                last = Some(seen);
            }
        }
        let now = &told.last().expect("told").1;
        for (mid, packets) in &pictures {
            let newest = packets.iter().max_by_key(|p| p.seq).and_then(|p| p.from);
            assert_eq!(newest.map(u64::from), now.get(&mid.to_string()).copied());
        }
    });
}

#[test]
fn people_come_and_go_and_nothing_is_left() {
    over_seeds("people_come_and_go", 5, |seed| {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut world = World::new(seed, 3);
        let viewers = [
            world.view_room(0, 1, None, (1, 1)),
            world.view_room(1, 1, None, (2, 3)),
            world.view(2, 1, ViewTarget::Participant(ParticipantId(2))),
        ];
        let mut present: Vec<(u64, ClientId)> = Vec::new();
        for _ in 0..30 {
            let absent = |id: &u64| present.iter().all(|(other, _)| other != id);
            let id = (1..6).find(absent).expect("four are there at most");
            let from = world.now + millis(rng.random_range(0..1500));
            let plan = Plan {
                tag: id as u8,
                packets_per_frame: 2,
                audio: rng.random_bool(0.9),
                speech: Some(words(&mut rng, from, from + millis(3000), -30)),
                ..Plan::default()
            };
            if present.len() < 4 {
                let worker = rng.random_range(0..3);
                present.push((id, world.publish(worker, 1, id, plan)));
            }
            world.run(millis(rng.random_range(200..1200)));
            if rng.random_bool(0.5) && !present.is_empty() {
                let (_, leaves) = present.remove(rng.random_range(0..present.len()));
                world.close(leaves);
            }
        }
        world.run(millis(1000));
        for viewer in viewers {
            let client = world.client(viewer);
            let (video, audio) = (video(client), audio(client));
            at_most_one_ssrc_a_section(&video);
            at_most_one_ssrc_a_section(&audio);
        }
        let publishers = present.into_iter().map(|(_, client)| client);
        for client in publishers.chain(viewers) {
            world.close(client);
        }
        world.run(millis(40_000));
        for core in &world.cores {
            assert_eq!(core.held(), Held::default());
        }
    });
}

#[test]
fn a_speaker_whose_encoder_ignores_requests_is_seen_from_its_kept_keyframe() {
    over_seeds("a_speaker_whose_encoder_ignores_requests", 3, |seed| {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut world = World::new(seed, 2);
        let start = world.now + millis(4000);
        let mut turns = vec![Speech::new(); 2];
        for turn in 0..4u64 {
            let from = start + millis(turn * 4000);
            let said = words(&mut rng, from, from + millis(3500), -30);
            turns[turn as usize % 2].extend(said);
        }
        for (index, speech) in (0u8..).zip(turns) {
            let plan = Plan {
                tag: index + 1,
                packets_per_frame: 2,
                gop: 300,
                reacts: false,
                speech: Some(speech),
                ..Plan::default()
            };
            world.publish(index, 1, u64::from(index) + 1, plan);
            world.run(millis(700));
        }
        let viewer = world.view(0, 1, ViewTarget::Room);
        world.run(start + millis(16_000) - world.now);
        let video = video(world.client(viewer));
        continuous(&video, 0);
        for turn in 1..4u64 {
            let from = start + millis(turn * 4000);
            let who = turn as u8 % 2 + 1;
            let seen = video
                .iter()
                .find(|p| p.from == Some(who) && p.at >= from)
                .expect("seen");
            // Keyframes are ten seconds apart; once it is known that asking is
            // of no use, the kept one is taken at the next look.
            let late = seen.at - from;
            assert!(late < millis(2_500), "turn {turn} seen after {late:?}");
        }
    });
}
