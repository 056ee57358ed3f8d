//! The process: how it starts, what operators see of it, how it drains, and what a crash leaves behind.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;

use nix::sys::signal::Signal;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::support::gateway::GatewayBuilder;
use crate::support::{RawPeer, Serving, TOKEN, TestDatabase, TestGateway, turnpike, wait_until};

/// So many records that an answer fits no socket's buffers.
const MANY: i32 = 3_000;
const LAST_CHUNK: &str = "\r\n0\r\n\r\n";

/// A configuration of tenant A, its directory and its database.
async fn prepare(builder: GatewayBuilder) -> (TempDir, PathBuf, TestDatabase) {
    let (directory, mut databases) = builder.prepare().await;
    let config = directory.path().join("tenants.toml");
    (directory, config, databases.remove("A").unwrap())
}

/// A vendor whose claim has committed, and who reads nothing of it yet.
async fn begin_to_claim(serving: &Serving, database: &TestDatabase) -> RawPeer {
    let mut vendor = RawPeer::connect(serving.address).await;
    vendor.send_claim("A", TOKEN).await;
    wait_until("the batch is open", async || database.batch_states().await == ["open"]).await;
    vendor
}

async fn refuses_connections(address: SocketAddr) -> bool {
    TcpStream::connect(address).await.is_err()
}

async fn status(admin: SocketAddr, path: &str) -> u16 {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    client.get(format!("http://{admin}{path}")).send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn serve_serves_until_sigterm_and_exits_0() {
    let (_directory, config, _database) = prepare(TestGateway::with_tenants(["A"]).overdue("A", 2)).await;
    let mut serving = Serving::start(&config).await;

    let answer = serving.vendor("A", TOKEN).claim().await;
    serving.signal(Signal::SIGTERM);

    assert_eq!(answer.records().len(), 2);
    assert_eq!(serving.wait().await, Some(0));
}

#[tokio::test]
async fn a_slow_reader_gets_the_whole_answer_while_the_process_drains() {
    let builder =
        TestGateway::with_tenants(["A"]).overdue("A", MANY).gateway_setting("drain_timeout = \"1m\"");
    let (_directory, config, database) = prepare(builder).await;
    let mut serving = Serving::start(&config).await;
    let vendor = begin_to_claim(&serving, &database).await;

    serving.signal(Signal::SIGTERM);
    wait_until("new connections are refused", async || refuses_connections(serving.address).await).await;
    let open = database.batch_states().await;
    let answer = vendor.read_to_end().await;

    assert_eq!(open, ["open"]);
    assert!(answer.ends_with(LAST_CHUNK), "it is whole");
    assert_eq!(answer.matches("\"ViolationID\":").count(), usize::try_from(MANY).unwrap());
    assert_eq!(serving.wait().await, Some(0));
    assert_eq!(database.batch_states().await, ["released"]);
}

#[tokio::test]
async fn a_reader_who_is_slower_than_drain_timeout_is_cut_and_keeps_nothing() {
    let builder =
        TestGateway::with_tenants(["A"]).overdue("A", MANY).gateway_setting("drain_timeout = \"300ms\"");
    let (_directory, config, database) = prepare(builder).await;
    let mut serving = Serving::start(&config).await;
    let vendor = begin_to_claim(&serving, &database).await;

    serving.signal(Signal::SIGTERM);
    let code = serving.wait().await;

    assert_eq!(code, Some(0));
    assert_eq!(database.batch_states().await, ["void"]);
    assert_eq!(database.marked().await, 0);
    let answer = vendor.read_to_end().await;
    assert!(!answer.contains("\"state\":{"), "what came is no whole document");
    assert!(!answer.ends_with(LAST_CHUNK));
}

#[tokio::test]
async fn a_second_sigterm_ends_the_process_at_once() {
    let builder =
        TestGateway::with_tenants(["A"]).overdue("A", MANY).gateway_setting("drain_timeout = \"1h\"");
    let (_directory, config, database) = prepare(builder).await;
    let mut serving = Serving::start(&config).await;
    let _vendor = begin_to_claim(&serving, &database).await;

    serving.signal(Signal::SIGTERM);
    wait_until("it drains", async || refuses_connections(serving.address).await).await;
    serving.signal(Signal::SIGTERM);

    assert_eq!(serving.wait().await, Some(143));
}

#[tokio::test]
async fn a_draining_process_is_live_and_not_ready() {
    let builder = TestGateway::with_tenants(["A"])
        .overdue("A", MANY)
        .gateway_setting("drain_timeout = \"1h\"\nadmin_listen = \"127.0.0.1:0\"");
    let (_directory, config, database) = prepare(builder).await;
    let serving = Serving::start(&config).await;
    let admin = serving.admin.unwrap();
    let _vendor = begin_to_claim(&serving, &database).await;

    let before =
        [status(admin, "/livez").await, status(admin, "/readyz").await, status(admin, "/else").await];
    serving.signal(Signal::SIGTERM);

    assert_eq!(before, [200, 200, 404]);
    wait_until("it isn't ready", async || status(admin, "/readyz").await == 503).await;
    assert_eq!(status(admin, "/livez").await, 200);
}

/// A process killed in the midst of a delivery: its batch is open, and nobody is left to void it.
async fn killed_in_delivery() -> (TempDir, PathBuf, TestDatabase) {
    let (directory, config, database) = prepare(TestGateway::with_tenants(["A"]).overdue("A", MANY)).await;
    let mut serving = Serving::start(&config).await;
    let vendor = begin_to_claim(&serving, &database).await;
    serving.signal(Signal::SIGKILL);
    assert_eq!(serving.wait().await, None);
    assert!(!vendor.read_to_end().await.ends_with(LAST_CHUNK));
    assert_eq!(database.batch_states().await, ["open"]);
    assert_eq!(database.marked().await, i64::from(MANY));
    (directory, config, database)
}

/// Lets the leases be over, instead of waiting for that.
async fn end_leases(database: &TestDatabase) {
    database.execute("UPDATE collection_batches SET lease_until = now()").await;
}

#[tokio::test]
async fn the_next_start_voids_what_a_killed_process_left_open() {
    let (_directory, config, database) = killed_in_delivery().await;
    end_leases(&database).await;

    let serving = Serving::start(&config).await;
    wait_until("the sweep has voided it", async || database.batch_states().await == ["void"]).await;
    let marked = database.marked().await;
    let answer = serving.vendor("A", TOKEN).claim().await;

    assert_eq!(marked, 0);
    assert_eq!(answer.records().len(), usize::try_from(MANY).unwrap());
}

#[tokio::test]
async fn a_claim_gets_what_a_killed_process_left_open_when_the_lease_is_over_and_not_before() {
    let (_directory, config, database) = killed_in_delivery().await;
    let serving = Serving::start(&config).await;
    let vendor = serving.vendor("A", TOKEN);

    let before = vendor.claim().await;
    end_leases(&database).await;
    let after = vendor.claim().await;

    assert_eq!(before.records().len(), 0);
    assert_eq!(after.records().len(), usize::try_from(MANY).unwrap());
    assert_eq!(database.batch_states().await, ["void", "released"]);
}

#[tokio::test]
async fn a_port_in_use_is_told_and_exits_1() {
    let (_directory, config, _database) = prepare(TestGateway::with_tenants(["A"])).await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let toml = fs::read_to_string(&config).unwrap().replace("127.0.0.1:0", &address.to_string());
    fs::write(&config, toml).unwrap();

    let refused = turnpike(&config, "serve").await;

    assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""), "{refused:?}");
    assert!(
        refused.stderr.contains(&format!("could not listen on {address}: Address already in use")),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_bad_configuration_is_told_with_every_fault_and_exits_1() {
    let builder = TestGateway::with_tenants(["A"])
        .gateway_setting("drain_timeout = 5\nmax_peers = 0")
        .tenant_setting("A", "max_connections = 0");
    let (_directory, config, _database) = prepare(builder).await;

    let refused = turnpike(&config, "serve").await;

    assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""), "{refused:?}");
    for fault in [
        "gateway.drain_timeout: must be a duration with its unit: write \"5s\"",
        "gateway.max_peers: must be 1 to 1000000, is 0",
        "tenants.A.max_connections: must be 1 to 64, is 0",
    ] {
        assert!(refused.stderr.contains(fault), "{fault} is missing: {}", refused.stderr);
    }
}
