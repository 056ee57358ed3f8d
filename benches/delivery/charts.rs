//! The results as SVG, for docs/PERFORMANCE.md.

use std::path::Path;

use plotters::prelude::*;

use crate::results::Results;

const SIZE: (u32, u32) = (760, 360);
const BARS_SIZE: (u32, u32) = (760, 300);
const COLOURS: [RGBColor; 2] = [RGBColor(31, 119, 180), RGBColor(214, 96, 34)];

/// A line chart: both axes or only the lower one by powers of ten.
struct Lines<'a> {
    file: &'a str,
    title: &'a str,
    x: &'a str,
    y: &'a str,
    log_y: bool,
    series: &'a [(&'a str, &'a str)],
}

const LINES: [Lines<'static>; 4] = [
    Lines {
        file: "batch.svg",
        title: "One batch: the gateway over HTTPS, and its statements alone",
        x: "records",
        y: "ms",
        log_y: true,
        series: &[("gateway", "gateway"), ("floor", "floor")],
    },
    Lines {
        file: "history.svg",
        title: "An empty poll, by the violations in the database",
        x: "violations",
        y: "ms",
        log_y: false,
        series: &[("history", "empty poll")],
    },
    Lines {
        file: "tenants.svg",
        title: "An empty poll, by the tenants configured",
        x: "tenants",
        y: "ms",
        log_y: false,
        series: &[("tenants", "empty poll")],
    },
    Lines {
        file: "memory.svg",
        title: "Most resident memory, by the batch",
        x: "records",
        y: "MiB",
        log_y: false,
        series: &[("memory", "most resident memory")],
    },
];

/// Draws whatever was measured in this run into `directory`.
pub fn draw(results: &Results, directory: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let bars: Vec<(&str, f64)> = [
        ("bars floor", "floor: the statements alone"),
        ("bars gateway", "gateway, HTTPS"),
        ("hand_written", "JSON in SQL, by hand, jit off, HTTPS"),
        ("jsonb", "JSON in SQL, by hand, jsonb, jit off, HTTPS"),
        ("postgrest", "JSON in SQL, PostgREST's, jit off, HTTPS"),
        ("hasura", "JSON in SQL, Hasura's, jit off, HTTPS"),
    ]
    .iter()
    .filter_map(|(series, label)| Some((*label, results.series(series).first()?.1)))
    .collect();
    if !bars.is_empty() {
        draw_bars(&directory.join("delivery.svg"), "10,000 violations, ms", &bars)?;
    }
    for lines in &LINES {
        let measured = lines.series.iter().all(|(series, _)| results.series(series).len() > 1);
        if measured {
            draw_lines(results, &directory.join(lines.file), lines)?;
        }
    }
    Ok(())
}

fn draw_bars(file: &Path, title: &str, bars: &[(&str, f64)]) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::new(file, BARS_SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let most = bars.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    let rows = area.margin(10, 10, 10, 10);
    rows.draw(&Text::new(title, (4, 0), ("sans-serif", 18)))?;
    let (left, top, row) = (260, 36, 40);
    let width = f64::from(BARS_SIZE.0) - f64::from(left) - 110.0;
    for (place, (label, value)) in (0..).zip(bars) {
        let y = top + place * row;
        let end = left + (value / most * width) as i32;
        let colour = if label.starts_with("gateway") { COLOURS[1] } else { COLOURS[0] };
        rows.draw(&Text::new(*label, (4, y + 6), ("sans-serif", 14)))?;
        rows.draw(&Rectangle::new([(left, y), (end, y + row - 14)], colour.filled()))?;
        rows.draw(&Text::new(format!("{value:.0}"), (end + 6, y + 6), ("sans-serif", 14)))?;
    }
    area.present()?;
    Ok(())
}

fn draw_lines(results: &Results, file: &Path, lines: &Lines<'_>) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::new(file, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let place = |(x, y): &(f64, f64)| (x.log10(), if lines.log_y { y.log10() } else { *y });
    let points: Vec<(f64, f64)> =
        lines.series.iter().flat_map(|(series, _)| results.series(series)).map(place).collect();
    let range = |values: &mut dyn Iterator<Item = f64>| {
        values.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)))
    };
    let (left, right) = range(&mut points.iter().map(|point| point.0));
    let (low, high) = range(&mut points.iter().map(|point| point.1));
    let bottom = if lines.log_y { low.floor() } else { 0.0 };
    let top = if lines.log_y { high.ceil() } else { high * 1.25 };
    let mut chart = ChartBuilder::on(&area)
        .caption(lines.title, ("sans-serif", 18))
        .margin(10)
        .margin_right(40)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(left..right, bottom..top)?;
    let power = |exponent: &f64| {
        format!("{:.3}", 10_f64.powf(*exponent)).trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    let plain = |value: &f64| format!("{value:.2}");
    let y_label: &dyn Fn(&f64) -> String = if lines.log_y { &power } else { &plain };
    let labels = |from: f64, to: f64| usize::max((to - from).round() as usize + 1, 2);
    chart
        .configure_mesh()
        .x_desc(lines.x)
        .y_desc(lines.y)
        .x_labels(labels(left, right))
        .y_labels(if lines.log_y { labels(bottom, top) } else { 6 })
        .x_label_formatter(&power)
        .y_label_formatter(&y_label)
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .draw()?;
    for ((series, label), colour) in lines.series.iter().zip(COLOURS) {
        let points: Vec<(f64, f64)> = results.series(series).iter().map(place).collect();
        let line = chart.draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))?;
        line.label(*label).legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour));
        chart.draw_series(points.into_iter().map(|point| Circle::new(point, 4, colour.filled())))?;
    }
    if lines.series.len() > 1 {
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .border_style(BLACK.mix(0.3))
            .label_font(("sans-serif", 14))
            .draw()?;
    }
    area.present()?;
    Ok(())
}
