//! Who calls too often, too many at a time, or with bad tokens: each limit at its boundary, and whom it doesn't touch.

use std::net::{IpAddr, Ipv4Addr};

use futures_util::future::join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use turnpike::config::TenantId;
use turnpike::reload::Trigger;

use crate::support::{Answer, Proxy, RawPeer, SlowVendor, TOKEN, TestDatabase, TestGateway, wait_until};

const TOO_MANY: (StatusCode, i64) = (StatusCode::TOO_MANY_REQUESTS, 9103);

fn refusal(answer: &Answer) -> (StatusCode, i64) {
    (answer.status, answer.error_code())
}

/// One of this machine's loopback addresses.
fn loopback(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, last).into()
}

/// A header's number of seconds is as expected, or less by what the test itself took.
fn assert_seconds(told: Option<&str>, expected: i64) {
    let seconds: i64 = told.expect("a header").parse().unwrap();
    assert!((expected - 60..=expected).contains(&seconds), "{seconds} instead of {expected}");
}

/// `RateLimit` says this, and a number of seconds.
fn assert_standing(answer: &Answer, expected: &str, reset: i64) {
    let (standing, seconds) = answer.header("ratelimit").unwrap().rsplit_once(";t=").unwrap();
    assert_eq!(standing, expected);
    assert_seconds(Some(seconds), reset);
}

fn in_flight(gateway: &TestGateway, tenant: &str) -> usize {
    gateway.inner.limits.in_flight(&TenantId::parse(tenant).unwrap())
}

/// How many look-ups of tokens a database has seen. Sessions report as they end, so this ends them.
async fn look_ups(database: &TestDatabase) -> i64 {
    database.end_gateway_sessions().await;
    database
        .count("SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'api_tokens_token_sha256_key'")
        .await
}

// --- requests in flight ---

#[tokio::test]
async fn a_storm_at_one_tenant_is_refused_at_once_and_leaves_the_others_calls_answered() {
    let patient = "max_in_flight = 3\nlock_timeout = \"1m\"\nstatement_timeout = \"1m\"";
    let gateway = TestGateway::with_tenants(["A", "B"])
        .overdue("A", 1)
        .overdue("B", 1)
        .tenant_setting("A", patient)
        .start()
        .await;
    let (database, vendor) = (gateway.database("A"), gateway.vendor("A"));
    let back_office = database.session().await;
    back_office.batch_execute("BEGIN; LOCK TABLE violations").await.unwrap();
    let mut waiting = JoinSet::new();
    for _ in 0..3 {
        let vendor = vendor.clone();
        waiting.spawn(async move { vendor.claim().await });
    }
    wait_until("three claims wait", async || database.gateway_sessions().await == 3).await;

    let storm = join_all((0..100).map(|_| vendor.claim())).await;
    let of_b = gateway.vendor("B").claim().await;
    let sessions = database.gateway_sessions().await;
    back_office.batch_execute("COMMIT").await.unwrap();
    let served = waiting.join_all().await;

    assert!(storm.iter().all(|answer| refusal(answer) == TOO_MANY));
    assert_eq!(storm[0].header("retry-after"), Some("5"));
    assert_eq!(storm[0].json()["retryable"], json!(true));
    assert_eq!(sessions, 3, "a refused call needs none");
    assert_eq!(of_b.tickets(), ["T-1"]);
    assert_eq!(served.iter().map(|answer| answer.tickets().len()).sum::<usize>(), 1);
    assert_eq!(vendor.claim().await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_delivery_is_in_flight_until_its_last_stage_has_ended() {
    let gateway = TestGateway::with_tenants(["A"]).tenant_setting("A", "max_in_flight = 1").start().await;
    gateway.database("A").add_overdue_large(300).await;
    let mut slow = SlowVendor::call(&gateway, "A").await;
    slow.read_until("\"records\"").await;

    let meanwhile = gateway.vendor("A").claim().await;
    let counted = in_flight(&gateway, "A");
    slow.read_to_end().await;
    wait_until("the delivery ends", async || in_flight(&gateway, "A") == 0).await;
    let afterwards = gateway.vendor("A").claim().await;

    assert_eq!((refusal(&meanwhile), counted), (TOO_MANY, 1));
    assert!(slow.is_whole());
    assert_eq!(afterwards.tickets(), [""; 0]);
}

#[tokio::test]
async fn a_token_that_takes_all_that_it_may_leaves_places_to_others() {
    let gateway =
        TestGateway::with_tenants(["A"]).tenant_setting("A", "max_in_flight_per_token = 1").start().await;
    let database = gateway.database("A");
    database.add_token("another", "full").await;
    database.add_overdue_large(300).await;
    let mut slow = SlowVendor::call(&gateway, "A").await;
    slow.read_until("\"records\"").await;

    let same = gateway.vendor("A").claim().await;
    let another = gateway.vendor("A").with_token("another").claim().await;
    slow.read_to_end().await;
    wait_until("the delivery ends", async || in_flight(&gateway, "A") == 0).await;
    let afterwards = gateway.vendor("A").claim().await;

    assert_eq!(refusal(&same), TOO_MANY);
    assert_eq!((another.status, afterwards.status), (StatusCode::OK, StatusCode::OK));
}

#[tokio::test]
async fn callers_who_wait_for_a_frozen_databases_verdict_are_bounded() {
    let gateway = TestGateway::with_tenants(["A", "B"]).overdue("B", 1);
    let proxy = Proxy::start(crate::support::database::cluster().await.port()).await;
    proxy.hold_replies();
    let gateway =
        gateway.database_port("A", proxy.port).tenant_setting("A", "max_in_flight = 2").start().await;

    let mut calls = JoinSet::new();
    for _ in 0..10 {
        let vendor = gateway.vendor("A");
        calls.spawn(async move { vendor.claim().await });
    }
    let mut refused = Vec::new();
    while refused.len() < 8 {
        refused.push(calls.join_next().await.unwrap().unwrap());
    }
    let of_b = gateway.vendor("B").claim().await;

    assert!(refused.iter().all(|answer| refusal(answer) == (StatusCode::SERVICE_UNAVAILABLE, 9104)));
    assert_eq!(of_b.tickets(), ["T-1"]);
    assert_eq!(calls.len(), 2, "these wait");
}

// --- rates ---

#[tokio::test]
async fn a_tokens_rate_is_told_with_every_answer_and_its_excess_needs_no_connection() {
    let gateway = TestGateway::with_tenants(["A"])
        .overdue("A", 1)
        .tenant_setting("A", "requests_per_token = \"3/h\"")
        .start()
        .await;
    let (database, vendor) = (gateway.database("A"), gateway.vendor("A"));
    database.add_token("another", "full").await;

    let claimed = vendor.claim().await;
    let listed = vendor.get("collection_batches").await;
    let unknown_batch = vendor.get("collection_batches/99").await;
    database.end_gateway_sessions().await;
    let refused = join_all((0..20).map(|_| vendor.claim())).await;
    let sessions = database.gateway_sessions().await;
    let another = vendor.clone().with_token("another").claim().await;

    assert_eq!(claimed.tickets(), ["T-1"]);
    assert_eq!((listed.status, unknown_batch.status), (StatusCode::OK, StatusCode::NOT_FOUND));
    for (answer, remaining, reset) in
        [(&claimed, 2, 1200), (&listed, 1, 2400), (&unknown_batch, 0, 3600), (&refused[0], 0, 1200)]
    {
        assert_eq!(answer.header("ratelimit-policy"), Some("\"token\";q=3;w=3600"));
        assert_standing(answer, &format!("\"token\";r={remaining}"), reset);
    }
    assert!(refused.iter().all(|answer| refusal(answer) == TOO_MANY));
    assert_seconds(refused[0].header("retry-after"), 1200);
    assert_eq!(sessions, 0);
    assert_standing(&another, "\"token\";r=2", 1200);
}

#[tokio::test]
async fn a_tenants_rate_holds_for_all_its_tokens_and_for_no_other_tenant() {
    let gateway = TestGateway::with_tenants(["A", "B"])
        .tenant_setting("A", "requests_per_token = \"3/h\"\nrequests_per_tenant = \"10/h burst 4\"")
        .start()
        .await;
    gateway.database("A").add_token("another", "full").await;
    let (first, second) = (gateway.vendor("A"), gateway.vendor("A").with_token("another"));

    for _ in 0..3 {
        assert_eq!(first.claim().await.status, StatusCode::OK);
    }
    let of_token = first.claim().await;
    let last = second.claim().await;
    let of_tenant = second.claim().await;
    let elsewhere = gateway.vendor("B").claim().await;

    assert_eq!(last.header("ratelimit-policy"), Some("\"token\";q=3;w=3600, \"tenant\";q=10;w=3600"));
    assert!(
        last.header("ratelimit").unwrap().starts_with("\"token\";r=2;t=1200, \"tenant\";r=0;t="),
        "{last:?}"
    );
    assert_eq!((refusal(&of_token), refusal(&of_tenant)), (TOO_MANY, TOO_MANY));
    assert_eq!(of_token.header("ratelimit-policy"), Some("\"token\";q=3;w=3600"));
    assert_eq!(of_tenant.header("ratelimit-policy"), Some("\"tenant\";q=10;w=3600"));
    assert_seconds(of_tenant.header("retry-after"), 360);
    assert_eq!((elsewhere.status, elsewhere.header("ratelimit")), (StatusCode::OK, None));
}

#[tokio::test]
async fn previews_and_a_sandbox_count_as_well() {
    let gateway = TestGateway::with_tenants(["A"])
        .overdue("A", 1)
        .tenant_setting("A", "requests_per_token = \"1/h\"")
        .start()
        .await;
    gateway.database("A").add_token("sandbox", "full").await;
    gateway.database("A").execute("UPDATE api_tokens SET sandbox = true WHERE token_id = 2").await;

    for vendor in [gateway.vendor("A"), gateway.vendor("A").with_token("sandbox")] {
        assert_eq!(vendor.claim_with(json!({ "preview": true })).await.tickets(), ["T-1"]);
        assert_eq!(refusal(&vendor.claim_with(json!({ "preview": true })).await), TOO_MANY);
    }
}

#[tokio::test]
async fn who_was_refused_is_served_again_when_its_time_has_come() {
    let gateway = TestGateway::with_tenants(["A"])
        .overdue("A", 1)
        .tenant_setting("A", "requests_per_token = \"2/s burst 1\"")
        .start()
        .await;
    let vendor = gateway.vendor("A");

    let mut refused = None;
    wait_until("a call is refused", async || {
        let answers = join_all((0..10).map(|_| vendor.claim_with(json!({ "preview": true })))).await;
        refused = answers.into_iter().find(|answer| answer.status == StatusCode::TOO_MANY_REQUESTS);
        refused.is_some()
    })
    .await;
    wait_until("a call is served", async || {
        vendor.claim_with(json!({ "preview": true })).await.status == StatusCode::OK
    })
    .await;

    assert_eq!(refused.unwrap().header("retry-after"), Some("1"), "rounded up from half a second");
}

// --- a reload ---

#[tokio::test]
async fn a_reload_resets_no_limit_but_one_that_it_changes() {
    let rate = "requests_per_token = \"2/h\"";
    let gateway = TestGateway::with_tenants(["A"])
        .overdue("A", 1)
        .gateway_setting("failures_per_address = \"3/h\"")
        .tenant_setting("A", rate)
        .start()
        .await;
    let (vendor, bad) = (gateway.vendor("A"), gateway.vendor("A").with_token("bad"));
    let reload = async |from: &str, to: &str| {
        gateway.rewrite(|toml| toml.replace(from, to));
        gateway.reloader.reload(Trigger::Signal).await
    };
    let preview = async || vendor.claim_with(json!({ "preview": true })).await;

    assert_standing(&preview().await, "\"token\";r=1", 1800);
    assert_eq!(bad.claim().await.status, StatusCode::UNAUTHORIZED);
    let changed = reload("name = \"Test A\"", "name = \"Another\"").await;
    let after_another_change = preview().await;
    let refused = preview().await;
    let failed = join_all((0..4).map(|_| bad.claim())).await;
    reload(rate, "requests_per_token = \"5/h\"").await;
    let after_its_own_change = preview().await;
    let removed = reload("requests_per_token = \"5/h\"", "").await;
    let without = preview().await;

    assert_eq!(changed.tenants.changed.len(), 1, "the tenant was replaced");
    assert_standing(&after_another_change, "\"token\";r=0", 3600);
    assert_eq!(refusal(&refused), TOO_MANY);
    assert_eq!(failed.iter().filter(|answer| refusal(answer) == TOO_MANY).count(), 2);
    assert_standing(&after_its_own_change, "\"token\";r=4", 720);
    assert_eq!(removed.tenants.changed[0].settings, ["limits"]);
    assert_eq!((without.status, without.header("ratelimit")), (StatusCode::OK, None));
}

#[tokio::test]
async fn a_reload_counts_on_what_was_in_flight_before() {
    let gateway = TestGateway::with_tenants(["A"]).tenant_setting("A", "max_in_flight = 2").start().await;
    gateway.database("A").add_overdue_large(300).await;
    let mut slow = SlowVendor::call(&gateway, "A").await;
    slow.read_until("\"records\"").await;

    let before = gateway.vendor("A").claim().await;
    gateway.rewrite(|toml| toml.replace("max_in_flight = 2", "max_in_flight = 1"));
    gateway.reloader.reload(Trigger::Signal).await;
    let after = gateway.vendor("A").claim().await;
    slow.read_to_end().await;
    wait_until("a call is served", async || gateway.vendor("A").claim().await.status == StatusCode::OK).await;

    assert_eq!(before.status, StatusCode::OK);
    assert_eq!(refusal(&after), TOO_MANY);
    assert!(slow.is_whole());
}

#[tokio::test]
async fn a_reload_changes_the_connections_of_an_address() {
    let gateway = TestGateway::with_tenants(["A"]).gateway_setting("max_peers_per_address = 1").start().await;
    let _first = RawPeer::connect(gateway.address).await;
    let closed = TcpStream::connect(gateway.address).await.unwrap().read(&mut [0]).await;

    gateway.rewrite(|toml| toml.replace("max_peers_per_address = 1", "max_peers_per_address = 2"));
    let report = gateway.reloader.reload(Trigger::Signal).await;
    let second = gateway.vendor("A").claim().await;

    assert!(matches!(closed, Ok(0) | Err(_)), "{closed:?}");
    assert_eq!(report.gateway_changed, ["max_peers_per_address"]);
    assert_eq!(second.status, StatusCode::OK);
}

// --- failed authentications ---

#[tokio::test]
async fn a_flood_of_bad_tokens_reaches_the_database_as_often_as_it_may_and_no_more() {
    let gateway =
        TestGateway::with_tenants(["A"]).gateway_setting("failures_per_address = \"5/h\"").start().await;
    let before = look_ups(gateway.database("A")).await;
    let vendors = (0..100).map(|number| gateway.vendor("A").with_token(&format!("bad {number}")));

    let answers = join_all(vendors.map(async |vendor| vendor.claim().await)).await;

    let looked_up = look_ups(gateway.database("A")).await - before;
    let told = |wanted| answers.iter().filter(|answer| refusal(answer) == wanted).count();
    assert_eq!((told((StatusCode::UNAUTHORIZED, 9002)), told(TOO_MANY)), (5, 95));
    assert_eq!(looked_up, 5);
    let refused = answers.iter().find(|answer| refusal(answer) == TOO_MANY).unwrap();
    assert_seconds(refused.header("retry-after"), 720);
    assert_eq!(refused.header("ratelimit-policy"), Some("\"failures\";q=5;w=3600"));
    assert_standing(refused, "\"failures\";r=0", 720);
}

#[tokio::test]
async fn a_flood_keeps_out_neither_who_was_let_in_before_nor_who_calls_from_elsewhere() {
    let gateway = TestGateway::with_tenants(["A"])
        .gateway_setting("failures_per_address = \"3/h\"\nauth_cache_ttl = \"1ms\"")
        .start()
        .await;
    let vendor = gateway.vendor("A");
    gateway.database("A").add_token("never seen", "full").await;
    let early = vendor.claim().await;
    let bad = vendor.clone().with_token("bad");
    let flood = join_all((0..10).map(|_| bad.claim())).await;

    let from_here = vendor.claim().await;
    let new_here = vendor.clone().with_token("never seen").claim().await;
    let new_elsewhere = vendor.clone().with_token("never seen").calling_from(loopback(2)).claim().await;

    assert_eq!(flood.iter().filter(|answer| answer.status == StatusCode::UNAUTHORIZED).count(), 3);
    assert_eq!((early.status, from_here.status), (StatusCode::OK, StatusCode::OK));
    assert_eq!(refusal(&new_here), TOO_MANY);
    assert_eq!(new_elsewhere.status, StatusCode::OK);
}

#[tokio::test]
async fn good_calls_use_up_no_tries_however_many_come_at_once() {
    let gateway = TestGateway::with_tenants(["A"])
        .gateway_setting(
            "failures_per_address = \"2/h\"\nfailures_per_tenant = \"2/h\"\nauth_cache_ttl = \"1ms\"",
        )
        .tenant_setting("A", "pool_timeout = \"60s\"\nlock_timeout = \"60s\"")
        .start()
        .await;
    for number in 0..20 {
        gateway.database("A").add_token(&format!("good {number}"), "full").await;
    }
    let vendors = (0..60).map(|number| gateway.vendor("A").with_token(&format!("good {}", number % 20)));

    let answers = join_all(vendors.map(async |vendor| vendor.claim().await)).await;

    assert!(answers.iter().all(|answer| answer.status == StatusCode::OK));
}

/// All that an answer says, but for what is drawn for each, and for seconds.
fn told(answer: &Answer) -> Value {
    let mut told = answer.json();
    told["requestId"] = json!(null);
    told["retries"] = json!(answer.header("retry-after").is_some());
    told["policy"] = json!(answer.header("ratelimit-policy"));
    told["standing"] = json!(answer.header("ratelimit").map(|told| told.rsplit_once(";t=").unwrap().0));
    told
}

#[tokio::test]
async fn the_limit_does_not_tell_a_client_that_exists_from_one_that_does_not() {
    let gateway = TestGateway::with_tenants(["A"])
        .gateway_setting("failures_per_address = \"4/h\"\nfailures_per_tenant = \"10/h\"")
        .start()
        .await;
    let mut seen = Vec::new();
    for (client, first) in [("A", 10), ("NOBODY", 20)] {
        let mut answers = Vec::new();
        // One token again and again; many at once; and then from so many addresses that the client's own limit is met.
        for address in first..first + 4 {
            let vendor = gateway.vendor(client).with_token("bad").calling_from(loopback(address));
            for _ in 0..3 {
                answers.push(told(&vendor.claim().await));
            }
            let at_once = join_all((0..4).map(|_| vendor.claim())).await;
            let mut at_once: Vec<Value> = at_once.iter().map(told).collect();
            at_once.sort_by_key(Value::to_string);
            answers.extend(at_once);
        }
        seen.push(answers);
    }

    let statuses: Vec<_> = seen[0].iter().map(|told| told["status"].as_i64().unwrap()).collect();
    let refused = statuses.iter().filter(|status| **status == 429).count();
    assert_eq!((statuses.len(), refused), (28, 18));
    assert_eq!(seen[0], seen[1]);
}

#[tokio::test]
async fn a_tenants_own_failures_keep_out_no_one_at_another() {
    let gateway =
        TestGateway::with_tenants(["A", "B"]).gateway_setting("failures_per_tenant = \"3/h\"").start().await;
    let bad = gateway.vendor("A").with_token("bad");

    let flood = join_all((0..6).map(|_| bad.claim())).await;
    let new_at_a = gateway.vendor("A").calling_from(loopback(2)).claim().await;
    let new_at_b = gateway.vendor("B").claim().await;

    assert_eq!(flood.iter().filter(|answer| refusal(answer) == TOO_MANY).count(), 3);
    assert_eq!(refusal(&new_at_a), TOO_MANY);
    assert_eq!(new_at_b.status, StatusCode::OK);
}

#[tokio::test]
async fn a_database_that_is_down_is_no_failure_of_its_callers() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let gateway = TestGateway::with_tenants(["A"])
        .gateway_setting("failures_per_address = \"2/h\"")
        .database_port("A", closed)
        .start()
        .await;

    for _ in 0..5 {
        let answer = gateway.vendor("A").claim().await;
        assert_eq!(refusal(&answer), (StatusCode::SERVICE_UNAVAILABLE, 9104));
    }
}

// --- connections ---

#[tokio::test]
async fn an_address_with_as_many_connections_as_it_may_have_is_closed_at_once() {
    let gateway = TestGateway::with_tenants(["A"]).gateway_setting("max_peers_per_address = 2").start().await;
    let mut first = RawPeer::connect(gateway.address).await;
    let _second = RawPeer::connect(gateway.address).await;

    let mut third = TcpStream::connect(gateway.address).await.unwrap();
    let read = third.read(&mut [0]).await;
    let elsewhere = gateway.vendor("A").calling_from(loopback(2)).claim().await;
    first.send_claim("A", TOKEN).await;
    let answer = first.read_to_end().await;

    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    assert_eq!(elsewhere.status, StatusCode::OK);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    wait_until("the first one's place is free", async || {
        let vendor = gateway.vendor("A");
        vendor.request().send().await.is_ok()
    })
    .await;
}
