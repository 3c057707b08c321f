//! One page that needs nothing else: figures, steps and plots.

use std::fmt::Write as _;

use super::plot::{COLOURS, Curve, svg};
use super::{Figures, Report, Sample};

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:1340px;margin:2em auto;padding:0 1em;color:#222;background:#fff}\
h1{font-size:1.5em}table{border-collapse:collapse;margin:1em 0}th,td{padding:.25em .8em;border-bottom:1px solid #ddd;text-align:right}\
th:first-child,td:first-child{text-align:left}.pass{color:#067a46}.fail{color:#b3261e}.inconclusive{color:#8a5a00}\
svg{max-width:100%;height:auto}.plots{display:flex;flex-wrap:wrap;gap:1em}";

/// Text for a page.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// A figure's name and how it is written.
type Row = (&'static str, fn(&Figures) -> String);

/// The figures of a table, by row.
const ROWS: &[Row] = &[
    ("Viewers connected", |f| {
        format!("{} of {}", f.connected, f.viewers)
    }),
    ("Packets a second received", |f| {
        format!("{:.0}", f.received_packets_per_second)
    }),
    ("Mbit a second received", |f| {
        format!("{:.1}", f.received_bits_per_second / 1e6)
    }),
    ("Loss, %", |f| format!("{:.4}", f.loss_percent)),
    ("Duplicates", |f| f.duplicates.to_string()),
    ("Reordered", |f| f.reordered.to_string()),
    ("Delay p50, ms", |f| format!("{:.3}", f.delay_ms.p50)),
    ("Delay p99, ms", |f| format!("{:.3}", f.delay_ms.p99)),
    ("Delay p99.9, ms", |f| format!("{:.3}", f.delay_ms.p999)),
    ("Delay max, ms", |f| format!("{:.3}", f.delay_ms.max)),
    ("Join p50, ms", |f| format!("{:.1}", f.join_ms.p50)),
    ("Join p95, ms", |f| format!("{:.1}", f.join_ms.p95)),
    ("Freezes", |f| f.freezes.to_string()),
    ("Longest gap, ms", |f| format!("{:.0}", f.longest_gap_ms)),
    ("Sound to picture p95, ms", |f| {
        format!("{:.2}", f.av_offset_ms.p95)
    }),
    ("NACK, PLI sent", |f| format!("{}, {}", f.nacks, f.plis)),
    ("HTTP errors", |f| {
        f.http_errors.values().sum::<u64>().to_string()
    }),
    ("Server cores", |f| {
        f.server
            .as_ref()
            .map_or("–".to_owned(), |s| format!("{:.3}", s.cpu_cores))
    }),
    ("Server CPU µs per forwarded packet", |f| {
        f.server.as_ref().map_or("–".to_owned(), |s| {
            format!("{:.3}", s.cpu_us_per_forwarded_packet)
        })
    }),
    ("Server memory, MB", |f| {
        f.server.as_ref().map_or("–".to_owned(), |s| {
            format!("{:.1}", s.rss_bytes as f64 / 1e6)
        })
    }),
    ("Generator cores", |f| {
        format!("{:.3}", f.generator.cpu_cores)
    }),
    ("Generator late sends", |f| {
        format!("{} of {}", f.generator.late_sends, f.generator.sends)
    }),
    ("Generator socket drops", |f| {
        f.generator.socket_drops.to_string()
    }),
];

/// A table with a column for each set of figures.
fn table(out: &mut String, columns: &[(String, &Figures)]) {
    out.push_str("<table><tr><th></th>");
    for (name, _) in columns {
        let _ = write!(out, "<th>{}</th>", escape(name));
    }
    out.push_str("</tr>");
    for (name, text) in ROWS {
        let _ = write!(out, "<tr><td>{name}</td>");
        for (_, figures) in columns {
            let _ = write!(out, "<td>{}</td>", escape(&text(figures)));
        }
        out.push_str("</tr>");
    }
    out.push_str("</table>");
}

fn head(out: &mut String, title: &str) {
    let _ = write!(
        out,
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>{0}</title><style>{STYLE}</style><h1>{0}</h1>",
        escape(title)
    );
}

/// The page of one run.
pub fn page(report: &Report) -> String {
    let mut out = String::new();
    head(&mut out, &format!("Load test: {}", report.scenario));
    let _ = write!(
        out,
        "<p><strong class=\"{0}\">{0}</strong>: {1}</p><p>Server: {2}</p>",
        escape(&report.verdict),
        escape(&report.reason),
        escape(&report.target)
    );
    let mut columns = vec![("All".to_owned(), &report.figures)];
    if report.steps.len() > 1 {
        for step in &report.steps {
            columns.push((format!("{} viewers", step.figures.viewers), &step.figures));
        }
    }
    table(&mut out, &columns);
    out.push_str("<div class=\"plots\">");
    for plot in plots(&[("", report)]) {
        out.push_str(&plot);
    }
    out.push_str("</div></html>\n");
    out
}

/// The page of several runs side by side.
pub fn comparison(runs: &[(String, Report)]) -> String {
    let mut out = String::new();
    head(&mut out, "Load tests side by side");
    let columns: Vec<_> = runs
        .iter()
        .map(|(name, r)| (format!("{name} ({})", r.verdict), &r.figures))
        .collect();
    table(&mut out, &columns);
    out.push_str("<div class=\"plots\">");
    let named: Vec<_> = runs.iter().map(|(n, r)| (n.as_str(), r)).collect();
    for plot in plots(&named) {
        out.push_str(&plot);
    }
    out.push_str("</div></html>\n");
    out
}

/// The figures of several runs side by side, as text.
pub fn comparison_text(runs: &[(String, Report)]) -> String {
    let mut out = format!("{:36}", "");
    for (name, report) in runs {
        let _ = write!(out, " {:>22}", format!("{name} ({})", report.verdict));
    }
    out.push('\n');
    for (name, text) in ROWS {
        let _ = write!(out, "{name:36}");
        for (_, report) in runs {
            let _ = write!(out, " {:>22}", text(&report.figures));
        }
        out.push('\n');
    }
    out
}

type Value = fn(&Sample) -> f64;

/// A plot's title, its unit, and its values by name.
type Plot<'a> = (&'a str, &'a str, &'a [(&'a str, Value)]);

fn plots(runs: &[(&str, &Report)]) -> Vec<String> {
    let single: &[Plot<'_>] = &[
        ("Viewers", "viewers", &[("viewers", |s| s.viewers as f64)]),
        (
            "Received",
            "packets a second",
            &[("packets", |s| s.packets_per_second)],
        ),
        (
            "Delay",
            "ms",
            &[("p50", |s| s.delay_p50_ms), ("p99", |s| s.delay_p99_ms)],
        ),
        ("Loss", "%", &[("loss", |s| s.loss_percent)]),
        (
            "CPU",
            "cores",
            &[
                ("generator", |s| s.generator_cores),
                ("server", |s| s.server_cores),
            ],
        ),
    ];
    single
        .iter()
        .map(|(title, unit, values)| {
            // Side by side, one value of each run is enough: the last, the worst.
            let values = if runs.len() > 1 {
                &values[values.len() - 1..]
            } else {
                values
            };
            let names: Vec<(String, Value, &Report)> = runs
                .iter()
                .flat_map(|(run, report)| {
                    values
                        .iter()
                        .map(move |(name, value)| (format!("{run} {name}"), *value, *report))
                })
                .collect();
            let curves: Vec<Curve<'_>> = names
                .iter()
                .zip(COLOURS.iter().cycle())
                .map(|((name, value, report), colour)| Curve {
                    name,
                    colour: *colour,
                    points: report.series.iter().map(|s| (s.at, value(s))).collect(),
                })
                .collect();
            svg(title, "seconds", unit, &curves)
        })
        .collect()
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

    #[test]
    fn a_page_needs_nothing_else_and_escapes_what_it_shows() {
        let page = page(&report());
        assert!(page.contains("a &lt;limit&gt; broke"));
        assert_eq!(page.matches("<svg").count(), 5);
        assert!(page.contains("7 of 0"));
        for outside in ["src=", "href=", "@import"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }

    #[test]
    fn runs_stand_side_by_side() {
        let runs = [("a".to_owned(), report()), ("b".to_owned(), report())];
        let text = comparison_text(&runs);
        assert!(text.lines().next().unwrap().contains("a (fail)"));
        assert_eq!(text.matches("7 of 0").count(), 2);
        assert_eq!(comparison(&runs).matches("<svg").count(), 5);
    }
}
