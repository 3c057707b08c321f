//! What viewers get out of their paths, through a whole core: every figure over
//! many seeds, held against what is asked for and what it was before.
//!
//! `cargo test --test simulation viewers -- --nocapture` prints the table; it is
//! compared with `viewers.baseline`, which `WEIR_BASELINE=write` before that
//! command writes anew. `WEIR_SEED=n` runs one seed and compares nothing.

mod conference;
mod paths;
mod scenarios;

use std::fmt::Write;
use std::path::PathBuf;

use scenarios::{Figure, Limit, SCENARIOS};

/// A figure over all seeds.
struct Row {
    path: &'static str,
    figure: &'static Figure,
    mean: f64,
    worst: f64,
}

impl Row {
    fn new(path: &'static str, figure: &'static Figure, values: &[f64]) -> Self {
        // Whichever is furthest towards, or beyond, the limit.
        let worst = match figure.limit {
            Limit::AtLeast(_) => values.iter().copied().fold(f64::MAX, f64::min),
            Limit::AtMost(_) => values.iter().copied().fold(f64::MIN, f64::max),
            Limit::Mean(low, high) => {
                let off = |v: &f64| (v - (low + high) / 2.0).abs();
                let by_distance = |a: &&f64, b: &&f64| off(a).total_cmp(&off(b));
                values.iter().max_by(by_distance).copied().unwrap_or(0.0)
            }
        };
        Self {
            path,
            figure,
            mean: values.iter().sum::<f64>() / values.len() as f64,
            worst,
        }
    }

    fn text(&self) -> String {
        let asked = match self.figure.limit {
            Limit::AtLeast(low) => format!("at least {low}"),
            Limit::AtMost(high) => format!("at most {high}"),
            Limit::Mean(low, high) => format!("{low} to {high} in the mean"),
        };
        let Self { mean, worst, .. } = self;
        format!(
            "{:<28} | {:<26} | {mean:>8.4} | {worst:>8.4} | {asked}",
            self.path, self.figure.what
        )
    }

    /// It is not as asked, where nothing else is said in the worst seed.
    fn fails(&self) -> bool {
        match self.figure.limit {
            Limit::AtLeast(low) => self.worst < low,
            Limit::AtMost(high) => self.worst > high,
            Limit::Mean(low, high) => !(low..=high).contains(&self.mean),
        }
    }

    /// It was clearly better before.
    fn is_worse_than(&self, before: f64) -> bool {
        let slack = self.figure.slack;
        match self.figure.limit {
            Limit::AtLeast(_) => self.mean < before - slack,
            Limit::AtMost(_) => self.mean > before + slack,
            Limit::Mean(..) => (self.mean - before).abs() > slack,
        }
    }
}

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/simulation/viewers.baseline")
}

/// Path, figure and mean of a line of the baseline.
fn parse(line: &str) -> Option<(&str, &str, f64)> {
    let mut fields = line.split('|').map(str::trim);
    Some((fields.next()?, fields.next()?, fields.next()?.parse().ok()?))
}

#[test]
fn viewers_get_what_their_paths_carry() {
    let chosen: Option<u64> = std::env::var("WEIR_SEED").ok().and_then(|s| s.parse().ok());
    let runs: Vec<Vec<Vec<f64>>> = std::thread::scope(|scope| {
        let threads: Vec<_> = SCENARIOS
            .iter()
            .map(|scenario| {
                scope.spawn(move || {
                    let seeds = chosen.map_or(1..=scenario.seeds, |seed| seed..=seed);
                    seeds.map(scenario.run).collect::<Vec<_>>()
                })
            })
            .collect();
        let ended = threads.into_iter().map(|t| t.join());
        ended.map(|run| run.expect("a run that ends")).collect()
    });
    let mut rows = Vec::new();
    for (scenario, seeds) in SCENARIOS.iter().zip(&runs) {
        for (at, figure) in scenario.figures.iter().enumerate() {
            let values: Vec<f64> = seeds.iter().map(|figures| figures[at]).collect();
            if std::env::var("WEIR_TRACE").is_ok() {
                println!("{} {}: {values:.3?}", scenario.name, figure.what);
            }
            rows.push(Row::new(scenario.name, figure, &values));
        }
    }
    let mut table = format!(
        "{:<28} | {:<26} | {:>8} | {:>8} | asked for\n",
        "path", "figure", "mean", "worst"
    );
    for row in &rows {
        let _ = writeln!(table, "{}", row.text());
    }
    println!("{table}");
    let known = std::fs::read_to_string(file()).unwrap_or_default();
    let known: Vec<_> = known.lines().filter_map(parse).collect();
    let write = std::env::var("WEIR_BASELINE").is_ok_and(|v| v == "write");
    let mut complaints = Vec::new();
    for row in &rows {
        let (name, what) = (row.path, row.figure.what);
        if row.fails() {
            complaints.push(format!("not as asked: {}", row.text()));
        }
        match known.iter().find(|k| (k.0, k.1) == (name, what)) {
            _ if write || chosen.is_some() => {}
            Some((.., before)) if row.is_worse_than(*before) => {
                complaints.push(format!("{before} before: {}", row.text()));
            }
            Some(_) => {}
            None => complaints.push(format!("{name}, {what} is not in the baseline")),
        }
    }
    if write && chosen.is_none() {
        let note = "Each figure over all seeds. Use: share of what the best layers that fit are, by\n\
            bytes. Switches: of layers, the most in 10 s of a steady path. Moved: the\n\
            largest change of an estimate, as a share. Shown: pictures decoded in time\n\
            and whole, of those sent.\n\n";
        std::fs::write(file(), format!("{note}{table}")).expect("the baseline is written");
    }
    assert!(complaints.is_empty(), "{complaints:#?}");
}
