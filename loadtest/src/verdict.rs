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

/// When others have more than this share of the server's cores, and it waits, what
/// is late may be late for them.
const FOREIGN_PERCENT: f64 = 3.0;
/// The same of a single second, which is enough for a freeze.
const FOREIGN_PERCENT_IN_A_SECOND: f64 = 20.0;
/// Waiting for a core that is no more than this is nothing, milliseconds a second.
const WAITED_MS: f64 = 10.0;

/// The end of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// All limits held.
    Pass,
    /// One broke.
    Fail,
    /// The generator was the bottleneck or the server was starved, so the figures
    /// say nothing about it.
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

/// A limit that broke.
#[derive(Debug, Clone, PartialEq)]
pub struct Broken {
    /// Its key in a scenario.
    pub name: &'static str,
    /// A server that lacks CPU breaks it, too, however good it is.
    pub timely: bool,
    what: String,
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.name, self.what)
    }
}

/// The limits that these figures break, the gravest first.
pub fn broken(f: &Figures, limits: &Limits) -> Vec<Broken> {
    let connected = if f.viewers == 0 {
        100.0
    } else {
        f.connected as f64 * 100.0 / f.viewers as f64
    };
    let mut out = Vec::new();
    if let Some(limit) = limits.connected_percent.filter(|l| connected < *l) {
        let mut what = format!("{connected:.2} %, required {limit} %");
        // Why, if the requests say so.
        if let Some((kind, count)) = f.http_errors.iter().max_by_key(|(_, n)| **n) {
            what.push_str(&format!(" ({kind}: {count} times)"));
        }
        out.push(Broken {
            name: "connected-percent",
            timely: !f.http_errors.keys().any(|k| k.starts_with("status 4")),
            what,
        });
    }
    let missing = f.publishers_expected.saturating_sub(f.publishers);
    let publishing = 100.0 - missing as f64 * 100.0 / f.publishers_expected.max(1) as f64;
    if let Some(limit) = limits.connected_percent.filter(|l| publishing < *l) {
        let (there, all) = (f.publishers, f.publishers_expected);
        out.push(Broken {
            name: "connected-percent",
            timely: true,
            what: format!("{publishing:.2} %, required {limit} % ({there} of {all} publishers)"),
        });
    }
    let tracks = f.tracks.delivered_percent();
    if let Some(limit) = limits.tracks_percent.filter(|l| tracks < *l) {
        let t = &f.tracks;
        out.push(Broken {
            name: "tracks-percent",
            timely: true,
            what: format!(
                "{tracks:.2} %, required {limit} % (sounds {} of {}, pictures {} of {})",
                t.audio_delivered, t.audio_expected, t.video_delivered, t.video_expected
            ),
        });
    }
    let errors: u64 = f.http_errors.values().sum();
    let server = f.server.as_ref();
    let cpu = server.map_or(0.0, |s| s.cpu_us_per_forwarded_packet);
    let memory = server.map_or(0.0, |s| s.rss_bytes_per_session / 1000.0);
    let count = |limit: Option<u64>| limit.map(|l| l as f64);
    let (delay, join) = (&f.delay_ms, f.join_ms.p95);
    let at_most = [
        (
            "loss-percent",
            true,
            f.loss_percent,
            limits.loss_percent,
            " %",
        ),
        ("freezes", true, f.freezes as f64, count(limits.freezes), ""),
        ("delay-p50-ms", true, delay.p50, limits.delay_p50_ms, " ms"),
        ("delay-p99-ms", true, delay.p99, limits.delay_p99_ms, " ms"),
        (
            "delay-p999-ms",
            true,
            delay.p999,
            limits.delay_p999_ms,
            " ms",
        ),
        ("join-p95-ms", true, join, limits.join_p95_ms, " ms"),
        (
            "duplicates",
            false,
            f.duplicates as f64,
            count(limits.duplicates),
            "",
        ),
        (
            "bad-packets",
            false,
            f.bad_packets as f64,
            count(limits.bad_packets),
            "",
        ),
        (
            "http-errors",
            false,
            errors as f64,
            count(limits.http_errors),
            "",
        ),
        (
            "cpu-us-per-packet",
            true,
            cpu,
            limits.cpu_us_per_packet,
            " us",
        ),
        (
            "kilobytes-per-session",
            false,
            memory,
            limits.kilobytes_per_session,
            " kB",
        ),
    ];
    for (name, timely, value, limit, unit) in at_most {
        if let Some(limit) = limit.filter(|l| value > *l) {
            out.push(Broken {
                name,
                timely,
                what: format!("{value:.3}{unit}, allowed {limit}{unit}"),
            });
        }
    }
    out
}

/// What other load took from the server, if that was enough to make it late: its
/// threads waited for a core while others had it.
pub fn disturbed(f: &Figures) -> Option<String> {
    let s = f.server.as_ref()?;
    let cores = s.cores.len().max(1) as f64;
    let share = (s.foreign_cores + s.stolen_cores) * 100.0 / cores;
    let worst = s.foreign_cores_worst_second * 100.0 / cores;
    let starved = share > FOREIGN_PERCENT || worst > FOREIGN_PERCENT_IN_A_SECOND;
    (starved && s.waited_ms_per_second > WAITED_MS).then(|| {
        format!(
            "other load took {share:.1} % of the server's cores ({worst:.0} % in the worst second, {:.1} % stolen by the host), and its threads waited {:.0} ms a second for a core",
            s.stolen_cores * 100.0 / cores,
            s.waited_ms_per_second
        )
    })
}

/// Why broken limits say nothing about the server: it was starved, and these are
/// limits that starving breaks.
pub fn excused(limits: &[Broken], disturbed: Option<&str>) -> Option<String> {
    let all_timely = !limits.is_empty() && limits.iter().all(|l| l.timely);
    disturbed.filter(|_| all_timely).map(str::to_owned)
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
    use crate::report::figures::TrackReport;
    use crate::server::ServerReport;

    /// A word of the expected text, and what brings it about.
    type Case = (&'static str, fn(&mut Figures));

    fn figures() -> Figures {
        let mut f = Figures {
            viewers: 10,
            connected: 10,
            publishers: 2,
            publishers_expected: 2,
            sent_packets: 1000,
            received_packets: 10_000,
            ..Figures::default()
        };
        f.tracks = TrackReport {
            audio_expected: 90,
            audio_delivered: 90,
            video_expected: 90,
            video_delivered: 90,
            worst_loss_percent: 0.0,
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
        assert_eq!(broken(&figures(), &limits()), []);
        let cases: [Case; 9] = [
            ("connected-percent", |f| f.connected = 9),
            ("connected-percent", |f| f.publishers = 1),
            ("bad-packets", |f| f.bad_packets = 1),
            ("tracks-percent", |f| f.tracks.audio_delivered = 89),
            ("tracks-percent", |f| f.tracks.video_delivered = 0),
            ("loss-percent", |f| f.loss_percent = 0.2),
            ("delay-p99-ms", |f| f.delay_ms.p99 = 51.0),
            ("freezes", |f| f.freezes = 1),
            ("duplicates", |f| f.duplicates = 1),
        ];
        for (name, damage) in cases {
            let mut f = figures();
            damage(&mut f);
            let all = broken(&f, &limits());
            let text = all[0].to_string();
            assert!(text.starts_with(name) && all.len() == 1, "{text}");
            let none = Limits {
                tracks_percent: None,
                bad_packets: None,
                ..Limits::default()
            };
            assert_eq!(broken(&f, &none), []);
        }
    }

    fn starved(foreign: f64, worst: f64, waited: f64) -> Figures {
        let server = ServerReport {
            cores: vec![0, 1],
            foreign_cores: foreign,
            foreign_cores_worst_second: worst,
            waited_ms_per_second: waited,
            ..ServerReport::default()
        };
        Figures {
            server: Some(server),
            ..figures()
        }
    }

    #[test]
    fn a_starved_server_is_not_blamed_for_being_late() {
        assert_eq!(disturbed(&figures()), None);
        // Others worked, but the server did not have to wait, or the reverse: it
        // waits for itself.
        assert_eq!(disturbed(&starved(1.0, 1.0, 5.0)), None);
        assert_eq!(disturbed(&starved(0.05, 0.3, 500.0)), None);
        let why = disturbed(&starved(0.5, 0.6, 200.0)).unwrap();
        assert!(why.contains("25.0 %") && why.contains("200 ms"), "{why}");
        assert!(disturbed(&starved(0.01, 0.5, 20.0)).is_some());
        let mut late = starved(0.5, 0.6, 200.0);
        late.delay_ms.p99 = 90.0;
        let limits_broken = broken(&late, &limits());
        assert_eq!(excused(&limits_broken, None), None);
        assert_eq!(excused(&limits_broken, Some(&why)).as_ref(), Some(&why));
        assert_eq!(excused(&[], Some(&why)), None);
        // A repeat is the server's own doing, however little CPU it has.
        late.duplicates = 1;
        assert_eq!(excused(&broken(&late, &limits()), Some(&why)), None);
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
            limits_broken: Vec::new(),
            disturbed: None,
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
