//! This same program as a child: commands that run to their end, and the gateway that runs as long as the demo.

use std::env;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::process::Command;

use super::DemoError;
use crate::cluster::process::{BoundProcess, Ending, bound_command};

/// How the gateway is stopped: it drains, then it is killed.
const STOP: Ending = Ending { signal: Signal::SIGTERM, patience: Duration::from_secs(15) };
const OUTPUT_TAIL_LINES: usize = 12;

/// The program and the configuration that each command gets.
pub(super) struct Turnpike {
    program: PathBuf,
    configuration: PathBuf,
}

impl Turnpike {
    pub(super) fn new(configuration: PathBuf) -> Result<Turnpike, DemoError> {
        let program = env::current_exe().map_err(DemoError::Program)?;
        Ok(Turnpike { program, configuration })
    }

    /// Runs `turnpike ARGUMENTS --config …` and gives its standard output. Dropped, it kills the command.
    pub(super) async fn run(&self, arguments: &[&str]) -> Result<String, DemoError> {
        let mut command = Command::new(&self.program);
        command.args(arguments).arg("--config").arg(&self.configuration);
        command.stdin(Stdio::null()).kill_on_drop(true);
        let output = command.output().await.map_err(DemoError::Program)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
        }
        Err(DemoError::Command {
            command: arguments.join(" "),
            status: output.status,
            output_tail: tail(&output.stderr),
        })
    }

    /// Starts the gateway; it logs to `log`.
    pub(super) async fn serve(&self, log: &Path) -> Result<BoundProcess, DemoError> {
        let failed = |source| DemoError::Files { path: log.to_owned(), source };
        let output = File::create(log).map_err(failed)?;
        let mut command = bound_command(Signal::SIGTERM, None);
        command.arg(&self.program).arg("serve").arg("--config").arg(&self.configuration);
        command.stdin(Stdio::null()).stdout(output.try_clone().map_err(failed)?).stderr(output);
        BoundProcess::spawn(command, STOP).await.map_err(DemoError::Program)
    }
}

pub(super) async fn stop(gateway: &mut BoundProcess) {
    gateway.end(STOP).await;
}

/// The last lines of a program's output.
pub(super) fn tail(output: &[u8]) -> String {
    let output = String::from_utf8_lossy(output);
    let lines: Vec<&str> = output.trim_end().lines().collect();
    lines[lines.len().saturating_sub(OUTPUT_TAIL_LINES)..].join("\n")
}
