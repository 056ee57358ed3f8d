//! What a reload did, or would do: logged as one event, answered to operators, and printed.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tracing::{info, warn};
use utoipa::ToSchema;

use super::settings::Settings;
use crate::config::{Fault, TenantId};
use crate::directory::Changes;

/// A log line names so many of a kind at most; the report has them all.
const NAMED_AT_MOST: usize = 20;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Report {
    pub trigger: Trigger,
    pub outcome: Outcome,
    /// Why it was refused as a whole; empty where it wasn't.
    pub faults: Vec<Fault>,
    #[serde(flatten)]
    pub tenants: Changes,
    pub certificate: Certificate,
    /// Keys of `[gateway]` that have another value from now on.
    pub gateway_changed: Vec<String>,
    /// Keys of `[gateway]` that differ from what the process was started with, and need a restart.
    pub restart_required: Vec<String>,
    pub duration_seconds: f64,
}

/// Who asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// SIGHUP
    Signal,
    /// The files' content.
    Change,
    /// An operator, by the admin API.
    Admin,
    /// An operator who only wants to know.
    DryRun,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The configuration is in force, or would be; tenants at fault excepted.
    Applied,
    /// Nothing has changed, or would.
    Refused,
}

/// What became of the vendors' certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Certificate {
    Unchanged,
    /// Shown from the next handshake on.
    Renewed,
    /// The configured pair can't be used: the one before is still shown.
    Kept {
        reason: String,
    },
}

impl Report {
    pub(super) fn applied(
        trigger: Trigger,
        tenants: Changes,
        certificate: Certificate,
        settings: Settings,
    ) -> Self {
        Self {
            trigger,
            outcome: Outcome::Applied,
            faults: Vec::new(),
            tenants,
            certificate,
            gateway_changed: settings.changed,
            restart_required: settings.restart_required,
            duration_seconds: 0.0,
        }
    }

    pub(super) fn refused(trigger: Trigger, faults: Vec<Fault>) -> Self {
        Self {
            trigger,
            outcome: Outcome::Refused,
            faults,
            tenants: Changes::default(),
            certificate: Certificate::Unchanged,
            gateway_changed: Vec::new(),
            restart_required: Vec::new(),
            duration_seconds: 0.0,
        }
    }

    pub(super) fn after(self, duration: Duration) -> Self {
        Self { duration_seconds: duration.as_secs_f64(), ..self }
    }

    /// Whether everything that is configured is in force, but for what needs a restart.
    pub fn is_clean(&self) -> bool {
        self.outcome == Outcome::Applied
            && self.tenants.quarantined.is_empty()
            && !matches!(self.certificate, Certificate::Kept { .. })
    }

    /// One event, whatever happened.
    pub(super) fn log(&self) {
        let trigger = match self.trigger {
            Trigger::Signal => "signal",
            Trigger::Change => "change",
            Trigger::Admin => "admin",
            Trigger::DryRun => "dry_run",
        };
        if self.outcome == Outcome::Refused {
            let faults = shorten(self.faults.iter().map(ToString::to_string));
            warn!(trigger, faults, "reload refused, nothing has changed");
            return;
        }
        let tenants = &self.tenants;
        let ids = |ids: &[TenantId]| shorten(ids.iter().map(ToString::to_string));
        let quarantined = tenants.quarantined.iter().flat_map(|withheld| &withheld.faults);
        let (certificate, kept) = match &self.certificate {
            Certificate::Unchanged => ("unchanged", None),
            Certificate::Renewed => ("renewed", None),
            Certificate::Kept { reason } => ("kept", Some(reason.as_str())),
        };
        macro_rules! event {
            ($level:ident) => {
                $level!(
                    trigger,
                    added = ids(&tenants.added),
                    changed = shorten(tenants.changed.iter().map(|change| change.tenant.to_string())),
                    removed = ids(&tenants.removed),
                    quarantined = shorten(quarantined.map(ToString::to_string)),
                    unchanged = tenants.unchanged,
                    certificate,
                    certificate_fault = kept,
                    gateway_changed = self.gateway_changed.join(" "),
                    restart_required = self.restart_required.join(" "),
                    duration_seconds = self.duration_seconds,
                    "reloaded"
                )
            };
        }
        if self.is_clean() { event!(info) } else { event!(warn) }
    }
}

/// `None` where there is nothing to tell.
fn shorten(items: impl Iterator<Item = String>) -> Option<String> {
    let items: Vec<String> = items.collect();
    let more = items.len().saturating_sub(NAMED_AT_MOST);
    let named = items.iter().take(NAMED_AT_MOST).cloned().collect::<Vec<_>>().join("; ");
    match (items.len(), more) {
        (0, _) => None,
        (_, 0) => Some(named),
        _ => Some(format!("{named}; and {more} more")),
    }
}
