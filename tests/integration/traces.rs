//! Traces: a request's spans as a collector gets them, whose trace they belong to, and that nobody waits for a collector.

use std::collections::BTreeSet;
use std::path::PathBuf;

use nix::sys::signal::Signal;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use reqwest::Method;
use tempfile::TempDir;
use tokio::net::TcpSocket;

use crate::support::collector::{Collector, Manner, attributes};
use crate::support::gateway::GatewayBuilder;
use crate::support::{Answer, RawPeer, Serving, TOKEN, TestDatabase, TestGateway, wait_until};

const TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN_ID: &str = "b7ad6b7169203331";

async fn serve(builder: GatewayBuilder, settings: &str) -> (Serving, TestDatabase, TempDir) {
    let (directory, mut databases) = builder.gateway_setting(settings).prepare().await;
    let config: PathBuf = directory.path().join("tenants.toml");
    (Serving::start(&config).await, databases.remove("A").unwrap(), directory)
}

fn traceparent(flags: &str) -> String {
    format!("00-{TRACE_ID}-{SPAN_ID}-{flags}")
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The spans of requests, once there are so many.
async fn requests(collector: &Collector, count: usize) -> Vec<Span> {
    let server = |span: &Span| span.kind() == SpanKind::Server;
    wait_until("the requests' spans have come", async || {
        collector.spans().iter().filter(|span| server(span)).count() >= count
    })
    .await;
    collector.spans().into_iter().filter(server).collect()
}

#[tokio::test]
async fn a_delivery_is_one_trace_of_the_callers_own() {
    let collector = Collector::start(Manner::Takes).await;
    let builder = TestGateway::with_tenants(["A"]).overdue("A", 3);
    let (serving, _database, _directory) = serve(builder, &collector.setting()).await;

    let request = serving.vendor("A", TOKEN).request().header("X-Request-Id", "run-7");
    let request = request.header("traceparent", traceparent("01")).header("tracestate", "vendor=1");
    let answer = Answer::to(request).await;

    let spans = requests(&collector, 1).await;
    let span = &spans[0];
    assert_eq!(hex(&span.trace_id), TRACE_ID);
    assert_eq!(hex(&span.parent_span_id), SPAN_ID);
    assert_eq!(span.trace_state, "vendor=1");
    assert_eq!(span.name, "POST /api/{client}/v1/violations/send_overdue_to_collections");
    assert_eq!(span.status.as_ref().map(|status| status.code()), Some(StatusCode::Unset));
    let batch = answer.header("Batch-Id").unwrap();
    let size = answer.text.len().to_string();
    let expected = [
        ("http.request.method", "POST"),
        ("http.response.body.size", &size),
        ("http.response.status_code", "200"),
        ("http.route", "/api/{client}/v1/violations/send_overdue_to_collections"),
        ("turnpike.batch.count", "3"),
        ("turnpike.batch.id", batch),
        ("turnpike.outcome", "delivered"),
        ("turnpike.request_id", "run-7"),
        ("turnpike.tenant", "A"),
        ("url.scheme", "https"),
    ];
    let found = attributes(span);
    assert_eq!(found.iter().map(|(key, value)| (*key, value.as_str())).collect::<Vec<_>>(), expected);
    assert_eq!(
        answer.header("traceresponse").unwrap(),
        format!("00-{TRACE_ID}-{}-01", hex(&span.span_id)),
        "the answer names the span"
    );
    wait_until("the line is written", async || serving.request_lines().len() == 1).await;
    assert_eq!(serving.request_lines()[0]["trace_id"], TRACE_ID);
    let parts = collector.spans().into_iter().filter(|part| part.parent_span_id == span.span_id);
    let parts: BTreeSet<String> = parts.map(|part| part.name).collect();
    let known = ["authenticate", "claim", "deliver", "read chunk", "release", "send chunk"];
    assert_eq!(parts.iter().map(String::as_str).collect::<Vec<_>>(), known);
}

#[tokio::test]
async fn what_fails_is_marked() {
    let collector = Collector::start(Manner::Takes).await;
    let builder = TestGateway::with_tenants(["A"]).overdue("A", 3_000);
    let (serving, database, _directory) = serve(builder, &collector.setting()).await;
    let mut vendor = RawPeer::connect(serving.address).await;
    vendor.send_claim("A", TOKEN).await;
    wait_until("the batch is open", async || database.batch_states().await == ["open"]).await;

    drop(vendor);

    let spans = requests(&collector, 1).await;
    assert_eq!(spans[0].status.as_ref().map(|status| status.code()), Some(StatusCode::Error));
    assert_eq!(attributes(&spans[0])["turnpike.outcome"], "void");
    assert!(collector.spans().iter().any(|span| span.name == "void"));
    assert!(spans[0].parent_span_id.is_empty(), "nobody's but its own");
}

#[tokio::test]
async fn a_caller_who_keeps_its_trace_has_it_kept() {
    let collector = Collector::start(Manner::Takes).await;
    let settings = format!("{}\ntrace_sample_ratio = 0", collector.setting());
    let (serving, _database, _directory) = serve(TestGateway::with_tenants(["A"]), &settings).await;
    let vendor = serving.vendor("A", TOKEN);

    for parent in [None, Some(traceparent("00")), Some("canary".to_owned()), Some(traceparent("01"))] {
        let request = vendor.request();
        let request = match parent {
            Some(parent) => request.header("traceparent", parent),
            None => request,
        };
        Answer::to(request).await.records();
    }

    let spans = requests(&collector, 1).await;
    assert_eq!(spans.len(), 1);
    assert_eq!(hex(&spans[0].trace_id), TRACE_ID);
}

#[tokio::test]
async fn what_a_caller_makes_up_is_not_in_a_span() {
    let collector = Collector::start(Manner::Takes).await;
    let (serving, _database, _directory) =
        serve(TestGateway::with_tenants(["A"]), &collector.setting()).await;
    let vendor = serving.vendor("canary", "canary");

    Answer::to(vendor.request()).await;
    let path = format!("https://{}/canary?canary=canary", serving.address);
    let request = vendor.client.request(Method::from_bytes(b"CANARY").unwrap(), path);
    Answer::to(request.header("tracestate", "canary=canary").header("traceparent", "canary")).await;

    let spans = requests(&collector, 2).await;
    assert_eq!(spans.iter().map(|span| span.name.as_str()).collect::<BTreeSet<_>>().len(), 2);
    assert!(spans.iter().any(|span| span.name == "_OTHER"), "{spans:?}");
    assert!(!collector.text().to_lowercase().contains("canary"), "{}", collector.text());
}

#[tokio::test]
async fn the_last_spans_are_sent_before_the_process_ends() {
    let collector = Collector::start(Manner::Takes).await;
    let builder = TestGateway::with_tenants(["A"]).overdue("A", 3);
    let (mut serving, _database, _directory) = serve(builder, &collector.setting()).await;

    serving.vendor("A", TOKEN).claim().await;
    serving.signal(Signal::SIGTERM);

    assert_eq!(serving.wait().await, Some(0));
    let names: Vec<String> = collector.spans().into_iter().map(|span| span.name).collect();
    assert!(names.iter().any(|name| name.starts_with("POST ")), "{names:?}");
}

#[tokio::test]
async fn nobody_waits_for_a_collector_that_hangs() {
    let collector = Collector::start(Manner::Hangs).await;
    let builder = TestGateway::with_tenants(["A"]).overdue("A", 3);
    let (mut serving, _database, _directory) = serve(builder, &collector.setting()).await;
    let vendor = serving.vendor("A", TOKEN);

    assert_eq!(vendor.claim().await.records().len(), 3);
    wait_until("the collector was asked", async || collector.requests() > 0).await;
    assert_eq!(vendor.claim().await.records().len(), 0);
    serving.signal(Signal::SIGTERM);

    assert_eq!(serving.wait().await, Some(0));
    assert!(serving.written().contains("the last traces could not be sent in time"), "{}", serving.written());
}

#[tokio::test]
async fn a_collector_that_is_down_is_told_once_and_counted() {
    // Bound, but not listening: connections are refused, and nobody else gets the port.
    let closed = TcpSocket::new_v4().unwrap();
    closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let settings = format!(
        "otlp_endpoint = \"http://{}\"\nadmin_listen = \"127.0.0.1:0\"",
        closed.local_addr().unwrap()
    );
    let (serving, _database, _directory) = serve(TestGateway::with_tenants(["A"]), &settings).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{}/metrics", serving.admin.unwrap());

    wait_until("spans of two batches have failed", async || {
        serving.vendor("A", TOKEN).claim().await;
        let metrics = Answer::to(client.get(&url)).await.text;
        let failed = metrics.lines().find_map(|line| {
            line.strip_prefix("turnpike_trace_spans_total{result=\"failed\"} ")?.parse::<u64>().ok()
        });
        failed.is_some_and(|spans| spans > 0)
            && metrics.contains("turnpike_trace_spans_total{result=\"exported\"} 0")
    })
    .await;

    let told = serving.written().matches("could not send traces").count();
    assert_eq!(told, 1, "{}", serving.written());
}

#[tokio::test]
async fn without_a_collector_there_are_no_traces() {
    let (serving, _database, _directory) = serve(TestGateway::with_tenants(["A"]), "").await;

    let request = serving.vendor("A", TOKEN).request().header("traceparent", traceparent("01"));
    let answer = Answer::to(request).await;

    assert_eq!(answer.header("traceresponse"), None);
    wait_until("the line is written", async || serving.request_lines().len() == 1).await;
    assert_eq!(serving.request_lines()[0].get("trace_id"), None);
}

#[tokio::test]
async fn server_timing_is_for_callers_who_are_let_in_where_it_is_wanted() {
    let silent = TestGateway::with_tenants(["A"]).start().await;
    let telling = TestGateway::with_tenants(["A"]).gateway_setting("server_timing = true").start().await;

    let not_asked = silent.vendor("A").claim().await;
    let good = telling.vendor("A").claim().await;
    let bad = telling.vendor("A").with_token("unknown").claim().await;
    let vendor = telling.vendor("A");
    let preflight = Answer::to(vendor.client.request(Method::OPTIONS, &vendor.url)).await;

    assert_eq!(not_asked.header("server-timing"), None);
    let timing = good.header("server-timing").unwrap();
    let entries: Vec<(&str, f64)> = timing
        .split(", ")
        .map(|entry| entry.split_once(";dur=").unwrap())
        .map(|(name, milliseconds)| (name, milliseconds.parse().unwrap()))
        .collect();
    assert_eq!(entries.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["auth", "claim"]);
    assert!(entries.iter().all(|(_, milliseconds)| *milliseconds >= 0.0), "{timing}");
    assert_eq!(good.header("timing-allow-origin"), Some("*"));
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.header("server-timing"), None);
    assert_eq!(bad.status, 401);
    assert_eq!(bad.header("server-timing"), None, "a refusal's time would tell what was looked up");
}
