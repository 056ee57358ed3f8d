//! Which tenants there are: `{client}` in, the tenant out.
//!
//! All of them are exchanged at once by a reload. A request that has found its tenant keeps it; one that was replaced or
//! removed ends with the last request and delivery that has it, and its pool with it.

mod plan;

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use thiserror::Error;
use tracing::error;

pub use self::plan::{Change, Changes, Plan, Withheld};
use crate::clock::Clock;
use crate::config::{Config, Fault, PauseConfig, TenantId};
use crate::database::Budget;
use crate::tenant::Tenant;

/// A paused tenant's callers come back after its end, or after this, whichever is sooner: the pause may be lifted, or
/// prolonged.
const PAUSE_RETRY: Duration = Duration::from_secs(15 * 60);

/// Every configured tenant. One whose configuration is broken is known, but not served.
pub struct Directory {
    entries: ArcSwap<Entries>,
    /// std Mutex: held for a look or a change, never across an await.
    retired: Mutex<Vec<Weak<Tenant>>>,
    budget: Arc<Budget>,
    gateway: String,
    clock: Clock,
    generation: AtomicU64,
}

type Entries = HashMap<TenantId, Entry>;

#[derive(Clone)]
enum Entry {
    Open(Arc<Tenant>),
    Quarantined(Arc<[Fault]>),
}

/// How a tenant stands, as operators are shown it.
#[derive(Clone)]
pub enum Standing {
    Live(Arc<Tenant>),
    Paused(Arc<Tenant>, PauseConfig),
    /// Why; never empty.
    Quarantined(Arc<[Fault]>),
}

#[derive(Debug, Error, PartialEq, Eq)]
pub enum DirectoryError {
    #[error("no such tenant")]
    UnknownTenant,
    #[error("the tenant's configuration is broken")]
    Quarantined,
    #[error("the tenant is paused: {reason}")]
    Paused { reason: String, retry_after: Duration },
}

impl Directory {
    /// Opens every tenant of a configuration. A tenant that can't be opened is quarantined alone, with its reason logged.
    /// `gateway` names this process in the ledgers.
    pub fn open(config: &Config, gateway: String, clock: Clock, budget: Arc<Budget>) -> Self {
        let directory = Self {
            entries: ArcSwap::default(),
            retired: Mutex::default(),
            budget,
            gateway,
            clock,
            generation: AtomicU64::new(0),
        };
        let changes = directory.enter(directory.plan(config));
        for withheld in &changes.quarantined {
            for fault in &withheld.faults {
                error!(tenant = %withheld.tenant, %fault, "tenant quarantined");
            }
        }
        directory
    }

    /// The tenant with this id.
    pub fn find(&self, id: &TenantId) -> Result<Arc<Tenant>, DirectoryError> {
        match self.entries.load().get(id) {
            Some(Entry::Open(tenant)) => match self.pause(tenant) {
                None => Ok(Arc::clone(tenant)),
                Some(pause) => Err(self.paused(pause)),
            },
            Some(Entry::Quarantined(_)) => Err(DirectoryError::Quarantined),
            None => Err(DirectoryError::UnknownTenant),
        }
    }

    /// The tenants that are served now.
    pub fn live(&self) -> Vec<Arc<Tenant>> {
        let entries = self.entries.load();
        let open = entries.values().filter_map(|entry| match entry {
            Entry::Open(tenant) => Some(tenant),
            Entry::Quarantined(_) => None,
        });
        open.filter(|tenant| self.pause(tenant).is_none()).cloned().collect()
    }

    /// Every configured tenant, sorted by id.
    pub fn list(&self) -> Vec<(TenantId, Standing)> {
        let entries = self.entries.load();
        let mut list: Vec<_> = entries.iter().map(|(id, entry)| (id.clone(), self.standing(entry))).collect();
        list.sort_by(|(one, _), (other, _)| one.cmp(other));
        list
    }

    /// How one tenant stands; `None` where there is none of this id.
    pub fn find_standing(&self, id: &TenantId) -> Option<Standing> {
        self.entries.load().get(id).map(|entry| self.standing(entry))
    }

    /// Tenants that were replaced or removed, and still have requests or deliveries under way.
    pub fn retired(&self) -> Vec<Arc<Tenant>> {
        let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        retired.retain(|tenant| tenant.strong_count() > 0);
        retired.iter().filter_map(Weak::upgrade).collect()
    }

    fn standing(&self, entry: &Entry) -> Standing {
        match entry {
            Entry::Open(tenant) => match self.pause(tenant) {
                None => Standing::Live(Arc::clone(tenant)),
                Some(pause) => Standing::Paused(Arc::clone(tenant), pause.clone()),
            },
            Entry::Quarantined(faults) => Standing::Quarantined(Arc::clone(faults)),
        }
    }

    fn pause<'a>(&self, tenant: &'a Tenant) -> Option<&'a PauseConfig> {
        // The clock is read only where somebody has paused the tenant.
        tenant.config().paused.as_ref().filter(|pause| pause.holds_at(self.clock.now()))
    }

    fn paused(&self, pause: &PauseConfig) -> DirectoryError {
        let until_end = |end: Timestamp| {
            let left = Duration::try_from(end.duration_since(self.clock.now())).unwrap_or_default();
            left.clamp(Duration::from_secs(1), PAUSE_RETRY)
        };
        let retry_after = pause.until.map_or(PAUSE_RETRY, until_end);
        DirectoryError::Paused { reason: pause.reason.clone(), retry_after }
    }
}
