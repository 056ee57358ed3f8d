//! `turnpike audit list`: what operators did to a tenant's tokens and batches.

use std::path::Path;
use std::process::ExitCode;

use clap::Subcommand;
use jiff::Timestamp;

use super::{CommandError, CommandResult, find_tenant, parse_tenant, print_json, table};
use crate::audit::{self, Filter, Since};
use crate::config::TenantId;
use crate::database::Database;

#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// List what was done, by whom and why, newest first
    List(ListArgs),
}

#[derive(Debug, clap::Args)]
pub struct ListArgs {
    #[arg(long, value_name = "ID", value_parser = parse_tenant)]
    tenant: TenantId,
    /// Only since then: a time like 2026-12-01T00:00:00Z, or how long ago, like 30d
    #[arg(long, value_name = "WHEN", value_parser = parse_since)]
    since: Option<Since>,
    /// Only this action, like token.revoke
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    /// Only what was done to this, like "token 5" or "batch 12"
    #[arg(long, value_name = "OBJECT")]
    object: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(i64).range(1..))]
    limit: i64,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

fn parse_since(text: &str) -> Result<Since, &'static str> {
    let time = text.parse::<Timestamp>().map(Since::Time);
    time.or_else(|_no_time| humantime::parse_duration(text).map(Since::Ago))
        .map_err(|_neither| "write a time like 2026-12-01T00:00:00Z, or how long ago, like 30d")
}

pub async fn run(command: &AuditCommand, config: &Path) -> CommandResult {
    match command {
        AuditCommand::List(args) => list(args, config).await,
    }
}

async fn list(args: &ListArgs, config: &Path) -> CommandResult {
    let tenant = find_tenant(config, &args.tenant)?;
    let filter = Filter { since: args.since, action: args.action.clone(), object: args.object.clone() };
    let entries = audit::list(&Database::open(&tenant)?, &filter, args.limit).await;
    let entries = entries.map_err(|source| CommandError::Database {
        tenant: tenant.id.clone(),
        attempt: "list the audit log",
        source,
    })?;
    if args.json {
        print_json(&entries);
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = table(["at", "actor", "action", "object", "reason", "detail"]);
    for entry in &entries {
        table.add_row([
            entry.at.strftime("%F %T").to_string(),
            entry.actor.clone(),
            entry.action.clone(),
            entry.object.clone(),
            entry.reason.clone().unwrap_or_else(|| "-".to_owned()),
            entry.detail.to_string(),
        ]);
    }
    println!("{table}");
    Ok(ExitCode::SUCCESS)
}
