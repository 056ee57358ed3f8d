//! One vendor, one batch: the gateway over HTTPS against its floor and its peers, and the memory that it takes.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::floor::Floor;
use crate::peers::{FORMS, Form, Jit};
use crate::process::{Gateway, download};
use crate::results::{Results, Wanted, median, ms, over};
use crate::vendor::{Vendor, trust};
use crate::world::{BATCH, LARGE_BATCH, World};

const RUNS: usize = 5;
const PART: &str = "delivery";
/// Records a batch, and how many such batches make a median.
const SMALL: [(i64, usize); 4] = [(0, 300), (1, 50), (20, 50), (1_000, 5)];

/// Runs of one kind of delivery, each in a database of its own.
#[derive(Default)]
struct Runs {
    floor: Vec<Duration>,
    gateway: Vec<Duration>,
    idle_mib: f64,
    peak_mib: f64,
}

pub async fn measure(world: &World, results: &mut Results) {
    for (limit, runs) in SMALL {
        compare_small(world, results, limit, runs).await;
    }
    let medium = compare_whole(world, results, "batch", BATCH).await;
    let document = fetch_document(world).await;
    for form in FORMS {
        for jit in [Jit::On, Jit::Off] {
            compare_with(world, results, (form, jit), &document, medium).await;
        }
    }
    compare_whole(world, results, "large_batch", LARGE_BATCH).await;
}

/// Warm on both sides: the pool is open, the vendor's connection kept.
async fn compare_small(world: &World, results: &mut Results, limit: i64, runs: usize) {
    let template = match limit {
        0 => "none",
        1_000 => "large_batch", // one to warm up, and five a side
        _ => "batch",
    };
    world.copy(template, "small").await;
    let floor = Floor::open(world.tenant("small"));
    let gateway = Gateway::start(&world.configure(&["small"]));
    let mut vendor = Vendor::connect(&Arc::new(trust(&world.directory)), gateway.address).await;
    let wanted = (limit > 0).then_some(limit);
    let expected = usize::try_from(limit).expect("few");
    let mut took = Runs::default();
    for run in 0..=runs {
        let started = Instant::now();
        assert_eq!(floor.claim(wanted).await, expected);
        let floor_took = started.elapsed();
        let started = Instant::now();
        assert_eq!(vendor.claim("small", wanted).await.records, expected);
        let gateway_took = started.elapsed();
        // The first run opens connections and prepares statements, on both sides.
        if run > 0 {
            took.floor.push(floor_took);
            took.gateway.push(gateway_took);
        }
    }
    took.peak_mib = gateway.resident_mib("VmHWM");
    drop(gateway);
    world.drop("small").await;
    report(results, limit, took);
}

/// Cold on both sides: a process, a pool and a database of its own for each run; the gateway is called by curl.
async fn compare_whole(world: &World, results: &mut Results, template: &str, records: i32) -> Duration {
    let mut took = Runs::default();
    for _ in 0..RUNS {
        world.copy(template, "floor_run").await;
        let floor = Floor::open(world.tenant("floor_run"));
        let started = Instant::now();
        assert_eq!(floor.claim(None).await, usize::try_from(records).expect("a batch"));
        took.floor.push(started.elapsed());
        drop(floor);
        world.drop("floor_run").await;

        world.copy(template, "gateway_run").await;
        let gateway = Gateway::start(&world.configure(&["gateway_run"]));
        took.idle_mib = gateway.resident_mib("VmRSS");
        took.gateway.push(gateway.call_by_curl(world, "gateway_run"));
        took.peak_mib = took.peak_mib.max(gateway.resident_mib("VmHWM"));
        drop(gateway);
        world.drop("gateway_run").await;
    }
    results.figure(PART, format!("{records} records: resident memory when idle"), took.idle_mib, "MiB");
    results.ratio(
        format!("{records} records: memory beyond idle, MiB"),
        took.peak_mib - took.idle_mib,
        Wanted::AtMost(64.0),
    );
    report(results, i64::from(records), took)
}

fn report(results: &mut Results, records: i64, took: Runs) -> Duration {
    let (floor, gateway) = (median(took.floor), median(took.gateway));
    results.figure(PART, format!("{records} records: floor"), ms(floor), "ms");
    results.figure(PART, format!("{records} records: gateway"), ms(gateway), "ms");
    results.figure(PART, format!("{records} records: most resident memory"), took.peak_mib, "MiB");
    if records >= i64::from(BATCH) {
        let what = format!("{records} records: gateway / floor");
        results.ratio(what, over(gateway, floor), Wanted::AtMost(1.35));
    } else {
        results.figure(PART, format!("{records} records: gateway / floor"), over(gateway, floor), "");
    }
    let x = if records == 0 { 0.5 } else { f64::from(i32::try_from(records).expect("a batch")) };
    results.point("floor", x, ms(floor));
    results.point("gateway", x, ms(gateway));
    results.point("memory", x, took.peak_mib);
    if records == i64::from(BATCH) {
        results.point("bars gateway", 0.0, ms(gateway));
        results.point("bars floor", 0.0, ms(floor));
    }
    gateway
}

/// What the gateway sends of the batch that the peers are asked for.
async fn fetch_document(world: &World) -> Value {
    world.copy("batch", "document").await;
    let gateway = Gateway::start(&world.configure(&["document"]));
    let file = world.directory.join("answer.json");
    download(&world.directory, gateway.address, "document", &file);
    drop(gateway);
    world.drop("document").await;
    serde_json::from_slice(&fs::read(file).expect("a document")).expect("JSON")
}

/// The same batch from a peer: the bare statement, and marked and fetched over HTTPS.
async fn compare_with(
    world: &World,
    results: &mut Results,
    (form, jit): (Form, Jit),
    document: &Value,
    gateway: Duration,
) {
    let (mut bare, mut whole) = (Vec::new(), Vec::new());
    for run in 0..RUNS {
        world.copy("batch", "peer_run").await;
        let client = world.connect("peer_run").await;
        crate::world::run(&client, jit.setting()).await;
        let started = Instant::now();
        let rows = client.query(&form.sql(), &[]).await.expect("the peer's document");
        bare.push(started.elapsed());
        if run == 0 {
            assert_same_document(document, form, rows[0].get(0));
        }
        drop((rows, client));
        let peer = form.serve(world, jit, "peer_run");
        whole.push(peer.call_by_curl(world, "peer_run"));
        drop(peer);
        world.drop("peer_run").await;
    }
    let (bare, whole) = (median(bare), median(whole));
    let what = format!("{BATCH} records, JSON in SQL {}, {}", form.what, jit.what());
    results.figure(PART, format!("{what}: the statement alone"), ms(bare), "ms");
    results.figure(PART, format!("{what}: marked, over HTTPS"), ms(whole), "ms");
    results.figure(PART, format!("{what}: the statement alone / gateway"), over(bare, gateway), "");
    results.ratio(
        format!("{what}, marked and over HTTPS / gateway"),
        over(whole, gateway),
        Wanted::AtLeast(8.0),
    );
    if jit == Jit::Off {
        results.point(form.name, 0.0, ms(whole));
    }
}

/// The peer must have built what the gateway sends. A generated statement has PostgreSQL's own form of dates and numbers, so
/// there the number of records has to do.
fn assert_same_document(sent: &Value, form: Form, peer: &str) {
    let peer: Value = serde_json::from_str(peer).expect("JSON");
    if form.is_the_wires {
        assert!(sent["records"] == peer["records"], "gateway and peer differ");
    }
    let records = peer.get("records").unwrap_or(&peer).as_array().map(Vec::len);
    assert_eq!(records, Some(BATCH as usize));
}
