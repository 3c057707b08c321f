//! What came out of the rounds: every round, and a line for each peer.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::floor::Floor;
use super::rounds::FLOOR;
use crate::report::Report;
use crate::report::figures::Machine;
use crate::scenario::types::Scenario;
use crate::server::Placement;
use crate::verdict::Verdict;

/// One turn of one peer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Round {
    /// Counted from 1.
    pub round: u32,
    /// Whose turn.
    pub peer: String,
    /// Why there is nothing, if so.
    pub error: Option<String>,
    /// What the floor cost.
    pub floor: Option<Floor>,
    /// The run against a server.
    pub report: Option<Report>,
}

impl Round {
    pub(super) fn of(round: u32, peer: &str, made: Result<Report, String>) -> Self {
        let (report, error) = match made {
            Ok(report) => (Some(report), None),
            Err(error) => (None, Some(error)),
        };
        Self {
            round,
            peer: peer.to_owned(),
            error,
            floor: None,
            report,
        }
    }

    /// CPU microseconds for each forwarded packet.
    pub fn cpu_us(&self) -> Option<f64> {
        let server = self.report.as_ref().and_then(|r| r.figures.server.as_ref());
        let of_server = server.map(|s| s.cpu_us_per_forwarded_packet);
        self.floor
            .map(|f| f.cpu_us_per_packet)
            .or(of_server)
            .filter(|us| *us > 0.0)
    }

    /// The turn in a line.
    pub fn line(&self) -> String {
        let (round, peer) = (self.round, &self.peer);
        let what = match (&self.error, &self.report, self.cpu_us()) {
            (Some(e), ..) => e.clone(),
            (_, Some(r), Some(us)) => format!(
                "{us:.3} us/packet, delay p99 {:.2} ms, loss {:.4} %: {} ({})",
                r.figures.delay_ms.p99, r.figures.loss_percent, r.verdict, r.reason
            ),
            (_, Some(r), None) => format!("{} ({})", r.verdict, r.reason),
            (_, None, Some(us)) => format!("{us:.3} us/packet"),
            _ => "nothing".to_owned(),
        };
        format!("round {round} {peer}: {what}")
    }
}

/// Smallest, middle and largest of some rounds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Spread {
    /// Smallest.
    pub min: f64,
    /// Middle.
    pub median: f64,
    /// Largest.
    pub max: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let (a, b) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
        Some(Self {
            min,
            median: f64::midpoint(a, b),
            max,
        })
    }
}

/// A peer over all its rounds: medians of the figures, rounds that could not be
/// judged included (`inconclusive` says how many), those that failed to run not.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Summary {
    /// Its name.
    pub name: String,
    /// Its version, if it tells.
    pub version: Option<String>,
    /// Rounds that gave figures.
    pub measured: usize,
    /// Of those, where all limits held.
    pub passed: usize,
    /// Where the generator or the machine was in the way.
    pub inconclusive: usize,
    /// Rounds that could not be run.
    pub errors: usize,
    /// CPU microseconds for each forwarded packet.
    pub cpu_us_per_forwarded_packet: Option<Spread>,
    /// The same over the floor of the same round.
    pub ratio_to_floor: Option<Spread>,
    /// CPU microseconds for each viewer that joined, where no media flows.
    pub cpu_us_per_join: Option<Spread>,
    /// Packets lost, percent, in the worst round.
    pub loss_percent: Option<f64>,
    /// Median of the delay, milliseconds.
    pub delay_p50_ms: Option<f64>,
    /// 99th percentile of it.
    pub delay_p99_ms: Option<f64>,
    /// POST to the first keyframe, 95th percentile.
    pub join_p95_ms: Option<f64>,
    /// Longest time from POST to the first keyframe.
    pub join_max_ms: Option<f64>,
    /// Cores the server kept busy.
    pub cpu_cores: Option<f64>,
    /// Its memory for each session, bytes.
    pub rss_bytes_per_session: Option<f64>,
    /// RTP packets a second that viewers received.
    pub packets_per_second: Option<f64>,
    /// Viewers connected, percent, in the worst round.
    pub connected_percent: Option<f64>,
    /// Tracks (a participant's sound or picture for one viewer) that came, percent, in the
    /// worst round.
    pub tracks_percent: Option<f64>,
}

/// All rounds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PeersReport {
    /// The scenario's name.
    pub scenario: String,
    /// Viewers at full load.
    pub viewers: u64,
    /// When it began, seconds since 1970.
    pub started_at: u64,
    /// Where it ran.
    pub machine: Machine,
    /// Which cores servers (and the floor) and generator had.
    pub placement: Placement,
    /// What the peers say of themselves.
    pub versions: BTreeMap<String, String>,
    /// The scenario as it was run.
    pub settings: Scenario,
    /// A line for each peer.
    pub peers: Vec<Summary>,
    /// Every turn, in the order they were made.
    pub rounds: Vec<Round>,
}

/// A column of the table: its heading, and a peer's entry.
type Column = (&'static str, fn(&Summary) -> String);

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or("–".to_owned(), |v| format!("{v:.digits$}"))
}

fn spread(s: &Summary, value: Option<Spread>, digits: usize) -> String {
    match value {
        Some(c) if s.measured > 1 => format!(
            "{:.digits$} ({:.digits$}–{:.digits$})",
            c.median, c.min, c.max
        ),
        other => number(other.map(|c| c.median), digits),
    }
}

const COLUMNS: &[Column] = &[
    ("CPU µs/packet", |s| {
        spread(s, s.cpu_us_per_forwarded_packet, 3)
    }),
    ("CPU µs/join", |s| spread(s, s.cpu_us_per_join, 0)),
    ("× floor", |s| {
        number(s.ratio_to_floor.map(|r| r.median), 2)
    }),
    ("loss %", |s| number(s.loss_percent, 4)),
    ("delay p50 ms", |s| number(s.delay_p50_ms, 2)),
    ("p99 ms", |s| number(s.delay_p99_ms, 2)),
    ("join p95 ms", |s| number(s.join_p95_ms, 0)),
    ("packets/s", |s| number(s.packets_per_second, 0)),
    ("cores", |s| number(s.cpu_cores, 3)),
    ("kB/session", |s| {
        number(s.rss_bytes_per_session.map(|b| b / 1000.0), 0)
    }),
    ("connected %", |s| number(s.connected_percent, 1)),
    ("tracks %", |s| number(s.tracks_percent, 1)),
    ("rounds held", |s| {
        if s.name == FLOOR {
            return "–".to_owned();
        }
        let mut text = format!("{} of {}", s.passed, s.measured + s.errors);
        if s.inconclusive > 0 {
            let _ = write!(text, ", {} inconclusive", s.inconclusive);
        }
        text
    }),
];

impl PeersReport {
    /// Fills in the peers' lines from the rounds.
    pub(super) fn summed_up(mut self) -> Self {
        let mut names: Vec<&str> = Vec::new();
        for round in &self.rounds {
            if !names.contains(&round.peer.as_str()) {
                names.push(&round.peer);
            }
        }
        self.peers = names.iter().map(|name| self.summary(name)).collect();
        self
    }

    fn summary(&self, name: &str) -> Summary {
        let rounds: Vec<&Round> = self.rounds.iter().filter(|r| r.peer == name).collect();
        let reports: Vec<&Report> = rounds.iter().filter_map(|r| r.report.as_ref()).collect();
        let floor_of = |round: u32| {
            let floor = |r: &&Round| r.round == round && r.peer == FLOOR;
            self.rounds.iter().find(floor).and_then(Round::cpu_us)
        };
        let ratio = |r: &&Round| Some(r.cpu_us()? / floor_of(r.round)?);
        let median = |value: fn(&Report) -> Option<f64>| {
            Spread::of(reports.iter().filter_map(|r| value(r)).collect()).map(|s| s.median)
        };
        let verdict = |v: Verdict| reports.iter().filter(|r| r.verdict == v.name()).count();
        Summary {
            name: name.to_owned(),
            version: self.versions.get(name).cloned(),
            measured: rounds.iter().filter(|r| r.error.is_none()).count(),
            passed: verdict(Verdict::Pass),
            inconclusive: verdict(Verdict::Inconclusive),
            errors: rounds.iter().filter(|r| r.error.is_some()).count(),
            cpu_us_per_forwarded_packet: Spread::of(
                rounds.iter().filter_map(|r| r.cpu_us()).collect(),
            ),
            ratio_to_floor: Spread::of(rounds.iter().filter_map(ratio).collect()),
            cpu_us_per_join: Spread::of(
                reports
                    .iter()
                    .filter_map(|r| Some(r.figures.server.as_ref()?.cpu_us_per_join))
                    .filter(|us| *us > 0.0)
                    .collect(),
            ),
            loss_percent: reports
                .iter()
                .map(|r| r.figures.loss_percent)
                .max_by(f64::total_cmp),
            delay_p50_ms: median(|r| delay(r).then_some(r.figures.delay_ms.p50)),
            delay_p99_ms: median(|r| delay(r).then_some(r.figures.delay_ms.p99)),
            join_p95_ms: median(|r| joined(r).then_some(r.figures.join_ms.p95)),
            join_max_ms: median(|r| joined(r).then_some(r.figures.join_ms.max)),
            cpu_cores: median(|r| Some(r.figures.server.as_ref()?.cpu_cores)),
            rss_bytes_per_session: median(|r| {
                Some(r.figures.server.as_ref()?.rss_bytes_per_session)
            }),
            packets_per_second: median(|r| Some(r.figures.received_packets_per_second)),
            connected_percent: reports
                .iter()
                .map(|r| r.figures.connected as f64 * 100.0 / r.figures.viewers.max(1) as f64)
                .min_by(f64::total_cmp),
            tracks_percent: reports
                .iter()
                .map(|r| r.figures.tracks.delivered_percent())
                .min_by(f64::total_cmp),
        }
    }

    /// True when every round of every server held its limits.
    pub fn passed(&self) -> bool {
        self.peers
            .iter()
            .all(|p| p.errors == 0 && (p.name == FLOOR || p.passed == p.measured))
    }

    /// The table as Markdown, which reads well as text, too.
    pub fn markdown(&self) -> String {
        let mut rows: Vec<Vec<String>> = vec![vec![format!("{} viewers", self.viewers)]];
        rows.extend(self.peers.iter().map(|peer| vec![peer.name.clone()]));
        for (heading, entry) in COLUMNS {
            let entries: Vec<String> = self.peers.iter().map(entry).collect();
            // What nobody has is no column.
            if entries.iter().all(|e| e == "–") {
                continue;
            }
            rows[0].push((*heading).to_owned());
            for (row, entry) in rows[1..].iter_mut().zip(entries) {
                row.push(entry);
            }
        }
        let width = |column: usize| {
            let lengths = rows.iter().map(|r| r[column].chars().count());
            lengths.max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
        let mut out = String::new();
        for (i, row) in rows.iter().enumerate() {
            for (cell, &width) in row.iter().zip(&widths) {
                let _ = write!(out, "| {cell:width$} ");
            }
            out.push_str("|\n");
            if i == 0 {
                for (column, &width) in widths.iter().enumerate() {
                    let line = "-".repeat(width);
                    let end = if column == 0 { "-" } else { ":" };
                    let _ = write!(out, "|-{line}{end}");
                }
                out.push_str("|\n");
            }
        }
        out
    }
}

fn delay(report: &Report) -> bool {
    report.figures.delay_ms.count > 0
}

fn joined(report: &Report) -> bool {
    report.figures.join_ms.count > 0
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::server::ServerReport;

    pub(crate) fn report() -> PeersReport {
        let floor = |round: u32, us: f64| Round {
            round,
            peer: FLOOR.to_owned(),
            floor: Some(Floor {
                cpu_us_per_packet: us,
                ..Floor::default()
            }),
            ..Round::default()
        };
        let server = |round: u32, us: f64, verdict: Verdict| {
            let mut report = Report {
                verdict: verdict.name().to_owned(),
                ..Report::default()
            };
            report.figures.viewers = 10;
            report.figures.connected = 10;
            report.figures.server = Some(ServerReport {
                cpu_us_per_forwarded_packet: us,
                ..ServerReport::default()
            });
            Round::of(round, "weir", Ok(report))
        };
        PeersReport {
            rounds: vec![
                server(1, 1.0, Verdict::Pass),
                floor(1, 0.5),
                floor(2, 2.0),
                server(2, 3.0, Verdict::Inconclusive),
                server(3, 5.0, Verdict::Pass),
                floor(3, 1.0),
                Round::of(4, "weir", Err("gone".to_owned())),
            ],
            ..PeersReport::default()
        }
        .summed_up()
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        let r = report();
        let weir = &r.peers[0];
        assert_eq!((weir.measured, weir.passed, weir.inconclusive), (3, 2, 1));
        assert_eq!(weir.errors, 1);
        let us = weir.cpu_us_per_forwarded_packet.unwrap();
        assert_eq!((us.min, us.median, us.max), (1.0, 3.0, 5.0));
        // 2, 1.5 and 5; the medians alone would give 3.
        assert_eq!(weir.ratio_to_floor.unwrap().median, 2.0);
        assert!(!r.passed());
        assert_eq!(Spread::of(vec![]), None);
    }

    #[test]
    fn the_table_has_a_line_for_each() {
        let text = report().markdown();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert!(lines[2].contains("3.000 (1.000–5.000)"), "{text}");
        assert!(lines[2].contains("2 of 4, 1 inconclusive"), "{text}");
        let columns = lines[0].matches('|').count();
        assert!(lines.iter().all(|l| l.matches('|').count() == columns));
        assert!(!text.contains("µs/join"), "nobody has that: {text}");
    }

    #[test]
    fn a_loss_in_one_round_is_a_loss() {
        let round = |percent: f64| {
            let mut report = Report::default();
            report.figures.loss_percent = percent;
            Round::of(1, "weir", Ok(report))
        };
        let report = PeersReport {
            rounds: vec![round(0.0), round(7.5), round(0.0)],
            ..PeersReport::default()
        }
        .summed_up();
        assert_eq!(report.peers[0].loss_percent, Some(7.5));
    }

    #[test]
    fn what_a_join_costs_is_the_median_of_the_rounds_that_know() {
        let round = |us: f64| {
            let mut report = Report::default();
            report.figures.server = Some(ServerReport {
                cpu_us_per_join: us,
                ..ServerReport::default()
            });
            Round::of(1, "weir", Ok(report))
        };
        let report = PeersReport {
            rounds: vec![round(300.0), round(0.0), round(400.0)],
            ..PeersReport::default()
        }
        .summed_up();
        let text = report.markdown();
        assert!(text.contains("| CPU µs/join"), "{text}");
        assert!(text.contains("| 350 (300–400)"), "{text}");
    }
}
