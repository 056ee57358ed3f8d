//! The benchmark's own cluster, databases and configurations.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tokio_postgres::{Client, NoTls};
use turnpike::certificates::create_authority_and_server;
use turnpike::cluster::{Cluster, ClusterOptions};
use turnpike::config::{Config, TenantConfig};

pub const TURNPIKE: &str = env!("CARGO_BIN_EXE_turnpike");
pub const TOKEN: &str = "bench-token-0123456789-0123456789-0123456789-01234";
pub const BATCH: i32 = 10_000;
pub const LARGE_BATCH: i32 = 100_000;

/// A durable cluster, and what is measured on it.
pub struct World {
    cluster: Cluster,
    pub directory: PathBuf,
}

impl World {
    /// Starts the cluster and makes the templates `none`, `batch` and `large_batch`.
    pub async fn prepare() -> Self {
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("bench");
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).expect("a directory under target/");
        create_authority_and_server(&directory, &["localhost", "127.0.0.1"]).expect("certificates");
        let settings = [
            ("shared_buffers", "1GB"),
            ("max_wal_size", "4GB"),
            ("autovacuum", "off"),
            ("max_connections", "300"),
        ];
        let cluster = Cluster::start(ClusterOptions {
            directory: PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("bench-cluster"),
            durable: true,
            settings: settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
            tls: None,
        })
        .await
        .expect("a cluster");
        let world = Self { cluster, directory };
        let admin = world.connect("postgres").await;
        for role in ["turnpike", "turnpike_owner"] {
            run(&admin, &format!("CREATE ROLE {role} LOGIN PASSWORD 'bench'")).await;
        }
        world.fill("none", 0, 1_000).await;
        world.fill("batch", BATCH, 0).await;
        world.fill("large_batch", LARGE_BATCH, 0).await;
        world
    }

    pub async fn stop(self) {
        self.cluster.stop().await;
    }

    pub async fn connect(&self, database: &str) -> Client {
        let (client, connection) =
            self.cluster.superuser_config(database).connect(NoTls).await.expect("a session");
        tokio::spawn(connection);
        client
    }

    /// How a peer that is no gateway connects.
    pub fn url(&self, database: &str) -> String {
        self.cluster.url("turnpike_owner", "bench", database)
    }

    /// A new database of `turnpike sample`'s data, with a token.
    pub async fn fill(&self, name: &str, violations: i32, history: i32) {
        let admin = self.connect("postgres").await;
        run(&admin, &format!("CREATE DATABASE {name} OWNER turnpike_owner")).await;
        let config = self.configure(&[name]);
        turnpike(&config, &["migrate"]);
        let (violations, history) = (violations.to_string(), history.to_string());
        turnpike(&config, &["sample", "--tenant", name, "--violations", &violations, "--history", &history]);
        let client = self.connect(name).await;
        let hash = turnpike::auth::hash_token(TOKEN);
        client.execute(include_str!("sql/token.sql"), &[&hash.as_slice()]).await.expect("a token");
    }

    /// A copy of a template, not yet read.
    pub async fn clone_database(&self, template: &str, name: &str) {
        let admin = self.connect("postgres").await;
        run(
            &admin,
            &format!("CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY OWNER turnpike_owner"),
        )
        .await;
    }

    /// A copy, read once so that it is as warm as any other.
    pub async fn copy(&self, template: &str, name: &str) {
        self.clone_database(template, name).await;
        let client = self.connect(name).await;
        for table in
            ["violations", "violation_details", "attachments", "vehicles", "vehicle_drivers", "users"]
        {
            run(&client, &format!("SELECT count(x.*::text) FROM {table} x")).await;
        }
        run(&client, "CHECKPOINT").await;
    }

    pub async fn drop(&self, name: &str) {
        run(&self.connect("postgres").await, &format!("DROP DATABASE {name} WITH (FORCE)")).await;
    }

    /// A configuration in which every tenant is named like its database.
    pub fn configure(&self, databases: &[&str]) -> PathBuf {
        self.configure_as(databases.iter().map(|name| (*name, *name)))
    }

    /// A configuration of tenants and their databases.
    pub fn configure_as<'a>(&self, tenants: impl Iterator<Item = (&'a str, &'a str)>) -> PathBuf {
        let file = self.directory.join("tenants.toml");
        let mut toml = "[gateway]\nlisten = \"127.0.0.1:0\"\ntls_certificate = \"gateway.pem\"\ntls_key = \"gateway.key\"\n"
            .to_owned();
        for (tenant, database) in tenants {
            toml += &format!(
                "[tenants.{tenant}]\nname = \"{tenant}\"\ndatabase_url = \"{}\"\nowner_database_url = \"{}\"\n",
                self.cluster.url("turnpike", "bench", database),
                self.cluster.url("turnpike_owner", "bench", database)
            );
        }
        fs::write(&file, toml).expect("the configuration");
        file
    }

    /// The gateway's own settings for one database, for the floor.
    pub fn tenant(&self, database: &str) -> TenantConfig {
        let mut config = Config::load(&self.configure(&[database])).expect("a good configuration");
        config.tenants.remove(0)
    }
}

fn turnpike(config: &Path, arguments: &[&str]) {
    let status =
        Command::new(TURNPIKE).args(arguments).arg("--config").arg(config).status().expect("turnpike");
    assert!(status.success(), "turnpike {arguments:?}");
}

pub async fn run(client: &Client, sql: &str) {
    client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
}
