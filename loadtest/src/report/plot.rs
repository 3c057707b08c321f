//! Plots as SVG, by `plotters`. Colours are variables of the page around them, so
//! that they are right on light and on dark ground.

use plotters::prelude::*;

/// One line of a plot: its name and its points.
pub(super) struct Curve {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// One bar: its name, its height, and the single values behind it.
pub(super) struct Bar {
    pub(super) name: String,
    pub(super) value: f64,
    pub(super) single: Vec<f64>,
}

/// Text and axes, grid, and the curves, as `plotters` draws them and as they stand
/// in the SVG. The colours differ for most kinds of colour blindness.
const INK: RGBColor = RGBColor(1, 2, 3);
const GRID: RGBColor = RGBColor(1, 2, 4);
const CURVES: [RGBColor; 5] = [
    RGBColor(1, 3, 1),
    RGBColor(1, 3, 2),
    RGBColor(1, 3, 3),
    RGBColor(1, 3, 4),
    RGBColor(1, 3, 5),
];
const VARIABLES: [(&str, &str); 7] = [
    ("#010203", "var(--ink,#555)"),
    ("#010204", "var(--grid,#8884)"),
    ("#010301", "var(--c0,#0072b2)"),
    ("#010302", "var(--c1,#d55e00)"),
    ("#010303", "var(--c2,#009e73)"),
    ("#010304", "var(--c3,#b35a90)"),
    ("#010305", "var(--c4,#8a7a00)"),
];
/// Small, so that text is still to be read when a phone shows it narrower.
const SIZE: (u32, u32) = (440, 230);
const FONT: &str = "system-ui, sans-serif";
const FONT_SIZE: i32 = 15;
/// Of the names in files of their own; the library writes its own a little smaller.
const NAME_SIZE: i32 = 12;
/// What stands before a plot that is a file of its own.
const STANDALONE: &str = "<style>svg{--ink:#333;--grid:#8884}@media(prefers-color-scheme:dark){svg{--ink:#ccc;--grid:#8886;--c0:#56b4e9;--c1:#f0883e;--c2:#3fc79a}}</style>";

type Drawn = Result<(), Box<dyn std::error::Error>>;

/// The name of a curve's colour for the page's own elements.
pub(super) fn colour(curve: usize) -> &'static str {
    VARIABLES[2 + curve % CURVES.len()].1
}

/// A number as short as it can be.
fn short(value: f64) -> String {
    let cut = |text: String| text.trim_end_matches('0').trim_end_matches('.').to_owned();
    let digits = |v: f64| cut(format!("{v:.2}"));
    match value.abs() {
        v if v >= 1e6 => format!("{}M", digits(value / 1e6)),
        v if v >= 1e4 => format!("{}k", digits(value / 1e3)),
        v if v >= 0.1 || v == 0.0 => digits(value),
        _ => cut(format!("{value:.4}")),
    }
}

fn finish(mut svg: String, drawn: Drawn) -> String {
    if drawn.is_err() {
        return String::new();
    }
    for (drawn, variable) in VARIABLES {
        svg = svg.replace(drawn, variable);
    }
    svg
}

/// Lines over time as SVG text; empty when there is nothing to draw or the library
/// refuses.
pub(super) fn lines(up: &str, curves: &[Curve]) -> String {
    let mut out = String::new();
    let points = || curves.iter().flat_map(|c| &c.points);
    let right = points().map(|p| p.0).fold(0.0, f64::max);
    let left = points().map(|p| p.0).fold(right, f64::min);
    let top = points().map(|p| p.1).fold(0.0, f64::max).max(1e-3) * 1.1;
    if right <= left {
        return out;
    }
    let drawn = draw_lines(&mut out, up, (left, right, top), curves);
    finish(out, drawn)
}

fn draw_lines(
    out: &mut String,
    up: &str,
    (left, right, top): (f64, f64, f64),
    curves: &[Curve],
) -> Drawn {
    let area = SVGBackend::with_string(out, SIZE).into_drawing_area();
    let text = (FONT, FONT_SIZE).into_font().color(&INK);
    let mut chart = ChartBuilder::on(&area)
        .margin(6)
        .margin_right(14)
        .x_label_area_size(34)
        .y_label_area_size(56)
        .build_cartesian_2d(left..right, 0.0..top)?;
    chart
        .configure_mesh()
        .x_desc("seconds")
        .y_desc(up)
        .x_labels(7)
        .y_labels(5)
        .max_light_lines(0)
        .bold_line_style(GRID)
        .axis_style(INK)
        .label_style(text.clone())
        .axis_desc_style(text)
        .x_label_formatter(&|v| short(*v))
        .y_label_formatter(&|v| short(*v))
        .draw()?;
    for (curve, colour) in curves.iter().zip(CURVES.iter().cycle()) {
        let points = curve.points.iter().copied();
        chart.draw_series(LineSeries::new(points, colour.stroke_width(2)))?;
    }
    area.present()?;
    drop(chart);
    Ok(())
}

/// Bars with their single values as dots; empty when there is nothing to draw.
pub(super) fn bars(up: &str, all: &[Bar]) -> String {
    let mut out = String::new();
    let values = all.iter().flat_map(|b| b.single.iter().chain([&b.value]));
    let top = values.copied().fold(0.0, f64::max) * 1.2;
    if top <= 0.0 {
        return out;
    }
    let drawn = draw_bars(&mut out, up, top, all);
    finish(out, drawn)
}

fn draw_bars(out: &mut String, up: &str, top: f64, all: &[Bar]) -> Drawn {
    let area = SVGBackend::with_string(out, SIZE).into_drawing_area();
    let text = (FONT, FONT_SIZE).into_font().color(&INK);
    let mut chart = ChartBuilder::on(&area)
        .margin(6)
        .x_label_area_size(24)
        .y_label_area_size(56)
        .build_cartesian_2d(-0.6..all.len() as f64 - 0.4, 0.0..top)?;
    chart
        .configure_mesh()
        .y_desc(up)
        .x_labels(0)
        .y_labels(5)
        .disable_x_mesh()
        .max_light_lines(0)
        .bold_line_style(GRID)
        .axis_style(INK)
        .label_style(text.clone())
        .axis_desc_style(text.clone())
        .y_label_formatter(&|v| short(*v))
        .draw()?;
    let middle = text.pos(plotters::style::text_anchor::Pos::new(
        plotters::style::text_anchor::HPos::Center,
        plotters::style::text_anchor::VPos::Bottom,
    ));
    for (i, bar) in all.iter().enumerate() {
        let (x, colour) = (i as f64, CURVES[i % CURVES.len()]);
        let corners = [(x - 0.3, 0.0), (x + 0.3, bar.value)];
        chart.draw_series([Rectangle::new(corners, colour.mix(0.75).filled())])?;
        let dots = bar
            .single
            .iter()
            .map(|v| Circle::new((x + 0.36, *v), 3, INK.filled()));
        chart.draw_series(dots)?;
        let label = format!("{} {}", bar.name, short(bar.value));
        chart.draw_series([Text::new(
            label,
            (x, bar.value + top * 0.02),
            middle.clone(),
        )])?;
    }
    area.present()?;
    drop(chart);
    Ok(())
}

/// A plot as a file of its own, with the names of its curves.
pub(super) fn standalone(svg: &str, names: &[&str]) -> String {
    use std::fmt::Write as _;
    let mut inner = STANDALONE.to_owned();
    for (i, name) in names.iter().enumerate() {
        let _ = write!(
            inner,
            "<text x=\"430\" y=\"{}\" text-anchor=\"end\" font-family=\"{FONT}\" font-size=\"{NAME_SIZE}\" fill=\"{}\">{}</text>",
            20 + i as i32 * 15,
            colour(i),
            super::html::escape(name)
        );
    }
    match svg.rsplit_once("</svg>") {
        Some((drawing, _)) => format!("{drawing}{inner}</svg>\n"),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(points: &[(f64, f64)]) -> Curve {
        Curve {
            name: "a".to_owned(),
            points: points.to_vec(),
        }
    }

    #[test]
    fn colours_are_the_pages() {
        let svg = lines("ms", &[curve(&[(0.0, 1.0), (5.0, 20_000.0)])]);
        assert!(svg.contains("var(--c0") && svg.contains("var(--ink") && svg.contains("20k"));
        for (drawn, _) in VARIABLES {
            assert!(!svg.contains(drawn), "{drawn}");
        }
        assert_eq!(lines("ms", &[curve(&[(1.0, 1.0)])]), "");
        let file = standalone(&svg, &["a < b"]);
        assert!(file.contains("a &lt; b") && file.ends_with("</svg>\n"));
    }

    #[test]
    fn bars_show_each_value() {
        let bar = Bar {
            name: "weir".to_owned(),
            value: 1.5,
            single: vec![1.0, 1.5, 2.0],
        };
        let svg = bars("us", &[bar]);
        assert!(svg.contains("weir 1.5"));
        assert_eq!(svg.matches("<circle").count(), 3);
        assert_eq!(bars("us", &[]), "");
    }

    #[test]
    fn numbers_are_short() {
        let all = [0.0, 5e-4, 0.5, 12.25, 1500.0, 210_000.0, 2.5e6].map(short);
        assert_eq!(all, ["0", "0.0005", "0.5", "12.25", "1500", "210k", "2.5M"]);
    }
}
