//! Many vendors at once: throughput of claims and of empty polls, the gateway over HTTPS against its floor.
//!
//! Claims of one tenant are serialised, so that a tenant's throughput says more about its disk's fsync than about us. Vendors are
//! therefore spread over eight tenants with a database each: 8 vendors have one each, 64 share them. The vendors, their TLS
//! and their HTTP run in this process, on the same cores.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use crate::floor::Floor;
use crate::process::Gateway;
use crate::results::{Results, Wanted, median};
use crate::vendor::{Vendor, trust};
use crate::world::World;

const PART: &str = "concurrency";
const TENANTS: usize = 8;
const ROUNDS: usize = 5;
/// Of 10,000 violations a tenant, ten rounds (five a side) of 20 records a claim: no more than 50 claims a round.
const CLAIMS_A_TENANT: usize = 48;
const POLLS_A_ROUND: usize = 4_800;

/// What every vendor asks for, again and again.
#[derive(Clone, Copy)]
struct Load {
    what: &'static str,
    template: &'static str,
    limit: Option<i64>,
    records: usize,
    /// The least part of the floor's throughput, by number of vendors.
    wanted: (usize, f64),
}

const LOADS: [Load; 2] = [
    Load { what: "claim of 20", template: "batch", limit: Some(20), records: 20, wanted: (8, 0.7) },
    Load { what: "empty poll", template: "none", limit: None, records: 0, wanted: (64, 0.4) },
];

pub async fn measure(world: &World, results: &mut Results) {
    for load in LOADS {
        for vendors in [1, 8, 64] {
            compare(world, results, load, vendors).await;
        }
    }
}

async fn compare(world: &World, results: &mut Results, load: Load, vendors: usize) {
    let tenants: Vec<String> = (0..vendors.min(TENANTS)).map(|n| format!("many_{n}")).collect();
    for tenant in &tenants {
        world.copy(load.template, tenant).await;
    }
    let names: Vec<&str> = tenants.iter().map(String::as_str).collect();
    let floors: Vec<Floor> = names.iter().map(|name| Floor::open(world.tenant(name))).collect();
    let gateway = Gateway::start(&world.configure(&names));
    let trust = Arc::new(trust(&world.directory));
    let mut connected = Vec::new();
    for _ in 0..vendors {
        connected.push(Vendor::connect(&trust, gateway.address).await);
    }
    let calls = match load.limit {
        Some(_) => CLAIMS_A_TENANT * tenants.len() / vendors,
        None => (POLLS_A_ROUND / vendors).min(1_200),
    };
    warm(&floors, &mut connected, &tenants).await;

    let (mut floor, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        floor.push(run_floor(&floors, load, vendors, calls).await);
        ours.push(run_gateway(&mut connected, &tenants, load, calls).await);
    }
    let all = (vendors * calls) as f64;
    let (floor, ours) = (all / median(floor).as_secs_f64(), all / median(ours).as_secs_f64());
    results.figure(PART, format!("{}, {vendors} vendors: floor", load.what), floor, "a second");
    results.figure(PART, format!("{}, {vendors} vendors: gateway", load.what), ours, "a second");
    let name = format!("{}, {vendors} vendors: gateway's throughput / floor's", load.what);
    if load.wanted.0 == vendors {
        results.ratio(name, ours / floor, Wanted::AtLeast(load.wanted.1));
    } else {
        results.figure(PART, name, ours / floor, "");
    }
    drop((connected, floors, gateway));
    for tenant in &tenants {
        world.drop(tenant).await;
    }
}

/// Opens every pool's connections and prepares their statements, on both sides: a claim of one record each.
async fn warm(floors: &[Floor], vendors: &mut [Vendor], tenants: &[String]) {
    join_all(floors.iter().map(|floor| floor.claim(Some(1)))).await;
    let calls = vendors.iter_mut().enumerate();
    join_all(calls.map(|(n, vendor)| vendor.claim(&tenants[n % tenants.len()], Some(1)))).await;
}

async fn run_floor(floors: &[Floor], load: Load, vendors: usize, calls: usize) -> Duration {
    let started = Instant::now();
    let vendors = (0..vendors).map(|n| {
        let floor = floors[n % floors.len()].clone();
        tokio::spawn(async move {
            for _ in 0..calls {
                assert_eq!(floor.claim(load.limit).await, load.records);
            }
        })
    });
    for vendor in join_all(vendors).await {
        vendor.expect("every claim succeeds");
    }
    started.elapsed()
}

async fn run_gateway(vendors: &mut Vec<Vendor>, tenants: &[String], load: Load, calls: usize) -> Duration {
    let started = Instant::now();
    let running = std::mem::take(vendors).into_iter().enumerate().map(|(n, mut vendor)| {
        let tenant = tenants[n % tenants.len()].clone();
        tokio::spawn(async move {
            for _ in 0..calls {
                assert_eq!(vendor.claim(&tenant, load.limit).await.records, load.records);
            }
            vendor
        })
    });
    let ended = join_all(running).await;
    let took = started.elapsed();
    vendors.extend(ended.into_iter().map(|vendor| vendor.expect("every call succeeds")));
    took
}
