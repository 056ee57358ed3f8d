//! `turnpike loadtest`, `loadtest isolation` and `loadtest once`
//!
//! Exit code 1 means found wanting, or that the gateway can't be tested at all; 2 that the command line, or a file it
//! names, can't be used. Standard output carries the report, standard error the progress.

mod isolation;
mod once;
mod run;
mod targets;

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Subcommand;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{CommandError, CommandResult};

/// Load tests run on previews, which mark and write nothing, whatever the token may do.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct LoadtestArgs {
    #[command(subcommand)]
    command: Option<LoadtestCommand>,
    #[command(flatten)]
    run: run::RunArgs,
}

#[derive(Debug, Subcommand)]
enum LoadtestCommand {
    /// Compare one tenant's latency with and without another tenant's storm
    Isolation(isolation::IsolationArgs),
    /// Have many vendors claim a tenant's sample data to the end, and check that each violation is handed over exactly once
    Once(once::OnceArgs),
}

pub async fn run(args: &LoadtestArgs, config: &Path) -> CommandResult {
    match &args.command {
        Some(LoadtestCommand::Isolation(args)) => isolation::run(args, config).await,
        Some(LoadtestCommand::Once(args)) => once::run(args, config).await,
        None => run::run(&args.run, config).await,
    }
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if duration.is_zero() { Err("must be longer than nothing".to_owned()) } else { Ok(duration) }
}

/// Zero is allowed: a warm-up may be left out.
fn parse_pause(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| error.to_string())
}

/// Where a report goes, opened before the run: that it can't be written isn't to be found out after an hour.
enum Output {
    Standard,
    File(PathBuf, File),
}

impl Output {
    /// `-` is standard output.
    fn open(path: &Path) -> Result<Output, CommandError> {
        if path == Path::new("-") {
            return Ok(Output::Standard);
        }
        let file = File::create(path)
            .map_err(|error| CommandError::Usage(format!("could not write {}: {error}", path.display())))?;
        Ok(Output::File(path.to_owned(), file))
    }

    fn write(self, text: &str) -> Result<(), CommandError> {
        match self {
            Output::Standard => {
                println!("{text}");
                Ok(())
            }
            Output::File(path, mut file) => file
                .write_all(text.as_bytes())
                .map_err(|source| CommandError::Io { attempt: format!("write {}", path.display()), source }),
        }
    }
}

/// Has Ctrl-C and SIGTERM cancel it, from now on.
fn stop_on_signals() -> Result<CancellationToken, CommandError> {
    let failed = |source| CommandError::Io { attempt: "listen for signals".to_owned(), source };
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        stopped.cancel();
    });
    Ok(stop)
}

/// Whether the violations may be claimed for real: `--yes`, or a person's word at a terminal.
fn confirm(yes: bool, what: &str) -> Result<(), CommandError> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        let refusal = format!("{what}; say --yes if that is meant");
        return Err(CommandError::Usage(refusal));
    }
    eprint!("{what}.\nType yes to go on: ");
    let mut answer = String::new();
    io::stdin()
        .read_line(&mut answer)
        .map_err(|source| CommandError::Io { attempt: "read the answer".to_owned(), source })?;
    if answer.trim() == "yes" { Ok(()) } else { Err(CommandError::Refused("nothing was done".to_owned())) }
}
