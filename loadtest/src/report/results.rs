//! Tables and plots of finished runs, put into a Markdown file.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use super::{Report, html, plot, rows};
use crate::peers::report::PeersReport;

const BEGIN: &str = "<!-- results: ";
const BEGIN_END: &str = " -->";
const END: &str = "<!-- end -->";

/// Replaces what stands between `<!-- results: NAME -->` and `<!-- end -->` by the
/// table of `directory/NAME.json`, and writes its plots beside the file, into
/// `results/`. Names without a report keep what they have. Returns the names that
/// were filled in.
pub fn fill(directory: &Path, into: &Path) -> io::Result<Vec<String>> {
    let text = fs::read_to_string(into)?;
    let plots = into.with_file_name("results");
    let mut out = String::with_capacity(text.len());
    let mut filled = Vec::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once(BEGIN) {
        let cut = after.split_once(BEGIN_END).and_then(|(name, tail)| {
            let (old, tail) = tail.split_once(END)?;
            Some((name, old, tail))
        });
        let Some((name, old, tail)) = cut else {
            let what = format!("{}: a mark without its end", into.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        };
        let _ = write!(out, "{before}{BEGIN}{name}{BEGIN_END}");
        match fs::read_to_string(directory.join(format!("{name}.json"))) {
            Ok(json) => {
                let (table, svgs) = section(name, &json)?;
                fs::create_dir_all(&plots)?;
                for (file, svg) in svgs {
                    fs::write(plots.join(file), svg)?;
                }
                let _ = write!(out, "\n{table}");
                filled.push(name.to_owned());
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => out.push_str(old),
            Err(e) => return Err(e),
        }
        out.push_str(END);
        rest = tail;
    }
    out.push_str(rest);
    fs::write(into, out)?;
    Ok(filled)
}

/// A table with links to its plots, and those plots by file name.
type Section = (String, Vec<(String, String)>);

fn section(name: &str, json: &str) -> io::Result<Section> {
    let bad = |e: serde_json::Error| io::Error::new(io::ErrorKind::InvalidData, e);
    let value: serde_json::Value = serde_json::from_str(json).map_err(bad)?;
    if value.get("rounds").is_some() {
        return Ok(of_peers(name, &serde_json::from_value(value).map_err(bad)?));
    }
    Ok(of_run(name, &serde_json::from_value(value).map_err(bad)?))
}

fn add(out: &mut Section, file: String, what: &str, svg: &str, names: &[&str]) {
    if svg.is_empty() {
        return;
    }
    let _ = writeln!(out.0, "![{what}](results/{file})");
    out.1.push((file, plot::standalone(svg, names)));
}

fn of_peers(name: &str, report: &PeersReport) -> Section {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "\n{}; {}; {} s a turn.",
        report.machine.text(),
        report.placement.text(),
        report.settings.seconds
    );
    for (peer, version) in &report.versions {
        let _ = writeln!(text, "{peer}: {version}.");
    }
    let _ = writeln!(text, "\n{}", report.markdown());
    let mut out = (text, Vec::new());
    add(
        &mut out,
        format!("{name}-cpu.svg"),
        "CPU for each forwarded packet",
        &html::cpu_bars(report),
        &[],
    );
    let last = html::last_round(report);
    let (title, curves, svg) = html::one_plot("Delay", &last);
    let names: Vec<&str> = curves.iter().map(|c| c.name.as_str()).collect();
    add(&mut out, format!("{name}-delay.svg"), &title, &svg, &names);
    out.0.push('\n');
    out
}

fn of_run(name: &str, report: &Report) -> Section {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "\n{}; {}. **{}**: {}.\n",
        report.machine.text(),
        report.placement.text(),
        report.verdict,
        report.reason
    );
    let cells: Vec<_> = rows::TILES
        .iter()
        .filter_map(|(name, value)| Some((*name, value(&report.figures)?)))
        .collect();
    let row = |words: Vec<&str>| format!("| {} |", words.join(" | "));
    let names = cells.iter().map(|(n, _)| *n).collect();
    let values = cells.iter().map(|(_, v)| v.as_str()).collect();
    let lines = cells.iter().map(|_| "---:").collect();
    let _ = writeln!(text, "{}\n{}\n{}\n", row(names), row(lines), row(values));
    let mut out = (text, Vec::new());
    for (wanted, file) in [("Viewers", "viewers"), ("Delay", "delay")] {
        let (title, curves, svg) = html::one_plot(wanted, &[("", report)]);
        let names: Vec<&str> = curves.iter().map(|c| c.name.as_str()).collect();
        add(&mut out, format!("{name}-{file}.svg"), &title, &svg, &names);
    }
    out.0.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_filled_and_filled_again() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("RESULTS.md");
        let text = "# R\n<!-- results: a -->old<!-- end -->\nand\n<!-- results: b -->kept<!-- end -->\nend\n";
        fs::write(&file, text).unwrap();
        let report = crate::peers::report::tests::report();
        let json = serde_json::to_string(&report).unwrap();
        fs::write(directory.path().join("a.json"), json).unwrap();
        for _ in 0..2 {
            assert_eq!(fill(directory.path(), &file).unwrap(), ["a"]);
            let now = fs::read_to_string(&file).unwrap();
            assert!(
                now.contains("3.000 (1.000–5.000)") && !now.contains("old"),
                "{now}"
            );
            assert!(now.contains("kept") && now.ends_with("end\n"), "{now}");
            assert_eq!(now.matches("(results/a-cpu.svg)").count(), 1, "{now}");
        }
        let svg = fs::read_to_string(directory.path().join("results/a-cpu.svg")).unwrap();
        assert!(svg.starts_with("<svg"));
        fs::write(&file, "<!-- results: a -->").unwrap();
        assert!(fill(directory.path(), &file).is_err());
    }

    #[test]
    fn a_single_run_has_its_most_important_figures() {
        let mut report = Report {
            verdict: "pass".to_owned(),
            ..Report::default()
        };
        report.figures.connected = 5;
        let json = serde_json::to_string(&report).unwrap();
        let (text, plots) = section("x", &json).unwrap();
        assert!(
            text.contains("**pass**") && text.contains("5 of 0"),
            "{text}"
        );
        assert!(plots.is_empty());
    }
}
