//! `turnpike token list`: of one tenant, of some, or of all.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::iter;
use jiff::Timestamp;
use serde::Serialize;

use super::failed;
use crate::access_log::chain;
use crate::cli::{CommandError, CommandResult, find_tenant, parse_tenant, print_json, table};
use crate::config::{Config, TenantConfig, TenantId};
use crate::database::Database;
use crate::tokens::{self, StoredToken};

/// Tenants looked at together.
const AT_ONCE: usize = 16;

#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Only these tenants
    #[arg(long, value_name = "ID", value_parser = parse_tenant, num_args = 1..)]
    tenant: Vec<TenantId>,
    /// Only valid tokens that expire within this time, like 30d; the exit code is 1 where there are any
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    expiring_within: Option<Duration>,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Listed {
    tenant: String,
    #[serde(flatten)]
    token: StoredToken,
}

/// A tenant that can't be looked at is told on standard error, and keeps none of the others from being listed.
pub async fn run(args: &ListArgs, config: &Path) -> CommandResult {
    let (tenants, mut wanting) = find_tenants(args, config)?;
    let within = args.expiring_within;
    let looked: Vec<_> = iter(tenants).map(|tenant| list(tenant, within)).buffered(AT_ONCE).collect().await;
    let mut tokens = Vec::new();
    for listed in looked {
        match listed {
            Ok(listed) => tokens.extend(listed),
            Err(error) => {
                eprintln!("turnpike: {}", chain(&error));
                wanting = true;
            }
        }
    }
    wanting |= within.is_some() && !tokens.is_empty();
    if args.json {
        print_json(&tokens);
    } else {
        print(&tokens);
    }
    Ok(if wanting { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The tenants, and whether some can't be looked at.
fn find_tenants(args: &ListArgs, config: &Path) -> Result<(Vec<TenantConfig>, bool), CommandError> {
    if !args.tenant.is_empty() {
        let tenants: Result<_, _> = args.tenant.iter().map(|id| find_tenant(config, id)).collect();
        return Ok((tenants?, false));
    }
    let config = Config::load(config)?;
    for fault in config.faults() {
        eprintln!("turnpike: {fault}");
    }
    let at_fault = config.faults().next().is_some();
    Ok((config.tenants, at_fault))
}

async fn list(tenant: TenantConfig, within: Option<Duration>) -> Result<Vec<Listed>, CommandError> {
    let database = Database::open(&tenant)?;
    let tokens = match within {
        Some(within) => tokens::expiring(&database, within).await,
        None => tokens::list(&database).await,
    };
    let name = |token| Listed { tenant: tenant.id.to_string(), token };
    Ok(tokens.map_err(failed(&tenant))?.into_iter().map(name).collect())
}

fn print(tokens: &[Listed]) {
    let header =
        ["tenant", "id", "vendor", "status", "fields", "permissions", "from", "expires", "last claim", ""];
    let mut table = table(header);
    let day = |at: Option<Timestamp>| at.map_or_else(|| "-".to_owned(), |at| at.strftime("%F").to_string());
    for Listed { tenant, token } in tokens {
        let from = &token.allowed_addresses;
        table.add_row([
            tenant.clone(),
            token.token_id.to_string(),
            token.vendor.clone(),
            token.status.clone(),
            token.fields.clone(),
            token.permissions.join(" "),
            from.as_ref().map_or_else(|| "anywhere".to_owned(), |networks| networks.join(" ")),
            day(token.expires_at),
            day(token.last_claim),
            remark(token),
        ]);
    }
    println!("{table}");
}

fn remark(token: &StoredToken) -> String {
    let mut remarks = Vec::new();
    if token.sandbox {
        remarks.push("sandbox".to_owned());
    }
    if let Some(successor) = token.rotated_to {
        remarks.push(format!("rotated to {successor}"));
    }
    remarks.join(", ")
}
