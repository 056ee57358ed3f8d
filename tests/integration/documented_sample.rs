//! The documentation's sample: its record, loaded into a tenant, gives its answer.

use serde_json::Value;

use crate::support::{Answer, TestGateway};

/// The contract's sample answer, as it was published.
const GOLDEN: &str = include_str!("../golden/documented_sample.json");

async fn sample_gateway() -> TestGateway {
    let gateway =
        TestGateway::with_tenants(["OC_TOMA"]).version("OC_TOMA", "2022.5.hawksbill.0-rc").start().await;
    gateway.database("OC_TOMA").load_documented_sample().await;
    gateway
}

fn csrf_token(answer: &Answer) -> String {
    answer.json()["state"]["csrf_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_documented_record_gives_the_documented_answer() {
    let gateway = sample_gateway().await;

    let answer = gateway.vendor("OC_TOMA").claim().await;

    let (mut golden, mut given): (Value, Value) = (serde_json::from_str(GOLDEN).unwrap(), answer.json());
    for document in [&mut golden, &mut given] {
        document["state"]["csrf_token"] = "normalised".into();
    }
    // As text: two maps with the same entries are equal in whatever order, and so would be 50 and 50.0.
    assert_eq!(serde_json::to_string_pretty(&given).unwrap(), serde_json::to_string_pretty(&golden).unwrap());
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("batch-id"), Some("1"));
    assert_eq!(answer.header("batch-count"), Some("1"));
}

#[tokio::test]
async fn the_second_call_has_no_records() {
    let gateway = sample_gateway().await;

    gateway.vendor("OC_TOMA").claim().await;
    let second = gateway.vendor("OC_TOMA").claim().await;

    let token = csrf_token(&second);
    assert_eq!(
        second.text,
        format!(r#"{{"records":[],"state":{{"version":"2022.5.hawksbill.0-rc","csrf_token":"{token}"}}}}"#)
    );
    assert_eq!(second.header("content-type"), Some("application/json"));
    assert_eq!(second.header("batch-count"), None);
}

#[tokio::test]
async fn every_answer_has_a_csrf_token_of_its_own() {
    let gateway = sample_gateway().await;

    let mut tokens = Vec::new();
    for _ in 0..4 {
        tokens.push(csrf_token(&gateway.vendor("OC_TOMA").claim().await));
    }

    for token in &tokens {
        assert_eq!(token.len(), 40, "{token}");
        assert!(token.chars().all(|character| character.is_ascii_alphanumeric()), "{token}");
    }
    tokens.sort_unstable();
    tokens.dedup();
    assert_eq!(tokens.len(), 4);
}
