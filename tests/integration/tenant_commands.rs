//! `turnpike tenant …` and `check --diff`: the built binary, a gateway that runs, and PostgreSQL.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use reqwest::StatusCode;
use tokio_postgres::NoTls;
use turnpike::cluster::Cluster;

use crate::support::database::cluster;
use crate::support::{Serving, TOKEN, TestGateway, turnpike, wait_until};

static COUNT: AtomicU32 = AtomicU32::new(1);

/// Names that no other test has: roles and databases are the whole cluster's.
struct Names {
    role: String,
    database: String,
}

impl Names {
    fn new() -> Self {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Self { role: format!("added_{number}"), database: format!("added_{number}_db") }
    }

    fn url(&self, cluster: &Cluster) -> String {
        format!("postgres://{}@127.0.0.1:{}/{}", self.role, cluster.port(), self.database)
    }
}

fn superuser_url(cluster: &Cluster) -> String {
    let config = cluster.superuser_config("postgres");
    let password = String::from_utf8(config.get_password().unwrap().to_vec()).unwrap();
    cluster.url(config.get_user().unwrap(), &password, "postgres")
}

async fn as_superuser(cluster: &Cluster, sql: &str) {
    let (client, connection) = cluster.superuser_config("postgres").connect(NoTls).await.unwrap();
    let driver = tokio::spawn(connection);
    client.batch_execute(sql).await.unwrap();
    driver.abort();
}

/// Every file below a directory, with its content: what a refused edit must leave as it is.
fn files(directory: &Path) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else if path.extension().is_none_or(|extension| extension != "err" && extension != "out") {
            files.push((path.clone(), fs::read_to_string(&path).unwrap()));
        }
    }
    files.sort();
    files
}

#[tokio::test]
async fn from_nothing_to_a_tenant_that_answers_in_one_command() {
    let cluster = cluster().await;
    let builder = TestGateway::with_tenants(["A"]).gateway_setting("reload_interval = \"20ms\"");
    let (directory, _databases) = builder.prepare().await;
    let config = directory.path().join("tenants.toml");
    let toml = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("include = [\"tenants.d/*.toml\"]\n{toml}")).unwrap();
    let serving = Serving::start(&config).await;
    let names = Names::new();

    let added = turnpike(
        &config,
        &format!(
            "tenant add NEW --name Newtown --database-url {} --create-database --admin-database-url {}",
            names.url(cluster),
            superuser_url(cluster)
        ),
    )
    .await;
    let issued = turnpike(&config, "token issue --tenant NEW --vendor Acme --quiet").await;
    let vendor = serving.vendor("NEW", issued.output().trim());
    wait_until("the new tenant answers", async || vendor.claim().await.status == StatusCode::OK).await;
    let again = turnpike(&config, &format!("tenant add NEW --database-url {}", names.url(cluster))).await;

    let role = &names.role;
    for step in [
        &format!("created the role {role}_owner"),
        &format!("created the role {role}\n"),
        &format!("created the database {}, owned by {role}_owner", names.database),
        "checked its database: 0 findings",
        "tenants.d/NEW.toml",
        "NEW is configured",
        "finds the change within 40ms",
    ] {
        assert!(added.output().contains(step), "{step}: {added:?}");
    }
    let section = fs::read_to_string(directory.path().join("tenants.d/NEW.toml")).unwrap();
    assert!(section.contains("name = \"Newtown\"") && section.contains("\"../secrets/NEW\""), "{section}");
    let secret = fs::read_to_string(directory.path().join("secrets/NEW")).unwrap();
    assert!(!section.contains(&secret) && !added.stdout.contains(&secret) && !added.stderr.contains(&secret));
    assert!(serving.vendor("A", TOKEN).claim().await.status == StatusCode::OK);
    assert_eq!(again.code, Some(1));
    assert!(again.stderr.contains("tenant NEW is there already"), "{again:?}");
}

#[tokio::test]
async fn an_administrator_who_is_no_superuser_suffices() {
    let cluster = cluster().await;
    let (directory, _databases) = TestGateway::with_tenants([]).prepare().await;
    let (config, names) = (directory.path().join("tenants.toml"), Names::new());
    let admin = format!("{}_admin", names.role);
    as_superuser(cluster, &format!("CREATE ROLE {admin} LOGIN CREATEDB CREATEROLE PASSWORD 'admin'")).await;

    let added = turnpike(
        &config,
        &format!(
            "tenant add NEW --database-url {} --create-database --admin-database-url {}",
            names.url(cluster),
            cluster.url(&admin, "admin", "postgres")
        ),
    )
    .await;
    let checked = turnpike(&config, "check --connect").await;

    assert!(added.output().contains("NEW is configured"), "{added:?}");
    assert!(checked.output().contains("0 findings"), "{checked:?}");
}

#[tokio::test]
async fn a_step_that_fails_tells_what_was_done_and_the_same_command_goes_on_from_there() {
    let cluster = cluster().await;
    let (directory, _databases) = TestGateway::with_tenants(["A"]).prepare().await;
    let (config, names) = (directory.path().join("tenants.toml"), Names::new());
    let before = files(directory.path());
    let add = format!(
        "tenant add NEW --database-url {} --create-database --admin-database-url {}",
        names.url(cluster),
        superuser_url(cluster)
    );
    // Somebody else's database has the name.
    as_superuser(cluster, &format!("CREATE DATABASE {}", names.database)).await;

    let refused = turnpike(&config, &add).await;
    let between = files(directory.path());
    as_superuser(cluster, &format!("DROP DATABASE {}", names.database)).await;
    let added = turnpike(&config, &add).await;

    assert_eq!(refused.code, Some(1));
    for words in
        ["belongs to", "NEW was not added to the configuration", &format!("created the role {}", names.role)]
    {
        assert!(refused.stderr.contains(words), "{words}: {refused:?}");
    }
    assert_eq!(between.len(), before.len() + 2, "two secrets were kept");
    assert!(before.iter().all(|file| between.contains(file)), "the rest is as it was");
    assert!(added.output().contains("NEW is configured"), "{added:?}");
    assert!(turnpike(&config, "check --connect").await.output().contains("0 findings"));
}

#[tokio::test]
async fn a_tenant_that_would_be_at_fault_is_refused_and_leaves_no_trace() {
    let (directory, databases) = TestGateway::with_tenants(["A"]).prepare().await;
    let config = directory.path().join("tenants.toml");
    let before = files(directory.path());
    let url = databases["A"].url("turnpike", None);

    for (arguments, reason) in [
        ("tenant add NEW --database-url mysql://u@h/d", "must be a URL that begins with postgres://"),
        (&format!("tenant add A --database-url {url}"), "tenant A is there already"),
        ("tenant add NEW", "database_url: is required"),
        (
            "tenant add NEW --database-url postgres://u@h/d --database-password-file nowhere",
            "database_password_file: cannot read",
        ),
        ("tenant add NEW --database-url postgres://u@127.0.0.1:1/d", "could not connect"),
        ("tenant pause B --reason r", "there is no tenant B"),
        ("tenant pause A --reason r --until 2020-01-01T00:00:00Z", "must be in the future"),
        ("tenant resume A", "isn't paused"),
        ("tenant remove A", "Say --yes to do it"),
    ] {
        let refused = turnpike(&config, arguments).await;

        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.stderr.contains(reason), "{arguments}: {refused:?}");
        assert_eq!(files(directory.path()), before, "{arguments}");
    }
}

#[tokio::test]
async fn a_pause_survives_a_restart_and_is_listed() {
    let builder = TestGateway::with_tenants(["A", "B"]).gateway_setting("reload_interval = \"20ms\"");
    let (directory, _databases) = builder.prepare().await;
    let config = directory.path().join("tenants.toml");
    let commented =
        fs::read_to_string(&config).unwrap().replace("[tenants.B]", "# the second\n[tenants.B] # here");
    fs::write(&config, &commented).unwrap();
    let serving = Serving::start(&config).await;
    let status = async |serving: &Serving| serving.vendor("A", TOKEN).claim().await.status;
    assert_eq!(status(&serving).await, StatusCode::OK);

    let paused = turnpike(&config, "tenant pause A --reason moving --until 2100-01-01T00:00:00Z").await;
    wait_until("it is paused", async || status(&serving).await == StatusCode::SERVICE_UNAVAILABLE).await;
    let other = serving.vendor("B", TOKEN).claim().await;
    drop(serving);
    let serving = Serving::start(&config).await;
    let after_restart = serving.vendor("A", TOKEN).claim().await;
    let listed = turnpike(&config, "tenant list --json").await.json();
    let table = turnpike(&config, "tenant list").await;
    let resumed = turnpike(&config, "tenant resume A").await;
    wait_until("it is resumed", async || status(&serving).await == StatusCode::OK).await;

    assert!(paused.output().contains("A is paused until 2100-01-01T00:00:00Z"), "{paused:?}");
    assert_eq!(other.status, StatusCode::OK);
    assert_eq!((after_restart.status, after_restart.error_code()), (StatusCode::SERVICE_UNAVAILABLE, 9104));
    assert_eq!(listed[0]["state"], "paused");
    assert_eq!(listed[0]["reasons"][0], "moving");
    assert_eq!(listed[1]["state"], "live");
    assert!(table.output().contains("moving"), "{table:?}");
    assert!(resumed.output().contains("A isn't paused any more"), "{resumed:?}");
    assert_eq!(fs::read_to_string(&config).unwrap(), commented, "resumed, the file is as it was");
}

#[tokio::test]
async fn a_removed_tenant_is_unknown_and_its_database_stays() {
    let builder = TestGateway::with_tenants(["A", "B"]).gateway_setting("reload_interval = \"20ms\"");
    let (directory, databases) = builder.overdue("A", 2).prepare().await;
    let config = directory.path().join("tenants.toml");
    let serving = Serving::start(&config).await;

    let removed = turnpike(&config, "tenant remove A --yes").await;
    wait_until("it is unknown", async || {
        serving.vendor("A", TOKEN).claim().await.status == StatusCode::UNAUTHORIZED
    })
    .await;

    assert!(removed.output().contains("are left as they are"), "{removed:?}");
    assert_eq!(databases["A"].count("SELECT count(*) FROM violations").await, 2);
    assert_eq!(serving.vendor("B", TOKEN).claim().await.status, StatusCode::OK);
    assert!(!fs::read_to_string(&config).unwrap().contains("tenants.A"));
}

#[tokio::test]
async fn a_gateway_that_can_be_asked_tells_what_a_reload_would_do_and_does_it_at_once() {
    let sockets = tempfile::tempdir().unwrap();
    let socket = sockets.path().join("admin.sock");
    // No change is found by itself: what happens was asked for.
    let builder = TestGateway::with_tenants(["A", "B"])
        .gateway_setting(&format!("reload_interval = \"0s\"\nadmin_listen = \"unix:{}\"", socket.display()));
    let (directory, _databases) = builder.prepare().await;
    let config = directory.path().join("tenants.toml");
    let serving = Serving::start(&config).await;
    let good = fs::read_to_string(&config).unwrap();

    let same = turnpike(&config, "check --diff --json").await;
    fs::write(&config, good.replace("[tenants.A]", "[tenants.A]\nmax_connections = 0") + "[tenants").unwrap();
    let unreadable = turnpike(&config, &format!("check --diff unix:{}", socket.display())).await;
    fs::write(&config, good.replace("version of A", "another").replace("[tenants.B]", "[tenants.C]"))
        .unwrap();
    let told = turnpike(&config, &format!("check --diff {}", socket.display())).await;
    let version = serving.vendor("A", TOKEN).claim().await.json()["state"]["version"].clone();
    let paused = turnpike(&config, "tenant pause A --reason moving --for 1h").await;
    let status = serving.vendor("A", TOKEN).claim().await.status;

    assert_eq!(same.json()["unchanged"], 2, "{same:?}");
    assert_eq!(same.code, Some(0));
    assert_eq!(unreadable.code, Some(1));
    assert!(unreadable.stdout.contains("would be refused, and change nothing"), "{unreadable:?}");
    let output = told.output();
    for line in [
        "added",
        "changed",
        "removed",
        "version",
        "1 added, 1 changed, 1 removed, 0 quarantined, 0 unchanged",
    ] {
        assert!(output.contains(line), "{line}: {output}");
    }
    assert_eq!(version, "version of A", "it was only asked");
    assert!(paused.output().contains(": reloaded: 1 added, 1 changed, 1 removed"), "{paused:?}");
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "it is in force when the command ends");
}

#[tokio::test]
async fn over_http_an_operators_token_is_asked_for() {
    let builder = TestGateway::with_tenants(["A"]).gateway_setting(
        "reload_interval = \"0s\"\nadmin_listen = \"127.0.0.1:0\"\noperator_keys = [\"operator.pem\"]",
    );
    let (directory, _databases) = builder.prepare().await;
    let config = directory.path().join("tenants.toml");
    let root = directory.path().display();
    turnpike(&config, &format!("operator keygen --out {root}")).await.output();
    let serving = Serving::start(&config).await;
    let admin = serving.admin.as_ref().unwrap();
    let token = format!("operator token --key {root}/operator.key --subject jdoe --scope config:reload");
    let token = turnpike(&config, &token).await;
    fs::write(directory.path().join("token"), token.output()).unwrap();

    let without = turnpike(&config, &format!("check --diff http://{admin}")).await;
    let with =
        turnpike(&config, &format!("check --diff http://{admin} --operator-token-file {root}/token")).await;
    let nobody = turnpike(&config, "check --diff http://127.0.0.1:1").await;

    assert_eq!(without.code, Some(1));
    assert!(without.stderr.contains("answered 401"), "{without:?}");
    assert!(with.output().contains("0 added, 0 changed, 0 removed, 0 quarantined, 1 unchanged"), "{with:?}");
    assert!(nobody.stderr.contains("could not reach http://127.0.0.1:1"), "{nobody:?}");
}
