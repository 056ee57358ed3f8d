//! `turnpike tenant add | list | pause | resume | remove`
//!
//! Each edits the configuration's files and has the gateway that runs reload.

mod add;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;
use jiff::{RoundMode, Timestamp, TimestampRound, Unit};
use serde::Serialize;

use super::admin_client::{Access, AdminClient};
use super::{CommandError, CommandResult, parse_tenant, print_json, report, table};
use crate::access_log::chain;
use crate::clock::Clock;
use crate::config::edit::Draft;
use crate::config::{Config, PauseConfig, TenantId};
use crate::reload::Outcome;

#[derive(Debug, Subcommand)]
pub enum TenantCommand {
    /// Add a tenant: its section, on request its database and roles, its schema; and have the gateway reload
    Add(Box<add::AddArgs>),
    /// List the configured tenants, and how they stand
    List(ListArgs),
    /// Take a tenant out of service: its vendors are answered 503, its database is left alone
    Pause(PauseArgs),
    /// Put a paused tenant back into service
    Resume(ResumeArgs),
    /// Take a tenant out of the configuration; its database stays
    Remove(RemoveArgs),
}

#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub struct PauseArgs {
    #[arg(value_name = "ID", value_parser = parse_tenant)]
    tenant: TenantId,
    /// Why, for the next operator
    #[arg(long, value_name = "TEXT", value_parser = parse_reason)]
    reason: String,
    /// When it ends by itself, like 2026-12-01T08:00:00Z; without an end, until it is resumed
    #[arg(long, value_name = "TIME", conflicts_with = "for")]
    until: Option<Timestamp>,
    /// After how long it ends by itself, like 2h
    #[arg(long = "for", id = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    length: Option<Duration>,
    #[command(flatten)]
    access: Access,
}

#[derive(Debug, clap::Args)]
pub struct ResumeArgs {
    #[arg(value_name = "ID", value_parser = parse_tenant)]
    tenant: TenantId,
    #[command(flatten)]
    access: Access,
}

#[derive(Debug, clap::Args)]
pub struct RemoveArgs {
    #[arg(value_name = "ID", value_parser = parse_tenant)]
    tenant: TenantId,
    /// Do it; without this, only tell what would be done
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    access: Access,
}

pub async fn run(command: &TenantCommand, config: &Path) -> CommandResult {
    match command {
        TenantCommand::Add(args) => add::run(args, config).await,
        TenantCommand::List(args) => list(args, config),
        TenantCommand::Pause(args) => pause(args, config).await,
        TenantCommand::Resume(args) => resume(args, config).await,
        TenantCommand::Remove(args) => remove(args, config).await,
    }
}

/// A tenant as the configuration has it.
#[derive(Serialize)]
struct Listed {
    tenant: TenantId,
    name: Option<String>,
    /// `live`, `paused` or `quarantined`
    state: &'static str,
    /// Why it isn't live.
    reasons: Vec<String>,
    paused_until: Option<Timestamp>,
}

fn list(args: &ListArgs, path: &Path) -> CommandResult {
    let config = Config::load(path)?;
    let now = Clock::system().now();
    let mut tenants: Vec<Listed> = Vec::new();
    for tenant in config.tenants {
        let pause = tenant.paused.filter(|pause| pause.holds_at(now));
        tenants.push(Listed {
            tenant: tenant.id,
            name: Some(tenant.name),
            state: if pause.is_some() { "paused" } else { "live" },
            paused_until: pause.as_ref().and_then(|pause| pause.until),
            reasons: pause.into_iter().map(|pause| pause.reason).collect(),
        });
    }
    for quarantined in config.quarantined {
        tenants.push(Listed {
            tenant: quarantined.tenant,
            name: None,
            state: "quarantined",
            reasons: quarantined.faults.iter().map(ToString::to_string).collect(),
            paused_until: None,
        });
    }
    tenants.sort_by(|one, other| one.tenant.cmp(&other.tenant));
    if args.json {
        print_json(&tenants);
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = table(["tenant", "name", "state", "until", "reason"]);
    for tenant in &tenants {
        table.add_row([
            tenant.tenant.to_string(),
            tenant.name.clone().unwrap_or_default(),
            tenant.state.to_owned(),
            tenant.paused_until.map(|until| until.to_string()).unwrap_or_default(),
            tenant.reasons.join("\n"),
        ]);
    }
    println!("{table}");
    Ok(ExitCode::SUCCESS)
}

async fn pause(args: &PauseArgs, config: &Path) -> CommandResult {
    let now = Clock::system().now();
    let until = match (args.until, args.length) {
        (Some(until), _) => Some(until),
        (None, Some(length)) => {
            let until = now.checked_add(length).and_then(|until| {
                until.round(TimestampRound::new().smallest(Unit::Second).mode(RoundMode::Ceil))
            });
            Some(until.map_err(|error| CommandError::Refused(format!("--for: {error}")))?)
        }
        (None, None) => None,
    };
    if until.is_some_and(|until| until <= now) {
        return Err(CommandError::Refused("--until must be in the future".to_owned()));
    }
    let draft = Draft::pause(config, &args.tenant, &PauseConfig { reason: args.reason.clone(), until })?;
    let end = until.map_or_else(|| "until it is resumed".to_owned(), |until| format!("until {until}"));
    put(draft, &format!("pause {}", args.tenant), &args.access, &format!("{} is paused {end}", args.tenant))
        .await
}

async fn resume(args: &ResumeArgs, config: &Path) -> CommandResult {
    let draft = Draft::resume(config, &args.tenant)?;
    let done = format!("{} isn't paused any more", args.tenant);
    put(draft, &format!("resume {}", args.tenant), &args.access, &done).await
}

async fn remove(args: &RemoveArgs, config: &Path) -> CommandResult {
    let draft = Draft::remove(config, &args.tenant)?;
    if !args.yes {
        let refused = format!(
            "this would take {} out of the configuration, and its vendors would be answered 401; its database, roles and \
             secrets would stay. Say --yes to do it",
            args.tenant
        );
        return Err(CommandError::Refused(refused));
    }
    let done = format!("{} is removed; its database, roles and secrets are left as they are", args.tenant);
    put(draft, &format!("remove {}", args.tenant), &args.access, &done).await
}

/// Writes an edit, tells of it, and has the gateway that runs take it up.
async fn put(draft: Draft, reason: &str, access: &Access, done: &str) -> CommandResult {
    let gateway = draft.config().gateway.clone();
    let files: Vec<PathBuf> = draft.write()?;
    let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    println!("wrote {}", files.join(", "));
    println!("{done}");
    let told = match AdminClient::of(&gateway, access) {
        Ok(client) => client.reload(&format!("turnpike tenant {reason}")).await.map(|told| (client, told)),
        Err(error) => Err(error),
    };
    match told {
        Ok((client, told)) => {
            println!("the gateway at {}: {}", client.address(), report::summary(&told));
            if told.outcome == Outcome::Refused {
                report::print(&told);
                return Ok(ExitCode::FAILURE);
            }
        }
        Err(error) => {
            let then = match gateway.reload_interval {
                Some(interval) => {
                    format!("finds the change within {}", humantime::format_duration(interval * 2))
                }
                None => "takes it up by SIGHUP: reload_interval is off".to_owned(),
            };
            println!("no gateway was told ({}); one that runs with these files {then}", chain(&error));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn parse_reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.contains(char::is_control) {
        return Err("must say why, without control characters".to_owned());
    }
    Ok(text.to_owned())
}
