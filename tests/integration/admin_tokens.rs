//! Vendors' tokens by the admin API: what it issues works, what it revokes works no more, and both are in the tenant's audit log.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{TOKEN, TestGateway, TestOperator};

async fn start() -> (TestGateway, TestOperator) {
    let gateway = TestGateway::with_tenants(["A", "B"])
        .overdue("A", 2)
        .admin_socket()
        .gateway_setting("auth_cache_ttl = \"1h\"")
        .start()
        .await;
    let operator = TestOperator::at(gateway.admin.as_ref().unwrap());
    (gateway, operator)
}

const TOKENS: &str = "/admin/v1/tenants/A/tokens";

#[tokio::test]
async fn an_issued_token_claims_and_is_shown_once() {
    let (gateway, operator) = start().await;
    let order = json!({"vendor": "Acme", "reason": "new contract", "fields": "full", "expires_in_seconds": 3600.0,
                       "allow": ["127.0.0.0/8", "::1"]});

    let issued = operator.post(TOKENS, order).await;
    let token = issued.body["token"].as_str().unwrap().to_owned();
    let claimed = gateway.vendor("A").with_token(&token).claim().await;
    let elsewhere = gateway.vendor("B").with_token(&token).claim().await;
    let listed = operator.get(TOKENS).await.done();

    assert_eq!((issued.status, token.len()), (StatusCode::CREATED, 50));
    assert_eq!(claimed.records().len(), 2);
    assert_eq!(elsewhere.status, StatusCode::UNAUTHORIZED);
    assert!(!listed.to_string().contains(&token));
    let newest = listed["tokens"].as_array().unwrap().last().unwrap();
    assert_eq!((&newest["vendor"], &newest["fields"]), (&json!("Acme"), &json!("full")));
    assert_eq!(newest["allowed_addresses"], json!(["127.0.0.0/8", "::1/128"]));
    assert_eq!(newest["permissions"], json!(["user-create:violation_collection"]));
    assert!(newest["expires_at"].is_string() && newest["last_claim"].is_string(), "{newest}");
}

#[tokio::test]
async fn a_revocation_holds_at_once_and_is_forgotten_by_the_cache() {
    let (gateway, operator) = start().await;
    let vendor = gateway.vendor("A");
    let before = vendor.claim_with(json!({"preview": true})).await;
    let path = format!("{TOKENS}/1/revoke");

    let without_reason = operator.post(&path, json!({})).await;
    let revoked = operator.post(&path, json!({"reason": "leaked"})).await.done();
    let after = vendor.claim_with(json!({"preview": true})).await;
    let again = operator.post(&path, json!({"reason": "leaked"})).await.done();
    let unknown = operator.post(&format!("{TOKENS}/99/revoke"), json!({"reason": "leaked"})).await;
    let elsewhere = gateway.vendor("B").claim().await;

    assert_eq!(before.status, StatusCode::OK);
    assert_eq!(without_reason.status, StatusCode::BAD_REQUEST);
    assert_eq!(
        (&revoked["token_id"], &revoked["now"], &again["now"]),
        (&json!(1), &json!(true), &json!(false))
    );
    assert_eq!(after.status, StatusCode::UNAUTHORIZED);
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    assert_eq!(elsewhere.status, StatusCode::OK, "another tenant's token of the same number and text");
}

#[tokio::test]
async fn a_rotation_overlaps_and_happens_once() {
    let (gateway, operator) = start().await;
    let path = format!("{TOKENS}/1/rotate");

    let rotated = operator.post(&path, json!({"reason": "yearly", "overlap_seconds": 3600})).await;
    let again = operator.post(&path, json!({"reason": "yearly"})).await;
    let new = gateway.vendor("A").with_token(rotated.body["token"].as_str().unwrap());
    let old = gateway.vendor("A").claim_with(json!({"preview": true})).await;
    let claimed = new.claim().await;
    let listed = operator.get(TOKENS).await.done();

    assert_eq!(rotated.status, StatusCode::CREATED);
    assert!(rotated.body["old_expires_at"].is_string(), "{rotated:?}");
    assert_eq!(again.status, StatusCode::CONFLICT);
    assert_eq!((old.status, claimed.records().len()), (StatusCode::OK, 2));
    assert_eq!(listed["tokens"][0]["rotated_to"], rotated.body["token_id"]);
}

#[tokio::test]
async fn an_order_that_cannot_be_met_is_told_why() {
    let (gateway, operator) = start().await;
    let with = |name: &str, value: Value| {
        let mut order = json!({"vendor": "Acme", "reason": "new contract"});
        order[name] = value;
        order
    };
    for (order, status) in [
        (with("vendor", json!(" ")), 422),
        (with("vendor", json!("x".repeat(201))), 422),
        (with("expires_in_seconds", json!(0)), 422),
        (with("expires_in_seconds", json!(315_360_001)), 422),
        (with("expires_in_seconds", json!(1.5)), 400),
        (with("allow", json!(["everywhere"])), 422),
        (with("permissions", json!(["everything"])), 422),
        (with("fields", json!("all")), 400),
        (with("token", json!("mine")), 400),
    ] {
        let reply = operator.post(TOKENS, order.clone()).await;

        assert_eq!(reply.status.as_u16(), status, "{order}: {reply:?}");
    }
    let issued = gateway.database("A").count("SELECT count(*) FROM api_tokens").await;
    assert_eq!(issued, 1, "none but the vendor's own");
}

#[tokio::test]
async fn what_is_done_to_tokens_is_in_the_tenants_audit_log() {
    let (gateway, operator) = start().await;
    operator.post(TOKENS, json!({"vendor": "Acme", "reason": "new contract"})).await;
    operator.post(&format!("{TOKENS}/1/revoke"), json!({"reason": "leaked"})).await.done();

    let all = operator.get("/admin/v1/tenants/A/audit").await.done();
    let one =
        operator.get("/admin/v1/tenants/A/audit?object=token%201&action=token.revoke&limit=1").await.done();

    let actions: Vec<&Value> =
        all["entries"].as_array().unwrap().iter().map(|entry| &entry["action"]).collect();
    assert_eq!(actions, [&json!("token.revoke"), &json!("token.issue")]);
    let entry = &one["entries"][0];
    assert_eq!((&entry["reason"], &entry["object"]), (&json!("leaked"), &json!("token 1")));
    assert_eq!(entry["actor"], json!(format!("unix:{}", nix::unistd::geteuid())));
    assert!(entry["request_id"].is_string());
    assert!(!all.to_string().contains(TOKEN));
    drop(gateway);
}
