//! However many tenants are called, connections stay within the budget, as the server counts them, and go round.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::{join_all, select_all};
use reqwest::StatusCode;
use serde_json::json;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, interval, timeout};
use tokio_postgres::NoTls;

use crate::support::database::cluster;
use crate::support::gateway::GatewayBuilder;
use crate::support::{TestGateway, Vendor, wait_until};

const TENANTS: [&str; 10] = ["A", "B", "C", "D", "E", "F", "G", "H", "I", "J"];
/// How often sessions are counted in a storm.
const SAMPLES: usize = 1000;
const PATIENCE: Duration = Duration::from_secs(30);
/// How often vendors call while sessions are killed, at least, and how many of those must be killed.
const CALLS: usize = 200;
const KILLS: usize = 21;

fn patient(gateway: GatewayBuilder) -> GatewayBuilder {
    let patience = "pool_timeout = \"30s\"\nbreaker_backoff = \"1s\"";
    TENANTS.iter().fold(gateway, |gateway, tenant| gateway.tenant_setting(tenant, patience))
}

/// The gateway's databases.
fn names(gateway: &TestGateway) -> Vec<String> {
    TENANTS.iter().map(|tenant| gateway.database(tenant).name.clone()).collect()
}

/// Counts the gateway's sessions on a server as fast as it can, on a thread of its own: `SAMPLES` times, and on a busy machine
/// until it has once seen the whole budget in use.
struct Sampler {
    ended: Arc<AtomicBool>,
    sampling: JoinHandle<i64>,
}

impl Sampler {
    async fn start(gateway: &TestGateway, budget: i64) -> Self {
        let (ended, names) = (Arc::new(AtomicBool::new(false)), names(gateway));
        let (told, server) = (Arc::clone(&ended), cluster().await.superuser_config("postgres"));
        let sampling = spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (session, connection) = server.connect(NoTls).await.unwrap();
                tokio::spawn(connection);
                let sql =
                    "SELECT count(*) FROM pg_stat_activity WHERE usename = 'turnpike' AND datname = ANY ($1)";
                let count = session.prepare(sql).await.unwrap();
                let (mut most, mut samples, give_up) = (0, 0, Instant::now() + PATIENCE);
                while samples < SAMPLES || (most < budget && Instant::now() < give_up) {
                    most = most.max(session.query_one(&count, &[&names]).await.unwrap().get(0));
                    samples += 1;
                }
                told.store(true, Ordering::Relaxed);
                most
            })
        });
        Self { ended, sampling }
    }

    fn goes_on(&self) -> bool {
        !self.ended.load(Ordering::Relaxed)
    }
}

/// Several callers of every tenant, again and again; gives how many answers weren't good.
async fn storm(gateway: &TestGateway, goes_on: impl Fn() -> bool) -> usize {
    let vendors: Vec<Vendor> =
        TENANTS.iter().flat_map(|tenant| [tenant; 3]).map(|id| gateway.vendor(id)).collect();
    let calling = vendors.iter().map(async |vendor| {
        let mut refused = 0;
        while goes_on() {
            refused += usize::from(vendor.claim().await.status != StatusCode::OK);
        }
        refused
    });
    join_all(calling).await.into_iter().sum()
}

/// The most sessions that there were at once, and how many answers weren't good.
async fn sampled_storm(gateway: &TestGateway, budget: i64) -> (i64, usize) {
    let sampler = Sampler::start(gateway, budget).await;
    let refused = storm(gateway, || sampler.goes_on()).await;
    (sampler.sampling.await.unwrap(), refused)
}

/// Has every session closed; nothing of the budget may be taken then.
async fn assert_nothing_is_taken(gateway: &TestGateway) {
    wait_until("the budget is whole again", async || {
        TENANTS.iter().for_each(|id| gateway.tenant(id).database().close_all());
        let usage = gateway.inner.budget.usage();
        usage.process == 0 && usage.waiting == 0 && usage.servers.iter().all(|(_, taken)| *taken == 0)
    })
    .await;
}

async fn gateway_of_many(budget: &str) -> TestGateway {
    patient(TestGateway::with_tenants(TENANTS).gateway_setting(budget)).start().await
}

#[tokio::test]
async fn a_storm_over_many_tenants_stays_within_a_servers_budget() {
    let gateway = gateway_of_many("max_connections_per_server = 6").await;

    let (most, refused) = sampled_storm(&gateway, 6).await;

    assert_eq!((most, refused), (6, 0), "all of it, and no more");
}

#[tokio::test]
async fn a_storm_over_many_tenants_stays_within_the_processs_budget() {
    let gateway = gateway_of_many("max_database_connections = 5").await;

    let (most, refused) = sampled_storm(&gateway, 5).await;

    assert_eq!((most, refused), (5, 0), "all of it, and no more");
}

#[tokio::test]
async fn sessions_that_are_killed_and_callers_who_vanish_take_nothing_from_the_budget() {
    let gateway = gateway_of_many("max_connections_per_server = 6").await;
    let killer = gateway.database("A").session().await;
    let (calls, killed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let mut every = interval(Duration::from_millis(20));
    let killing = async {
        loop {
            every.tick().await;
            let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                        WHERE usename = 'turnpike' AND datname = ANY ($1)";
            killed.fetch_add(killer.query(sql, &[&names(&gateway)]).await.unwrap().len(), Ordering::Relaxed);
        }
    };
    let vendors: Vec<Vendor> = TENANTS.iter().map(|id| gateway.vendor(id)).collect();
    let vanishing = join_all(vendors.iter().map(async |vendor| {
        for call in 0..20 {
            // Some before their request is read, some while they wait for a session or for the database.
            let _ =
                timeout(Duration::from_millis(call * 3), vendor.claim_with(json!({"preview": true}))).await;
        }
    }));

    let give_up = Instant::now() + PATIENCE;
    let goes_on = || {
        let wanting = killed.load(Ordering::Relaxed) < KILLS && Instant::now() < give_up;
        calls.fetch_add(1, Ordering::Relaxed) < CALLS || wanting
    };
    tokio::select! {
        () = async { drop(tokio::join!(storm(&gateway, goes_on), vanishing)) } => {}
        () = killing => unreachable!("it kills for ever"),
    }
    let killed = killed.load(Ordering::Relaxed);
    assert!(killed >= KILLS, "{killed}");
    for vendor in &vendors {
        wait_until("every tenant is served again", async || vendor.claim().await.status == StatusCode::OK)
            .await;
    }
    assert_nothing_is_taken(&gateway).await;
    let (most, refused) = sampled_storm(&gateway, 6).await;

    assert_eq!((most, refused), (6, 0), "all of it again, and no more");
    assert_nothing_is_taken(&gateway).await;
}

#[tokio::test]
async fn the_session_that_is_idle_longest_goes_for_a_tenant_that_waits() {
    let gateway = patient(TestGateway::with_tenants(TENANTS))
        .gateway_setting("max_connections_per_server = 3")
        .start()
        .await;
    for tenant in ["A", "B", "C"] {
        assert_eq!(gateway.vendor(tenant).claim().await.status, StatusCode::OK);
    }
    assert_eq!(gateway.vendor("A").claim().await.status, StatusCode::OK, "B's is idle longest");

    let answer = gateway.vendor("D").claim().await;

    assert_eq!(answer.status, StatusCode::OK);
    let mut sessions = Vec::new();
    for tenant in ["A", "B", "C", "D"] {
        sessions.push(gateway.database(tenant).gateway_sessions().await);
    }
    assert_eq!(sessions, [1, 0, 1, 1]);
}

#[tokio::test]
async fn a_tenant_that_is_called_often_does_not_starve_one_that_is_called_seldom() {
    let gateway = TestGateway::with_tenants(["A", "B", "C"])
        .gateway_setting("max_connections_per_server = 4")
        .tenant_setting("A", "pool_timeout = \"30s\"")
        .tenant_setting("B", "pool_timeout = \"30s\"")
        .tenant_setting("C", "pool_timeout = \"10s\"")
        .start()
        .await;
    let often: Vec<Vendor> =
        ["A", "B"].iter().flat_map(|id| vec![id; 16]).map(|id| gateway.vendor(id)).collect();
    let calling = often.iter().map(|vendor| {
        Box::pin(async move {
            loop {
                assert_eq!(vendor.claim().await.status, StatusCode::OK);
            }
        })
    });
    let seldom = gateway.vendor("C");
    let calling_seldom = async {
        let mut answers = Vec::new();
        for _ in 0..8 {
            answers.push(seldom.claim().await.status);
            wait_until("its session was given to others", async || {
                gateway.database("C").gateway_sessions().await == 0
            })
            .await;
        }
        answers
    };

    let answers = tokio::select! {
        answers = calling_seldom => answers,
        _ = select_all(calling) => unreachable!("they call for ever"),
    };

    assert_eq!(answers, [StatusCode::OK; 8]);
}
