//! Synchronous replication: a commit whose wait for the standby was given up is known to one machine alone, and counts as
//! of unknown outcome, whatever PostgreSQL acknowledges.

use reqwest::StatusCode;
use serde_json::json;

use crate::support::database::own_cluster;
use crate::support::{SlowVendor, TestDatabase, TestGateway, wait_until};

/// From here on, commits wait for a standby that doesn't come.
async fn lose_the_standby(database: &TestDatabase) {
    database.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'").await;
    database.execute("SELECT pg_reload_conf()").await;
    wait_until("commits wait", async || {
        database.count("SELECT count(*) FROM pg_settings WHERE setting = 'nobody'").await == 1
    })
    .await;
}

async fn find_the_standby(database: &TestDatabase) {
    database.execute("ALTER SYSTEM RESET synchronous_standby_names").await;
    database.execute("SELECT pg_reload_conf()").await;
}

/// The session of the gateway whose commit waits for the standby.
async fn waiting(database: &TestDatabase) -> i32 {
    let mut pid = 0;
    wait_until("a commit waits for the standby", async || {
        let sql = "SELECT pid FROM pg_stat_activity
                    WHERE wait_event = 'SyncRep' AND application_name LIKE 'turnpike/%' AND pid <> $1";
        pid = database.query(sql, &[&pid]).await.first().map_or(0, |row| row.get(0));
        pid != 0
    })
    .await;
    pid
}

/// Has a commit acknowledged that the standby hasn't confirmed, as an impatient administrator would.
async fn give_up_the_wait(database: &TestDatabase, pid: i32) {
    database.query("SELECT pg_cancel_backend($1)", &[&pid]).await;
    wait_until("the session is cut", async || {
        let left = database.query("SELECT FROM pg_stat_activity WHERE pid = $1", &[&pid]).await;
        left.is_empty()
    })
    .await;
}

#[tokio::test]
async fn a_claim_that_the_standby_has_not_confirmed_is_voided() {
    let cluster = own_cluster("unconfirmed-claim").await;
    let gateway = TestGateway::with_tenants(["A"]).cluster(cluster).overdue("A", 3).start().await;
    let (vendor, database) = (gateway.vendor("A"), gateway.database("A"));
    assert_eq!(vendor.claim_with(json!({"preview": true})).await.tickets().len(), 3, "sessions are open");

    lose_the_standby(database).await;
    let (refused, ()) = tokio::join!(vendor.claim(), async {
        let claim = waiting(database).await;
        give_up_the_wait(database, claim).await;
        assert_eq!(database.marked().await, 3, "the primary has it");
        waiting(database).await; // the void
        find_the_standby(database).await;
    });

    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "{}", refused.text);
    assert_eq!((database.batch_states().await, database.marked().await), (vec!["void".to_owned()], 0));
    assert_eq!(vendor.claim().await.tickets(), ["T-1", "T-2", "T-3"]);
}

#[tokio::test]
async fn the_last_frame_waits_for_a_release_that_the_standby_has_confirmed() {
    let cluster = own_cluster("unconfirmed-release").await;
    let gateway = TestGateway::with_tenants(["A"]).cluster(cluster).start().await;
    let database = gateway.database("A");
    database.add_overdue_large(20).await;

    let mut vendor = SlowVendor::call(&gateway, "A").await;
    vendor.read(1).await;
    lose_the_standby(database).await;
    vendor.read_until("\"T-20\"").await;
    vendor.read_until("\"enableFailToIdentify\":0").await;
    let release = waiting(database).await;
    give_up_the_wait(database, release).await;
    let again = waiting(database).await;
    let on_the_primary_alone = database.batch_states().await;
    let told = vendor.has_read("csrf_token");
    give_up_the_wait(database, again).await;
    waiting(database).await;
    find_the_standby(database).await;
    vendor.read_to_end().await;

    assert_eq!(on_the_primary_alone, ["released"]);
    assert!(!told, "the vendor may not rely on one machine's word");
    assert!(vendor.is_whole());
    assert_eq!((database.batch_states().await, database.marked().await), (vec!["released".to_owned()], 20));
    assert_eq!(gateway.vendor("A").claim().await.tickets(), [""; 0]);
}
