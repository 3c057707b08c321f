//! Line plots as SVG, by `plotters`.

use plotters::prelude::*;

/// One line of a plot: its name, its colour and its points.
pub(super) struct Curve<'a> {
    pub(super) name: &'a str,
    pub(super) colour: RGBColor,
    pub(super) points: Vec<(f64, f64)>,
}

/// Colours that differ for most kinds of colour blindness.
pub(super) const COLOURS: [RGBColor; 4] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
];

/// The plot as SVG text; empty when there is nothing to draw or the library
/// refuses.
pub(super) fn svg(title: &str, across: &str, up: &str, curves: &[Curve<'_>]) -> String {
    let mut out = String::new();
    let points = || curves.iter().flat_map(|c| &c.points);
    let right = points().map(|p| p.0).fold(0.0, f64::max);
    let left = points().map(|p| p.0).fold(right, f64::min);
    let top = points().map(|p| p.1).fold(0.0, f64::max).max(1e-3) * 1.1;
    if right <= left {
        return out;
    }
    if draw(&mut out, title, (across, up), (left, right, top), curves).is_err() {
        out.clear();
    }
    out
}

fn draw(
    out: &mut String,
    title: &str,
    (across, up): (&str, &str),
    (left, right, top): (f64, f64, f64),
    curves: &[Curve<'_>],
) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(out, (640, 280)).into_drawing_area();
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 16))
        .margin(10)
        .x_label_area_size(34)
        .y_label_area_size(58)
        .build_cartesian_2d(left..right, 0.0..top)?;
    chart
        .configure_mesh()
        .x_desc(across)
        .y_desc(up)
        .light_line_style(WHITE)
        .draw()?;
    for curve in curves {
        let colour = curve.colour;
        chart
            .draw_series(LineSeries::new(
                curve.points.iter().copied(),
                colour.stroke_width(2),
            ))?
            .label(curve.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    area.present()?;
    drop(chart);
    Ok(())
}
