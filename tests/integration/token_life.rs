//! A token is replaced: the overlap, what both have in common, and who may not do it twice. And a token is changed.

use std::path::Path;

use futures_util::future::join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{Answer, SlowVendor, TOKEN, TestGateway, Vendor, turnpike, wait_until};

const DAY: i64 = 24 * 60 * 60;

/// Rotates a token of tenant A; gives the command's JSON.
async fn rotate(config: &Path, id: i64, options: &str) -> Value {
    let rotated =
        turnpike(config, &format!("token rotate --tenant A --token-id {id} --json {options}")).await;
    assert_eq!(rotated.code, Some(0), "{rotated:?}");
    rotated.json()
}

async fn token(config: &Path, id: i64) -> Value {
    let listed = turnpike(config, "token list --tenant A --json").await.json();
    listed.as_array().unwrap().iter().find(|token| token["token_id"] == json!(id)).unwrap().clone()
}

fn with(gateway: &TestGateway, rotated: &Value) -> Vendor {
    gateway.vendor("A").with_token(rotated["token"].as_str().unwrap())
}

/// Seconds until a token of A expires.
async fn expires_in(gateway: &TestGateway, id: i64) -> Option<i64> {
    let left =
        "SELECT round(extract(epoch FROM expires_at - now()))::bigint FROM api_tokens WHERE token_id = $1";
    gateway.database("A").query(left, &[&id]).await[0].get(0)
}

fn assert_about(seconds: Option<i64>, expected: i64) {
    let seconds = seconds.expect("an end");
    assert!((expected - 60..=expected).contains(&seconds), "{seconds}, not {expected}");
}

#[tokio::test]
async fn a_rotated_token_is_like_the_old_one_which_goes_on_until_the_overlap_is_over() {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 1).start().await;
    let (config, database) = (gateway.config_file(), gateway.database("A"));
    let issued = turnpike(
        &config,
        "token issue --tenant A --vendor Northern --fields minimal --expires-in 365d --json \
         --allow 127.0.0.0/8 --permission user-create:violation_collection a:b",
    );
    let old = issued.await.json();
    let id = old["token_id"].as_i64().unwrap();

    let new = rotate(&config, id, "--reason yearly").await;
    let [before, after] = [token(&config, id).await, token(&config, new["token_id"].as_i64().unwrap()).await];

    for same in ["vendor", "fields", "sandbox", "permissions", "allowed_addresses", "line"] {
        assert_eq!(before[same], after[same], "{same}");
    }
    assert_eq!((&after["rotated_from"], &before["rotated_to"]), (&json!(id), &new["token_id"]));
    assert_eq!((&before["status"], &after["status"]), (&json!("active"), &json!("active")));
    assert_eq!((&new["rotated_from"], &new["old_expires_at"]), (&json!(id), &before["expires_at"]));
    assert_about(expires_in(&gateway, id).await, 7 * DAY);
    assert_about(expires_in(&gateway, new["token_id"].as_i64().unwrap()).await, 365 * DAY);
    assert_eq!(with(&gateway, &old).claim().await.records().len(), 1, "within the overlap");
    assert_eq!(with(&gateway, &new).claim().await.records().len(), 0);

    let end = "UPDATE api_tokens SET expires_at = clock_timestamp() WHERE token_id = $1";
    database.query(end, &[&id]).await;

    let (old, new) = (with(&gateway, &old).claim().await, with(&gateway, &new).claim().await);
    assert_eq!((old.status, old.error_code()), (StatusCode::UNAUTHORIZED, 9002));
    assert_eq!(new.status, StatusCode::OK);
}

#[tokio::test]
async fn an_overlap_lengthens_nothing_and_may_be_none() {
    let gateway = TestGateway::with_tenants(["A"]).start().await;
    let config = gateway.config_file();
    let issue = "token issue --tenant A --vendor Northern --expires-in 1h --json";
    let soon = turnpike(&config, issue).await.json()["token_id"].as_i64().unwrap();

    rotate(&config, soon, "--overlap 7d").await;
    let old = gateway.vendor("A").claim().await.status;
    let new = rotate(&config, 1, "--overlap 0s").await;

    assert_about(expires_in(&gateway, soon).await, 60 * 60);
    assert_eq!(old, StatusCode::OK);
    assert_eq!(
        gateway.vendor("A").claim().await.status,
        StatusCode::UNAUTHORIZED,
        "cached, and over all the same"
    );
    assert_eq!(with(&gateway, &new).claim().await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_new_token_lives_as_long_as_its_line_was_to_live_unless_told_otherwise() {
    let gateway = TestGateway::with_tenants(["A"]).start().await;
    let config = gateway.config_file();
    let issue = "token issue --tenant A --vendor Northern --expires-in 90d --json";
    let first = turnpike(&config, issue).await.json()["token_id"].as_i64().unwrap();
    let id = |rotated: &Value| rotated["token_id"].as_i64().unwrap();

    let lost = id(&rotate(&config, first, "--overlap 1h").await);
    turnpike(&config, &format!("token revoke --tenant A --token-id {lost}")).await.output();
    // The first one's own end is an hour away now: no measure for its successor.
    let second = id(&rotate(&config, first, "").await);
    let third = id(&rotate(&config, second, "--expires-in 10d").await);
    let fourth = id(&rotate(&config, third, "--expires-in never").await);
    let endless = id(&rotate(&config, fourth, "").await);

    assert_about(expires_in(&gateway, second).await, 7 * DAY);
    let life =
        "SELECT extract(day FROM (detail ->> 'new_expires_at')::timestamptz - at)::bigint FROM audit_log
                 WHERE action = 'token.rotate' AND detail ->> 'to_token' = $1::bigint::text";
    let rows = gateway.database("A").query(life, &[&second]).await;
    assert_eq!(rows[0].get::<_, i64>(0), 90);
    assert_about(expires_in(&gateway, third).await, 7 * DAY);
    assert_eq!(expires_in(&gateway, endless).await, None);
    assert_eq!(token(&config, endless).await["line"], json!(first));
}

fn assert_replay_of(first: &Answer, answer: &Answer) {
    assert_eq!(answer.records_text(), first.records_text());
    assert_eq!(answer.header("idempotent-replayed"), Some("true"));
    assert_eq!(answer.header("batch-id"), first.header("batch-id"));
}

#[tokio::test]
async fn a_key_that_was_used_with_the_old_token_gives_the_new_one_the_same_batch() {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 3).start().await;
    let (config, database) = (gateway.config_file(), gateway.database("A"));
    let stranger = gateway.database("A").add_token("of-the-same-vendor", "full").await;
    let first = gateway.vendor("A").claim_with_key("night-1").await;

    let second = rotate(&config, 1, "--overlap 0s").await;
    let third = rotate(&config, second["token_id"].as_i64().unwrap(), "").await;
    database.add_overdue(2).await;
    let answers = [
        with(&gateway, &second).claim_with_key("night-1").await,
        with(&gateway, &third).claim_with_key("night-1").await,
        with(&gateway, &third).get("collection_batches/1").await,
    ];
    let other = gateway.vendor("A").with_token("of-the-same-vendor");
    let foreign = other.get("collection_batches/1").await;
    let fresh = other.claim_with_key("night-1").await;

    assert_eq!(first.records().len(), 3);
    for answer in &answers {
        assert_replay_of(&first, answer);
    }
    assert_eq!((foreign.status, foreign.error_code()), (StatusCode::NOT_FOUND, 9009), "token {stranger}");
    assert_eq!((fresh.records().len(), fresh.header("idempotent-replayed")), (2, None));
    assert_eq!(database.marked().await, 5);
}

#[tokio::test]
async fn a_lines_batches_are_listed_and_acknowledged_with_any_of_its_tokens() {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 1).start().await;
    let (config, database) = (gateway.config_file(), gateway.database("A"));
    database.add_token("another", "full").await;
    let old = gateway.vendor("A");
    old.claim_with_key("night-1").await.records();
    let new = with(&gateway, &rotate(&config, 1, "").await);
    for (vendor, key) in
        [(&new, "night-2"), (&old, "night-3"), (&gateway.vendor("A").with_token("another"), "night-4")]
    {
        database.add_overdue(1).await;
        assert_eq!(vendor.claim_with_key(key).await.records().len(), 1);
    }

    let ids = async |vendor: &Vendor, query: &str| {
        let listed = vendor.get(&format!("collection_batches{query}")).await.json();
        let ids =
            listed["batches"].as_array().unwrap().iter().map(|batch| batch["batch_id"].as_i64().unwrap());
        (ids.collect::<Vec<_>>(), listed["next"].as_i64())
    };

    for vendor in [&old, &new] {
        assert_eq!(ids(vendor, "").await, (vec![3, 2, 1], None));
        assert_eq!(ids(vendor, "?limit=2").await, (vec![3, 2], Some(2)));
        assert_eq!(ids(vendor, "?limit=2&before=2").await, (vec![1], None));
    }
    for (vendor, batch) in [(&new, 1), (&new, 3), (&old, 2)] {
        let receipt =
            vendor.post(&format!("collection_batches/{batch}/acknowledge"), json!({"records": 1})).await;
        assert_eq!(receipt.status, StatusCode::OK, "{}", receipt.text);
    }
    let foreign = new.post("collection_batches/4/acknowledge", json!({"records": 1})).await;
    assert_eq!(foreign.status, StatusCode::NOT_FOUND);
    let unacknowledged = "SELECT batch_id FROM collection_batches WHERE acknowledged_at IS NULL";
    assert_eq!(database.count(unacknowledged).await, 4);
}

#[tokio::test]
async fn a_key_whose_batch_is_under_way_with_the_old_token_is_in_use_for_the_new_one() {
    let gateway = TestGateway::with_tenants(["A"]).start().await;
    let (config, database) = (gateway.config_file(), gateway.database("A"));
    database.add_overdue_large(20).await;
    let mut vendor =
        SlowVendor::call_with(gateway.address, "A", "Idempotency-Key: night-1\r\n", json!({})).await;
    vendor.read(1).await;
    let new = with(&gateway, &rotate(&config, 1, "--overlap 0s").await);

    let meanwhile = new.claim_with_key("night-1").await;
    drop(vendor);
    wait_until("the batch is void", async || database.batch_states().await == ["void"]).await;
    let afterwards = new.claim_with_key("night-1").await;

    assert_eq!((meanwhile.status, meanwhile.error_code()), (StatusCode::CONFLICT, 9101));
    assert_eq!(afterwards.records().len(), 20, "claimed afresh");
}

#[tokio::test]
async fn a_token_with_a_valid_successor_is_not_rotated_again_whoever_comes_at_once() {
    let gateway = TestGateway::with_tenants(["A"])
        .tenant_setting("A", "lock_timeout = \"1m\"\nstatement_timeout = \"1m\"")
        .start()
        .await;
    let (config, database) = (gateway.config_file(), gateway.database("A"));
    let back_office = database.session().await;
    back_office.batch_execute("BEGIN; SELECT FROM api_tokens FOR UPDATE").await.unwrap();

    let rotations =
        join_all((0..4).map(|_| turnpike(&config, "token rotate --tenant A --token-id 1 --quiet")));
    let all_wait = async {
        let waiting = "SELECT count(*) FROM pg_stat_activity
                        WHERE datname = current_database() AND wait_event_type = 'Lock'";
        wait_until("all four wait", async || database.count(waiting).await == 4).await;
        back_office.batch_execute("COMMIT").await.unwrap();
    };
    let (ended, ()) = tokio::join!(rotations, all_wait);

    let (done, refused): (Vec<_>, Vec<_>) = ended.iter().partition(|run| run.code == Some(0));
    assert_eq!((done.len(), refused.len()), (1, 3), "{ended:?}");
    assert_eq!(done[0].stdout.trim_end().len(), 50, "--quiet prints the token and nothing else: {done:?}");
    for run in refused {
        assert_eq!(run.code, Some(1), "{run:?}");
        assert!(run.stderr.contains("was rotated already, to token 2"), "{run:?}");
    }
    assert_eq!(gateway.database("A").count("SELECT count(*) FROM api_tokens").await, 2);
    let unknown = turnpike(&config, "token rotate --tenant A --token-id 404").await;
    assert_eq!((unknown.code, unknown.stdout.as_str()), (Some(1), ""));
    assert!(unknown.stderr.contains("there is no token 404"), "{unknown:?}");
}

#[tokio::test]
async fn a_revoked_token_stays_revoked_and_its_successor_takes_the_line_up() {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 2).start().await;
    let config = gateway.config_file();
    let first = gateway.vendor("A").claim_with_key("night-1").await;
    turnpike(&config, "token revoke --tenant A --token-id 1 --reason leaked").await.output();

    let rotated = turnpike(&config, "token rotate --tenant A --token-id 1").await;
    let new = gateway.vendor("A").with_token(rotated.output().lines().last().unwrap());

    assert!(rotated.stdout.contains("token 1 stays revoked"), "{rotated:?}");
    assert_replay_of(&first, &new.claim_with_key("night-1").await);
    assert_eq!(gateway.vendor("A").claim().await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_token_changes_at_once_in_what_it_is_told_to_and_in_nothing_else() {
    let gateway = TestGateway::with_tenants(["A"]).gateway_setting("auth_cache_ttl = \"1h\"").start().await;
    let (config, vendor) = (gateway.config_file(), gateway.vendor("A"));
    let update = async |options: &str| {
        turnpike(&config, &format!("token update --tenant A --token-id 1 {options}")).await
    };
    assert_eq!(vendor.claim().await.status, StatusCode::OK);
    let before = token(&config, 1).await;

    update("--allow 192.0.2.0/24 2001:db8::/32").await.output();
    let elsewhere = vendor.claim().await.status;
    // Its address as an IPv6 socket shows it.
    update("--allow ::ffff:127.0.0.1").await.output();
    let mapped =
        turnpike(&config, "token list --tenant A --json").await.json()[0]["allowed_addresses"].clone();
    let narrowed = update("--fields minimal --expires-in 30d --json").await.json();
    let untouched = [update("").await, update("--allow-anywhere --allow ::1").await];
    let widened = update("--allow-anywhere --expires-in never --fields full --json").await.json();

    assert_eq!(elsewhere, StatusCode::UNAUTHORIZED, "the cached verdict isn't enough");
    assert_eq!(mapped, json!(["127.0.0.1/32"]));
    assert_eq!((&narrowed["fields"], &narrowed["allowed_addresses"]), (&json!("minimal"), &mapped));
    assert!(narrowed["expires_at"].is_string(), "{narrowed}");
    assert_eq!(untouched.map(|run| run.code), [Some(1), Some(2)]);
    assert_eq!(widened, {
        let mut expected = before.clone();
        expected.as_object_mut().unwrap().shift_remove("tenant");
        expected
    });
    let actions = "SELECT count(*) FROM audit_log WHERE action = 'token.update' AND object = 'token 1'";
    assert_eq!(gateway.database("A").count(actions).await, 4);
}

#[tokio::test]
async fn a_revoked_or_unknown_token_is_not_changed() {
    let gateway = TestGateway::with_tenants(["A"]).start().await;
    let config = gateway.config_file();
    turnpike(&config, "token revoke --tenant A --token-id 1").await.output();

    let revoked = turnpike(&config, "token update --tenant A --token-id 1 --allow-anywhere").await;
    let unknown = turnpike(&config, "token update --tenant A --token-id 404 --allow-anywhere").await;

    assert_eq!((revoked.code, unknown.code), (Some(1), Some(1)));
    assert!(revoked.stderr.contains("token 1 is revoked"), "{revoked:?}");
    assert!(unknown.stderr.contains("there is no token 404"), "{unknown:?}");
    assert_eq!(gateway.database("A").count("SELECT count(*) FROM audit_log").await, 1);
}

#[tokio::test]
async fn a_mapped_address_that_is_allowed_is_the_caller_s_own() {
    let gateway = TestGateway::with_tenants(["A"]).start().await;

    turnpike(&gateway.config_file(), "token update --tenant A --token-id 1 --allow ::ffff:127.0.0.0/104")
        .await
        .output();

    let answer = gateway.vendor("A").with_token(TOKEN).claim().await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
}
