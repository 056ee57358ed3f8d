//! Chores beside the requests. Voids batches whose owner is gone, so that a crash hides violations no longer than a lease.
//!
//! Every claim does the same for its tenant; the sweep is for tenants that nobody calls meanwhile. At start it looks at
//! every tenant once, a few at a time, and lets go of the connection; then every minute at those whose batches this
//! process has touched, at those where the last look found open batches of others, and at those that a reload has brought.
//! A tenant that is paused is left alone.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::iter;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::access_log::chain;
use crate::config::TenantId;
use crate::directory::Standing;
use crate::handler::Gateway;
use crate::tenant::Tenant;

const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// How often connections that nobody uses are looked for.
const IDLE_LOOK: Duration = Duration::from_secs(5);
const TIDY_EVERY: Duration = Duration::from_secs(5);
/// Databases that are swept at once.
const AT_ONCE: usize = 4;

/// Sweeps, and closes idle connections, for as long as it is polled.
pub async fn run(gateway: Arc<Gateway>) {
    tokio::join!(sweep(&gateway), close_idle(&gateway), tidy_metrics(&gateway));
}

async fn sweep(gateway: &Gateway) {
    let mut every = interval(SWEEP_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut watched: HashSet<TenantId> = HashSet::new();
    let mut seen: HashMap<TenantId, u64> = HashMap::new();
    loop {
        every.tick().await;
        let live = gateway.directory.live();
        let is_due = |tenant: &Arc<Tenant>| {
            watched.contains(tenant.id())
                || seen.get(tenant.id()) != Some(&tenant.generation())
                || tenant.database().is_connected()
        };
        let due: Vec<Arc<Tenant>> = live.iter().filter(|tenant| is_due(tenant)).cloned().collect();
        seen = live.iter().map(|tenant| (tenant.id().clone(), tenant.generation())).collect();
        drop(live); // a tenant that is removed meanwhile ends without us
        let looked: Vec<_> = iter(due).map(sweep_tenant).buffer_unordered(AT_ONCE).collect().await;
        watched = looked.into_iter().flatten().collect();
    }
}

/// Gives the tenant's id where it must be looked at again.
async fn sweep_tenant(tenant: Arc<Tenant>) -> Option<TenantId> {
    match tenant.ledger().expire().await {
        Ok(expired) => {
            if expired.voided > 0 {
                info!(tenant = %tenant.id(), batches = expired.voided, "voided batches whose lease was over");
            }
            (expired.still_open > 0).then(|| tenant.id().clone())
        }
        Err(error) => {
            warn!(tenant = %tenant.id(), cause = chain(&error), "could not sweep");
            Some(tenant.id().clone())
        }
    }
}

/// Between scrapes, and where nobody scrapes, histograms would keep every sample.
async fn tidy_metrics(gateway: &Gateway) {
    let mut every = interval(TIDY_EVERY);
    loop {
        every.tick().await;
        gateway.metrics.tidy();
    }
}

async fn close_idle(gateway: &Gateway) {
    let mut every = interval(IDLE_LOOK);
    loop {
        every.tick().await;
        for (_, standing) in gateway.directory.list() {
            // Operators may look at a paused one.
            if let Standing::Live(tenant) | Standing::Paused(tenant, _) = standing {
                tenant.database().close_idle(&tenant.config().pool);
            }
        }
        for tenant in gateway.directory.retired() {
            tenant.database().close_all();
        }
    }
}
