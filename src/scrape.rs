//! What a scrape reads at its own moment: pools, breakers, budgets, the ledgers as last looked at.
//!
//! Nothing is asked of a database here: a scrape must answer while databases don't. Pools are shown of tenants whose
//! database was asked for since they were opened, ledgers of those that the sweep has looked at.

use std::collections::HashSet;
use std::sync::atomic::Ordering::Relaxed;

use crate::database::{BreakerState, Database};
use crate::directory::Standing;
use crate::handler::Gateway;
use crate::ledger::Ledger;
use crate::metrics::Page;
use crate::metrics::catalogue::{
    BREAKER_OPENINGS, BREAKER_STATE, BUDGET_WAITING, BUILD, DATABASE_CONNECTIONS, DATABASE_LIMIT,
    LEDGER_LOOK, OPEN_BATCH_LEASE, OPEN_BATCH_OLDEST, OPEN_BATCHES, PEERS_LIMIT, POOL_CONNECTIONS,
    POOL_FAILURES, POOL_IN_USE, POOL_LIMIT, POOL_WAITED, POOL_WAITING, POOL_WAITS, SERVER_CONNECTIONS,
    SERVER_LIMIT, SWEEP_FAILURES, SWEPT, TENANTS, TRACE_SPANS, UNACKNOWLEDGED, UNACKNOWLEDGED_OLDEST,
};

/// The `Content-Type` of [`page`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The gateway's metrics, in Prometheus's text format. Takes time with the number of tenants (`docs/TELEMETRY.md`): not for a
/// worker that vendors wait for.
pub fn page(gateway: &Gateway) -> String {
    let metrics = &gateway.metrics;
    let standings = gateway.directory.list();
    let configured: HashSet<&str> = standings.iter().map(|(id, _)| id.as_str()).collect();
    metrics.keep_tenants(|id| configured.contains(id));
    metrics.render(|page| {
        page.gauge(BUILD, vec![("version", env!("CARGO_PKG_VERSION").to_owned())], 1.0);
        page.gauge(PEERS_LIMIT, Vec::new(), gateway.config().max_peers as f64);
        write_budget(page, gateway);
        write_spans(page, gateway);
        let (mut live, mut paused, mut quarantined) = (0, 0, 0);
        for (id, standing) in &standings {
            let (count, open) = match standing {
                Standing::Live(tenant) => (&mut live, Some(tenant)),
                Standing::Paused(tenant, _pause) => (&mut paused, Some(tenant)),
                Standing::Quarantined(_faults) => (&mut quarantined, None),
            };
            *count += 1;
            if let Some(tenant) = open {
                write_database(page, id.as_str(), tenant.database());
                write_ledger(page, id.as_str(), tenant.ledger());
            }
        }
        for (state, count) in [("live", live), ("paused", paused), ("quarantined", quarantined)] {
            page.gauge(TENANTS, vec![("state", state.to_owned())], f64::from(count));
        }
    })
}

fn write_budget(page: &Page, gateway: &Gateway) {
    let usage = gateway.budget.usage();
    page.gauge(DATABASE_CONNECTIONS, Vec::new(), usage.process as f64);
    page.gauge(DATABASE_LIMIT, Vec::new(), usage.process_limit as f64);
    page.gauge(BUDGET_WAITING, Vec::new(), usage.waiting as f64);
    for (server, connections) in usage.servers {
        let labels = vec![("server", server)];
        page.gauge(SERVER_CONNECTIONS, labels.clone(), connections as f64);
        page.gauge(SERVER_LIMIT, labels, usage.server_limit as f64);
    }
}

fn write_spans(page: &Page, gateway: &Gateway) {
    let Some(spans) = gateway.spans() else { return };
    for (result, count) in [("ended", &spans.ended), ("exported", &spans.exported), ("failed", &spans.failed)]
    {
        page.counter(TRACE_SPANS, vec![("result", result.to_owned())], count.load(Relaxed));
    }
}

fn write_database(page: &Page, tenant: &str, database: &Database) {
    let waits = database.waits();
    let asked = waits.count.load(Relaxed);
    if asked == 0 {
        return;
    }
    let tenant = || vec![("tenant", tenant.to_owned())];
    let status = database.status();
    page.gauge(POOL_CONNECTIONS, tenant(), status.open as f64);
    page.gauge(POOL_IN_USE, tenant(), status.in_use as f64);
    page.gauge(POOL_WAITING, tenant(), status.waiting as f64);
    page.gauge(POOL_LIMIT, tenant(), status.limit as f64);
    page.counter(POOL_WAITS, tenant(), asked);
    page.counter(POOL_FAILURES, tenant(), waits.failed.load(Relaxed));
    page.counter(BREAKER_OPENINGS, tenant(), database.breaker_openings());
    let state = match database.breaker() {
        BreakerState::Closed => 0.0,
        BreakerState::HalfOpen { .. } => 1.0,
        BreakerState::Open { .. } => 2.0,
    };
    page.gauge(BREAKER_STATE, tenant(), state);
    page.gauge(POOL_WAITED, tenant(), waits.total().as_secs_f64());
}

fn write_ledger(page: &Page, tenant: &str, ledger: &Ledger) {
    let tenant = || vec![("tenant", tenant.to_owned())];
    let sweeps = ledger.sweeps();
    if sweeps.failures > 0 || sweeps.look.is_some() {
        page.counter(SWEEP_FAILURES, tenant(), sweeps.failures);
        page.counter(SWEPT, tenant(), sweeps.voided);
    }
    let Some(look) = sweeps.look else {
        return;
    };
    page.gauge(LEDGER_LOOK, tenant(), look.at);
    page.gauge(OPEN_BATCHES, tenant(), look.open as f64);
    page.gauge(UNACKNOWLEDGED, tenant(), look.unacknowledged as f64);
    let moments = [
        (OPEN_BATCH_OLDEST, look.open_since),
        (OPEN_BATCH_LEASE, look.lease_ends),
        (UNACKNOWLEDGED_OLDEST, look.unacknowledged_since),
    ];
    for (family, moment) in moments {
        if let Some(moment) = moment {
            page.gauge(family, tenant(), moment);
        }
    }
}
