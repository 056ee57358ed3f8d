//! Previews, sandbox tokens and limits: the claim's own answer, with nothing marked, or with no more than was asked for.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use reqwest::StatusCode;
use serde_json::json;
use turnpike::database::{Statement, statements as sql};

use crate::support::{Answer, SlowVendor, TestDatabase, TestGateway, Vendor, turnpike, wait_until};

/// Violations of a batch that no vendor's kernel can take in.
const MANY: i32 = 20;

fn tickets(numbers: impl IntoIterator<Item = i32>) -> Vec<String> {
    numbers.into_iter().map(|number| format!("T-{number}")).collect()
}

async fn preview(vendor: &Vendor) -> Answer {
    vendor.claim_with(json!({"preview": true})).await
}

async fn preview_limited(vendor: &Vendor, limit: i64) -> Answer {
    vendor.claim_with(json!({"preview": true, "limit": limit})).await
}

async fn claim_limited(vendor: &Vendor, limit: i64) -> Answer {
    vendor.claim_with(json!({"limit": limit})).await
}

fn batch_headers(answer: &Answer) -> [Option<&str>; 4] {
    ["batch-id", "batch-count", "batch-more", "idempotent-replayed"].map(|name| answer.header(name))
}

/// Many violations with vehicles and people, several due at once, and among them one for each reason not to be sent.
async fn add_varied_violations(database: &TestDatabase) {
    database.load_documented_sample().await;
    database
        .execute(
            "INSERT INTO violations (\"Ticket\", \"TicketType\", \"Due\", \"Fine\", \"VehicleID\", \"LocationID\", userid)
             SELECT 'T-' || n, 2, timestamptz '2020-01-01Z' - n * 7 % 11 * interval '1 day', 50, 8, 6, 73
               FROM generate_series(1, 130) AS n;
             UPDATE violations SET \"SentToCollections\" = now() WHERE \"Ticket\" = 'T-10';
             UPDATE violations SET \"Due\" = now() + interval '1 hour' WHERE \"Ticket\" = 'T-20';
             UPDATE violations SET \"Spoiled\" = 1 WHERE \"Ticket\" = 'T-30';
             UPDATE violations SET \"Warning\" = 1 WHERE \"Ticket\" = 'T-40';
             UPDATE violations SET \"TicketType\" = (SELECT min(\"TicketTypeID\") FROM ticket_categories)
              WHERE \"Ticket\" = 'T-50';
             INSERT INTO payments (\"ViolationID\", amount)
             SELECT \"ViolationID\", CASE \"Ticket\" WHEN 'T-60' THEN 50 ELSE 45 END
               FROM violations WHERE \"Ticket\" IN ('T-60', 'T-70');
             INSERT INTO collection_holds (\"ViolationID\", reason)
             SELECT \"ViolationID\", 'test' FROM violations WHERE \"Ticket\" = 'T-80'",
        )
        .await;
}

// A preview --------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_preview_is_the_claim_that_follows_it() {
    let eligibility = "eligibility = { grace_days = 3, minimum_balance = \"5\" }";
    let gateway = TestGateway::with_tenants(["A"]).tenant_setting("A", eligibility).start().await;
    let vendor = gateway.vendor("A");
    add_varied_violations(gateway.database("A")).await;

    let preview = preview(&vendor).await;
    let limited = preview_limited(&vendor, 60).await;
    let claim = vendor.claim().await;

    let previewed = preview.tickets();
    assert!(previewed.len() > 115, "{previewed:?}");
    for absent in ["T-10", "T-20", "T-30", "T-40", "T-60", "T-70", "T-80"] {
        assert!(!previewed.contains(&absent.to_owned()), "{absent}");
    }
    assert_eq!(preview.records_text(), claim.records_text());
    assert_eq!(limited.tickets(), previewed[..60]);
    let count = claim.header("batch-count");
    assert_eq!(batch_headers(&preview), [None, count, None, None]);
    assert_eq!(batch_headers(&limited), [None, Some("60"), Some("true"), None]);
    assert_eq!(preview.json()["state"]["version"], claim.json()["state"]["version"]);
    assert_eq!(preview.header("content-type"), claim.header("content-type"));
}

#[tokio::test]
async fn a_preview_writes_nothing() {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 120).start().await;
    let (vendor, database) = (gateway.vendor("A"), gateway.database("A"));
    let before = database.everything().await;

    let mut answers = vec![preview(&vendor).await, preview_limited(&vendor, 7).await];
    let keyed = vendor.request_with(json!({"preview": true})).header("Idempotency-Key", "night-1");
    answers.push(Answer::to(keyed).await);
    let after = database.everything().await;
    let claim = vendor.claim_with_key("night-1").await;

    assert_eq!(answers.iter().map(|answer| answer.records().len()).collect::<Vec<_>>(), [120, 7, 120]);
    assert_eq!(after, before);
    assert_eq!(claim.records().len(), 120);
    assert_eq!(claim.header("idempotent-replayed"), None, "the preview took no key");
    assert_ne!(database.everything().await, before, "a claim writes");
}

#[tokio::test]
async fn a_preview_of_nothing_is_an_empty_document() {
    let gateway = TestGateway::with_tenants(["A"]).start().await;
    let vendor = gateway.vendor("A");

    let preview = preview(&vendor).await;
    let claim = vendor.claim().await;

    assert_eq!(preview.tickets(), Vec::<String>::new());
    assert_eq!(preview.records_text(), claim.records_text());
    assert_eq!(batch_headers(&preview), [None; 4]);
}

#[tokio::test]
async fn a_preview_waits_for_no_claim_and_for_no_back_office() {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 3).start().await;
    let (vendor, database) = (gateway.vendor("A"), gateway.database("A"));
    let claims = database.session().await;
    let back_office = database.session().await;
    claims.batch_execute("SELECT pg_advisory_lock(1953853040, 1)").await.unwrap(); // the claims' own
    back_office
        .batch_execute("BEGIN; SELECT FROM violations WHERE \"Ticket\" = 'T-2' FOR UPDATE")
        .await
        .unwrap();

    let claiming = tokio::spawn({
        let vendor = vendor.clone();
        async move { vendor.claim().await }
    });
    wait_until("the claim waits", async || database.gateway_waits().await).await;
    let preview = preview(&vendor).await;
    let claim_waits_still = database.gateway_waits().await;
    claims.batch_execute("SELECT pg_advisory_unlock(1953853040, 1)").await.unwrap();
    let claim = claiming.await.unwrap();
    back_office.batch_execute("COMMIT").await.unwrap();

    assert_eq!(preview.tickets(), tickets(1..=3));
    assert!(claim_waits_still, "the preview came while the lock was held");
    assert_eq!(claim.tickets(), ["T-1", "T-3"], "a claim passes over what is locked");
}

#[tokio::test]
async fn a_preview_keeps_nobody_waiting() {
    let gateway = TestGateway::with_tenants(["A"]).start().await;
    let (vendor, database) = (gateway.vendor("A"), gateway.database("A"));
    database.add_overdue_large(MANY).await;
    let back_office = database.session().await;

    let mut slow = SlowVendor::call_with(gateway.address, "A", "", json!({"preview": true})).await;
    slow.read_until("\"T-2\"").await;
    back_office
        .batch_execute("SET lock_timeout = '10s'; BEGIN; LOCK TABLE violations, collection_batches; ROLLBACK")
        .await
        .expect("nothing is held while a slow vendor reads");
    let claim = claim_limited(&vendor, i64::from(MANY) - 1).await;
    slow.read_to_end().await;

    assert_eq!(claim.tickets(), tickets(1..MANY));
    assert!(slow.is_whole(), "what is claimed meanwhile is no business of a preview");
    assert!(slow.has_read(&format!("\"T-{MANY}\"")));
    assert_eq!(database.batch_states().await, ["released"]);
}

#[tokio::test]
async fn a_preview_that_is_given_up_leaves_nothing() {
    let gateway = TestGateway::with_tenants(["A"]).start().await;
    let database = gateway.database("A");
    database.add_overdue_large(MANY).await;
    let before = database.everything().await;

    let mut gone = SlowVendor::call_with(gateway.address, "A", "", json!({"preview": true})).await;
    gone.read_until("\"T-2\"").await;
    gone.reset();
    gateway.inner.deliveries.close();
    gateway.inner.deliveries.wait().await;

    assert_eq!(database.everything().await, before);
}

#[tokio::test]
async fn a_preview_may_be_limited() {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 5).start().await;
    let vendor = gateway.vendor("A");

    let two = preview_limited(&vendor, 2).await;
    let two_again = preview_limited(&vendor, 2).await;
    let five = preview_limited(&vendor, 5).await;
    let nine = preview_limited(&vendor, 9).await;

    assert_eq!(two.tickets(), tickets(1..=2));
    assert_eq!(two_again.records_text(), two.records_text());
    assert_eq!(batch_headers(&two), [None, Some("2"), Some("true"), None]);
    for all in [&five, &nine] {
        assert_eq!(all.tickets(), tickets(1..=5));
        assert_eq!(batch_headers(all), [None, Some("5"), None, None]);
    }
    assert_eq!(gateway.database("A").marked().await, 0);
}

#[tokio::test]
async fn a_preview_needs_what_a_claim_needs() {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 1).start().await;
    let (vendor, database) = (gateway.vendor("A"), gateway.database("A"));
    let good = preview(&vendor).await;

    database.execute("DELETE FROM api_permissions").await;
    let forbidden = preview(&vendor).await;
    database.execute("UPDATE api_tokens SET revoked_at = now()").await;
    let other = vendor.clone().with_token("unknown");
    let unknown = preview(&other).await;

    assert_eq!(good.records().len(), 1);
    assert_eq!((forbidden.status, forbidden.error_code()), (StatusCode::FORBIDDEN, 9002));
    assert_eq!((unknown.status, unknown.error_code()), (StatusCode::UNAUTHORIZED, 9002));
}

#[tokio::test]
async fn a_revoked_token_previews_nothing() {
    let gateway = TestGateway::with_tenants(["A"])
        .overdue("A", 1)
        .gateway_setting("auth_cache_ttl = \"1h\"")
        .start()
        .await;
    let vendor = gateway.vendor("A");
    let good = preview(&vendor).await;

    gateway.database("A").execute("UPDATE api_tokens SET revoked_at = now()").await;
    let revoked = preview(&vendor).await;

    assert_eq!(good.records().len(), 1);
    assert_eq!((revoked.status, revoked.error_code()), (StatusCode::UNAUTHORIZED, 9002));
}

// Sandbox tokens ---------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_sandbox_token_only_ever_previews() {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 3).start().await;
    let database = gateway.database("A");
    let issued = turnpike(
        &gateway.config_file(),
        "token issue --tenant A --vendor Sandbox --sandbox --fields full --quiet",
    )
    .await;
    let sandbox = gateway.vendor("A").with_token(issued.output().trim());
    let before = database.everything().await;

    let claims = [
        sandbox.claim().await,
        sandbox.claim().await,
        sandbox.claim_with(json!({"preview": false})).await,
        sandbox.claim_with_key("night-1").await,
        sandbox.claim_with_key("night-1").await,
    ];
    let limited = claim_limited(&sandbox, 2).await;
    let listed = sandbox.get("collection_batches").await;
    let after = database.everything().await;
    let real = gateway.vendor("A").claim().await;

    for claim in &claims {
        assert_eq!(claim.records_text(), real.records_text());
        assert_eq!(batch_headers(claim), [None, Some("3"), None, None]);
    }
    assert_eq!(limited.tickets(), tickets(1..=2));
    assert_eq!(batch_headers(&limited), [None, Some("2"), Some("true"), None]);
    assert_eq!(listed.json(), json!({"batches": [], "next": null}));
    assert_eq!(after, before);
    assert_eq!(real.tickets(), tickets(1..=3));
    assert_eq!(sandbox.claim().await.tickets(), Vec::<String>::new(), "what is sent is previewed no more");
}

#[tokio::test]
async fn a_sandbox_token_replays_and_acknowledges_no_batch() {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 3).start().await;
    let database = gateway.database("A");
    database.add_token("sandbox", "full").await;
    database.execute("UPDATE api_tokens SET sandbox = true WHERE token_id = 2").await;
    let sandbox = gateway.vendor("A").with_token("sandbox");
    let real = gateway.vendor("A").claim_with_key("night-1").await;

    let replay = sandbox.get("collection_batches/1").await;
    let acknowledged = sandbox.post("collection_batches/1/acknowledge", json!({"records": 3})).await;
    let same_key = sandbox.claim_with_key("night-1").await;

    assert_eq!(real.tickets(), tickets(1..=3));
    for answer in [&replay, &acknowledged] {
        assert_eq!((answer.status, answer.error_code()), (StatusCode::NOT_FOUND, 9009));
    }
    assert_eq!(same_key.tickets(), Vec::<String>::new());
    let acknowledged = "SELECT count(*) FROM collection_batches WHERE acknowledged_at IS NOT NULL";
    assert_eq!(database.count(acknowledged).await, 0);
}

// Limits -----------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_limit_hands_over_part_after_part_until_none_is_left() {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 7).start().await;
    let (vendor, database) = (gateway.vendor("A"), gateway.database("A"));

    let mut parts = Vec::new();
    for number in 1..=4 {
        let part = claim_limited(&vendor, 3).await;
        parts.push((part.tickets(), part.header("batch-more") == Some("true"), database.marked().await));
        let batch = (number < 4).then(|| number.to_string());
        assert_eq!(part.header("batch-id"), batch.as_deref());
    }

    let expected = [
        (tickets(1..=3), true, 3),
        (tickets(4..=6), true, 6),
        (tickets(7..=7), false, 7),
        (tickets([]), false, 7),
    ];
    assert_eq!(parts, expected);
    assert_eq!(database.batch_states().await, ["released"; 3]);
}

#[tokio::test]
async fn a_limit_takes_the_oldest_whether_they_were_on_hold_or_not() {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 7).start().await;
    let (vendor, database) = (gateway.vendor("A"), gateway.database("A"));
    database
        .execute(
            "INSERT INTO collection_holds (\"ViolationID\", reason, until)
             SELECT \"ViolationID\", 'payment plan', now() - interval '1 day' FROM violations
              WHERE \"Ticket\" IN ('T-2', 'T-3', 'T-6');
             INSERT INTO collection_holds (\"ViolationID\", reason, until)
             SELECT \"ViolationID\", 'bankruptcy', now() + interval '1 day' FROM violations WHERE \"Ticket\" = 'T-4'",
        )
        .await;

    let mut parts = Vec::new();
    for _ in 1..=4 {
        let previewed = preview_limited(&vendor, 2).await;
        let part = claim_limited(&vendor, 2).await;
        assert_eq!(previewed.tickets(), part.tickets());
        assert_eq!(previewed.header("batch-more"), part.header("batch-more"));
        parts.push((part.tickets(), part.header("batch-more") == Some("true"), database.marked().await));
    }

    let expected = [
        (tickets([1, 2]), true, 2),
        (tickets([3, 5]), true, 4),
        (tickets([6, 7]), false, 6),
        (tickets([]), false, 6),
    ];
    assert_eq!(parts, expected);
}

#[tokio::test]
async fn a_limit_that_ends_with_the_last_violation_leaves_no_more() {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 6).start().await;
    let vendor = gateway.vendor("A");

    let first = claim_limited(&vendor, 3).await;
    let last = claim_limited(&vendor, 3).await;

    assert_eq!((first.tickets(), first.header("batch-more")), (tickets(1..=3), Some("true")));
    assert_eq!((last.tickets(), last.header("batch-more")), (tickets(4..=6), None));
}

#[tokio::test]
async fn a_limit_larger_than_a_chunk_keeps_the_order() {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 250).start().await;
    let vendor = gateway.vendor("A");

    let first = claim_limited(&vendor, 120).await;
    let second = claim_limited(&vendor, 1_000_000).await;

    assert_eq!((first.tickets(), first.header("batch-more")), (tickets(1..=120), Some("true")));
    assert_eq!((second.tickets(), second.header("batch-more")), (tickets(121..=250), None));
    assert_eq!(second.header("batch-count"), Some("130"));
}

#[tokio::test]
async fn a_limit_that_cannot_be_marks_nothing() {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 2).start().await;
    let vendor = gateway.vendor("A");

    for attributes in [
        json!({"limit": 0}),
        json!({"limit": -1}),
        json!({"limit": 1.5}),
        json!({"limit": "1"}),
        json!({"limit": 1_000_001}),
        json!({"preview": "yes"}),
        json!({"preview": 1}),
        json!({"preview": true, "limit": 0}),
    ] {
        let answer = vendor.claim_with(attributes.clone()).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{attributes}: {}", answer.text);
        assert_eq!(answer.error_code(), 9033, "{attributes}");
    }
    assert_eq!(gateway.database("A").marked().await, 0);
    assert_eq!(vendor.claim_with(json!({"limit": null, "preview": null})).await.tickets(), tickets(1..=2));
}

#[tokio::test]
async fn fifty_claims_of_one_violation_at_once_hand_over_each_once() {
    let settings = "pool_timeout = \"60s\"\nlock_timeout = \"60s\"";
    let gateway =
        TestGateway::with_tenants(["A"]).tenant_setting("A", settings).overdue("A", 50).start().await;
    let (vendor, database) = (gateway.vendor("A"), gateway.database("A"));

    let answers = join_all((0..50).map(|_| claim_limited(&vendor, 1))).await;

    let more = answers.iter().filter(|answer| answer.header("batch-more").is_some()).count();
    let mut handed_over: Vec<String> = answers.iter().flat_map(Answer::tickets).collect();
    handed_over.sort_unstable();
    let mut expected = tickets(1..=50);
    expected.sort_unstable();
    assert_eq!(handed_over, expected);
    assert!(answers.iter().all(|answer| answer.tickets().len() == 1));
    assert_eq!(more, 49, "only the last claim leaves nothing");
    assert_eq!(database.batch_states().await, ["released"; 50]);
    assert_eq!(vendor.claim().await.tickets(), Vec::<String>::new());
}

// One truth --------------------------------------------------------------------------------------------------------

/// What each parameter is called in the statement's head: `$4  integer grace_days` gives `$4`, `grace_days`.
fn parameter_names(statement: &Statement) -> BTreeMap<String, String> {
    let head: Vec<&str> = statement.sql.lines().take_while(|line| line.starts_with("--")).collect();
    let head = head.join(" ");
    let described = head.split('$').skip(1).map(|text| {
        let mut words = text.split_whitespace();
        let (number, name) = (words.next().unwrap(), words.nth(1).unwrap());
        (format!("${number}"), name.trim_matches(',').to_owned())
    });
    described.collect()
}

/// The conditions between two texts of the statement, one a line, parameters by name, without those named.
fn conditions(statement: &Statement, from: &str, to: &str, without: &[&str]) -> Vec<String> {
    let (_, rest) = statement.sql.split_once(from).unwrap();
    let (block, _) = rest.split_once(to).unwrap();
    let mut block = format!("{from}{block}");
    // The longest first: $1 is part of $11.
    for (number, name) in parameter_names(statement).iter().rev() {
        block = block.replace(number, &format!(":{name}"));
    }
    let lines = block.lines().map(str::trim).filter(|line| !line.is_empty() && !without.contains(line));
    lines.map(str::to_owned).collect()
}

#[test]
fn a_preview_and_a_claim_have_the_same_conditions() {
    let violations =
        |statement, without: &[&str]| conditions(statement, "WHERE v.collectable", "LIMIT", without);
    let callers =
        |statement, without: &[&str]| conditions(statement, "WHERE t.token_sha256", "),\n", without);

    let previewed = violations(&sql::PREVIEW, &[]);
    let claimed = violations(&sql::CLAIM, &[]);
    let may_preview = callers(&sql::PREVIEW, &[]);
    let may_claim = callers(&sql::CLAIM, &["AND NOT t.sandbox"]);

    assert_eq!(previewed, claimed);
    assert_eq!(may_preview, may_claim);
    assert!(previewed.iter().any(|line| line.contains(":grace_days")), "{previewed:?}");
    assert!(previewed.last().is_some_and(|line| line.starts_with("ORDER BY")), "{previewed:?}");
    assert_eq!(may_preview.len(), 4, "{may_preview:?}");
    assert_ne!(callers(&sql::CLAIM, &[]), may_claim, "a condition more is a difference");
}
