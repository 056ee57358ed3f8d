//! Steering by the admin API: pause and resume, reload, keys that change, and why a violation isn't eligible.

use std::fs;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::gateway::GatewayBuilder;
use crate::support::operator::{ED25519, STRANGER, payload};
use crate::support::{TestGateway, TestOperator, wait_until};

async fn start(builder: GatewayBuilder) -> (TestGateway, TestOperator) {
    let gateway = builder.admin_socket().start().await;
    let operator = TestOperator::at(gateway.admin.as_ref().unwrap());
    (gateway, operator)
}

#[tokio::test]
async fn a_paused_tenant_answers_503_until_it_is_resumed_and_its_ledger_stays_open() {
    let (gateway, operator) = start(TestGateway::with_tenants(["A", "B"]).overdue("A", 2)).await;
    let pause = |body: Value| operator.post("/admin/v1/tenants/A/pause", body);

    let over = pause(json!({"reason": "moving", "until": "2020-01-01T00:00:00Z"})).await;
    let paused = pause(json!({"reason": "moving", "until": "2999-01-01T00:00:00Z"})).await.done();
    let refused = gateway.vendor("A").claim().await;
    let other = gateway.vendor("B").claim().await;
    let batches = operator.get("/admin/v1/tenants/A/batches").await;
    let resumed = operator.post("/admin/v1/tenants/A/resume", json!({"reason": "moved"})).await.done();
    let again = operator.post("/admin/v1/tenants/A/resume", json!({"reason": "moved"})).await;
    let claimed = gateway.vendor("A").claim().await;
    let audit = operator.get("/admin/v1/tenants/A/audit?object=tenant").await.done();

    assert_eq!(over.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(paused["state"], json!("paused"));
    assert_eq!(paused["paused"], json!({"reason": "moving", "until": "2999-01-01T00:00:00Z"}));
    assert_eq!((refused.status, other.status), (StatusCode::SERVICE_UNAVAILABLE, StatusCode::OK));
    assert!(refused.headers.contains_key("retry-after"));
    assert_eq!(batches.status, StatusCode::OK, "operators may look");
    assert_eq!((&resumed["state"], again.status), (&json!("live"), StatusCode::CONFLICT));
    assert_eq!(claimed.records().len(), 2);
    assert_eq!(
        audit["entries"].as_array().unwrap().iter().map(|entry| &entry["action"]).collect::<Vec<_>>(),
        [&json!("tenant.resume"), &json!("tenant.pause")]
    );
}

#[tokio::test]
async fn a_reload_is_answered_with_its_report_and_a_dry_run_changes_nothing() {
    let builder = TestGateway::with_tenants(["A", "B"]).gateway_setting("reload_interval = \"0s\"");
    let (gateway, operator) = start(builder).await;
    let good = fs::read_to_string(gateway.config_file()).unwrap();
    let reason = || json!({"reason": "new version"});
    fs::write(
        gateway.config_file(),
        good.replace("version of A", "next").replace("[tenants.B]", "[tenants.C]\nx = 1"),
    )
    .unwrap();

    let told = operator.post("/admin/v1/reload?dry_run=true", reason()).await.done();
    let before = operator.get("/admin/v1/tenants").await.done();
    let done = operator.post("/admin/v1/reload", reason()).await.done();
    let after = operator.get("/admin/v1/tenants").await.done();
    let quarantined = operator.get("/admin/v1/tenants/C/batches").await;
    fs::write(gateway.config_file(), "[gateway").unwrap();
    let refused = operator.post("/admin/v1/reload", reason()).await;

    let summary = |tenants: &Value| -> Vec<(String, String)> {
        let tenants = tenants["tenants"].as_array().unwrap().iter();
        tenants
            .map(|t| (t["tenant"].as_str().unwrap().to_owned(), t["state"].as_str().unwrap().to_owned()))
            .collect()
    };
    let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(id, state)| ((*id).to_owned(), (*state).to_owned())).collect()
    };
    assert_eq!((&told["trigger"], &told["removed"]), (&json!("dry_run"), &json!(["B"])));
    assert_eq!(summary(&before), pairs(&[("A", "live"), ("B", "live")]));
    assert_eq!((&done["outcome"], &done["changed"][0]["tenant"]), (&json!("applied"), &json!("A")));
    assert_eq!(summary(&after), pairs(&[("A", "live"), ("C", "quarantined")]));
    assert_eq!(after["tenants"][1]["faults"][0]["key"], json!("tenants.C.x"));
    assert_eq!(quarantined.status, StatusCode::CONFLICT);
    assert_eq!(
        (refused.status, &refused.body["outcome"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("refused"))
    );
    assert_eq!(summary(&operator.get("/admin/v1/tenants").await.done()), summary(&after));
}

#[tokio::test]
async fn operators_keys_change_with_the_configuration() {
    let keys = tempfile::tempdir().unwrap();
    let (first, second) = (keys.path().join("first.pem"), keys.path().join("second.pem"));
    fs::write(&first, &ED25519.public_pem).unwrap();
    fs::write(&second, &STRANGER.public_pem).unwrap();
    let gateway = TestGateway::with_tenants(["A"])
        .gateway_setting("reload_interval = \"0s\"\nadmin_listen = \"127.0.0.1:0\"")
        .gateway_setting(&format!("operator_keys = [{first:?}]"))
        .start()
        .await;
    let operator = |key: &crate::support::operator::SigningKey| {
        TestOperator::at(gateway.admin.as_ref().unwrap()).with_token(Some(key.sign(&payload())))
    };
    let edit = |from: &str, to: &str| {
        let text = fs::read_to_string(gateway.config_file()).unwrap().replace(from, to);
        fs::write(gateway.config_file(), text).unwrap();
    };

    edit("first.pem", "second.pem");
    let reloaded = operator(&ED25519).post("/admin/v1/reload", json!({"reason": "new key"})).await.done();
    wait_until("the new key counts", async || {
        operator(&STRANGER).get("/admin/v1/tenants").await.status == StatusCode::OK
    })
    .await;
    let old = operator(&ED25519).get("/admin/v1/tenants").await;
    fs::write(&second, "no key").unwrap();
    operator(&STRANGER).post("/admin/v1/reload", json!({"reason": "a mistake"})).await.done();
    let kept = operator(&STRANGER).get("/admin/v1/tenants").await;

    assert_eq!(reloaded["gateway_changed"], json!(["operator_*"]));
    assert_eq!(old.status, StatusCode::UNAUTHORIZED, "a key that is taken out takes its tokens along");
    assert_eq!(kept.status, StatusCode::OK, "keys that can't be used leave those before");
}

#[tokio::test]
async fn a_violation_is_explained_rule_by_rule() {
    let (gateway, operator) = start(TestGateway::with_tenants(["A"]).overdue("A", 1)).await;
    let claimed = gateway.vendor("A").claim().await;
    let ticket = claimed.records()[0]["Ticket"].as_str().unwrap().to_owned();

    let explained = operator.get(&format!("/admin/v1/tenants/A/explain?ticket={ticket}")).await.done();
    let unknown = operator.get("/admin/v1/tenants/A/explain?ticket=nothing").await;
    let nothing = operator.get("/admin/v1/tenants/A/explain").await;

    assert_eq!((&explained["ticket"], &explained["eligible"]), (&json!(ticket), &json!(false)));
    let unsent = explained["rules"].as_array().unwrap().iter().find(|rule| rule["rule"] == "unsent").unwrap();
    assert_eq!(unsent["holds"], json!(false));
    assert_eq!((unknown.status, nothing.status), (StatusCode::NOT_FOUND, StatusCode::BAD_REQUEST));
}
