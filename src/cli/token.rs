//! `turnpike token issue | list | revoke`
//!
//! A token is printed once, when it is issued; the database keeps its SHA-256 alone.

use std::net::IpAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use ipnet::IpNet;
use jiff::Timestamp;
use rand::Rng;
use rand::distr::Alphanumeric;
use serde::Serialize;

use super::{CommandError, CommandResult, find_tenant, parse_tenant, print_json, table};
use crate::auth::hash_token;
use crate::config::TenantId;
use crate::database::{Database, DatabaseError, Row, statements as sql};

/// Tokens that we issue have exactly the contract's maximum of 50 characters.
const TOKEN_LENGTH: usize = 50;

#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Issue a token to a vendor; it is shown once and can't be shown again
    Issue(IssueArgs),
    /// List a tenant's tokens, never the tokens themselves
    List(ListArgs),
    /// Revoke a token; no claim that begins afterwards gets anything
    Revoke(RevokeArgs),
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
    /// Print the token and nothing else
    #[arg(long)]
    quiet: bool,
    /// Print as JSON
    #[arg(long, conflicts_with = "quiet")]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub struct ListArgs {
    #[arg(long, value_name = "ID", value_parser = parse_tenant)]
    tenant: TenantId,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub struct RevokeArgs {
    #[arg(long, value_name = "ID", value_parser = parse_tenant)]
    tenant: TenantId,
    /// The number that `token list` shows
    #[arg(long, value_name = "N")]
    token_id: i64,
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

impl Fields {
    fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Standard => "standard",
            Self::Minimal => "minimal",
        }
    }
}

#[derive(Debug, Clone)]
struct Permission {
    action: String,
    resource: String,
}

fn parse_permission(text: &str) -> Result<Permission, String> {
    match text.split_once(':') {
        Some((action, resource)) if !action.is_empty() && !resource.is_empty() => {
            Ok(Permission { action: action.to_owned(), resource: resource.to_owned() })
        }
        _ => Err("write it as ACTION:RESOURCE, like user-create:violation_collection".to_owned()),
    }
}

/// A network or a single address. Host bits are dropped: PostgreSQL's `cidr` refuses them.
fn parse_network(text: &str) -> Result<IpNet, String> {
    let network = text.parse::<IpNet>().or_else(|_not_a_network| text.parse::<IpAddr>().map(IpNet::from));
    network
        .map(|network| network.trunc())
        .map_err(|_neither| "write it like 192.0.2.0/24 or 2001:db8::/32".to_owned())
}

pub async fn run(command: &TokenCommand, config: &Path) -> CommandResult {
    match command {
        TokenCommand::Issue(args) => issue(args, config).await,
        TokenCommand::List(args) => list(args, config).await,
        TokenCommand::Revoke(args) => revoke(args, config).await,
    }
}

fn failed(tenant: &TenantId, attempt: &'static str) -> impl FnOnce(DatabaseError) -> CommandError {
    move |source| CommandError::Database { tenant: tenant.clone(), attempt, source }
}

#[derive(Serialize)]
struct Issued {
    tenant: String,
    token_id: i64,
    vendor: String,
    fields: &'static str,
    expires_at: Option<Timestamp>,
    token: String,
}

async fn issue(args: &IssueArgs, config: &Path) -> CommandResult {
    let tenant = find_tenant(config, &args.tenant)?;
    if args.vendor.trim().is_empty() {
        return Err(CommandError::Refused("--vendor must name somebody".to_owned()));
    }
    let token: String = rand::rng().sample_iter(Alphanumeric).take(TOKEN_LENGTH).map(char::from).collect();
    let database = Database::open(&tenant)?;
    let hash = hash_token(&token);
    let expires_in = args.expires_in.map(|duration| duration.as_secs_f64());
    let allowed: Vec<String> = args.allow.iter().map(ToString::to_string).collect();
    let allowed = (!allowed.is_empty()).then_some(allowed);
    let (actions, resources): (Vec<&str>, Vec<&str>) =
        args.permission.iter().map(|p| (p.action.as_str(), p.resource.as_str())).unzip();
    let rows = database
        .query(
            &sql::TOKEN_ISSUE,
            &[
                &hash.as_slice(),
                &args.vendor,
                &args.fields.as_str(),
                &args.sandbox,
                &expires_in,
                &allowed,
                &actions,
                &resources,
            ],
        )
        .await
        .map_err(failed(&tenant.id, "issue the token"))?;
    let row = rows.first().ok_or_else(|| CommandError::Refused("the database issued no token".to_owned()))?;
    let issued = Issued {
        tenant: tenant.id.to_string(),
        token_id: row.get("token_id"),
        vendor: args.vendor.clone(),
        fields: args.fields.as_str(),
        expires_at: row.get("expires_at"),
        token,
    };
    if args.quiet {
        println!("{}", issued.token);
    } else if args.json {
        print_json(&issued);
    } else {
        let until = issued.expires_at.map_or_else(|| "until revoked".to_owned(), |at| format!("until {at}"));
        println!(
            "token {} for {} at {}, {} fields, {until}; it is shown this once:\n{}",
            issued.token_id, issued.vendor, issued.tenant, issued.fields, issued.token
        );
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Serialize)]
struct Listed {
    token_id: i64,
    vendor: String,
    status: String,
    fields: String,
    sandbox: bool,
    permissions: Vec<String>,
    allowed_addresses: Option<Vec<String>>,
    created_at: Timestamp,
    created_by: String,
    expires_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
    last_claim: Option<Timestamp>,
}

impl From<&Row> for Listed {
    fn from(row: &Row) -> Self {
        Self {
            token_id: row.get("token_id"),
            vendor: row.get("vendor"),
            status: row.get("status"),
            fields: row.get("field_profile"),
            sandbox: row.get("sandbox"),
            permissions: row.get("permissions"),
            allowed_addresses: row.get("allowed_addresses"),
            created_at: row.get("created_at"),
            created_by: row.get("created_by"),
            expires_at: row.get("expires_at"),
            revoked_at: row.get("revoked_at"),
            last_claim: row.get("last_claim"),
        }
    }
}

async fn list(args: &ListArgs, config: &Path) -> CommandResult {
    let tenant = find_tenant(config, &args.tenant)?;
    let rows = Database::open(&tenant)?.query(&sql::TOKEN_LIST, &[]).await;
    let rows = rows.map_err(failed(&tenant.id, "list the tokens"))?;
    let tokens: Vec<Listed> = rows.iter().map(Listed::from).collect();
    if args.json {
        print_json(&tokens);
        return Ok(ExitCode::SUCCESS);
    }
    let mut table =
        table(["id", "vendor", "status", "fields", "permissions", "from", "expires", "last claim"]);
    let day = |at: Option<Timestamp>| at.map_or_else(|| "-".to_owned(), |at| at.strftime("%F").to_string());
    for token in &tokens {
        table.add_row([
            token.token_id.to_string(),
            token.vendor.clone(),
            token.status.clone(),
            token.fields.clone(),
            token.permissions.join(" "),
            token
                .allowed_addresses
                .as_ref()
                .map_or_else(|| "anywhere".to_owned(), |networks| networks.join(" ")),
            day(token.expires_at),
            day(token.last_claim),
        ]);
    }
    println!("{table}");
    Ok(ExitCode::SUCCESS)
}

async fn revoke(args: &RevokeArgs, config: &Path) -> CommandResult {
    let tenant = find_tenant(config, &args.tenant)?;
    let rows = Database::open(&tenant)?.query(&sql::TOKEN_REVOKE, &[&args.token_id]).await;
    let rows = rows.map_err(failed(&tenant.id, "revoke the token"))?;
    let Some(row) = rows.first() else {
        return Err(CommandError::Refused(format!("{} has no token {}", tenant.id, args.token_id)));
    };
    let (vendor, at): (String, Timestamp) = (row.get("vendor"), row.get("revoked_at"));
    if row.get("now") {
        println!("revoked token {} of {vendor} at {}", args.token_id, tenant.id);
    } else {
        println!("token {} of {vendor} at {} was revoked already, on {at}", args.token_id, tenant.id);
    }
    Ok(ExitCode::SUCCESS)
}
