//! `turnpike batch list | show | void | requeue`
//!
//! The ledger as operators see it: which vendor received which violation, and when. A privacy commissioner asks for that by
//! person, a vendor's help desk by batch, the institution by ticket.

use std::path::Path;
use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};
use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::{CommandError, CommandResult, find_tenant, parse_tenant, print_json, table};
use crate::config::{TenantConfig, TenantId};
use crate::database::{Database, DatabaseError, Row, statements as sql};
use crate::ledger::{Ledger, LedgerError};

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
    /// Why; stays in the ledger
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

#[derive(Debug, clap::Args)]
pub struct RequeueArgs {
    #[arg(long, value_name = "ID", value_parser = parse_tenant)]
    tenant: TenantId,
    #[arg(long, value_name = "N")]
    batch_id: i64,
    /// Why; stays in the ledger
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Who decides it; stays in the ledger
    #[arg(long, value_name = "NAME", env = "USER")]
    actor: String,
}

pub async fn run(command: &BatchCommand, config: &Path) -> CommandResult {
    match command {
        BatchCommand::List(args) => list(args, config).await,
        BatchCommand::Show(args) => show(args, config).await,
        BatchCommand::Void(args) => void(args, config).await,
        BatchCommand::Requeue(args) => requeue(args, config).await,
    }
}

fn failed(tenant: &TenantConfig, attempt: &'static str) -> impl FnOnce(DatabaseError) -> CommandError {
    let tenant = tenant.id.clone();
    move |source| CommandError::Database { tenant, attempt, source }
}

fn require_reason(reason: &str) -> Result<(), CommandError> {
    if reason.trim().is_empty() {
        return Err(CommandError::Refused("--reason must say why".to_owned()));
    }
    Ok(())
}

#[derive(Serialize)]
struct Listed {
    batch_id: i64,
    vendor: Option<String>,
    field_profile: String,
    state: String,
    records: i32,
    claimed_at: Timestamp,
    released_at: Option<Timestamp>,
    acknowledged_at: Option<Timestamp>,
    replayed_at: Option<Timestamp>,
    voided_at: Option<Timestamp>,
    void_reason: Option<String>,
    requeued_at: Option<Timestamp>,
    requeued_by: Option<String>,
    requeue_reason: Option<String>,
    idempotency_key: Option<String>,
    request_id: Option<String>,
    gateway: String,
}

impl From<&Row> for Listed {
    fn from(row: &Row) -> Self {
        Self {
            batch_id: row.get("batch_id"),
            vendor: row.get("vendor"),
            field_profile: row.get("field_profile"),
            state: row.get("state"),
            records: row.get("record_count"),
            claimed_at: row.get("claimed_at"),
            released_at: row.get("released_at"),
            acknowledged_at: row.get("acknowledged_at"),
            replayed_at: row.get("replayed_at"),
            voided_at: row.get("voided_at"),
            void_reason: row.get("void_reason"),
            requeued_at: row.get("requeued_at"),
            requeued_by: row.get("requeued_by"),
            requeue_reason: row.get("requeue_reason"),
            idempotency_key: row.get("idempotency_key"),
            request_id: row.get("request_id"),
            gateway: row.get("gateway"),
        }
    }
}

impl Listed {
    /// What became of it after it was released, or why it wasn't.
    fn remark(&self) -> String {
        match (&self.requeue_reason, &self.void_reason, self.acknowledged_at) {
            (Some(reason), _, _) => {
                format!("requeued by {}: {reason}", self.requeued_by.as_deref().unwrap_or("?"))
            }
            (None, Some(reason), _) => reason.clone(),
            (None, None, Some(at)) => format!("acknowledged {}", at.strftime("%F %T")),
            (None, None, None) => String::new(),
        }
    }
}

async fn list(args: &ListArgs, config: &Path) -> CommandResult {
    let tenant = find_tenant(config, &args.tenant)?;
    let state = args.state.map(|state| match state {
        State::Open => "open",
        State::Released => "released",
        State::Void => "void",
    });
    let rows = Database::open(&tenant)?
        .query(&sql::BATCH_SEARCH, &[&args.ticket, &args.person, &state, &args.limit])
        .await
        .map_err(failed(&tenant, "list the batches"))?;
    let batches: Vec<Listed> = rows.iter().map(Listed::from).collect();
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
            batch.field_profile.clone(),
            batch.state.clone(),
            batch.records.to_string(),
            time(Some(batch.claimed_at)),
            time(batch.released_at),
            batch.remark(),
        ]);
    }
    println!("{table}");
    Ok(ExitCode::SUCCESS)
}

/// A batch's violations, and what is needed to act on it.
struct Shown {
    claim_id: Uuid,
    state: String,
    violations: Vec<Violation>,
}

#[derive(Serialize)]
struct Violation {
    position: i64,
    #[serde(rename = "ViolationID")]
    id: i32,
    #[serde(rename = "Ticket")]
    ticket: Option<String>,
}

async fn find(tenant: &TenantConfig, database: &Database, batch_id: i64) -> Result<Shown, CommandError> {
    let rows = database.query(&sql::BATCH_SHOW, &[&batch_id]).await;
    let rows = rows.map_err(failed(tenant, "look the batch up"))?;
    let first = rows
        .first()
        .ok_or_else(|| CommandError::Refused(format!("{} has no batch {batch_id}", tenant.id)))?;
    let (claim_id, state) = (first.get("claim_id"), first.get("state"));
    let violations = rows
        .iter()
        .filter_map(|row| {
            let id = row.get::<_, Option<i32>>("ViolationID")?;
            Some(Violation { position: row.get("position"), id, ticket: row.get("Ticket") })
        })
        .collect();
    Ok(Shown { claim_id, state, violations })
}

async fn show(args: &ShowArgs, config: &Path) -> CommandResult {
    let tenant = find_tenant(config, &args.tenant)?;
    let shown = find(&tenant, &Database::open(&tenant)?, args.batch_id).await?;
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
    require_reason(&args.reason)?;
    let tenant = find_tenant(config, &args.tenant)?;
    let database = Database::open(&tenant)?;
    let shown = find(&tenant, &database, args.batch_id).await?;
    let ledger = Ledger::new(database.clone(), "turnpike batch void".to_owned(), tenant.delivery.lease);
    let voided = ledger.void(shown.claim_id, &args.reason).await.map_err(|error| match error {
        LedgerError::Database { attempt, source } => failed(&tenant, attempt)(source),
        LedgerError::NotOpen | LedgerError::NotReleased => {
            CommandError::Refused("the batch isn't open".to_owned())
        }
    })?;
    if !voided {
        let hint = "only an open batch can be voided; a released one can be requeued";
        return Err(CommandError::Refused(format!("batch {} is released: {hint}", args.batch_id)));
    }
    if shown.state == "void" {
        return Err(CommandError::Refused(format!("batch {} was void already", args.batch_id)));
    }
    println!("voided batch {}: the next call gets its {} violations", args.batch_id, shown.violations.len());
    Ok(ExitCode::SUCCESS)
}

async fn requeue(args: &RequeueArgs, config: &Path) -> CommandResult {
    require_reason(&args.reason)?;
    if args.actor.trim().is_empty() {
        return Err(CommandError::Refused("--actor must name somebody".to_owned()));
    }
    let tenant = find_tenant(config, &args.tenant)?;
    let database = Database::open(&tenant)?;
    let rows = database
        .query(&sql::BATCH_REQUEUE, &[&args.batch_id, &args.actor, &args.reason])
        .await
        .map_err(failed(&tenant, "requeue the batch"))?;
    let Some(row) = rows.first() else {
        let state = find(&tenant, &database, args.batch_id).await?.state;
        let why = if state == "released" { "was requeued already" } else { "isn't released" };
        return Err(CommandError::Refused(format!("batch {} {why}", args.batch_id)));
    };
    let freed: i64 = row.get("freed");
    println!("requeued batch {}: {freed} violations may be handed out again", args.batch_id);
    Ok(ExitCode::SUCCESS)
}
