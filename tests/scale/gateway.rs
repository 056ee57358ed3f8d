//! The built gateway as a process: how long it takes to start, what it holds, what it logs.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::time::{Instant, sleep};
use turnpike::cluster::process::{BoundProcess, Ending, bound_command};

const LOOK: Duration = Duration::from_millis(2);
const PATIENCE: Duration = Duration::from_secs(60);

pub struct GatewayProcess {
    pub address: SocketAddr,
    /// From the program's start to its word that it serves.
    pub started_in: Duration,
    pub started: Instant,
    process: BoundProcess,
    log: PathBuf,
}

impl GatewayProcess {
    pub async fn start(config: &Path) -> Self {
        let log = config.with_file_name("gateway.log");
        let mut command = bound_command(Signal::SIGKILL, None);
        command
            .arg(env!("CARGO_BIN_EXE_turnpike"))
            .arg("--config")
            .arg(config)
            .arg("serve")
            .env_remove("RUST_LOG");
        command.stdout(File::create(log.with_extension("out")).unwrap()).stderr(File::create(&log).unwrap());
        let started = Instant::now();
        let ending = Ending { signal: Signal::SIGTERM, patience: Duration::from_secs(10) };
        let process = BoundProcess::spawn(command, ending).await.unwrap();
        let line = find_line(&log, "\"serving\"", 0).await;
        let started_in = started.elapsed();
        let address = line["listen"].as_str().unwrap().parse().unwrap();
        Self { address, started_in, started, process, log }
    }

    /// Has it read its configuration again; gives how long that took, from the signal to its report.
    pub async fn reload(&self) -> (Duration, Value) {
        let before = fs::metadata(&self.log).unwrap().len();
        let begun = Instant::now();
        kill(Pid::from_raw(self.process.pid().try_into().unwrap()), Signal::SIGHUP).unwrap();
        let report = find_line(&self.log, "\"trigger\":\"signal\"", before).await;
        (begun.elapsed(), report)
    }

    /// Resident memory in MiB.
    pub fn resident(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
    }

    pub async fn stop(mut self) {
        self.process.end(Ending { signal: Signal::SIGTERM, patience: Duration::from_secs(10) }).await;
    }
}

/// Waits for a line that holds the text, beyond so many bytes.
async fn find_line(log: &Path, text: &str, beyond: u64) -> Value {
    let give_up = Instant::now() + PATIENCE;
    loop {
        let written = fs::read_to_string(log).unwrap();
        let written = &written[usize::try_from(beyond).unwrap()..];
        let whole = written.rsplit_once('\n').map_or("", |(whole, _)| whole);
        if let Some(line) = whole.lines().find(|line| line.contains(text)) {
            return serde_json::from_str(line).unwrap();
        }
        assert!(Instant::now() < give_up, "no {text} in {}: {written}", log.display());
        sleep(LOOK).await;
    }
}
