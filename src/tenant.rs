//! A tenant that is being served: its settings, its pool and its ledger.

use std::sync::Arc;

use crate::config::{TenantConfig, TenantId};
use crate::database::{Budget, ConnectError, Database};
use crate::ledger::Ledger;

/// One institution, as this process serves it. A changed configuration makes a new one with another generation.
pub struct Tenant {
    config: TenantConfig,
    generation: u64,
    database: Database,
    ledger: Ledger,
}

impl Tenant {
    /// Prepares the tenant; no connection is opened before its first call. `gateway` names this process in the ledger.
    pub fn open(
        config: TenantConfig,
        generation: u64,
        gateway: &str,
        budget: &Arc<Budget>,
    ) -> Result<Arc<Self>, ConnectError> {
        let database = Database::open_within(&config, budget)?;
        let ledger = Ledger::new(database.clone(), gateway.to_owned(), config.delivery.lease);
        Ok(Arc::new(Self { config, generation, database, ledger }))
    }

    pub fn id(&self) -> &TenantId {
        &self.config.id
    }

    pub fn config(&self) -> &TenantConfig {
        &self.config
    }

    pub fn database(&self) -> &Database {
        &self.database
    }

    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Part of every cache key, so that nothing learnt from an earlier configuration outlives it.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// `state.version`: the institution's product version, or the gateway's own where none is configured.
    pub fn version(&self) -> &str {
        self.config.version.as_deref().unwrap_or(env!("CARGO_PKG_VERSION"))
    }
}
