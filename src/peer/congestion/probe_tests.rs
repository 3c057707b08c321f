//! Trains over paths of known capacity, and when none is sent.

use super::*;

/// Runs trains over a path of `capacity` until none is due; returns what
/// each tried and found.
fn trains(capacity: f64, target: f64, media: bool) -> Vec<Found> {
    let (mut prober, mut log) = (Prober::default(), SentLog::default());
    let (mut now, mut sequence, mut free) = (0, 0u16, 0);
    let mut situation = Situation {
        estimate: 300_000.0,
        target: Some(target),
        rtt: 50_000,
        ..Situation::default()
    };
    let mut all = Vec::new();
    let mut arrivals = Vec::new();
    let mut send = |log: &mut SentLog, now: Micros, arrivals: &mut Vec<(Micros, u16)>| {
        log.record(now, sequence, 1200);
        free = now.max(free) + (9600e6 / capacity) as Micros;
        arrivals.push((free + 25_000, sequence));
        sequence = sequence.wrapping_add(1);
    };
    while now < 3_000_000 {
        situation.now = now;
        prober.consider(&mut log, &situation);
        let mut due = prober.due(now, &mut log, 50_000);
        while due > 0 {
            send(&mut log, now, &mut arrivals);
            prober.padded(1200);
            due = due.saturating_sub(1200);
        }
        if media && now % 33_000 == 0 {
            send(&mut log, now, &mut arrivals);
        }
        let (here, later): (Vec<_>, Vec<_>) =
            arrivals.drain(..).partition(|(at, _)| *at + 25_000 <= now);
        arrivals = later;
        for (at, sequence) in here {
            let packet = log.report(now, sequence, true).expect("logged");
            prober.reported(&packet, Some(at));
        }
        if let Some(found) = prober.found(now, None) {
            situation.known = true;
            situation.estimate = situation.estimate.max(found.rate);
            all.push(found);
        }
        now += 1000;
    }
    all
}

#[test]
fn trains_double_until_the_target_is_proved() {
    for media in [false, true] {
        let all = trains(20e6, 4e6, media);
        let tried: Vec<i64> = all.iter().map(|f| (f.tried / 1e5) as i64).collect();
        assert_eq!(tried[0], 9);
        assert!(all.len() <= 6, "{all:?}");
        let last = all.last().expect("trains");
        assert!(last.rate >= 4e6 && last.rate < 5.5e6, "{all:?}");
    }
}

#[test]
fn a_train_that_fills_the_path_finds_its_capacity() {
    for capacity in [0.5e6, 1.2e6, 2.5e6] {
        let all = trains(capacity, 4e6, false);
        let best = all.iter().map(|f| f.rate).fold(0.0, f64::max);
        assert!(
            (0.85..1.03).contains(&(best / capacity)),
            "{best} of {capacity}"
        );
    }
}

#[test]
fn what_does_not_pass_is_tried_ever_more_rarely() {
    let all = trains(0.5e6, 4e6, false);
    assert!((2..=4).contains(&all.len()), "{all:?}");
}

#[test]
fn nothing_is_tried_in_congestion_or_beyond_the_budget() {
    let base = Situation {
        now: 10_000_000,
        estimate: 1e6,
        known: true,
        target: Some(4e6),
        ..Situation::default()
    };
    let sends = |situation: Situation, budget: f64| {
        let (mut prober, mut log) = (Prober::default(), SentLog::default());
        prober.budget = budget;
        prober.consider(&mut log, &situation);
        prober.due(situation.now, &mut log, 0) > 0
    };
    assert!(sends(base, SAVED));
    assert!(!sends(base, 1000.0));
    let congested = Some(base.now - 100_000);
    assert!(!sends(Situation { congested, ..base }, SAVED));
    assert!(!sends(
        Situation {
            queue: 60_000,
            ..base
        },
        SAVED
    ));
    assert!(!sends(Situation { loss: 0.2, ..base }, SAVED));
    assert!(!sends(
        Situation {
            target: Some(0.9e6),
            ..base
        },
        SAVED
    ));
    assert!(!sends(
        Situation {
            target: None,
            ..base
        },
        SAVED
    ));
}

#[test]
fn where_media_fills_the_path_only_what_is_far_below_it_is_tried_again() {
    let base = Situation {
        now: 10_000_000,
        estimate: 1e6,
        known: true,
        filled: true,
        full: Some((0.9e6, 1.1e6)),
        target: Some(4e6),
        ..Situation::default()
    };
    let wanted = |situation: Situation| Prober::default().wanted(&situation);
    assert_eq!(wanted(base), None);
    let lower = |estimate| Situation { estimate, ..base };
    assert_eq!(wanted(lower(0.8e6)), None);
    assert!((wanted(lower(0.6e6)).unwrap() - 1.1e6).abs() < 1.0);
    assert_eq!(wanted(Situation { full: None, ..base }), Some(2e6));
    let idle = Situation {
        filled: false,
        ..base
    };
    assert_eq!(wanted(idle), Some(2e6));
}

#[test]
fn a_train_at_anothers_cost_is_not_soon_followed_by_the_next() {
    let base = Situation {
        now: 1_000_000,
        rtt: 50_000,
        filled: true,
        congested: Some(800_000),
        ..Situation::default()
    };
    // Less arrives than was found, because less is sent, as much, or all stays well.
    for (arriving, congested, filled, waits) in [
        (1.5e6, Some(800_000), true, true),
        (1.5e6, Some(800_000), false, false),
        (1.95e6, Some(800_000), true, false),
        (1.5e6, Some(400_000), true, false),
    ] {
        let mut prober = Prober {
            passed: Some((500_000, 2e6)),
            next: 500_000,
            ..Prober::default()
        };
        prober.judge(&Situation {
            arriving,
            congested,
            filled,
            ..base
        });
        assert_eq!(prober.overshot, waits);
        assert_eq!(prober.next, if waits { 1_000_000 + RETRY } else { 500_000 });
        assert_eq!(prober.retry, if waits { 2 * RETRY } else { RETRY });
    }
    let mut prober = Prober {
        passed: Some((500_000, 2e6)),
        overshot: true,
        retry: 4 * RETRY,
        ..Prober::default()
    };
    prober.judge(&Situation {
        now: 2_100_000,
        congested: None,
        ..base
    });
    assert!(!prober.overshot && prober.retry == RETRY);
}

#[test]
fn a_train_without_anything_to_send_is_given_up() {
    let (mut prober, mut log) = (Prober::default(), SentLog::default());
    let situation = Situation::default();
    prober.consider(&mut log, &situation);
    assert!(prober.due(0, &mut log, 0) > 0);
    assert!(prober.deadline(0).is_some());
    prober.give_up(0, &mut log);
    assert_eq!(prober.deadline(0), None);
    log.record(10, 0, 1200);
    assert_eq!(log.report(20, 0, true).unwrap().probe, NO_PROBE);
}

#[test]
fn a_train_during_congestion_finds_nothing() {
    for (congested, finds) in [
        (None, true),
        (Some(900_000), true),
        (Some(1_050_000), false),
    ] {
        let (mut prober, mut log) = (Prober::default(), SentLog::default());
        prober.consider(
            &mut log,
            &Situation {
                now: 1_000_000,
                ..Situation::default()
            },
        );
        let (mut now, mut sequence) = (1_000_000, 0u16);
        while prober.deadline(now).is_some() {
            if prober.due(now, &mut log, 0) > 0 {
                log.record(now, sequence, 1200);
                sequence += 1;
            }
            now += 1000;
        }
        for sequence in 0..sequence {
            let packet = log.report(now, sequence, true).expect("logged");
            prober.reported(&packet, Some(packet.sent + 20_000));
        }
        assert_eq!(prober.found(now, congested).is_some(), finds);
        assert!(!prober.busy());
        assert_eq!(prober.next, if finds { now } else { now + RETRY });
    }
}
