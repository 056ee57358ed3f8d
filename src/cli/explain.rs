//! `turnpike explain`

use std::path::Path;
use std::process::ExitCode;

use super::{CommandError, CommandResult, find_tenant, parse_tenant, print_json, table};
use crate::config::TenantId;
use crate::database::Database;
use crate::explain::{Explained, explain};

#[derive(Debug, clap::Args)]
pub struct ExplainArgs {
    #[arg(long, value_name = "ID", value_parser = parse_tenant)]
    tenant: TenantId,
    /// The violation's ticket number
    #[arg(long, value_name = "TICKET")]
    ticket: String,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// Prints every rule, and whether the violation would be in the next answer. Exit code 1 for an unknown ticket.
pub async fn run(args: &ExplainArgs, config: &Path) -> CommandResult {
    let tenant = find_tenant(config, &args.tenant)?;
    let explained = explain(&Database::open(&tenant)?, &tenant.eligibility, &args.ticket).await;
    let explained = explained.map_err(|source| CommandError::Database {
        tenant: tenant.id.clone(),
        attempt: "look the violation up",
        source,
    })?;
    let Some(Explained { ticket, eligible, rules }) = explained else {
        return Err(CommandError::Refused(format!(
            "{} has no violation with ticket {}",
            tenant.id, args.ticket
        )));
    };
    if args.json {
        print_json(&Explained { ticket, eligible, rules });
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = table(["rule", "holds", "because"]);
    for rule in &rules {
        table.add_row([rule.rule.as_str(), if rule.holds { "yes" } else { "NO" }, &rule.detail]);
    }
    println!(
        "{table}\n\n{} is {}",
        ticket,
        if eligible { "eligible: the next call gets it" } else { "not eligible" }
    );
    Ok(ExitCode::SUCCESS)
}
