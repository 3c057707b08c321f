//! The highest load that holds.

use super::{Plan, RunError, passed, run};
use crate::report::{Report, Step};
use crate::scenario::types::Shape;
use crate::verdict::Verdict;

/// An inconclusive run is made again so many times before its load counts as too
/// high to be measured.
const RETRIES: u32 = 2;

/// Finds the highest number of viewers of each publisher at which all limits
/// hold: doubles from the scenario's number until one breaks (or halves until
/// none does), then halves the interval until it is `percent` of the number.
///
/// Returns the report of the highest that held, or of the lowest that did not when
/// none held. Its `steps` are all runs in the order they were made, its
/// `limit_broken` is that of the lowest load that did not hold. Each run is given
/// to `each`.
pub async fn search(
    plan: &Plan,
    percent: f64,
    most: u32,
    mut each: impl FnMut(u32, &Report),
) -> Result<Report, RunError> {
    let mut interval = Interval::new(plan.scenario.load.viewers, percent, most);
    let mut good: Option<Report> = None;
    let mut bad: Option<Report> = None;
    let mut steps: Vec<Step> = Vec::new();
    while let Some(viewers) = interval.next() {
        let mut this = plan.clone();
        this.scenario.load.viewers = viewers;
        this.scenario.ramp.shape = Shape::Linear;
        let mut report = match (run(&this).await, good.take()) {
            (Ok(report), found) => {
                good = found;
                report
            }
            // What was found before is kept: a generator that can't do more has found its own
            // end, not the server's, and a server that is gone had held so many.
            (Err(e), Some(found)) => return Ok(ended(found, viewers, &e, steps)),
            (Err(e), None) => return Err(e),
        };
        each(viewers, &report);
        steps.extend(report.steps.iter().cloned());
        for _ in 0..RETRIES {
            if report.verdict != Verdict::Inconclusive.name() {
                break;
            }
            report = match (run(&this).await, good.take()) {
                (Ok(report), found) => {
                    good = found;
                    report
                }
                (Err(e), Some(found)) => return Ok(ended(found, viewers, &e, steps)),
                (Err(e), None) => return Err(e),
            };
            each(viewers, &report);
            steps.extend(report.steps.iter().cloned());
        }
        interval.tell(passed(&report));
        if passed(&report) {
            good = Some(report);
        } else {
            bad = Some(report);
        }
    }
    let mut out = match (good, bad) {
        (Some(mut report), Some(worse)) => {
            report.limit_broken.clone_from(&worse.limit_broken);
            report.reason = format!(
                "{} viewers held; {} did not: {}",
                report.figures.viewers, worse.figures.viewers, worse.reason
            );
            if worse.verdict == Verdict::Inconclusive.name() {
                report.verdict = worse.verdict;
            }
            report
        }
        (Some(report), None) | (None, Some(report)) => report,
        // The interval has at least one number to try.
        (None, None) => return run(plan).await,
    };
    out.steps = steps;
    Ok(out)
}

/// The report of a search that could not go on at so many viewers.
fn ended(found: Report, viewers: u32, why: &RunError, steps: Vec<Step>) -> Report {
    Report {
        verdict: Verdict::Inconclusive.name().to_owned(),
        reason: format!(
            "{} viewers held; {viewers} of each publisher could not be tried: {why}",
            found.figures.viewers
        ),
        steps,
        ..found
    }
}

/// The numbers still possible.
struct Interval {
    /// The highest that held.
    low: u32,
    /// The lowest that did not.
    high: Option<u32>,
    next: u32,
    most: u32,
    percent: f64,
}

impl Interval {
    fn new(start: u32, percent: f64, most: u32) -> Self {
        let most = most.max(1);
        Self {
            low: 0,
            high: None,
            next: start.clamp(1, most),
            most,
            percent,
        }
    }

    /// What to try now, or `None` when it is known exactly enough.
    fn next(&self) -> Option<u32> {
        let Some(high) = self.high else {
            return (self.low < self.most).then_some(self.next);
        };
        let exact = (f64::from(high) * self.percent / 100.0).max(1.0);
        (f64::from(high - self.low) > exact).then_some(self.next)
    }

    /// How the try went.
    fn tell(&mut self, held: bool) {
        if held {
            self.low = self.next;
        } else {
            self.high = Some(self.next);
        }
        self.next = match self.high {
            Some(high) => self.low + (high - self.low) / 2,
            None => self.low.saturating_mul(2).min(self.most),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches a server that holds `capacity`, and returns what was found and tried.
    fn find(capacity: u32, start: u32, percent: f64, most: u32) -> (u32, Vec<u32>) {
        let mut interval = Interval::new(start, percent, most);
        let mut tried = Vec::new();
        while let Some(n) = interval.next() {
            tried.push(n);
            interval.tell(n <= capacity);
        }
        (interval.low, tried)
    }

    #[test]
    fn the_interval_closes_in_on_the_capacity() {
        assert_eq!(find(37, 10, 0.0, 1000).0, 37);
        assert_eq!(find(3, 100, 0.0, 1000).0, 3);
        assert_eq!(find(0, 8, 0.0, 1000), (0, vec![8, 4, 2, 1]));
        assert_eq!(find(500, 10, 0.0, 50), (50, vec![10, 20, 40, 50]));
        let (found, tried) = find(1000, 100, 5.0, 10_000);
        assert!((950..=1000).contains(&found), "{found}");
        assert!(tried.len() < 12, "{tried:?}");
    }
}
