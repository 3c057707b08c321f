//! One page that needs nothing else: figures, steps and plots.

use std::fmt::Write as _;

use super::plot::{self, Bar, Curve};
use super::rows::{GROUPS, TILES};
use super::{Figures, Report, Sample};
use crate::peers::report::PeersReport;

const STYLE: &str = include_str!("style.css");
/// What a reader must know to judge the figures.
const NOTES: &str = "Delay runs from the publisher's send to the kernel's receive time-stamp. Join runs from the POST to the first complete keyframe. \
Loss is what the publisher sent and a viewer never got, after repairs. CPU per packet is the server's whole CPU time over the publishers' packets that viewers received in the same seconds, each once. \
What the generator itself was late for or dropped is never charged to the server; when it was too much, or when other load starved the server, the verdict is inconclusive.";

/// Text for a page.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

fn head(out: &mut String, title: &str) {
    let _ = write!(
        out,
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>{0}</title><style>{STYLE}</style><h1>{0}</h1>",
        escape(title)
    );
}

fn verdict(out: &mut String, name: &str, reason: &str) {
    let (name, reason) = (escape(name), escape(reason));
    let _ = write!(
        out,
        "<p><span class=\"verdict {name}\">{name}</span> {reason}</p>"
    );
}

fn dim(out: &mut String, text: &str) {
    let _ = write!(out, "<p class=\"dim\">{}</p>", escape(text));
}

/// A table with a column for each set of figures. Rows that have nothing to say in
/// any column are left out.
fn table(out: &mut String, columns: &[(String, &Figures)]) {
    out.push_str("<div class=\"wide\"><table><thead><tr><th></th>");
    for (name, _) in columns {
        let _ = write!(out, "<th>{}</th>", escape(name));
    }
    out.push_str("</tr></thead>");
    for (group, rows) in GROUPS {
        let mut written = String::new();
        for (name, text) in *rows {
            let cells: Vec<Option<String>> = columns.iter().map(|(_, f)| text(f)).collect();
            if cells.iter().all(Option::is_none) {
                continue;
            }
            let _ = write!(written, "<tr><td>{name}</td>");
            for cell in cells {
                let _ = write!(written, "<td>{}</td>", escape(&cell.unwrap_or("–".into())));
            }
            written.push_str("</tr>");
        }
        if !written.is_empty() {
            let across = columns.len() + 1;
            let _ = write!(
                out,
                "<tr class=\"group\"><td colspan=\"{across}\">{group}</td></tr>{written}"
            );
        }
    }
    out.push_str("</table></div>");
}

fn figure(out: &mut String, title: &str, names: &[&str], svg: &str) {
    if svg.is_empty() {
        return;
    }
    let _ = write!(out, "<figure><figcaption>{}", escape(title));
    for (i, name) in names.iter().enumerate().filter(|(_, n)| !n.is_empty()) {
        let _ = write!(
            out,
            "<span><i style=\"background:{}\"></i>{}</span>",
            plot::colour(i),
            escape(name)
        );
    }
    let _ = write!(out, "</figcaption>{svg}</figure>");
}

/// The page of one run.
pub fn page(report: &Report) -> String {
    let mut out = String::new();
    head(&mut out, &format!("Load test: {}", report.scenario));
    verdict(&mut out, &report.verdict, &report.reason);
    let target = format!("Server: {}", report.target);
    dim(&mut out, &target);
    let where_it_ran = format!("{}; {}", report.machine.text(), report.placement.text());
    dim(&mut out, &where_it_ran);
    out.push_str("<div class=\"tiles\">");
    for (name, text) in TILES {
        if let Some(value) = text(&report.figures) {
            let value = escape(&value);
            let _ = write!(out, "<div class=\"tile\"><b>{value}</b>{name}</div>");
        }
    }
    out.push_str("</div><div class=\"plots\">");
    plots(&mut out, &[("", report)]);
    out.push_str("</div><h2>Figures</h2>");
    let mut columns = vec![("All".to_owned(), &report.figures)];
    if report.steps.len() > 1 {
        for step in &report.steps {
            columns.push((format!("{} viewers", step.figures.viewers), &step.figures));
        }
    }
    table(&mut out, &columns);
    steps(&mut out, report);
    threads(&mut out, report);
    dim(&mut out, NOTES);
    settings(&mut out, &report.settings);
    out.push_str("</html>\n");
    out
}

/// How each step ended, when there are several or one did not hold.
fn steps(out: &mut String, report: &Report) {
    let told = |s: &super::Step| !s.limits_broken.is_empty() || s.disturbed.is_some();
    if report.steps.len() < 2 && !report.steps.iter().any(told) {
        return;
    }
    out.push_str(
        "<h2>Steps</h2><div class=\"wide\"><table><tr><th>Viewers</th><th>Limits</th></tr>",
    );
    for step in &report.steps {
        let mut words = step.limits_broken.clone();
        if words.is_empty() {
            words.push("all held".to_owned());
        }
        words.extend(step.inconclusive.clone());
        words.extend(
            step.disturbed
                .clone()
                .filter(|d| step.inconclusive.as_ref() != Some(d)),
        );
        let _ = write!(
            out,
            "<tr><td>{}</td><td style=\"text-align:left;white-space:normal\">{}</td></tr>",
            step.figures.viewers,
            escape(&words.join("; "))
        );
    }
    out.push_str("</table></div>");
}

fn threads(out: &mut String, report: &Report) {
    let Some(server) = report
        .figures
        .server
        .as_ref()
        .filter(|s| !s.threads.is_empty())
    else {
        return;
    };
    out.push_str("<h2>The server's threads</h2><div class=\"wide\"><table><tr><th>Thread</th><th>Number</th><th>Cores</th><th>Waited for a core, ms/s</th></tr>");
    for t in &server.threads {
        let _ = write!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{:.3}</td><td>{:.1}</td></tr>",
            escape(&t.name),
            t.count,
            t.cpu_cores,
            t.waited_ms_per_second
        );
    }
    out.push_str("</table></div>");
}

fn settings(out: &mut String, scenario: &crate::scenario::types::Scenario) {
    // Only a number that TOML can't write would fail; then there is no text.
    if let Ok(text) = toml::to_string(scenario) {
        let text = escape(&text);
        let _ = write!(
            out,
            "<details><summary>The scenario</summary><pre>{text}</pre></details>"
        );
    }
}

/// The page of several runs side by side.
pub fn comparison(runs: &[(String, Report)]) -> String {
    let mut out = String::new();
    head(&mut out, "Load tests side by side");
    for (name, report) in runs {
        verdict(
            &mut out,
            &report.verdict,
            &format!("{name}: {}", report.reason),
        );
    }
    let named: Vec<_> = runs.iter().map(|(n, r)| (n.as_str(), r)).collect();
    side_by_side(&mut out, &named);
    out.push_str("</html>\n");
    out
}

fn side_by_side(out: &mut String, named: &[(&str, &Report)]) {
    out.push_str("<div class=\"plots\">");
    plots(out, named);
    out.push_str("</div><h2>Figures</h2>");
    let columns: Vec<_> = named
        .iter()
        .map(|(name, r)| ((*name).to_owned(), &r.figures))
        .collect();
    table(out, &columns);
    dim(out, NOTES);
}

/// The page of peers that took turns.
pub fn peers(report: &PeersReport) -> String {
    let mut out = String::new();
    let title = format!("Peers: {}, {} viewers", report.scenario, report.viewers);
    head(&mut out, &title);
    let where_it_ran = format!("{}; {}", report.machine.text(), report.placement.text());
    dim(&mut out, &where_it_ran);
    for (name, version) in &report.versions {
        dim(&mut out, &format!("{name}: {version}"));
    }
    out.push_str("<div class=\"wide\"><table>");
    for (i, line) in report
        .markdown()
        .lines()
        .enumerate()
        .filter(|(i, _)| *i != 1)
    {
        let cell = if i == 0 { "th" } else { "td" };
        out.push_str("<tr>");
        for text in line.trim_matches('|').split('|') {
            let _ = write!(out, "<{cell}>{}</{cell}>", escape(text.trim()));
        }
        out.push_str("</tr>");
    }
    out.push_str("</table></div><h2>Rounds</h2><div class=\"plots\">");
    figure(&mut out, CPU_TITLE, &[], &cpu_bars(report));
    let last = last_round(report);
    plots(&mut out, &last);
    out.push_str("</div><h2>The last round</h2>");
    let columns: Vec<_> = last
        .iter()
        .map(|(name, r)| ((*name).to_owned(), &r.figures))
        .collect();
    table(&mut out, &columns);
    out.push_str("<h2>Every turn</h2>");
    for round in &report.rounds {
        dim(&mut out, &round.line());
    }
    dim(&mut out, NOTES);
    settings(&mut out, &report.settings);
    out.push_str("</html>\n");
    out
}

const CPU_TITLE: &str = "CPU for each forwarded packet";

/// Medians over the rounds, with each round as a dot.
pub(super) fn cpu_bars(report: &PeersReport) -> String {
    let bars: Vec<Bar> = report
        .peers
        .iter()
        .filter_map(|peer| {
            let rounds = report.rounds.iter().filter(|r| r.peer == peer.name);
            Some(Bar {
                name: peer.name.clone(),
                value: peer.cpu_us_per_forwarded_packet?.median,
                single: rounds.filter_map(|r| r.cpu_us()).collect(),
            })
        })
        .collect();
    plot::bars("µs", &bars)
}

/// Each server's last report.
pub(super) fn last_round(report: &PeersReport) -> Vec<(&str, &Report)> {
    let last = |name: &str| {
        let mut rounds = report.rounds.iter().rev();
        rounds.find_map(|r| r.report.as_ref().filter(|_| r.peer == name))
    };
    report
        .peers
        .iter()
        .filter_map(|p| Some((p.name.as_str(), last(&p.name)?)))
        .collect()
}

/// The figures of several runs side by side, as text.
pub fn comparison_text(runs: &[(String, Report)]) -> String {
    let mut out = format!("{:36}", "");
    for (name, report) in runs {
        let _ = write!(out, " {:>22}", format!("{name} ({})", report.verdict));
    }
    out.push('\n');
    for (name, text) in GROUPS.iter().flat_map(|(_, rows)| *rows) {
        let _ = write!(out, "{name:36}");
        for (_, report) in runs {
            let _ = write!(out, " {:>22}", text(&report.figures).unwrap_or("–".into()));
        }
        out.push('\n');
    }
    out
}

type Value = fn(&Sample) -> f64;

/// A plot's title, its unit, and its values by name; side by side only the first
/// is drawn of each run.
type Plot<'a> = (&'a str, &'a str, &'a [(&'a str, Value)]);

const PLOTS: &[Plot<'_>] = &[
    ("Viewers", "viewers", &[("", |s| s.viewers as f64)]),
    ("Received", "packets/s", &[("", |s| s.packets_per_second)]),
    (
        "Delay",
        "ms",
        &[("p99", |s| s.delay_p99_ms), ("p50", |s| s.delay_p50_ms)],
    ),
    ("Loss", "%", &[("", |s| s.loss_percent)]),
    (
        "CPU",
        "cores",
        &[
            ("server", |s| s.server_cores),
            ("generator", |s| s.generator_cores),
            ("others", |s| s.foreign_cores),
        ],
    ),
    (
        "Server's memory",
        "MB",
        &[("", |s| s.server_rss_bytes as f64 / 1e6)],
    ),
];

fn plots(out: &mut String, runs: &[(&str, &Report)]) {
    for (title, _, _) in PLOTS {
        let (title, curves, svg) = one_plot(title, runs);
        let names: Vec<&str> = curves.iter().map(|c| c.name.as_str()).collect();
        figure(out, &title, &names, &svg);
    }
}

/// A plot by its title, with the title it has for these runs.
pub(super) fn one_plot(wanted: &str, runs: &[(&str, &Report)]) -> (String, Vec<Curve>, String) {
    let Some((title, unit, values)) = PLOTS.iter().find(|(title, ..)| *title == wanted) else {
        return Default::default();
    };
    let several = runs.len() > 1;
    let values = if several { &values[..1] } else { values };
    let seen = |run: &Report, value: Value| run.series.iter().any(|s| value(s) > 0.0);
    let curves: Vec<Curve> = runs
        .iter()
        .flat_map(|(run, report)| {
            values
                .iter()
                .map(move |(name, value)| (run, report, name, value))
        })
        // A memory of 0 is none that was measured; other zeros are figures.
        .filter(|(_, report, _, value)| *unit != "MB" || seen(report, **value))
        .map(|(run, report, name, value)| Curve {
            name: if several {
                (*run).to_owned()
            } else {
                (*name).to_owned()
            },
            points: report.series.iter().map(|s| (s.at, value(s))).collect(),
        })
        .collect();
    let title = match values {
        [(name, _)] if several && !name.is_empty() => format!("{title}, {name}"),
        _ => (*title).to_owned(),
    };
    let svg = plot::lines(unit, &curves);
    (title, curves, svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut r = Report {
            verdict: "fail".to_owned(),
            reason: "a <limit> broke".to_owned(),
            ..Report::default()
        };
        r.figures.connected = 7;
        r.series = (0..5)
            .map(|i| Sample {
                at: f64::from(i),
                delay_p99_ms: 2.0,
                ..Sample::default()
            })
            .collect();
        r
    }

    fn stands_alone(page: &str) {
        for outside in ["src=", "href=", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
    }

    #[test]
    fn a_page_needs_nothing_else_and_escapes_what_it_shows() {
        let page = page(&report());
        assert!(page.contains("a &lt;limit&gt; broke"));
        // Memory was not measured.
        assert_eq!(page.matches("<svg").count(), 5);
        assert!(page.contains("7 of 0"));
        stands_alone(&page);
    }

    #[test]
    fn runs_stand_side_by_side() {
        let runs = [("a".to_owned(), report()), ("b".to_owned(), report())];
        let text = comparison_text(&runs);
        assert!(text.lines().next().unwrap().contains("a (fail)"));
        assert_eq!(text.matches("7 of 0").count(), 2);
        let page = comparison(&runs);
        assert_eq!(page.matches("<svg").count(), 5);
        assert!(page.contains("Delay, p99"));
    }

    #[test]
    fn peers_have_a_page() {
        let page = peers(&crate::peers::report::tests::report());
        assert!(page.contains("3.000 (1.000–5.000)") && page.contains("round 4 weir: gone"));
        assert_eq!(page.matches("<svg").count(), 1);
        stands_alone(&page);
    }
}
