//! What outlives the rounds: a durable server that may crash, its synchronous standby that may take its place, a template,
//! certificates.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex as StdMutex};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::Certificate;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::{Mutex, RwLock, RwLockWriteGuard};
use tokio::time::{Instant, sleep};
use tokio_postgres::{Client, Config as PostgresConfig, NoTls};
use tokio_rustls::TlsConnector;
use turnpike::certificates::create_authority_and_server;
use turnpike::cluster::{Cluster, ClusterOptions};
use turnpike::config::Config;
use turnpike::migrate::migrate;

use crate::call::Trust;

pub const GATEWAY_ROLE: &str = "turnpike";
pub const OWNER_ROLE: &str = "turnpike_owner";
pub const PASSWORD: &str = "chaos-password";
/// All of them are part of a standby that is made.
const RETIRED_AT_MOST: usize = 12;
const LOCK_PATIENCE: Duration = Duration::from_secs(8);
const TEMPLATE: &str = "chaos_template";

pub struct World {
    /// Write: while it crashes and comes back. Read: while nobody must crash it.
    pub primary: RwLock<Cluster>,
    /// None while it is being made.
    standby: Mutex<Option<Cluster>>,
    /// How the primary is reached.
    superuser: StdMutex<PostgresConfig>,
    clusters: AtomicU32,
    pub directory: PathBuf,
    pub trust: Trust,
    retired: Mutex<Vec<String>>,
}

impl World {
    pub async fn create() -> Arc<Self> {
        let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let directory = target.join("chaos");
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).unwrap();
        let primary = Cluster::start(options(0)).await.expect("a cluster for the chaos");
        create_authority_and_server(&directory, &["localhost", "127.0.0.1"]).unwrap();
        let world = Self {
            superuser: StdMutex::new(primary.superuser_config("postgres")),
            trust: trust(&directory.join("ca.pem")),
            primary: RwLock::new(primary),
            standby: Mutex::default(),
            clusters: AtomicU32::new(1),
            directory,
            retired: Mutex::default(),
        };
        world.prepare().await;
        world.attach_standby().await;
        Arc::new(world)
    }

    /// Makes a standby, and has the primary's commits wait for it.
    async fn attach_standby(&self) {
        let primary = self.primary.read().await;
        let number = self.clusters.fetch_add(1, Ordering::SeqCst);
        let standby = primary.start_standby(options(number)).await.expect("a standby");
        let client = self.connect("postgres").await;
        client.batch_execute("ALTER SYSTEM SET synchronous_standby_names = '*'").await.unwrap();
        client.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        // What was committed before must be there as well.
        let lsn: String = client.query_one("SELECT pg_current_wal_lsn()::text", &[]).await.unwrap().get(0);
        let follows =
            "SELECT FROM pg_stat_replication WHERE sync_state = 'sync' AND flush_lsn >= $1::text::pg_lsn";
        let give_up = Instant::now() + Duration::from_secs(30);
        while client.query(follows, &[&lsn]).await.unwrap().is_empty() {
            assert!(Instant::now() < give_up, "the standby doesn't follow");
            sleep(Duration::from_millis(20)).await;
        }
        *self.standby.lock().await = Some(standby);
    }

    async fn prepare(&self) {
        let client = self.connect("postgres").await;
        for role in [GATEWAY_ROLE, OWNER_ROLE] {
            client.batch_execute(&format!("CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")).await.unwrap();
        }
        client.batch_execute(&format!("GRANT pg_read_all_stats TO {OWNER_ROLE}")).await.unwrap();
        client.batch_execute(&format!("CREATE DATABASE {TEMPLATE} OWNER {OWNER_ROLE}")).await.unwrap();
        let file = self.directory.join("template.toml");
        let toml = format!(
            "[gateway]\ntls_certificate = \"gateway.pem\"\ntls_key = \"gateway.key\"\n[tenants.T]\n\
             name = \"template\"\ndatabase_url = \"{}\"\nowner_database_url = \"{}\"\n",
            self.url(GATEWAY_ROLE, self.port(), TEMPLATE),
            self.url(OWNER_ROLE, self.port(), TEMPLATE)
        );
        std::fs::write(&file, toml).unwrap();
        migrate(&Config::load(&file).unwrap().tenants[0]).await.unwrap();
        let template = self.connect(TEMPLATE).await;
        template.batch_execute("INSERT INTO ticket_categories (\"TicketTypeID\") VALUES (1)").await.unwrap();
    }

    /// The primary's.
    pub fn port(&self) -> u16 {
        self.superuser.lock().unwrap().get_ports()[0]
    }

    pub fn url(&self, role: &str, port: u16, database: &str) -> String {
        format!("postgres://{role}:{PASSWORD}@127.0.0.1:{port}/{database}")
    }

    /// A superuser's session; waits while the cluster is down.
    pub async fn connect(&self, database: &str) -> Client {
        let give_up = Instant::now() + Duration::from_secs(30);
        loop {
            let mut superuser = self.superuser.lock().unwrap().clone();
            match superuser.dbname(database).connect(NoTls).await {
                Ok((client, connection)) => {
                    tokio::spawn(connection);
                    return client;
                }
                Err(error) if Instant::now() > give_up => panic!("{database}: {error:?}"),
                Err(_down) => sleep(Duration::from_millis(50)).await,
            }
        }
    }

    pub async fn create_database(&self, name: &str) {
        let _no_crash = self.primary.read().await;
        let client = self.connect("postgres").await;
        let sql = format!("CREATE DATABASE {name} TEMPLATE {TEMPLATE} OWNER {OWNER_ROLE}");
        client.batch_execute(&sql).await.unwrap();
    }

    /// Databases that nobody needs any more. Dropped many at a time: each drop is a checkpoint.
    pub async fn retire(&self, databases: [String; 2]) {
        let mut retired = self.retired.lock().await;
        retired.extend(databases);
        if retired.len() < RETIRED_AT_MOST {
            return;
        }
        let _no_crash = self.primary.read().await;
        let client = self.connect("postgres").await;
        for name in retired.drain(..) {
            client.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await.unwrap();
        }
    }

    /// Crashes the server and brings it back. False where that had to be left.
    pub async fn crash(&self) -> bool {
        let Some(primary) = self.lock_primary().await else {
            return false;
        };
        primary.restart_immediate().await.unwrap();
        true
    }

    /// The right to crash it. A lock that is waited for would keep everybody else waiting too, for as long as a standby is
    /// being made; so it is tried for, and given up.
    async fn lock_primary(&self) -> Option<RwLockWriteGuard<'_, Cluster>> {
        let give_up = Instant::now() + LOCK_PATIENCE;
        while Instant::now() < give_up {
            if let Ok(primary) = self.primary.try_write() {
                return Some(primary);
            }
            sleep(Duration::from_millis(10)).await;
        }
        None
    }

    /// Keeps the gateways' commits from the standby for a while, and has the primary acknowledge them all the same. How
    /// many those were.
    pub async fn give_up_waits(&self) -> i64 {
        let _no_crash = self.primary.read().await;
        let Some(sender) = self.find_sender().await else {
            return 0;
        };
        let given_up = self.give_up_waits_of(sender).await;
        kill(sender, Signal::SIGCONT).unwrap();
        given_up
    }

    /// The same; then the primary crashes for good, and the standby, without what it never got, takes its place. False
    /// where there is none, or that had to be left.
    pub async fn promote(self: &Arc<Self>) -> bool {
        let Some(mut primary) = self.lock_primary().await else {
            return false;
        };
        let Some(standby) = self.standby.lock().await.take() else {
            return false;
        };
        let sender = self.find_sender().await;
        if let Some(sender) = sender {
            self.give_up_waits_of(sender).await;
        }
        let crashed = std::mem::replace(&mut *primary, standby);
        let directory = crashed.log_path().parent().unwrap().to_owned();
        tokio::join!(crashed.crash(), async {
            // Told to quit by now, it has nothing else to do when it goes on.
            sleep(Duration::from_millis(50)).await;
            sender.map(|sender| kill(sender, Signal::SIGCONT));
        });
        *self.superuser.lock().unwrap() = primary.superuser_config("postgres");
        let client = self.connect("postgres").await;
        client.batch_execute("SELECT pg_promote()").await.unwrap();
        client.batch_execute("ALTER SYSTEM RESET synchronous_standby_names").await.unwrap();
        client.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        drop(primary);
        std::fs::remove_dir_all(directory).unwrap();
        let world = Arc::clone(self);
        tokio::spawn(async move { world.attach_standby().await });
        true
    }

    /// The primary's process that sends the standby what is written.
    async fn find_sender(&self) -> Option<Pid> {
        let client = self.connect("postgres").await;
        let rows =
            client.query("SELECT pid FROM pg_stat_replication WHERE sync_state = 'sync'", &[]).await.unwrap();
        rows.first().map(|row| Pid::from_raw(row.get(0)))
    }

    async fn give_up_waits_of(&self, sender: Pid) -> i64 {
        let client = self.connect("postgres").await;
        kill(sender, Signal::SIGSTOP).unwrap();
        let mut given_up = 0;
        for _ in 0..12 {
            sleep(Duration::from_millis(40)).await;
            let sql = "SELECT count(*) FILTER (WHERE pg_cancel_backend(pid)) FROM pg_stat_activity
                        WHERE wait_event = 'SyncRep' AND application_name LIKE 'turnpike/%'";
            given_up += client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0);
        }
        given_up
    }
}

fn options(number: u32) -> ClusterOptions {
    // syncfs: a crash recovery that opens every file of every round's database takes longer than the round.
    let settings = [
        ("max_connections", "200"),
        ("recovery_init_sync_method", "syncfs"),
        ("wal_keep_size", "512MB"),
        ("wal_retrieve_retry_interval", "100ms"),
    ];
    ClusterOptions {
        directory: PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("chaos-cluster-{number}")),
        durable: true,
        settings: settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
        tls: None,
    }
}

fn trust(authority: &Path) -> Trust {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let pem = std::fs::read(authority).unwrap();
    Trust { tls: TlsConnector::from(Arc::new(config)), authority: Certificate::from_pem(&pem).unwrap() }
}
