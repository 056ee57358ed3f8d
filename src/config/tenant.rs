//! `[tenants.ID]`: one institution, its database, and the bounds it is served within.

use super::connection::{ConnectionConfig, Connector};
use super::database_keys::DatabaseKeys;
use super::delivery::DeliveryConfig;
use super::eligibility::EligibilityConfig;
use super::fault::Fault;
use super::limits::LimitsConfig;
use super::pause::PauseConfig;
use super::pool::PoolConfig;
use super::secret::{Level, Resolver};
use super::section::Section;
use super::tenant_id::TenantId;
use super::value::string;

/// A valid tenant. Equal to its former self (secrets included) where a reload changed nothing for it.
///
/// `Debug` shows no password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantConfig {
    /// As in the URL.
    pub id: TenantId,
    /// The institution's name, for people.
    pub name: String,
    /// `state.version` of its answers.
    pub version: Option<String>,
    /// As the gateway's role.
    pub database: ConnectionConfig,
    /// As the role that owns the schema; the same as `database` where none is configured.
    pub owner: ConnectionConfig,
    /// Connections and their time-outs.
    pub pool: PoolConfig,
    /// How long a batch may stay open.
    pub delivery: DeliveryConfig,
    /// How much its callers may take up.
    pub limits: LimitsConfig,
    /// What of the overdue may be handed over.
    pub eligibility: EligibilityConfig,
    /// Out of service on purpose.
    pub paused: Option<PauseConfig>,
}

/// Everything that `[defaults]` may say for all tenants. Without `Debug`: a URL may hold a password.
#[derive(Default)]
pub(super) struct TenantSettings {
    version: Option<String>,
    database: DatabaseKeys,
    pool: PoolConfig,
    delivery: DeliveryConfig,
    limits: LimitsConfig,
    eligibility: EligibilityConfig,
}

impl TenantSettings {
    /// Reads `[defaults]` over what is built in.
    pub(super) fn read_defaults(section: &mut Section) -> TenantSettings {
        for key in ["name", "paused"] {
            section.refuse(key, "is each tenant's own: set it in [tenants.ID]");
        }
        TenantSettings::read(section, Level::Defaults, &TenantSettings::default())
    }

    fn read(section: &mut Section, level: Level, base: &TenantSettings) -> TenantSettings {
        TenantSettings {
            version: section.find("version", string).or_else(|| base.version.clone()),
            database: DatabaseKeys::read(section, level).or(&base.database),
            pool: PoolConfig::read(section, &base.pool),
            delivery: DeliveryConfig::read(section, &base.delivery),
            limits: LimitsConfig::read(section, &base.limits),
            eligibility: EligibilityConfig::read(section, &base.eligibility),
        }
    }
}

impl TenantConfig {
    /// Reads a tenant over the defaults: the whole of it, or all that is wrong with it.
    pub(super) fn read(
        id: &TenantId,
        mut section: Section,
        defaults: &TenantSettings,
        resolver: &mut Resolver<'_>,
    ) -> Result<TenantConfig, Vec<Fault>> {
        let name = section.require("name", string);
        let paused = PauseConfig::read(&mut section);
        let settings = TenantSettings::read(&mut section, Level::Tenant, defaults);
        let tried_url = ["database_url", "database_url_file", "database_url_env"]
            .iter()
            .any(|key| section.is_faulty(key));
        if settings.database.url.is_none() && !tried_url {
            section.report("database_url", "is required, here or in [defaults]");
        }

        let mut connector =
            Connector { tenant: id, keys: &settings.database, resolver, faults: section.finish() };
        let database = connector.connect_gateway();
        let owner = connector.connect_owner();
        let faults = connector.faults;
        let (Some(name), Some(database), true) = (name, database, faults.is_empty()) else {
            return Err(faults);
        };
        Ok(TenantConfig {
            id: id.clone(),
            name,
            version: settings.version,
            owner: owner.unwrap_or_else(|| database.clone()),
            database,
            pool: settings.pool,
            delivery: settings.delivery,
            limits: settings.limits,
            eligibility: settings.eligibility,
            paused,
        })
    }

    /// The settings in which this differs from another configuration of the same tenant, as the configuration groups them.
    #[must_use]
    pub fn differences(&self, other: &TenantConfig) -> Vec<&'static str> {
        let TenantConfig {
            id: _,
            name,
            version,
            database,
            owner,
            pool,
            delivery,
            limits,
            eligibility,
            paused,
        } = other;
        let differs = [
            ("name", self.name != *name),
            ("version", self.version != *version),
            ("database", self.database != *database),
            ("owner_database", self.owner != *owner),
            ("connections", self.pool != *pool),
            ("deliveries", self.delivery != *delivery),
            ("limits", self.limits != *limits),
            ("eligibility", self.eligibility != *eligibility),
            ("paused", self.paused != *paused),
        ];
        differs.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect()
    }
}
