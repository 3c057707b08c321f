//! Growth, decreases and what is gone back to, by what feedback shows.

use super::*;

const STEP: Micros = 100_000;

fn signals(now: Micros, rate: f64) -> Signals {
    Signals {
        now,
        arriving: Some(rate),
        acknowledged: Some(rate),
        rtt: 100_000,
        ..Signals::default()
    }
}

#[test]
fn growth_is_eight_percent_a_second_and_bound_to_what_arrives() {
    let mut control = RateControl::new(1e6);
    for step in 0..=10 {
        control.update(&signals(step * STEP, 1e6));
    }
    assert!((control.rate() / 1.08e6 - 1.0).abs() < 0.01);
    for step in 11..200 {
        control.update(&signals(step * STEP, 1e6));
    }
    assert!((control.rate() - 1.26e6).abs() < 1e4, "{}", control.rate());
    // Less arrives because less is sent: that is no reason to estimate less.
    control.update(&signals(200 * STEP, 0.1e6));
    assert!((control.rate() - 1.26e6).abs() < 1e4, "{}", control.rate());
    // Where no train can be sent, it grows to what is wanted.
    for step in 201..400 {
        control.update(&Signals {
            unproved: Some(2e6),
            ..signals(step * STEP, 1e6)
        });
    }
    assert!((control.rate() - 2e6).abs() < 1e4, "{}", control.rate());
}

#[test]
fn overuse_goes_below_what_arrives_the_deeper_the_longer_the_queue() {
    let table = [(12, 0.94), (100, 0.857), (200, 0.714), (600, 0.5)];
    for (queue, left) in table {
        let mut control = RateControl::new(4e6);
        let overuse = Signals {
            usage: Usage::Over,
            queue: queue * 1000,
            ..signals(0, 1e6)
        };
        assert_eq!(control.update(&overuse), Step::Decreased);
        let found = control.rate() / 1e6;
        assert!((found - left).abs() < 0.01, "{found} at {queue} ms");
    }
}

#[test]
fn a_trend_without_a_queue_only_stops_growth() {
    let mut control = RateControl::new(1e6);
    for step in 0..50 {
        let jitter = Signals {
            usage: Usage::Over,
            queue: 3_000,
            ..signals(step * STEP, 1e6)
        };
        assert_eq!(control.update(&jitter), Step::Clear);
    }
    assert_eq!(control.rate(), 1e6);
}

#[test]
fn a_drained_queue_brings_the_known_capacity_back_and_growth_is_slow_there() {
    let mut control = RateControl::new(4e6);
    control.update(&Signals {
        usage: Usage::Over,
        queue: 300_000,
        ..signals(0, 1e6)
    });
    let low = control.rate();
    assert!(low < 0.6e6);
    let drained = |step: Micros| Signals {
        queue: 1000,
        ..signals(step * STEP, 0.6e6)
    };
    control.update(&drained(1));
    let back = control.rate();
    assert!((0.97e6..0.99e6).contains(&back), "{back}");
    let mut second = |first| {
        let before = control.rate();
        for step in first..first + 10 {
            control.update(&Signals {
                acknowledged: Some(0.9e6),
                ..drained(step)
            });
        }
        control.rate() - before
    };
    let grown = second(2);
    assert!((75e3..85e3).contains(&grown), "{grown} below what it took");
    let grown = second(12);
    assert!(
        (70e3..80e3).contains(&grown),
        "{grown} as far as it is used"
    );
}

#[test]
fn a_queue_that_does_not_react_is_not_ours() {
    let mut control = RateControl::new(1e6);
    let standing = |now| Signals {
        queue: 120_000,
        ..signals(now, 1e6)
    };
    assert_eq!(control.update(&standing(0)), Step::Decreased);
    assert_eq!(control.update(&standing(500_000)), Step::Clear);
    let low = control.rate();
    assert!(low < 0.95e6);
    assert_eq!(control.update(&standing(1_100_000)), Step::Foreign);
    assert_eq!(control.rate(), (low + 1e6) / 2.0, "half is given back");
    // From here on loss says what delay can not.
    let loss = |now, lost| Signals {
        lost,
        ..signals(now, 1e6)
    };
    assert_eq!(control.update(&loss(2_200_000, 0.01)), Step::Clear);
    assert_eq!(control.update(&loss(2_300_000, 0.03)), Step::Decreased);
    assert_eq!(
        control.update(&loss(1_600_000, 0.03)),
        Step::Clear,
        "at once"
    );
    assert_eq!(
        control.update(&loss(20_000_000, 0.03)),
        Step::Clear,
        "later"
    );
}

#[test]
fn a_queue_of_what_is_sent_all_the_same_is_ours() {
    let mut control = RateControl::new(1e6);
    let standing = |now, sent| Signals {
        queue: 120_000,
        sent: Some(sent),
        ..signals(now, 1e6)
    };
    for step in 0..100 {
        let step = control.update(&standing(step * STEP, 1.2e6));
        assert_ne!(step, Step::Foreign);
    }
    let low = control.rate();
    assert!(low < 0.95e6, "{low}");
    // From here on less is sent, and it has its time.
    let steps: Vec<Step> = (100..115)
        .map(|step| control.update(&standing(step * STEP, 0.8e6)))
        .collect();
    let foreign = steps.iter().position(|step| *step == Step::Foreign);
    assert!(foreign.is_some_and(|at| at >= 8), "{steps:?}");
}

#[test]
fn the_last_decrease_has_its_time_before_a_queue_is_anothers() {
    let mut control = RateControl::new(1e6);
    let standing = |now| Signals {
        queue: 120_000,
        ..signals(now, 1e6)
    };
    control.update(&standing(0));
    let overuse = Signals {
        usage: Usage::Over,
        arriving: Some(0.8e6),
        ..standing(950_000)
    };
    assert_eq!(control.update(&overuse), Step::Decreased);
    assert_eq!(control.update(&standing(1_100_000)), Step::Clear);
    assert_eq!(control.update(&standing(1_200_000)), Step::Foreign);
}

#[test]
fn a_queue_that_gets_shorter_is_ours() {
    let mut control = RateControl::new(1e6);
    let mut lengths = Vec::new();
    for step in 0..30 {
        let queue = 90_000 - 4_000 * step;
        let signals = Signals {
            queue: queue.max(0),
            rise: -8_000,
            ..signals(step * STEP, 1e6)
        };
        lengths.push(control.update(&signals));
    }
    assert!(!lengths.contains(&Step::Foreign), "{lengths:?}");
}

#[test]
fn loss_beside_a_queue_is_congestion() {
    for (queue, lost, step) in [
        (16_000, 0.03, Step::Decreased),
        (30_000, 0.01, Step::Clear),
        (10_000, 0.03, Step::Clear),
    ] {
        let mut control = RateControl::new(1e6);
        let signals = Signals {
            queue,
            lost,
            ..signals(0, 1e6)
        };
        assert_eq!(control.update(&signals), step, "{queue} {lost}");
    }
}

/// Over-use at 100 ms of queue, then a drained one where `rate` arrives.
fn after_overuse(rate: f64) -> RateControl {
    let mut control = RateControl::new(rate);
    control.update(&Signals {
        usage: Usage::Over,
        queue: 100_000,
        ..signals(0, rate)
    });
    control
}

#[test]
fn flows_of_any_rate_grow_alike_after_a_decrease() {
    // Response time 200 ms: two packets are 96 kb/s each second.
    let table = [(0.2e6, 48e3), (0.8e6, 86e3), (1e6, 96e3), (3e6, 96e3)];
    for (rate, expected) in table {
        let mut control = after_overuse(rate);
        // More arrives than it took: the capacity is not known any more.
        let more = |now| signals(now, 1.3 * rate);
        control.update(&more(STEP));
        let before = control.rate();
        for step in 2..=11 {
            control.update(&more(step * STEP));
        }
        let grown = control.rate() - before;
        assert!((grown / expected - 1.0).abs() < 0.15, "{grown} at {rate}");
    }
    // Long after, growth is a share of the rate.
    let mut control = after_overuse(3e6);
    control.update(&signals(STEP, 3.9e6));
    control.update(&signals(ADDITIVE + STEP, 3.9e6));
    let before = control.rate();
    control.update(&signals(ADDITIVE + 6 * STEP, 3.9e6));
    let grown = control.rate() / before;
    assert!((grown / GROWTH.sqrt() - 1.0).abs() < 0.001, "{grown}");
}

#[test]
fn a_second_decrease_leaves_what_is_gone_back_to() {
    let mut control = RateControl::new(1e6);
    let overuse = |now, queue| Signals {
        usage: Usage::Over,
        queue,
        ..signals(now, 1e6)
    };
    assert_eq!(control.update(&overuse(0, 100_000)), Step::Decreased);
    assert_eq!(control.update(&overuse(300_000, 250_000)), Step::Decreased);
    assert!(control.rate() < 0.7e6, "{}", control.rate());
    // Already so low that the same again would decrease nothing.
    assert_eq!(control.update(&overuse(600_000, 150_000)), Step::Congested);
    let drained = Signals {
        queue: 1000,
        ..signals(700_000, 0.6e6)
    };
    control.update(&drained);
    let back = control.rate();
    assert!((0.97e6..1.0e6).contains(&back), "{back}");
}

#[test]
fn the_longer_measurement_counts_unless_far_less_arrives_of_late() {
    for (arriving, resumed) in [(0.95e6, 0.98e6), (1.1e6, 0.98e6), (0.5e6, 0.49e6)] {
        let mut control = RateControl::new(1.2e6);
        control.update(&Signals {
            usage: Usage::Over,
            queue: 50_000,
            arriving: Some(arriving),
            ..signals(0, 1e6)
        });
        control.update(&Signals {
            acknowledged: Some(0.3e6),
            ..signals(STEP, 0.3e6)
        });
        let rate = control.rate();
        assert!((rate / resumed - 1.0).abs() < 0.08, "{rate} of {arriving}");
    }
}

#[test]
fn beside_a_bulk_transfer_delay_is_no_sign_until_it_is_long() {
    let standing = |now, queue| Signals {
        queue,
        ..signals(now, 1e6)
    };
    let lossy = |now| Signals {
        lost: 0.04,
        ..standing(now, 60_000)
    };
    let foreign = || {
        let mut control = RateControl::new(1e6);
        control.update(&standing(0, 120_000));
        assert_eq!(control.update(&standing(1_100_000, 120_000)), Step::Foreign);
        control
    };
    // Others make the queue, and nothing is lost: it is heeded.
    let mut control = foreign();
    assert_eq!(
        control.update(&standing(3_000_000, 90_000)),
        Step::Decreased
    );
    // Loss beside it: it is not, and growth goes on.
    let mut control = foreign();
    assert_eq!(control.update(&lossy(3_000_000)), Step::Decreased);
    assert!((control.rate() - 0.9e6).abs() < 1e3, "{}", control.rate());
    for step in 1..=20 {
        let now = 3_000_000 + step * STEP;
        assert_eq!(control.update(&standing(now, 90_000)), Step::Clear);
    }
    assert!(control.rate() > 1e6, "{}", control.rate());
    assert_eq!(
        control.update(&standing(5_100_000, 160_000)),
        Step::Decreased
    );
    // Without any loss for ten seconds it is a queue as any other.
    assert_eq!(control.update(&standing(12_900_000, 90_000)), Step::Clear);
    assert_ne!(control.update(&standing(13_100_000, 90_000)), Step::Clear);
}
