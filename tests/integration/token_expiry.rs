//! A token's end: the header that warns of it, the list of those that are near it, and what the gateway remembers.

use reqwest::StatusCode;
use serde_json::json;
use tokio::net::TcpSocket;
use turnpike::auth::{AuthError, Authenticator, Credential};
use turnpike::config::TenantId;
use turnpike::limits::Limits;

use crate::support::{Answer, Serving, TOKEN, TestGateway, turnpike, wait_until};
use crate::tokens::unlimited;

/// Sets the end of A's first token, so far from the database's now; gives it as the header has it.
async fn expire(gateway: &TestGateway, away: &str) -> String {
    let end = format!(
        "UPDATE api_tokens SET expires_at = clock_timestamp() + interval '{away}' WHERE token_id = 1
         RETURNING to_char(expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"
    );
    gateway.database("A").query(&end, &[]).await[0].get(0)
}

/// A gateway that remembers a verdict for a millisecond, so that a call learns of the token's end anew.
async fn forgetful(setting: &str) -> TestGateway {
    let settings = format!("auth_cache_ttl = \"1ms\"\n{setting}");
    TestGateway::with_tenants(["A"]).overdue("A", 1).gateway_setting(&settings).start().await
}

#[tokio::test]
async fn an_answer_warns_of_an_end_that_is_near_and_of_no_other() {
    let gateway = forgetful("").await;
    let vendor = gateway.vendor("A");
    let warning = async || vendor.claim().await.header("token-expires").map(str::to_owned);

    let endless = warning().await;
    expire(&gateway, "14 days 1 minute").await;
    let far = warning().await;
    let near = expire(&gateway, "14 days").await;
    wait_until("the near end is told", async || warning().await.as_ref() == Some(&near)).await;
    let sooner = expire(&gateway, "1 minute").await;
    wait_until("the sooner end is told", async || warning().await.as_ref() == Some(&sooner)).await;
    gateway.database("A").execute("UPDATE api_tokens SET expires_at = 'infinity'").await;
    wait_until("none is told", async || warning().await.is_none()).await;

    assert_eq!((endless, far), (None, None));
}

#[tokio::test]
async fn a_remembered_verdict_warns_as_the_end_comes_near() {
    let gateway = TestGateway::with_tenants(["A"])
        .gateway_setting("auth_cache_ttl = \"1h\"\ntoken_expiry_warning = \"1h\"")
        .start()
        .await;
    let vendor = gateway.vendor("A");
    let end = expire(&gateway, "1 hour 2 seconds").await;
    let before = vendor.claim().await;
    // Nobody asks the database for the token's end any more: the cached one is what counts down.
    gateway.database("A").execute("UPDATE api_tokens SET expires_at = NULL").await;

    wait_until("the warning begins", async || vendor.claim().await.header("token-expires").is_some()).await;

    assert_eq!(before.header("token-expires"), None);
    assert_eq!(vendor.claim().await.header("token-expires"), Some(end.as_str()));
}

#[tokio::test]
async fn every_answer_to_a_good_token_warns_and_none_to_a_bad_one() {
    let gateway = forgetful("").await;
    let end = expire(&gateway, "1 day").await;
    let vendor = gateway.vendor("A");

    let warned = [
        vendor.claim_with(json!({"preview": true})).await,
        vendor.claim().await,
        vendor.claim().await,
        vendor.get("collection_batches/1").await,
        vendor.get("collection_batches").await,
        vendor.post("collection_batches/1/acknowledge", json!({"records": 1})).await,
        vendor.post("collection_batches/1/acknowledge", json!({"records": 2})).await,
        vendor.get("collection_batches/404").await,
    ];
    let unwarned = [
        vendor.clone().with_token("unknown").claim().await,
        vendor.claim_with(json!({"limit": 0})).await,
        Answer::to(vendor.client.delete(&vendor.url)).await,
    ];

    assert_eq!(
        warned.each_ref().map(|answer| answer.status.as_u16()),
        [200, 200, 200, 200, 200, 200, 422, 404]
    );
    for answer in &warned {
        assert_eq!(answer.header("token-expires"), Some(end.as_str()), "{}", answer.text);
        assert!(answer.header("access-control-expose-headers").unwrap().contains("Token-Expires"));
    }
    assert_eq!(unwarned.each_ref().map(|answer| answer.status.as_u16()), [401, 422, 405]);
    for answer in &unwarned {
        assert_eq!(answer.header("token-expires"), None, "{}", answer.text);
    }
}

#[tokio::test]
async fn the_warning_can_be_set_and_switched_off() {
    let wider = forgetful("token_expiry_warning = \"30d\"").await;
    let off = forgetful("token_expiry_warning = \"0s\"").await;
    expire(&wider, "29 days").await;
    expire(&off, "1 minute").await;

    assert!(wider.vendor("A").claim().await.header("token-expires").is_some());
    assert_eq!(off.vendor("A").claim().await.header("token-expires"), None);
}

#[tokio::test]
async fn the_log_tells_which_token_called_and_when_it_ends() {
    let (directory, databases) = TestGateway::with_tenants(["A"]).prepare().await;
    databases["A"].execute("UPDATE api_tokens SET expires_at = now() + interval '1 day'").await;
    let serving = Serving::start(&directory.path().join("tenants.toml")).await;

    Answer::to(serving.vendor("A", TOKEN).request()).await;
    Answer::to(serving.vendor("A", "unknown").request()).await;
    wait_until("both have their lines", async || serving.request_lines().len() == 2).await;

    let lines = serving.request_lines();
    let good = lines.iter().find(|line| line["token.id"] == json!(1)).expect("the good one's");
    let end = good["token.expires_at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let stored = &databases["A"].query("SELECT expires_at FROM api_tokens", &[]).await[0];
    assert_eq!(end, stored.get::<_, jiff::Timestamp>(0));
    let bad = lines.iter().find(|line| line["token.id"].is_null()).expect("the bad one's");
    assert!(bad["token.expires_at"].is_null(), "{bad}");
}

#[tokio::test]
async fn tokens_that_end_soon_are_listed_for_every_tenant_and_make_the_exit_code_1() {
    // Bound, but not listening: connections are refused, and nobody else gets the port.
    let closed = TcpSocket::new_v4().unwrap();
    closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let (directory, _databases) = TestGateway::with_tenants(["A", "B", "DOWN"])
        .database_port("DOWN", closed.local_addr().unwrap().port())
        .prepare()
        .await;
    let config = directory.path().join("tenants.toml");
    for (tenant, days) in [("A", 40), ("A", 20), ("B", 20), ("B", 20)] {
        let issue = format!("token issue --tenant {tenant} --vendor Northern --expires-in {days}d");
        turnpike(&config, &issue).await.output();
    }
    turnpike(&config, "token revoke --tenant B --token-id 3").await.output();

    let list = async |options: &str| turnpike(&config, &format!("token list --json {options}")).await;
    let ids = |listed: &serde_json::Value| {
        let listed = listed.as_array().unwrap().iter();
        listed
            .map(|token| format!("{} {}", token["tenant"].as_str().unwrap(), token["token_id"]))
            .collect::<Vec<_>>()
    };
    let [soon, none, all, every] = [
        list("--tenant A B --expiring-within 30d").await,
        list("--tenant A B --expiring-within 10d").await,
        list("--tenant A").await,
        list("--expiring-within 30d").await,
    ];

    assert_eq!((soon.code, ids(&soon.json())), (Some(1), vec!["A 3".to_owned(), "B 2".to_owned()]));
    assert_eq!((none.code, none.json()), (Some(0), json!([])));
    assert_eq!((all.code, ids(&all.json()).len()), (Some(0), 3));
    assert_eq!((every.code, ids(&every.json())), (Some(1), vec!["A 3".to_owned(), "B 2".to_owned()]));
    assert!(every.stderr.contains("DOWN: could not list the tokens"), "{every:?}");
}

#[tokio::test]
async fn a_forgotten_token_is_asked_for_again_and_no_other_is() {
    let gateway = TestGateway::with_tenants(["A", "B"])
        .gateway_setting("auth_cache_ttl = \"1h\"")
        .tenant_setting("A", "lock_timeout = \"100ms\"")
        .tenant_setting("B", "lock_timeout = \"100ms\"")
        .start()
        .await;
    gateway.database("A").add_token("another", "full").await;
    let ids = ["A", "B"].map(|id| TenantId::parse(id).unwrap());
    let [a, b] = ids.each_ref().map(|id| gateway.inner.directory.find(id).unwrap());
    let (authenticator, limits) = (Authenticator::new(&gateway.inner.config()), Limits::new());
    let from = |token: &str, address: &str| Credential::new(token, address.parse().unwrap());
    let credentials = [
        (&a, from(TOKEN, "127.0.0.1")),
        (&a, from(TOKEN, "127.0.0.2")),
        (&a, from("another", "127.0.0.1")),
        (&b, from(TOKEN, "127.0.0.1")),
    ];
    for (tenant, credential) in &credentials {
        authenticator.authenticate(tenant, credential, unlimited(&limits)).await.unwrap();
    }

    authenticator.forget_token(&ids[0], 1);

    // From here on, whoever must ask a database gets no answer.
    let mut sessions = Vec::new();
    for id in ["A", "B"] {
        let session = gateway.database(id).session().await;
        session.batch_execute("BEGIN; LOCK TABLE api_tokens").await.unwrap();
        sessions.push(session);
    }
    let mut remembered = Vec::new();
    for (tenant, credential) in &credentials {
        match authenticator.authenticate(tenant, credential, unlimited(&limits)).await {
            Ok(_) => remembered.push(true),
            Err(AuthError::Database(_)) => remembered.push(false),
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(remembered, [false, false, true, true]);
}

#[tokio::test]
async fn nothing_is_read_with_a_revoked_token_however_long_verdicts_are_remembered() {
    let gateway = TestGateway::with_tenants(["A"])
        .overdue("A", 1)
        .gateway_setting("auth_cache_ttl = \"1h\"")
        .start()
        .await;
    let vendor = gateway.vendor("A");
    vendor.claim_with_key("night-1").await.records();

    turnpike(&gateway.config_file(), "token revoke --tenant A --token-id 1").await.output();

    let answers = [
        vendor.get("collection_batches").await,
        vendor.get("collection_batches/1").await,
        vendor.post("collection_batches/1/acknowledge", json!({"records": 1})).await,
        vendor.claim_with(json!({"preview": true})).await,
        vendor.claim_with_key("night-1").await,
        vendor.claim().await,
    ];
    for answer in &answers {
        assert_eq!((answer.status, answer.error_code()), (StatusCode::UNAUTHORIZED, 9002), "{}", answer.text);
    }
}
