//! What was measured: ratios first, as a table on standard output and as JSON.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use comfy_table::Table;
use comfy_table::presets::ASCII_MARKDOWN;
use serde::Serialize;

/// Everything of one run.
#[derive(Serialize)]
pub struct Results {
    machine: String,
    postgresql: String,
    ratios: Vec<Ratio>,
    figures: Vec<Figure>,
    /// For the charts: points by name.
    series: BTreeMap<&'static str, Vec<(f64, f64)>>,
}

/// What a ratio should be.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    AtMost(f64),
    AtLeast(f64),
}

#[derive(Serialize)]
struct Ratio {
    what: String,
    value: f64,
    wanted: Wanted,
    reached: bool,
}

#[derive(Serialize)]
struct Figure {
    part: &'static str,
    what: String,
    value: f64,
    unit: &'static str,
}

impl Results {
    pub fn new(postgresql: String) -> Self {
        let (ratios, figures) = (Vec::new(), Vec::new());
        Self { machine: machine(), postgresql, ratios, figures, series: BTreeMap::new() }
    }

    pub fn ratio(&mut self, what: impl Into<String>, value: f64, wanted: Wanted) {
        let reached = match wanted {
            Wanted::AtMost(most) => value <= most,
            Wanted::AtLeast(least) => value >= least,
        };
        let what = what.into();
        eprintln!("  {what}: {value:.2}");
        self.ratios.push(Ratio { what, value, wanted, reached });
    }

    pub fn figure(&mut self, part: &'static str, what: impl Into<String>, value: f64, unit: &'static str) {
        let what = what.into();
        eprintln!("  {part}, {what}: {value:.3} {unit}");
        self.figures.push(Figure { part, what, value, unit });
    }

    pub fn point(&mut self, series: &'static str, x: f64, y: f64) {
        self.series.entry(series).or_default().push((x, y));
    }

    pub fn series(&self, name: &str) -> &[(f64, f64)] {
        self.series.get(name).map_or(&[], Vec::as_slice)
    }

    /// Prints the tables and writes the JSON.
    pub fn publish(&self, json: &Path) {
        println!("\nmachine: {}; {}\n", self.machine, self.postgresql);
        let mut ratios = table(["ratio", "measured", "wanted", ""]);
        for ratio in &self.ratios {
            let wanted = match ratio.wanted {
                Wanted::AtMost(most) => format!("≤ {most}"),
                Wanted::AtLeast(least) => format!("≥ {least}"),
            };
            let reached = if ratio.reached { "" } else { "not reached" };
            ratios.add_row([&ratio.what, &format!("{:.2}", ratio.value), &wanted, reached]);
        }
        let mut figures = table(["part", "figure", "value", "unit"]);
        for figure in &self.figures {
            let digits = if figure.value < 10.0 { 3 } else { 0 };
            let value = format!("{:.digits$}", figure.value);
            figures.add_row([figure.part, &figure.what, &value, figure.unit]);
        }
        println!("{ratios}\n\n{figures}");
        fs::write(json, serde_json::to_vec_pretty(self).expect("numbers and names"))
            .expect("the results' file");
        println!("\nas JSON: {}", json.display());
    }
}

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header(header);
    table
}

pub fn median(mut durations: Vec<Duration>) -> Duration {
    durations.sort();
    durations[durations.len() / 2]
}

/// The duration that 99 in 100 don't exceed.
pub fn p99(mut durations: Vec<Duration>) -> Duration {
    durations.sort();
    durations[durations.len() * 99 / 100]
}

pub fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

pub fn over(a: Duration, b: Duration) -> f64 {
    a.as_secs_f64() / b.as_secs_f64()
}

fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{} cores, {}", cores, model.trim_start_matches(['\t', ':', ' ']))
}
