//! The databases: one cluster with as many as there are tenants, copied from a migrated one, and one that will be broken.

use std::fs;
use std::path::{Path, PathBuf};

use futures_util::StreamExt;
use futures_util::stream::iter;
use tokio::time::Instant;
use tokio_postgres::{Client, NoTls};
use turnpike::auth::hash_token;
use turnpike::certificates::create_authority_and_server;
use turnpike::cluster::{Cluster, ClusterOptions};
use turnpike::config::Config;
use turnpike::migrate::migrate;

use crate::variable;

pub const TOKEN: &str = "scale-token-0123456789-0123456789-0123456789-01234";
const PASSWORD: &str = "scale-password";
const TEMPLATE: &str = "template";
/// The tenant whose server is broken.
pub const BROKEN: &str = "broken";
/// Databases that are copied at once.
const AT_ONCE: usize = 3;

pub struct World {
    pub cluster: Cluster,
    /// One tenant's own.
    pub fragile: Cluster,
    pub directory: PathBuf,
}

/// A tenant's id, which is its database's name.
pub fn id(number: usize) -> String {
    format!("t{number:04}")
}

impl World {
    pub async fn create(tenants: usize) -> Self {
        let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let directory = target.join("scale");
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        create_authority_and_server(&directory, &["localhost", "127.0.0.1"]).unwrap();
        let databases = variable("SCALE_DIRECTORY").map_or(target, PathBuf::from);
        let world = Self {
            cluster: start(&databases.join("scale-cluster")).await,
            fragile: start(&databases.join("scale-fragile")).await,
            directory,
        };
        prepare(&world.cluster, &world.directory).await;
        prepare(&world.fragile, &world.directory).await;
        copy(&world.fragile, BROKEN).await;
        let begun = Instant::now();
        // What a reload adds has its database already.
        let copies = iter((0..tenants + tenants / 20).map(id));
        copies.for_each_concurrent(AT_ONCE, async |name| copy(&world.cluster, &name).await).await;
        println!("  databases made in {:.1} s", begun.elapsed().as_secs_f64());
        world
    }

    /// Writes a configuration with these tenants, one a file, and gives its path.
    pub fn configure(&self, name: &str, tenants: impl Iterator<Item = String>) -> PathBuf {
        let directory = self.directory.join(name);
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(directory.join("tenants.d")).unwrap();
        for tenant in tenants {
            write_tenant(&directory, &tenant, "");
        }
        let file = directory.join("tenants.toml");
        // All vendors have one address, and at first none of them is known.
        let toml = format!(
            "include = [\"tenants.d/*.toml\"]\n[gateway]\nlisten = \"127.0.0.1:0\"\nreload_interval = \"0s\"\n\
             failures_per_address = \"none\"\nfailures_per_tenant = \"none\"\n\
             tls_certificate = \"../gateway.pem\"\ntls_key = \"../gateway.key\"\n\
             [defaults]\ndatabase_url = \"{}\"\n",
            url(&self.cluster, "turnpike", "{tenant}"),
        );
        fs::write(&file, toml).unwrap();
        file
    }

    /// Adds the tenant that will be broken; gives its settings more lines.
    pub fn add_broken(&self, file: &Path, settings: &str) {
        let url = url(&self.fragile, "turnpike", BROKEN);
        write_tenant(file.parent().unwrap(), BROKEN, &format!("database_url = \"{url}\"\n{settings}\n"));
    }
}

/// Writes or rewrites a tenant's file.
pub fn write_tenant(directory: &Path, tenant: &str, settings: &str) {
    let toml = format!("[tenants.{tenant}]\nname = \"University {tenant}\"\n{settings}");
    fs::write(directory.join(format!("tenants.d/{tenant}.toml")), toml).unwrap();
}

pub async fn connect(cluster: &Cluster, database: &str) -> Client {
    let (client, connection) = cluster.superuser_config(database).connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn start(directory: &Path) -> Cluster {
    let options = ClusterOptions {
        directory: directory.to_owned(),
        durable: false,
        settings: vec![("max_connections".into(), "110".into()), ("autovacuum".into(), "off".into())],
        tls: None,
    };
    Cluster::start(options).await.expect("a cluster")
}

/// The URL's braces stand for the tenant's id and mustn't be encoded.
fn url(cluster: &Cluster, role: &str, database: &str) -> String {
    format!("{}{database}", cluster.url(role, PASSWORD, ""))
}

async fn copy(cluster: &Cluster, name: &str) {
    let admin = connect(cluster, "postgres").await;
    let sql = format!("CREATE DATABASE {name} TEMPLATE {TEMPLATE} OWNER turnpike_owner STRATEGY file_copy");
    admin.batch_execute(&sql).await.unwrap();
}

/// The roles, and a migrated database with a token.
async fn prepare(cluster: &Cluster, directory: &Path) {
    let admin = connect(cluster, "postgres").await;
    for role in ["turnpike", "turnpike_owner"] {
        admin.batch_execute(&format!("CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")).await.unwrap();
    }
    admin.batch_execute(&format!("CREATE DATABASE {TEMPLATE} OWNER turnpike_owner")).await.unwrap();
    let file = directory.join("template.toml");
    let toml = format!(
        "[gateway]\ntls_certificate = \"gateway.pem\"\ntls_key = \"gateway.key\"\n[tenants.T]\nname = \"template\"\n\
         database_url = \"{}\"\nowner_database_url = \"{}\"\n",
        url(cluster, "turnpike", TEMPLATE),
        url(cluster, "turnpike_owner", TEMPLATE)
    );
    fs::write(&file, toml).unwrap();
    migrate(&Config::load(&file).unwrap().tenants[0]).await.unwrap();
    let template = connect(cluster, TEMPLATE).await;
    let sql = "WITH token AS (
                   INSERT INTO api_tokens (token_sha256, vendor, field_profile) VALUES ($1, 'Scale Collections', 'full')
                   RETURNING token_id
               )
               INSERT INTO api_permissions (token_id, action, resource)
               SELECT token_id, 'user-create', 'violation_collection' FROM token";
    template.execute(sql, &[&hash_token(TOKEN).as_slice()]).await.unwrap();
}
