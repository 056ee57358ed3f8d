//! `turnpike migrate`

use std::path::Path;
use std::process::ExitCode;

use super::{CommandError, CommandResult, find_tenant, parse_tenant};
use crate::access_log::chain;
use crate::config::{Config, TenantId};
use crate::migrate::migrate;

#[derive(Debug, clap::Args)]
pub struct MigrateArgs {
    /// Only these tenants
    #[arg(long, value_name = "ID", value_parser = parse_tenant, num_args = 1..)]
    tenant: Vec<TenantId>,
}

/// Migrates tenant after tenant; one that fails doesn't keep the others from their turn.
pub async fn run(args: &MigrateArgs, config: &Path) -> CommandResult {
    let mut tenants = Vec::new();
    let mut failed = false;
    if args.tenant.is_empty() {
        let config = Config::load(config)?;
        for fault in config.faults() {
            eprintln!("turnpike: {fault}");
            failed = true;
        }
        tenants = config.tenants;
    }
    for id in &args.tenant {
        tenants.push(find_tenant(config, id)?);
    }
    for tenant in &tenants {
        match migrate(tenant).await {
            Ok(migrated) => {
                let applied = if migrated.applied.is_empty() {
                    "nothing to do".to_owned()
                } else {
                    format!("applied {}", migrated.applied.join(", "))
                };
                let granted = migrated.granted.map_or_else(
                    || ", no grants: the gateway connects as the schema's owner".to_owned(),
                    |role| format!(", granted to {role}"),
                );
                println!("{}: version {}, {applied}{granted}", tenant.id, migrated.version);
            }
            Err(error) => {
                let error = CommandError::from(error);
                eprintln!("turnpike: {}: {}", tenant.id, chain(&error));
                failed = true;
            }
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
