//! `turnpike batch`: the ledger as operators see it, through the built binary.

use serde_json::json;

use crate::support::{TestGateway, turnpike};

#[tokio::test]
async fn the_ledger_tells_who_received_which_ticket_and_which_person() {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 3).start().await;
    let (config, database) = (gateway.config_file(), gateway.database("A"));
    database
        .execute(
            "INSERT INTO users (\"UserID\") VALUES (7), (8), (9);
             INSERT INTO vehicles (\"VehicleID\", \"Plate\") VALUES (1, 'P');
             INSERT INTO vehicle_drivers (\"VehicleID\", \"UserID\") VALUES (1, 8);
             UPDATE violations SET userid = 7 WHERE \"Ticket\" = 'T-1';
             UPDATE violations SET \"VehicleID\" = 1 WHERE \"Ticket\" = 'T-2'",
        )
        .await;
    let batch = gateway.vendor("A").claim().await.header("batch-id").unwrap().to_owned();

    let ids = async |filter: &str| {
        let listed = turnpike(&config, &format!("batch list --tenant A --json {filter}")).await.json();
        let listed = listed.as_array().unwrap().clone();
        listed.iter().map(|batch| batch["batch_id"].to_string()).collect::<Vec<_>>()
    };

    assert_eq!(ids("").await, [batch.as_str()]);
    for found in ["--ticket T-3", "--person 7", "--person 8", "--state released"] {
        assert_eq!(ids(found).await, [batch.as_str()], "{found}");
    }
    for not_found in ["--ticket T-9", "--person 9", "--state void"] {
        assert_eq!(ids(not_found).await, [""; 0], "{not_found}");
    }
    let shown = turnpike(&config, &format!("batch show --tenant A --batch-id {batch} --json")).await.json();
    assert_eq!(shown[1], json!({ "position": 2, "ViolationID": 2, "Ticket": "T-2" }));
    assert_eq!(turnpike(&config, "batch show --tenant A --batch-id 99").await.code, Some(1));
}

#[tokio::test]
async fn a_requeued_batch_goes_to_the_next_call_and_is_not_replayed() {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 3).start().await;
    let (config, database) = (gateway.config_file(), gateway.database("A"));
    let batch = gateway.vendor("A").claim().await.header("batch-id").unwrap().to_owned();
    database.execute("UPDATE violations SET \"SentToCollections\" = now() WHERE \"Ticket\" = 'T-3'").await;
    let requeue =
        format!("batch requeue --tenant A --batch-id {batch} --reason wrong-company --actor auditor");

    let first = turnpike(&config, &requeue).await;
    let second = turnpike(&config, &requeue).await;
    let replay = gateway
        .vendor("A")
        .client
        .post(format!("https://{}/api/A/v1/violations/collection_batches/{batch}", gateway.address));
    let replay = replay
        .header("content-type", "application/json")
        .body(json!({ "apiToken": crate::support::TOKEN }).to_string());
    let replay = replay.send().await.unwrap();
    let next = gateway.vendor("A").claim().await;

    assert!(first.output().contains("2 violations may be handed out again"), "{first:?}");
    assert_eq!(second.code, Some(1));
    assert!(second.stderr.contains("requeued already"), "{second:?}");
    assert_eq!(replay.status(), 404);
    assert_eq!(next.tickets(), ["T-1", "T-2"], "a mark set by hand stays");
    let kept = "SELECT count(*) FROM collection_batches
                 WHERE state = 'released' AND requeued_by = 'auditor' AND requeue_reason = 'wrong-company'";
    assert_eq!(database.count(kept).await, 1);
}

#[tokio::test]
async fn only_an_open_batch_can_be_voided_and_only_a_released_one_requeued() {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 2).start().await;
    let (config, database) = (gateway.config_file(), gateway.database("A"));
    let released = gateway.vendor("A").claim().await.header("batch-id").unwrap().to_owned();
    database.add_overdue(1).await;
    database
        .execute(
            "WITH batch AS (
                 INSERT INTO collection_batches
                        (claim_id, token_id, state, violation_ids, claimed_at, lease_until, gateway)
                 VALUES (gen_random_uuid(), 1, 'open', '{3}', now(), now() + interval '1 hour', 'another')
             )
             UPDATE violations SET \"SentToCollections\" = now() WHERE \"ViolationID\" = 3",
        )
        .await;
    let open = database.count("SELECT max(batch_id) FROM collection_batches").await;

    let void = |batch: &str| format!("batch void --tenant A --batch-id {batch} --reason owner-is-gone");
    let refused = turnpike(&config, &void(&released)).await;
    let not_requeued = turnpike(
        &config,
        &format!("batch requeue --tenant A --batch-id {open} --reason hurry --actor auditor"),
    )
    .await;
    let voided = turnpike(&config, &void(&open.to_string())).await;

    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("can be requeued"), "{refused:?}");
    assert_eq!(not_requeued.code, Some(1));
    assert_eq!(voided.code, Some(0), "{voided:?}");
    assert_eq!(gateway.vendor("A").claim().await.tickets(), ["T-3"]);
}
