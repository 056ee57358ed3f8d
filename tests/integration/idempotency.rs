//! `Idempotency-Key`: the same key is the same batch, whatever became of the first answer.

use std::net::SocketAddr;

use futures_util::future::join_all;
use reqwest::header::HeaderValue;
use reqwest::{StatusCode, Version};
use serde_json::{Value, json};

use crate::support::gateway::second_gateway;
use crate::support::vendor::http1_client;
use crate::support::{Answer, Proxy, SlowVendor, TOKEN, TestDatabase, TestGateway, Vendor, wait_until};

const KEY_LINE: &str = "Idempotency-Key: night-1\r\n";
const KEY: &str = "night-1";
/// Violations of a batch that no vendor's kernel can take in.
const MANY: i32 = 20;

fn tickets(numbers: impl IntoIterator<Item = i32>) -> Vec<String> {
    numbers.into_iter().map(|number| format!("T-{number}")).collect()
}

/// The ledger's rows with their versions: unchanged where nothing was written.
async fn ledger(database: &TestDatabase) -> Vec<String> {
    let rows = database
        .query("SELECT concat_ws(' ', b.ctid, b.xmin, b.xmax, b) FROM collection_batches b", &[])
        .await;
    rows.iter().map(|row| row.get(0)).collect()
}

/// The ledger's rows, but for when they were last handed over again.
async fn entries(database: &TestDatabase) -> Vec<String> {
    let rows =
        database.query("SELECT (to_jsonb(b) - 'replayed_at')::text FROM collection_batches b", &[]).await;
    rows.iter().map(|row| row.get(0)).collect()
}

async fn replayed_at(database: &TestDatabase) -> Option<jiff::Timestamp> {
    database.query("SELECT replayed_at FROM collection_batches", &[]).await[0].get(0)
}

async fn claim_limited(vendor: &Vendor, key: &str, attributes: Value) -> Answer {
    Answer::to(vendor.request_with(attributes).header("Idempotency-Key", key)).await
}

fn assert_fresh(answer: &Answer, numbers: impl IntoIterator<Item = i32>) {
    assert_eq!(answer.tickets(), tickets(numbers));
    assert_eq!(answer.header("idempotent-replayed"), None);
}

fn assert_replay_of(first: &Answer, answer: &Answer) {
    assert_eq!(answer.records_text(), first.records_text());
    assert_eq!(answer.header("idempotent-replayed"), Some("true"));
    assert_eq!(answer.header("batch-id"), first.header("batch-id"));
    assert_eq!(answer.header("batch-count"), first.header("batch-count"));
}

fn assert_refused(answer: &Answer, status: StatusCode, code: i64) {
    assert_eq!((answer.status, answer.error_code()), (status, code), "{}", answer.text);
    assert_eq!(answer.header("batch-id"), None);
}

async fn large_gateway() -> TestGateway {
    let gateway = TestGateway::with_tenants(["A"]).start().await;
    gateway.database("A").add_overdue_large(MANY).await;
    gateway
}

async fn wait_for_states<const N: usize>(database: &TestDatabase, states: [&str; N]) {
    wait_until(&format!("the batches are {states:?}"), async || database.batch_states().await == states)
        .await;
}

#[tokio::test]
async fn the_same_key_gives_the_same_batch_again() {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 120).start().await;
    let (vendor, database) = (gateway.vendor("A"), gateway.database("A"));

    let first = vendor.claim_with_key(KEY).await;
    database.add_overdue(1).await;
    let (before, never) = (entries(database).await, replayed_at(database).await);
    let second = vendor.claim_with_key(KEY).await;
    let once = replayed_at(database).await;
    let third = vendor.claim_with_key(KEY).await;

    assert_fresh(&first, 1..=120);
    assert!(first.header("batch-id").is_some());
    assert_replay_of(&first, &second);
    assert_replay_of(&first, &third);
    assert_eq!(entries(database).await, before);
    assert_eq!(never, None);
    assert!(once.is_some() && once < replayed_at(database).await, "the ledger tells of the last time");
    assert_eq!(database.marked().await, 120, "what became due since waits for another key");
    assert_fresh(&vendor.claim_with_key("night-2").await, [121]);
}

#[tokio::test]
async fn a_replay_shows_todays_values_and_the_mark_as_it_stood_at_the_claim() {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 5).start().await;
    let (vendor, database) = (gateway.vendor("A"), gateway.database("A"));

    let first = vendor.claim_with_key(KEY).await;
    database
        .execute(
            "INSERT INTO payments (\"ViolationID\", amount) VALUES (1, 50);
             UPDATE violations SET \"Comment\" = 'edited' WHERE \"Ticket\" = 'T-2';
             UPDATE violations SET \"SentToCollections\" = NULL WHERE \"Ticket\" = 'T-3';
             UPDATE violations SET \"Due\" = '2019-01-01Z' WHERE \"Ticket\" = 'T-4';
             UPDATE violations SET \"SentToCollections\" = '2020-02-02Z' WHERE \"Ticket\" = 'T-5'",
        )
        .await;
    let replay = vendor.claim_with_key(KEY).await;
    let cleared = vendor.claim().await;
    let replay_later = vendor.claim_with_key(KEY).await;

    let mut expected = first.records();
    expected[1]["Comment"] = json!("edited");
    expected[3]["Due"] = json!("2019-01-01T00:00:00.000000Z");
    assert_eq!(replay.records(), expected);
    assert!(replay.records().iter().all(|record| record["SentToCollections"] == Value::Null));
    assert_eq!(replay.header("idempotent-replayed"), Some("true"));
    assert_fresh(&cleared, [3]);
    assert_replay_of(&replay, &replay_later);
    assert_eq!(database.batch_states().await, ["released", "released"]);
}

#[tokio::test]
async fn a_key_with_another_limit_is_another_request() {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 4).start().await;
    let (vendor, database) = (gateway.vendor("A"), gateway.database("A"));

    let first = claim_limited(&vendor, KEY, json!({"limit": 2})).await;
    let before = ledger(database).await;
    let unlimited = vendor.claim_with_key(KEY).await;
    let other = claim_limited(&vendor, KEY, json!({"limit": 3})).await;
    let after = ledger(database).await;
    let same = claim_limited(&vendor, KEY, json!({"limit": 2})).await;

    assert_fresh(&first, 1..=2);
    assert_refused(&unlimited, StatusCode::UNPROCESSABLE_ENTITY, 9102);
    assert_refused(&other, StatusCode::UNPROCESSABLE_ENTITY, 9102);
    assert_replay_of(&first, &same);
    assert_eq!((after, database.marked().await), (before, 2));
}

#[tokio::test]
async fn a_key_that_was_used_without_limit_is_refused_with_one() {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 2).start().await;
    let vendor = gateway.vendor("A");

    let first = vendor.claim_with_key(KEY).await;
    let limited = claim_limited(&vendor, KEY, json!({"limit": 2})).await;
    let null = claim_limited(&vendor, KEY, json!({"limit": null})).await;

    assert_fresh(&first, 1..=2);
    assert_refused(&limited, StatusCode::UNPROCESSABLE_ENTITY, 9102);
    assert_replay_of(&first, &null);
}

#[tokio::test]
async fn a_key_in_use_is_refused_until_its_delivery_ends() {
    let gateway = large_gateway().await;
    let (vendor, database) = (gateway.vendor("A"), gateway.database("A"));

    let mut slow = SlowVendor::call_with(gateway.address, "A", KEY_LINE, json!({})).await;
    slow.read(1).await;
    let meanwhile = vendor.claim_with_key(KEY).await;
    let others = vendor.claim_with_key("night-2").await;
    slow.read_to_end().await;
    let replay = vendor.claim_with_key(KEY).await;

    assert_refused(&meanwhile, StatusCode::CONFLICT, 9101);
    let wait: Option<u32> = meanwhile.header("retry-after").map(|seconds| seconds.parse().unwrap());
    assert!(wait.is_some_and(|seconds| seconds > 0), "{wait:?}");
    assert_eq!(meanwhile.json()["retryable"], json!(true));
    assert_fresh(&others, []);
    assert!(slow.is_whole());
    let body = String::from_utf8(slow.body()).unwrap();
    assert_eq!(body.rsplit_once("],\"state\":").unwrap().0, replay.records_text());
    assert_eq!(replay.header("idempotent-replayed"), Some("true"));
    assert_eq!(database.batch_states().await, ["released"]);
}

#[tokio::test]
async fn a_key_whose_batch_was_voided_claims_afresh() {
    let gateway = large_gateway().await;
    let (vendor, database) = (gateway.vendor("A"), gateway.database("A"));

    let mut gone = SlowVendor::call_with(gateway.address, "A", KEY_LINE, json!({})).await;
    gone.read_until("\"T-10\"").await;
    let voided = gone.has_read("batch-id: 1\r\n");
    gone.close().await;
    wait_for_states(database, ["void"]).await;
    let first = vendor.claim_with_key(KEY).await;
    let again = vendor.claim_with_key(KEY).await;

    assert_fresh(&first, 1..=MANY);
    assert!(voided && first.header("batch-id") != Some("1"), "a batch of its own");
    assert_replay_of(&first, &again);
    assert_eq!(database.batch_states().await, ["void", "released"]);
}

#[tokio::test]
async fn a_key_whose_batch_was_voided_may_come_with_another_limit() {
    let gateway = large_gateway().await;
    let database = gateway.database("A");

    let mut gone = SlowVendor::call_with(gateway.address, "A", KEY_LINE, json!({})).await;
    gone.read_until("\"T-10\"").await;
    gone.reset();
    wait_for_states(database, ["void"]).await;
    let limited = claim_limited(&gateway.vendor("A"), KEY, json!({"limit": 2})).await;

    assert_fresh(&limited, 1..=2);
    assert_eq!(database.batch_states().await, ["void", "released"]);
}

#[tokio::test]
async fn a_key_whose_lease_is_over_claims_afresh_and_its_late_owner_ends_in_an_error() {
    let gateway = large_gateway().await;
    let (address, second) = second_gateway(&gateway.config_file()).await;
    let (vendor, database) = (Vendor::new(address, "A", TOKEN), gateway.database("A"));

    let mut late = SlowVendor::call_with(gateway.address, "A", KEY_LINE, json!({})).await;
    late.read_until("\"T-2\"").await;
    database.execute("UPDATE collection_batches SET lease_until = now() - interval '1 second'").await;
    let first = vendor.claim_with_key(KEY).await;
    late.read_to_end().await;
    let again = gateway.vendor("A").claim_with_key(KEY).await;

    assert_fresh(&first, 1..=MANY);
    assert!(!late.is_whole() && !late.has_read("\"state\":"));
    assert_replay_of(&first, &again);
    assert_eq!(database.batch_states().await, ["void", "released"]);
    second.abort();
}

#[tokio::test]
async fn a_key_is_its_tokens_and_its_tenants_own() {
    let gateway = TestGateway::with_tenants(["A", "B"]).overdue("A", 3).overdue("B", 2).start().await;
    gateway.database("A").add_token("another", "full").await;
    let vendors = [gateway.vendor("A"), gateway.vendor("A").with_token("another"), gateway.vendor("B")];

    let one = claim_limited(&vendors[0], KEY, json!({"limit": 1})).await;
    let two = vendors[1].claim_with_key(KEY).await;
    let at_b = vendors[2].claim_with_key(KEY).await;
    let again = [
        claim_limited(&vendors[0], KEY, json!({"limit": 1})).await,
        vendors[1].claim_with_key(KEY).await,
        vendors[2].claim_with_key(KEY).await,
    ];

    assert_fresh(&one, [1]);
    assert_fresh(&two, 2..=3);
    assert_fresh(&at_b, 1..=2);
    for (first, again) in [one, two, at_b].iter().zip(&again) {
        assert_replay_of(first, again);
    }
}

#[tokio::test]
async fn a_key_is_remembered_for_the_replay_window() {
    let gateway = TestGateway::with_tenants(["A"])
        .tenant_setting("A", "replay_window = \"2d\"")
        .overdue("A", 2)
        .start()
        .await;
    let (vendor, database) = (gateway.vendor("A"), gateway.database("A"));
    let age = |time: &str| format!("UPDATE collection_batches SET claimed_at = now() - interval '{time}'");

    let first = vendor.claim_with_key(KEY).await;
    database.add_overdue(1).await;
    database.execute(&age("47 hours 59 minutes")).await;
    let within = vendor.claim_with_key(KEY).await;
    database.execute(&age("48 hours 1 second")).await;
    let after = vendor.claim_with_key(KEY).await;
    let again = vendor.claim_with_key(KEY).await;

    assert_fresh(&first, 1..=2);
    assert_replay_of(&first, &within);
    assert_fresh(&after, [3]);
    assert_eq!(after.header("batch-id"), Some("2"));
    assert_replay_of(&after, &again);
}

#[tokio::test]
async fn a_key_is_the_same_with_and_without_quotes() {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 2).start().await;
    let vendor = gateway.vendor("A");

    let quoted = vendor.claim_with_key("\"night-1\"").await;
    let plain = vendor.claim_with_key("night-1").await;
    let other_case = vendor.claim_with_key("Night-1").await;

    assert_fresh(&quoted, 1..=2);
    assert_replay_of(&quoted, &plain);
    assert_fresh(&other_case, []);
}

#[tokio::test]
async fn an_unsound_key_is_refused_and_marks_nothing() {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 2).start().await;
    let vendor = gateway.vendor("A");
    let key = |bytes: &[u8]| HeaderValue::from_bytes(bytes).unwrap();
    let longest = "k".repeat(255);

    let mut refused = vec![
        ("two", vendor.request().header("Idempotency-Key", "a").header("Idempotency-Key", "b")),
        ("twice the same", vendor.request().header("Idempotency-Key", "a").header("Idempotency-Key", "a")),
    ];
    for (what, bytes) in [
        ("empty", &b""[..]),
        ("empty in quotes", b"\"\""),
        ("blank", b"  "),
        ("a space within", b"night 1"),
        ("a tab within", b"night\t1"),
        ("no ASCII", "nächtlich".as_bytes()),
        ("256 characters", &[b'k'; 256]),
    ] {
        refused.push((what, vendor.request().header("Idempotency-Key", key(bytes))));
    }
    for (what, request) in refused {
        let answer = Answer::to(request).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{what}: {}", answer.text);
        assert_eq!(answer.error_code(), 9033, "{what}");
        assert_eq!(answer.json()["retryable"], json!(false), "{what}");
    }
    let marked = gateway.database("A").marked().await;
    let good = vendor.claim_with_key(&longest).await;

    assert_eq!(marked, 0);
    assert_fresh(&good, 1..=2);
    assert_replay_of(&good, &vendor.claim_with_key(&format!("\"{longest}\"")).await);
}

#[tokio::test]
async fn a_key_that_found_nothing_claims_later() {
    let gateway = TestGateway::with_tenants(["A"]).start().await;
    let (vendor, database) = (gateway.vendor("A"), gateway.database("A"));

    let nothing = vendor.claim_with_key(KEY).await;
    let batches = ledger(database).await;
    database.add_overdue(2).await;
    let something = vendor.claim_with_key(KEY).await;

    assert_fresh(&nothing, []);
    assert_eq!(nothing.header("batch-id"), None);
    assert_eq!(batches, Vec::<String>::new());
    assert_fresh(&something, 1..=2);
}

#[tokio::test]
async fn many_calls_at_once_with_one_key_make_one_batch() {
    let settings = "pool_timeout = \"60s\"\nlock_timeout = \"60s\"";
    let gateway = TestGateway::with_tenants(["A"]).tenant_setting("A", settings).start().await;
    let (address, second) = second_gateway(&gateway.config_file()).await;
    let database = gateway.database("A");
    let vendors = [gateway.vendor("A"), Vendor::new(address, "A", TOKEN)];

    for round in 0..5 {
        let key = format!("round-{round}");
        database.add_overdue(20).await;
        let calls = (0..20).map(async |number: usize| {
            let vendor = Vendor { client: http1_client(), ..vendors[number % 2].clone() };
            vendor.claim_with_key(&key).await
        });
        let answers = join_all(calls).await;
        let (whole, refused): (Vec<_>, Vec<_>) =
            answers.into_iter().partition(|answer| answer.status == StatusCode::OK);
        let late = vendors[1].claim_with_key(&key).await;

        for answer in &refused {
            assert_refused(answer, StatusCode::CONFLICT, 9101);
        }
        let fresh: Vec<&Answer> =
            whole.iter().filter(|answer| answer.header("idempotent-replayed").is_none()).collect();
        assert_eq!(fresh.len(), 1, "{key}");
        assert_fresh(fresh[0], round * 20 + 1..=round * 20 + 20);
        for answer in &whole {
            assert_eq!(answer.records_text(), fresh[0].records_text());
            assert_eq!(answer.header("batch-id"), fresh[0].header("batch-id"));
        }
        assert_replay_of(fresh[0], &late);
    }
    assert_eq!(database.batch_states().await, ["released"; 5]);
    second.abort();
}

#[tokio::test]
async fn a_batch_is_replayed_on_either_version_of_http() {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 120).start().await;
    let vendor = gateway.vendor("A");
    let old_vendor = Vendor { client: http1_client(), ..vendor.clone() };
    let call = async |vendor: &Vendor| {
        let response = vendor.request().header("Idempotency-Key", KEY).send().await.unwrap();
        (response.version(), Answer::read(response).await.unwrap())
    };

    let (first_version, first) = call(&vendor).await;
    let (old_version, on_http1) = call(&old_vendor).await;
    let (new_version, on_http2) = call(&vendor).await;

    assert_eq!((first_version, old_version), (Version::HTTP_2, Version::HTTP_11));
    assert_eq!(new_version, Version::HTTP_2);
    assert_fresh(&first, 1..=120);
    assert_replay_of(&first, &on_http1);
    assert_replay_of(&first, &on_http2);
}

#[tokio::test]
async fn a_replay_never_passes_over_a_violation_that_is_gone() {
    // The first, one of the first chunk, one of a later chunk, and the last.
    for gone in [1, 30, 90, 120] {
        let gateway = TestGateway::with_tenants(["A"]).overdue("A", 120).start().await;
        let (vendor, database) = (gateway.vendor("A"), gateway.database("A"));
        let old_vendor = Vendor { client: http1_client(), ..vendor.clone() };
        assert_fresh(&vendor.claim_with_key(KEY).await, 1..=120);

        database.execute(&format!("DELETE FROM violations WHERE \"ViolationID\" = {gone}")).await;
        let before = ledger(database).await;

        for vendor in [&vendor, &old_vendor] {
            assert_refused(&vendor.claim_with_key(KEY).await, StatusCode::NOT_FOUND, 9009);
        }
        assert_eq!(ledger(database).await, before);
        assert_eq!(database.marked().await, 119);
    }
}

#[tokio::test]
async fn an_answer_whose_last_bytes_were_lost_comes_whole_with_the_same_key() {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 60).start().await;
    let (vendor, database) = (gateway.vendor("A"), gateway.database("A"));
    let line = Proxy::start(gateway.address.port()).await;
    let back_office = database.session().await;
    let behind_the_line = SocketAddr::from(([127, 0, 0, 1], line.port));
    // So wide that the ticket and the record's end come in different reads.
    database
        .execute("UPDATE violations SET \"Comment\" = repeat('x', 100000) WHERE \"Ticket\" = 'T-60'")
        .await;
    // The batch can't be released before the back office lets go of the ledger: time to break the line.
    back_office
        .batch_execute(
            "CREATE FUNCTION wait_for_the_test() RETURNS trigger LANGUAGE plpgsql AS
                 'BEGIN PERFORM pg_advisory_xact_lock(1, 1); RETURN NEW; END';
             CREATE TRIGGER wait_for_the_test BEFORE UPDATE ON collection_batches
                FOR EACH ROW WHEN (NEW.state = 'released') EXECUTE FUNCTION wait_for_the_test();
             SELECT pg_advisory_lock(1, 1)",
        )
        .await
        .unwrap();

    let mut cut_off = SlowVendor::call_with(behind_the_line, "A", KEY_LINE, json!({})).await;
    cut_off.read_until("\"T-60\"").await;
    cut_off.read_until("\"enableFailToIdentify\":0").await;
    wait_until("the release waits", async || database.gateway_waits().await).await;
    line.hold_replies();
    back_office.batch_execute("SELECT pg_advisory_unlock(1, 1)").await.unwrap();
    wait_for_states(database, ["released"]).await;
    wait_until("the last bytes are lost", async || line.swallowed_replies() > 0).await;
    line.cut();
    cut_off.read_to_end().await;
    let retried = vendor.claim_with_key(KEY).await;

    assert!(!cut_off.is_whole());
    assert!(!cut_off.has_read("\"state\":"));
    assert_eq!(retried.tickets(), tickets(1..=60));
    assert_eq!(retried.header("idempotent-replayed"), Some("true"));
    assert_eq!(database.batch_states().await, ["released"]);
    assert_fresh(&vendor.claim().await, []);
}

#[tokio::test]
async fn a_replay_tells_whether_there_are_more() {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 3).start().await;
    let claim = async |key: &str| {
        let vendor = gateway.vendor("A");
        let request = vendor.client.post(&vendor.url).header("content-type", "application/json");
        let body = json!({ "apiToken": vendor.token, "limit": 2 }).to_string();
        let answer = request.header("idempotency-key", key).body(body).send().await.unwrap();
        Answer::read(answer).await.unwrap().headers
    };

    let first = claim("one").await;
    let replayed = claim("one").await;
    let rest = claim("two").await;
    let replayed_at_last = claim("one").await;

    assert_eq!(first["batch-more"], "true");
    assert_eq!(
        (&replayed["batch-more"], &replayed["idempotent-replayed"]),
        (&first["batch-more"], &first["batch-more"])
    );
    assert_eq!(rest.get("batch-more"), None);
    assert_eq!(replayed_at_last.get("batch-more"), None);
    assert_eq!(gateway.database("A").marked().await, 3);
}
