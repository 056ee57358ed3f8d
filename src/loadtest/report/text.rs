//! A report as text, for a terminal and a log.

use comfy_table::{Table, presets};

use super::{Latency, Report, bytes, milliseconds, seconds};

/// More tenants than this aren't listed one by one: the slowest are.
const TENANTS_LISTED: usize = 20;

/// The whole report; ends in the verdict.
pub fn render(report: &Report) -> String {
    let mut text = format!("{}\n\n{}\n", title(report), summary(report));
    if !report.errors.is_empty() {
        text += "\nerrors\n";
        for error in &report.errors {
            text += &format!("  {:>8}  {}\n", error.count, error.kind);
        }
    }
    if report.tenants.len() > 1 {
        text += &format!("\n{}\n", tenants(report));
    }
    for warning in report.warnings() {
        text += &format!("\nwarning: {warning}\n");
    }
    text += "\n";
    for verdict in &report.thresholds {
        let word = if verdict.held { "held" } else { "FAILED" };
        text += &format!("  {word:<7} {}: {}\n", verdict.threshold, verdict.measured);
    }
    if report.interrupted {
        text += "  FAILED  interrupted: this is what was measured so far\n";
    }
    text += if report.passed { "passed\n" } else { "found wanting\n" };
    text
}

/// What was run, in a line.
pub fn title(report: &Report) -> String {
    let tenants = match report.tenants.as_slice() {
        [tenant] => tenant.tenant.clone(),
        tenants => format!("{} tenants", tenants.len()),
    };
    let limit = report.limit.map(|limit| format!(", limit {limit}")).unwrap_or_default();
    format!(
        "{tenants} at {}: {} of {}{limit} for {} after {} of warm-up, {}, {} connections",
        report.gateway,
        report.load,
        if report.previews { "previews" } else { "claims" },
        seconds(report.duration_seconds),
        seconds(report.warm_up_seconds),
        report.http,
        if report.fresh_connections { "fresh" } else { "kept" },
    )
}

fn summary(report: &Report) -> String {
    let mut text = format!(
        "  calls     {}: {} answered whole, {} failed\n  rate      {:.1} answers a second\n  received  {} records, {}, {} a second",
        report.calls,
        report.answered,
        report.failed,
        report.answered_per_second,
        report.records,
        bytes(report.bytes as f64),
        bytes(report.bytes_per_second),
    );
    let rows = [("latency", &report.latency_ms), ("to head", &report.head_ms), ("own lag", &report.lag_ms)];
    for (name, latency) in rows {
        if let Some(latency) = latency {
            text += &format!("\n  {name:<8}  {}", percentiles(latency));
        }
    }
    text
}

fn percentiles(latency: &Latency) -> String {
    let values = [
        ("p50", latency.p50),
        ("p90", latency.p90),
        ("p99", latency.p99),
        ("p99.9", latency.p999),
        ("max", latency.max),
    ];
    values.map(|(name, ms)| format!("{name} {}", milliseconds(ms))).join("   ")
}

fn tenants(report: &Report) -> String {
    let mut slowest: Vec<_> = report.tenants.iter().collect();
    let slowness = |latency: &Option<Latency>| latency.as_ref().map_or(f64::INFINITY, |latency| latency.p99);
    slowest.sort_by(|one, other| slowness(&other.latency_ms).total_cmp(&slowness(&one.latency_ms)));
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_header(["tenant", "answered", "failed", "p50", "p90", "p99", "max"]);
    for tenant in slowest.iter().take(TENANTS_LISTED) {
        let value = |of: fn(&Latency) -> f64| {
            tenant.latency_ms.as_ref().map_or_else(|| "-".to_owned(), |latency| milliseconds(of(latency)))
        };
        table.add_row([
            tenant.tenant.clone(),
            tenant.answered.to_string(),
            tenant.failed.to_string(),
            value(|latency| latency.p50),
            value(|latency| latency.p90),
            value(|latency| latency.p99),
            value(|latency| latency.max),
        ]);
    }
    match slowest.len().checked_sub(TENANTS_LISTED) {
        Some(left @ 1..) => format!("{table}\n and {left} tenants whose p99 is lower"),
        _ => table.to_string(),
    }
}
