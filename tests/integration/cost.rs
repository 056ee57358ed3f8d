//! What a claim costs its database: commits, and round trips that the vendor waits for.

use serde_json::json;

use crate::support::database::{cluster, own_cluster};
use crate::support::{Proxy, TestDatabase, TestGateway, wait_until};

/// A busy machine may fall silent in the middle of a flight, which then counts twice: the least of some tries is the figure.
const TRIES: usize = 4;

async fn gateway_behind_proxy(overdue: i32) -> (TestGateway, Proxy) {
    let proxy = Proxy::start(cluster().await.port()).await;
    let gateway = TestGateway::with_tenants(["A"])
        .database_port("A", proxy.port)
        .tenant_setting("A", "max_connections = 1")
        .overdue("A", overdue)
        .start()
        .await;
    (gateway, proxy)
}

/// Round trips until a call with a limit gives its first byte, on a connection that has everything prepared.
async fn round_trips(gateway: &TestGateway, proxy: &Proxy, limit: i32) -> u64 {
    let vendor = gateway.vendor("A");
    let mut least = u64::MAX;
    for _ in 0..TRIES {
        vendor.claim_with(json!({"limit": 1})).await.records();
        proxy.count_round_trips();
        let mut answer = vendor.request_with(json!({"limit": limit})).send().await.unwrap();
        assert!(answer.chunk().await.unwrap().is_some());
        least = least.min(proxy.round_trips());
        proxy.stop_counting();
        while answer.chunk().await.unwrap().is_some() {}
    }
    least
}

#[tokio::test]
async fn a_claim_waits_for_two_round_trips_before_its_first_byte() {
    let (gateway, proxy) = gateway_behind_proxy(2_000).await;
    // As wide as records are: the first 50 fill a frame.
    gateway.database("A").execute("UPDATE violations SET \"Comment\" = repeat('x', 4000)").await;

    assert_eq!(round_trips(&gateway, &proxy, 400).await, 2);
}

#[tokio::test]
async fn an_empty_poll_is_one_round_trip() {
    let (gateway, proxy) = gateway_behind_proxy(0).await;

    assert_eq!(round_trips(&gateway, &proxy, 400).await, 1);
}

/// Transactions that were given an id because they wrote.
async fn writing_transactions(database: &TestDatabase) -> i64 {
    database.count("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint").await
}

#[tokio::test]
async fn a_claim_is_two_commits() {
    // A cluster's transaction ids are shared by its databases: this one is the test's own.
    let cluster = own_cluster("cost").await;
    let gateway = TestGateway::with_tenants(["A"]).cluster(cluster).overdue("A", 2_000).start().await;
    let database = gateway.database("A");
    database.execute("ALTER SYSTEM SET autovacuum = off").await;
    database.execute("SELECT pg_reload_conf()").await;
    gateway.vendor("A").claim_with(json!({"limit": 1, "preview": true})).await.records();
    let before = writing_transactions(database).await;

    let answer = gateway.vendor("A").claim().await;

    assert_eq!(answer.records().len(), 2_000);
    wait_until("the batch is released", async || database.batch_states().await == ["released"]).await;
    assert_eq!(writing_transactions(database).await - before, 2);
}
