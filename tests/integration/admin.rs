//! The operators' API: what its verbs answer and do, and on which sockets it listens.

use std::os::unix::fs::PermissionsExt;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use turnpike::config::AdminAddress;

use crate::support::operator::Reply;
use crate::support::{Serving, TOKEN, TestGateway, TestOperator, turnpike, wait_until};

/// A gateway whose operators come by a Unix socket, in a directory of its own.
async fn start(builder: crate::support::gateway::GatewayBuilder) -> (TestGateway, TestOperator) {
    let gateway = builder.admin_socket().start().await;
    let operator = TestOperator::at(gateway.admin.as_ref().unwrap());
    (gateway, operator)
}

#[tokio::test]
async fn a_socket_is_for_its_owner_alone_and_asks_for_no_token() {
    let (gateway, operator) = start(TestGateway::with_tenants(["A"])).await;
    let Some(AdminAddress::Unix(path)) = &gateway.admin else { panic!("{:?}", gateway.admin) };

    let listed = operator.get("/admin/v1/tenants").await.done();

    assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(listed["tenants"][0]["tenant"], json!("A"));
}

#[tokio::test]
async fn a_tenant_is_shown_with_what_its_database_says() {
    let (gateway, operator) = start(TestGateway::with_tenants(["A"]).overdue("A", 3)).await;
    gateway.vendor("A").claim().await;
    gateway.database("A").add_overdue(2).await;

    let shown = operator.get("/admin/v1/tenants/A?activity=true").await.done();
    let short = operator.get("/admin/v1/tenants/A").await.done();

    assert_eq!(
        (&shown["tenant"], &shown["name"], &shown["state"], &shown["breaker"]),
        (&json!("A"), &json!("Test A"), &json!("live"), &json!({"state": "closed"}))
    );
    assert_eq!((&shown["activity"]["eligible"], &shown["activity"]["more"]), (&json!(2), &json!(false)));
    assert!(shown["activity"]["last_claim_at"].is_string(), "{shown}");
    assert_eq!(shown["activity"]["open_batches"], json!(0));
    assert_eq!(short.get("activity"), None, "the database is asked on demand");
}

#[tokio::test]
async fn a_tenant_whose_database_is_down_is_shown_with_its_breaker() {
    let closed = tokio::net::TcpSocket::new_v4().unwrap();
    closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let builder = TestGateway::with_tenants(["A"])
        .database_port("A", closed.local_addr().unwrap().port())
        .tenant_setting("A", "breaker_threshold = 1\nbreaker_backoff = \"1h\"");
    let (_gateway, operator) = start(builder).await;

    let asked = operator.get("/admin/v1/tenants/A?activity=true").await;
    let shown = operator.get("/admin/v1/tenants/A").await.done();

    assert_eq!(asked.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(shown["breaker"]["state"], json!("open"));
    assert!(
        shown["breaker"]["cause"].is_string() && shown["breaker"]["retry_in_seconds"].is_number(),
        "{shown}"
    );
}

#[tokio::test]
async fn batches_are_listed_and_shown() {
    let (gateway, operator) = start(TestGateway::with_tenants(["A"]).overdue("A", 2)).await;
    let claimed = gateway.vendor("A").claim().await;
    let ticket = claimed.records()[0]["Ticket"].as_str().unwrap().to_owned();

    let all = operator.get("/admin/v1/tenants/A/batches").await.done();
    let of_ticket =
        operator.get(&format!("/admin/v1/tenants/A/batches?ticket={ticket}&limit=1")).await.done();
    let open = operator.get("/admin/v1/tenants/A/batches?state=open").await.done();
    let shown = operator.get("/admin/v1/tenants/A/batches/1").await.done();

    assert_eq!(all["batches"][0]["batch_id"], json!(1));
    assert_eq!((&all["batches"][0]["state"], &all["batches"][0]["records"]), (&json!("released"), &json!(2)));
    assert_eq!(of_ticket, all);
    assert_eq!(open, json!({"batches": []}));
    assert_eq!((&shown["state"], &shown["violations"][0]["Ticket"]), (&json!("released"), &json!(ticket)));
    assert_eq!(shown.get("claim_id"), None);
    assert_eq!(operator.get("/admin/v1/tenants/A/batches/2").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_requeue_needs_a_reason_and_names_who_decided_it() {
    let (gateway, operator) = start(TestGateway::with_tenants(["A"]).overdue("A", 2)).await;
    gateway.vendor("A").claim().await;
    let path = "/admin/v1/tenants/A/batches/1/requeue";

    for bad in [json!({"reason": " "}), json!({"reason": "a\nb"}), json!({"reason": "x".repeat(501)})] {
        assert_eq!(operator.post(path, bad).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    }
    for bad in [json!({}), json!({"reason": 1}), json!({"reason": "r", "x": 1}), json!([])] {
        assert_eq!(operator.post(path, bad).await.status, StatusCode::BAD_REQUEST);
    }
    let requeued = operator.post(path, json!({"reason": "sent to the wrong company"})).await.done();
    let again = operator.post(path, json!({"reason": "again"})).await;
    let claimed = gateway.vendor("A").claim().await;

    assert_eq!(requeued, json!({"batch_id": 1, "freed": 2}));
    assert_eq!(
        (again.status, &again.body["detail"]),
        (StatusCode::CONFLICT, &json!("The batch was requeued already."))
    );
    assert_eq!(claimed.records().len(), 2);
    let listed = operator.get("/admin/v1/tenants/A/batches?state=released").await.done();
    let first = &listed["batches"][1];
    assert_eq!(first["requeued_by"], json!(format!("unix:{}", nix::unistd::geteuid())));
    assert_eq!(first["requeue_reason"], json!("sent to the wrong company"));
}

#[tokio::test]
async fn an_open_batch_is_voided_and_a_released_one_is_not() {
    let (gateway, operator) = start(TestGateway::with_tenants(["A"]).overdue("A", 3_000)).await;
    let mut vendor = crate::support::RawPeer::connect(gateway.address).await;
    vendor.send_claim("A", TOKEN).await;
    let database = gateway.database("A");
    wait_until("the batch is open", async || database.batch_states().await == ["open"]).await;

    let voided = operator.post("/admin/v1/tenants/A/batches/1/void", json!({"reason": "hangs"})).await.done();
    let answer = vendor.read_to_end().await;
    let again = operator.post("/admin/v1/tenants/A/batches/1/void", json!({"reason": "hangs"})).await;

    assert_eq!(voided, json!({"batch_id": 1, "freed": 3_000}));
    assert!(!answer.contains("\"state\":{"), "the vendor holds no whole document");
    assert_eq!(
        (again.status, &again.body["detail"]),
        (StatusCode::CONFLICT, &json!("The batch is void already."))
    );
    assert_eq!(database.marked().await, 0);
}

#[tokio::test]
async fn what_is_not_understood_is_told_what_would_be() {
    let (_gateway, operator) = start(TestGateway::with_tenants(["A"])).await;
    let send = |method: Method, path: &str| operator.request(method, path);

    let wrong_method = Reply::read(send(Method::DELETE, "/admin/v1/tenants/A")).await;
    let unknown_path = operator.get("/admin/v1/nothing").await;
    let no_tenant = operator.get("/admin/v1/tenants/a%2Fb").await;
    let no_json = Reply::read(send(Method::POST, "/admin/v1/drain").body("reason")).await;
    let large = operator.post("/admin/v1/drain", json!({"reason": "x".repeat(20_000)})).await;
    let mut queries = Vec::new();
    for query in [
        "limit=0",
        "limit=1001",
        "limit=x",
        "state=",
        "person=x",
        "colour=1",
        "limit=1&limit=1",
        "ticket=%00",
    ] {
        queries.push((query, operator.get(&format!("/admin/v1/tenants/A/batches?{query}")).await.status));
    }

    assert_eq!(
        (wrong_method.status, wrong_method.allow.as_deref()),
        (StatusCode::METHOD_NOT_ALLOWED, Some("GET, HEAD"))
    );
    assert_eq!(unknown_path.status, StatusCode::NOT_FOUND);
    assert_eq!(no_tenant.status, StatusCode::NOT_FOUND);
    assert_eq!(no_json.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(large.status, StatusCode::PAYLOAD_TOO_LARGE);
    for (query, status) in queries {
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}");
    }
}

#[tokio::test]
async fn a_drain_on_an_operators_order_ends_like_a_sigterm() {
    let (directory, _databases) = TestGateway::with_tenants(["A"]).admin_socket().prepare().await;
    let socket = directory.path().join("admin.sock");
    std::fs::write(&socket, "").unwrap();
    let config = directory.path().join("tenants.toml");
    let refused = turnpike(&config, "serve").await;
    std::fs::remove_file(&socket).unwrap();
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap()); // what a killed process leaves behind
    let mut serving = Serving::start(&config).await;
    let second = turnpike(&config, "serve").await;
    let operator = TestOperator::at(&AdminAddress::Unix(socket.clone()));
    let ready = operator.get("/readyz").await;

    let gateway: Value = operator.get("/admin/v1/gateway").await.done();
    let reply = operator.post("/admin/v1/drain", json!({"reason": "maintenance"})).await;

    assert!(refused.stderr.contains("there is a file that is no socket"), "{refused:?}");
    assert_eq!(
        (second.code, second.stderr.contains("another process serves")),
        (Some(1), true),
        "{second:?}"
    );
    assert_eq!(ready.body, json!("ready\n"));
    assert_eq!((&gateway["draining"], &gateway["tenants"]), (&json!(false), &json!(1)));
    assert_eq!((reply.status, &reply.body["draining"]), (StatusCode::ACCEPTED, &json!(true)));
    assert_eq!(serving.wait().await, Some(0));
    let audit = serving.lines_of("turnpike::audit");
    assert_eq!(audit.len(), 1);
    assert_eq!(
        (&audit[0]["verb"], &audit[0]["reason"], &audit[0]["outcome"], &audit[0]["scope"]),
        (&json!("gateway.drain"), &json!("maintenance"), &json!("done"), &json!("config:reload"))
    );
}
