//! `turnpike batch`: the ledger as operators see it, through the built binary.

use serde_json::json;

use crate::support::{SlowVendor, TestGateway, turnpike, wait_until};

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

/// Numbers of the batches that named a person, as `turnpike batch list --person` has them.
async fn disclosures(gateway: &TestGateway, person: i32) -> Vec<i64> {
    let command = format!("batch list --tenant A --json --person {person}");
    let listed = turnpike(&gateway.config_file(), &command).await.json();
    listed.as_array().unwrap().iter().map(|batch| batch["batch_id"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn a_disclosure_is_what_was_sent_and_not_what_the_links_say_today() {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 2).start().await;
    let (vendor, database) = (gateway.vendor("A"), gateway.database("A"));
    database
        .execute(
            "INSERT INTO users (\"UserID\") VALUES (7), (8), (9);
             INSERT INTO vehicles (\"VehicleID\", \"Plate\") VALUES (1, 'P');
             INSERT INTO vehicle_drivers (\"VehicleID\", \"UserID\") VALUES (1, 8);
             UPDATE violations SET userid = 7, \"VehicleID\" = 1 WHERE \"Ticket\" = 'T-1'",
        )
        .await;
    assert_eq!(vendor.claim().await.tickets(), ["T-1", "T-2"]);

    database.execute("UPDATE violations SET userid = NULL; DELETE FROM vehicle_drivers").await;
    let unlinked = [disclosures(&gateway, 7).await, disclosures(&gateway, 8).await];
    database.execute("INSERT INTO vehicle_drivers (\"VehicleID\", \"UserID\") VALUES (1, 9)").await;
    let only_linked = disclosures(&gateway, 9).await;
    vendor.get("collection_batches/1").await.records();

    assert_eq!(unlinked, [[1], [1]], "they were named");
    assert_eq!(only_linked, [0; 0], "nobody was told of them");
    for person in 7..=9 {
        assert_eq!(
            disclosures(&gateway, person).await,
            [1],
            "the replay named 9, and the first answer the others"
        );
    }
    let listed = turnpike(&gateway.config_file(), "batch list --tenant A --json").await.json();
    assert_eq!(listed[0]["field_profile"], json!("full"));
    assert!(listed[0]["replayed_at"].is_string(), "{listed}");
}

#[tokio::test]
async fn a_minimal_answer_discloses_the_primary_driver_alone() {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 1).start().await;
    let database = gateway.database("A");
    database
        .execute(
            "INSERT INTO users (\"UserID\") VALUES (7), (8);
             INSERT INTO vehicles (\"VehicleID\", \"Plate\") VALUES (1, 'P');
             INSERT INTO vehicle_drivers (\"VehicleID\", \"UserID\", primary_driver) VALUES (1, 7, false), (1, 8, true);
             UPDATE violations SET \"VehicleID\" = 1;
             UPDATE api_tokens SET field_profile = 'minimal'",
        )
        .await;

    let answer = gateway.vendor("A").claim().await;

    assert_eq!(answer.records()[0]["vehicle"]["drivers"].as_array().unwrap().len(), 1, "{}", answer.text);
    assert_eq!([disclosures(&gateway, 7).await, disclosures(&gateway, 8).await], [vec![], vec![1]]);
}

#[tokio::test]
async fn a_batch_that_broke_off_may_have_disclosed_whoever_its_violations_name() {
    let gateway = TestGateway::with_tenants(["A"]).start().await;
    let database = gateway.database("A");
    database.add_overdue_large(20).await;
    database.execute("INSERT INTO users (\"UserID\") VALUES (7); UPDATE violations SET userid = 7").await;

    let mut vendor = SlowVendor::call(&gateway, "A").await;
    vendor.read(1).await;
    drop(vendor);
    wait_until("the batch is void", async || database.batch_states().await == ["void"]).await;

    assert_eq!(disclosures(&gateway, 7).await, [1]);
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

#[tokio::test]
async fn the_tombstone_of_a_claim_of_unknown_outcome_is_listed_like_any_batch() {
    let gateway = TestGateway::with_tenants(["A"]).start().await;
    gateway
        .database("A")
        .execute(
            "INSERT INTO collection_batches
                    (claim_id, state, violation_ids, claimed_at, lease_until, gateway, voided_at, void_reason)
             VALUES (gen_random_uuid(), 'void', '{}', now(), now(), 'another', now(), 'outcome unknown')",
        )
        .await;

    let table = turnpike(&gateway.config_file(), "batch list --tenant A").await;
    let listed = turnpike(&gateway.config_file(), "batch list --tenant A --json").await.json();

    assert!(table.output().contains("outcome unknown"), "{table:?}");
    assert_eq!((&listed[0]["vendor"], &listed[0]["field_profile"]), (&json!(null), &json!(null)));
}
