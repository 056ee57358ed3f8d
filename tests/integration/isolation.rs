//! Tenants with the same ids, tickets and token texts, side by side: none sees anything of another's.

use futures_util::future::join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{TestDatabase, TestGateway};

const VIOLATIONS: usize = 120;

/// Many violations like the documented one, with the same numbers in whichever tenant, and `canary` in every text.
async fn add_canaries(database: &TestDatabase, canary: &str) {
    database.load_documented_sample().await;
    database.fill_every_column(canary).await;
    database
        .execute(&format!(
            "INSERT INTO violations
                    (\"Ticket\", \"TicketType\", \"Due\", \"Fine\", \"VehicleID\", \"LocationID\", userid, \"Comment\")
             SELECT 'T-' || n, 2, '2020-01-01Z', 50, 8, 6, 73, '{canary}' FROM generate_series(2, {VIOLATIONS}) AS n"
        ))
        .await;
}

/// Finds every text that is another tenant's canary.
fn foreign_texts(value: &Value, canary: &str, found: &mut Vec<String>) {
    match value {
        Value::String(text) if text.starts_with("canary") && text != canary => found.push(text.clone()),
        Value::Array(values) => values.iter().for_each(|value| foreign_texts(value, canary, found)),
        Value::Object(entries) => entries.values().for_each(|value| foreign_texts(value, canary, found)),
        _ => {}
    }
}

#[tokio::test]
async fn each_tenants_answer_holds_its_own_rows_alone() {
    let gateway = TestGateway::with_tenants(["A", "B", "C"]).start().await;
    for tenant in ["A", "B", "C"] {
        add_canaries(gateway.database(tenant), &format!("canary-{tenant}")).await;
    }
    let vendors = ["A", "B", "C"].map(|tenant| (tenant, gateway.vendor(tenant)));

    let answers =
        join_all(vendors.iter().map(async |(tenant, vendor)| (*tenant, vendor.claim().await))).await;

    for (tenant, answer) in answers {
        let (canary, document) = (format!("canary-{tenant}"), answer.json());
        let mut foreign = Vec::new();
        foreign_texts(&document, &canary, &mut foreign);
        assert_eq!(foreign, Vec::<String>::new(), "{tenant}");
        assert_eq!(document["records"].as_array().unwrap().len(), VIOLATIONS);
        // Each record has its person, vehicle, location and comment: dozens of texts.
        assert!(answer.text.matches(&canary).count() > 20 * VIOLATIONS);
        assert_eq!(document["state"]["version"], format!("version of {tenant}"));
        assert_eq!(answer.header("batch-id"), Some("1"), "the same number in each tenant");
    }
}

#[tokio::test]
async fn a_claim_marks_nothing_in_another_tenant() {
    let gateway = TestGateway::with_tenants(["A", "B"]).overdue("A", 3).overdue("B", 3).start().await;

    let of_a = gateway.vendor("A").claim().await;
    let (marked_in_a, marked_in_b) =
        (gateway.database("A").marked().await, gateway.database("B").marked().await);
    let of_b = gateway.vendor("B").claim().await;

    assert_eq!((marked_in_a, marked_in_b), (3, 0));
    assert_eq!(of_a.tickets(), of_b.tickets());
    assert_eq!(gateway.database("B").batch_states().await, ["released"]);
}

#[tokio::test]
async fn a_token_is_good_for_its_own_tenant_alone() {
    let gateway = TestGateway::with_tenants(["A", "B"]).overdue("B", 1).start().await;
    gateway.database("A").add_token("known-in-a-alone", "full").await;

    // In this order, so that a verdict that was remembered for A would be found for B.
    let at_a = gateway.vendor("A").with_token("known-in-a-alone").claim().await;
    let at_b = gateway.vendor("B").with_token("known-in-a-alone").claim().await;
    let at_a_again = gateway.vendor("A").with_token("known-in-a-alone").claim().await;

    assert_eq!(at_a.status, StatusCode::OK);
    assert_eq!((at_b.status, at_b.error_code()), (StatusCode::UNAUTHORIZED, 9002));
    assert_eq!(at_a_again.status, StatusCode::OK);
    assert_eq!(gateway.database("B").marked().await, 0);
}

#[tokio::test]
async fn a_tenant_whose_database_is_down_disturbs_no_other() {
    let gateway = TestGateway::with_tenants(["A", "B"]).overdue("A", 1).overdue("B", 1).start().await;
    let (down, other) = (&gateway.database("A").name, gateway.database("B").session().await);
    other.batch_execute(&format!("ALTER DATABASE {down} ALLOW_CONNECTIONS false")).await.unwrap();
    other
        .query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", &[down])
        .await
        .unwrap();

    let at_a = join_all((0..20).map(|_| async { gateway.vendor("A").claim().await })).await;
    let at_b = gateway.vendor("B").claim().await;
    other.batch_execute(&format!("ALTER DATABASE {down} ALLOW_CONNECTIONS true")).await.unwrap();
    let at_a_later = gateway.vendor("A").claim().await;

    for answer in at_a {
        assert_eq!((answer.status, answer.error_code()), (StatusCode::SERVICE_UNAVAILABLE, 9104));
        assert_eq!(answer.json()["retryable"], json!(true));
    }
    assert_eq!(at_b.tickets(), ["T-1"]);
    assert_eq!(at_a_later.tickets(), ["T-1"]);
}
