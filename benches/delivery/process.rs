//! A gateway process of its own, and what it costs.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::world::{TOKEN, TURNPIKE, World};

/// Where a document goes that nobody needs.
pub const NOWHERE: &str = "/dev/null";
/// Less than a hundredth of a CPU over this time is quiet.
const QUIET_LOOK: Duration = Duration::from_millis(500);

/// `turnpike serve`. Dropped, it is killed.
pub struct Gateway {
    process: Child,
    pub address: SocketAddr,
    /// From the process's start until it says where it listens.
    pub start: Duration,
}

impl Gateway {
    pub fn start(config: &Path) -> Self {
        let mut command = Command::new(TURNPIKE);
        command.args(["serve", "--config"]).arg(config);
        Self::watch(command)
    }

    /// Starts a server that says where it listens, in a JSON object on standard error.
    pub fn watch(mut command: Command) -> Self {
        let started = Instant::now();
        let mut process = command.stderr(Stdio::piped()).spawn().expect("the server");
        let mut lines = BufReader::new(process.stderr.take().expect("a pipe")).lines();
        let address = lines
            .by_ref()
            .map_while(Result::ok)
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(&line).ok())
            .find_map(|event| event["listen"].as_str().map(str::to_owned))
            .expect("the server says where it listens");
        let start = started.elapsed();
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, address: address.parse().expect("an address"), start }
    }

    /// The whole curl process, the document thrown away, as the floor throws its rows away.
    pub fn call_by_curl(&self, world: &World, tenant: &str) -> Duration {
        download(&world.directory, self.address, tenant, Path::new(NOWHERE))
    }

    /// A figure of /proc/PID/status in MiB.
    pub fn resident_mib(&self, figure: &str) -> f64 {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("Linux's /proc");
        let line = status.lines().find(|line| line.starts_with(figure)).expect("the figure");
        let kib: f64 = line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number");
        kib / 1024.0
    }

    /// Waits until it has nothing to do: after its start it looks for open batches in every tenant's database.
    pub async fn until_quiet(&self) {
        let mut before = self.cpu();
        loop {
            sleep(QUIET_LOOK).await;
            let now = self.cpu();
            if now - before < QUIET_LOOK / 100 {
                return;
            }
            before = now;
        }
    }

    /// Time on a CPU so far, all threads.
    pub fn cpu(&self) -> Duration {
        cpu_time(self.process.id())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Claims everything by curl, the document written to `output`; the whole process's time.
pub fn download(directory: &Path, address: SocketAddr, tenant: &str, output: &Path) -> Duration {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--fail", "--header", "Content-Type: application/json", "--cacert"])
        .arg(directory.join("ca.pem"))
        .args([
            "--data",
            &format!("{{\"apiToken\":\"{TOKEN}\"}}"),
            "--write-out",
            "%{stderr}%{size_download}",
        ])
        .arg("--output")
        .arg(output)
        .arg(format!("https://{address}/api/{tenant}/v1/violations/send_overdue_to_collections"));
    let started = Instant::now();
    let answer = curl.output().expect("curl");
    let took = started.elapsed();
    assert!(answer.status.success(), "curl got the document");
    let bytes: u64 = String::from_utf8_lossy(&answer.stderr).trim().parse().expect("its size");
    assert!(bytes > 1_000_000, "the document has {bytes} bytes");
    took
}

/// Time on a CPU of a process's living threads (Linux: schedstat, in nanoseconds).
pub fn cpu_time(pid: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("a living process");
    let nanoseconds = threads.filter_map(Result::ok).filter_map(|thread| {
        let schedstat = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        schedstat.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanoseconds.sum())
}

/// Time on a CPU of the sessions that the gateway has in these databases.
pub async fn sessions_cpu(world: &World) -> Duration {
    let client = world.connect("postgres").await;
    let rows = client.query(include_str!("sql/sessions.sql"), &[]).await.expect("the sessions");
    rows.iter().map(|row| cpu_time(u32::try_from(row.get::<_, i32>(0)).expect("a process id"))).sum()
}
