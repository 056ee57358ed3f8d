//! From the mark to the last byte: an answer is complete if and only if its batch is released, whatever the vendor, the
//! back office or another gateway does meanwhile.

use reqwest::StatusCode;
use tokio_postgres::Client;
use turnpike::config::TenantId;
use uuid::Uuid;

use crate::support::gateway::second_gateway;
use crate::support::{Answer, SlowVendor, TestDatabase, TestGateway, Vendor, wait_until};

/// Violations of a batch that no vendor's kernel (nor an HTTP/2 window of 2 MB) can take in.
const MANY: i32 = 100;

/// A gateway whose tenant A has [`MANY`] violations of 10 kB each, the last of which has 3 MB.
async fn gateway_with_large_batch(settings: &str) -> TestGateway {
    let gateway =
        TestGateway::with_tenants(["A"]).tenant_setting("A", settings).overdue("A", MANY).start().await;
    gateway
        .database("A")
        .execute(&format!(
            "UPDATE violations
                SET \"Comment\" = repeat('x', CASE \"ViolationID\" WHEN {MANY} THEN 3000000 ELSE 10000 END)"
        ))
        .await;
    gateway
}

fn last_ticket() -> String {
    format!("\"T-{MANY}\"")
}

fn all_tickets() -> Vec<String> {
    (1..=MANY).map(|number| format!("T-{number}")).collect()
}

async fn wait_for_states<const N: usize>(database: &TestDatabase, states: [&str; N]) {
    wait_until(&format!("the batches are {states:?}"), async || database.batch_states().await == states)
        .await;
}

async fn void_reason(database: &TestDatabase) -> String {
    database.query("SELECT void_reason FROM collection_batches WHERE state = 'void'", &[]).await[0].get(0)
}

/// Waits until some session of the gateway's waits for a lock.
async fn wait_for_a_lock_wait(session: &Client) {
    wait_until("the gateway waits for a lock", async || {
        let waiting = session
            .query(
                "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
                &[],
            )
            .await
            .unwrap();
        !waiting.is_empty()
    })
    .await;
}

// Vendors who go away ------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_vendor_who_goes_before_the_head_loses_nothing() {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 3).start().await;
    let database = gateway.database("A");
    let session = database.session().await;
    session.batch_execute("SELECT pg_advisory_lock(1953853040, 1)").await.unwrap(); // the claims' own

    let vendor = SlowVendor::call(&gateway, "A").await;
    wait_for_a_lock_wait(&session).await;
    vendor.close().await;
    session.batch_execute("SELECT pg_advisory_unlock(1953853040, 1)").await.unwrap();

    wait_for_states(database, ["void"]).await;
    assert_eq!(database.marked().await, 0);
    assert_eq!(gateway.vendor("A").claim().await.tickets(), ["T-1", "T-2", "T-3"]);
}

#[tokio::test]
async fn a_void_that_meets_its_claim_committing_gives_everything_back() {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 3).start().await;
    let database = gateway.database("A");
    let (claim, claim_id) = (database.session().await, Uuid::new_v4());
    let marks = format!(
        "BEGIN;
         UPDATE violations SET \"SentToCollections\" = now();
         INSERT INTO collection_batches (claim_id, token_id, state, violation_ids, claimed_at, lease_until, gateway)
         VALUES ('{claim_id}', 1, 'open', '{{1, 2, 3}}', now(), now() + interval '1 minute', 'test')"
    );
    claim.batch_execute(&marks).await.unwrap();
    let tenant = gateway.inner.directory.find(&TenantId::parse("A").unwrap()).unwrap();

    let voiding = tokio::spawn(async move { tenant.ledger().void(claim_id, "test").await });
    wait_for_a_lock_wait(&database.session().await).await;
    claim.batch_execute("COMMIT").await.unwrap();
    voiding.await.unwrap().unwrap();

    assert_eq!(database.batch_states().await, ["void"]);
    assert_eq!(database.marked().await, 0);
}

/// How far a vendor reads before going away.
#[derive(Clone, Copy)]
enum Far {
    FirstByte,
    Middle,
    /// 300 kB are missing then: more than the vendor's kernel takes, less than ours does.
    NearTheEnd,
}

async fn assert_nothing_is_lost(far: Far, leave: impl AsyncFnOnce(SlowVendor)) {
    let gateway = gateway_with_large_batch("").await;
    let database = gateway.database("A");

    let mut vendor = SlowVendor::call(&gateway, "A").await;
    match far {
        Far::FirstByte => vendor.read(1).await,
        Far::Middle => vendor.read_until("\"T-50\"").await,
        Far::NearTheEnd => {
            vendor.read_until(&last_ticket()).await;
            vendor.read(2_700_000).await;
        }
    }
    let marked_meanwhile = database.marked().await;
    leave(vendor).await;

    assert_eq!(marked_meanwhile, i64::from(MANY));
    wait_for_states(database, ["void"]).await;
    assert_eq!(void_reason(database).await, "vendor gone");
    assert_eq!(database.marked().await, 0);
    assert_eq!(gateway.vendor("A").claim().await.tickets(), all_tickets());
    wait_for_states(database, ["void", "released"]).await;
}

#[tokio::test]
async fn a_vendor_who_goes_at_the_first_byte_loses_nothing() {
    assert_nothing_is_lost(Far::FirstByte, SlowVendor::close).await;
}

#[tokio::test]
async fn a_vendor_who_goes_in_the_middle_loses_nothing() {
    assert_nothing_is_lost(Far::Middle, SlowVendor::close).await;
}

#[tokio::test]
async fn a_vendor_who_crashes_in_the_middle_loses_nothing() {
    assert_nothing_is_lost(Far::Middle, async |vendor| vendor.reset()).await;
}

#[tokio::test]
async fn a_vendor_who_goes_just_before_the_end_loses_nothing() {
    assert_nothing_is_lost(Far::NearTheEnd, SlowVendor::close).await;
}

#[tokio::test]
async fn a_vendor_who_crashes_just_before_the_end_loses_nothing() {
    assert_nothing_is_lost(Far::NearTheEnd, async |vendor| vendor.reset()).await;
}

#[tokio::test]
async fn a_stream_reset_on_http_2_loses_nothing() {
    let gateway = gateway_with_large_batch("").await;
    let vendor = gateway.vendor("A");

    let mut response = vendor.request().send().await.unwrap();
    let first = response.chunk().await.unwrap();
    let version = response.version();
    drop(response);

    assert_eq!(version, reqwest::Version::HTTP_2);
    assert!(first.is_some());
    wait_for_states(gateway.database("A"), ["void"]).await;
    assert_eq!(gateway.database("A").marked().await, 0);
    assert_eq!(vendor.claim().await.tickets(), all_tickets());
}

// Vendors who are slow -----------------------------------------------------------------------------------------

#[tokio::test]
async fn a_vendor_who_stops_reading_is_cut_off_and_loses_nothing() {
    let gateway = gateway_with_large_batch("delivery_timeout = \"300ms\"\nlease = \"60s\"").await;
    let database = gateway.database("A");

    let mut vendor = SlowVendor::call(&gateway, "A").await;
    vendor.read(10_000).await;
    wait_for_states(database, ["void"]).await;
    vendor.read_to_end().await;

    assert_eq!(void_reason(database).await, "write stalled");
    assert_eq!(database.marked().await, 0);
    assert!(!vendor.is_whole());
    assert!(!vendor.has_read("\"state\":"));
    assert_eq!(gateway.vendor("A").claim().await.tickets(), all_tickets());
}

#[tokio::test]
async fn a_vendor_who_stops_reading_on_http_2_is_cut_off_and_loses_nothing() {
    let gateway = gateway_with_large_batch("delivery_timeout = \"300ms\"\nlease = \"60s\"").await;
    let database = gateway.database("A");

    let mut response = gateway.vendor("A").request().send().await.unwrap();
    let first = response.chunk().await.unwrap();
    wait_for_states(database, ["void"]).await;
    let rest = response.bytes().await;

    assert!(first.is_some());
    assert!(rest.is_err(), "the answer ended as if it were whole");
    assert_eq!(void_reason(database).await, "write stalled");
    assert_eq!(gateway.vendor("A").claim().await.tickets(), all_tickets());
}

#[tokio::test]
async fn a_slow_but_steady_vendor_keeps_the_batch_over_several_leases() {
    let gateway = gateway_with_large_batch("delivery_timeout = \"500ms\"\nlease = \"1s\"").await;
    let database = gateway.database("A");

    let mut vendor = SlowVendor::call(&gateway, "A").await;
    vendor.read(1).await;
    wait_until("three leases have passed", async || {
        vendor.read(4 * 1024).await;
        let past =
            "SELECT count(*) FROM collection_batches WHERE clock_timestamp() > claimed_at + interval '3 s'";
        database.count(past).await == 1
    })
    .await;
    let meanwhile = gateway.vendor("A").claim().await;
    vendor.read_to_end().await;

    assert_eq!(meanwhile.tickets(), Vec::<String>::new(), "the lease was over");
    assert!(vendor.is_whole());
    let answer = Answer {
        status: StatusCode::OK,
        headers: reqwest::header::HeaderMap::new(),
        text: String::from_utf8(vendor.body()).unwrap(),
    };
    assert_eq!(answer.tickets(), all_tickets());
    assert_eq!(database.batch_states().await, ["released"]);
}

// No release, no whole answer -----------------------------------------------------------------------------------

#[tokio::test]
async fn no_document_is_whole_before_its_batch_is_released() {
    let gateway = gateway_with_large_batch("").await;
    let database = gateway.database("A");
    let back_office = database.session().await;
    let onlooker = database.session().await;

    let mut vendor = SlowVendor::call(&gateway, "A").await;
    vendor.read(1).await;
    back_office.batch_execute("BEGIN; SELECT FROM collection_batches FOR UPDATE").await.unwrap();
    vendor.read_until(&last_ticket()).await;
    vendor.read_until("\"enableFailToIdentify\":0").await;
    // The last record has come, but for its last braces: they, or one of them, may go with the frame that follows the release.
    wait_for_a_lock_wait(&onlooker).await;
    let state_before = vendor.has_read("\"state\":");
    back_office
        .batch_execute(
            "UPDATE collection_batches SET state = 'void', voided_at = now(), void_reason = 'by hand';
             UPDATE violations SET \"SentToCollections\" = NULL;
             COMMIT",
        )
        .await
        .unwrap();
    vendor.read_to_end().await;

    assert!(!state_before, "the document was whole before the release");
    assert!(!vendor.has_read("\"state\":"));
    assert!(!vendor.is_whole());
    assert_eq!(void_reason(database).await, "by hand");
    assert_eq!(gateway.vendor("A").claim().await.tickets(), all_tickets());
    assert_eq!(database.batch_states().await, ["void", "released"]);
}

#[tokio::test]
async fn a_slow_owner_whose_batch_was_taken_over_cannot_release() {
    let gateway = gateway_with_large_batch("").await;
    let database = gateway.database("A");
    let (address, second) = second_gateway(&gateway.config_file()).await;

    let mut owner = SlowVendor::call(&gateway, "A").await;
    owner.read_until("\"T-2\"").await;
    database.execute("UPDATE collection_batches SET lease_until = now() - interval '1 second'").await;
    let taken_over = Vendor::new(address, "A", crate::support::gateway::TOKEN).claim().await;
    owner.read_to_end().await;

    assert_eq!(taken_over.tickets(), all_tickets());
    assert!(!owner.is_whole());
    assert!(!owner.has_read("\"state\":"));
    wait_for_states(database, ["void", "released"]).await;
    assert_eq!(void_reason(database).await, "lease over");
    assert_eq!(database.marked().await, i64::from(MANY));
    assert_eq!(gateway.vendor("A").claim().await.tickets(), Vec::<String>::new());
    second.abort();
}

// The back office, meanwhile -------------------------------------------------------------------------------------

#[tokio::test]
async fn a_violation_paid_during_its_delivery_is_sent_once() {
    let gateway = gateway_with_large_batch("").await;
    let database = gateway.database("A");

    let mut vendor = SlowVendor::call(&gateway, "A").await;
    vendor.read(1).await;
    database.execute(&format!("INSERT INTO payments (\"ViolationID\", amount) VALUES ({MANY}, 50)")).await;
    vendor.read_to_end().await;

    assert!(vendor.is_whole());
    assert!(vendor.has_read(&last_ticket()));
    assert_eq!(database.batch_states().await, ["released"]);
    assert_eq!(gateway.vendor("A").claim().await.tickets(), Vec::<String>::new());
}

#[tokio::test]
async fn a_mark_that_was_replaced_by_hand_outlives_the_void() {
    let gateway = gateway_with_large_batch("").await;
    let database = gateway.database("A");

    let mut vendor = SlowVendor::call(&gateway, "A").await;
    vendor.read(1).await;
    database
        .execute("UPDATE violations SET \"SentToCollections\" = '2020-02-02Z' WHERE \"Ticket\" = 'T-2'")
        .await;
    vendor.close().await;

    wait_for_states(database, ["void"]).await;
    let replaced = "SELECT count(*) FROM violations WHERE \"SentToCollections\" = '2020-02-02Z'";
    assert_eq!(database.count(replaced).await, 1);
    assert_eq!(database.marked().await, 1);
    let others: Vec<String> = all_tickets().into_iter().filter(|ticket| ticket != "T-2").collect();
    assert_eq!(gateway.vendor("A").claim().await.tickets(), others);
}

#[tokio::test]
async fn a_violation_that_is_being_changed_comes_with_the_next_call() {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 3).start().await;
    let back_office = gateway.database("A").session().await;

    back_office
        .batch_execute("BEGIN; SELECT FROM violations WHERE \"Ticket\" = 'T-2' FOR UPDATE")
        .await
        .unwrap();
    let first = gateway.vendor("A").claim().await;
    back_office.batch_execute("COMMIT").await.unwrap();
    let second = gateway.vendor("A").claim().await;

    assert_eq!(first.tickets(), ["T-1", "T-3"]);
    assert_eq!(second.tickets(), ["T-2"]);
}

#[tokio::test]
async fn a_detail_that_is_being_added_keeps_no_violation_back() {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 3).start().await;
    let back_office = gateway.database("A").session().await;
    back_office
        .batch_execute(
            "INSERT INTO violation_types (\"ViolationTypeID\") VALUES (1);
             BEGIN;
             INSERT INTO violation_details (\"ViolationID\", \"ViolationTypeID\") VALUES (2, 1)",
        )
        .await
        .unwrap();

    let answer = gateway.vendor("A").claim().await;

    assert_eq!(answer.tickets(), ["T-1", "T-2", "T-3"]);
    back_office.batch_execute("COMMIT").await.unwrap();
}

/// All that a write would leave behind, even one that was rolled back: row versions, locks on rows, files, sequences.
async fn traces(database: &TestDatabase) -> String {
    let rows = database
        .query(
            "SELECT concat_ws(' ', string_agg(concat_ws(',', v.ctid, v.xmin, v.xmax), ';' ORDER BY v.\"Ticket\"),
                    pg_relation_size('collection_batches'),
                    pg_sequence_last_value(pg_get_serial_sequence('collection_batches', 'batch_id')::regclass))
               FROM violations v",
            &[],
        )
        .await;
    rows[0].get(0)
}

#[tokio::test]
async fn an_empty_answer_writes_nothing() {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 3).start().await;
    let database = gateway.database("A");
    database.execute("INSERT INTO payments (\"ViolationID\", amount) VALUES (1, 50), (2, 50), (3, 60)").await;
    let before = traces(database).await;

    let answer = gateway.vendor("A").claim().await;
    let after = traces(database).await;
    database.execute("INSERT INTO payments (\"ViolationID\", amount) VALUES (1, -50)").await;
    let claimed = gateway.vendor("A").claim().await;

    assert_eq!(answer.tickets(), Vec::<String>::new());
    assert_eq!(after, before);
    assert_eq!(claimed.tickets(), ["T-1"]);
    assert_ne!(traces(database).await, before, "a write leaves traces");
}
