//! `make bench`: what a delivery costs, side by side in one run, as ratios of medians.
//!
//! Four questions. How far is the gateway from its **floor**, a plain client that runs exactly the gateway's statements and
//! throws the rows away? How far is it from a **peer**, the same document built by one statement inside PostgreSQL? How much
//! memory does it use for a batch of 100,000? And does an empty poll cost more with a long history?
//! Every run has a database of its own, copied from one that `turnpike sample` filled. Needs `curl`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use tokio_postgres::{Client, NoTls};
use turnpike::certificates::create_authority_and_server;
use turnpike::claim::{Caller, Claim, Claimed};
use turnpike::cluster::{Cluster, ClusterOptions};
use turnpike::config::{Config, TenantConfig};
use turnpike::database::Database;
use turnpike::ledger::Ledger;
use turnpike::records::RecordReader;
use uuid::Uuid;

const TURNPIKE: &str = env!("CARGO_BIN_EXE_turnpike");
const JSON_IN_SQL: &str = include_str!("json_in_sql.sql");
const TOKEN: &str = "bench-token-0123456789-0123456789-0123456789-01234";
const RUNS: usize = 5;
const BATCH: i32 = 10_000;
const LARGE_BATCH: i32 = 100_000;
const SHORT_HISTORY: i32 = 1_000;
const LONG_HISTORY: i32 = 1_000_000;
const POLLS: usize = 300;

#[tokio::main]
async fn main() -> ExitCode {
    if Command::new("curl").arg("--version").stdout(Stdio::null()).status().is_err() {
        eprintln!("the benchmark calls the gateway by curl: apt-get install curl");
        return ExitCode::FAILURE;
    }
    let bench = Bench::prepare().await;
    println!("\nmachine: {}", machine());
    bench.compare_deliveries().await;
    bench.measure_memory().await;
    bench.compare_polls().await;
    bench.cluster.stop().await;
    ExitCode::SUCCESS
}

struct Bench {
    cluster: Cluster,
    directory: PathBuf,
}

impl Bench {
    /// A durable cluster, and three databases to copy from.
    async fn prepare() -> Self {
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("bench");
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).expect("a directory under target/");
        create_authority_and_server(&directory, &["localhost", "127.0.0.1"]).expect("certificates");
        let settings = [("shared_buffers", "1GB"), ("max_wal_size", "4GB"), ("autovacuum", "off")];
        let cluster = Cluster::start(ClusterOptions {
            directory: PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("bench-cluster"),
            durable: true,
            settings: settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
            tls: None,
        })
        .await
        .expect("a cluster");
        let bench = Self { cluster, directory };
        let admin = bench.connect("postgres").await;
        for role in ["turnpike", "turnpike_owner"] {
            run(&admin, &format!("CREATE ROLE {role} LOGIN PASSWORD 'bench'")).await;
        }
        for (name, violations, history) in [
            ("batch", BATCH, 0),
            ("large_batch", LARGE_BATCH, 0),
            ("short_history", 0, SHORT_HISTORY),
            ("long_history", 0, LONG_HISTORY),
        ] {
            run(&admin, &format!("CREATE DATABASE {name} OWNER turnpike_owner")).await;
            let config = bench.configure(&[name]);
            turnpike(&config, &["migrate"]);
            let (violations, history) = (violations.to_string(), history.to_string());
            turnpike(
                &config,
                &["sample", "--tenant", name, "--violations", &violations, "--history", &history],
            );
            bench.add_token(name).await;
        }
        bench
    }

    async fn connect(&self, database: &str) -> Client {
        let (client, connection) =
            self.cluster.superuser_config(database).connect(NoTls).await.expect("a session");
        tokio::spawn(connection);
        client
    }

    async fn add_token(&self, database: &str) {
        let client = self.connect(database).await;
        let hash = turnpike::auth::hash_token(TOKEN);
        client
            .execute(
                "WITH token AS (
                     INSERT INTO api_tokens (token_sha256, vendor, field_profile) VALUES ($1, 'Bench', 'full')
                     RETURNING token_id
                 )
                 INSERT INTO api_permissions (token_id, action, resource)
                 SELECT token_id, 'user-create', 'violation_collection' FROM token",
                &[&hash.as_slice()],
            )
            .await
            .expect("a token");
    }

    /// A copy, read once so that it is as warm as any other.
    async fn copy(&self, template: &str, name: &str) {
        let admin = self.connect("postgres").await;
        run(&admin, &format!("CREATE DATABASE {name} TEMPLATE {template} OWNER turnpike_owner")).await;
        let client = self.connect(name).await;
        for table in
            ["violations", "violation_details", "attachments", "vehicles", "vehicle_drivers", "users"]
        {
            run(&client, &format!("SELECT count(x.*::text) FROM {table} x")).await;
        }
        run(&client, "CHECKPOINT").await;
    }

    async fn drop(&self, name: &str) {
        run(&self.connect("postgres").await, &format!("DROP DATABASE {name} WITH (FORCE)")).await;
    }

    /// A configuration in which every tenant is named like its database.
    fn configure(&self, databases: &[&str]) -> PathBuf {
        let file = self.directory.join("tenants.toml");
        let mut toml = "[gateway]\nlisten = \"127.0.0.1:0\"\ntls_certificate = \"gateway.pem\"\ntls_key = \"gateway.key\"\n"
            .to_owned();
        for name in databases {
            toml += &format!(
                "[tenants.{name}]\nname = \"{name}\"\ndatabase_url = \"{}\"\nowner_database_url = \"{}\"\n",
                self.cluster.url("turnpike", "bench", name),
                self.cluster.url("turnpike_owner", "bench", name)
            );
        }
        fs::write(&file, toml).expect("the configuration");
        file
    }

    async fn compare_deliveries(&self) {
        let (mut floor, mut gateway, mut peer) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..RUNS {
            self.copy("batch", "floor_run").await;
            let config = Config::load(&self.configure(&["floor_run"])).expect("a good configuration");
            floor.push(run_floor(&config.tenants[0]).await);
            self.drop("floor_run").await;

            self.copy("batch", "gateway_run").await;
            let process = Gateway::start(&self.configure(&["gateway_run"]));
            gateway.push(process.call_by_curl("gateway_run", &self.directory));
            drop(process);
            self.drop("gateway_run").await;

            self.copy("batch", "peer_run").await;
            let client = self.connect("peer_run").await;
            let started = Instant::now();
            let rows = client.query(JSON_IN_SQL, &[]).await.expect("the peer's document");
            peer.push(started.elapsed());
            if peer.len() == 1 {
                self.assert_same_document(rows[0].get(0));
            }
            drop(client);
            self.drop("peer_run").await;
        }
        let (floor, gateway, peer) = (median(floor), median(gateway), median(peer));
        println!("\n{BATCH} violations, median of {RUNS}");
        println!("  gateway over HTTPS, by curl           {:>9.1} ms", ms(gateway));
        println!(
            "  floor: its statements, rows discarded {:>9.1} ms   gateway / floor {:.2}",
            ms(floor),
            ratio(gateway, floor)
        );
        println!(
            "  peer: JSON built in PostgreSQL        {:>9.1} ms   peer / gateway  {:.2}",
            ms(peer),
            ratio(peer, gateway)
        );
    }

    /// The peer must have built what the gateway sent, value for value.
    fn assert_same_document(&self, peer: &str) {
        let sent = fs::read(self.directory.join("answer.json")).expect("the gateway's document");
        let [sent, peer]: [serde_json::Value; 2] =
            [&sent, peer.as_bytes()].map(|document| serde_json::from_slice(document).expect("JSON"));
        assert!(sent["records"] == peer["records"], "gateway and peer differ");
        assert_eq!(sent["records"].as_array().map(Vec::len), Some(BATCH as usize));
    }

    async fn measure_memory(&self) {
        self.copy("large_batch", "memory_run").await;
        let process = Gateway::start(&self.configure(&["memory_run"]));
        let idle = process.resident_mib("VmRSS");
        let took = process.call_by_curl("memory_run", &self.directory);
        let peak = process.resident_mib("VmHWM");
        drop(process);
        self.drop("memory_run").await;
        println!("\n{LARGE_BATCH} violations over HTTPS, by curl: {:.1} s", took.as_secs_f64());
        println!("  resident memory of the gateway: {idle:.0} MiB idle, {peak:.0} MiB at most");
    }

    async fn compare_polls(&self) {
        let process = Gateway::start(&self.configure(&["short_history", "long_history"]));
        let (mut short, mut long) = (Vec::new(), Vec::new());
        for _ in 0..RUNS {
            short.push(process.poll("short_history", &self.directory));
            long.push(process.poll("long_history", &self.directory));
        }
        let (short, long) = (median(short), median(long));
        println!("\nempty poll, median of {RUNS} times {POLLS} on one connection");
        println!("  history of {SHORT_HISTORY:>9}                  {:>9.3} ms", ms(short));
        println!(
            "  history of {LONG_HISTORY:>9}                  {:>9.3} ms   long / short {:.2}",
            ms(long),
            ratio(long, short)
        );
    }
}

/// Claims, reads and releases as the gateway does, and drops every row.
async fn run_floor(tenant: &TenantConfig) -> Duration {
    let database = Database::open(tenant).expect("a pool");
    let ledger = Ledger::new(database.clone(), "bench".to_owned(), tenant.delivery.lease);
    let claim_id = Uuid::new_v4();
    let claim = Claim {
        database: &database,
        ledger: &ledger,
        eligibility: &tenant.eligibility,
        replay_window: tenant.delivery.replay_window,
        limit: None,
    };
    let caller = Caller {
        token: turnpike::auth::hash_token(TOKEN),
        address: std::net::Ipv4Addr::LOCALHOST.into(),
        request_id: "bench".to_owned(),
    };
    let started = Instant::now();
    let claimed = claim.run(claim_id, &caller, None).await.expect("a claim");
    let Claimed::Fresh { batch, first, .. } = claimed else { panic!("something to claim") };
    let mut reader = RecordReader::new(database, batch.source(), batch.profile, first);
    let mut read = 0;
    while let Some(chunk) = reader.next().await.expect("a chunk") {
        read += chunk.violations.len();
    }
    ledger.release(&batch, &[]).await.expect("a release");
    assert_eq!(read, BATCH as usize);
    started.elapsed()
}

/// A gateway process of its own. Dropped, it is killed.
struct Gateway {
    process: Child,
    address: String,
}

impl Gateway {
    fn start(config: &Path) -> Self {
        let mut process = Command::new(TURNPIKE)
            .args(["serve", "--config"])
            .arg(config)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the gateway");
        let mut lines = BufReader::new(process.stderr.take().expect("a pipe")).lines();
        let address = lines
            .by_ref()
            .map_while(Result::ok)
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(&line).ok())
            .find_map(|event| event["listen"].as_str().map(str::to_owned))
            .expect("the gateway says where it listens");
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, address }
    }

    fn url(&self, tenant: &str) -> String {
        format!("https://{}/api/{tenant}/v1/violations/send_overdue_to_collections", self.address)
    }

    fn curl(&self, directory: &Path) -> Command {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--fail", "--header", "Content-Type: application/json", "--cacert"])
            .arg(directory.join("ca.pem"))
            .args(["--data", &format!("{{\"apiToken\":\"{TOKEN}\"}}")]);
        curl
    }

    /// The whole curl process, the document written to a file.
    fn call_by_curl(&self, tenant: &str, directory: &Path) -> Duration {
        let file = directory.join("answer.json");
        let started = Instant::now();
        let status =
            self.curl(directory).arg("--output").arg(&file).arg(self.url(tenant)).status().expect("curl");
        let took = started.elapsed();
        assert!(status.success(), "curl got the document");
        let bytes = fs::metadata(&file).expect("the document").len();
        assert!(bytes > 1_000_000, "the document has {bytes} bytes");
        took
    }

    /// One curl that polls again and again on one connection; the median of its own timings.
    fn poll(&self, tenant: &str, directory: &Path) -> Duration {
        let mut curl = self.curl(directory);
        curl.args(["--write-out", "%{time_total} %{time_pretransfer}\n"]);
        for _ in 0..POLLS {
            curl.args(["--output", "/dev/null"]).arg(self.url(tenant));
        }
        let output = curl.output().expect("curl");
        let text = String::from_utf8(output.stdout).expect("numbers");
        let polls = text.lines().filter_map(|line| {
            let (done, sent) = line.split_once(' ')?;
            Some(Duration::from_secs_f64(done.parse::<f64>().ok()? - sent.parse::<f64>().ok()?))
        });
        median(polls.collect())
    }

    /// A figure of /proc/PID/status in MiB.
    fn resident_mib(&self, figure: &str) -> f64 {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("Linux's /proc");
        let line = status.lines().find(|line| line.starts_with(figure)).expect("the figure");
        let kib: f64 = line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number");
        kib / 1024.0
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn turnpike(config: &Path, arguments: &[&str]) {
    let status =
        Command::new(TURNPIKE).args(arguments).arg("--config").arg(config).status().expect("turnpike");
    assert!(status.success(), "turnpike {arguments:?}");
}

async fn run(client: &Client, sql: &str) {
    client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

fn median(mut durations: Vec<Duration>) -> Duration {
    durations.sort();
    durations[durations.len() / 2]
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn ratio(a: Duration, b: Duration) -> f64 {
    a.as_secs_f64() / b.as_secs_f64()
}

fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{} cores, {}", cores, model.trim_start_matches(['\t', ':', ' ']))
}
