//! A report's charts, as SVG elements that stand in a page: nothing in them refers to anything outside.

use std::ops::Range;

use plotters::coord::Shift;
use plotters::prelude::*;

use super::{Latency, Report};

const SIZE: (u32, u32) = (960, 280);
const FONT: (&str, u32) = ("sans-serif", 14);
const MEDIAN: RGBColor = RGBColor(0x0f, 0x76, 0x6e);
const P90: RGBColor = RGBColor(0xb4, 0x53, 0x09);
const P99: RGBColor = RGBColor(0xb9, 0x1c, 0x1c);
const RATE: RGBColor = RGBColor(0x1d, 0x4e, 0xd8);
const GRID: RGBColor = RGBColor(0xe5, 0xe7, 0xeb);
const INK: RGBColor = RGBColor(0x4b, 0x55, 0x63);

/// A name and a colour, for the legend, which the page writes itself.
pub struct Key {
    pub name: &'static str,
    pub colour: String,
}

/// A drawing and what its lines mean.
pub struct Chart {
    pub svg: String,
    pub keys: Vec<Key>,
}

/// A line: its name, its colour, and its dots.
struct Line {
    name: &'static str,
    colour: RGBColor,
    points: Vec<(f64, f64)>,
}

type DrawError = Box<dyn std::error::Error>;

/// p50, p90 and p99 by the moment at which the calls were due.
pub fn latency_over_time(report: &Report) -> Chart {
    let line = |name, colour, of: fn(&Latency) -> f64| {
        let points = report.timeline.iter().filter_map(|point| {
            let latency = point.latency_ms.as_ref()?;
            Some((point.at_seconds + point.seconds / 2.0, of(latency)))
        });
        Line { name, colour, points: points.collect() }
    };
    let lines = [
        line("p99", P99, |latency| latency.p99),
        line("p90", P90, |latency| latency.p90),
        line("p50", MEDIAN, |latency| latency.p50),
    ];
    chart(&lines, 0.0..end(report), "ms", |x| format!("{x} s"))
}

/// Whole answers and failed calls a second, by the moment at which they were due.
pub fn rate_over_time(report: &Report) -> Chart {
    let line = |name, colour, of: fn(&super::Point) -> u64| {
        let points = report
            .timeline
            .iter()
            .map(|point| (point.at_seconds + point.seconds / 2.0, of(point) as f64 / point.seconds));
        Line { name, colour, points: points.collect() }
    };
    let answered = line("answered a second", RATE, |point| point.answered);
    let lines = if report.failed > 0 {
        vec![answered, line("failed a second", P99, |point| point.failed)]
    } else {
        vec![answered]
    };
    chart(&lines, 0.0..end(report), "per second", |x| format!("{x} s"))
}

/// Latency by the share of calls that took no longer, each nine as wide as the one before.
pub fn distribution(report: &Report) -> Chart {
    let nines = |quantile: f64| -(1.0 - quantile).max(1e-9).log10();
    let points: Vec<_> = report.distribution.iter().map(|point| (nines(point.quantile), point.ms)).collect();
    let end = points.last().map_or(1.0, |(x, _)| x.ceil().max(1.0));
    chart(&[Line { name: "latency", colour: RATE, points }], 0.0..end, "ms", |x| percent(*x))
}

/// The share that so many nines are: 0 is 0 %, 1 is 90 %, 2 is 99 %.
fn percent(nines: f64) -> String {
    let percent = 100.0 - 100.0 * 10_f64.powf(-nines);
    let digits = (nines + 1e-9).floor() as usize;
    let text = format!("{percent:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text} %")
}

fn end(report: &Report) -> f64 {
    report.timeline.last().map_or(1.0, |point| point.at_seconds + point.seconds)
}

fn chart(lines: &[Line], x: Range<f64>, unit: &str, x_label: impl Fn(&f64) -> String) -> Chart {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        draw(&area, lines, x, unit, &x_label).expect("drawing into memory can't fail");
    }
    let keys = lines.iter().map(|line| {
        let RGBColor(red, green, blue) = line.colour;
        Key { name: line.name, colour: format!("#{red:02x}{green:02x}{blue:02x}") }
    });
    // Within a page SVG needs no name space, and the page is to hold no address at all.
    let svg = svg.replace(" xmlns=\"http://www.w3.org/2000/svg\"", "");
    Chart { svg: svg.replacen("<svg width=\"960\" height=\"280\"", "<svg", 1), keys: keys.collect() }
}

fn draw(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    lines: &[Line],
    x: Range<f64>,
    unit: &str,
    x_label: &dyn Fn(&f64) -> String,
) -> Result<(), DrawError> {
    let highest = lines.iter().flat_map(|line| &line.points).map(|(_, y)| *y).fold(0.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .margin_right(36)
        .x_label_area_size(28)
        .y_label_area_size(72)
        .build_cartesian_2d(x, 0.0..(highest * 1.08).max(1e-3))?;
    chart
        .configure_mesh()
        .x_labels(11)
        .y_labels(6)
        .x_label_formatter(x_label)
        .y_label_formatter(&number)
        .y_desc(unit)
        .label_style(FONT.into_font().color(&INK))
        .axis_desc_style(FONT.into_font().color(&INK))
        .axis_style(INK)
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .draw()?;
    for line in lines {
        let style = line.colour.stroke_width(2);
        chart.draw_series(LineSeries::new(line.points.iter().copied(), style))?;
        // Where a dot has no neighbour there is no line.
        if line.points.len() == 1 {
            chart
                .draw_series(line.points.iter().map(|point| Circle::new(*point, 3, line.colour.filled())))?;
        }
    }
    area.present()?;
    Ok(())
}

/// A number of an axis, without needless digits.
fn number(value: &f64) -> String {
    match *value {
        value if value.fract() == 0.0 => format!("{value:.0}"),
        value if value.abs() < 1.0 => format!("{value:.2}"),
        value if value.abs() < 10.0 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_nine_is_a_step_to_the_right() {
        let labels = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0].map(percent);

        assert_eq!(labels, ["0 %", "68 %", "90 %", "96.8 %", "99 %", "99.9 %", "99.99 %"]);
    }
}
