//! Conversations written as levels, and who is taken for the speaker.

use super::*;
use crate::room::voice::VoiceMeter;

/// When somebody makes a sound, from and to in milliseconds, and how loud in dBov.
type Sound = (u64, u64, i32);

const TICK: u64 = 40;

fn id(participant: u64) -> ParticipantId {
    ParticipantId(participant)
}

/// Words of 260 ms with gaps of 100 ms.
fn speech(from: u64, to: u64, level: i32) -> Vec<Sound> {
    (from..to)
        .step_by(360)
        .map(|at| (at, (at + 260).min(to), level))
        .collect()
}

/// Runs microphones that send a packet each 20 ms for `length` milliseconds;
/// returns who became active when, and the state at the end.
fn run(microphones: &[Vec<Sound>], length: u64) -> (Vec<(u64, u64)>, Speakers) {
    let start = Instant::now();
    let mut meters: Vec<VoiceMeter> = microphones.iter().map(|_| VoiceMeter::default()).collect();
    let mut speakers = Speakers::default();
    let mut changes = Vec::new();
    for at in (0..length).step_by(20) {
        let now = start + Duration::from_millis(at);
        for (index, (meter, sounds)) in meters.iter_mut().zip(microphones).enumerate() {
            let level = sounds
                .iter()
                .filter(|(from, to, _)| (*from..*to).contains(&at))
                .map(|(.., level)| *level)
                .max()
                .unwrap_or(-80);
            // The speaker's packet of these 20 ms; microphones differ in phase.
            let now = now + Duration::from_millis(index as u64 * 3);
            meter.hear(now, (at * 48) as u32, 48_000, -level as u8);
        }
        if at % TICK == 0 {
            let now = now + Duration::from_millis(15);
            for (participant, meter) in (1u64..).zip(&mut meters) {
                meter.settle(now);
                if let Some(voice) = meter.news() {
                    speakers.hear(id(participant), voice);
                }
            }
            speakers.evaluate(now);
            let active = speakers.active().map_or(0, |p| p.0);
            if changes.last().map_or(0, |(_, last)| *last) != active {
                changes.push((at, active));
            }
        }
    }
    (changes, speakers)
}

fn order(changes: &[(u64, u64)]) -> Vec<u64> {
    changes.iter().map(|(_, who)| *who).collect()
}

#[test]
fn a_new_clear_speaker_is_active_within_300_ms() {
    for gap in [0u64, 60, 150, 400, 3000] {
        let second = 5000 + gap;
        let (changes, _) = run(
            &[speech(1000, 5000, -30), vec![(second, second + 4000, -35)]],
            10_000,
        );
        assert_eq!(order(&changes), [1, 2], "gap {gap}: {changes:?}");
        for (begin, (at, _)) in [1000, second].into_iter().zip(&changes) {
            assert!(at - begin <= 260, "gap {gap}: {changes:?}");
        }
    }
}

#[test]
fn turns_are_followed_and_silence_changes_nothing() {
    let (changes, speakers) = run(
        &[
            [speech(500, 3000, -30), speech(9000, 11_000, -30)].concat(),
            speech(3200, 6000, -25),
            speech(6300, 8800, -40),
        ],
        20_000,
    );
    assert_eq!(order(&changes), [1, 2, 3, 1], "{changes:?}");
    assert_eq!(speakers.active(), Some(id(1)));
    assert_eq!(
        speakers.seen().collect::<Vec<_>>(),
        [id(1), id(3), id(2)],
        "most recent first"
    );
    assert!(!speakers.is_lively());
}

#[test]
fn coughs_clicks_and_yes_do_not_move_the_picture() {
    let mut noises = Vec::new();
    for at in (1500..20_000).step_by(1700) {
        noises.push((at, at + 140, -12));
        noises.push((at + 700, at + 1000, -20));
    }
    let (changes, _) = run(&[speech(500, 20_000, -30), noises], 20_000);
    assert_eq!(order(&changes), [1], "{changes:?}");
}

#[test]
fn a_short_cough_in_a_pause_does_not_move_the_picture() {
    let (changes, _) = run(
        &[
            [speech(500, 4000, -30), speech(4900, 8000, -30)].concat(),
            vec![(4200, 4340, -12)],
        ],
        9000,
    );
    assert_eq!(order(&changes), [1], "{changes:?}");
}

#[test]
fn double_talk_does_not_flap() {
    // Two talk for half a minute with pauses of their own in sentences.
    for shift in (0..1500).step_by(170) {
        let sentences = |from: u64, pause: u64| -> Vec<Sound> {
            let mut at = from;
            let mut sounds = Vec::new();
            while at < 30_000 {
                sounds.extend(speech(at, at + 1800, -30));
                at += 1800 + pause;
            }
            sounds
        };
        let (changes, _) = run(&[sentences(500, 350), sentences(3000 + shift, 420)], 30_000);
        assert!(changes.len() <= 2, "shift {shift}: {changes:?}");
    }
}

#[test]
fn who_is_interrupted_and_yields_gives_way() {
    let (changes, _) = run(&[speech(500, 5000, -30), speech(4400, 9000, -30)], 10_000);
    assert_eq!(order(&changes), [1, 2]);
    let at = changes[1].0;
    assert!((5000..5900).contains(&at), "{changes:?}");
}

#[test]
fn a_much_louder_voice_takes_over_from_a_mumbler_once() {
    let (changes, _) = run(
        &[speech(500, 20_000, -45), speech(5000, 20_000, -22)],
        20_000,
    );
    assert_eq!(order(&changes), [1, 2], "{changes:?}");
    // A bit louder is not enough.
    let (changes, _) = run(
        &[speech(500, 20_000, -30), speech(5000, 20_000, -25)],
        20_000,
    );
    assert_eq!(order(&changes), [1], "{changes:?}");
}

#[test]
fn steady_noise_is_no_speaker_for_long() {
    let (changes, speakers) = run(
        &[vec![(0, 40_000, -48)], speech(10_000, 15_000, -30)],
        40_000,
    );
    assert_eq!(changes.last().map(|(_, who)| *who), Some(2), "{changes:?}");
    assert_eq!(speakers.active(), Some(id(2)));
}

#[test]
fn the_first_to_be_heard_are_the_loudest_and_the_active_speaker() {
    let open = |speakers: &Speakers| speakers.heard().map(|p| p.0).collect::<Vec<_>>();
    let tone = |from: u64, level: i32| vec![(from, 10_000u64, level)];
    let microphones = [
        tone(500, -40),
        tone(3000, -20),
        tone(3500, -31),
        tone(3600, -30),
    ];
    // Who talked first is active; the others stand by loudness, equals by age.
    let (_, speakers) = run(&microphones, 4200);
    assert_eq!(open(&speakers), [1, 2, 3, 4]);
    assert_eq!(speakers.active(), Some(id(1)));
    // An onset is heard at the next tick, long before it counts as talk.
    let (_, speakers) = run(&[tone(500, -30), tone(3000, -30)], 3060);
    assert_eq!(open(&speakers), [1, 2]);
    assert_eq!(speakers.seen().count(), 1);
}

#[test]
fn who_leaves_is_forgotten_and_the_one_before_returns() {
    let (_, mut speakers) = run(&[speech(500, 2000, -30), speech(3000, 5000, -30)], 6000);
    assert_eq!(speakers.active(), Some(id(2)));
    speakers.forget(id(2));
    speakers.evaluate(Instant::now());
    assert_eq!(speakers.active(), Some(id(1)));
    assert_eq!(speakers.heard().collect::<Vec<_>>(), [id(1)]);
    speakers.forget(id(1));
    speakers.evaluate(Instant::now());
    assert_eq!(speakers.active(), None);
}

#[test]
fn a_newcomer_learns_who_spoke_last() {
    let now = Instant::now();
    let voice = |talked: u64| Voice {
        phase: Phase::Silent,
        begun: now,
        last: now + Duration::from_secs(talked),
        talked: Some(now + Duration::from_secs(talked)),
        loudness: -30.0,
    };
    // Told in any order, by one worker after the other.
    let mut speakers = Speakers::default();
    for (participant, talked) in [(1, 5), (3, 9), (2, 7)] {
        speakers.hear(id(participant), voice(talked));
        speakers.evaluate(now + Duration::from_secs(10));
    }
    assert_eq!(speakers.active(), Some(id(3)));
}

#[test]
fn a_publisher_that_vanishes_in_a_word_is_silent() {
    let (_, mut speakers) = run(&[vec![(500, 5000, -30)]], 2000);
    assert!(speakers.is_lively());
    speakers.silence(id(1));
    assert!(!speakers.is_lively());
    assert_eq!(speakers.active(), Some(id(1)));
}
