//! `turnpike token issue | list | rotate | update | revoke | import`
//!
//! A token is printed once, when it is made; the database keeps its SHA-256 alone.

mod import;
mod list;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use ipnet::IpNet;
use jiff::Timestamp;
use serde::Serialize;

use super::acting::Acting;
use super::{CommandError, CommandResult, find_tenant, parse_tenant, print_json};
use crate::config::{TenantConfig, TenantId};
use crate::database::Database;
use crate::records::FieldProfile;
use crate::tokens::{
    self, Amendment, Expiry, Permission, PlainToken, Rotation, TokenError, TokenOrder, parse_network,
};

#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Issue a token to a vendor; it is shown once and can't be shown again
    Issue(IssueArgs),
    /// List tokens, never the tokens themselves
    List(list::ListArgs),
    /// Replace a token by a new one for the same vendor; the old one goes on for a while
    Rotate(RotateArgs),
    /// Change where a token may be used, what it sees or when it expires
    Update(UpdateArgs),
    /// Revoke a token; no claim that begins afterwards gets anything
    Revoke(RevokeArgs),
    /// Store tokens that vendors have from another system, as their hashes
    Import(import::ImportArgs),
}

#[derive(Debug, clap::Args)]
pub struct IssueArgs {
    #[arg(long, value_name = "ID", value_parser = parse_tenant)]
    tenant: TenantId,
    /// The collections company the token is for
    #[arg(long, value_name = "NAME")]
    vendor: String,
    /// What the token may do
    #[arg(long, value_name = "ACTION:RESOURCE", value_parser = parse_permission, num_args = 1..,
          default_value = "user-create:violation_collection")]
    permission: Vec<Permission>,
    /// Which columns the vendor sees
    #[arg(long, value_enum, default_value_t = Fields::Standard)]
    fields: Fields,
    /// Answers are computed but nothing is ever marked
    #[arg(long)]
    sandbox: bool,
    /// How long the token is valid, like 365d; without it, until it is revoked
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    expires_in: Option<Duration>,
    /// Accept the token only from these addresses
    #[arg(long, value_name = "CIDR", value_parser = parse_network, num_args = 1..)]
    allow: Vec<IpNet>,
    #[command(flatten)]
    printing: Printing,
    /// Why; stays in the audit log
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    acting: Acting,
}

#[derive(Debug, clap::Args)]
pub struct RotateArgs {
    #[arg(long, value_name = "ID", value_parser = parse_tenant)]
    tenant: TenantId,
    /// The number of the token to replace, as `token list` shows it
    #[arg(long, value_name = "N")]
    token_id: i64,
    /// How long the old token goes on, unless it ends sooner; 0s ends it now
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, default_value = "7d")]
    overlap: Duration,
    /// How long the new token is valid, or `never` to expire; without it, as long as the old one was
    #[arg(long, value_name = "DURATION", value_parser = parse_expiry)]
    expires_in: Option<Expiry>,
    #[command(flatten)]
    printing: Printing,
    /// Why; stays in the audit log
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    acting: Acting,
}

#[derive(Debug, clap::Args)]
pub struct UpdateArgs {
    #[arg(long, value_name = "ID", value_parser = parse_tenant)]
    tenant: TenantId,
    /// The number that `token list` shows
    #[arg(long, value_name = "N")]
    token_id: i64,
    /// Accept the token from these addresses and no others
    #[arg(long, value_name = "CIDR", value_parser = parse_network, num_args = 1..)]
    allow: Vec<IpNet>,
    /// Accept the token from anywhere
    #[arg(long, conflicts_with = "allow")]
    allow_anywhere: bool,
    /// How long the token is valid from now on, or `never` to expire
    #[arg(long, value_name = "DURATION", value_parser = parse_expiry)]
    expires_in: Option<Expiry>,
    /// Which columns the vendor sees
    #[arg(long, value_enum)]
    fields: Option<Fields>,
    /// Print the token as it is then, as JSON
    #[arg(long)]
    json: bool,
    /// Why; stays in the audit log
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    acting: Acting,
}

#[derive(Debug, clap::Args)]
pub struct RevokeArgs {
    #[arg(long, value_name = "ID", value_parser = parse_tenant)]
    tenant: TenantId,
    /// The number that `token list` shows
    #[arg(long, value_name = "N")]
    token_id: i64,
    /// Why; stays in the audit log
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    acting: Acting,
}

/// How a new token is shown.
#[derive(Debug, clap::Args)]
struct Printing {
    /// Print the token and nothing else
    #[arg(long)]
    quiet: bool,
    /// Print as JSON
    #[arg(long, conflicts_with = "quiet")]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Fields {
    /// The documented record
    Full,
    /// Without credentials and staff-only columns
    Standard,
    /// Also without personal data beyond name, address, phone and plate, and the primary driver alone
    Minimal,
}

impl From<Fields> for FieldProfile {
    fn from(fields: Fields) -> Self {
        match fields {
            Fields::Full => Self::Full,
            Fields::Standard => Self::Standard,
            Fields::Minimal => Self::Minimal,
        }
    }
}

fn parse_permission(text: &str) -> Result<Permission, &'static str> {
    Permission::parse(text).ok_or("write it as ACTION:RESOURCE, like user-create:violation_collection")
}

fn parse_expiry(text: &str) -> Result<Expiry, humantime::DurationError> {
    match text {
        "never" => Ok(Expiry::Never),
        _ => humantime::parse_duration(text).map(Expiry::In),
    }
}

pub async fn run(command: &TokenCommand, config: &Path) -> CommandResult {
    match command {
        TokenCommand::Issue(args) => issue(args, config).await,
        TokenCommand::List(args) => list::run(args, config).await,
        TokenCommand::Rotate(args) => rotate(args, config).await,
        TokenCommand::Update(args) => update(args, config).await,
        TokenCommand::Revoke(args) => revoke(args, config).await,
        TokenCommand::Import(args) => import::run(args, config).await,
    }
}

fn failed(tenant: &TenantConfig) -> impl FnOnce(TokenError) -> CommandError {
    let tenant = tenant.id.clone();
    move |source| CommandError::Token { tenant, source }
}

fn until(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "until revoked".to_owned(), |at| format!("until {at}"))
}

/// Prints what was made; `told` is for people, and stands before the token.
fn print_token(printing: &Printing, token: &PlainToken, told: &str, json: &impl Serialize) {
    if printing.quiet {
        println!("{}", token.reveal());
    } else if printing.json {
        print_json(json);
    } else {
        println!("{told}; it is shown this once:\n{}", token.reveal());
    }
}

#[derive(Serialize)]
struct Issued<'a> {
    tenant: &'a str,
    token_id: i64,
    vendor: &'a str,
    fields: &'a str,
    expires_at: Option<Timestamp>,
    token: &'a str,
}

async fn issue(args: &IssueArgs, config: &Path) -> CommandResult {
    let actor = args.acting.actor(args.reason.as_deref())?;
    let tenant = find_tenant(config, &args.tenant)?;
    let order = TokenOrder {
        vendor: args.vendor.clone(),
        permissions: args.permission.clone(),
        profile: args.fields.into(),
        sandbox: args.sandbox,
        expires_in: args.expires_in,
        allowed: args.allow.clone(),
    };
    let issued = tokens::issue(&Database::open(&tenant)?, &order, &actor).await.map_err(failed(&tenant))?;
    let told = format!(
        "token {} for {} at {}, {} fields, {}",
        issued.token_id,
        order.vendor,
        tenant.id,
        order.profile.as_str(),
        until(issued.expires_at)
    );
    let json = Issued {
        tenant: tenant.id.as_str(),
        token_id: issued.token_id,
        vendor: &order.vendor,
        fields: order.profile.as_str(),
        expires_at: issued.expires_at,
        token: issued.token.reveal(),
    };
    print_token(&args.printing, &issued.token, &told, &json);
    Ok(ExitCode::SUCCESS)
}

#[derive(Serialize)]
struct Rotated<'a> {
    #[serde(flatten)]
    issued: Issued<'a>,
    rotated_from: i64,
    old_expires_at: Option<Timestamp>,
    old_revoked_at: Option<Timestamp>,
}

async fn rotate(args: &RotateArgs, config: &Path) -> CommandResult {
    let actor = args.acting.actor(args.reason.as_deref())?;
    let tenant = find_tenant(config, &args.tenant)?;
    let rotation = Rotation { token_id: args.token_id, overlap: args.overlap, expiry: args.expires_in };
    let rotated =
        tokens::rotate(&Database::open(&tenant)?, &rotation, &actor).await.map_err(failed(&tenant))?;
    let old = match rotated.old_revoked_at {
        Some(at) => format!("token {} stays revoked, since {at}", args.token_id),
        None => format!("token {} is valid {}", args.token_id, until(rotated.old_expires_at)),
    };
    let told = format!(
        "{old}; token {} takes over for {} at {}, {} fields, {}",
        rotated.token_id,
        rotated.vendor,
        tenant.id,
        rotated.fields,
        until(rotated.expires_at)
    );
    let json = Rotated {
        issued: Issued {
            tenant: tenant.id.as_str(),
            token_id: rotated.token_id,
            vendor: &rotated.vendor,
            fields: &rotated.fields,
            expires_at: rotated.expires_at,
            token: rotated.token.reveal(),
        },
        rotated_from: args.token_id,
        old_expires_at: rotated.old_expires_at,
        old_revoked_at: rotated.old_revoked_at,
    };
    print_token(&args.printing, &rotated.token, &told, &json);
    Ok(ExitCode::SUCCESS)
}

async fn update(args: &UpdateArgs, config: &Path) -> CommandResult {
    let actor = args.acting.actor(args.reason.as_deref())?;
    let tenant = find_tenant(config, &args.tenant)?;
    let allowed = (args.allow_anywhere || !args.allow.is_empty()).then(|| args.allow.clone());
    let amendment = Amendment { profile: args.fields.map(Into::into), allowed, expiry: args.expires_in };
    let database = Database::open(&tenant)?;
    let token =
        tokens::update(&database, args.token_id, &amendment, &actor).await.map_err(failed(&tenant))?;
    if args.json {
        print_json(&token);
        return Ok(ExitCode::SUCCESS);
    }
    let from = token.allowed_addresses.map_or_else(|| "anywhere".to_owned(), |networks| networks.join(" "));
    println!(
        "token {} of {} at {}: {} fields, from {from}, {}",
        token.token_id,
        token.vendor,
        tenant.id,
        token.fields,
        until(token.expires_at)
    );
    Ok(ExitCode::SUCCESS)
}

async fn revoke(args: &RevokeArgs, config: &Path) -> CommandResult {
    let actor = args.acting.actor(args.reason.as_deref())?;
    let tenant = find_tenant(config, &args.tenant)?;
    let revoked = tokens::revoke(&Database::open(&tenant)?, args.token_id, &actor).await;
    let revoked = revoked.map_err(failed(&tenant))?;
    let (id, vendor, tenant) = (args.token_id, revoked.vendor, tenant.id);
    if revoked.now {
        println!("revoked token {id} of {vendor} at {tenant}");
    } else {
        println!("token {id} of {vendor} at {tenant} was revoked already, on {}", revoked.revoked_at);
    }
    Ok(ExitCode::SUCCESS)
}
