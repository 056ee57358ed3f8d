//! Which keys of `[gateway]` a reload changes, and which need a restart.

use crate::config::{BudgetConfig, FailuresConfig, GatewayConfig, TelemetryConfig};

/// Keys of `[gateway]` by what became of them.
#[derive(Debug, PartialEq, Eq)]
pub struct Settings {
    /// Another value is in force.
    pub changed: Vec<String>,
    /// Another value is configured than the process was started with, and isn't in force before a restart.
    pub restart_required: Vec<String>,
}

/// Compares what the process was started with, what is in force, and what is configured now.
pub fn compare(started: &GatewayConfig, current: &GatewayConfig, next: &GatewayConfig) -> Settings {
    // Every field by name, so that a new key doesn't compile before somebody has said which kind it is.
    let GatewayConfig {
        listen,
        admin,
        tls_certificate,
        tls_key,
        reload_interval,
        request_timeout,
        handshake_timeout,
        keep_alive_timeout,
        drain_timeout,
        max_peers,
        max_peers_per_address,
        failures: FailuresConfig { failures_per_address, failures_per_tenant },
        budget: BudgetConfig { max_database_connections, max_connections_per_server, connection_opening_rate },
        await_acknowledgement,
        token_expiry_warning,
        auth_cache_ttl,
        auth_refusal_ttl,
        auth_cache_capacity,
        auth_refusal_capacity,
        telemetry:
            TelemetryConfig { metrics_per_tenant_histograms, server_timing, otlp_endpoint, trace_sample_ratio },
    } = next;
    let at_once = [
        ("operator_*", current.admin.operators != admin.operators),
        ("tls_certificate", current.tls_certificate != *tls_certificate),
        ("tls_key", current.tls_key != *tls_key),
        ("reload_interval", current.reload_interval != *reload_interval),
        ("request_timeout", current.request_timeout != *request_timeout),
        ("handshake_timeout", current.handshake_timeout != *handshake_timeout),
        ("keep_alive_timeout", current.keep_alive_timeout != *keep_alive_timeout),
        ("drain_timeout", current.drain_timeout != *drain_timeout),
        ("max_peers", current.max_peers != *max_peers),
        ("max_peers_per_address", current.max_peers_per_address != *max_peers_per_address),
        ("failures_per_address", current.failures.failures_per_address != *failures_per_address),
        ("failures_per_tenant", current.failures.failures_per_tenant != *failures_per_tenant),
        ("token_expiry_warning", current.token_expiry_warning != *token_expiry_warning),
        ("await_acknowledgement", current.await_acknowledgement != *await_acknowledgement),
        ("server_timing", current.telemetry.server_timing != *server_timing),
    ];
    let (budget, telemetry) = (&started.budget, &started.telemetry);
    let by_restart = [
        ("listen", started.listen != *listen),
        ("admin_listen", started.admin.listen != admin.listen),
        ("admin_tls_certificate", started.admin.tls != admin.tls),
        ("max_database_connections", budget.max_database_connections != *max_database_connections),
        ("max_connections_per_server", budget.max_connections_per_server != *max_connections_per_server),
        ("connection_opening_rate", budget.connection_opening_rate != *connection_opening_rate),
        ("auth_cache_ttl", started.auth_cache_ttl != *auth_cache_ttl),
        ("auth_refusal_ttl", started.auth_refusal_ttl != *auth_refusal_ttl),
        ("auth_cache_capacity", started.auth_cache_capacity != *auth_cache_capacity),
        ("auth_refusal_capacity", started.auth_refusal_capacity != *auth_refusal_capacity),
        (
            "metrics_per_tenant_histograms",
            telemetry.metrics_per_tenant_histograms != *metrics_per_tenant_histograms,
        ),
        ("otlp_endpoint", telemetry.otlp_endpoint != *otlp_endpoint),
        ("trace_sample_ratio", telemetry.trace_sample_ratio != *trace_sample_ratio),
    ];
    Settings { changed: named(&at_once), restart_required: named(&by_restart) }
}

fn named(keys: &[(&str, bool)]) -> Vec<String> {
    keys.iter().filter(|(_, differs)| *differs).map(|(key, _)| (*key).to_owned()).collect()
}
