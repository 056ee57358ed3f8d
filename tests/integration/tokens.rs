//! Tokens from issue to revocation, and what the gateway remembers of them.

use std::path::Path;
use std::sync::Arc;

use futures_util::future::join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};
use turnpike::auth::{AuthError, Authenticator, Credential, hash_token};
use turnpike::config::{FailuresConfig, TenantId};
use turnpike::limits::{Limits, Tries};
use turnpike::tenant::Tenant;

use crate::support::{TOKEN, TestGateway, turnpike, wait_until};

/// Issues a token to Northern Collections at tenant A, and gives it.
async fn issue(config: &Path, options: &str) -> String {
    let issued =
        turnpike(config, &format!("token issue --tenant A --vendor Northern --quiet {options}")).await;
    let token = issued.output().strip_suffix('\n').unwrap().to_owned();
    assert!(token.len() == 50 && token.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{issued:?}");
    token
}

async fn list(config: &Path) -> Vec<Value> {
    turnpike(config, "token list --tenant A --json").await.json().as_array().unwrap().clone()
}

#[tokio::test]
async fn an_issued_token_claims() {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 2).start().await;

    let token = issue(&gateway.config_file(), "").await;
    let answer = gateway.vendor("A").with_token(&token).claim().await;

    assert_eq!(answer.records().len(), 2);
}

#[tokio::test]
async fn an_issued_token_is_as_it_was_asked_for() {
    let gateway = TestGateway::with_tenants(["A"]).start().await;
    let config = gateway.config_file();

    let issued = turnpike(
        &config,
        "token issue --tenant A --vendor Northern --json --fields minimal --expires-in 365d \
         --allow 192.0.2.77/24 --allow 2001:db8::1 --permission user-create:violation_collection --permission a:b",
    )
    .await
    .json();
    let listed = list(&config).await.pop().unwrap();

    assert_eq!(issued["token"].as_str().map(str::len), Some(50));
    assert_eq!((&issued["tenant"], &issued["fields"]), (&json!("A"), &json!("minimal")));
    assert_eq!(listed["token_id"], issued["token_id"]);
    assert_eq!(listed["vendor"], json!("Northern"));
    assert_eq!(listed["status"], json!("active"));
    assert_eq!(listed["fields"], json!("minimal"));
    assert_eq!(listed["permissions"], json!(["a:b", "user-create:violation_collection"]));
    assert_eq!(listed["allowed_addresses"], json!(["192.0.2.0/24", "2001:db8::1/128"]));
    assert_eq!(listed["expires_at"], issued["expires_at"]);
    let days = "SELECT extract(day FROM expires_at - created_at)::bigint FROM api_tokens WHERE expires_at IS NOT NULL";
    assert_eq!(gateway.database("A").count(days).await, 365);
}

#[tokio::test]
async fn a_token_gets_standard_fields_and_the_documented_permission_unless_told_otherwise() {
    let gateway = TestGateway::with_tenants(["A"]).start().await;
    let config = gateway.config_file();

    issue(&config, "").await;
    let listed = list(&config).await.pop().unwrap();

    assert_eq!(listed["fields"], json!("standard"));
    assert_eq!(listed["permissions"], json!(["user-create:violation_collection"]));
    assert_eq!((&listed["allowed_addresses"], &listed["expires_at"]), (&Value::Null, &Value::Null));
}

#[tokio::test]
async fn a_token_is_shown_once_and_stored_as_its_hash_alone() {
    let gateway = TestGateway::with_tenants(["A"]).start().await;
    let config = gateway.config_file();

    let token = issue(&config, "").await;
    let table = turnpike(&config, "token list --tenant A").await;
    let json = turnpike(&config, "token list --tenant A --json").await;
    let rows = gateway.database("A").query("SELECT api_tokens::text FROM api_tokens", &[]).await;

    let hash: String = hash_token(&token).iter().map(|byte| format!("{byte:02x}")).collect();
    let stored: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert!(table.output().contains("Northern") && json.output().contains("Northern"));
    for text in [&table.stdout, &table.stderr, &json.stdout, &json.stderr] {
        assert!(!text.contains(&token) && !text.contains(&hash) && !text.contains("sha256"), "{text}");
    }
    assert!(stored.iter().any(|row| row.contains(&hash)), "{stored:?}");
    assert!(!stored.iter().any(|row| row.contains(&token)), "{stored:?}");
}

#[tokio::test]
async fn a_token_that_is_revoked_between_two_calls_is_refused_at_once() {
    let gateway = TestGateway::with_tenants(["A"])
        .overdue("A", 1)
        .gateway_setting("auth_cache_ttl = \"1h\"")
        .start()
        .await;
    let config = gateway.config_file();
    let vendor = gateway.vendor("A").with_token(&issue(&config, "").await);
    let id = list(&config).await.pop().unwrap()["token_id"].clone();
    let first = vendor.claim().await;
    gateway.database("A").add_overdue(1).await;

    let revoked = turnpike(&config, &format!("token revoke --tenant A --token-id {id}")).await;
    let second = vendor.claim().await;
    let third = vendor.claim().await;

    assert_eq!(first.records().len(), 1);
    assert!(revoked.output().contains(&format!("revoked token {id} of Northern at A")), "{revoked:?}");
    for refused in [&second, &third] {
        assert_eq!((refused.status, refused.error_code()), (StatusCode::UNAUTHORIZED, 9002));
    }
    assert_eq!(gateway.database("A").marked().await, 1);
}

#[tokio::test]
async fn a_revocation_is_told_apart_from_a_repeated_one_and_from_an_unknown_token() {
    let gateway = TestGateway::with_tenants(["A"]).start().await;
    let config = gateway.config_file();

    let first = turnpike(&config, "token revoke --tenant A --token-id 1").await;
    let revoked_at = list(&config).await[0]["revoked_at"].clone();
    let second = turnpike(&config, "token revoke --tenant A --token-id 1").await;
    let unknown = turnpike(&config, "token revoke --tenant A --token-id 404").await;

    assert!(first.output().starts_with("revoked token 1"), "{first:?}");
    assert!(second.output().contains("was revoked already"), "{second:?}");
    assert_eq!(list(&config).await[0]["revoked_at"], revoked_at);
    assert_eq!((unknown.code, unknown.stdout.as_str()), (Some(1), ""));
    assert!(unknown.stderr.contains("A: there is no token 404"), "{unknown:?}");
}

#[tokio::test]
async fn what_the_command_line_does_not_understand_exits_2() {
    let gateway = TestGateway::with_tenants(["A"]).start().await;
    let config = gateway.config_file();

    for arguments in [
        "token",
        "token issue --tenant A",
        "token issue --vendor Northern",
        "token issue --tenant ../A --vendor Northern",
        "token issue --tenant A --vendor Northern --fields some",
        "token issue --tenant A --vendor Northern --expires-in 365",
        "token issue --tenant A --vendor Northern --allow somewhere",
        "token issue --tenant A --vendor Northern --permission user-create",
        "token issue --tenant A --vendor Northern --quiet --json",
        "token revoke --tenant A --token-id one",
        "token rewoke --tenant A --token-id 1",
    ] {
        let refused = turnpike(&config, arguments).await;

        assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""), "{arguments}: {refused:?}");
        assert!(refused.stderr.contains("--help"), "{arguments}: {refused:?}");
    }
    assert_eq!(list(&config).await.len(), 1, "the harness's own");
}

#[tokio::test]
async fn a_token_works_from_its_addresses_until_it_expires_with_its_permission() {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 1).start().await;
    let config = gateway.config_file();
    let other = issue(&config, "--permission user-create:something_else").await;
    let elsewhere = issue(&config, "--allow 192.0.2.0/24").await;
    let short = issue(&config, "--expires-in 1ms").await;
    let good = issue(&config, "--allow 127.0.0.0/8 --allow 192.0.2.0/24 --expires-in 1h").await;

    let mut answers = Vec::new();
    for token in [other, elsewhere, short] {
        let answer = gateway.vendor("A").with_token(&token).claim().await;
        answers.push((answer.status.as_u16(), answer.error_code()));
    }
    let marked = gateway.database("A").marked().await;
    let answer = gateway.vendor("A").with_token(&good).claim().await;

    assert_eq!(answers, [(403, 9002), (401, 9002), (401, 9002)]);
    assert_eq!(marked, 0);
    assert_eq!(answer.records().len(), 1);
}

#[tokio::test]
async fn a_permission_that_is_granted_later_counts_when_the_refusal_is_forgotten() {
    let gateway = TestGateway::with_tenants(["A"])
        .overdue("A", 1)
        .gateway_setting("auth_refusal_ttl = \"100ms\"")
        .start()
        .await;
    let database = gateway.database("A");
    database.execute("DELETE FROM api_permissions").await;
    let refused = gateway.vendor("A").claim().await;

    database.execute("INSERT INTO api_permissions VALUES (1, 'user-create', 'violation_collection')").await;

    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let vendor = gateway.vendor("A");
    wait_until("the token may claim", async || {
        let answer = vendor.claim().await;
        answer.status == StatusCode::OK && answer.records().len() == 1
    })
    .await;
}

#[tokio::test]
async fn a_refusal_is_remembered() {
    let gateway = TestGateway::with_tenants(["A"]).gateway_setting("auth_refusal_ttl = \"1h\"").start().await;
    let vendor = gateway.vendor("A").with_token("unknown so far");
    let first = vendor.claim().await;

    gateway.database("A").add_token("unknown so far", "full").await;
    let second = vendor.claim().await;

    assert_eq!([first.status, second.status], [StatusCode::UNAUTHORIZED; 2]);
}

fn tenant(gateway: &TestGateway) -> Arc<Tenant> {
    gateway.inner.directory.find(&TenantId::parse("A").unwrap()).unwrap()
}

fn from_here(token: &str) -> Credential {
    Credential::new(token, "127.0.0.1".parse().unwrap())
}

pub fn unlimited(limits: &Limits) -> Tries<'_> {
    let rates = FailuresConfig { failures_per_address: None, failures_per_tenant: None };
    limits.tries(rates, "127.0.0.1".parse().unwrap(), None)
}

#[tokio::test]
async fn concurrent_first_calls_with_one_token_make_one_look_up() {
    let gateway = TestGateway::with_tenants(["A"]).start().await;
    let (tenant, limits) = (tenant(&gateway), Limits::new());

    for token in ["unknown", TOKEN] {
        let authenticator = Authenticator::new(&gateway.inner.config());
        let credential = from_here(token);
        let calls = (0..30).map(|_| authenticator.authenticate(&tenant, &credential, unlimited(&limits)));
        let verdicts = join_all(calls).await;

        assert!(verdicts.iter().all(|verdict| verdict.is_ok() == (token == TOKEN)));
    }

    // Thirty look-ups at once would have opened as many connections as the pool may have.
    assert_eq!(gateway.database("A").gateway_sessions().await, 1);
}

#[tokio::test]
async fn a_flood_of_bad_tokens_pushes_out_no_good_verdict() {
    let gateway = TestGateway::with_tenants(["A"])
        .gateway_setting("auth_refusal_capacity = 10\nauth_cache_capacity = 10\nauth_cache_ttl = \"1h\"")
        .tenant_setting("A", "lock_timeout = \"100ms\"")
        .start()
        .await;
    let (tenant, authenticator) = (tenant(&gateway), Authenticator::new(&gateway.inner.config()));
    let limits = Limits::new();
    authenticator.authenticate(&tenant, &from_here(TOKEN), unlimited(&limits)).await.unwrap();

    for number in 0..200 {
        let bad = authenticator
            .authenticate(&tenant, &from_here(&format!("bad {number}")), unlimited(&limits))
            .await;
        assert!(matches!(bad, Err(AuthError::Credential)), "{bad:?}");
    }
    // From here on, whoever must ask the database gets no answer.
    let back_office = gateway.database("A").session().await;
    back_office.batch_execute("BEGIN; LOCK TABLE api_tokens").await.unwrap();
    let good = authenticator.authenticate(&tenant, &from_here(TOKEN), unlimited(&limits)).await;
    let unknown = authenticator.authenticate(&tenant, &from_here("yet another"), unlimited(&limits)).await;

    assert!(good.is_ok(), "{good:?}");
    assert!(matches!(unknown, Err(AuthError::Database(_))), "{unknown:?}");
}
