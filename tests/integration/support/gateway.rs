//! A gateway in this process: real listener, real TLS, a real configuration file.

use std::collections::BTreeMap;
use std::fs;
use std::future::pending;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use turnpike::admin::Admin;
use turnpike::admin::keys::OperatorKeys;
use turnpike::admin::listener::AdminListener;
use turnpike::certificates::create_authority_and_server;
use turnpike::clock::Clock;
use turnpike::cluster::Cluster;
use turnpike::config::{AdminAddress, Config, TenantId};
use turnpike::handler::Gateway;
use turnpike::listener::Listener;
use turnpike::reload::Reloader;
use turnpike::tenant::Tenant;
use turnpike::tls::{self, Identity, Pair};

use super::database::{GATEWAY_ROLE, OWNER_ROLE, TestDatabase, cluster};
use super::operator::signing_keys;
use super::vendor::Vendor;

/// The token that every tenant's vendor has, in each database: the same text, so that isolation is put to the test.
pub const TOKEN: &str = "canary-token-0123456789-0123456789-0123456789-0123";

static CERTIFICATES: LazyLock<TempDir> = LazyLock::new(|| {
    let directory = tempfile::tempdir().unwrap();
    create_authority_and_server(directory.path(), &["localhost", "127.0.0.1"]).unwrap();
    directory
});

/// The certificate authority that a test's vendors trust.
pub fn authority() -> PathBuf {
    CERTIFICATES.path().join("ca.pem")
}

/// A gateway to be: tenants and settings.
#[derive(Default)]
pub struct GatewayBuilder {
    tenants: BTreeMap<String, TenantPlan>,
    /// In it `{directory}` stands for the configuration's.
    gateway: String,
    with_keys: bool,
    cluster: Option<&'static Cluster>,
    clock: Option<Clock>,
}

#[derive(Default)]
struct TenantPlan {
    overdue: i32,
    version: Option<String>,
    settings: String,
    port: Option<u16>,
    role: Option<&'static str>,
    name: Option<&'static str>,
    bare: bool,
}

/// A running gateway, its tenants' databases and its configuration file. Dropped, it stops at once.
pub struct TestGateway {
    pub address: SocketAddr,
    pub directory: TempDir,
    pub inner: Arc<Gateway>,
    /// Where operators are served, if the configuration says so.
    pub admin: Option<AdminAddress>,
    pub reloader: Arc<Reloader>,
    databases: BTreeMap<String, TestDatabase>,
    running: Option<JoinHandle<()>>,
}

impl TestGateway {
    /// Tenants with an empty, migrated database each, and a `full` token.
    pub fn with_tenants<const N: usize>(ids: [&str; N]) -> GatewayBuilder {
        let tenants = ids.into_iter().map(|id| (id.to_owned(), TenantPlan::default())).collect();
        GatewayBuilder { tenants, ..GatewayBuilder::default() }
    }

    pub fn database(&self, tenant: &str) -> &TestDatabase {
        &self.databases[tenant]
    }

    /// A vendor with the tenant's token.
    pub fn vendor(&self, tenant: &str) -> Vendor {
        Vendor::new(self.address, tenant, TOKEN)
    }

    /// Another path of the gateway.
    pub fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }

    pub fn config_file(&self) -> PathBuf {
        self.directory.path().join("tenants.toml")
    }

    /// Changes the configuration's text; nothing is reloaded.
    pub fn rewrite(&self, change: impl FnOnce(String) -> String) {
        let text = fs::read_to_string(self.config_file()).unwrap();
        fs::write(self.config_file(), change(text)).unwrap();
    }

    /// The directory's tenant of this id, which must be served.
    pub fn tenant(&self, id: &str) -> Arc<Tenant> {
        self.inner.directory.find(&TenantId::parse(id).unwrap()).unwrap()
    }
}

impl Drop for TestGateway {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.abort();
        }
    }
}

impl GatewayBuilder {
    /// Gives a tenant `count` violations that are eligible.
    pub fn overdue(mut self, tenant: &str, count: i32) -> Self {
        self.tenants.get_mut(tenant).unwrap().overdue = count;
        self
    }

    /// Gives a tenant another product version than "version of" its id.
    pub fn version(mut self, tenant: &str, version: &str) -> Self {
        self.tenants.get_mut(tenant).unwrap().version = Some(version.to_owned());
        self
    }

    /// Adds lines to the tenant's section.
    pub fn tenant_setting(mut self, tenant: &str, toml: &str) -> Self {
        self.tenants.get_mut(tenant).unwrap().settings += &format!("{toml}\n");
        self
    }

    /// Has the gateway reach the tenant's database at this port: a [`Proxy`](super::Proxy)'s, or a closed one.
    pub fn database_port(mut self, tenant: &str, port: u16) -> Self {
        self.tenants.get_mut(tenant).unwrap().port = Some(port);
        self
    }

    /// Has the gateway connect as another role than its own.
    pub fn database_role(mut self, tenant: &str, role: &'static str) -> Self {
        self.tenants.get_mut(tenant).unwrap().role = Some(role);
        self
    }

    /// Has the gateway look for another database than the tenant's.
    pub fn database_name(mut self, tenant: &str, name: &'static str) -> Self {
        self.tenants.get_mut(tenant).unwrap().name = Some(name);
        self
    }

    /// Leaves the tenant's database without schema.
    pub fn bare(mut self, tenant: &str) -> Self {
        self.tenants.get_mut(tenant).unwrap().bare = true;
        self
    }

    /// Has the gateway go by this clock.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Has the databases made in another cluster than the run's.
    pub fn cluster(mut self, cluster: &'static Cluster) -> Self {
        self.cluster = Some(cluster);
        self
    }

    /// Adds lines to `[gateway]`.
    pub fn gateway_setting(mut self, toml: &str) -> Self {
        self.gateway += &format!("{toml}\n");
        self
    }

    /// Serves operators on a Unix socket beside the configuration.
    pub fn admin_socket(self) -> Self {
        self.gateway_setting("admin_listen = \"unix:{directory}/admin.sock\"")
    }

    /// Serves operators who show a good [`SigningKey`](super::operator::SigningKey)'s token, at this address.
    pub fn admin_keys(mut self, address: &str) -> Self {
        self.with_keys = true;
        let files: Vec<&str> = signing_keys().map(|(name, _)| name).to_vec();
        self.gateway_setting(&format!("admin_listen = \"{address}\"\noperator_keys = {files:?}"))
    }

    /// Makes the databases and the configuration, without a gateway: for tests that run the binary.
    pub async fn prepare(&self) -> (TempDir, BTreeMap<String, TestDatabase>) {
        let directory = tempfile::tempdir().unwrap();
        let mut databases = BTreeMap::new();
        // connect_timeout: a busy machine's slow log-ins are no test's business.
        let mut toml = format!(
            "[gateway]\nlisten = \"127.0.0.1:0\"\ntls_certificate = {:?}\ntls_key = {:?}\n{}\n\
             [defaults]\nconnect_timeout = \"1m\"\n",
            CERTIFICATES.path().join("gateway.pem"),
            CERTIFICATES.path().join("gateway.key"),
            self.gateway.replace("{directory}", directory.path().to_str().unwrap())
        );
        for (name, key) in signing_keys().iter().filter(|_| self.with_keys) {
            fs::write(directory.path().join(name), &key.public_pem).unwrap();
        }
        let cluster = match self.cluster {
            Some(cluster) => cluster,
            None => cluster().await,
        };
        for (id, plan) in &self.tenants {
            let database = if plan.bare {
                TestDatabase::create_bare(cluster).await
            } else {
                let database = TestDatabase::create(cluster).await;
                database.add_token(TOKEN, "full").await;
                database.add_overdue(plan.overdue).await;
                database
            };
            let url = database.url(plan.role.unwrap_or(GATEWAY_ROLE), plan.port);
            let url = match (plan.name, url.rsplit_once('/')) {
                (Some(name), Some((server, _))) => format!("{server}/{name}"),
                _ => url,
            };
            let version = plan.version.clone().unwrap_or_else(|| format!("version of {id}"));
            toml += &format!(
                "[tenants.{id}]\nname = \"Test {id}\"\nversion = \"{version}\"\ndatabase_url = \"{url}\"\n\
                 owner_database_url = \"{}\"\n{}\n",
                database.url(OWNER_ROLE, None),
                plan.settings
            );
            databases.insert(id.clone(), database);
        }
        fs::write(directory.path().join("tenants.toml"), toml).unwrap();
        (directory, databases)
    }

    pub async fn start(self) -> TestGateway {
        let (directory, databases) = self.prepare().await;
        let file = directory.path().join("tenants.toml");
        let Served { address, gateway, reloader, running } =
            serve(&file, self.clock.unwrap_or_else(Clock::system)).await;
        let admin = serve_operators(&Config::load(&file).unwrap(), &gateway, &reloader).await;
        TestGateway { address, directory, inner: gateway, admin, reloader, databases, running: Some(running) }
    }
}

struct Served {
    address: SocketAddr,
    gateway: Arc<Gateway>,
    reloader: Arc<Reloader>,
    running: JoinHandle<()>,
}

async fn serve(file: &Path, clock: Clock) -> Served {
    let config = Config::load(file).unwrap();
    let gateway = Arc::new(Gateway::with_clock(&config, clock));
    let pair = Pair::read(&config.gateway.tls_certificate, &config.gateway.tls_key).unwrap();
    let identity = Identity::new(pair);
    let tls = identity.server_config();
    let reloader = Reloader::new(file.to_owned(), &config, Arc::clone(&gateway), identity);
    let listener = Listener::bind(config.gateway.listen, tls, Arc::clone(&gateway)).await.unwrap();
    let address = listener.address().unwrap();
    let running = tokio::spawn(listener.run(pending()));
    Served { address, gateway, reloader, running }
}

/// Serves operators until the test's runtime ends.
async fn serve_operators(
    config: &Config,
    gateway: &Arc<Gateway>,
    reloader: &Arc<Reloader>,
) -> Option<AdminAddress> {
    let settings = &config.gateway.admin;
    let keys = OperatorKeys::load(&settings.operators).unwrap();
    let tls = settings.tls.as_ref().map(|(certificate, key)| tls::server_config(certificate, key).unwrap());
    let admin = Admin::new(Arc::clone(gateway), Arc::clone(reloader), keys, CancellationToken::new());
    tokio::spawn(Arc::clone(&admin).follow_reloads());
    let listener = AdminListener::bind(settings.listen.as_ref()?, tls, admin).await.unwrap();
    let address = listener.address().unwrap();
    listener.start();
    Some(address)
}

/// A second gateway on the databases of a first, as another process on another machine would be.
pub async fn second_gateway(config_file: &Path) -> (SocketAddr, JoinHandle<()>) {
    let served = serve(config_file, Clock::system()).await;
    (served.address, served.running)
}
