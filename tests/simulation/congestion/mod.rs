//! Weir's congestion controller and str0m's on the same paths, side by side.
//!
//! `cargo test --test simulation congestion -- --nocapture` prints the table;
//! it is compared with `congestion.baseline`, which
//! `WEIR_BASELINE=write cargo test --test simulation congestion` writes anew.
//! `WEIR_TRACE=1` shows estimates and queue ten times a second.

mod engine;
mod flow;
mod ours;
mod path;
mod rival;
mod scenarios;

use std::fmt::Write;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Instant;

use flow::Flow;
use path::{Figures, Scenario};

/// Each figure is the mean of this many seeds.
const SEEDS: u64 = 12;

/// What may be worse than in the baseline: share of use, milliseconds and share
/// of queueing delay, seconds of recovery.
const USE: f64 = 0.03;
const QUEUE: (f64, f64) = (10.0, 0.2);
const RECOVERY: f64 = 1.5;

/// Two flows share fairly within these: in the mean, and in the long run with each
/// seed.
const FAIR: RangeInclusive<f64> = 0.35..=0.65;
const FAIR_EACH: RangeInclusive<f64> = 0.39..=0.61;

/// What may be worse than with str0m: the table's last digits, which differ from seed
/// to seed, and by how much a share is off a half.
const USE_BEHIND: f64 = 0.003;
const QUEUE_BEHIND: f64 = 2.0;
const SHARE_BEHIND: f64 = 0.04;

fn mean(scenario: &Scenario, make: &dyn Fn(Instant, f64, u64) -> Box<dyn Flow>) -> Figures {
    let all: Vec<Figures> = (1..=SEEDS)
        .map(|seed| path::run(scenario, seed, make))
        .collect();
    let of = |figure: &dyn Fn(&Figures) -> f64| {
        let sum: f64 = all.iter().map(figure).sum();
        sum / SEEDS as f64
    };
    let first = all[0];
    Figures {
        utilisation: of(&|f| f.utilisation),
        queue_p95: of(&|f| f.queue_p95),
        recovery: first.recovery.map(|_| of(&|f| f.recovery.unwrap_or(0.0))),
        fairness: first.fairness.map(|_| of(&|f| f.fairness.unwrap_or(0.0))),
        loss: of(&|f| f.loss),
    }
}

fn ours(start: Instant, most: f64, seed: u64) -> Box<dyn Flow> {
    Box::new(ours::Ours::new(start, most, seed))
}

fn row(name: &str, who: &str, figures: &Figures) -> String {
    let optional = |value: Option<f64>, digits: usize| {
        value.map_or("-".to_owned(), |v| format!("{v:.digits$}"))
    };
    format!(
        "{name:<34} | {who:<5} | {:>5.3} | {:>6.1} | {:>5} | {:>5} | {:>5.3}",
        figures.utilisation,
        figures.queue_p95,
        optional(figures.recovery, 1),
        optional(figures.fairness, 2),
        figures.loss,
    )
}

/// The figures of a line of the baseline.
fn parse(line: &str) -> Option<(&str, &str, Figures)> {
    let mut fields = line.split('|').map(str::trim);
    let (name, who) = (fields.next()?, fields.next()?);
    let mut next = || fields.next();
    let figures = Figures {
        utilisation: next()?.parse().ok()?,
        queue_p95: next()?.parse().ok()?,
        recovery: next()?.parse().ok(),
        fairness: next()?.parse().ok(),
        loss: next()?.parse().ok()?,
    };
    Some((name, who, figures))
}

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/simulation/congestion.baseline")
}

/// What is worse in `found` than in `known`.
fn worse(found: &Figures, known: &Figures) -> Vec<String> {
    let mut all = Vec::new();
    if found.utilisation < known.utilisation - USE {
        all.push(format!(
            "use {:.3}, was {:.3}",
            found.utilisation, known.utilisation
        ));
    }
    if found.queue_p95 > known.queue_p95 * (1.0 + QUEUE.1) + QUEUE.0 {
        all.push(format!(
            "queue {:.1}, was {:.1}",
            found.queue_p95, known.queue_p95
        ));
    }
    if let (Some(now), Some(then)) = (found.recovery, known.recovery)
        && now > then + RECOVERY
    {
        all.push(format!("recovery {now:.1}, was {then:.1}"));
    }
    all
}

#[test]
fn the_table_is_as_good_as_the_baseline_and_as_str0m() {
    let mut table = format!(
        "{:<34} | {:<5} | {:>5} | {:>6} | {:>5} | {:>5} | {:>5}\n",
        "path", "whose", "use", "queue", "recov", "share", "loss"
    );
    let known = std::fs::read_to_string(file()).unwrap_or_default();
    let known: Vec<_> = known.lines().filter_map(parse).collect();
    let write = std::env::var("WEIR_BASELINE").is_ok_and(|v| v == "write");
    let mut complaints = Vec::new();
    for scenario in scenarios::all() {
        let name = scenario.name;
        let ours = mean(&scenario, &ours);
        let engine = mean(&scenario, &|start, most, seed| {
            Box::new(engine::Engine::new(start, most, seed))
        });
        for (who, figures) in [("weir", &ours), ("str0m", &engine)] {
            let _ = writeln!(table, "{}", row(name, who, figures));
        }
        if let Some(share) = ours.fairness
            && !FAIR.contains(&share)
        {
            complaints.push(format!("{name}: the first flow has {share:.2}"));
        }
        let unfair = |figures: &Figures| figures.fairness.map(|share| (share - 0.5).abs());
        let behind = ours.utilisation < engine.utilisation - USE_BEHIND
            || ours.queue_p95 > engine.queue_p95 + QUEUE_BEHIND
            || ours.recovery > engine.recovery
            || unfair(&ours) > unfair(&engine).map(|off| off + SHARE_BEHIND);
        if behind {
            complaints.push(format!("{name}: behind str0m"));
        }
        match known.iter().find(|k| (k.0, k.1) == (name, "weir")) {
            Some((_, _, before)) => {
                let worse = worse(&ours, before);
                complaints.extend(worse.iter().map(|what| format!("{name}: {what}")));
            }
            None if !write => complaints.push(format!("{name} is not in the baseline")),
            None => {}
        }
    }
    println!("{table}");
    if write {
        let note = "Use: share of what path and media allow that arrived as media. Queue: 95th\n\
            percentile of the wait in the path's queue, ms. Recovery: seconds from the\n\
            capacity's return to 80 % of it. Share: of the first of two flows, the\n\
            other being of the same kind, constant, or a bulk transfer over TCP (CUBIC).\n\
            Means of several seeds.\n\n";
        std::fs::write(file(), format!("{note}{table}")).expect("the baseline is written");
        return;
    }
    assert!(complaints.is_empty(), "{complaints:#?}");
}

#[test]
fn two_equal_flows_become_alike_with_every_seed() {
    for scenario in scenarios::equal_flows() {
        let shares = (1..=SEEDS).map(|seed| path::run(&scenario, seed, &ours).fairness);
        let shares: Vec<f64> = shares.map(|share| share.expect("two flows")).collect();
        println!("{}: {shares:.2?}", scenario.name);
        let fair = shares.iter().all(|share| FAIR_EACH.contains(share));
        assert!(fair, "{}: {shares:.2?}", scenario.name);
    }
}
