//! Claiming: everything that is due, once.

use reqwest::StatusCode;

use crate::support::TestGateway;

#[tokio::test]
async fn a_second_claim_returns_nothing() {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 3).start().await;

    let first = gateway.vendor("A").claim().await;
    let second = gateway.vendor("A").claim().await;

    assert_eq!(first.tickets(), ["T-1", "T-2", "T-3"]);
    assert_eq!(first.header("batch-count"), Some("3"));
    assert_eq!(second.status, StatusCode::OK);
    assert_eq!(second.records().len(), 0);
    assert_eq!(second.header("batch-id"), None);
    assert_eq!(gateway.database("A").batch_states().await, ["released"]);
    assert_eq!(gateway.database("A").marked().await, 3);
}

#[tokio::test]
async fn a_large_batch_arrives_whole_and_in_order() {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 2_345).start().await;

    let answer = gateway.vendor("A").claim().await;

    let expected: Vec<String> = (1..=2_345).map(|number| format!("T-{number}")).collect();
    assert_eq!(answer.tickets(), expected);
}

#[tokio::test]
async fn a_tenant_behind_a_pooler_is_served_without_prepared_statements() {
    let gateway = TestGateway::with_tenants(["A"])
        .tenant_setting("A", "prepared_statements = false")
        .overdue("A", 700)
        .start()
        .await;

    let first = gateway.vendor("A").claim().await;
    let second = gateway.vendor("A").claim().await;

    assert_eq!(first.records().len(), 700);
    assert_eq!(second.records().len(), 0);
    assert_eq!(gateway.database("A").batch_states().await, ["released"]);
}

#[tokio::test]
async fn a_row_that_the_institution_keeps_from_being_marked_is_not_handed_out() {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 3).start().await;
    gateway
        .database("A")
        .execute(
            "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
             CREATE TRIGGER keep BEFORE UPDATE ON violations FOR EACH ROW WHEN (OLD.\"Ticket\" = 'T-2')
             EXECUTE FUNCTION keep()",
        )
        .await;

    let answer = gateway.vendor("A").claim().await;

    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(gateway.database("A").marked().await, 0);
    assert_eq!(gateway.database("A").batch_states().await, [""; 0]);
}
