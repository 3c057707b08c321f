//! The paths that both controllers are put on.

use std::time::Duration;

use super::path::{Rival, Scenario};
use crate::link::Conditions;

const MBIT: f64 = 1e6;

fn path(rate: f64, delay_ms: u64) -> Conditions {
    Conditions {
        delay: Duration::from_millis(delay_ms),
        rate: Some(rate as u64),
        queue: Duration::from_millis(500),
        ..Conditions::default()
    }
}

fn steady(rate: f64) -> f64 {
    rate * MBIT
}

fn steps(t: f64) -> f64 {
    if (20.0..40.0).contains(&t) {
        0.8 * MBIT
    } else {
        4.0 * MBIT
    }
}

fn ramps(t: f64) -> f64 {
    // Down to 0.8 Mb/s over 30 s, and up again.
    let away = (t - 40.0).abs().min(30.0) / 30.0;
    (0.8 + 3.2 * away) * MBIT
}

fn bursts(t: f64) -> Conditions {
    // Each ten seconds 300 ms with half of all packets lost.
    let loss = if (t % 10.0) < 0.3 { 0.5 } else { 0.0 };
    Conditions {
        loss,
        ..path(steady(3.0), 25)
    }
}

fn scenario(name: &'static str, path: fn(f64) -> Conditions) -> Scenario {
    Scenario {
        name,
        seconds: 60,
        path,
        most: 4.0 * MBIT,
        second: None,
        settle: 15,
        recovers_from: None,
    }
}

/// Two flows of one kind, long enough after both have begun: one that joins a full path
/// needs longer.
pub fn equal_flows() -> [Scenario; 2] {
    let long = |seconds, second, settle, scenario| Scenario {
        seconds,
        second: Some((second, Rival::Same)),
        settle,
        ..scenario
    };
    [
        long(
            160,
            0,
            60,
            scenario("from the start", |_| path(steady(3.0), 50)),
        ),
        long(
            240,
            20,
            100,
            scenario("a joiner", |_| path(steady(3.0), 25)),
        ),
    ]
}

pub fn all() -> Vec<Scenario> {
    vec![
        Scenario {
            recovers_from: Some(40),
            ..scenario("steps 4-0.8-4 Mb/s, rtt 50 ms", |t| path(steps(t), 25))
        },
        Scenario {
            recovers_from: Some(40),
            ..scenario("steps 4-0.8-4 Mb/s, rtt 200 ms", |t| path(steps(t), 100))
        },
        Scenario {
            seconds: 80,
            ..scenario("slow ramps 4-0.8-4 Mb/s", |t| path(ramps(t), 25))
        },
        scenario("steady 2 Mb/s, rtt 20 ms", |_| path(steady(2.0), 10)),
        scenario("steady 2 Mb/s, rtt 200 ms", |_| path(steady(2.0), 100)),
        scenario("2 % random loss, 3 Mb/s", |_| Conditions {
            loss: 0.02,
            ..path(steady(3.0), 25)
        }),
        scenario("5 % random loss, 3 Mb/s", |_| Conditions {
            loss: 0.05,
            ..path(steady(3.0), 25)
        }),
        scenario("5 % random loss, no limit", |_| Conditions {
            loss: 0.05,
            rate: None,
            ..path(steady(3.0), 25)
        }),
        scenario("bursts of loss, 3 Mb/s", bursts),
        scenario("jitter 20 ms, 2 Mb/s", |_| Conditions {
            jitter: Duration::from_millis(20),
            ..path(steady(2.0), 40)
        }),
        Scenario {
            seconds: 100,
            second: Some((20, Rival::Same)),
            ..scenario("two flows, 3 Mb/s, rtt 50 ms", |_| path(steady(3.0), 25))
        },
        Scenario {
            seconds: 100,
            second: Some((0, Rival::Same)),
            ..scenario("two flows from the start, 3 Mb/s", |_| {
                path(steady(3.0), 50)
            })
        },
        Scenario {
            seconds: 100,
            second: Some((20, Rival::Constant(1.5 * MBIT))),
            ..scenario("beside 1.5 Mb/s constant, 3 Mb/s", |_| {
                path(steady(3.0), 25)
            })
        },
        Scenario {
            seconds: 100,
            second: Some((20, Rival::Bulk)),
            ..scenario("beside TCP, 3 Mb/s, queue 100 ms", |_| Conditions {
                queue: Duration::from_millis(100),
                ..path(steady(3.0), 25)
            })
        },
        Scenario {
            seconds: 100,
            second: Some((20, Rival::Bulk)),
            ..scenario("beside TCP, 3 Mb/s, queue 300 ms", |_| Conditions {
                queue: Duration::from_millis(300),
                ..path(steady(3.0), 25)
            })
        },
    ]
}
