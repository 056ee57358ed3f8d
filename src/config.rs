//! Reads `tenants.toml` and what it includes into types that cannot be wrong.
//!
//! Input: the file's path. Output: a [`Config`], or every [`Fault`] that was found in one go. A tenant that is
//! at fault is quarantined alone; a fault of a file, of `[gateway]` or of `[defaults]` refuses the whole, for then
//! it is not known which tenants are meant, or all of them are hit. Unknown keys are refused everywhere: a
//! misspelt time-out is one that somebody believes to be set.
//!
//! Secrets are fetched here, from files and environment variables, and never shown: not by a fault, not by `Debug`.
//! The way of a file: `documents` → `section` by section, each `value` → `gateway`, `tenant`
//! (→ `secret`, `database_url`, `database_tls` → `connection`) → [`Config`].

mod admin;
mod connection;
mod contents;
mod database_keys;
mod database_tls;
mod database_url;
mod delivery;
mod documents;
pub mod edit;
mod eligibility;
mod fault;
mod gateway;
mod limits;
mod pause;
mod pool;
mod secret;
mod section;
mod telemetry;
mod tenant;
mod tenant_id;
mod value;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;

use serde::{Deserialize, Serialize};

pub use admin::{AdminAddress, AdminConfig, OperatorConfig};
pub use connection::ConnectionConfig;
pub use contents::{Contents, Digest};
pub use database_tls::DatabaseTls;
pub use delivery::DeliveryConfig;
pub use eligibility::EligibilityConfig;
pub use fault::{ConfigError, Fault};
pub use gateway::{BudgetConfig, GatewayConfig};
pub use limits::{FailuresConfig, LimitsConfig, Rate};
pub use pause::PauseConfig;
pub use pool::{BreakerConfig, PoolConfig};
pub use telemetry::TelemetryConfig;
pub use tenant::TenantConfig;
pub use tenant_id::{InvalidTenantId, TenantId};

use documents::Documents;
use secret::Resolver;
use section::Section;
use tenant::TenantSettings;

/// A configuration that can go live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// What holds for every tenant.
    pub gateway: GatewayConfig,
    /// The valid tenants, sorted by id.
    pub tenants: Vec<TenantConfig>,
    /// The others, sorted by id.
    pub quarantined: Vec<Quarantined>,
    /// Every file this was read from, with what it held: TOML files, secrets, certificates; also those that are missing.
    pub contents: Contents,
}

/// A tenant that is configured, but not validly: it is not served, the rest are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// Whose configuration it is.
    pub tenant: TenantId,
    /// Why; never empty.
    pub faults: Vec<Fault>,
}

impl Config {
    /// Loads a configuration, with secrets' variables from the process's environment.
    ///
    /// # Errors
    /// Where a TOML file can't be read or parsed, a fault stands in `[gateway]`, `[defaults]` or at the top level,
    /// or a tenant's key is no legal id. The error carries the faults of the tenants, too.
    #[expect(clippy::disallowed_methods, reason = "the variables that `KEY_env` names; nothing else is read")]
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        Config::load_with(path, &|name| std::env::var(name).ok())
    }

    /// [`Config::load`] with another environment.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_with(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, ConfigError> {
        Config::load_over(path, env, Contents::default())
    }

    /// [`Config::load`], with drafts in the place of files.
    #[expect(clippy::disallowed_methods, reason = "as in `load`")]
    fn load_drafts(path: &Path, drafts: contents::Drafts) -> Result<Config, ConfigError> {
        Config::load_over(path, &|name| std::env::var(name).ok(), Contents::with(drafts))
    }

    fn load_over(
        path: &Path,
        env: &dyn Fn(&str) -> Option<String>,
        mut contents: Contents,
    ) -> Result<Config, ConfigError> {
        let documents = match Documents::read(path, &mut contents) {
            Ok(documents) => documents,
            Err(fault) => return Err(ConfigError::new(vec![fault], contents)),
        };
        let mut main = documents.main;
        let mut faults = documents.faults;
        let mut resolver = Resolver::new(env, contents);

        let mut section = main.open("gateway");
        let gateway = GatewayConfig::read(&mut section);
        main.close(section);
        let mut section = main.open("defaults");
        let defaults = TenantSettings::read_defaults(&mut section);
        main.close(section);

        let mut sections = Sections::default();
        sections.take_from(main);
        for included in documents.included {
            sections.take_from_included(included);
        }
        faults.append(&mut sections.faults);
        let (tenants, quarantined) = sections.read(&defaults, &mut resolver);
        for file in gateway.iter().flat_map(GatewayConfig::files) {
            resolver.note_file(file);
        }
        let contents = resolver.into_contents();
        let (Some(gateway), true) = (gateway, faults.is_empty()) else {
            faults.extend(quarantined.into_iter().flat_map(|tenant| tenant.faults));
            return Err(ConfigError::new(faults, contents));
        };
        Ok(Config { gateway, tenants, quarantined, contents })
    }

    /// Why tenants are quarantined, all of them.
    pub fn faults(&self) -> impl Iterator<Item = &Fault> {
        self.quarantined.iter().flat_map(|tenant| &tenant.faults)
    }
}

/// Every tenant's section, from all files.
#[derive(Default)]
struct Sections {
    by_tenant: BTreeMap<TenantId, Section>,
    faults: Vec<Fault>,
}

impl Sections {
    fn take_from(&mut self, mut document: Section) {
        let mut tenants = document.open("tenants");
        for (key, section) in tenants.open_all() {
            match TenantId::parse(&key) {
                Ok(id) => self.add(id, section),
                Err(error) => tenants.report(&key, error.to_string()),
            }
        }
        document.close(tenants);
        self.faults.extend(document.finish());
    }

    fn take_from_included(&mut self, mut document: Section) {
        for key in ["gateway", "defaults", "include"] {
            document.refuse(key, "belongs in the main file: an included one holds [tenants.*] only");
        }
        self.take_from(document);
    }

    /// The valid tenants, and the others.
    fn read(
        self,
        defaults: &TenantSettings,
        resolver: &mut Resolver<'_>,
    ) -> (Vec<TenantConfig>, Vec<Quarantined>) {
        let mut tenants = Vec::new();
        let mut quarantined = Vec::new();
        for (tenant, section) in self.by_tenant {
            match TenantConfig::read(&tenant, section, defaults, resolver) {
                Ok(config) => tenants.push(config),
                Err(faults) => quarantined.push(Quarantined { tenant, faults: fault::tidy(faults) }),
            }
        }
        (tenants, quarantined)
    }

    /// Which of two definitions is meant nobody can know: the tenant is at fault.
    fn add(&mut self, id: TenantId, section: Section) {
        match self.by_tenant.entry(id) {
            Entry::Vacant(place) => {
                place.insert(section);
            }
            Entry::Occupied(mut first) => {
                let reason = format!("is defined in {} too", section.file().display());
                first.get_mut().report("", reason);
            }
        }
    }
}

#[cfg(test)]
mod database_tests;
#[cfg(test)]
mod example_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod workspace;
