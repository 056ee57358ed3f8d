//! What grows and what must not: a poll by the length of history and by the number of tenants, start and memory by tenants,
//! handshakes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rustls::HandshakeKind;
use rustls::client::Resumption;

use crate::process::Gateway;
use crate::results::{Results, Wanted, median, ms, over};
use crate::vendor::{Vendor, trust};
use crate::world::{World, run};

const PART: &str = "growth";
const ROUNDS: usize = 5;
const POLLS: usize = 300;
const HISTORIES: [i32; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// With `full`: copies of the longest history's violations, so many more.
const MULTIPLIED: i32 = 10;
const TENANTS: [usize; 4] = [1, 10, 100, 1_000];
/// Databases that the tenants share; each has a pool of its own all the same.
const DATABASES: usize = 10;
const HANDSHAKES: usize = 400;
const AT_ONCE: usize = 8;

pub async fn measure(world: &World, results: &mut Results, full: bool) {
    poll_by_history(world, results, full).await;
    poll_by_tenants(world, results).await;
    count_handshakes(world, results).await;
}

async fn poll_by_history(world: &World, results: &mut Results, full: bool) {
    let mut histories: Vec<(String, i32)> =
        HISTORIES.iter().map(|history| (format!("history_{history}"), *history)).collect();
    for (name, history) in &histories {
        world.fill(name, 0, *history).await;
    }
    if full {
        let longest = HISTORIES[HISTORIES.len() - 1];
        let name = format!("history_{}", longest * MULTIPLIED);
        world.clone_database(&format!("history_{longest}"), &name).await;
        multiply(world, &name, longest).await;
        histories.push((name, longest * MULTIPLIED));
    }
    let names: Vec<&str> = histories.iter().map(|(name, _)| name.as_str()).collect();
    let gateway = Gateway::start(&world.configure(&names));
    let mut vendor = Vendor::connect(&Arc::new(trust(&world.directory)), gateway.address).await;
    let mut took = vec![Vec::new(); names.len()];
    for _ in 0..ROUNDS {
        for (took, name) in took.iter_mut().zip(&names) {
            took.push(poll(&mut vendor, name).await);
        }
    }
    let took: Vec<Duration> = took.into_iter().map(median).collect();
    for (took, (_, history)) in took.iter().zip(&histories) {
        results.figure(PART, format!("empty poll, history of {history}"), ms(*took), "ms");
        results.point("history", f64::from(*history), ms(*took));
    }
    let longest = histories[histories.len() - 1].1;
    let what = format!("empty poll: history of {longest} / of {}", HISTORIES[0]);
    results.ratio(what, over(took[took.len() - 1], took[0]), Wanted::AtMost(1.15));
    drop((vendor, gateway));
    for name in names {
        world.drop(name).await;
    }
}

/// Copies the history's violations to new numbers; triggers and foreign keys rest, for nothing new is referred to.
async fn multiply(world: &World, database: &str, history: i32) {
    let client = world.connect(database).await;
    run(&client, "SET session_replication_role = replica; SET synchronous_commit = off").await;
    let statement = client.prepare(include_str!("sql/multiply.sql")).await.expect("the copying statement");
    for copy in 1..MULTIPLIED {
        client.execute(&statement, &[&(copy * history), &history]).await.expect("a copy of the history");
    }
    run(&client, "ANALYZE violations").await;
}

/// The median of some polls on one connection.
async fn poll(vendor: &mut Vendor, tenant: &str) -> Duration {
    let mut took = Vec::with_capacity(POLLS);
    for _ in 0..POLLS {
        let started = Instant::now();
        assert_eq!(vendor.claim(tenant, None).await.records, 0);
        took.push(started.elapsed());
    }
    median(took)
}

async fn poll_by_tenants(world: &World, results: &mut Results) {
    let databases: Vec<String> = (0..DATABASES).map(|n| format!("tenant_{n}")).collect();
    for database in &databases {
        world.clone_database("none", database).await;
    }
    let names: Vec<String> = (0..TENANTS[TENANTS.len() - 1]).map(|n| format!("T{n}")).collect();
    let trust = Arc::new(trust(&world.directory));
    let mut took = vec![Vec::new(); TENANTS.len()];
    let mut start = vec![Vec::new(); TENANTS.len()];
    let mut idle = [0.0; TENANTS.len()];
    for _ in 0..ROUNDS {
        for (index, count) in TENANTS.into_iter().enumerate() {
            let tenants = names[..count].iter().enumerate();
            let config = tenants.map(|(n, name)| (name.as_str(), databases[n % DATABASES].as_str()));
            let gateway = Gateway::start(&world.configure_as(config));
            start[index].push(gateway.start);
            idle[index] = gateway.resident_mib("VmRSS");
            gateway.until_quiet().await;
            let mut vendor = Vendor::connect(&trust, gateway.address).await;
            took[index].push(poll(&mut vendor, &names[count / 2]).await);
        }
    }
    let took: Vec<Duration> = took.into_iter().map(median).collect();
    for (index, (count, start)) in TENANTS.into_iter().zip(start).enumerate() {
        results.figure(PART, format!("{count} tenants: start"), ms(median(start)), "ms");
        results.figure(PART, format!("{count} tenants: resident memory when idle"), idle[index], "MiB");
        results.figure(PART, format!("{count} tenants: empty poll of one"), ms(took[index]), "ms");
        results.point("tenants", count as f64, ms(took[index]));
        results.point("tenants memory", count as f64, idle[index]);
    }
    let name = format!("empty poll: {} tenants / one", TENANTS[TENANTS.len() - 1]);
    results.ratio(name, over(took[TENANTS.len() - 1], took[0]), Wanted::AtMost(1.1));
    for database in &databases {
        world.drop(database).await;
    }
}

/// Connections with TLS 1.3 and one request that is refused without a database, eight at a time, vendors on the same cores.
async fn count_handshakes(world: &World, results: &mut Results) {
    let gateway = Gateway::start(&world.configure(&["none"]));
    let resuming = trust(&world.directory);
    let mut fresh = resuming.clone();
    fresh.resumption = Resumption::disabled();
    for (what, trust, kind) in
        [("full", fresh, HandshakeKind::Full), ("resumed", resuming, HandshakeKind::Resumed)]
    {
        let trust = Arc::new(trust);
        let mut took = Vec::new();
        for round in 0..=ROUNDS {
            let started = Instant::now();
            join_all((0..AT_ONCE).map(|_| shake_hands(&trust, &gateway, kind, round > 0))).await;
            // The first round gets the tickets.
            if round > 0 {
                took.push(started.elapsed());
            }
        }
        let rate = HANDSHAKES as f64 / median(took).as_secs_f64();
        results.figure(PART, format!("connections with {what} handshakes"), rate, "a second");
    }
}

async fn shake_hands(
    trust: &Arc<rustls::ClientConfig>,
    gateway: &Gateway,
    kind: HandshakeKind,
    checked: bool,
) {
    for _ in 0..HANDSHAKES / AT_ONCE {
        let mut vendor = Vendor::connect(trust, gateway.address).await;
        assert!(!checked || vendor.handshake == kind, "{:?} instead of {kind:?}", vendor.handshake);
        assert_eq!(vendor.send("/no/such/path", String::new()).await.status, 404);
    }
}
