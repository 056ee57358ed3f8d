//! `turnpike token import`: a CSV file in, its tokens' hashes in the table, or a fault for each line that won't do.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;

use super::{Acting, Fields, failed};
use crate::cli::{CommandError, CommandResult, find_tenant, parse_tenant, print_json, table};
use crate::config::{TenantConfig, TenantId};
use crate::database::Database;
use crate::tokens::{self, ImportError, Imports, LineFault};

#[derive(Debug, clap::Args)]
pub struct ImportArgs {
    #[arg(long, value_name = "ID", value_parser = parse_tenant)]
    tenant: TenantId,
    /// CSV: a line of names (token, vendor; as you like permission, fields, sandbox, expires, allow), then a line a
    /// token; `-` is standard input
    #[arg(long, value_name = "FILE", default_value = "-")]
    file: PathBuf,
    /// Which columns the vendors see where the file doesn't say
    #[arg(long, value_enum, default_value_t = Fields::Standard)]
    fields: Fields,
    /// Check the file against the database and store nothing
    #[arg(long)]
    dry_run: bool,
    /// Print as JSON
    #[arg(long)]
    json: bool,
    /// Why; stays in the audit log
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    acting: Acting,
}

#[derive(Serialize)]
struct Imported<'a> {
    line: u64,
    /// None: a dry run
    token_id: Option<i64>,
    vendor: &'a str,
    fields: &'a str,
}

pub async fn run(args: &ImportArgs, config: &Path) -> CommandResult {
    let actor = args.acting.actor(args.reason.as_deref())?;
    let tenant = find_tenant(config, &args.tenant)?;
    let imports = tokens::read_imports(&read(&args.file)?, args.fields.into());
    let imports = imports.map_err(|faults| refuse(&faults))?;
    let database = Database::open(&tenant)?;
    let faults = tokens::known(&database, &imports).await.map_err(import_failed(&tenant))?;
    if !faults.is_empty() {
        return Err(refuse(&faults));
    }
    let numbers = if args.dry_run {
        vec![None; imports.len()]
    } else {
        let imported = tokens::import(&database, &imports, &actor).await;
        imported.map_err(import_failed(&tenant))?.into_iter().map(Some).collect()
    };
    for line in imports.short_lines() {
        eprintln!("turnpike: line {line}: the token has fewer than 20 characters: rotate it soon");
    }
    report(args, &imports, &numbers);
    Ok(ExitCode::SUCCESS)
}

fn read(file: &Path) -> Result<Vec<u8>, CommandError> {
    let mut bytes = Vec::new();
    let read = if file == Path::new("-") {
        std::io::stdin().read_to_end(&mut bytes).map(|_size| bytes)
    } else {
        std::fs::read(file)
    };
    read.map_err(|source| CommandError::Io { attempt: format!("read {}", file.display()), source })
}

fn refuse(faults: &[LineFault]) -> CommandError {
    let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
    CommandError::Refused(format!("nothing was imported:\n{}", faults.join("\n")))
}

fn import_failed(tenant: &TenantConfig) -> impl FnOnce(ImportError) -> CommandError {
    let failed = failed(tenant);
    move |error| match error {
        ImportError::Token(error) => failed(error),
        ImportError::AlreadyThere => CommandError::Refused(error.to_string()),
    }
}

fn report(args: &ImportArgs, imports: &Imports, numbers: &[Option<i64>]) {
    let imported = imports.lines().zip(numbers);
    let imported: Vec<Imported<'_>> = imported
        .map(|((line, vendor, profile), number)| Imported {
            line,
            token_id: *number,
            vendor,
            fields: profile.as_str(),
        })
        .collect();
    if args.json {
        print_json(&imported);
        return;
    }
    let mut table = table(["line", "token", "vendor", "fields"]);
    for Imported { line, token_id, vendor, fields } in &imported {
        let number = token_id.map_or_else(|| "-".to_owned(), |id| id.to_string());
        table.add_row([line.to_string(), number, (*vendor).to_owned(), (*fields).to_owned()]);
    }
    let done = if args.dry_run { "would be imported" } else { "imported" };
    println!("{table}\n\n{} tokens {done} at {}", imported.len(), args.tenant);
}
