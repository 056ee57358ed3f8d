//! One cluster a run, one migrated template, one database a tenant of a test.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::OnceCell;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Row};
use turnpike::cluster::{Cluster, ClusterOptions};
use turnpike::config::Config;
use turnpike::migrate::migrate;

pub const GATEWAY_ROLE: &str = "turnpike";
pub const OWNER_ROLE: &str = "turnpike_owner";
pub const PASSWORD: &str = "canary-password";
const TEMPLATE: &str = "turnpike_template";

static CLUSTER: OnceCell<&Cluster> = OnceCell::const_new();
static COUNT: AtomicU32 = AtomicU32::new(1);

/// The run's cluster. Its server ends with this process, as all do.
pub async fn cluster() -> &'static Cluster {
    CLUSTER.get_or_init(|| create_cluster("cluster", "400")).await
}

/// A cluster for one test alone, of this name: where the whole server is set otherwise, stopped or filled. It logs who
/// logs in.
pub async fn own_cluster(name: &str) -> &'static Cluster {
    create_cluster(&format!("cluster-{name}"), "50").await
}

/// A log-in of a gateway, as the server saw it: its process, when it came and when it was let in, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogIn {
    pub pid: i32,
    pub came: i64,
    pub let_in: Option<i64>,
}

/// Every log-in of a gateway's role since the cluster was made, in the order in which they came.
pub fn log_ins(cluster: &Cluster) -> Vec<LogIn> {
    let log = std::fs::read_to_string(cluster.log_path()).unwrap();
    let mut log_ins: Vec<LogIn> = Vec::new();
    for line in log.lines().filter(|line| line.contains("LOG:  connection ")) {
        let (time, rest) = line.split_at(23);
        let time: jiff::civil::DateTime = time.parse().unwrap();
        let at = time.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp().as_millisecond();
        let (pid, _) = rest.split_once('[').unwrap().1.split_once(']').unwrap();
        let pid = pid.parse().unwrap();
        if line.contains("connection received") {
            log_ins.push(LogIn { pid, came: at, let_in: None });
        } else if line.contains("connection authorized: user=turnpike ")
            && let Some(log_in) = log_ins.iter_mut().rev().find(|log_in| log_in.pid == pid)
        {
            log_in.let_in = Some(at);
        }
    }
    log_ins
}

async fn create_cluster(directory: &str, max_connections: &str) -> &'static Cluster {
    let cluster = Cluster::start(ClusterOptions {
        directory: PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(directory),
        durable: false,
        settings: vec![
            ("max_connections".into(), max_connections.into()),
            ("log_connections".into(), "on".into()),
        ],
        tls: None,
    })
    .await
    .expect("a cluster for the tests");
    prepare(&cluster).await;
    Box::leak(Box::new(cluster))
}

async fn prepare(cluster: &Cluster) {
    let client = connect(cluster, "postgres").await;
    for role in [GATEWAY_ROLE, OWNER_ROLE] {
        client.batch_execute(&format!("CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")).await.unwrap();
    }
    client.batch_execute(&format!("CREATE DATABASE {TEMPLATE} OWNER {OWNER_ROLE}")).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tenants.toml");
    let (url, owner) =
        (cluster.url(GATEWAY_ROLE, PASSWORD, TEMPLATE), cluster.url(OWNER_ROLE, PASSWORD, TEMPLATE));
    let toml = format!(
        "[gateway]\ntls_certificate = \"tenants.toml\"\ntls_key = \"tenants.toml\"\n\
         [tenants.T]\nname = \"template\"\ndatabase_url = \"{url}\"\nowner_database_url = \"{owner}\"\n"
    );
    std::fs::write(&file, toml).unwrap();
    let config = Config::load(&file).unwrap();
    migrate(&config.tenants[0]).await.unwrap();
}

async fn connect(cluster: &Cluster, database: &str) -> Client {
    let (client, connection) = cluster.superuser_config(database).connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A tenant's database, as its back office sees it: a superuser's session, and fixtures.
pub struct TestDatabase {
    pub name: String,
    cluster: &'static Cluster,
    client: Client,
}

impl TestDatabase {
    /// A migrated, empty database.
    pub async fn create(cluster: &'static Cluster) -> Self {
        let database = Self::create_from(cluster, TEMPLATE).await;
        database.execute("INSERT INTO ticket_categories (\"TicketTypeID\") VALUES (1), (2)").await;
        database
    }

    /// A database without any schema, as `CREATE DATABASE` leaves it.
    pub async fn create_bare(cluster: &'static Cluster) -> Self {
        Self::create_from(cluster, "template0").await
    }

    async fn create_from(cluster: &'static Cluster, template: &str) -> Self {
        let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let admin = connect(cluster, "postgres").await;
        admin
            .batch_execute(&format!("CREATE DATABASE {name} TEMPLATE {template} OWNER {OWNER_ROLE}"))
            .await
            .unwrap();
        Self { client: connect(cluster, &name).await, cluster, name }
    }

    /// The same with a new session, where the server has ended the old one.
    pub async fn reconnect(&self) -> Self {
        Self { name: self.name.clone(), cluster: self.cluster, client: self.session().await }
    }

    /// Another superuser's session on the same database.
    pub async fn session(&self) -> Client {
        connect(self.cluster, &self.name).await
    }

    /// How a role connects to it; the server's port is another's where there is one.
    pub fn url(&self, role: &str, port: Option<u16>) -> String {
        let url = self.cluster.url(role, PASSWORD, &self.name);
        match port {
            Some(port) => url.replace(&format!(":{}/", self.cluster.port()), &format!(":{port}/")),
            None => url,
        }
    }

    pub async fn execute(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    pub async fn query(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Vec<Row> {
        self.client.query(sql, parameters).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"))
    }

    /// The one number that a query gives.
    pub async fn count(&self, sql: &str) -> i64 {
        self.query(sql, &[]).await[0].get(0)
    }

    /// Adds `count` violations that are eligible, tickets T-1, T-2, … , each due a day after the other.
    pub async fn add_overdue(&self, count: i32) {
        self.query(
            "INSERT INTO violations (\"Ticket\", \"TicketType\", \"Due\", \"Fine\")
             SELECT 'T-' || nextval, 1, timestamptz '2020-01-01 00:00:00Z' + nextval * interval '1 hour', 50
               FROM (SELECT COALESCE(max(\"ViolationID\"), 0) AS used FROM violations) AS violation
              CROSS JOIN LATERAL generate_series(used + 1, used + $1) AS nextval",
            &[&count],
        )
        .await;
    }

    /// The same, of 10 kB each and the last of 3 MB: neither a vendor's kernel nor an HTTP/2 window of 2 MB takes them in.
    pub async fn add_overdue_large(&self, count: i32) {
        self.add_overdue(count).await;
        self.execute(&format!(
            "UPDATE violations
                SET \"Comment\" = repeat('x', CASE \"ViolationID\" WHEN {count} THEN 3000000 ELSE 10000 END)"
        ))
        .await;
    }

    /// Every row of every table with its version and its locks, and every sequence: whatever a write would change.
    pub async fn everything(&self) -> Vec<(String, String)> {
        let rows = self
            .query(
                "SELECT t.table_name::text,
                        query_to_xml(
                            format('SELECT r.ctid, r.xmin, r.xmax, r.* FROM public.%I r ORDER BY r.ctid', t.table_name),
                            true, true, ''
                        )::text
                   FROM information_schema.tables t
                  WHERE t.table_schema = 'public'
                  UNION ALL
                 SELECT s.sequencename, COALESCE(s.last_value::text, '')
                   FROM pg_sequences s
                  ORDER BY 1",
                &[],
            )
            .await;
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }

    /// How many sessions gateways have on this database; idle ones stay, so this tells whether one was ever opened.
    pub async fn gateway_sessions(&self) -> i64 {
        self.count(
            "SELECT count(*) FROM pg_stat_activity
              WHERE datname = current_database() AND application_name LIKE 'turnpike/%'",
        )
        .await
    }

    /// The process ids of gateways' sessions on this database.
    pub async fn gateway_pids(&self) -> Vec<i32> {
        let rows = self
            .query(
                "SELECT pid FROM pg_stat_activity
                  WHERE datname = current_database() AND application_name LIKE 'turnpike/%'
                  ORDER BY pid",
                &[],
            )
            .await;
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// Ends all of the gateways' sessions. Whoever needs one after that has to open it.
    pub async fn end_gateway_sessions(&self) {
        self.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
              WHERE datname = current_database() AND application_name LIKE 'turnpike/%'",
        )
        .await;
    }

    /// Whether a gateway's session waits for a lock.
    pub async fn gateway_waits(&self) -> bool {
        self.count(
            "SELECT count(*) FROM pg_stat_activity
              WHERE datname = current_database() AND application_name LIKE 'turnpike/%' AND wait_event_type = 'Lock'",
        )
        .await
            > 0
    }

    /// How many violations are marked as sent.
    pub async fn marked(&self) -> i64 {
        self.count("SELECT count(*) FROM violations WHERE \"SentToCollections\" IS NOT NULL").await
    }

    /// The batches' states, oldest first.
    pub async fn batch_states(&self) -> Vec<String> {
        let rows = self.query("SELECT state FROM collection_batches ORDER BY batch_id", &[]).await;
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// Stores a token as `turnpike token issue` does, with the documented permission; gives its id.
    pub async fn add_token(&self, token: &str, profile: &str) -> i64 {
        let hash = turnpike::auth::hash_token(token);
        let rows = self
            .query(
                "WITH token AS (
                     INSERT INTO api_tokens (token_sha256, vendor, field_profile) VALUES ($1, 'Test Collections', $2)
                     RETURNING token_id
                 )
                 INSERT INTO api_permissions (token_id, action, resource)
                 SELECT token_id, 'user-create', 'violation_collection' FROM token
                 RETURNING token_id",
                &[&hash.as_slice(), &profile],
            )
            .await;
        rows[0].get(0)
    }
}
