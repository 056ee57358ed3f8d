//! `turnpike batch list | show | void | requeue`
//!
//! The ledger as operators see it: which vendor received which violation, and when. A privacy commissioner asks for that by
//! person, a vendor's help desk by batch, the institution by ticket.

use std::path::Path;
use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};
use jiff::Timestamp;

use super::acting::Acting;
use super::{CommandError, CommandResult, find_tenant, parse_tenant, print_json, table};
use crate::config::{TenantConfig, TenantId};
use crate::database::Database;
use crate::ledger::OversightError;
use crate::ledger::oversight::{self, BatchEntry, BatchQuery};

#[derive(Debug, Subcommand)]
pub enum BatchCommand {
    /// List batches, newest first: all of them, or those that hold a ticket or disclosed a person
    List(ListArgs),
    /// Show one batch's violations, in the answer's order
    Show(ShowArgs),
    /// Void an open batch now, instead of when its lease is over; the next call gets its violations
    Void(VoidArgs),
    /// Free a released batch's violations, to be handed out again; kept in the ledger for ever
    Requeue(RequeueArgs),
}

#[derive(Debug, clap::Args)]
pub struct ListArgs {
    #[arg(long, value_name = "ID", value_parser = parse_tenant)]
    tenant: TenantId,
    /// Only batches that hold this violation
    #[arg(long, value_name = "TICKET")]
    ticket: Option<String>,
    /// Only batches that disclosed this person, as a ticket's addressee or as a driver
    #[arg(long, value_name = "USER-ID", conflicts_with = "ticket")]
    person: Option<i32>,
    /// Only batches in this state
    #[arg(long, value_enum)]
    state: Option<State>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..))]
    limit: i64,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum State {
    Open,
    Released,
    Void,
}

#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    #[arg(long, value_name = "ID", value_parser = parse_tenant)]
    tenant: TenantId,
    #[arg(long, value_name = "N")]
    batch_id: i64,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub struct VoidArgs {
    #[arg(long, value_name = "ID", value_parser = parse_tenant)]
    tenant: TenantId,
    #[arg(long, value_name = "N")]
    batch_id: i64,
    /// Why; stays in the ledger and in the audit log
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    acting: Acting,
}

#[derive(Debug, clap::Args)]
pub struct RequeueArgs {
    #[arg(long, value_name = "ID", value_parser = parse_tenant)]
    tenant: TenantId,
    #[arg(long, value_name = "N")]
    batch_id: i64,
    /// Why; stays in the ledger and in the audit log
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    acting: Acting,
}

pub async fn run(command: &BatchCommand, config: &Path) -> CommandResult {
    match command {
        BatchCommand::List(args) => list(args, config).await,
        BatchCommand::Show(args) => show(args, config).await,
        BatchCommand::Void(args) => void(args, config).await,
        BatchCommand::Requeue(args) => requeue(args, config).await,
    }
}

fn refused(tenant: &TenantConfig, batch_id: i64) -> impl FnOnce(OversightError) -> CommandError {
    let tenant = tenant.id.clone();
    move |error| {
        CommandError::Refused(match error {
            OversightError::Unknown => format!("{tenant} has no batch {batch_id}"),
            OversightError::Released => {
                let hint = "only an open batch can be voided; a released one can be requeued";
                format!("batch {batch_id} is released: {hint}")
            }
            OversightError::Void => format!("batch {batch_id} was void already"),
            OversightError::NotReleased => format!("batch {batch_id} isn't released"),
            OversightError::Requeued => format!("batch {batch_id} was requeued already"),
            OversightError::Database { attempt, source } => {
                return CommandError::Database { tenant, attempt, source };
            }
        })
    }
}

/// What became of it after it was released, or why it wasn't.
fn remark(batch: &BatchEntry) -> String {
    match (&batch.requeue_reason, &batch.void_reason, batch.acknowledged_at) {
        (Some(reason), _, _) => {
            format!("requeued by {}: {reason}", batch.requeued_by.as_deref().unwrap_or("?"))
        }
        (None, Some(reason), _) => reason.clone(),
        (None, None, Some(at)) => format!("acknowledged {}", at.strftime("%F %T")),
        (None, None, None) => String::new(),
    }
}

async fn list(args: &ListArgs, config: &Path) -> CommandResult {
    let tenant = find_tenant(config, &args.tenant)?;
    let state = args.state.map(|state| match state {
        State::Open => "open",
        State::Released => "released",
        State::Void => "void",
    });
    let query = BatchQuery { ticket: args.ticket.clone(), person: args.person, state, limit: args.limit };
    let batches = oversight::search(&Database::open(&tenant)?, &query).await.map_err(refused(&tenant, 0))?;
    if args.json {
        print_json(&batches);
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = table(["batch", "vendor", "fields", "state", "records", "claimed", "released", "remark"]);
    let time =
        |at: Option<Timestamp>| at.map_or_else(|| "-".to_owned(), |at| at.strftime("%F %T").to_string());
    for batch in &batches {
        table.add_row([
            batch.batch_id.to_string(),
            batch.vendor.clone().unwrap_or_else(|| "-".to_owned()),
            batch.field_profile.clone().unwrap_or_else(|| "-".to_owned()),
            batch.state.clone(),
            batch.records.to_string(),
            time(Some(batch.claimed_at)),
            time(batch.released_at),
            remark(batch),
        ]);
    }
    println!("{table}");
    Ok(ExitCode::SUCCESS)
}

async fn show(args: &ShowArgs, config: &Path) -> CommandResult {
    let tenant = find_tenant(config, &args.tenant)?;
    let shown = oversight::show(&Database::open(&tenant)?, args.batch_id).await;
    let shown = shown.map_err(refused(&tenant, args.batch_id))?;
    if args.json {
        print_json(&shown.violations);
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = table(["position", "violation", "ticket"]);
    for violation in &shown.violations {
        let ticket = violation.ticket.as_deref().unwrap_or("(deleted)").to_owned();
        table.add_row([violation.position.to_string(), violation.id.to_string(), ticket]);
    }
    println!("{table}\n\nbatch {} is {}, {} records", args.batch_id, shown.state, shown.violations.len());
    Ok(ExitCode::SUCCESS)
}

async fn void(args: &VoidArgs, config: &Path) -> CommandResult {
    let actor = args.acting.actor(Some(&args.reason))?;
    let tenant = find_tenant(config, &args.tenant)?;
    let count = oversight::void(&Database::open(&tenant)?, args.batch_id, &actor).await;
    let count = count.map_err(refused(&tenant, args.batch_id))?;
    println!("voided batch {}: the next call gets its {count} violations", args.batch_id);
    Ok(ExitCode::SUCCESS)
}

async fn requeue(args: &RequeueArgs, config: &Path) -> CommandResult {
    let actor = args.acting.actor(Some(&args.reason))?;
    let tenant = find_tenant(config, &args.tenant)?;
    let freed = oversight::requeue(&Database::open(&tenant)?, args.batch_id, &actor).await;
    let freed = freed.map_err(refused(&tenant, args.batch_id))?;
    println!("requeued batch {}: {freed} violations may be handed out again", args.batch_id);
    Ok(ExitCode::SUCCESS)
}
