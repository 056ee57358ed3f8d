//! Logs: one line a request with the documented fields, and (in metrics and traces, too) never a credential, a body, a path as it came, or personal data.
//!
//! Everything private in these tests, and everything that a caller makes up, holds the word "canary".

use std::fs;
use std::path::Path;

use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use serde_json::{Value, json};
use tokio::net::TcpSocket;
use turnpike::auth::hash_token;

use crate::support::collector::{Collector, Manner};
use crate::support::program::turnpike_logging;
use crate::support::{Answer, Serving, TOKEN, TestDatabase, TestGateway, wait_until};

/// A violation whose every text is private.
const CANARIES: &str = "
    INSERT INTO users (\"UserID\", \"firstName\", \"lastName\", email, street, phonecell, salt, api_token, \"privateComment\")
    VALUES (1, 'canary-first', 'canary-last', 'canary@example.org', 'canary-street', 'canary-phone', 'canary-salt',
            'canary-api', 'canary-private');
    INSERT INTO vehicles (\"VehicleID\", \"Plate\", vin) VALUES (1, 'CANARY-PLATE', 'canary-vin');
    INSERT INTO vehicle_drivers (\"VehicleID\", \"UserID\", primary_driver) VALUES (1, 1, true);
    INSERT INTO violations (\"Ticket\", \"TicketType\", \"Due\", \"Fine\", \"VehicleID\", userid, \"Comment\", \"PrivateComments\")
    VALUES ('CANARY-TICKET', 1, '2020-01-01', 50, 1, 1, 'canary-comment', 'canary-private-comment');";

fn assert_no_canary(written: &str) {
    let hash: String = hash_token(TOKEN).iter().map(|byte| format!("{byte:02x}")).collect();
    for line in written.lines() {
        let line = line.to_lowercase();
        assert!(!line.contains("canary") && !line.contains(&hash), "{line}");
    }
}

/// Calls in every way that is answered differently; gives how many calls that were.
async fn call_in_every_way(serving: &Serving) -> usize {
    let vendor = serving.vendor("GOOD", TOKEN);
    let to = |path: &str| {
        let url = format!("https://{}{path}", serving.address);
        vendor
            .client
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .body(format!("{{\"apiToken\":\"{TOKEN}\"}}"))
    };
    let body = |body: &str| vendor.request().body(body.to_owned());
    let of = |tenant: &str| serving.vendor(tenant, TOKEN).request();
    let requests = [
        vendor.request(),
        vendor.request().header("X-Request-Id", "canary in no safe form"),
        vendor.request().header(AUTHORIZATION, "Bearer canary").header(USER_AGENT, "canary"),
        to("/api/GOOD/v1/violations/send_overdue_to_collections?canary=canary-query"),
        vendor.clone().with_token("canary-unknown").request(),
        vendor.clone().with_token(&"canary".repeat(9)).request(),
        body("{\"apiToken\":\"canary\",}"),
        body("canary"),
        body("{\"canary\":\"canary\"}"),
        body(&"canary".repeat(4_000)),
        to("/canary-path"),
        to("/api/v1/violations/send_overdue_to_collections?canary"),
        to("/api/canary-client/v1/violations/send_overdue_to_collections"),
        vendor.client.request(Method::PUT, &vendor.url).body("canary"),
        vendor.client.request(Method::OPTIONS, &vendor.url).header("Origin", "https://canary.example"),
        vendor.client.post(&vendor.url).header(CONTENT_TYPE, "text/canary").body("canary"),
        of("ALTERED"),
        of("CHECKED"),
        of("DOWN"),
        of("FAULTY"),
    ];
    let count = requests.len();
    for request in requests {
        Answer::read(request.send().await.unwrap()).await.unwrap();
    }
    count
}

/// Serves tenants whose databases fail in every way, calls in every way, and gives all that was written meanwhile.
async fn write_everything(filter: Option<&str>) -> String {
    let collector = Collector::start(Manner::Takes).await;
    // Bound, but not listening: connections are refused, and nobody else gets the port.
    let closed = TcpSocket::new_v4().unwrap();
    closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let (directory, databases) = TestGateway::with_tenants(["ALTERED", "CHECKED", "DOWN", "FAULTY", "GOOD"])
        .database_port("DOWN", closed.local_addr().unwrap().port())
        .gateway_setting("admin_listen = \"127.0.0.1:0\"\nmetrics_per_tenant_histograms = true")
        .gateway_setting(&collector.setting())
        .tenant_setting("FAULTY", "database_password = \"canary-inline\"")
        .prepare()
        .await;
    for database in databases.values() {
        database.execute(CANARIES).await;
    }
    databases["ALTERED"].execute("ALTER TABLE violations DROP COLUMN \"appealFormat\"").await;
    // Its violation's error has a DETAIL with the whole row.
    let check = "ALTER TABLE violations ADD CONSTRAINT never_marked CHECK (\"SentToCollections\" IS NULL)";
    databases["CHECKED"].execute(check).await;
    let config = directory.path().join("tenants.toml");

    let mut serving = Serving::start_logging(&config, filter).await;
    let count = call_in_every_way(&serving).await;
    wait_until("every request has its line", async || serving.request_lines().len() >= count).await;
    let admin = reqwest::Client::builder().no_proxy().build().unwrap();
    let metrics = format!("http://{}/metrics", serving.admin.unwrap());
    let metrics = Answer::read(admin.get(metrics).send().await.unwrap()).await.unwrap().text;
    assert!(metrics.contains("turnpike_refusals_total{tenant=\"CHECKED\""), "{metrics}");
    serving.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(serving.wait().await, Some(0));

    assert_eq!(serving.request_lines().len(), count, "one line a request");
    let marked = databases["GOOD"].marked().await + databases["CHECKED"].marked().await;
    assert_eq!(marked, 1, "the good one was claimed, the one whose constraint fails wasn't");
    let mut written = serving.written();
    assert!(written.contains("never_marked"), "the constraint's failure was logged: {written}");
    written += &run_commands(&config, filter).await;
    let spans = collector.text();
    assert!(spans.contains("turnpike.tenant"), "{spans}");
    written + &metrics + &spans
}

async fn run_commands(config: &Path, filter: Option<&str>) -> String {
    let mut written = String::new();
    for command in [
        "token list --tenant GOOD",
        "token list --tenant GOOD --json",
        "token list --tenant FAULTY",
        "token list --tenant DOWN",
        "token update --tenant GOOD --token-id 1 --fields minimal --json",
        "token revoke --tenant GOOD --token-id 1",
        "audit list --tenant GOOD --json",
        "check",
        "check --connect",
        "check --connect --json",
        "migrate",
    ] {
        let run = turnpike_logging(config, command, filter).await;
        assert!(!run.stdout.is_empty() || !run.stderr.is_empty(), "{command} says something");
        written += &run.stdout;
        written += &run.stderr;
    }
    written
}

#[tokio::test]
async fn no_secret_and_nothing_personal_is_written() {
    let written = write_everything(None).await;

    assert_no_canary(&written);
}

#[tokio::test]
async fn no_secret_and_nothing_personal_is_written_when_everything_is_traced() {
    let written = write_everything(Some("trace")).await;

    assert!(written.contains("\"level\":\"TRACE\""), "all is traced, our dependencies' doings too");
    assert_no_canary(&written);
}

#[tokio::test]
async fn a_configuration_that_cannot_be_used_is_told_without_its_secrets() {
    let (directory, _databases) = TestGateway::with_tenants(["A"]).prepare().await;
    let config = directory.path().join("tenants.toml");
    let good = fs::read_to_string(&config).unwrap();

    for (what, toml) in [
        ("no closing quote", good.replace("database_url = \"", "database_url = \"\"canary\"")),
        ("a password of its own", format!("{good}database_password = \"canary\"\n")),
        ("an @ in the password", good.replace("@127.0.0.1", "@canary@127.0.0.1")),
        ("a bad port", good.replace("@127.0.0.1:", "@127.0.0.1:canary")),
        ("a URL that is a number", good.replace("database_url = \"", "database_url = 7 # \"canary")),
        ("a table twice", format!("{good}[tenants.A]\ndatabase_url = \"canary\"\n")),
    ] {
        fs::write(&config, toml).unwrap();
        for command in ["serve", "check", "check --json", "token list --tenant A"] {
            if command == "serve" && !matches!(what, "no closing quote" | "a table twice") {
                continue; // a tenant at fault is quarantined, and the gateway serves
            }
            let run = turnpike_logging(&config, command, Some("trace")).await;

            assert_eq!(run.code, Some(1), "{what}, {command}: {run:?}");
            assert_no_canary(&run.stdout);
            assert_no_canary(&run.stderr);
        }
    }
}

/// The fields of a request's line, but for those whose values differ from run to run.
fn settled(line: &Value) -> Value {
    let mut line = line.clone();
    let fields = line.as_object_mut().unwrap();
    for key in ["timestamp", "level", "target", "message", "client.address"] {
        fields.remove(key).unwrap_or_else(|| panic!("no {key}"));
    }
    fields.retain(|key, value| {
        assert!(
            !key.ends_with("_seconds") || value.as_f64().is_some_and(|seconds| seconds >= 0.0),
            "{key}: {value}"
        );
        !key.ends_with("_seconds")
    });
    line
}

fn timings(line: &Value) -> Vec<String> {
    line.as_object().unwrap().keys().filter(|key| key.ends_with("_seconds")).cloned().collect()
}

#[tokio::test]
async fn a_request_has_one_line_with_the_documented_fields() {
    let (directory, databases) = TestGateway::with_tenants(["A"]).prepare().await;
    let database: &TestDatabase = &databases["A"];
    database.add_overdue(3).await;
    let serving = Serving::start(&directory.path().join("tenants.toml")).await;
    let send =
        async |request: reqwest::RequestBuilder| Answer::read(request.send().await.unwrap()).await.unwrap();
    let vendor = serving.vendor("A", TOKEN);

    let claimed = send(vendor.request().header("X-Request-Id", "first")).await;
    send(vendor.request().header("X-Request-Id", "second")).await;
    send(vendor.with_token("wrong").request().header("X-Request-Id", "third")).await;
    wait_until("every request has its line", async || serving.request_lines().len() >= 3).await;

    let mut lines = serving.request_lines();
    lines.sort_by_key(|line| {
        ["first", "second", "third"].iter().position(|id| line["request_id"] == json!(id))
    });
    let route = "/api/{client}/v1/violations/send_overdue_to_collections";
    assert_eq!(lines.len(), 3);
    assert_eq!(
        settled(&lines[0]),
        json!({
            "request_id": "first",
            "http.request.method": "POST",
            "http.route": route,
            "tenant": "A",
            "token.id": 1,
            "http.response.status_code": 200,
            "outcome": "delivered",
            "batch.id": 1,
            "batch.count": 3,
            "http.response.body.size": claimed.text.len(),
        })
    );
    let all = ["authenticate", "claim", "deliver", "release", "duration"].map(|of| format!("{of}_seconds"));
    assert_eq!(timings(&lines[0]), all);
    assert_eq!((&lines[1]["outcome"], &lines[1]["batch.id"]), (&json!("delivered"), &Value::Null));
    assert_eq!(
        (&lines[2]["outcome"], &lines[2]["http.response.status_code"]),
        (&json!("refused"), &json!(401))
    );
    assert_eq!(lines[2]["error.cause"], json!("the token isn't valid here"));
}

#[tokio::test]
async fn a_delivery_that_is_broken_off_has_one_line_too() {
    let (directory, databases) = TestGateway::with_tenants(["A"]).overdue("A", 3_000).prepare().await;
    let serving = Serving::start(&directory.path().join("tenants.toml")).await;
    let mut vendor = crate::support::RawPeer::connect(serving.address).await;
    vendor.send_claim("A", TOKEN).await;
    wait_until("the batch is open", async || databases["A"].batch_states().await == ["open"]).await;

    drop(vendor);
    wait_until("the request has its line", async || !serving.request_lines().is_empty()).await;

    let lines = serving.request_lines();
    assert_eq!(lines.len(), 1);
    assert_eq!((&lines[0]["level"], &lines[0]["outcome"]), (&json!("WARN"), &json!("void")));
    assert_eq!((&lines[0]["batch.id"], &lines[0]["batch.count"]), (&json!(1), &json!(3_000)));
    assert_eq!(databases["A"].batch_states().await, ["void"]);
}
