//! Metrics: exact counts after known traffic, no series that a caller made up, and a reference that says what there is.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};

use reqwest::Method;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use turnpike::config::TenantId;
use turnpike::metrics::catalogue::{FAMILIES, Kind};
use turnpike::reload::Trigger;

use crate::support::raw::RawPeer;
use crate::support::scrape::Scrape;
use crate::support::{Answer, Serving, SlowVendor, TOKEN, TestGateway, wait_until};

const REFERENCE: &str = include_str!("../../docs/TELEMETRY.md");
const ALERTS: &str = include_str!("../../deploy/prometheus-alerts.yaml");

/// Waits until everything that was asked for has ended: a request is counted when its last stage lets go of it.
async fn settled(gateway: &TestGateway) -> Scrape {
    wait_until("no request is under way", async || {
        Scrape::of(gateway).value("turnpike_requests_in_flight{}") == 0.0
    })
    .await;
    Scrape::of(gateway)
}

async fn sweep(gateway: &TestGateway, tenant: &str) {
    let tenant = gateway.inner.directory.find(&TenantId::parse(tenant).unwrap()).unwrap();
    tenant.ledger().expire().await.unwrap();
}

#[tokio::test]
async fn known_traffic_gives_exact_counts() {
    let gateway = TestGateway::with_tenants(["A", "B"]).overdue("A", 3).start().await;
    let vendor = gateway.vendor("A");

    vendor.claim_with(json!({ "preview": true })).await;
    let claimed = vendor.claim_with_key("key").await;
    vendor.claim_with_key("key").await;
    let empty = vendor.claim().await;
    for _ in 0..3 {
        vendor.clone().with_token("unknown").claim().await;
    }
    vendor.get("collection_batches").await;
    let batch = claimed.header("Batch-Id").unwrap();
    vendor.post(&format!("collection_batches/{batch}/acknowledge"), json!({ "records": 2 })).await;
    gateway.vendor("B").claim().await;

    let scrape = settled(&gateway).await;
    let expected = [
        ("turnpike_claims_total{result=\"batch\",tenant=\"A\"}", 1),
        ("turnpike_claims_total{result=\"replay\",tenant=\"A\"}", 1),
        ("turnpike_claims_total{result=\"preview\",tenant=\"A\"}", 1),
        ("turnpike_claims_total{result=\"empty\",tenant=\"A\"}", 1),
        ("turnpike_claims_total{result=\"empty\",tenant=\"B\"}", 1),
        ("turnpike_records_total{result=\"batch\",tenant=\"A\"}", 3),
        ("turnpike_records_total{result=\"replay\",tenant=\"A\"}", 3),
        ("turnpike_records_total{result=\"preview\",tenant=\"A\"}", 3),
        ("turnpike_records_total{result=\"batch\",tenant=\"B\"}", 0),
        ("turnpike_outcomes_total{outcome=\"delivered\",tenant=\"A\"}", 4),
        ("turnpike_outcomes_total{outcome=\"refused\",tenant=\"A\"}", 4),
        ("turnpike_outcomes_total{outcome=\"answered\",tenant=\"A\"}", 1),
        ("turnpike_outcomes_total{outcome=\"void\",tenant=\"A\"}", 0),
        ("turnpike_outcomes_total{outcome=\"delivered\",tenant=\"B\"}", 1),
        ("turnpike_requests_total{status=\"200\",tenant=\"A\"}", 5),
        ("turnpike_requests_total{status=\"401\",tenant=\"A\"}", 3),
        ("turnpike_requests_total{status=\"422\",tenant=\"A\"}", 1),
        ("turnpike_refusals_total{error_code=\"9002\",tenant=\"A\"}", 3),
        ("turnpike_refusals_total{error_code=\"9033\",tenant=\"A\"}", 1),
        ("turnpike_auth_cache_total{result=\"refusal\"}", 2),
        ("turnpike_phase_duration_seconds_count{phase=\"release\"}", 1),
        ("turnpike_phase_duration_seconds_count{phase=\"claim\"}", 5),
        ("turnpike_phase_duration_seconds_count{phase=\"authenticate\"}", 10),
        (
            "turnpike_request_duration_seconds_count{method=\"POST\",\
             route=\"/api/{client}/v1/violations/send_overdue_to_collections\",status=\"2xx\"}",
            5,
        ),
        ("turnpike_tenants{state=\"live\"}", 2),
    ];
    for (series, count) in expected {
        assert_eq!(scrape.value(series), f64::from(count), "{series} in\n{}", scrape.text);
    }
    let sent = [claimed.text.len(), empty.text.len()].iter().sum::<usize>() as f64;
    assert!(scrape.value("turnpike_response_bytes_total{tenant=\"A\"}") > sent);
    assert_eq!(
        scrape.value("turnpike_response_bytes_total{tenant=\"B\"}"),
        empty.text.len() as f64,
        "versions are of one length"
    );
    assert!(scrape.value("turnpike_pool_waits_total{tenant=\"A\"}") > 0.0);
    assert!(scrape.value("process_resident_memory_bytes{}") > 0.0);
}

#[tokio::test]
async fn what_callers_make_up_makes_no_series() {
    let gateway = TestGateway::with_tenants(["A"]).start().await;
    let before: BTreeSet<String> = {
        gateway.vendor("MADEUP0").claim().await;
        gateway
            .vendor("A")
            .client
            .request(Method::from_bytes(b"MADEUP").unwrap(), gateway.url("/madeup0"))
            .send()
            .await
            .unwrap();
        settled(&gateway).await.samples.into_keys().collect()
    };

    for at in 1..20 {
        gateway.vendor(&format!("MADEUP{at}")).claim().await;
        let method = Method::from_bytes(format!("MADEUP{at}").as_bytes()).unwrap();
        let path = gateway.url(&format!("/madeup{at}"));
        gateway.vendor("A").client.request(method, path).send().await.unwrap();
    }

    let scrape = settled(&gateway).await;
    assert_eq!(scrape.samples.keys().cloned().collect::<BTreeSet<_>>(), before);
    assert!(!scrape.text.to_lowercase().contains("madeup"), "{}", scrape.text);
    assert_eq!(scrape.value("turnpike_requests_total{status=\"401\"}"), 20.0);
    assert_eq!(scrape.value("turnpike_requests_total{status=\"404\"}"), 20.0);
}

#[tokio::test]
async fn a_delivery_under_way_and_its_end_are_seen() {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 2_000).start().await;
    let vendor = SlowVendor::call(&gateway, "A").await;
    let database = gateway.database("A");
    wait_until("the batch is open", async || database.batch_states().await == ["open"]).await;
    sweep(&gateway, "A").await;

    let during = Scrape::of(&gateway);
    drop(vendor);
    let after = settled(&gateway).await;

    assert_eq!(during.value("turnpike_tenant_requests_in_flight{tenant=\"A\"}"), 1.0);
    assert_eq!(during.value("turnpike_peers{}"), 1.0);
    assert_eq!(during.value("turnpike_open_batches{tenant=\"A\"}"), 1.0);
    let (claimed, lease) = (
        during.value("turnpike_open_batch_oldest_timestamp_seconds{tenant=\"A\"}"),
        during.value("turnpike_open_batch_lease_end_timestamp_seconds{tenant=\"A\"}"),
    );
    assert!(claimed > 1.6e9 && lease >= claimed + 59.0, "{claimed} {lease}");
    assert_eq!(after.value("turnpike_tenant_requests_in_flight{tenant=\"A\"}"), 0.0);
    assert_eq!(after.value("turnpike_outcomes_total{outcome=\"void\",tenant=\"A\"}"), 1.0);
    assert_eq!(after.value("turnpike_records_total{result=\"batch\",tenant=\"A\"}"), 0.0);
}

#[tokio::test]
async fn a_vendor_who_acknowledges_is_missed_when_it_doesnt() {
    let gateway = TestGateway::with_tenants(["A", "B"]).overdue("A", 3).overdue("B", 1).start().await;
    let vendor = gateway.vendor("A");
    let first = vendor.claim_with(json!({ "limit": 1 })).await;
    vendor.claim_with(json!({ "limit": 1 })).await;
    vendor.claim().await;
    let batch = first.header("Batch-Id").unwrap();
    vendor.post(&format!("collection_batches/{batch}/acknowledge"), json!({ "records": 1 })).await;
    gateway.vendor("B").claim().await;
    sweep(&gateway, "A").await;
    sweep(&gateway, "B").await;

    let scrape = settled(&gateway).await;

    assert_eq!(scrape.value("turnpike_unacknowledged_batches{tenant=\"A\"}"), 2.0);
    let since = scrape.value("turnpike_unacknowledged_batch_oldest_timestamp_seconds{tenant=\"A\"}");
    let looked = scrape.value("turnpike_ledger_look_timestamp_seconds{tenant=\"A\"}");
    assert!(since > 1.6e9 && looked >= since, "{since} {looked}");
    assert_eq!(scrape.value("turnpike_unacknowledged_batches{tenant=\"B\"}"), 0.0, "B never acknowledges");
    assert_eq!(scrape.series_with("turnpike_open_batch_oldest"), [""; 0]);
}

#[tokio::test]
async fn a_database_that_is_down_is_seen_by_its_breaker() {
    // Bound, but not listening: connections are refused, and nobody else gets the port.
    let closed = TcpSocket::new_v4().unwrap();
    closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = closed.local_addr().unwrap().port();
    let gateway = TestGateway::with_tenants(["A", "DOWN"]).database_port("DOWN", port).start().await;

    gateway.vendor("A").claim().await;
    for _ in 0..4 {
        gateway.vendor("DOWN").claim().await;
    }

    let scrape = settled(&gateway).await;
    assert_eq!(scrape.value("turnpike_breaker_state{tenant=\"DOWN\"}"), 2.0);
    assert_eq!(scrape.value("turnpike_breaker_openings_total{tenant=\"DOWN\"}"), 1.0);
    assert_eq!(scrape.value("turnpike_pool_failures_total{tenant=\"DOWN\"}"), 4.0);
    assert_eq!(scrape.value("turnpike_refusals_total{error_code=\"9104\",tenant=\"DOWN\"}"), 4.0);
    assert_eq!(scrape.value("turnpike_breaker_state{tenant=\"A\"}"), 0.0);
    assert_eq!(scrape.value("turnpike_pool_failures_total{tenant=\"A\"}"), 0.0);
    assert_eq!(scrape.value("turnpike_pool_connections_limit{tenant=\"A\"}"), 8.0);
    let server = format!("turnpike_server_connections{{server=\"127.0.0.1:{port}\"}}");
    assert!(scrape.samples.contains_key(&server), "{}", scrape.text);
}

#[tokio::test]
async fn handshakes_are_told_apart() {
    let gateway = TestGateway::with_tenants(["A"]).start().await;
    let config = RawPeer::config();

    let mut plain = TcpStream::connect(gateway.address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    for _ in 0..2 {
        let mut peer = RawPeer::connect_with(gateway.address, config.clone()).await;
        peer.send("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
        peer.read_to_end().await;
    }

    let count = |result: &str| {
        Scrape::of(&gateway).value(&format!("turnpike_tls_handshakes_total{{result=\"{result}\"}}"))
    };
    wait_until("the plain one has failed", async || count("failed") == 1.0).await;
    assert_eq!((count("full"), count("resumed"), count("timeout")), (1.0, 1.0, 0.0));
    drop(plain);
    wait_until("all are gone", async || Scrape::of(&gateway).value("turnpike_peers{}") == 0.0).await;
}

#[tokio::test]
async fn tenants_have_histograms_of_their_own_where_they_are_asked_for() {
    let wanted = TestGateway::with_tenants(["A"]).gateway_setting("metrics_per_tenant_histograms = true");
    let gateway = wanted.start().await;
    let other = TestGateway::with_tenants(["A"]).start().await;

    gateway.vendor("A").claim().await;
    other.vendor("A").claim().await;

    let scrape = settled(&gateway).await;
    assert_eq!(scrape.value("turnpike_tenant_request_duration_seconds_count{tenant=\"A\"}"), 1.0);
    assert_eq!(
        scrape.value("turnpike_tenant_phase_duration_seconds_count{phase=\"claim\",tenant=\"A\"}"),
        1.0
    );
    assert_eq!(settled(&other).await.series_with("turnpike_tenant_request_duration"), [""; 0]);
}

#[tokio::test]
async fn a_reload_takes_a_removed_tenants_series_along_and_is_counted_itself() {
    let gateway = TestGateway::with_tenants(["GOES", "STAYS"]).start().await;
    for tenant in ["GOES", "STAYS"] {
        gateway.vendor(tenant).claim().await;
        sweep(&gateway, tenant).await;
    }
    let loaded = settled(&gateway).await.value("turnpike_config_loaded_timestamp_seconds{}");

    gateway.rewrite(|toml| {
        let (before, sections) = toml.split_once("[tenants.GOES]").unwrap();
        format!("{before}[tenants.STAYS]{}", sections.split_once("[tenants.STAYS]").unwrap().1)
    });
    gateway.reloader.reload(Trigger::Signal).await;
    let after = settled(&gateway).await;
    gateway.rewrite(|toml| format!("{toml}nonsense"));
    gateway.reloader.reload(Trigger::Signal).await;
    let failed = settled(&gateway).await;

    assert_eq!(after.series_with("GOES"), [""; 0]);
    assert_eq!(after.value("turnpike_claims_total{result=\"empty\",tenant=\"STAYS\"}"), 1.0);
    assert_eq!(after.value("turnpike_tenants{state=\"live\"}"), 1.0);
    assert_eq!(after.value("turnpike_reloads_total{result=\"success\"}"), 1.0);
    assert!(after.value("turnpike_config_loaded_timestamp_seconds{}") > loaded);
    assert_eq!(failed.value("turnpike_reloads_total{result=\"failure\"}"), 1.0);
    assert_eq!(
        failed.value("turnpike_config_loaded_timestamp_seconds{}"),
        after.value("turnpike_config_loaded_timestamp_seconds{}")
    );
}

#[tokio::test]
async fn operators_scrape_the_process() {
    let (directory, _databases) = TestGateway::with_tenants(["A"])
        .overdue("A", 1)
        .gateway_setting("admin_listen = \"127.0.0.1:0\"")
        .prepare()
        .await;
    let serving = Serving::start(&directory.path().join("tenants.toml")).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{}/metrics", serving.admin.unwrap());
    let scrape = async || {
        let answer = Answer::to(client.get(&url)).await;
        (Scrape::parse(answer.text), answer.headers["content-type"].clone())
    };
    wait_until("the sweep has looked", async || {
        scrape().await.0.value("turnpike_ledger_look_timestamp_seconds{tenant=\"A\"}") > 0.0
    })
    .await;

    serving.vendor("A", TOKEN).claim().await;
    wait_until("the request has been counted", async || {
        scrape().await.0.value("turnpike_requests_total{status=\"200\",tenant=\"A\"}") == 1.0
    })
    .await;

    let (scrape, content_type) = scrape().await;
    assert_eq!(content_type, "text/plain; version=0.0.4; charset=utf-8");
    assert_eq!(
        scrape.value(&format!("turnpike_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"))),
        1.0
    );
    assert!(scrape.value("turnpike_tls_certificate_expiry_timestamp_seconds{}") > 1.6e9);
    assert!(scrape.value("turnpike_config_loaded_timestamp_seconds{}") > 1.6e9);
    check_with_promtool(&scrape.text);
    // What is written is in the catalogue, as the kind it is there; and all of it, but for what this traffic can't show.
    let kind = |kind| match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    let mut known: BTreeMap<_, _> =
        FAMILIES.iter().map(|family| (family.name.to_owned(), kind(family.kind).to_owned())).collect();
    for (family, kind) in scrape.families.iter().filter(|(name, _)| name.starts_with("turnpike_")) {
        assert_eq!(known.remove(family).as_ref(), Some(kind), "{family}");
    }
    let absent: Vec<&str> = known.keys().map(String::as_str).collect();
    let unseen = [
        "turnpike_open_batch_lease_end_timestamp_seconds",
        "turnpike_open_batch_oldest_timestamp_seconds",
        "turnpike_refusals_total",
        "turnpike_tenant_phase_duration_seconds",
        "turnpike_tenant_request_duration_seconds",
        "turnpike_trace_spans_total",
        "turnpike_unacknowledged_batch_oldest_timestamp_seconds",
    ];
    assert_eq!(absent, unseen);
}

/// Prometheus's own parser and lints, where they are installed.
fn check_with_promtool(page: &str) {
    let started = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = started else {
        return eprintln!("promtool: skipped, not installed (apt-get install prometheus)");
    };
    promtool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let checked = promtool.wait_with_output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

/// `| name | type | labels | …`
fn rows_of_the_reference() -> BTreeSet<(String, String, String)> {
    let rows = REFERENCE.lines().filter(|line| line.starts_with("| `turnpike_"));
    let cells = |line: &str| {
        let cells: Vec<String> = line.split('|').map(|cell| cell.trim().replace('`', "")).collect();
        (cells[1].clone(), cells[2].clone(), cells[3].clone())
    };
    rows.map(cells).collect()
}

#[test]
fn the_reference_has_every_metric_with_its_type_and_labels() {
    let known = FAMILIES.iter().map(|family| {
        (family.name.to_owned(), format!("{:?}", family.kind).to_lowercase(), family.labels.join(" "))
    });

    assert_eq!(rows_of_the_reference(), known.collect());
}

#[test]
fn the_alerts_are_about_metrics_that_there_are() {
    let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_');

    let named: BTreeSet<&str> = ALERTS.split(word).filter(|word| word.starts_with("turnpike_")).collect();

    let known: BTreeSet<&str> = FAMILIES.iter().map(|family| family.name).collect();
    assert!(named.len() > 8, "the rules were read: {named:?}");
    assert_eq!(named.difference(&known).collect::<Vec<_>>(), [&""; 0]);
}
