//! The built binary, for what only a process shows: arguments, exit codes, signals, what it writes.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::{Vendor, wait_until};

/// A command that has ended.
#[derive(Debug)]
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    /// Standard output, of a command that must have succeeded.
    pub fn output(&self) -> &str {
        assert_eq!(self.code, Some(0), "{self:?}");
        &self.stdout
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Runs `turnpike ARGUMENTS --config CONFIG` to its end.
pub async fn turnpike(config: &Path, arguments: &str) -> Finished {
    turnpike_logging(config, arguments, None).await
}

/// The same with this `RUST_LOG`. Arguments are parted by spaces.
pub async fn turnpike_logging(config: &Path, arguments: &str, filter: Option<&str>) -> Finished {
    let mut command = command(config, filter);
    command.args(arguments.split_whitespace());
    let output =
        timeout(Duration::from_secs(60), command.output()).await.expect("a command that ends").unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Finished { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// The same with this on its standard input.
pub async fn turnpike_reading(config: &Path, arguments: &str, input: &str) -> Finished {
    let mut command = command(config, None);
    command.args(arguments.split_whitespace());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
    let output = timeout(Duration::from_secs(60), child.wait_with_output());
    let output = output.await.expect("a command that ends").unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Finished { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn command(config: &Path, filter: Option<&str>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_turnpike"));
    command.arg("--config").arg(config).env_remove("RUST_LOG").kill_on_drop(true);
    if let Some(filter) = filter {
        command.env("RUST_LOG", filter);
    }
    command
}

/// A `turnpike serve` that serves. Dropped, it is killed.
pub struct Serving {
    pub address: SocketAddr,
    /// Where operators are served, if that is a TCP address.
    pub admin: Option<SocketAddr>,
    child: Child,
    written: [PathBuf; 2],
}

impl Serving {
    pub async fn start(config: &Path) -> Self {
        Self::start_logging(config, None).await
    }

    /// Serves with this `RUST_LOG`, until SIGTERM.
    pub async fn start_logging(config: &Path, filter: Option<&str>) -> Self {
        let written = ["serve.out", "serve.err"].map(|name| config.with_file_name(name));
        let [stdout, stderr] =
            [&written[0], &written[1]].map(|path| Stdio::from(File::create(path).unwrap()));
        let mut child = command(config, filter).arg("serve").stdout(stdout).stderr(stderr).spawn().unwrap();
        let mut line = None;
        wait_until("turnpike serves", async || {
            let log = fs::read_to_string(&written[1]).unwrap();
            assert!(child.try_wait().unwrap().is_none(), "it ended: {log}");
            line = log.lines().find(|line| line.contains("\"serving\"")).map(str::to_owned);
            line.is_some()
        })
        .await;
        let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let address = |key: &str| line[key].as_str().and_then(|address| address.parse().ok());
        Self { address: address("listen").unwrap(), admin: address("admin_listen"), child, written }
    }

    pub fn vendor(&self, tenant: &str, token: &str) -> Vendor {
        Vendor::new(self.address, tenant, token)
    }

    pub fn signal(&self, signal: Signal) {
        let id = self.child.id().expect("it runs");
        kill(Pid::from_raw(id.try_into().unwrap()), signal).unwrap();
    }

    /// The exit code, once it has ended; None where a signal ended it.
    pub async fn wait(&mut self) -> Option<i32> {
        timeout(Duration::from_secs(30), self.child.wait())
            .await
            .expect("a process that ends")
            .unwrap()
            .code()
    }

    /// Every byte of standard output and standard error so far.
    pub fn written(&self) -> String {
        self.written
            .iter()
            .map(|path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned())
            .collect()
    }

    /// The log's lines of requests.
    pub fn request_lines(&self) -> Vec<Value> {
        self.lines_of("turnpike::request")
    }

    /// The log's lines of one target.
    pub fn lines_of(&self, target: &str) -> Vec<Value> {
        let log = fs::read_to_string(&self.written[1]).unwrap();
        let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).expect("a log line is JSON"));
        lines.filter(|line| line["target"] == target).collect()
    }
}
