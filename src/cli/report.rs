//! Prints what a reload did, or would do.

use super::table;
use crate::reload::{Certificate, Outcome, Report, Trigger};

/// A line for each thing, and one that sums up.
pub fn print(report: &Report) {
    let mut rows = Vec::new();
    for fault in &report.faults {
        rows.push(["fault", "", &fault.key, &fault.reason].map(str::to_owned));
    }
    for id in &report.tenants.added {
        rows.push(["added", id.as_str(), "", ""].map(str::to_owned));
    }
    for change in &report.tenants.changed {
        rows.push(["changed", change.tenant.as_str(), &change.settings.join(" "), ""].map(str::to_owned));
    }
    for id in &report.tenants.removed {
        rows.push(["removed", id.as_str(), "", ""].map(str::to_owned));
    }
    for withheld in &report.tenants.quarantined {
        for fault in &withheld.faults {
            rows.push(
                ["quarantined", withheld.tenant.as_str(), &fault.key, &fault.reason].map(str::to_owned),
            );
        }
    }
    match &report.certificate {
        Certificate::Unchanged => {}
        Certificate::Renewed => rows.push(["certificate", "", "renewed", ""].map(str::to_owned)),
        Certificate::Kept { reason } => rows.push(["certificate", "", "kept", reason].map(str::to_owned)),
    }
    for key in &report.gateway_changed {
        rows.push(["changed", "", &format!("gateway.{key}"), ""].map(str::to_owned));
    }
    for key in &report.restart_required {
        rows.push(["restart", "", &format!("gateway.{key}"), "needs a restart"].map(str::to_owned));
    }
    if !rows.is_empty() {
        let mut table = table(["", "tenant", "what", "reason"]);
        table.add_rows(rows);
        println!("{table}");
    }
    println!("{}", summary(report));
}

/// One line.
pub fn summary(report: &Report) -> String {
    let would = report.trigger == Trigger::DryRun;
    let tenants = &report.tenants;
    match report.outcome {
        Outcome::Refused if would => "a reload would be refused, and change nothing".to_owned(),
        Outcome::Refused => "the reload was refused, nothing has changed".to_owned(),
        Outcome::Applied => format!(
            "{}: {} added, {} changed, {} removed, {} quarantined, {} unchanged",
            if would { "a reload would do this" } else { "reloaded" },
            tenants.added.len(),
            tenants.changed.len(),
            tenants.removed.len(),
            tenants.quarantined.len(),
            tenants.unchanged
        ),
    }
}
