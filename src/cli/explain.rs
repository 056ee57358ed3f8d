//! `turnpike explain`

use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;

use super::{CommandError, CommandResult, find_tenant, parse_tenant, print_json, table};
use crate::config::TenantId;
use crate::database::{Database, Parameters, statements as sql};

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

#[derive(Serialize)]
struct Explained {
    ticket: String,
    eligible: bool,
    rules: Vec<Rule>,
}

#[derive(Serialize)]
struct Rule {
    rule: String,
    holds: bool,
    detail: String,
}

/// Prints every rule, and whether the violation would be in the next answer. Exit code 1 for an unknown ticket.
pub async fn run(args: &ExplainArgs, config: &Path) -> CommandResult {
    let tenant = find_tenant(config, &args.tenant)?;
    let rules = &tenant.eligibility;
    let parameters: Parameters<'_> =
        &[&args.ticket, &rules.grace_days, &rules.minimum_balance, &rules.exclude_categories];
    let rows = Database::open(&tenant)?.query(&sql::EXPLAIN, parameters).await;
    let rows = rows.map_err(|source| CommandError::Database {
        tenant: tenant.id.clone(),
        attempt: "look the violation up",
        source,
    })?;
    if rows.is_empty() {
        return Err(CommandError::Refused(format!(
            "{} has no violation with ticket {}",
            tenant.id, args.ticket
        )));
    }
    let rules: Vec<Rule> = rows
        .iter()
        .map(|row| Rule { rule: row.get("rule"), holds: row.get("holds"), detail: row.get("detail") })
        .collect();
    let eligible = rules.iter().all(|rule| rule.holds);
    if args.json {
        print_json(&Explained { ticket: args.ticket.clone(), eligible, rules });
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = table(["rule", "holds", "because"]);
    for rule in &rules {
        table.add_row([rule.rule.as_str(), if rule.holds { "yes" } else { "NO" }, &rule.detail]);
    }
    println!(
        "{table}\n\n{} is {}",
        args.ticket,
        if eligible { "eligible: the next call gets it" } else { "not eligible" }
    );
    Ok(ExitCode::SUCCESS)
}
