//! `turnpike check`

use std::path::Path;
use std::process::ExitCode;

use futures_util::StreamExt;
use futures_util::stream::iter;
use serde::Serialize;

use super::admin_client::{Access, AdminClient};
use super::{CommandResult, print_json, report, table};
use crate::admin::keys::OperatorKeys;
use crate::config::{Config, ConfigError, Fault, TenantConfig};
use crate::database::{Database, DatabaseError, statements as sql};
use crate::migrate::latest_version;
use crate::tls;

/// Databases that are looked at together.
const AT_ONCE: usize = 8;

#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// Also connect to each tenant's database: schema, grants, statements
    #[arg(long)]
    connect: bool,
    /// Ask the gateway that runs what a reload would do: at https://HOST:PORT or unix:/PATH, or at its admin_listen
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = "", conflicts_with = "connect")]
    diff: Option<String>,
    #[command(flatten)]
    access: Access,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Severity {
    Fault,
    Warning,
}

/// Something found wanting.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    /// The file, or the tenant whose database was looked at.
    pub(super) place: String,
    key: String,
    pub(super) reason: String,
}

#[derive(Serialize)]
struct Checked {
    ok: bool,
    tenants: usize,
    findings: Vec<Finding>,
}

/// Prints every finding; exit code 1 where one of them is a fault.
pub async fn run(args: &CheckArgs, path: &Path) -> CommandResult {
    if let Some(address) = &args.diff {
        return diff(address, args, path).await;
    }
    let (mut findings, tenants) = match Config::load(path) {
        Ok(config) => (check_files(&config), config.tenants),
        Err(ConfigError { faults, .. }) => (faults.iter().map(Finding::from).collect(), Vec::new()),
    };
    if args.connect {
        let looked: Vec<_> = iter(&tenants).map(check_database).buffered(AT_ONCE).collect().await;
        findings.extend(looked.into_iter().flatten());
    }
    let ok = findings.iter().all(|finding| finding.severity != Severity::Fault);
    if args.json {
        print_json(&Checked { ok, tenants: tenants.len(), findings });
    } else {
        print(&findings, tenants.len(), args.connect);
    }
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What a reload of the gateway that runs would do, by its own files: exit code 1 where something would not be in force.
async fn diff(address: &str, args: &CheckArgs, path: &Path) -> CommandResult {
    let client = match address {
        "" => AdminClient::of(&Config::load(path)?.gateway, &args.access)?,
        address => AdminClient::at(address, &args.access)?,
    };
    let told = client.dry_run().await?;
    if args.json {
        print_json(&told);
    } else {
        report::print(&told);
    }
    Ok(if told.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(findings: &[Finding], tenants: usize, connected: bool) {
    if !findings.is_empty() {
        let mut table = table(["", "where", "key", "reason"]);
        for finding in findings {
            let severity = match finding.severity {
                Severity::Fault => "fault",
                Severity::Warning => "warning",
            };
            table.add_row([severity, &finding.place, &finding.key, &finding.reason]);
        }
        println!("{table}");
    }
    let looked = if connected { "configuration and databases" } else { "configuration" };
    println!("{looked} of {tenants} tenants: {} findings", findings.len());
}

fn check_files(config: &Config) -> Vec<Finding> {
    let mut findings: Vec<Finding> = config.faults().map(Finding::from).collect();
    let gateway = &config.gateway;
    if let Err(error) = tls::server_config(&gateway.tls_certificate, &gateway.tls_key) {
        findings.push(Finding {
            severity: Severity::Fault,
            place: gateway.tls_certificate.display().to_string(),
            key: "gateway.tls_certificate".to_owned(),
            reason: crate::access_log::chain(&error),
        });
    }
    let admin = &gateway.admin;
    let mut fault = |key: &str, error: &dyn std::error::Error| {
        findings.push(Finding {
            severity: Severity::Fault,
            place: "operators".to_owned(),
            key: format!("gateway.{key}"),
            reason: crate::access_log::chain(error),
        });
    };
    if let Err(error) = OperatorKeys::load(&admin.operators) {
        fault("operator_keys", &error);
    }
    if let Some(Err(error)) =
        admin.tls.as_ref().map(|(certificate, key)| tls::server_config(certificate, key))
    {
        fault("admin_tls_certificate", &error);
    }
    findings
}

pub(super) async fn check_database(tenant: &TenantConfig) -> Vec<Finding> {
    let finding = |severity, reason| Finding {
        severity,
        place: tenant.id.to_string(),
        key: "database_url".to_owned(),
        reason,
    };
    let database = match Database::open(tenant) {
        Ok(database) => database,
        Err(error) => return vec![finding(Severity::Fault, crate::access_log::chain(&error))],
    };
    look(&database).await.map_or_else(
        |error| vec![finding(Severity::Fault, error.to_string())],
        |found| found.into_iter().map(|(severity, reason)| finding(severity, reason)).collect(),
    )
}

/// Schema first, then grants, then the statements: each explains what would go wrong in the next.
async fn look(database: &Database) -> Result<Vec<(Severity, String)>, DatabaseError> {
    let connection = database.connection().await?;
    let missing = "the schema is missing: run turnpike migrate";
    let version = match connection.prepare(&[&sql::SCHEMA_VERSION]).await {
        Ok(()) => connection.query(&sql::SCHEMA_VERSION, &[]).await,
        Err(error) => Err(error),
    };
    let version: Option<i32> = match version {
        Ok(rows) => rows.first().and_then(|row| row.get("version")),
        Err(DatabaseError::Refused(fault)) if fault.sqlstate() == Some("42P01") => {
            return Ok(vec![(Severity::Fault, missing.to_owned())]);
        }
        Err(DatabaseError::Refused(fault)) if fault.sqlstate() == Some("42501") => {
            return Ok(vec![(Severity::Fault, format!("{fault}: run turnpike migrate, which grants it"))]);
        }
        Err(error) => return Err(error),
    };
    match version {
        Some(version) if version == latest_version() => {}
        Some(version) => {
            let reason = format!("the schema has version {version}, this gateway needs {}", latest_version());
            return Ok(vec![(Severity::Fault, format!("{reason}: run turnpike migrate"))]);
        }
        None => return Ok(vec![(Severity::Fault, missing.to_owned())]),
    }
    connection.prepare(&[&sql::CHECK]).await?;
    let mut findings = Vec::new();
    for row in connection.query(&sql::CHECK, &[]).await? {
        let severity =
            if row.get::<_, &str>("severity") == "fault" { Severity::Fault } else { Severity::Warning };
        findings.push((severity, row.get("finding")));
    }
    for statement in sql::ALL {
        if let Err(error) = connection.describe(statement).await {
            findings
                .push((Severity::Fault, format!("statement {} can't be prepared: {error}", statement.name)));
        }
    }
    Ok(findings)
}

impl From<&Fault> for Finding {
    fn from(fault: &Fault) -> Self {
        Self {
            severity: Severity::Fault,
            place: fault.file.display().to_string(),
            key: fault.key.clone(),
            reason: fault.reason.clone(),
        }
    }
}
