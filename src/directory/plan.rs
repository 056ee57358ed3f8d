//! What a configuration changes: drawn up aside, then entered in one step.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Directory, Entries, Entry};
use crate::access_log::chain;
use crate::config::{Config, Fault, TenantConfig, TenantId};
use crate::database::ConnectError;
use crate::tenant::Tenant;

/// The tenants of a configuration, those that are new or changed already prepared. Not in force before it is
/// [entered](Directory::enter).
pub struct Plan {
    entries: Entries,
    changes: Changes,
    retired: Vec<Arc<Tenant>>,
}

/// What a plan changes, each list sorted by id.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Changes {
    pub added: Vec<TenantId>,
    pub changed: Vec<Change>,
    pub removed: Vec<TenantId>,
    /// All that are not served because they are at fault, whether they were before or not.
    pub quarantined: Vec<Withheld>,
    /// How many keep their pools and caches.
    pub unchanged: usize,
}

/// A tenant that gets a new pool, and new settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Change {
    pub tenant: TenantId,
    /// Which: "connections", "eligibility", …; "quarantine" where it was at fault before.
    pub settings: Vec<String>,
}

/// A tenant that is at fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Withheld {
    pub tenant: TenantId,
    /// Never empty.
    pub faults: Vec<Fault>,
    /// Whether it is served at present, and not any more once this is in force.
    pub was_served: bool,
}

impl Plan {
    pub fn changes(&self) -> &Changes {
        &self.changes
    }
}

impl Directory {
    /// Draws up what a configuration makes of the tenants there are. Opens no connection; reads certificate authorities,
    /// so not for a worker thread of the runtime.
    pub fn plan(&self, config: &Config) -> Plan {
        let current = self.entries.load_full();
        let generation = self.generation.fetch_add(1, Ordering::Relaxed);
        let mut plan = Plan { entries: HashMap::new(), changes: Changes::default(), retired: Vec::new() };
        for quarantined in &config.quarantined {
            let served = matches!(current.get(&quarantined.tenant), Some(Entry::Open(_)));
            plan.withhold(quarantined.tenant.clone(), quarantined.faults.clone(), served);
        }
        for tenant in &config.tenants {
            match current.get(&tenant.id) {
                Some(Entry::Open(same)) if same.config() == tenant => {
                    plan.changes.unchanged += 1;
                    plan.entries.insert(tenant.id.clone(), Entry::Open(Arc::clone(same)));
                }
                before => match Tenant::open(tenant.clone(), generation, &self.gateway, &self.budget) {
                    Ok(opened) => plan.open(opened, before),
                    Err(error) => {
                        let served = matches!(before, Some(Entry::Open(_)));
                        plan.withhold(tenant.id.clone(), vec![fault(tenant, &error)], served);
                    }
                },
            }
        }
        plan.retire(&current);
        plan
    }

    /// Puts a plan into force: whoever asks from now on finds its tenants. The replaced ones close what is idle now and
    /// the rest as it ends.
    pub fn enter(&self, plan: Plan) -> Changes {
        let Plan { entries, changes, retired } = plan;
        self.entries.store(Arc::new(entries));
        let mut known = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|tenant| tenant.strong_count() > 0);
        for tenant in retired {
            tenant.database().close_all();
            known.push(Arc::downgrade(&tenant));
        }
        changes
    }
}

impl Plan {
    fn open(&mut self, tenant: Arc<Tenant>, before: Option<&Entry>) {
        let id = tenant.id().clone();
        let settings = match before {
            None => None,
            Some(Entry::Quarantined(_)) => Some(vec!["quarantine"]),
            Some(Entry::Open(before)) => Some(before.config().differences(tenant.config())),
        };
        match settings {
            None => self.changes.added.push(id.clone()),
            Some(settings) => {
                let settings = settings.into_iter().map(str::to_owned).collect();
                self.changes.changed.push(Change { tenant: id.clone(), settings });
            }
        }
        self.entries.insert(id, Entry::Open(tenant));
    }

    fn withhold(&mut self, tenant: TenantId, faults: Vec<Fault>, was_served: bool) {
        self.entries.insert(tenant.clone(), Entry::Quarantined(faults.clone().into()));
        self.changes.quarantined.push(Withheld { tenant, faults, was_served });
    }

    /// Finds those that are there now and won't be.
    fn retire(&mut self, current: &Entries) {
        for (id, entry) in current {
            let after = self.entries.get(id);
            if after.is_none() {
                self.changes.removed.push(id.clone());
            }
            match (entry, after) {
                (Entry::Open(before), Some(Entry::Open(after))) if Arc::ptr_eq(before, after) => {}
                (Entry::Open(before), _) => self.retired.push(Arc::clone(before)),
                (Entry::Quarantined(_), _) => {}
            }
        }
        self.changes.removed.sort();
        self.changes.quarantined.sort_by(|one, other| one.tenant.cmp(&other.tenant));
    }
}

/// Why a tenant whose configuration is valid can't be opened: what it names can't be used.
fn fault(tenant: &TenantConfig, error: &ConnectError) -> Fault {
    let file = match error {
        ConnectError::Authorities { path, .. } | ConnectError::NoAuthority { path } => path.clone(),
        ConnectError::Tls(_) => PathBuf::new(),
    };
    Fault { file, key: format!("tenants.{}.database_tls_ca", tenant.id), reason: chain(error) }
}
