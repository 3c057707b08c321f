//! The highest load that holds.

use super::{Plan, RunError, passed, run};
use crate::report::Report;
use crate::scenario::types::Shape;
use crate::verdict::Verdict;

/// Finds the highest number of viewers of each publisher at which all limits
/// hold: doubles from the scenario's number until one breaks (or halves until
/// none does), then halves the interval until it is `percent` of the number.
/// Returns the report of the highest that held, or of the lowest that did not
/// when none held; each run is given to `each`.
pub async fn search(
    plan: &Plan,
    percent: f64,
    most: u32,
    mut each: impl FnMut(u32, &Report),
) -> Result<Report, RunError> {
    let mut good: Option<(u32, Report)> = None;
    let mut bad: Option<(u32, Report)> = None;
    let mut viewers = plan.scenario.load.viewers.clamp(1, most);
    loop {
        let mut this = plan.clone();
        this.scenario.load.viewers = viewers;
        this.scenario.ramp.shape = Shape::Linear;
        let report = run(&this).await?;
        each(viewers, &report);
        if passed(&report) {
            good = Some((viewers, report));
        } else {
            bad = Some((viewers, report));
        }
        let low = good.as_ref().map_or(0, |(v, _)| *v);
        let Some((high, _)) = &bad else {
            if low >= most {
                break;
            }
            viewers = (low * 2).min(most);
            continue;
        };
        if f64::from(high - low) <= (f64::from(*high) * percent / 100.0).max(1.0) {
            break;
        }
        viewers = low + (high - low) / 2;
    }
    match (good, bad) {
        (Some((viewers, mut report)), bad) => {
            if let Some((above, worse)) = bad {
                report.limit_broken.clone_from(&worse.limit_broken);
                report.reason =
                    format!("{viewers} viewers held; {above} did not: {}", worse.reason);
                if worse.verdict == Verdict::Inconclusive.name() {
                    report.verdict = Verdict::Inconclusive.name().to_owned();
                }
            }
            Ok(report)
        }
        (None, Some((_, report))) => Ok(report),
        // The loop runs at least once and files each report in one of both.
        (None, None) => run(plan).await,
    }
}
