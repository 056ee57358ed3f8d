//! A gateway process that is started again whenever it ends, and can be killed and stopped at any moment.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use turnpike::cluster::process::{BoundProcess, Ending, bound_command};

use crate::history::{Event, History};

const LOOK: Duration = Duration::from_millis(10);
const SERVES_WITHIN: Duration = Duration::from_secs(20);
/// As a supervisor would wait.
const RESTART_AFTER: Duration = Duration::from_millis(100);

pub struct GatewayProcess {
    pub index: usize,
    config: PathBuf,
    history: History,
    /// std Mutex: held for one signal, never across an await.
    pid: Mutex<Option<i32>>,
    address: watch::Sender<Option<SocketAddr>>,
    due_to_end: AtomicBool,
    stopping: AtomicBool,
    starts: AtomicU32,
    descriptors_at_start: AtomicUsize,
}

impl GatewayProcess {
    pub fn new(index: usize, config: &Path, history: History) -> Arc<Self> {
        Arc::new(Self {
            index,
            config: config.to_owned(),
            history,
            pid: Mutex::new(None),
            address: watch::Sender::new(None),
            due_to_end: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            starts: AtomicU32::new(0),
            descriptors_at_start: AtomicUsize::new(0),
        })
    }

    /// Runs the process, again and again, until told to stop.
    pub async fn supervise(self: Arc<Self>) {
        while !self.stopping.load(Ordering::SeqCst) {
            self.due_to_end.store(false, Ordering::SeqCst);
            let start = self.starts.fetch_add(1, Ordering::SeqCst);
            let log = self.config.with_file_name(format!("gateway-{}-{start}.log", self.index));
            let mut command = bound_command(Signal::SIGKILL, None);
            command.arg(env!("CARGO_BIN_EXE_turnpike")).arg("--config").arg(&self.config).arg("serve");
            command.env_remove("RUST_LOG").stdout(File::create(log.with_extension("out")).unwrap());
            command.stderr(File::create(&log).unwrap());
            let at_last = Ending { signal: Signal::SIGKILL, patience: Duration::from_secs(5) };
            let mut process = BoundProcess::spawn(command, at_last).await.unwrap();
            let pid = i32::try_from(process.pid()).unwrap();
            *self.pid.lock().unwrap() = Some(pid);
            if let Some(address) = find_address(&log, &process).await {
                self.descriptors_at_start.store(count_descriptors(pid), Ordering::SeqCst);
                self.address.send_replace(Some(address));
            }
            let status = process.wait().await;
            *self.pid.lock().unwrap() = None;
            self.address.send_replace(None);
            if !self.due_to_end.load(Ordering::SeqCst) {
                self.history.write(&Event::Died { gateway: self.index, status: status.to_string() });
            }
            sleep(RESTART_AFTER).await;
        }
    }

    /// Where it serves at present.
    pub fn address(&self) -> Option<SocketAddr> {
        *self.address.borrow()
    }

    pub async fn wait_for_address(&self) -> SocketAddr {
        let mut addresses = self.address.subscribe();
        let address = *addresses.wait_for(Option::is_some).await.unwrap();
        address.unwrap()
    }

    /// Kills it, and returns when it is gone. False where it isn't running.
    pub async fn kill(&self) -> bool {
        self.due_to_end.store(true, Ordering::SeqCst);
        let Some(pid) = self.signal(Signal::SIGKILL) else {
            return false;
        };
        self.address.send_replace(None);
        // A zombie has closed everything that it had open.
        while state_of(pid).is_some_and(|state| state != 'Z' && state != 'X') {
            sleep(Duration::from_millis(1)).await;
        }
        true
    }

    /// Has it drain and end.
    pub fn stop(&self) -> bool {
        self.due_to_end.store(true, Ordering::SeqCst);
        self.signal(Signal::SIGTERM).is_some()
    }

    /// Kills it for good.
    pub async fn end(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.kill().await;
    }

    /// Stops it for so long, with everything it has open.
    pub async fn freeze(&self, length: Duration) -> bool {
        let Some(pid) = self.signal(Signal::SIGSTOP) else {
            return false;
        };
        sleep(length).await;
        let still = *self.pid.lock().unwrap() == Some(pid);
        still && self.signal(Signal::SIGCONT).is_some()
    }

    fn signal(&self, signal: Signal) -> Option<i32> {
        let pid = self.pid.lock().unwrap();
        pid.filter(|pid| kill(Pid::from_raw(*pid), signal).is_ok())
    }

    /// Open descriptors when it began to serve, and now.
    pub fn descriptors(&self) -> Option<(usize, usize)> {
        let pid = (*self.pid.lock().unwrap())?;
        Some((self.descriptors_at_start.load(Ordering::SeqCst), count_descriptors(pid)))
    }
}

async fn find_address(log: &Path, process: &BoundProcess) -> Option<SocketAddr> {
    let give_up = Instant::now() + SERVES_WITHIN;
    while Instant::now() < give_up && process.exit_status().is_none() {
        let text = fs::read_to_string(log).unwrap_or_default();
        let serving = text.lines().find(|line| line.contains("\"serving\"") && line.ends_with('}'));
        if let Some(line) = serving {
            let line: Value = serde_json::from_str(line).unwrap();
            return line["listen"].as_str().map(|address| address.parse().unwrap());
        }
        sleep(LOOK).await;
    }
    None
}

fn count_descriptors(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

fn state_of(pid: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat[stat.rfind(')')? + 2..].chars().next()
}
