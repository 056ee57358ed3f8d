//! A private, throw-away PostgreSQL cluster for the demo, the integration tests and the benchmarks.
//!
//! It owns one directory, which it empties, and one server on a free port of 127.0.0.1, which ends when the
//! [`Cluster`] is dropped, and also when we are killed (see [`process`]). It never touches another cluster, and it
//! refuses to empty a directory that it did not make.

mod error;
mod frozen;
mod installation;
mod plan;
pub mod process;

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use std::{fmt, fs};

use nix::sys::signal::Signal;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

pub use self::error::ClusterError;
pub use self::frozen::Frozen;
use self::plan::{Origin, Plan, Primary};
use self::process::{BoundProcess, Ending};

const READY_WITHIN: Duration = Duration::from_secs(30);
const PREDECESSOR_GONE_WITHIN: Duration = Duration::from_secs(15);
const RETRY_INTERVAL: Duration = Duration::from_millis(30);
/// A port that was free may be taken before the server binds it.
const PORT_ATTEMPTS: u32 = 5;

/// PostgreSQL's fast shutdown: sessions are ended, everything is written.
const FAST: Ending = Ending { signal: Signal::SIGINT, patience: Duration::from_secs(15) };
/// PostgreSQL's immediate shutdown: the next start recovers as after a crash.
const IMMEDIATE: Ending = Ending { signal: Signal::SIGQUIT, patience: Duration::from_secs(10) };

/// A running cluster. Dropping it stops the server (fast shutdown) and waits for that; the files stay.
pub struct Cluster {
    plan: Plan,
    port: u16,
    server: Mutex<BoundProcess>,
    pid: AtomicU32,
}

#[derive(Debug)]
pub struct ClusterOptions {
    /// Emptied and created. May exist only where it is empty or an earlier cluster's.
    pub directory: PathBuf,
    /// False gives up safety against a crash of the machine (`fsync`, `full_page_writes`), for tests. A crash of the
    /// server alone loses nothing either way, and `synchronous_commit` stays on.
    pub durable: bool,
    /// Further settings, as by `postgres -c name=value`; they win over ours.
    pub settings: Vec<(String, String)>,
    pub tls: Option<ClusterTls>,
}

/// The server's certificate and key in PEM; both are copied.
#[derive(Debug)]
pub struct ClusterTls {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Cluster {
    /// Makes the cluster and starts it; returns when a connection to it has succeeded. Safe to drop.
    pub async fn start(options: ClusterOptions) -> Result<Cluster, ClusterError> {
        Self::start_from(Origin::Initdb, options).await
    }

    /// The same as a streaming standby of this one, which has its roles and passwords; whether it is synchronous is the
    /// primary's `synchronous_standby_names`.
    pub async fn start_standby(&self, options: ClusterOptions) -> Result<Cluster, ClusterError> {
        let primary = Primary { port: self.port, password: self.plan.password.clone() };
        Self::start_from(Origin::Copy(primary), options).await
    }

    async fn start_from(origin: Origin, options: ClusterOptions) -> Result<Cluster, ClusterError> {
        wait_for_predecessor(&options.directory).await?;
        let prepared = tokio::task::spawn_blocking(move || Plan::prepare(origin, options)).await;
        let plan = prepared.expect("preparing the files does not panic")?;
        for _ in 1..PORT_ATTEMPTS {
            match plan.run(find_free_port()?).await {
                Err(ClusterError::Ended { log_tail, .. }) if is_port_taken(&log_tail) => {}
                outcome => return outcome.map(|(port, server)| Self::of(plan, port, server)),
            }
        }
        let (port, server) = plan.run(find_free_port()?).await?;
        Ok(Self::of(plan, port, server))
    }

    fn of(plan: Plan, port: u16, server: BoundProcess) -> Self {
        Self { plan, port, pid: AtomicU32::new(server.pid()), server: Mutex::new(server) }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The postmaster's process id.
    pub fn pid(&self) -> u32 {
        self.pid.load(Ordering::Relaxed)
    }

    pub fn log_path(&self) -> &Path {
        &self.plan.log
    }

    /// How the superuser connects.
    pub fn superuser_config(&self, database: &str) -> tokio_postgres::Config {
        self.plan.superuser_config(self.port, database)
    }

    /// A connection URL with the password in it.
    pub fn url(&self, user: &str, password: &str, database: &str) -> String {
        let [user, password, database] =
            [user, password, database].map(|part| utf8_percent_encode(part, NON_ALPHANUMERIC));
        format!("postgres://{user}:{password}@127.0.0.1:{}/{database}", self.port)
    }

    /// Stops the server (fast shutdown) and waits for that; the files stay, and [`Cluster::resume`] starts it again.
    pub async fn stop(&self) {
        self.server.lock().await.end(FAST).await;
    }

    /// Crashes the server (immediate shutdown).
    pub async fn crash(&self) {
        self.server.lock().await.end(IMMEDIATE).await;
    }

    /// Crashes the server (immediate shutdown) and starts it again on the same port and data.
    pub async fn restart_immediate(&self) -> Result<(), ClusterError> {
        self.crash().await;
        self.resume().await
    }

    /// Starts a stopped server again, on the same port and data.
    pub async fn resume(&self) -> Result<(), ClusterError> {
        let mut server = self.server.lock().await;
        let give_up = Instant::now() + READY_WITHIN;
        loop {
            match self.plan.run(self.port).await {
                // A client's outgoing connection may have been given our port; it will not hold it for long.
                Err(ClusterError::Ended { log_tail, .. })
                    if is_port_taken(&log_tail) && Instant::now() < give_up =>
                {
                    sleep(RETRY_INTERVAL).await;
                }
                outcome => {
                    (_, *server) = outcome?;
                    self.pid.store(server.pid(), Ordering::Relaxed);
                    return Ok(());
                }
            }
        }
    }

    /// Freezes the server with all its processes, as a machine that hangs would: it still takes connections, and says
    /// nothing. Dropped, the guard thaws it.
    pub fn freeze(&self) -> Frozen {
        Frozen::freeze(self.pid())
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Cluster")
            .field("directory", &self.plan.directory)
            .field("port", &self.port)
            .field("pid", &self.pid())
            .finish_non_exhaustive()
    }
}

/// A server whose owner was killed is still shutting down when its owner's successor comes.
async fn wait_for_predecessor(directory: &Path) -> Result<(), ClusterError> {
    let give_up = Instant::now() + PREDECESSOR_GONE_WITHIN;
    while let Some(pid) = find_running_server(directory) {
        if Instant::now() >= give_up {
            return Err(ClusterError::StillRunning { directory: directory.to_owned(), pid });
        }
        sleep(RETRY_INTERVAL).await;
    }
    Ok(())
}

fn find_running_server(directory: &Path) -> Option<u32> {
    let pid_file = fs::read_to_string(directory.join("data/postmaster.pid")).ok()?;
    let pid = pid_file.lines().next()?.parse().ok()?;
    // The file outlives a crash, and its process id may be somebody else's by now.
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    (name.trim() == "postgres").then_some(pid)
}

fn find_free_port() -> Result<u16, ClusterError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(ClusterError::NoFreePort)?;
    listener.local_addr().map(|address| address.port()).map_err(ClusterError::NoFreePort)
}

fn is_port_taken(log_tail: &str) -> bool {
    log_tail.contains("Address already in use")
}

#[cfg(test)]
mod tests {
    use tokio_postgres::NoTls;

    use super::*;

    fn options(name: &str) -> ClusterOptions {
        let directory = std::env::temp_dir().join(format!("turnpike-{name}-{}", std::process::id()));
        ClusterOptions { directory, durable: false, settings: Vec::new(), tls: None }
    }

    async fn show(cluster: &Cluster, setting: &str) -> String {
        let (client, connection) = cluster.superuser_config("postgres").connect(NoTls).await.unwrap();
        tokio::spawn(connection);
        client.query_one("SELECT current_setting($1)", &[&setting]).await.unwrap().get(0)
    }

    #[tokio::test]
    async fn a_cluster_starts_survives_a_crash_and_stops() {
        let mut options = options("cluster");
        options.settings.push(("max_connections".to_owned(), "33".to_owned()));
        let directory = options.directory.clone();
        let cluster = Cluster::start(options).await.unwrap();
        let (port, first_pid) = (cluster.port(), cluster.pid());
        assert_eq!(show(&cluster, "max_connections").await, "33");
        assert_eq!(show(&cluster, "fsync").await, "off");
        assert_eq!(show(&cluster, "synchronous_commit").await, "on");
        assert!(!format!("{cluster:?}").contains(&cluster.plan.password));

        cluster.restart_immediate().await.unwrap();

        assert_eq!(cluster.port(), port);
        assert_ne!(cluster.pid(), first_pid);
        let log = fs::read_to_string(cluster.log_path()).unwrap();
        assert!(log.contains("was not properly shut down"), "{log}");
        assert_eq!(find_running_server(&directory), Some(cluster.pid()));

        cluster.stop().await;

        assert_eq!(find_running_server(&directory), None);
        fs::remove_dir_all(directory).unwrap();
    }

    #[tokio::test]
    async fn a_failed_start_tells_the_end_of_the_servers_log() {
        let mut options = options("failed");
        options.settings.push(("shared_buffers".to_owned(), "many".to_owned()));
        let directory = options.directory.clone();

        let error = Cluster::start(options).await.unwrap_err();

        assert!(error.to_string().contains("invalid value for parameter \"shared_buffers\""), "{error}");
        fs::remove_dir_all(directory).unwrap();
    }

    #[tokio::test]
    async fn a_directory_of_somebody_else_is_not_emptied() {
        let options = options("foreign");
        let directory = options.directory.clone();
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("thesis.txt"), "years of work").unwrap();

        let error = Cluster::start(options).await.unwrap_err();

        assert!(matches!(error, ClusterError::NotOurs(_)), "{error}");
        assert!(directory.join("thesis.txt").exists());
        fs::remove_dir_all(directory).unwrap();
    }
}
