//! What a run has shown, ready to be read: as text, as JSON, or as a page.

pub mod charts;
pub mod page;
pub mod text;

use std::time::Duration;

use hdrhistogram::{Counter, Histogram};
use jiff::Timestamp;
use serde::Serialize;

use super::failure::Failure;
use super::run::{Model, Plan};
use super::tally::{Counts, Slice, Tally, value_at};
use super::thresholds::{Thresholds, Verdict};
use crate::config::TenantId;

/// A run's result. Latencies are in milliseconds.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub turnpike: &'static str,
    pub made_at: Timestamp,
    pub gateway: String,
    pub http: &'static str,
    /// As in `50/s` or `8 vendors`.
    pub load: String,
    pub previews: bool,
    pub fresh_connections: bool,
    pub limit: Option<u32>,
    pub warm_up_seconds: f64,
    pub duration_seconds: f64,
    /// It was stopped before its time: what is here is what was measured so far.
    pub interrupted: bool,
    pub calls: u64,
    pub answered: u64,
    pub failed: u64,
    pub records: u64,
    pub bytes: u64,
    pub answered_per_second: f64,
    pub bytes_per_second: f64,
    /// From when a call was due to the answer's last byte.
    pub latency_ms: Option<Latency>,
    /// From when a call was made to the answer's head.
    pub head_ms: Option<Latency>,
    /// How much later than due the load tester came to a call.
    pub lag_ms: Option<Latency>,
    pub errors: Vec<ErrorCount>,
    pub tenants: Vec<TenantReport>,
    pub timeline: Vec<Point>,
    pub distribution: Vec<Quantile>,
    pub thresholds: Vec<Verdict>,
    /// Every threshold was held, and the run came to its end.
    pub passed: bool,
}

#[derive(Debug, Clone, Serialize)]
pub struct Latency {
    pub min: f64,
    pub mean: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

#[derive(Debug, Clone, Serialize)]
pub struct ErrorCount {
    pub kind: Failure,
    pub count: u64,
}

#[derive(Debug, Clone, Serialize)]
pub struct TenantReport {
    pub tenant: String,
    pub answered: u64,
    pub failed: u64,
    pub records: u64,
    pub bytes: u64,
    pub latency_ms: Option<Latency>,
    pub errors: Vec<ErrorCount>,
}

/// A slice of the run, by when its calls were due.
#[derive(Debug, Clone, Serialize)]
pub struct Point {
    /// Where it begins, counted from the end of the warm-up.
    pub at_seconds: f64,
    pub seconds: f64,
    pub answered: u64,
    pub failed: u64,
    pub latency_ms: Option<Latency>,
}

/// So much of the calls took no longer than this.
#[derive(Debug, Clone, Serialize)]
pub struct Quantile {
    pub quantile: f64,
    pub ms: f64,
}

/// When and to what end a run was made, which its measurements don't tell.
pub struct Occasion {
    pub made_at: Timestamp,
    pub tenants: Vec<TenantId>,
    pub previews: bool,
    pub limit: Option<u32>,
    pub interrupted: bool,
}

impl Report {
    pub fn new(plan: &Plan, tally: &Tally, occasion: &Occasion, thresholds: &Thresholds) -> Report {
        // What was measured may be shorter than planned, and the last answer may come later.
        let measured = tally.last.saturating_duration_since(tally.start);
        let duration = if occasion.interrupted { measured } else { measured.max(plan.duration) };
        let seconds = duration.as_secs_f64().max(1e-3);
        let mut report = Report {
            turnpike: env!("CARGO_PKG_VERSION"),
            made_at: occasion.made_at,
            gateway: plan.dialer.endpoint.authority.clone(),
            http: plan.dialer.http.as_str(),
            load: match plan.model {
                Model::Open { rate } => rate.to_string(),
                Model::Closed { vendors: 1 } => "1 vendor".to_owned(),
                Model::Closed { vendors } => format!("{vendors} vendors"),
            },
            previews: occasion.previews,
            fresh_connections: plan.dialer.reuse == super::endpoint::Reuse::Fresh,
            limit: occasion.limit,
            warm_up_seconds: plan.warm_up.as_secs_f64(),
            duration_seconds: duration.as_secs_f64(),
            interrupted: occasion.interrupted,
            calls: tally.counts.calls(),
            answered: tally.counts.answered,
            failed: tally.counts.failed(),
            records: tally.counts.records,
            bytes: tally.counts.bytes,
            answered_per_second: tally.counts.answered as f64 / seconds,
            bytes_per_second: tally.counts.bytes as f64 / seconds,
            latency_ms: Latency::of(&tally.latency),
            head_ms: Latency::of(&tally.head),
            // In a closed run a call is due when the load tester comes to it.
            lag_ms: Latency::of(&tally.lag).filter(|_| matches!(plan.model, Model::Open { .. })),
            errors: errors(&tally.counts),
            tenants: tenants(tally, &occasion.tenants),
            timeline: timeline(tally),
            distribution: distribution(&tally.latency),
            thresholds: Vec::new(),
            passed: false,
        };
        report.thresholds = thresholds.judge(&report);
        report.passed = !report.interrupted && report.thresholds.iter().all(|verdict| verdict.held);
        report
    }

    /// What a reader should know before believing the figures.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Some(lag) = self.lag_ms.as_ref().filter(|lag| lag.p99 > 20.0) {
            warnings.push(format!(
                "this machine came late to calls (p99 {} after they were due): the latencies hold its own delay, too",
                milliseconds(lag.p99)
            ));
        }
        if self.errors.iter().any(|error| error.kind == Failure::NotWhole) {
            warnings.push(
                "answers ended as if they were whole and weren't: this breaks the gateway's promise".into(),
            );
        }
        if self.errors.iter().any(|error| error.kind == Failure::Consumed) {
            warnings.push("a preview was answered with a batch: real violations were handed over".into());
        }
        warnings
    }
}

impl Latency {
    /// `None` where nothing was measured. The histogram is of microseconds.
    pub fn of<C: Counter>(histogram: &Histogram<C>) -> Option<Latency> {
        if histogram.is_empty() {
            return None;
        }
        let at = |quantile| value_at(histogram, quantile) as f64 / 1000.0;
        Some(Latency {
            min: histogram.min() as f64 / 1000.0,
            mean: (histogram.mean() * 10.0).round() / 10_000.0,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: histogram.max() as f64 / 1000.0,
        })
    }
}

pub fn errors(counts: &Counts) -> Vec<ErrorCount> {
    let mut errors: Vec<ErrorCount> = counts
        .failures
        .iter()
        .map(|(kind, count)| ErrorCount { kind: kind.clone(), count: *count })
        .collect();
    errors.sort_by_key(|error| std::cmp::Reverse(error.count));
    errors
}

fn tenants(tally: &Tally, ids: &[TenantId]) -> Vec<TenantReport> {
    let reports = tally.tenants.iter().zip(ids).map(|(tenant, id)| TenantReport {
        tenant: id.to_string(),
        answered: tenant.counts.answered,
        failed: tenant.counts.failed(),
        records: tenant.counts.records,
        bytes: tenant.counts.bytes,
        latency_ms: Latency::of(&tenant.latency),
        errors: errors(&tenant.counts),
    });
    reports.collect()
}

fn timeline(tally: &Tally) -> Vec<Point> {
    let seconds = tally.slice.as_secs_f64();
    let point = |(index, slice): (usize, &Slice)| Point {
        at_seconds: index as f64 * seconds,
        seconds,
        answered: slice.answered,
        failed: slice.failed,
        latency_ms: Latency::of(&slice.latency),
    };
    tally.slices.iter().enumerate().map(point).collect()
}

/// Denser towards the slow end, as far as there are calls to tell of.
fn distribution(latency: &Histogram<u64>) -> Vec<Quantile> {
    const STEPS_PER_NINE: u32 = 20;
    let calls = latency.len() as f64;
    let beyond = (0..).map(|step| 10_f64.powf(-f64::from(step) / f64::from(STEPS_PER_NINE)));
    let quantiles = beyond.take_while(|beyond| beyond * calls >= 1.0).map(|beyond| 1.0 - beyond);
    quantiles.map(|quantile| Quantile { quantile, ms: value_at(latency, quantile) as f64 / 1000.0 }).collect()
}

/// As people read it: `3.14 ms`, `48.2 ms`, `12.3 s`.
pub fn milliseconds(ms: f64) -> String {
    match ms {
        ms if ms < 10.0 => format!("{ms:.2} ms"),
        ms if ms < 1000.0 => format!("{ms:.1} ms"),
        ms if ms < 10_000.0 => format!("{:.2} s", ms / 1000.0),
        ms => format!("{:.1} s", ms / 1000.0),
    }
}

/// As people read it, in powers of 1,000.
pub fn bytes(bytes: f64) -> String {
    match bytes {
        bytes if bytes < 1e3 => format!("{bytes:.0} B"),
        bytes if bytes < 1e6 => format!("{:.1} kB", bytes / 1e3),
        bytes if bytes < 1e9 => format!("{:.1} MB", bytes / 1e6),
        bytes => format!("{:.2} GB", bytes / 1e9),
    }
}

/// As people read it, to a tenth of a second.
pub fn seconds(seconds: f64) -> String {
    let step = if seconds < 1.0 { 1.0 } else { 100.0 };
    let duration = Duration::from_millis(((seconds * 1000.0 / step).round() * step) as u64);
    humantime::format_duration(duration).to_string()
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A report of a run of ten seconds whose calls all took about as long.
    pub fn report_of(answered: u64, failed: u64, ms: f64) -> Report {
        let mut latency = Histogram::<u64>::new(3).unwrap();
        latency.record_n((ms * 1000.0) as u64, answered).unwrap();
        let latency_ms = Latency::of(&latency);
        let failure = Failure::Status { status: 503, code: Some(9104) };
        let errors = if failed > 0 { vec![ErrorCount { kind: failure, count: failed }] } else { Vec::new() };
        let point = |index: u32| Point {
            at_seconds: f64::from(index),
            seconds: 1.0,
            answered: answered / 10,
            failed: failed / 10,
            latency_ms: latency_ms.clone(),
        };
        Report {
            turnpike: "0.1.0",
            made_at: "2026-11-24T12:00:00Z".parse().unwrap(),
            gateway: "127.0.0.1:8443".to_owned(),
            http: "HTTP/2",
            load: "10/s".to_owned(),
            previews: true,
            fresh_connections: false,
            limit: None,
            warm_up_seconds: 2.0,
            duration_seconds: 10.0,
            interrupted: false,
            calls: answered + failed,
            answered,
            failed,
            records: answered * 3,
            bytes: answered * 20_000,
            answered_per_second: answered as f64 / 10.0,
            bytes_per_second: answered as f64 * 2_000.0,
            latency_ms: latency_ms.clone(),
            head_ms: latency_ms.clone(),
            lag_ms: None,
            errors: errors.clone(),
            tenants: vec![TenantReport {
                tenant: "OC_TOMA".to_owned(),
                answered,
                failed,
                records: answered * 3,
                bytes: answered * 20_000,
                latency_ms: latency_ms.clone(),
                errors,
            }],
            timeline: (0..10).map(point).collect(),
            distribution: distribution(&latency),
            thresholds: Vec::new(),
            passed: true,
        }
    }

    #[test]
    fn the_distribution_ends_where_one_call_is_left() {
        let mut latency = Histogram::<u64>::new(3).unwrap();
        (1..=1000).for_each(|ms| latency.record(ms * 1000).unwrap());

        let distribution = distribution(&latency);

        assert_eq!(distribution.len(), 61); // three nines, 20 steps each
        assert!((distribution[60].quantile - 0.999).abs() < 1e-9);
        assert!((distribution[60].ms - 999.0).abs() < 1.0);
        assert!(distribution.windows(2).all(|pair| pair[0].ms <= pair[1].ms));
    }

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(
            [3.143, 48.25, 1234.0, 12_345.0].map(milliseconds),
            ["3.14 ms", "48.2 ms", "1.23 s", "12.3 s"]
        );
        assert_eq!([12.0, 1500.0, 2.5e6, 3e9].map(bytes), ["12 B", "1.5 kB", "2.5 MB", "3.00 GB"]);
        assert_eq!([30.0, 0.25, 3.011, 90.0].map(seconds), ["30s", "250ms", "3s", "1m 30s"]);
    }
}
