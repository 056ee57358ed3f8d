//! Which tenants there are: `{client}` in, the tenant out.

use std::collections::HashMap;
use std::sync::Arc;

use thiserror::Error;
use tracing::error;

use crate::access_log::chain;
use crate::config::{Config, TenantConfig, TenantId};
use crate::database::Budget;
use crate::tenant::Tenant;

/// Every configured tenant. One whose configuration is broken is known, but not served.
pub struct Directory {
    tenants: HashMap<TenantId, Entry>,
}

enum Entry {
    Live(Arc<Tenant>),
    Quarantined,
}

#[derive(Debug, Error, PartialEq, Eq)]
pub enum DirectoryError {
    #[error("no such tenant")]
    UnknownTenant,
    #[error("the tenant's configuration is broken")]
    Quarantined,
}

impl Directory {
    /// Opens every tenant of a configuration. A tenant that can't be opened is quarantined alone, with its reason logged.
    pub fn open(config: &Config, gateway: &str) -> Self {
        let mut tenants = HashMap::new();
        for quarantined in &config.quarantined {
            for fault in &quarantined.faults {
                error!(tenant = %quarantined.tenant, %fault, "tenant quarantined");
            }
            tenants.insert(quarantined.tenant.clone(), Entry::Quarantined);
        }
        let budget = Budget::new(config.gateway.budget.clone());
        for tenant in &config.tenants {
            tenants.insert(tenant.id.clone(), open(tenant, gateway, &budget));
        }
        Self { tenants }
    }

    /// The tenant with this id.
    pub fn find(&self, id: &TenantId) -> Result<Arc<Tenant>, DirectoryError> {
        match self.tenants.get(id) {
            Some(Entry::Live(tenant)) => Ok(Arc::clone(tenant)),
            Some(Entry::Quarantined) => Err(DirectoryError::Quarantined),
            None => Err(DirectoryError::UnknownTenant),
        }
    }

    /// The tenants that are served.
    pub fn live(&self) -> impl Iterator<Item = &Arc<Tenant>> {
        self.tenants.values().filter_map(|entry| match entry {
            Entry::Live(tenant) => Some(tenant),
            Entry::Quarantined => None,
        })
    }
}

fn open(config: &TenantConfig, gateway: &str, budget: &Arc<Budget>) -> Entry {
    match Tenant::open(config.clone(), 0, gateway, budget) {
        Ok(tenant) => Entry::Live(tenant),
        Err(fault) => {
            error!(tenant = %config.id, fault = chain(&fault), "tenant quarantined");
            Entry::Quarantined
        }
    }
}
