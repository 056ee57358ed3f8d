//! Brings a tenant's schema up to date: numbered migrations, then the gateway role's grants.
//!
//! Runs as the role that owns the schema. Safe to run twice, and by two at once: the second waits for the first.

use refinery::Migration;
use thiserror::Error;
use tokio_postgres::Client;

use crate::config::TenantConfig;
use crate::database::{ConnectError, Connector, Fault};

mod embedded {
    refinery::embed_migrations!("schema/migrations");
}

const LOCK: &str = include_str!("sql/migrate_lock.sql");
const GATEWAY_ROLE: &str = include_str!("sql/migrate_role.sql");
const ROLES: &str = include_str!("../schema/roles.sql");

/// What was done to one database.
#[derive(Debug)]
pub struct Migrated {
    /// The migrations that were applied now, by name.
    pub applied: Vec<String>,
    /// The schema's version after them.
    pub version: i32,
    /// The role that was granted what the gateway needs; None where the gateway connects as the owner.
    pub granted: Option<String>,
}

#[derive(Debug, Error)]
pub enum MigrateError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("could not connect as the schema's owner: {0}")]
    Unreachable(Fault),
    #[error("could not {attempt}: {fault}")]
    Database { attempt: &'static str, fault: Fault },
    #[error("migration failed: {0}")]
    Migration(Fault),
}

/// The version that this build of the gateway was written for.
pub fn latest_version() -> i32 {
    embedded::migrations::runner().get_migrations().iter().map(Migration::version).max().unwrap_or_default()
}

/// Migrates one tenant's database.
pub async fn migrate(tenant: &TenantConfig) -> Result<Migrated, MigrateError> {
    let connector = Connector::for_owner(tenant)?;
    let (mut client, _driver) =
        connector.open().await.map_err(|error| MigrateError::Unreachable(Fault::from(&error)))?;
    let failed = |attempt| move |error| MigrateError::Database { attempt, fault: Fault::from(&error) };
    client.batch_execute(LOCK).await.map_err(failed("wait for another migration"))?;
    let report = embedded::migrations::runner().run_async(&mut client).await.map_err(migration_failed)?;
    let granted = match (tenant.database.postgres.get_user(), tenant.owner.postgres.get_user()) {
        (Some(gateway), owner) if Some(gateway) != owner => {
            grant(&client, gateway).await.map_err(failed("grant the gateway's role its privileges"))?;
            Some(gateway.to_owned())
        }
        _ => None,
    };
    let applied = report.applied_migrations().iter().map(ToString::to_string).collect();
    Ok(Migrated { applied, version: latest_version(), granted })
}

async fn grant(client: &Client, role: &str) -> Result<(), tokio_postgres::Error> {
    client.query(GATEWAY_ROLE, &[&role]).await?;
    client.batch_execute(ROLES).await
}

fn migration_failed(error: refinery::Error) -> MigrateError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(source) = cause {
        if let Some(postgres) = source.downcast_ref::<tokio_postgres::Error>() {
            return MigrateError::Migration(Fault::from(postgres));
        }
        cause = source.source();
    }
    MigrateError::Migration(Fault::text(error.to_string()))
}
