//! A noisy neighbour: one tenant downloads 100,000 violations as fast as it can; how long do another's polls take meanwhile?
//!
//! The polls come at a fixed pace, each timed from the moment at which it was due, so that a slow one also counts for those
//! that wait behind it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use crate::process::{Gateway, NOWHERE, download};
use crate::results::{Results, Wanted, median, ms, over, p99};
use crate::vendor::{Vendor, trust};
use crate::world::World;

const PART: &str = "fairness";
const ROUNDS: usize = 5;
const PACE: Duration = Duration::from_millis(5);
const BASELINE_POLLS: usize = 400;

pub async fn measure(world: &World, results: &mut Results) {
    let (mut calm, mut stormy) = (Vec::new(), Vec::new());
    world.clone_database("none", "quiet_tenant").await;
    for _ in 0..ROUNDS {
        world.copy("large_batch", "noisy_tenant").await;
        let gateway = Gateway::start(&world.configure(&["quiet_tenant", "noisy_tenant"]));
        let mut vendor = Vendor::connect(&Arc::new(trust(&world.directory)), gateway.address).await;
        vendor.claim("quiet_tenant", None).await;
        calm.append(&mut poll_while(&mut vendor, |polls| polls < BASELINE_POLLS).await);

        let (directory, address) = (world.directory.clone(), gateway.address);
        let storm = spawn_blocking(move || download(&directory, address, "noisy_tenant", Path::new(NOWHERE)));
        stormy.append(&mut poll_while(&mut vendor, |_| !storm.is_finished()).await);
        storm.await.expect("the download succeeds");
        drop((vendor, gateway));
        world.drop("noisy_tenant").await;
    }
    world.drop("quiet_tenant").await;
    let (baseline, beside) = (p99(calm.clone()), p99(stormy.clone()));
    results.figure(PART, "poll alone: median", ms(median(calm)), "ms");
    results.figure(PART, "poll alone: p99", ms(baseline), "ms");
    results.figure(PART, "poll beside a download of 100,000: median", ms(median(stormy)), "ms");
    results.figure(PART, "poll beside a download of 100,000: p99", ms(beside), "ms");
    results.ratio(
        "poll's p99 beside a download of 100,000 / alone",
        over(beside, baseline),
        Wanted::AtMost(2.0),
    );
}

async fn poll_while(vendor: &mut Vendor, go_on: impl Fn(usize) -> bool) -> Vec<Duration> {
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut took = Vec::new();
    while go_on(took.len()) {
        let due: Instant = pace.tick().await.into_std();
        vendor.claim("quiet_tenant", None).await;
        took.push(due.elapsed());
    }
    took
}
