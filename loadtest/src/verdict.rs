//! From figures to a verdict.

use crate::report::{Figures, Step};
use crate::scenario::types::Limits;

/// More late bursts than this share and the offered load was not the stated one.
const LATE_PERCENT: f64 = 1.0;
/// More drops in our own sockets than this share of the packets and what the
/// viewers saw is not what the server sent.
const DROP_PERCENT: f64 = 0.1;
/// A generator thread this busy has no time left to be on time.
const BUSY_CORES: f64 = 0.95;
/// Less of the planned load than this was offered.
const OFFERED_PERCENT: f64 = 99.0;

/// The end of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// All limits held.
    Pass,
    /// One broke.
    Fail,
    /// The generator was the bottleneck, so the figures say nothing.
    Inconclusive,
}

impl Verdict {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Inconclusive => "inconclusive",
        }
    }
}

/// The first limit that these figures break, as `name: measured, allowed`.
pub fn broken(f: &Figures, limits: &Limits) -> Option<String> {
    let at_most = |name: &str, value: f64, limit: Option<f64>, unit: &str| {
        limit
            .filter(|l| value > *l)
            .map(|l| format!("{name}: {value:.3}{unit}, allowed {l}{unit}"))
    };
    let connected = if f.viewers == 0 {
        100.0
    } else {
        f.connected as f64 * 100.0 / f.viewers as f64
    };
    let missing = limits
        .connected_percent
        .filter(|l| connected < *l)
        .map(|l| format!("connected-percent: {connected:.2} %, required {l} %"));
    let server = f.server.as_ref();
    let errors: u64 = f.http_errors.values().sum();
    missing
        .or_else(|| at_most("loss-percent", f.loss_percent, limits.loss_percent, " %"))
        .or_else(|| {
            let limit = limits.freezes.map(|l| l as f64);
            at_most("freezes", f.freezes as f64, limit, "")
        })
        .or_else(|| at_most("delay-p50-ms", f.delay_ms.p50, limits.delay_p50_ms, " ms"))
        .or_else(|| at_most("delay-p99-ms", f.delay_ms.p99, limits.delay_p99_ms, " ms"))
        .or_else(|| {
            at_most(
                "delay-p999-ms",
                f.delay_ms.p999,
                limits.delay_p999_ms,
                " ms",
            )
        })
        .or_else(|| at_most("join-p95-ms", f.join_ms.p95, limits.join_p95_ms, " ms"))
        .or_else(|| {
            let limit = limits.duplicates.map(|l| l as f64);
            at_most("duplicates", f.duplicates as f64, limit, "")
        })
        .or_else(|| {
            let limit = limits.http_errors.map(|l| l as f64);
            at_most("http-errors", errors as f64, limit, "")
        })
        .or_else(|| {
            let value = server.map_or(0.0, |s| s.cpu_us_per_forwarded_packet);
            at_most("cpu-us-per-packet", value, limits.cpu_us_per_packet, " us")
        })
        .or_else(|| {
            let value = server.map_or(0.0, |s| s.rss_bytes_per_session / 1024.0);
            let limit = limits.kilobytes_per_session;
            at_most("kilobytes-per-session", value, limit, " kB")
        })
}

/// Why these figures say nothing about the server, if the generator was the
/// bottleneck.
pub fn bottleneck(f: &Figures, receive_threads: usize) -> Option<String> {
    let g = &f.generator;
    let share = |part: u64, of: u64| part as f64 * 100.0 / of.max(1) as f64;
    let (late, dropped) = (
        share(g.late_sends, g.sends),
        share(g.socket_drops, f.received_packets),
    );
    if late > LATE_PERCENT {
        return Some(format!("the generator sent {late:.2} % of its bursts late"));
    }
    if g.offered_percent < OFFERED_PERCENT {
        let offered = g.offered_percent;
        return Some(format!(
            "the generator offered only {offered:.1} % of the load"
        ));
    }
    if g.send_failures > 0 && share(g.send_failures, f.sent_packets) > DROP_PERCENT {
        let failures = g.send_failures;
        return Some(format!("the generator's kernel refused {failures} packets"));
    }
    if dropped > DROP_PERCENT {
        return Some(format!(
            "the generator's sockets dropped {dropped:.2} % of the packets"
        ));
    }
    if g.receive_cores > BUSY_CORES * receive_threads as f64 {
        return Some("the generator's receiving threads were busy all the time".to_owned());
    }
    if g.publish_cores > BUSY_CORES {
        return Some("the generator's publishing thread was busy all the time".to_owned());
    }
    if f.viewers > 0 && f.received_packets == 0 && f.sent_packets == 0 {
        return Some("nothing was sent".to_owned());
    }
    None
}

/// The verdict over all steps, with its reason in a sentence, the limit that
/// broke first and the highest load that held.
pub fn judge(steps: &[Step]) -> (Verdict, String, Option<String>, Option<u64>) {
    let mut held = None;
    for step in steps {
        let viewers = step.figures.viewers;
        if let Some(why) = &step.inconclusive {
            let reason = format!("inconclusive at {viewers} viewers: {why}");
            return (Verdict::Inconclusive, reason, None, held);
        }
        if let Some(limit) = &step.limit_broken {
            let limit = format!("{limit} at {viewers} viewers");
            let reason = format!("a limit broke: {limit}");
            return (Verdict::Fail, reason, Some(limit), held);
        }
        held = Some(viewers);
    }
    match held {
        Some(viewers) => {
            let reason = format!("all limits held up to {viewers} viewers");
            (Verdict::Pass, reason, None, held)
        }
        None => {
            let reason = "nothing was measured".to_owned();
            (Verdict::Inconclusive, reason, None, None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A word of the expected text, and what brings it about.
    type Case = (&'static str, fn(&mut Figures));

    fn figures() -> Figures {
        let mut f = Figures {
            viewers: 10,
            connected: 10,
            sent_packets: 1000,
            received_packets: 10_000,
            ..Figures::default()
        };
        f.generator.sends = 1000;
        f.generator.offered_percent = 100.0;
        f
    }

    fn limits() -> Limits {
        Limits {
            connected_percent: Some(100.0),
            loss_percent: Some(0.1),
            delay_p99_ms: Some(50.0),
            freezes: Some(0),
            duplicates: Some(0),
            ..Limits::default()
        }
    }

    #[test]
    fn each_limit_breaks_by_its_name() {
        assert_eq!(broken(&figures(), &limits()), None);
        let cases: [Case; 5] = [
            ("connected-percent", |f| f.connected = 9),
            ("loss-percent", |f| f.loss_percent = 0.2),
            ("delay-p99-ms", |f| f.delay_ms.p99 = 51.0),
            ("freezes", |f| f.freezes = 1),
            ("duplicates", |f| f.duplicates = 1),
        ];
        for (name, damage) in cases {
            let mut f = figures();
            damage(&mut f);
            let text = broken(&f, &limits()).unwrap();
            assert!(text.starts_with(name), "{text}");
            assert_eq!(broken(&f, &Limits::default()), None);
        }
    }

    #[test]
    fn the_generators_own_troubles_are_told() {
        assert_eq!(bottleneck(&figures(), 1), None);
        let cases: [Case; 5] = [
            ("late", |f| f.generator.late_sends = 11),
            ("offered", |f| f.generator.offered_percent = 98.0),
            ("sockets", |f| f.generator.socket_drops = 11),
            ("receiving", |f| f.generator.receive_cores = 0.96),
            ("publishing", |f| f.generator.publish_cores = 0.96),
        ];
        for (word, damage) in cases {
            let mut f = figures();
            damage(&mut f);
            let text = bottleneck(&f, 1).unwrap();
            assert!(text.contains(word), "{text}");
        }
    }

    #[test]
    fn the_first_step_that_breaks_decides() {
        let step = |viewers: u64, limit: Option<&str>, inconclusive: Option<&str>| Step {
            limit_broken: limit.map(str::to_owned),
            inconclusive: inconclusive.map(str::to_owned),
            figures: Figures {
                viewers,
                ..figures()
            },
        };
        let (v, _, limit, held) = judge(&[step(5, None, None), step(9, Some("x: 1"), None)]);
        assert_eq!((v, held), (Verdict::Fail, Some(5)));
        assert_eq!(limit.as_deref(), Some("x: 1 at 9 viewers"));
        let (v, .., held) = judge(&[step(5, None, None), step(9, Some("x"), Some("late"))]);
        assert_eq!((v, held), (Verdict::Inconclusive, Some(5)));
        assert_eq!(judge(&[step(5, None, None)]).0, Verdict::Pass);
        assert_eq!(judge(&[]).0, Verdict::Inconclusive);
    }
}
