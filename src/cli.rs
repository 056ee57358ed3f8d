//! The command line. Results go to standard output, everything else to standard error.
//!
//! Exit codes: 0 done, 1 refused or found wanting, 2 not understood.

mod acting;
mod admin_client;
mod audit;
mod batch;
mod check;
mod demo;
mod explain;
mod loadtest;
mod migrate;
mod openapi;
mod operator;
mod report;
mod sample;
mod serve;
mod tenant;
mod token;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use comfy_table::{Table, presets};
use thiserror::Error;

use crate::access_log::chain;
use crate::config::{Config, ConfigError, TenantConfig, TenantId};
use crate::database::{ConnectError, DatabaseError};

/// The exit code of a command line that can't be used; clap's own.
const NOT_UNDERSTOOD: u8 = 2;

/// A multi-tenant HTTPS gateway that hands overdue violations to collections vendors, each exactly once
#[derive(Debug, Parser)]
#[command(name = "turnpike", version, max_term_width = 100)]
pub struct Arguments {
    /// The configuration
    #[arg(long, global = true, default_value = "tenants.toml", value_name = "FILE")]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve every tenant of the configuration over HTTPS
    Serve,
    /// Print every fault of the configuration, and with --connect of the databases
    Check(check::CheckArgs),
    /// Add, list, pause, resume and remove tenants
    #[command(subcommand)]
    Tenant(tenant::TenantCommand),
    /// Bring tenants' schemas and grants up to date
    Migrate(migrate::MigrateArgs),
    /// Issue, list, rotate, change, revoke and import vendors' API tokens
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Tell who received what and when; void or requeue a batch
    #[command(subcommand)]
    Batch(batch::BatchCommand),
    /// Make operators' keys, and tokens for the admin API
    #[command(subcommand)]
    Operator(operator::OperatorCommand),
    /// Tell what operators did to a tenant's tokens and batches
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Print the API's description, OpenAPI 3.1: the vendors' or the operators'
    Openapi(openapi::OpenapiArgs),
    /// Tell, rule by rule, why a violation is or isn't eligible
    Explain(explain::ExplainArgs),
    /// Fill a tenant's database with realistic data, for load tests
    Sample(sample::SampleArgs),
    /// Prove what a gateway bears, tenant by tenant, on previews: nothing is consumed
    Loadtest(Box<loadtest::LoadtestArgs>),
    /// Show the whole product on this machine: PostgreSQL, three tenants, the gateway, a delivery
    Demo(demo::DemoArgs),
}

/// Why a command failed.
#[derive(Debug, Error)]
pub enum CommandError {
    #[error("the configuration can't be used:\n{0}")]
    Config(#[from] ConfigError),
    #[error("there is no tenant {tenant} in {config}")]
    UnknownTenant { tenant: TenantId, config: PathBuf },
    #[error("tenant {tenant} is at fault in the configuration:\n{faults}")]
    Quarantined { tenant: TenantId, faults: String },
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("{tenant}: could not {attempt}")]
    Database { tenant: TenantId, attempt: &'static str, source: DatabaseError },
    #[error("{tenant}")]
    Token { tenant: TenantId, source: crate::tokens::TokenError },
    #[error("{0}")]
    Refused(String),
    /// The command line, or a file that it names, can't be used.
    #[error("{0}")]
    Usage(String),
    #[error("could not {attempt}")]
    Io { attempt: String, source: std::io::Error },
    #[error(transparent)]
    Tls(#[from] crate::tls::TlsError),
    #[error("operators' keys can't be used")]
    OperatorKeys(#[from] crate::admin::keys::KeyError),
    #[error(transparent)]
    Traces(#[from] crate::traces::TracesError),
    #[error(transparent)]
    Migrate(#[from] crate::migrate::MigrateError),
    #[error(transparent)]
    Provision(#[from] crate::provision::ProvisionError),
    #[error(transparent)]
    Edit(#[from] crate::config::edit::EditError),
    #[error(transparent)]
    Ask(#[from] admin_client::AskError),
    #[error(transparent)]
    Demo(#[from] demo::DemoError),
    #[error("RUST_LOG can't be understood")]
    LogFilter(#[from] tracing_subscriber::filter::ParseError),
}

type CommandResult = Result<ExitCode, CommandError>;

/// Runs the command that the process was started with.
pub async fn run(arguments: Arguments) -> ExitCode {
    let config = &arguments.config;
    let result = match &arguments.command {
        Command::Serve => serve::run(config).await,
        Command::Check(args) => check::run(args, config).await,
        Command::Tenant(command) => tenant::run(command, config).await,
        Command::Migrate(args) => migrate::run(args, config).await,
        Command::Token(command) => token::run(command, config).await,
        Command::Batch(command) => batch::run(command, config).await,
        Command::Operator(command) => operator::run(command),
        Command::Audit(command) => audit::run(command, config).await,
        Command::Openapi(args) => openapi::run(args),
        Command::Explain(args) => explain::run(args, config).await,
        Command::Sample(args) => sample::run(args, config).await,
        Command::Loadtest(args) => loadtest::run(args, config).await,
        Command::Demo(args) => demo::run(args).await.map_err(CommandError::from),
    };
    result.unwrap_or_else(|error| {
        eprintln!("turnpike: {}", chain(&error));
        if matches!(error, CommandError::Usage(_)) {
            ExitCode::from(NOT_UNDERSTOOD)
        } else {
            ExitCode::FAILURE
        }
    })
}

/// `RUST_LOG`, the one variable that is read beside those which the configuration names.
#[expect(clippy::disallowed_methods, reason = "the command line is where the environment is read")]
fn log_filter() -> Option<String> {
    std::env::var("RUST_LOG").ok()
}

fn parse_tenant(text: &str) -> Result<TenantId, String> {
    TenantId::parse(text).map_err(|error| error.to_string())
}

/// One valid tenant of a configuration.
fn find_tenant(config_path: &std::path::Path, id: &TenantId) -> Result<TenantConfig, CommandError> {
    let config = Config::load(config_path)?;
    if let Some(quarantined) = config.quarantined.iter().find(|quarantined| quarantined.tenant == *id) {
        let faults: Vec<String> = quarantined.faults.iter().map(ToString::to_string).collect();
        return Err(CommandError::Quarantined { tenant: id.clone(), faults: faults.join("\n") });
    }
    config
        .tenants
        .into_iter()
        .find(|tenant| tenant.id == *id)
        .ok_or_else(|| CommandError::UnknownTenant { tenant: id.clone(), config: config_path.to_owned() })
}

/// A table as people read it: no lines but white space.
fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    table
}

/// Prints a value as JSON to standard output.
fn print_json(value: &impl serde::Serialize) {
    println!("{}", serde_json::to_string_pretty(value).expect("what commands print always has a JSON form"));
}
