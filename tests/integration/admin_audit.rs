//! What the log says of operators: every attempt to change something, with who and why, and never a token.

use reqwest::StatusCode;
use serde_json::{Value, json};
use turnpike::config::AdminAddress;

use crate::support::operator::{ED25519, RSA, STRANGER, payload, payload_with};
use crate::support::{Serving, TestGateway, TestOperator, wait_until};

/// Every part of a token that could be taken for the token, or made into one.
fn parts(token: &str) -> Vec<&str> {
    token.split('.').filter(|part| part.len() > 8).collect()
}

fn summary(line: &Value) -> Value {
    let keys =
        ["actor", "verb", "scope", "tenant", "object", "reason", "outcome", "http.response.status_code"];
    let fields = keys.map(|key| (key.to_owned(), line[key].clone()));
    Value::Object(fields.into_iter().filter(|(_, value)| !value.is_null()).collect())
}

#[tokio::test]
async fn every_write_is_a_line_and_no_token_is_in_any() {
    let (directory, databases) =
        TestGateway::with_tenants(["A", "B"]).overdue("A", 2).admin_keys("127.0.0.1:0").prepare().await;
    let serving = Serving::start_logging(&directory.path().join("tenants.toml"), Some("trace")).await;
    serving.vendor("A", crate::support::TOKEN).claim().await;
    let address = AdminAddress::Tcp(serving.admin.unwrap());
    let tokens = [
        ED25519.sign(&payload()),
        ED25519.sign(&payload_with(json!({"sub": "reader", "scope": "tenants:read"}))),
        ED25519.sign(&payload_with(json!({"sub": "of-b", "tenants": ["B"]}))),
        RSA.sign_as(&ED25519.id, &payload()),
        STRANGER.sign_as(&ED25519.id, &payload()),
        "canary-canary-canary".to_owned(),
    ];
    let path = "/admin/v1/tenants/A/batches/1/requeue";
    let body = json!({"reason": "the wrong company"});
    let mut statuses = Vec::new();
    for token in &tokens {
        let operator = TestOperator::at(&address).with_token(Some(token.clone()));
        statuses.push(operator.post(path, body.clone()).await.status.as_u16());
    }
    let read = TestOperator::at(&address).get("/admin/v1/tenants/A?activity=true").await;
    let probed = TestOperator::at(&address).with_token(None).get("/livez").await;

    assert_eq!(statuses, [200, 403, 404, 401, 401, 401]);
    assert_eq!((read.status, probed.status), (StatusCode::OK, StatusCode::OK));
    wait_until("every line is written", async || {
        serving.lines_of("turnpike::audit").len() == 6 && serving.lines_of("turnpike::operator").len() == 1
    })
    .await;
    let lines: Vec<Value> = serving.lines_of("turnpike::audit").iter().map(summary).collect();
    assert_eq!(
        lines[0],
        json!({
            "actor": "jdoe", "verb": "batch.requeue", "scope": "batches:write", "tenant": "A", "object": "batch 1",
            "reason": "the wrong company", "outcome": "done", "http.response.status_code": 200,
        })
    );
    let refused = |actor: Value, tenant: Value, status: u16| {
        let mut line = json!({
            "actor": actor, "verb": "batch.requeue", "scope": "batches:write", "tenant": tenant, "outcome": "refused",
            "http.response.status_code": status,
        });
        line.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        line
    };
    assert_eq!(lines[1], refused(json!("reader"), json!(null), 403));
    assert_eq!(lines[2], refused(json!("of-b"), json!(null), 404), "another's tenant is named nowhere");
    for line in &lines[3..] {
        assert_eq!(*line, refused(json!(null), json!(null), 401), "who it is isn't proved");
    }
    assert_eq!(databases["A"].marked().await, 0);
    let written = serving.written();
    for token in &tokens {
        for part in parts(token) {
            assert!(!written.contains(part), "{part} of {token}");
        }
    }
}
