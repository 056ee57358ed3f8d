//! Refusals: every row of the error table, what each answer carries, and that none of them marks anything.

use std::net::SocketAddr;

use futures_util::stream;
use reqwest::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use reqwest::{Body, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpSocket;

use crate::support::database::cluster;
use crate::support::vendor::http1_client;
use crate::support::{Answer, Proxy, RawPeer, TOKEN, TestGateway, Vendor, wait_until};

const MISSING_CLIENT: (i64, &str) = (9000, "Client Code is missing from the request.");
const MISSING_TOKEN: (i64, &str) = (9001, "API Token is missing from the request.");
const NO_PERMISSION: (i64, &str) =
    (9002, "The supplied API token does not have permission to perform that request.");
const NOT_PARSED: (i64, &str) = (9003, "Could not parse the request.");
const NOT_FOUND: (i64, &str) = (9009, "Record not found.");
const TOO_LONG: (i64, &str) = (9030, "Maximum length exceeded: apiToken exceeds 50 characters.");
const OUR_FAULT: (i64, &str) = (9100, "The request failed because of a fault in the gateway.");
const UNAVAILABLE: (i64, &str) = (9104, "The service is temporarily unavailable.");
const UNKNOWN_OUTCOME: (i64, &str) = (9105, "The outcome of the request could not be determined.");

const SEND_OVERDUE: &str = "/v1/violations/send_overdue_to_collections";

async fn send(request: RequestBuilder) -> Answer {
    Answer::read(request.send().await.unwrap()).await.unwrap()
}

/// Holds an answer to all that a refusal carries.
fn assert_refused(what: &str, answer: &Answer, status: u16, (code, message): (i64, &str)) {
    assert_eq!(answer.status.as_u16(), status, "{what}: {}", answer.text);
    let body = answer.json();
    assert_eq!(body["ErrorCode"], json!(code), "{what}");
    assert_eq!(body["ErrorMessage"], json!(message), "{what}");
    assert_eq!(body["type"], json!("about:blank"), "{what}");
    assert_eq!(body["title"], json!(answer.status.canonical_reason()), "{what}");
    assert_eq!(body["status"], json!(status), "{what}");
    assert!(body["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{what}: {body}");
    assert_eq!(body["retryable"], json!(matches!(status, 408 | 500 | 503)), "{what}");
    let id = answer.header("x-request-id");
    assert!(id.is_some_and(|id| body["requestId"] == json!(id)), "{what}: {id:?} in {body}");

    assert_eq!(answer.header("content-type"), Some("application/json"), "{what}");
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{what}");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{what}");
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{what}");
    assert!(
        answer.header("strict-transport-security").is_some_and(|hsts| hsts.starts_with("max-age=")),
        "{what}"
    );
    assert_eq!(answer.header("allow"), (status == 405).then_some("POST, OPTIONS"), "{what}");
    let wait: Option<u32> = answer.header("retry-after").map(|seconds| seconds.parse().unwrap());
    assert_eq!(wait.is_some_and(|seconds| seconds > 0), status == 503, "{what}: {wait:?}");
    assert_eq!(answer.header("batch-id"), None, "{what}");
}

/// Every request that is refused before its token is looked up.
fn refused_at_the_door(
    gateway: &TestGateway,
) -> Vec<(&'static str, RequestBuilder, u16, (i64, &'static str))> {
    let vendor = gateway.vendor("A");
    let body = |text: &str| vendor.request().body(text.to_owned());
    let to = |path: &str| {
        let request = vendor.client.post(gateway.url(path)).header(CONTENT_TYPE, "application/json");
        request.body(json!({ "apiToken": TOKEN }).to_string())
    };
    let by = |method: Method| {
        let request = vendor.client.request(method, &vendor.url).header(CONTENT_TYPE, "application/json");
        request.body(json!({ "apiToken": TOKEN }).to_string())
    };
    let typed = |content_type: &str| {
        let request = vendor.client.post(&vendor.url).header(CONTENT_TYPE, content_type);
        request.body(json!({ "apiToken": TOKEN }).to_string())
    };
    let long_body = json!({ "apiToken": TOKEN, "padding": "x".repeat(16 * 1024) }).to_string();
    let long_token = json!({ "apiToken": "x".repeat(51) }).to_string();
    vec![
        ("no client", to(&format!("/api{SEND_OVERDUE}")), 400, MISSING_CLIENT),
        ("an empty client", to(&format!("/api/{SEND_OVERDUE}")), 400, MISSING_CLIENT),
        ("unknown path", to("/api/A/v1/violations"), 404, NOT_FOUND),
        ("root", to("/"), 404, NOT_FOUND),
        ("GET", by(Method::GET), 405, NOT_PARSED),
        ("PUT", by(Method::PUT), 405, NOT_PARSED),
        ("DELETE", by(Method::DELETE), 405, NOT_PARSED),
        ("no type", vendor.client.post(&vendor.url).body(r#"{"apiToken":"x"}"#), 415, NOT_PARSED),
        ("a form", typed("application/x-www-form-urlencoded"), 415, NOT_PARSED),
        ("latin-1", typed("application/json; charset=iso-8859-1"), 415, NOT_PARSED),
        ("gzip", vendor.request().header(CONTENT_ENCODING, "gzip"), 415, NOT_PARSED),
        ("the published sample", body(r#"{"apiToken": "YOUR-API-TOKEN",}"#), 400, NOT_PARSED),
        ("a good token and a comma", body(&format!("{{\"apiToken\": \"{TOKEN}\",}}")), 400, NOT_PARSED),
        ("nothing", body(""), 400, NOT_PARSED),
        ("a list", body(&format!("[\"{TOKEN}\"]")), 400, NOT_PARSED),
        ("twice", body(&format!("{{\"apiToken\":\"{TOKEN}\",\"apiToken\":\"{TOKEN}\"}}")), 400, NOT_PARSED),
        ("two objects", body(&format!("{{\"apiToken\":\"{TOKEN}\"}}{{}}")), 400, NOT_PARSED),
        ("over 16 KiB", body(&long_body), 413, NOT_PARSED),
        ("no token", body("{}"), 401, MISSING_TOKEN),
        ("an empty token", body(r#"{"apiToken":""}"#), 401, MISSING_TOKEN),
        ("a number", body(r#"{"apiToken":7}"#), 401, MISSING_TOKEN),
        ("51 characters", body(&long_token), 422, TOO_LONG),
        ("unknown client", to(&format!("/api/NOBODY{SEND_OVERDUE}")), 401, NO_PERMISSION),
        ("an impossible client", to(&format!("/api/%00{SEND_OVERDUE}")), 401, NO_PERMISSION),
    ]
}

#[tokio::test]
async fn a_refusal_at_the_door_is_as_documented_and_takes_no_connection() {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 2).start().await;

    for (what, request, status, error) in refused_at_the_door(&gateway) {
        assert_refused(what, &send(request).await, status, error);
    }

    assert_eq!(gateway.database("A").gateway_sessions().await, 0);
    assert_eq!(gateway.database("A").marked().await, 0);
    assert_eq!(gateway.vendor("A").claim().await.records().len(), 2);
    assert!(gateway.database("A").gateway_sessions().await > 0, "sessions that are opened are seen");
}

#[tokio::test]
async fn a_refusal_is_problem_json_where_accept_asks_for_it() {
    let gateway = TestGateway::with_tenants(["A"]).start().await;

    for (what, request, status, _) in refused_at_the_door(&gateway) {
        let answer = send(request.header(ACCEPT, "text/html;q=0.1, application/problem+json")).await;

        assert_eq!(answer.status.as_u16(), status, "{what}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{what}");
        assert_eq!(answer.header("vary"), Some("Accept"), "{what}");
        assert_eq!(answer.json()["status"], json!(status), "{what}");
    }
}

#[tokio::test]
async fn whoever_may_not_call_gets_one_answer_whatever_the_cause() {
    let gateway = TestGateway::with_tenants(["A", "B"]).overdue("A", 1).overdue("B", 1).start().await;
    let database = gateway.database("A");
    for token in ["expired", "revoked", "elsewhere"] {
        database.add_token(token, "full").await;
    }
    gateway.database("B").add_token("of B", "full").await;
    let update = |set: &str, token: &str| {
        format!("UPDATE api_tokens SET {set} WHERE token_sha256 = sha256(convert_to('{token}', 'UTF8'))")
    };
    database.execute(&update("expires_at = now() - interval '1 second'", "expired")).await;
    database.execute(&update("revoked_at = now()", "revoked")).await;
    database.execute(&update("allowed_addresses = '{192.0.2.0/24}'", "elsewhere")).await;

    let mut answers = Vec::new();
    for (tenant, token) in [
        ("NOBODY", TOKEN),
        ("A", "unknown"),
        ("A", "expired"),
        ("A", "revoked"),
        ("A", "elsewhere"),
        ("A", "of B"),
        ("a", TOKEN),
    ] {
        let vendor = Vendor::new(gateway.address, tenant, token);
        let request = vendor.request().header("X-Request-Id", "the-same");
        answers.push((format!("{tenant} {token}"), send(request).await));
    }

    let (_, first) = &answers[0];
    assert_refused("unknown client", first, 401, NO_PERMISSION);
    for (what, answer) in &answers {
        assert_eq!(answer.text, first.text, "{what}");
        assert_eq!(constant_headers(answer), constant_headers(first), "{what}");
    }
    assert_eq!(database.marked().await + gateway.database("B").marked().await, 0);
}

fn constant_headers(answer: &Answer) -> HeaderMap {
    let mut headers = answer.headers.clone();
    headers.remove("date").expect("an answer is dated");
    headers
}

#[tokio::test]
async fn a_good_token_without_the_permission_is_403() {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 1).start().await;
    gateway.database("A").execute("UPDATE api_permissions SET resource = 'something_else'").await;

    let answer = gateway.vendor("A").claim().await;

    assert_refused("no permission", &answer, 403, NO_PERMISSION);
    assert_eq!(gateway.database("A").marked().await, 0);
}

#[tokio::test]
async fn a_request_id_in_a_safe_form_is_kept_and_another_is_replaced() {
    let gateway = TestGateway::with_tenants(["A"]).start().await;
    let vendor = gateway.vendor("A").with_token("unknown");

    let kept = send(vendor.request().header("X-Request-Id", "cron-2026.11_07")).await;
    let replaced = send(vendor.request().header("X-Request-Id", "a b\"c")).await;

    assert_eq!(kept.json()["requestId"], json!("cron-2026.11_07"));
    assert_refused("kept", &kept, 401, NO_PERMISSION);
    assert_refused("replaced", &replaced, 401, NO_PERMISSION);
    assert_ne!(replaced.json()["requestId"], json!("a b\"c"));
}

#[tokio::test]
async fn sixteen_kibibytes_are_the_longest_body() {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 1).start().await;
    let vendor = gateway.vendor("A");
    let body = |length: usize| {
        let frame = json!({ "apiToken": TOKEN, "padding": "" }).to_string().len();
        json!({ "apiToken": TOKEN, "padding": "x".repeat(length - frame) }).to_string()
    };
    let chunked = |body: String| {
        let chunks: Vec<Result<Vec<u8>, std::io::Error>> =
            body.as_bytes().chunks(1000).map(|chunk| Ok(chunk.to_vec())).collect();
        let request = http1_client().post(&vendor.url).header(CONTENT_TYPE, "application/json");
        request.body(Body::wrap_stream(stream::iter(chunks)))
    };

    let too_long =
        [send(vendor.request().body(body(16 * 1024 + 1))).await, send(chunked(body(16 * 1024 + 1))).await];
    let marked = gateway.database("A").marked().await;
    let longest = [send(chunked(body(16 * 1024))).await, send(vendor.request().body(body(16 * 1024))).await];

    for answer in &too_long {
        assert_refused("16 KiB and a byte", answer, 413, NOT_PARSED);
    }
    assert_eq!(marked, 0);
    assert_eq!(longest.map(|answer| answer.records().len()), [1, 0]);
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_408() {
    let gateway = TestGateway::with_tenants(["A"])
        .overdue("A", 1)
        .gateway_setting("request_timeout = \"300ms\"")
        .start()
        .await;
    let vendor = gateway.vendor("A");
    let never = Body::wrap_stream(stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let mut peer = RawPeer::connect(gateway.address).await;

    let over_http2 = send(vendor.request().body(never)).await;
    peer.send(&format!(
        "POST /api/A{SEND_OVERDUE} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: 90\r\n\r\n{{\"apiToken\":\"{TOKEN}\""
    ))
    .await;
    let over_http1 = peer.read_to_end().await;

    assert_refused("over HTTP/2", &over_http2, 408, NOT_PARSED);
    assert!(over_http1.starts_with("HTTP/1.1 408 "), "{over_http1}");
    assert_eq!(error_code(&over_http1), Some(9003), "{over_http1}");
    assert_eq!(gateway.database("A").gateway_sessions().await, 0);
    assert_eq!(gateway.database("A").marked().await, 0);
}

/// `ErrorCode` of an answer as it came over the wire.
fn error_code(raw: &str) -> Option<i64> {
    let (_head, body) = raw.split_once("\r\n\r\n")?;
    serde_json::from_str::<Value>(body).ok()?["ErrorCode"].as_i64()
}

#[tokio::test]
async fn odd_http_claims_nothing() {
    let gateway = TestGateway::with_tenants(["A"])
        .overdue("A", 1)
        .gateway_setting("request_timeout = \"300ms\"\nkeep_alive_timeout = \"300ms\"")
        .start()
        .await;
    let body = json!({ "apiToken": TOKEN }).to_string();
    let length = body.len();
    let path = format!("/api/A{SEND_OVERDUE}");
    let json = "Content-Type: application/json\r\n";
    let many = "X-Many: 1\r\n".repeat(70);
    let large = format!("X-Large: {}\r\n", "x".repeat(600 * 1024));
    for (what, request) in [
        ("no host", format!("POST {path} HTTP/1.1\r\n{json}Content-Length: {length}\r\n\r\n{body}")),
        (
            "two hosts",
            format!(
                "POST {path} HTTP/1.1\r\nHost: a\r\nHost: b\r\n{json}Content-Length: {length}\r\n\r\n{body}"
            ),
        ),
        (
            "too many headers",
            format!("POST {path} HTTP/1.1\r\nHost: a\r\n{many}{json}Content-Length: {length}\r\n\r\n{body}"),
        ),
        (
            "too large a header",
            format!("POST {path} HTTP/1.1\r\nHost: a\r\n{large}{json}Content-Length: {length}\r\n\r\n{body}"),
        ),
        (
            "two lengths",
            format!(
                "POST {path} HTTP/1.1\r\nHost: a\r\n{json}Content-Length: {length}\r\nContent-Length: 2\r\n\r\n{body}"
            ),
        ),
        ("no HTTP", format!("{body}\r\n\r\n")),
        ("a head without end", format!("POST {path} HTTP/1.1\r\nHost: a\r\n{json}")),
        ("no length", format!("POST {path} HTTP/1.1\r\nHost: a\r\n{json}\r\n{body}")),
    ] {
        let mut peer = RawPeer::connect(gateway.address).await;

        peer.send(&request).await;
        let answer = peer.read_to_end().await;

        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{what}: {answer}");
    }
    assert_eq!(gateway.database("A").gateway_sessions().await, 0);
    assert_eq!(gateway.database("A").marked().await, 0);
}

#[tokio::test]
async fn a_database_that_is_down_is_503_and_another_tenant_is_served() {
    // Bound, but not listening: connections are refused, and nobody else gets the port.
    let closed = TcpSocket::new_v4().unwrap();
    closed.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let port = closed.local_addr().unwrap().port();
    let gateway =
        TestGateway::with_tenants(["A", "B"]).overdue("B", 1).database_port("A", port).start().await;

    let down = gateway.vendor("A").claim().await;
    let up = gateway.vendor("B").claim().await;

    assert_refused("down", &down, 503, UNAVAILABLE);
    assert_eq!(up.records().len(), 1);
}

#[tokio::test]
async fn an_exhausted_pool_is_503() {
    let gateway = TestGateway::with_tenants(["A"])
        .overdue("A", 2)
        .tenant_setting("A", "max_connections = 1\npool_timeout = \"200ms\"\nlock_timeout = \"1m\"")
        .start()
        .await;
    let back_office = gateway.database("A").session().await;
    back_office.batch_execute("SELECT pg_advisory_lock(1953853040, 1)").await.unwrap();
    let first = tokio::spawn({
        let vendor = gateway.vendor("A");
        async move { vendor.claim().await }
    });
    wait_until("the first claim waits", async || gateway.database("A").gateway_waits().await).await;

    let second = gateway.vendor("A").claim().await;
    back_office.batch_execute("SELECT pg_advisory_unlock(1953853040, 1)").await.unwrap();

    assert_refused("exhausted", &second, 503, UNAVAILABLE);
    assert_eq!(first.await.unwrap().records().len(), 2);
}

#[tokio::test]
async fn a_quarantined_tenant_is_503_and_another_is_served() {
    let gateway = TestGateway::with_tenants(["A", "B"])
        .overdue("A", 1)
        .overdue("B", 1)
        .tenant_setting("A", "max_connections = 0")
        .start()
        .await;

    let quarantined = gateway.vendor("A").claim().await;
    let other = gateway.vendor("B").claim().await;

    assert_refused("quarantined", &quarantined, 503, UNAVAILABLE);
    assert_eq!(other.records().len(), 1);
    assert_eq!(gateway.database("A").marked().await, 0);
}

#[tokio::test]
async fn a_schema_of_another_version_is_500_and_marks_nothing() {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 1).start().await;
    gateway.database("A").execute("ALTER TABLE violations RENAME \"Comment\" TO renamed").await;

    let answer = gateway.vendor("A").claim().await;

    assert_refused("our fault", &answer, 500, OUR_FAULT);
    assert_eq!(gateway.database("A").marked().await, 0);
}

/// A gateway with three violations whose claims have gone well so far, behind a proxy.
async fn gateway_behind_proxy() -> (TestGateway, Proxy) {
    let proxy = Proxy::start(cluster().await.port()).await;
    let gateway = TestGateway::with_tenants(["A"]).database_port("A", proxy.port).start().await;
    let warm_up = gateway.vendor("A").claim().await;
    assert_eq!(warm_up.records().len(), 0);
    gateway.database("A").add_overdue(3).await;
    (gateway, proxy)
}

/// Cuts the proxy, and heals it once the gateway has tried in vain to clear up.
async fn cut_for_a_while(proxy: &Proxy) {
    proxy.cut();
    wait_until("the gateway tries to reconnect", async || proxy.refused() > 0).await;
    proxy.heal();
}

#[tokio::test]
async fn a_claim_whose_answer_is_lost_is_9105_and_given_back() {
    let (gateway, proxy) = gateway_behind_proxy().await;
    let database = gateway.database("A");
    proxy.hold_replies();
    let claim = tokio::spawn({
        let vendor = gateway.vendor("A");
        async move { vendor.claim().await }
    });
    wait_until("the claim has committed", async || database.batch_states().await == ["open"]).await;
    assert_eq!(database.marked().await, 3);

    cut_for_a_while(&proxy).await;
    let answer = claim.await.unwrap();

    assert_refused("its answer was lost", &answer, 503, UNKNOWN_OUTCOME);
    wait_until("the batch is void", async || database.batch_states().await == ["void"]).await;
    assert_eq!(database.marked().await, 0);
    assert_eq!(gateway.vendor("A").claim().await.tickets(), ["T-1", "T-2", "T-3"]);
}

#[tokio::test]
async fn a_claim_that_commits_while_it_is_being_voided_is_given_back() {
    let (gateway, proxy) = gateway_behind_proxy().await;
    let database = gateway.database("A");
    let back_office = database.session().await;
    // The claim's commit waits for us, at the very end: its rows are marked, and nobody sees it yet.
    database
        .execute(
            "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN PERFORM pg_advisory_xact_lock_shared(42); RETURN NULL; END';
             CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON collection_batches DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW WHEN (NEW.state = 'open') EXECUTE FUNCTION wait()",
        )
        .await;
    back_office.batch_execute("SELECT pg_advisory_lock(42)").await.unwrap();
    let waiting = async |kind: &str| {
        let waiting = format!(
            "SELECT count(*) FROM pg_locks
              WHERE NOT granted AND locktype = '{kind}'
                AND pid IN (SELECT pid FROM pg_stat_activity WHERE datname = current_database())"
        );
        database.count(&waiting).await > 0
    };

    let claim = tokio::spawn({
        let vendor = gateway.vendor("A");
        async move { vendor.claim().await }
    });
    wait_until("the claim's commit waits", async || waiting("advisory").await).await;
    cut_for_a_while(&proxy).await;
    wait_until("the void waits for the claim", async || waiting("transactionid").await).await;
    back_office.batch_execute("SELECT pg_advisory_unlock(42)").await.unwrap();
    let answer = claim.await.unwrap();

    assert_refused("its commit was cut off", &answer, 503, UNKNOWN_OUTCOME);
    wait_until("the batch is void", async || database.batch_states().await == ["void"]).await;
    assert_eq!(database.marked().await, 0);
    assert_eq!(gateway.vendor("A").claim().await.tickets(), ["T-1", "T-2", "T-3"]);
}

#[tokio::test]
async fn a_claim_that_never_arrived_is_9105_and_fenced_off() {
    let (gateway, proxy) = gateway_behind_proxy().await;
    let database = gateway.database("A");
    proxy.hold_requests();
    let claim = tokio::spawn({
        let vendor = gateway.vendor("A");
        async move { vendor.claim().await }
    });
    wait_until("the claim was sent", async || proxy.swallowed_requests() > 0).await;

    cut_for_a_while(&proxy).await;
    let answer = claim.await.unwrap();

    assert_refused("it never arrived", &answer, 503, UNKNOWN_OUTCOME);
    wait_until("the claim is fenced off", async || database.batch_states().await == ["void"]).await;
    assert_eq!(gateway.vendor("A").claim().await.tickets(), ["T-1", "T-2", "T-3"]);
}

#[tokio::test]
async fn a_database_lost_before_the_claim_is_9104() {
    let (gateway, proxy) = gateway_behind_proxy().await;
    proxy.cut();

    let answers =
        [gateway.vendor("A").with_token("another").claim().await, gateway.vendor("A").claim().await];

    for answer in &answers {
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.text);
    }
    assert_refused("the look-up", &answers[0], 503, UNAVAILABLE);
    assert_eq!(gateway.database("A").marked().await, 0);
}
