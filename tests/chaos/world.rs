//! What outlives the rounds: one durable cluster that may crash, a template, certificates.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reqwest::Certificate;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::{Mutex, RwLock};
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
const RETIRED_AT_MOST: usize = 24;
const TEMPLATE: &str = "chaos_template";

pub struct World {
    /// Write: while it crashes and comes back. Read: while nobody must crash it.
    pub cluster: RwLock<Cluster>,
    pub port: u16,
    superuser: PostgresConfig,
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
        let cluster = Cluster::start(ClusterOptions {
            directory: target.join("chaos-cluster"),
            durable: true,
            // syncfs: a crash recovery that opens every file of every round's database takes longer than the round.
            settings: [("max_connections", "200"), ("recovery_init_sync_method", "syncfs")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .to_vec(),
            tls: None,
        })
        .await
        .expect("a cluster for the chaos");
        create_authority_and_server(&directory, &["localhost", "127.0.0.1"]).unwrap();
        let world = Self {
            port: cluster.port(),
            superuser: cluster.superuser_config("postgres"),
            trust: trust(&directory.join("ca.pem")),
            cluster: RwLock::new(cluster),
            directory,
            retired: Mutex::default(),
        };
        world.prepare().await;
        Arc::new(world)
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
            self.url(GATEWAY_ROLE, self.port, TEMPLATE),
            self.url(OWNER_ROLE, self.port, TEMPLATE)
        );
        std::fs::write(&file, toml).unwrap();
        migrate(&Config::load(&file).unwrap().tenants[0]).await.unwrap();
        let template = self.connect(TEMPLATE).await;
        template.batch_execute("INSERT INTO ticket_categories (\"TicketTypeID\") VALUES (1)").await.unwrap();
    }

    pub fn url(&self, role: &str, port: u16, database: &str) -> String {
        format!("postgres://{role}:{PASSWORD}@127.0.0.1:{port}/{database}")
    }

    /// A superuser's session; waits while the cluster is down.
    pub async fn connect(&self, database: &str) -> Client {
        let give_up = Instant::now() + Duration::from_secs(30);
        loop {
            match self.superuser.clone().dbname(database).connect(NoTls).await {
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
        let _no_crash = self.cluster.read().await;
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
        let _no_crash = self.cluster.read().await;
        let client = self.connect("postgres").await;
        for name in retired.drain(..) {
            client.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await.unwrap();
        }
    }

    /// Crashes the server and brings it back.
    pub async fn crash(&self) {
        self.cluster.write().await.restart_immediate().await.unwrap();
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
