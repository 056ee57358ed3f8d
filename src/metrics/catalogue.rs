//! Every family of metrics: its name, kind, labels and meaning, in one table.
//!
//! Names follow Prometheus's conventions: base units, `_total` for what only grows, `_timestamp_seconds` for a moment, so that
//! an age is the reader's subtraction and not as old as the last look. `docs/TELEMETRY.md` is held to this table by a test.

/// What a family's samples are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// One family of metrics.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    pub name: &'static str,
    pub kind: Kind,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

/// Declares the families: a constant with each one's name, and the table of all.
macro_rules! families {
    ($($constant:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(pub const $constant: &str = $name;)*
        pub const FAMILIES: &[Family] = &[
            $(Family { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help },)*
        ];
    };
}

families! {
    REQUESTS = Counter "turnpike_requests_total" ["tenant", "status"] "Requests that have ended, by what was answered";
    REQUEST_DURATION = Histogram "turnpike_request_duration_seconds" ["route", "method", "status"] "From a request's head to its last stage's end";
    REQUESTS_IN_FLIGHT = Gauge "turnpike_requests_in_flight" [] "Requests that have not ended yet, deliveries included";
    PHASE_DURATION = Histogram "turnpike_phase_duration_seconds" ["phase"] "How long the phases of requests took";
    TENANT_REQUEST_DURATION = Histogram "turnpike_tenant_request_duration_seconds" ["tenant"] "Like turnpike_request_duration_seconds, by tenant; opt-in";
    TENANT_PHASE_DURATION = Histogram "turnpike_tenant_phase_duration_seconds" ["tenant", "phase"] "Like turnpike_phase_duration_seconds, by tenant; opt-in";
    TENANT_IN_FLIGHT = Gauge "turnpike_tenant_requests_in_flight" ["tenant"] "Requests of the tenant that have not ended yet";
    OUTCOMES = Counter "turnpike_outcomes_total" ["tenant", "outcome"] "How requests ended";
    REFUSALS = Counter "turnpike_refusals_total" ["tenant", "error_code"] "Requests that were refused, by ErrorCode";
    CLAIMS = Counter "turnpike_claims_total" ["tenant", "result"] "What calls for violations came to, when their answer began";
    RECORDS = Counter "turnpike_records_total" ["tenant", "result"] "Records of answers that were given whole to the connection, or are released";
    RESPONSE_BYTES = Counter "turnpike_response_bytes_total" ["tenant"] "Bytes of records documents and refusals that were made for the connection";
    OPEN_BATCHES = Gauge "turnpike_open_batches" ["tenant"] "Open batches in the ledger, at the last look";
    OPEN_BATCH_OLDEST = Gauge "turnpike_open_batch_oldest_timestamp_seconds" ["tenant"] "When the oldest open batch was claimed, at the last look";
    OPEN_BATCH_LEASE = Gauge "turnpike_open_batch_lease_end_timestamp_seconds" ["tenant"] "When the first lease of an open batch ends, at the last look";
    UNACKNOWLEDGED = Gauge "turnpike_unacknowledged_batches" ["tenant"] "Released batches without an acknowledgement, of tokens that acknowledge, among the newest 1000, at the last look";
    UNACKNOWLEDGED_OLDEST = Gauge "turnpike_unacknowledged_batch_oldest_timestamp_seconds" ["tenant"] "When the oldest of those was released";
    LEDGER_LOOK = Gauge "turnpike_ledger_look_timestamp_seconds" ["tenant"] "When the sweep last looked into the ledger, by the database's clock";
    SWEEP_FAILURES = Counter "turnpike_sweep_failures_total" ["tenant"] "Looks of the sweep that failed";
    SWEPT = Counter "turnpike_swept_batches_total" ["tenant"] "Batches that the sweep voided, their lease being over";
    POOL_CONNECTIONS = Gauge "turnpike_pool_connections" ["tenant"] "Open connections of the tenant's pool";
    POOL_IN_USE = Gauge "turnpike_pool_connections_in_use" ["tenant"] "Connections that are lent out";
    POOL_LIMIT = Gauge "turnpike_pool_connections_limit" ["tenant"] "max_connections";
    POOL_WAITING = Gauge "turnpike_pool_waiting" ["tenant"] "Callers who wait for a connection";
    POOL_WAITS = Counter "turnpike_pool_waits_total" ["tenant"] "Connections asked for, those that were free at once included";
    POOL_WAITED = Gauge "turnpike_pool_waited_seconds" ["tenant"] "Time spent on waiting for connections and opening them, all together; only grows";
    POOL_FAILURES = Counter "turnpike_pool_failures_total" ["tenant"] "Connections asked for in vain";
    BREAKER_STATE = Gauge "turnpike_breaker_state" ["tenant"] "The circuit breaker: 0 closed, 1 half-open, 2 open";
    BREAKER_OPENINGS = Counter "turnpike_breaker_openings_total" ["tenant"] "How often the circuit breaker has opened";
    DATABASE_CONNECTIONS = Gauge "turnpike_database_connections" [] "Database connections of this process";
    DATABASE_LIMIT = Gauge "turnpike_database_connections_limit" [] "max_database_connections";
    SERVER_CONNECTIONS = Gauge "turnpike_server_connections" ["server"] "Connections with one database server";
    SERVER_LIMIT = Gauge "turnpike_server_connections_limit" ["server"] "max_connections_per_server";
    BUDGET_WAITING = Gauge "turnpike_budget_waiting" [] "Callers who wait for a connection that others of the budget hold";
    AUTH_CACHE = Counter "turnpike_auth_cache_total" ["result"] "Verdicts on tokens: grant and refusal from the cache, miss from the database";
    TENANTS = Gauge "turnpike_tenants" ["state"] "Configured tenants";
    PEERS = Gauge "turnpike_peers" [] "Open connections of vendors, handshakes under way included";
    PEERS_LIMIT = Gauge "turnpike_peers_limit" [] "max_peers";
    HANDSHAKES = Counter "turnpike_tls_handshakes_total" ["result"] "TLS handshakes";
    CERTIFICATE_EXPIRY = Gauge "turnpike_tls_certificate_expiry_timestamp_seconds" [] "When the certificate that vendors are shown expires";
    RELOADS = Counter "turnpike_reloads_total" ["result"] "Reloads of the configuration";
    RELOAD_TIME = Gauge "turnpike_config_loaded_timestamp_seconds" [] "When the configuration that is served was loaded";
    TRACE_SPANS = Counter "turnpike_trace_spans_total" ["result"] "Sampled spans: ended, and of these exported to the collector or failed to be";
    BUILD = Gauge "turnpike_build_info" ["version"] "1, with the version";
}
