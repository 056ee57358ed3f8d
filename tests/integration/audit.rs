//! The record of what operators did: an entry with every change, none without, and nobody who can change one.

use futures_util::future::join_all;
use nix::unistd::{Uid, User};
use serde_json::{Value, json};

use crate::support::database::GATEWAY_ROLE;
use crate::support::program::turnpike_reading;
use crate::support::{TOKEN, TestGateway, turnpike};

/// An open batch of ticket T-2, whose gateway is another.
const OPEN_BATCH: &str = "
    WITH batch AS (
        INSERT INTO collection_batches (claim_id, token_id, vendor, state, violation_ids, claimed_at, lease_until, gateway)
        VALUES (gen_random_uuid(), 1, 'Test Collections', 'open', '{2}', now(), now() + interval '1 hour', 'another')
    )
    UPDATE violations SET \"SentToCollections\" = now() WHERE \"ViolationID\" = 2";

async fn audit(gateway: &TestGateway, options: &str) -> Vec<Value> {
    let listed = turnpike(&gateway.config_file(), &format!("audit list --tenant A --json {options}")).await;
    assert_eq!(listed.code, Some(0), "{listed:?}");
    listed.json().as_array().unwrap().clone()
}

/// Does everything that has an entry, as `auditor` for the reason `because`; gives the tokens' text.
async fn do_everything(gateway: &TestGateway) -> Vec<String> {
    let config = gateway.config_file();
    let run = async |command: &str| {
        let command = format!("{command} --tenant A --actor auditor --reason because");
        turnpike(&config, &command).await.output().to_owned()
    };
    gateway.database("A").add_overdue(1).await;
    gateway.vendor("A").claim().await.records();
    gateway.database("A").add_overdue(1).await;
    gateway.database("A").execute(OPEN_BATCH).await;

    let issued = run("token issue --vendor Northern --quiet --allow 192.0.2.0/24").await;
    let rotated = run("token rotate --token-id 2 --quiet").await;
    run("token update --token-id 3 --allow-anywhere").await;
    run("token revoke --token-id 3").await;
    let csv = "token,vendor\ncanary-0001-4a4b-9a55-6a0f3b0a0001,Acme\n";
    let import = "token import --tenant A --actor auditor --reason because";
    turnpike_reading(&config, import, csv).await.output();
    run("batch requeue --batch-id 1").await;
    run("batch void --batch-id 2").await;
    vec![issued.trim().to_owned(), rotated.trim().to_owned(), "canary-0001".to_owned(), TOKEN.to_owned()]
}

#[tokio::test]
async fn everything_that_an_operator_changes_has_an_entry_and_a_claim_has_none() {
    let gateway = TestGateway::with_tenants(["A"]).start().await;

    let tokens = do_everything(&gateway).await;
    let mut entries = audit(&gateway, "").await;
    entries.reverse();

    let said: Vec<(&str, &str)> =
        entries.iter().map(|e| (e["action"].as_str().unwrap(), e["object"].as_str().unwrap())).collect();
    assert_eq!(
        said,
        [
            ("token.issue", "token 2"),
            ("token.rotate", "token 2"),
            ("token.update", "token 3"),
            ("token.revoke", "token 3"),
            ("token.import", "token 4"),
            ("batch.requeue", "batch 1"),
            ("batch.void", "batch 2"),
        ]
    );
    for entry in &entries {
        assert_eq!((&entry["actor"], &entry["reason"]), (&json!("auditor"), &json!("because")), "{entry}");
        assert_eq!((&entry["role"], &entry["request_id"]), (&json!(GATEWAY_ROLE), &Value::Null), "{entry}");
        let age = entry["at"].as_str().unwrap().parse::<jiff::Timestamp>();
        assert!(age.is_ok(), "{entry}");
    }
    let detail = |at: usize, key: &str| entries[at]["detail"][key].clone();
    assert_eq!(detail(0, "allowed_addresses"), json!(["192.0.2.0/24"]));
    assert_eq!(detail(0, "permissions"), json!(["user-create:violation_collection"]));
    assert_eq!(detail(1, "to_token"), json!(3));
    assert_eq!(detail(2, "before")["allowed_addresses"], json!(["192.0.2.0/24"]));
    assert_eq!(detail(2, "after")["allowed_addresses"], Value::Null);
    assert_eq!((detail(5, "freed"), detail(6, "freed")), (json!(1), json!(1)));
    let stored: Vec<String> = gateway
        .database("A")
        .query("SELECT audit_log::text || encode(token_sha256, 'hex') FROM audit_log, api_tokens", &[])
        .await
        .iter()
        .map(|row| row.get(0))
        .collect();
    let hashes = "SELECT count(*) FROM audit_log a, api_tokens t
                   WHERE a::text LIKE '%' || encode(t.token_sha256, 'hex') || '%'";
    assert_eq!(gateway.database("A").count(hashes).await, 0);
    assert!(tokens.iter().all(|token| !token.is_empty() && !stored.iter().any(|row| row.contains(token))));
}

#[tokio::test]
async fn the_list_is_of_what_was_asked_for() {
    let gateway = TestGateway::with_tenants(["A"]).start().await;
    do_everything(&gateway).await;
    let database = gateway.database("A");
    database.execute("UPDATE audit_log SET at = at - interval '3 days' WHERE action = 'token.issue'").await;

    let count = async |options: &str| audit(&gateway, options).await.len();

    assert_eq!(count("").await, 7);
    assert_eq!(count("--since 1d").await, 6);
    assert_eq!(count("--since 4d").await, 7);
    assert_eq!(count("--since 2999-01-01T00:00:00Z").await, 0);
    assert_eq!(count("--since 2020-01-01T00:00:00Z --limit 2").await, 2);
    assert_eq!(count("--action token.rotate").await, 1);
    let table = turnpike(&gateway.config_file(), "audit list --tenant A --action batch.void").await;
    assert!(table.output().contains("auditor") && table.output().contains("because"), "{table:?}");
    assert_eq!(turnpike(&gateway.config_file(), "audit list --tenant A --since soon").await.code, Some(2));
}

#[tokio::test]
async fn what_was_refused_or_changed_nothing_has_no_entry() {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 1).start().await;
    let config = gateway.config_file();
    gateway.vendor("A").claim().await.records();

    for (command, code) in [
        ("token rotate --token-id 404", 1),
        ("token revoke --token-id 404", 1),
        ("token update --token-id 1", 1),
        ("token issue --vendor Northern --allow somewhere", 2),
        ("token issue --vendor Northern --expires-in 9999999y", 1),
        ("token revoke --token-id 1 --reason  --actor x", 2),
        ("batch void --batch-id 1 --reason x", 1),
        ("batch requeue --batch-id 2 --reason x", 1),
    ] {
        let refused = turnpike(&config, &format!("{command} --tenant A")).await;
        assert_eq!(refused.code, Some(code), "{command}: {refused:?}");
    }
    let nobody = turnpike_reading(&config, "token revoke --tenant A --token-id 1 --actor=", "").await;

    assert_eq!(nobody.code, Some(1), "{nobody:?}");
    assert!(nobody.stderr.contains("--actor must name somebody"), "{nobody:?}");
    assert_eq!(audit(&gateway, "").await, Vec::<Value>::new());
}

#[tokio::test]
async fn who_does_not_say_who_he_is_is_the_systems_user() {
    let gateway = TestGateway::with_tenants(["A"]).start().await;
    let user = User::from_uid(Uid::current()).unwrap().map(|user| user.name);

    turnpike(&gateway.config_file(), "token revoke --tenant A --token-id 1").await.output();

    let entry = audit(&gateway, "").await.pop().unwrap();
    assert_eq!(entry["actor"].as_str(), user.as_deref());
    assert_eq!(entry["reason"], Value::Null);
    let tokens = turnpike(&gateway.config_file(), "token list --tenant A --json").await.json();
    assert_eq!(tokens[0]["revoked_by"].as_str(), user.as_deref());
}

#[tokio::test]
async fn of_operators_who_do_the_same_at_once_one_has_the_entry() {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 1).start().await;
    let config = gateway.config_file();
    gateway.vendor("A").claim().await.records();

    let revoke =
        (0..3).map(|n| turnpike_owned(&config, format!("token revoke --token-id 1 --actor operator-{n}")));
    let requeue = (0..3).map(|n| {
        turnpike_owned(&config, format!("batch requeue --batch-id 1 --reason r --actor operator-{n}"))
    });
    let (revoked, requeued) = tokio::join!(join_all(revoke), join_all(requeue));

    assert!(revoked.iter().all(|code| *code == Some(0)), "a repeated revocation is no error: {revoked:?}");
    assert_eq!(requeued.iter().filter(|code| **code == Some(0)).count(), 1, "{requeued:?}");
    let mut actions: Vec<String> =
        audit(&gateway, "").await.iter().map(|entry| entry["action"].to_string()).collect();
    actions.sort_unstable();
    assert_eq!(actions, ["\"batch.requeue\"", "\"token.revoke\""]);
    let agree = "SELECT count(*) FROM audit_log a, api_tokens t WHERE a.object = 'token 1' AND a.actor = t.revoked_by";
    assert_eq!(gateway.database("A").count(agree).await, 1);
}

async fn turnpike_owned(config: &std::path::Path, command: String) -> Option<i32> {
    turnpike(config, &format!("{command} --tenant A")).await.code
}

#[tokio::test]
async fn the_gateways_role_adds_entries_and_changes_none() {
    let gateway = TestGateway::with_tenants(["A"]).start().await;
    do_everything(&gateway).await;
    let before = audit(&gateway, "").await;
    let session = gateway.database("A").session().await;
    session.batch_execute(&format!("SET ROLE {GATEWAY_ROLE}")).await.unwrap();

    for forbidden in [
        "UPDATE audit_log SET actor = 'somebody else'",
        "DELETE FROM audit_log",
        "TRUNCATE audit_log",
        "DROP TABLE audit_log",
        "INSERT INTO audit_log (actor, action, object, at) VALUES ('a', 'b', 'c', '2020-01-01')",
        "INSERT INTO audit_log (actor, action, object, role) VALUES ('a', 'b', 'c', 'postgres')",
    ] {
        let error = session.batch_execute(forbidden).await.expect_err(forbidden);
        assert_eq!(error.code().map(|code| code.code().to_owned()).as_deref(), Some("42501"), "{forbidden}");
    }
    assert_eq!(audit(&gateway, "").await, before);
    session
        .batch_execute("INSERT INTO audit_log (actor, action, object) VALUES ('a', 'b', 'c')")
        .await
        .unwrap();
    assert_eq!(audit(&gateway, "").await.len(), before.len() + 1);
}

#[tokio::test]
async fn a_check_tells_of_a_role_that_could_rewrite_the_record() {
    let (directory, databases) = TestGateway::with_tenants(["A"]).prepare().await;
    let config = directory.path().join("tenants.toml");
    databases["A"].execute(&format!("GRANT DELETE ON audit_log TO {GATEWAY_ROLE}")).await;

    let warned = turnpike(&config, "check --connect").await;
    turnpike(&config, "migrate").await.output();
    let narrowed = turnpike(&config, "check --connect").await;
    databases["A"].execute(&format!("REVOKE INSERT (actor) ON audit_log FROM {GATEWAY_ROLE}")).await;
    let lacking = turnpike(&config, "check --connect").await;

    assert!(warned.output().contains("may change what audit_log says"), "{warned:?}");
    assert!(narrowed.output().contains("0 findings"), "{narrowed:?}");
    assert_eq!(lacking.code, Some(1));
    assert!(lacking.stdout.contains("lacks INSERT of \"actor\" on audit_log"), "{lacking:?}");
}
