//! A database that can't be reached is left alone, and found again; with servers that are really stopped, frozen and full.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use reqwest::StatusCode;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_postgres::Client;
use turnpike::database::BreakerState;

use crate::support::database::{LogIn, log_ins, own_cluster};
use crate::support::{Answer, TestDatabase, TestGateway, wait_until};

/// Far below the 30 s of `statement_timeout`, far above what a slow machine needs.
const BOUND: Duration = Duration::from_secs(20);

/// The settings under which these tests fail and recover within seconds.
const HASTY: &str =
    "connect_timeout = \"2s\"\npool_timeout = \"1s\"\nbreaker_backoff = \"2s\"\nlock_timeout = \"1m\"";

fn assert_unavailable(answer: &Answer) {
    assert_eq!(
        (answer.status, answer.error_code()),
        (StatusCode::SERVICE_UNAVAILABLE, 9104),
        "{}",
        answer.text
    );
    assert!(retry_after(answer) >= 1);
}

fn retry_after(answer: &Answer) -> u64 {
    answer.header("retry-after").expect("Retry-After").parse().unwrap()
}

/// The time to the next probe, rounded up as the header is; None where there is none to wait for.
fn retry_in(gateway: &TestGateway) -> Option<u64> {
    match gateway.tenant("A").database().breaker() {
        BreakerState::Open { retry_in, .. } => Some((retry_in.as_secs_f64().ceil() as u64).max(1)),
        BreakerState::HalfOpen { .. } | BreakerState::Closed => None,
    }
}

async fn wait_for_the_probes_turn(gateway: &TestGateway) {
    wait_until("a probe is due", async || {
        matches!(gateway.tenant("A").database().breaker(), BreakerState::Open { retry_in, .. } if retry_in.is_zero())
    })
    .await;
}

/// Calls until it is answered well; gives the tickets.
async fn claim_until_it_works(gateway: &TestGateway, tenant: &str) -> Vec<String> {
    let mut tickets = Vec::new();
    wait_until("the tenant is served again", async || {
        let answer = gateway.vendor(tenant).claim().await;
        if answer.status == StatusCode::OK {
            tickets = answer.tickets();
        }
        answer.status == StatusCode::OK
    })
    .await;
    tickets
}

/// Has the pool open `count` sessions: as many callers wait for a lock on what they read. Gives their answers.
async fn open_sessions(gateway: &TestGateway, database: &TestDatabase, count: u8) -> Vec<Answer> {
    let vendors: Vec<_> = (0..count).map(|_| gateway.vendor("A")).collect();
    let locker = lock_violations(database).await;
    let calls = join_all(vendors.iter().map(|vendor| vendor.claim_with(json!({"preview": true}))));
    let (answers, ()) = tokio::join!(calls, async {
        let open = async || database.gateway_sessions().await >= i64::from(count);
        wait_until("every caller has a session", open).await;
        locker.batch_execute("ROLLBACK").await.unwrap();
    });
    answers
}

/// Keeps every reader of violations waiting, until it is rolled back.
async fn lock_violations(database: &TestDatabase) -> Client {
    let locker = database.session().await;
    locker.batch_execute("BEGIN; LOCK TABLE violations IN ACCESS EXCLUSIVE MODE").await.unwrap();
    locker
}

#[tokio::test]
async fn a_stopped_database_is_asked_again_when_its_time_has_come_by_one_caller() {
    let cluster = own_cluster("stopped").await;
    let settings = "breaker_threshold = 3\nbreaker_backoff = \"1m\"\nconnect_timeout = \"1m\"";
    let gateway =
        TestGateway::with_tenants(["A"]).cluster(cluster).tenant_setting("A", settings).start().await;
    let vendor = gateway.vendor("A");
    assert_eq!(vendor.claim().await.status, StatusCode::OK);
    gateway.tenant("A").database().close_all();
    cluster.stop().await;

    for failures in 1..=3 {
        assert_eq!(
            gateway.tenant("A").database().breaker(),
            BreakerState::Closed,
            "after {} failures",
            failures - 1
        );
        assert_unavailable(&vendor.claim().await);
    }
    let (most, refused) = (retry_in(&gateway), vendor.claim().await);
    let told = retry_after(&refused);
    assert_unavailable(&refused);
    assert!(retry_in(&gateway).is_none_or(|least| least <= told) && most.is_some_and(|most| told <= most));

    // In the server's place, somebody who counts those who come, and lets them wait.
    let port = TcpListener::bind(("127.0.0.1", cluster.port())).await.unwrap();
    wait_for_the_probes_turn(&gateway).await;
    let vendors: Vec<_> = (0..50).map(|_| gateway.vendor("A")).collect();
    let mut waiting: FuturesUnordered<_> = vendors.iter().map(|vendor| vendor.claim()).collect();
    let mut probe = None;
    for _ in 0..49 {
        let refused = loop {
            tokio::select! {
                accepted = port.accept() => {
                    assert!(probe.replace(accepted.unwrap().0).is_none(), "there is one probe");
                }
                refused = waiting.next() => break refused.unwrap(),
            }
        };
        assert_unavailable(&refused);
        assert_eq!(retry_after(&refused), 1, "the probe is under way");
    }
    let mut probe = match probe {
        Some(probe) => probe,
        None => port.accept().await.unwrap().0,
    };
    assert!(probe.read_u32().await.unwrap() > 0, "it says the first word");
    drop((probe, port));
    let probed = waiting.next().await.unwrap();
    assert_unavailable(&probed);
    assert_eq!(retry_after(&probed), 2, "twice as long as before");
}

#[tokio::test]
async fn a_database_that_is_back_is_found_and_gets_its_sessions_one_at_a_time() {
    let cluster = own_cluster("back").await;
    let gateway = TestGateway::with_tenants(["A"])
        .cluster(cluster)
        .overdue("A", 2)
        .tenant_setting("A", "breaker_backoff = \"2s\"\npool_timeout = \"30s\"\nlock_timeout = \"1m\"")
        .start()
        .await;
    assert_eq!(open_sessions(&gateway, gateway.database("A"), 3).await.len(), 3);
    cluster.stop().await;
    wait_until("it is left alone", async || {
        assert_unavailable(&gateway.vendor("A").claim().await);
        gateway.tenant("A").database().breaker() != BreakerState::Closed
    })
    .await;

    cluster.resume().await.unwrap();
    let tickets = claim_until_it_works(&gateway, "A").await;
    let before = log_ins(cluster).len();
    let database = gateway.database("A").reconnect().await;
    let answers = open_sessions(&gateway, &database, 6).await;

    assert_eq!(tickets, ["T-1", "T-2"]);
    assert!(answers.iter().all(|answer| answer.status == StatusCode::OK));
    let mut since = log_ins(cluster).split_off(before);
    since.retain(|log_in| log_in.let_in.is_some());
    assert!(since.len() >= 3, "{since:?}");
    for [first, second] in since.array_windows() {
        assert!(first.let_in.unwrap() <= second.came, "two at a time: {first:?} {second:?}");
    }
}

#[tokio::test]
async fn what_no_retry_mends_opens_the_breaker_at_once() {
    let gateway = TestGateway::with_tenants(["A", "B", "C"])
        .database_role("A", "mistaken")
        .database_name("B", "missing")
        .tenant_setting("A", HASTY)
        .tenant_setting("B", HASTY)
        .tenant_setting("C", HASTY)
        .start()
        .await;
    let database = gateway.database("C");
    database.execute("CREATE ROLE mistaken LOGIN PASSWORD 'another' IN ROLE turnpike").await;
    database.execute(&format!("REVOKE CONNECT ON DATABASE {} FROM PUBLIC, turnpike", database.name)).await;

    for (tenant, sqlstate) in [("A", "28P01"), ("B", "3D000"), ("C", "42501")] {
        assert_unavailable(&gateway.vendor(tenant).claim().await);

        let BreakerState::Open { cause, .. } = gateway.tenant(tenant).database().breaker() else {
            panic!("{tenant}: {:?}", gateway.tenant(tenant).database().breaker());
        };
        assert_eq!(cause.sqlstate(), Some(sqlstate));
    }

    database.execute("ALTER ROLE mistaken PASSWORD 'canary-password'").await;
    database.execute("CREATE DATABASE missing TEMPLATE turnpike_template").await;
    database.execute(&format!("GRANT CONNECT ON DATABASE {} TO turnpike", database.name)).await;
    for tenant in ["A", "C"] {
        assert_eq!(claim_until_it_works(&gateway, tenant).await, [""; 0]);
    }
    wait_until("the database that was missing is asked", async || {
        gateway.vendor("B").claim().await.status == StatusCode::UNAUTHORIZED
    })
    .await;
}

#[tokio::test]
async fn nobody_waits_for_a_frozen_server_as_long_as_a_statement_may_take() {
    let cluster = own_cluster("frozen").await;
    let gateway = TestGateway::with_tenants(["A"])
        .cluster(cluster)
        .tenant_setting("A", HASTY)
        .overdue("A", 2)
        .start()
        .await;
    let database = gateway.database("A");
    assert_eq!(open_sessions(&gateway, database, 4).await.len(), 4);
    let locker = lock_violations(database).await;
    let vendor = gateway.vendor("A");
    let under_way = tokio::spawn(async move { vendor.claim_with(json!({"preview": true})).await });
    wait_until("a call waits for its answer", async || database.gateway_waits().await).await;

    let frozen = cluster.freeze();
    let calls = join_all((0..20).map(async |_| gateway.vendor("A").claim().await));
    let answers = timeout(BOUND, calls).await.expect("all are answered");
    let under_way = timeout(BOUND, under_way).await.expect("also who was waiting already").unwrap();
    let later = gateway.vendor("A").claim().await;
    drop(frozen);
    locker.batch_execute("ROLLBACK").await.unwrap();
    let tickets = claim_until_it_works(&gateway, "A").await;

    answers.iter().chain([&under_way, &later]).for_each(assert_unavailable);
    assert_eq!(tickets, ["T-1", "T-2"]);
    assert_eq!(gateway.tenant("A").database().breaker(), BreakerState::Closed);
}

#[tokio::test]
async fn a_server_without_room_is_not_taken_for_dead() {
    let gateway = TestGateway::with_tenants(["A"]).tenant_setting("A", HASTY).overdue("A", 1).start().await;
    let (vendor, database) = (gateway.vendor("A"), gateway.database("A"));
    assert_eq!(vendor.claim_with(json!({"preview": true})).await.status, StatusCode::OK);
    let sessions =
        database.count("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()").await;
    assert_eq!(sessions, 2, "this one and the gateway's");
    let waiting = vendor.clone();

    let (answer, refused) = {
        let locker = lock_violations(database).await;
        database.execute(&format!("ALTER DATABASE {} CONNECTION LIMIT 3", database.name)).await;
        let waiting = tokio::spawn(async move { waiting.claim_with(json!({"preview": true})).await });
        wait_until("its only session is in use", async || database.gateway_waits().await).await;
        let mut refused = Vec::new();
        for _ in 0..5 {
            refused.push(vendor.claim().await);
        }
        assert_eq!(gateway.tenant("A").database().breaker(), BreakerState::Closed);
        locker.batch_execute("ROLLBACK").await.unwrap();
        (waiting.await.unwrap(), refused)
    };

    refused.iter().for_each(assert_unavailable);
    assert_eq!(answer.tickets(), ["T-1"]);
    assert_eq!(vendor.claim().await.tickets(), ["T-1"], "at once");
}

#[tokio::test]
async fn sessions_on_a_server_that_became_read_only_are_all_given_up() {
    let cluster = own_cluster("read-only").await;
    let gateway = TestGateway::with_tenants(["A"])
        .cluster(cluster)
        .tenant_setting("A", HASTY)
        .overdue("A", 1)
        .start()
        .await;
    let (vendor, database) = (gateway.vendor("A"), gateway.database("A"));
    assert_eq!(open_sessions(&gateway, database, 4).await.len(), 4);

    // Sessions of before can't write from here on, new ones can: as after a failover.
    database.execute("SET default_transaction_read_only = off").await;
    database
        .execute(&format!("ALTER DATABASE {} SET default_transaction_read_only = off", database.name))
        .await;
    database.execute("ALTER SYSTEM SET default_transaction_read_only = on").await;
    database.execute("SELECT pg_reload_conf()").await;
    wait_until("the server has read its configuration", async || {
        let sql = "SELECT count(*) FROM pg_settings
                    WHERE name = 'default_transaction_read_only' AND reset_val = 'on'";
        database.count(sql).await == 1
    })
    .await;
    let (first, second) = (vendor.claim().await, vendor.claim().await);

    assert_unavailable(&first);
    assert_eq!(second.tickets(), ["T-1"], "none of the other sessions was used");
    assert_eq!(gateway.tenant("A").database().breaker(), BreakerState::Closed);
}

#[tokio::test]
async fn an_outage_is_not_followed_by_a_storm_of_log_ins() {
    const RATE: usize = 10;
    const TENANTS: [&str; 16] =
        ["A", "B", "C", "D", "E", "F", "G", "H", "I", "J", "K", "L", "M", "N", "O", "P"];
    let cluster = own_cluster("storm").await;
    let mut gateway = TestGateway::with_tenants(TENANTS)
        .cluster(cluster)
        .gateway_setting(&format!("connection_opening_rate = {RATE}\nmax_connections_per_server = 40"));
    for tenant in TENANTS {
        gateway = gateway.tenant_setting(tenant, HASTY);
    }
    let gateway = gateway.start().await;
    cluster.stop().await;
    let vendors: Vec<_> =
        TENANTS.iter().flat_map(|tenant| [tenant; 4]).map(|id| gateway.vendor(id)).collect();
    let callers = || join_all(vendors.iter().map(async |vendor| vendor.claim().await.status));
    assert!(callers().await.iter().all(|status| *status == StatusCode::SERVICE_UNAVAILABLE));
    let before = log_ins(cluster).len();
    cluster.resume().await.unwrap();

    wait_until("all tenants are served", async || {
        callers().await.iter().all(|status| *status == StatusCode::OK)
    })
    .await;

    let came: Vec<i64> = log_ins(cluster).split_off(before).iter().map(|LogIn { came, .. }| *came).collect();
    let within_a_second = |from: &i64| came.iter().filter(|at| (*from..*from + 1000).contains(*at)).count();
    let most = came.iter().map(within_a_second).max().unwrap();
    // Twice the rate: a machine that is busy sees them bunched.
    assert!(came.len() >= TENANTS.len() && most <= 2 * RATE, "{most} of {} in a second", came.len());
}
