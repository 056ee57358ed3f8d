//! A vendor's own batches: listed, handed over again, acknowledged; another's aren't there.

use reqwest::header::AUTHORIZATION;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Answer, SlowVendor, TOKEN, TestDatabase, TestGateway, Vendor, turnpike, wait_until};

const BATCHES: &str = "collection_batches";

fn batch(number: impl std::fmt::Display) -> String {
    format!("{BATCHES}/{number}")
}

fn acknowledge(number: impl std::fmt::Display) -> String {
    format!("{BATCHES}/{number}/acknowledge")
}

/// The batches' numbers of a page.
fn numbers(page: &Answer) -> Vec<i64> {
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    let batches = page.json()["batches"].as_array().expect("a list").clone();
    batches.iter().map(|batch| batch["batch_id"].as_i64().unwrap()).collect()
}

fn assert_refused(what: &str, answer: &Answer, status: u16, code: i64) {
    assert_eq!(answer.status.as_u16(), status, "{what}: {}", answer.text);
    assert_eq!(answer.error_code(), code, "{what}");
    for header in ["batch-id", "batch-count", "idempotent-replayed"] {
        assert_eq!(answer.header(header), None, "{what}");
    }
}

/// A gateway whose tenant A's vendor has `count` released batches of one violation each.
async fn gateway_with_batches(count: i32) -> TestGateway {
    let gateway = TestGateway::with_tenants(["A", "B"]).overdue("A", count).start().await;
    for _ in 0..count {
        gateway.vendor("A").claim_with(json!({"limit": 1})).await.records();
    }
    gateway
}

async fn acknowledged_at(database: &TestDatabase) -> Option<String> {
    database.query("SELECT acknowledged_at::text FROM collection_batches", &[]).await[0].get(0)
}

/// Leaves a batch void: its vendor goes away in the middle.
async fn void_a_batch(gateway: &TestGateway) {
    let mut gone = SlowVendor::call(gateway, "A").await;
    gone.read_until("\"T-10\"").await;
    gone.close().await;
    let states = async || gateway.database("A").batch_states().await;
    wait_until("the batch is void", async || states().await == ["void"]).await;
}

// The list -------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_vendor_lists_its_batches_newest_first() {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 5).start().await;
    let (vendor, database) = (gateway.vendor("A"), gateway.database("A"));
    vendor.claim_with(json!({"limit": 2})).await.records();
    vendor.claim_with_key("night-1").await.records();
    database.execute("UPDATE collection_batches SET claimed_at = '2026-01-02 03:04:05.678Z', released_at = '2026-01-02 03:04:06Z'").await;

    let posted = vendor.post(BATCHES, json!({})).await;
    let got = vendor.get(BATCHES).await;

    let one = |batch_id: i64, records: i64, key: Value| {
        json!({
            "batch_id": batch_id,
            "state": "released",
            "records": records,
            "claimed_at": "2026-01-02T03:04:05.678000Z",
            "released_at": "2026-01-02T03:04:06.000000Z",
            "acknowledged_at": null,
            "idempotency_key": key,
        })
    };
    let expected = json!({"batches": [one(2, 3, json!("night-1")), one(1, 2, Value::Null)], "next": null});
    assert_eq!(posted.json(), expected);
    assert_eq!(got.text, posted.text);
    for answer in [&posted, &got] {
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    }
}

#[tokio::test]
async fn a_vendor_without_batches_has_an_empty_list() {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 1).start().await;

    let page = gateway.vendor("A").get(BATCHES).await;

    assert_eq!(page.text, "{\"batches\":[],\"next\":null}");
    assert_eq!(gateway.database("A").marked().await, 0);
}

#[tokio::test]
async fn pages_miss_no_batch_and_repeat_none_though_new_ones_come() {
    let gateway = gateway_with_batches(7).await;
    let vendor = gateway.vendor("A");

    let first = vendor.post(BATCHES, json!({"limit": 3})).await;
    gateway.database("A").add_overdue(1).await;
    vendor.claim().await.records();
    let second = vendor.post(BATCHES, json!({"limit": 3, "before": first.json()["next"]})).await;
    let next = second.json()["next"].clone();
    let third = vendor.get(&format!("{BATCHES}?limit=3&before={next}")).await;

    assert_eq!(numbers(&first), [7, 6, 5]);
    assert_eq!(numbers(&second), [4, 3, 2]);
    assert_eq!(numbers(&third), [1]);
    assert_eq!(third.json()["next"], Value::Null);
    assert_eq!(numbers(&vendor.get(BATCHES).await), [8, 7, 6, 5, 4, 3, 2, 1]);
}

#[tokio::test]
async fn a_last_page_that_is_full_has_no_next() {
    let gateway = gateway_with_batches(4).await;
    let vendor = gateway.vendor("A");

    let first = vendor.get(&format!("{BATCHES}?limit=2")).await;
    let last = vendor.get(&format!("{BATCHES}?limit=2&before=3")).await;
    let beyond = vendor.get(&format!("{BATCHES}?limit=2&before=1")).await;

    assert_eq!((numbers(&first), first.json()["next"].clone()), (vec![4, 3], json!(3)));
    assert_eq!((numbers(&last), last.json()["next"].clone()), (vec![2, 1], Value::Null));
    assert_eq!((numbers(&beyond), beyond.json()["next"].clone()), (vec![], Value::Null));
}

#[tokio::test]
async fn a_page_has_fifty_batches_unless_told_otherwise_and_at_most_500() {
    let gateway = TestGateway::with_tenants(["A"]).start().await;
    gateway
        .database("A")
        .execute(
            "INSERT INTO collection_batches
                    (claim_id, token_id, state, violation_ids, claimed_at, lease_until, gateway, released_at)
             SELECT gen_random_uuid(), 1, 'released', '{1}', now(), now(), 'test', now() FROM generate_series(1, 501)",
        )
        .await;
    let vendor = gateway.vendor("A");

    let usual = vendor.get(BATCHES).await;
    let null = vendor.post(BATCHES, json!({"limit": null, "before": null})).await;
    let largest = vendor.get(&format!("{BATCHES}?limit=500")).await;

    assert_eq!(numbers(&usual), (452..=501).rev().collect::<Vec<_>>());
    assert_eq!(null.text, usual.text);
    assert_eq!(numbers(&largest), (2..=501).rev().collect::<Vec<_>>());
    assert_eq!(largest.json()["next"], json!(2));
}

#[tokio::test]
async fn a_page_that_cannot_be_is_refused() {
    let gateway = gateway_with_batches(1).await;
    let vendor = gateway.vendor("A");

    for attributes in [
        json!({"limit": 0}),
        json!({"limit": 501}),
        json!({"limit": -1}),
        json!({"limit": 1.5}),
        json!({"limit": "ten"}),
        json!({"limit": "10"}),
        json!({"limit": [1]}),
        json!({"before": 0}),
        json!({"before": "1"}),
        json!({"before": true}),
    ] {
        assert_refused(&attributes.to_string(), &vendor.post(BATCHES, attributes.clone()).await, 422, 9033);
    }
    for query in ["limit=0", "limit=501", "limit=ten", "limit=", "limit=1.5", "before=0", "before=one"] {
        assert_refused(query, &vendor.get(&format!("{BATCHES}?{query}")).await, 422, 9033);
    }
    assert_eq!(numbers(&vendor.get(&format!("{BATCHES}?limit=500&unknown=1")).await), [1]);
}

#[tokio::test]
async fn a_void_batch_is_not_there() {
    let gateway = TestGateway::with_tenants(["A"]).start().await;
    gateway.database("A").add_overdue_large(20).await;
    let vendor = gateway.vendor("A");
    void_a_batch(&gateway).await;

    let listed = vendor.get(BATCHES).await;
    let replay = vendor.get(&batch(1)).await;
    let acknowledged = vendor.post(&acknowledge(1), json!({"records": 20})).await;
    let fresh = vendor.claim().await;
    let listed_later = vendor.get(BATCHES).await;

    assert_eq!(numbers(&listed), Vec::<i64>::new());
    assert_refused("replay", &replay, 404, 9009);
    assert_refused("acknowledge", &acknowledged, 404, 9009);
    assert_eq!(fresh.records().len(), 20);
    assert_eq!(numbers(&listed_later).len(), 1);
    assert_eq!(gateway.database("A").batch_states().await, ["void", "released"]);
}

// Whose they are -------------------------------------------------------------------------------------------------

#[tokio::test]
async fn anothers_batch_is_not_there() {
    let gateway = gateway_with_batches(2).await;
    gateway.database("A").add_token("another", "full").await;
    let of_a =
        Answer::to(gateway.vendor("A").client.get(gateway.vendor("A").url_of(&batch(2))).bearer_auth(TOKEN))
            .await;

    for (what, vendor) in [
        ("another token", gateway.vendor("A").with_token("another")),
        ("another tenant", gateway.vendor("B")),
    ] {
        assert_eq!(numbers(&vendor.get(BATCHES).await), Vec::<i64>::new(), "{what}");
        assert_refused(what, &vendor.get(&batch(2)).await, 404, 9009);
        assert_refused(what, &vendor.post(&batch(2), json!({})).await, 404, 9009);
        assert_refused(what, &vendor.post(&acknowledge(2), json!({"records": 1})).await, 404, 9009);
        assert_refused(what, &vendor.post(&acknowledge(2), json!({"records": 7})).await, 404, 9009);
    }

    assert_eq!(of_a.tickets(), ["T-2"]);
    let acknowledged = "SELECT count(*) FROM collection_batches WHERE acknowledged_at IS NOT NULL";
    assert_eq!(gateway.database("A").count(acknowledged).await, 0);
}

#[tokio::test]
async fn a_number_that_no_batch_has_is_404() {
    let gateway = gateway_with_batches(1).await;
    let vendor = gateway.vendor("A");

    for number in [
        "2",
        "0",
        "-1",
        "one",
        "1x",
        "1.0",
        "%31",
        "9223372036854775807",
        "9223372036854775808",
        "99999999999999999999999",
    ] {
        assert_refused(number, &vendor.get(&batch(number)).await, 404, 9009);
        assert_refused(number, &vendor.post(&batch(number), json!({})).await, 404, 9009);
        assert_refused(number, &vendor.post(&acknowledge(number), json!({"records": 1})).await, 404, 9009);
    }
    assert_eq!(vendor.get(&batch(1)).await.tickets(), ["T-1"]);
}

#[tokio::test]
async fn a_batch_that_is_being_delivered_is_neither_replayed_nor_acknowledged() {
    let gateway = TestGateway::with_tenants(["A"]).start().await;
    gateway.database("A").add_overdue_large(20).await;
    let vendor = gateway.vendor("A");

    let mut slow = SlowVendor::call(&gateway, "A").await;
    slow.read(1).await;
    let replay = vendor.get(&batch(1)).await;
    let acknowledged = vendor.post(&acknowledge(1), json!({"records": 20})).await;
    let listed = vendor.get(BATCHES).await;
    slow.read_to_end().await;
    let replay_later = vendor.get(&batch(1)).await;

    for (what, refused) in [("replay", &replay), ("acknowledge", &acknowledged)] {
        assert_refused(what, refused, 409, 9101);
        assert!(refused.header("retry-after").is_some_and(|seconds| seconds != "0"), "{what}");
    }
    assert_eq!(listed.json()["batches"][0]["state"], json!("open"));
    assert_eq!(listed.json()["batches"][0]["released_at"], Value::Null);
    assert!(slow.is_whole());
    assert_eq!(replay_later.records().len(), 20);
    assert_eq!(acknowledged_at(gateway.database("A")).await, None);
}

// Replay ---------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_replay_repeats_the_first_answer_byte_for_byte() {
    let gateway = TestGateway::with_tenants(["A"]).start().await;
    let (vendor, database) = (gateway.vendor("A"), gateway.database("A"));
    database.load_documented_sample().await;
    database
        .execute(
            "INSERT INTO violations (\"Ticket\", \"TicketType\", \"Due\", \"Fine\", \"VehicleID\", \"LocationID\", userid)
             SELECT 'T-' || n, 2, timestamptz '2020-01-01Z' - n % 7 * interval '1 day', 50, 8, 6, 73
               FROM generate_series(1, 130) AS n",
        )
        .await;

    let first = vendor.claim().await;
    let but_the_ledger = async || {
        let mut everything = database.everything().await;
        everything.retain(|(table, _)| table != "collection_batches");
        everything
    };
    let before = but_the_ledger().await;
    let got = vendor.get(&batch(1)).await;
    let posted = vendor.post(&batch(1), json!({})).await;

    assert!(first.records().len() >= 130);
    assert_eq!(first.header("idempotent-replayed"), None);
    let token = |answer: &Answer| answer.json()["state"]["csrf_token"].as_str().unwrap().to_owned();
    for replay in [&got, &posted] {
        assert_eq!(replay.text.replace(&token(replay), &token(&first)), first.text);
        assert_ne!(token(replay), token(&first));
        assert_eq!(replay.header("idempotent-replayed"), Some("true"));
        assert_eq!(replay.header("batch-id"), Some("1"));
        assert_eq!(replay.header("batch-count"), first.header("batch-count"));
        assert_eq!(replay.header("batch-more"), None);
    }
    assert_eq!(but_the_ledger().await, before, "a replay writes nothing but when it was");
}

#[tokio::test]
async fn a_replay_by_number_ignores_an_idempotency_key() {
    let gateway = gateway_with_batches(2).await;
    let vendor = gateway.vendor("A");

    let request = vendor.request_to(&batch(1), json!({})).header("Idempotency-Key", "night-1");
    let replay = Answer::to(request).await;

    assert_eq!(replay.tickets(), ["T-1"]);
    let keyed = "SELECT count(*) FROM collection_batches WHERE idempotency_key IS NOT NULL";
    assert_eq!(gateway.database("A").count(keyed).await, 0);
}

#[tokio::test]
async fn a_replay_shows_what_the_token_may_see_today() {
    let gateway = TestGateway::with_tenants(["A"]).start().await;
    let (vendor, database) = (gateway.vendor("A"), gateway.database("A"));
    database.load_documented_sample().await;
    database.fill_every_column("text").await;

    let first = vendor.claim().await;
    let full = vendor.get(&batch(1)).await;
    database.execute("UPDATE api_tokens SET field_profile = 'minimal'").await;
    let minimal = vendor.get(&batch(1)).await;

    assert_eq!(full.records_text(), first.records_text());
    assert_eq!(first.records()[0]["AppealComment"], json!("text"));
    assert_eq!(minimal.records()[0]["AppealComment"], Value::Null);
    assert_eq!(minimal.tickets(), first.tickets());
}

#[tokio::test]
async fn a_replay_by_number_never_passes_over_a_violation_that_is_gone() {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 120).start().await;
    let (vendor, database) = (gateway.vendor("A"), gateway.database("A"));
    assert_eq!(vendor.claim().await.records().len(), 120);

    database.execute("DELETE FROM violations WHERE \"ViolationID\" = 90").await;
    let refused = vendor.get(&batch(1)).await;

    assert_eq!((refused.status, refused.error_code()), (StatusCode::NOT_FOUND, 9009), "{}", refused.text);
    assert!(refused.text.contains("deleted violations"), "{}", refused.text);
    assert_eq!(
        database.count("SELECT count(*) FROM collection_batches WHERE replayed_at IS NOT NULL").await,
        0
    );
}

// Acknowledgement ------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_receipt_is_recorded_once() {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 3).start().await;
    let (vendor, database) = (gateway.vendor("A"), gateway.database("A"));
    vendor.claim().await.records();
    let never = acknowledged_at(database).await;

    let first = vendor.post(&acknowledge(1), json!({"records": 3})).await;
    let recorded = acknowledged_at(database).await;
    let second = vendor.post(&acknowledge(1), json!({"records": 3})).await;
    let listed = vendor.get(BATCHES).await;

    assert_eq!(never, None);
    assert_eq!((first.status, second.status), (StatusCode::OK, StatusCode::OK));
    assert!(recorded.is_some());
    assert_eq!(acknowledged_at(database).await, recorded);
    assert!(first.json()["acknowledged_at"].is_string(), "{}", first.text);
    assert_eq!(first.text, second.text);
    assert_eq!(listed.json()["batches"], json!([first.json()]));
    assert_eq!(vendor.get(&batch(1)).await.records().len(), 3, "it can be replayed all the same");
}

#[tokio::test]
async fn a_receipt_of_another_number_of_records_is_refused_and_not_recorded() {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 3).start().await;
    let (vendor, database) = (gateway.vendor("A"), gateway.database("A"));
    vendor.claim().await.records();
    let before = database.everything().await;

    for records in [json!(0), json!(2), json!(4), json!(4_294_967_299_i64), json!(i64::MAX)] {
        let answer = vendor.post(&acknowledge(1), json!({"records": records})).await;
        assert_refused(&records.to_string(), &answer, 422, 9033);
    }
    for records in [json!("3"), json!(-1), json!(-3), json!(3.5), json!(true), json!([3]), json!(u64::MAX)] {
        let answer = vendor.post(&acknowledge(1), json!({"records": records})).await;
        assert_refused(&records.to_string(), &answer, 422, 9033);
    }
    for attributes in [json!({}), json!({"records": null}), json!({"Records": 3})] {
        let answer = vendor.post(&acknowledge(1), attributes.clone()).await;
        assert_refused(&attributes.to_string(), &answer, 422, 9031);
    }

    assert_eq!(database.everything().await, before);
    assert_eq!(vendor.post(&acknowledge(1), json!({"records": 3})).await.status, StatusCode::OK);
}

// Methods and credentials ----------------------------------------------------------------------------------------

#[tokio::test]
async fn what_changes_something_takes_post_alone() {
    let gateway = gateway_with_batches(1).await;
    let vendor = gateway.vendor("A");

    for operation in [&acknowledge(1), "send_overdue_to_collections"] {
        for method in [Method::GET, Method::PUT, Method::DELETE, Method::PATCH] {
            let request = vendor.client.request(method.clone(), vendor.url_of(operation)).bearer_auth(TOKEN);
            let answer = Answer::to(request).await;
            assert_refused(&format!("{method} {operation}"), &answer, 405, 9003);
            assert_eq!(answer.header("allow"), Some("POST, OPTIONS"), "{method} {operation}");
        }
    }
    for operation in [BATCHES, &batch(1)] {
        for method in [Method::PUT, Method::DELETE, Method::PATCH] {
            let request = vendor.client.request(method.clone(), vendor.url_of(operation)).bearer_auth(TOKEN);
            let answer = Answer::to(request).await;
            assert_refused(&format!("{method} {operation}"), &answer, 405, 9003);
            assert_eq!(answer.header("allow"), Some("GET, POST, OPTIONS"), "{method} {operation}");
        }
    }
    assert_eq!(acknowledged_at(gateway.database("A")).await, None);
}

#[tokio::test]
async fn a_get_shows_its_token_as_bearer() {
    let gateway = gateway_with_batches(1).await;
    let vendor = gateway.vendor("A");
    let with = |operation: &str, authorization: &str| {
        vendor.client.get(vendor.url_of(operation)).header(AUTHORIZATION, authorization)
    };

    for operation in [BATCHES, &batch(1)] {
        let bare = Answer::to(vendor.client.get(vendor.url_of(operation))).await;
        assert_refused("no Authorization", &bare, 401, 9001);
        assert_eq!(bare.header("www-authenticate"), Some("Bearer"));
        for authorization in
            ["Basic dmVuZG9yOnNlY3JldA==", "Bearer", "Bearer ", "", TOKEN, &format!("Token {TOKEN}")]
        {
            let answer = Answer::to(with(operation, authorization)).await;
            assert_refused(authorization, &answer, 401, 9001);
        }
        let unknown = Answer::to(with(operation, "Bearer unknown")).await;
        assert_refused("an unknown token", &unknown, 401, 9002);
        let long = Answer::to(with(operation, &format!("Bearer {}", "x".repeat(51)))).await;
        assert_refused("51 characters", &long, 422, 9030);
        for scheme in ["Bearer", "bearer", "BEARER"] {
            let answer = Answer::to(with(operation, &format!("{scheme} {TOKEN}"))).await;
            assert_eq!(answer.status, StatusCode::OK, "{scheme}: {}", answer.text);
        }
    }
}

#[tokio::test]
async fn a_token_in_a_url_is_no_credential() {
    let gateway = gateway_with_batches(1).await;
    let vendor = gateway.vendor("A");

    for operation in [BATCHES, &batch(1)] {
        let url = vendor.url_of(&format!("{operation}?apiToken={TOKEN}"));
        let alone = Answer::to(vendor.client.get(&url)).await;
        let beside_another = Answer::to(vendor.client.get(&url).bearer_auth("unknown")).await;

        assert_refused("in the URL alone", &alone, 401, 9001);
        assert_refused("beside another", &beside_another, 401, 9002);
    }
}

#[tokio::test]
async fn a_post_shows_its_token_in_the_body() {
    let gateway = gateway_with_batches(1).await;
    let vendor = gateway.vendor("A");

    for operation in [BATCHES.to_owned(), batch(1), acknowledge(1)] {
        let nobody = vendor.client.post(vendor.url_of(&operation)).bearer_auth(TOKEN);
        let nobody = nobody.header("Content-Type", "application/json").body("{\"records\":1}");
        assert_refused(&operation, &Answer::to(nobody).await, 401, 9001);
        let unknown = vendor.clone().with_token("unknown").post(&operation, json!({"records": 1})).await;
        assert_refused(&operation, &unknown, 401, 9002);
    }
    assert_eq!(acknowledged_at(gateway.database("A")).await, None);
}

#[tokio::test]
async fn a_browser_may_call_for_batches_too() {
    let gateway = TestGateway::with_tenants(["A"]).start().await;
    let vendor = gateway.vendor("A");

    for (operation, methods) in [
        (BATCHES.to_owned(), "GET, POST, OPTIONS"),
        (batch(1), "GET, POST, OPTIONS"),
        (acknowledge(1), "POST, OPTIONS"),
    ] {
        let request = vendor
            .client
            .request(Method::OPTIONS, vendor.url_of(&operation))
            .header("Origin", "https://vendor.example")
            .header("Access-Control-Request-Method", "POST")
            .header("Access-Control-Request-Headers", "authorization, idempotency-key");
        let answer = Answer::to(request).await;

        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{operation}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{operation}");
        assert_eq!(answer.header("access-control-allow-methods"), Some(methods), "{operation}");
        let headers = answer.header("access-control-allow-headers").unwrap().to_ascii_lowercase();
        assert!(
            ["authorization", "content-type", "idempotency-key"].iter().all(|name| headers.contains(name))
        );
    }
    assert_eq!(gateway.database("A").gateway_sessions().await, 0);
}

#[tokio::test]
async fn a_revoked_token_can_neither_list_nor_replay_nor_acknowledge() {
    let gateway = TestGateway::with_tenants(["A"])
        .overdue("A", 1)
        .gateway_setting("auth_cache_ttl = \"1h\"\nauth_refusal_ttl = \"1h\"")
        .start()
        .await;
    let vendors = ["lists", "replays", "acknowledges"].map(|token| gateway.vendor("A").with_token(token));
    for Vendor { token, .. } in &vendors {
        gateway.database("A").add_token(token, "full").await;
    }
    let call = async || {
        [
            vendors[0].get(BATCHES).await,
            vendors[1].get(&batch(1)).await,
            vendors[2].post(&acknowledge(1), json!({"records": 1})).await,
        ]
    };
    let [listed, not_replayed, not_acknowledged] = call().await;

    for token_id in 2..=4 {
        turnpike(&gateway.config_file(), &format!("token revoke --tenant A --token-id {token_id}"))
            .await
            .output();
    }
    let after = call().await;
    let later = call().await;

    assert_eq!(numbers(&listed), Vec::<i64>::new());
    assert_refused("replay", &not_replayed, 404, 9009);
    assert_refused("acknowledge", &not_acknowledged, 404, 9009);
    for refused in after.iter().chain(&later) {
        assert_refused("revoked", refused, 401, 9002);
    }
}
