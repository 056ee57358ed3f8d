//! The operator's commands, through the built binary: `check`, `migrate`, `explain`, `sample`.

use std::fs;

use serde_json::json;
use tokio::net::TcpSocket;
use turnpike::migrate::latest_version;

use crate::support::database::OWNER_ROLE;
use crate::support::{TestGateway, turnpike};

#[tokio::test]
async fn a_clean_configuration_and_database_pass_the_check() {
    let (directory, _databases) = TestGateway::with_tenants(["A", "B"]).prepare().await;
    let config = directory.path().join("tenants.toml");

    let files = turnpike(&config, "check").await;
    let databases = turnpike(&config, "check --connect --json").await;

    assert!(files.output().contains("2 tenants: 0 findings"), "{files:?}");
    assert_eq!(databases.code, Some(0), "{databases:?}");
    assert_eq!(databases.json(), json!({ "ok": true, "tenants": 2, "findings": [] }));
}

#[tokio::test]
async fn a_check_tells_all_faults_at_once() {
    let (directory, _databases) = TestGateway::with_tenants(["A", "B"])
        .gateway_setting("drain_timeout = 5")
        .tenant_setting("A", "max_connections = 0\nlaese = \"60s\"")
        .tenant_setting("B", "delivery_timeout = \"45s\"")
        .prepare()
        .await;
    let config = directory.path().join("tenants.toml");

    let table = turnpike(&config, "check").await;
    let findings = turnpike(&config, "check --json").await;

    let expected =
        ["gateway.drain_timeout", "tenants.A.laese", "tenants.A.max_connections", "tenants.B.lease"];
    assert_eq!(table.code, Some(1));
    for key in expected {
        assert!(table.stdout.contains(key), "{key} is missing: {}", table.stdout);
    }
    assert_eq!(findings.code, Some(1));
    let findings = findings.json();
    assert_eq!(findings["ok"], json!(false));
    let keys: Vec<&str> =
        findings["findings"].as_array().unwrap().iter().map(|f| f["key"].as_str().unwrap()).collect();
    assert_eq!(keys, expected);
}

#[tokio::test]
async fn a_check_that_connects_tells_what_keeps_a_database_from_serving() {
    // Bound, but not listening: connections are refused, and nobody else gets the port.
    let closed = TcpSocket::new_v4().unwrap();
    closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let (directory, databases) = TestGateway::with_tenants(["BARE", "DOWN", "FINE", "GRANT", "OLD", "OWNER"])
        .bare("BARE")
        .database_port("DOWN", closed.local_addr().unwrap().port())
        .database_role("OWNER", OWNER_ROLE)
        .prepare()
        .await;
    databases["GRANT"].execute("REVOKE SELECT ON payments FROM turnpike").await;
    let latest = latest_version();
    databases["OLD"].execute(&format!("DELETE FROM refinery_schema_history WHERE version = {latest}")).await;
    let config = directory.path().join("tenants.toml");

    let checked = turnpike(&config, "check --connect --json").await;

    assert_eq!(checked.code, Some(1), "{checked:?}");
    let checked = checked.json();
    let found: Vec<(&str, &str, &str)> = checked["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| {
            (f["place"].as_str().unwrap(), f["severity"].as_str().unwrap(), f["reason"].as_str().unwrap())
        })
        .collect();
    let old =
        format!("the schema has version {}, this gateway needs {latest}: run turnpike migrate", latest - 1);
    let expected = [
        ("BARE", "fault", "the schema is missing: run turnpike migrate"),
        ("DOWN", "fault", "could not connect: "),
        ("GRANT", "fault", "turnpike lacks SELECT on payments: run turnpike migrate"),
        ("OLD", "fault", old.as_str()),
        ("OWNER", "warning", "turnpike_owner may change more of violations than \"SentToCollections\""),
        ("OWNER", "warning", "turnpike_owner may change what audit_log says"),
    ];
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for ((place, severity, reason), (expected_place, expected_severity, words)) in found.iter().zip(expected)
    {
        assert_eq!((*place, *severity), (expected_place, expected_severity), "{reason}");
        assert!(reason.starts_with(words), "{place}: {reason}");
    }
}

#[tokio::test]
async fn a_warning_alone_passes_the_check() {
    let (directory, _databases) =
        TestGateway::with_tenants(["A"]).database_role("A", OWNER_ROLE).prepare().await;

    let checked = turnpike(&directory.path().join("tenants.toml"), "check --connect").await;

    assert!(checked.output().contains("warning"), "{checked:?}");
}

#[tokio::test]
async fn two_migrations_at_once_and_a_third_later_leave_one_good_schema() {
    let (directory, databases) = TestGateway::with_tenants(["A"]).bare("A").prepare().await;
    let config = directory.path().join("tenants.toml");

    let (one, other) = tokio::join!(turnpike(&config, "migrate"), turnpike(&config, "migrate --tenant A"));
    let again = turnpike(&config, "migrate").await;

    let worked = [&one, &other].map(|run| run.output().contains("applied"));
    assert_ne!(worked[0], worked[1], "one of them does it: {one:?} {other:?}");
    assert!(again.output().contains("A: version 6, nothing to do, granted to turnpike"), "{again:?}");
    assert_eq!(databases["A"].count("SELECT count(*) FROM refinery_schema_history").await, 6);
    assert_eq!(turnpike(&config, "check --connect").await.code, Some(0));
}

#[tokio::test]
async fn a_migration_that_fails_does_not_keep_the_others_from_theirs() {
    let (directory, databases) = TestGateway::with_tenants(["A", "B"]).bare("A").bare("B").prepare().await;
    databases["A"].execute("CREATE TABLE violations (in_the_way integer)").await;

    let migrated = turnpike(&directory.path().join("tenants.toml"), "migrate").await;

    assert_eq!(migrated.code, Some(1), "{migrated:?}");
    assert!(migrated.stderr.starts_with("turnpike: A: "), "{migrated:?}");
    assert!(migrated.stdout.starts_with("B: version 6, applied"), "{migrated:?}");
}

async fn with_a_hold() -> (TestGateway, &'static str) {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 2).start().await;
    let hold = "INSERT INTO collection_holds (\"ViolationID\", reason) VALUES (2, 'in court')";
    gateway.database("A").execute(hold).await;
    (gateway, "T-2")
}

#[tokio::test]
async fn explain_tells_rule_by_rule_why() {
    let (gateway, held) = with_a_hold().await;
    let config = gateway.config_file();

    let eligible = turnpike(&config, "explain --tenant A --ticket T-1").await;
    let ineligible = turnpike(&config, &format!("explain --tenant A --ticket {held}")).await;

    assert!(eligible.output().contains("T-1 is eligible"), "{eligible:?}");
    assert!(!eligible.output().contains("NO"), "{eligible:?}");
    assert!(ineligible.output().contains("T-2 is not eligible"), "{ineligible:?}");
    assert!(ineligible.output().contains("in court"), "{ineligible:?}");
}

#[tokio::test]
async fn explain_as_json_agrees_with_the_next_claim() {
    let (gateway, held) = with_a_hold().await;
    let config = gateway.config_file();

    let explained = turnpike(&config, &format!("explain --tenant A --ticket {held} --json")).await.json();
    let claimed = gateway.vendor("A").claim().await.tickets();
    let sent = turnpike(&config, "explain --tenant A --ticket T-1 --json").await.json();

    let broken = |explained: &serde_json::Value| -> Vec<String> {
        let rules =
            explained["rules"].as_array().unwrap().iter().filter(|rule| rule["holds"] == json!(false));
        rules.map(|rule| rule["rule"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!((&explained["ticket"], &explained["eligible"]), (&json!(held), &json!(false)));
    assert_eq!(broken(&explained), ["no_hold"]);
    assert_eq!(explained["rules"].as_array().unwrap().len(), 10);
    assert_eq!(claimed, ["T-1"]);
    assert_eq!(broken(&sent), ["unsent"]);
}

#[tokio::test]
async fn explain_finds_no_unknown_ticket() {
    let gateway = TestGateway::with_tenants(["A"]).start().await;

    let explained = turnpike(&gateway.config_file(), "explain --tenant A --ticket T-404").await;

    assert_eq!((explained.code, explained.stdout.as_str()), (Some(1), ""));
    assert!(explained.stderr.contains("A has no violation with ticket T-404"), "{explained:?}");
}

#[tokio::test]
async fn a_sample_has_exactly_as_many_eligible_as_asked_for_and_adds() {
    let gateway = TestGateway::with_tenants(["A"]).start().await;
    let database = gateway.database("A");
    let config = gateway.config_file();

    let first = turnpike(&config, "sample --tenant A --violations 37 --history 21").await;
    let claimed = gateway.vendor("A").claim().await.tickets();
    let second = turnpike(&config, "sample --tenant A --violations 5 --seed 2").await;
    let added = gateway.vendor("A").claim().await.tickets();

    assert!(first.output().contains("added 37 eligible violations and 21 of history"), "{first:?}");
    assert_eq!(claimed.len(), 37);
    assert_eq!(second.code, Some(0), "{second:?}");
    assert_eq!(added.len(), 5);
    assert_eq!(database.count("SELECT count(*) FROM violations").await, 37 + 21 + 5);
}

#[tokio::test]
async fn a_command_for_a_tenant_that_is_not_there_or_at_fault_is_refused_with_the_reason() {
    let (directory, _databases) =
        TestGateway::with_tenants(["A"]).tenant_setting("A", "max_connections = 65").prepare().await;
    let config = directory.path().join("tenants.toml");

    let unknown = turnpike(&config, "token list --tenant NOBODY").await;
    let at_fault = turnpike(&config, "token list --tenant A").await;
    fs::remove_file(&config).unwrap();
    let no_file = turnpike(&config, "token list --tenant A").await;

    assert_eq!([unknown.code, at_fault.code, no_file.code], [Some(1); 3]);
    assert!(unknown.stderr.contains("there is no tenant NOBODY"), "{unknown:?}");
    assert!(at_fault.stderr.contains("tenants.A.max_connections: must be 1 to 64, is 65"), "{at_fault:?}");
    assert!(no_file.stderr.contains("tenants.toml"), "{no_file:?}");
}
