//! What operators are told of the gateway at work, beyond its log.

use super::section::Section;
use super::value::boolean;

/// Metrics that not everybody wants to pay for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TelemetryConfig {
    /// Whether each tenant has histograms of its own.
    pub metrics_per_tenant_histograms: bool,
}

impl TelemetryConfig {
    pub(super) fn read(section: &mut Section) -> TelemetryConfig {
        TelemetryConfig {
            metrics_per_tenant_histograms: section
                .find("metrics_per_tenant_histograms", boolean)
                .unwrap_or(false),
        }
    }
}
