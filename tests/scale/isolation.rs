//! One tenant's server is stopped, frozen, or its callers storm; the others' answers are compared with those of the phase
//! just before, in which nothing was wrong.

use std::time::Duration;

use crate::Size;
use crate::gateway::GatewayProcess;
use crate::table::Table;
use crate::vendors::{Calls, Vendor, call, median};
use crate::world::{BROKEN, World, id};

const OTHERS: usize = 20;
const PACE: Duration = Duration::from_millis(100);
const CALLERS: usize = 10;
/// A storm is ten times as many.
const STORMERS: usize = 100;

const LIMIT: &str = "requests_per_tenant = \"200/s burst 50\"";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Stopped,
    Frozen,
    Storming,
    /// The same storm at another gateway process: what of it is this machine's doing.
    StormingElsewhere,
}

#[derive(Default)]
struct Seen {
    medians: Vec<f64>,
    p99s: Vec<f64>,
    recovered_in: Vec<f64>,
    longest: f64,
    statuses: std::collections::BTreeMap<u16, u64>,
    baseline: Vec<[f64; 2]>,
}

pub async fn run(world: &World, size: Size, table: &mut Table) {
    let config = world.configure("isolation", (0..size.tenants).map(id));
    world.add_broken(&config, LIMIT);
    let gateway = GatewayProcess::start(&config).await;
    let vendor = |tenant: &str| Vendor::new(&world.directory, gateway.address, tenant);
    let others: Vec<Vendor> = (0..OTHERS).map(|number| vendor(&id(number % size.tenants))).collect();
    let stormers: Vec<Vendor> = (0..STORMERS).map(|_| vendor(BROKEN)).collect();
    let config = world.configure("elsewhere", std::iter::empty());
    world.add_broken(&config, LIMIT);
    let another = GatewayProcess::start(&config).await;
    let elsewhere: Vec<Vendor> =
        (0..STORMERS).map(|_| Vendor::new(&world.directory, another.address, BROKEN)).collect();
    call(&others, Some(PACE), size.phase).await;
    for trouble in [Trouble::Stopped, Trouble::Frozen, Trouble::Storming, Trouble::StormingElsewhere] {
        let mut seen = Seen::default();
        let callers = if trouble == Trouble::StormingElsewhere { &elsewhere } else { &stormers };
        for _ in 0..size.rounds {
            round(world, size, trouble, (&others, callers), &mut seen).await;
        }
        seen.report(trouble, table);
    }
    gateway.stop().await;
    another.stop().await;
}

async fn round(
    world: &World,
    size: Size,
    trouble: Trouble,
    (others, stormers): (&[Vendor], &[Vendor]),
    seen: &mut Seen,
) {
    let callers = &stormers[..CALLERS];
    let (before, _) =
        tokio::join!(call(others, Some(PACE), size.phase), call(callers, Some(PACE), size.phase));
    let (during, broken) = match trouble {
        Trouble::Stopped => {
            world.fragile.stop().await;
            let calls =
                tokio::join!(call(others, Some(PACE), size.phase), call(callers, Some(PACE), size.phase));
            world.fragile.resume().await.unwrap();
            calls
        }
        Trouble::Frozen => {
            let frozen = world.fragile.freeze();
            let calls =
                tokio::join!(call(others, Some(PACE), size.phase), call(callers, Some(PACE), size.phase));
            drop(frozen);
            calls
        }
        Trouble::Storming | Trouble::StormingElsewhere => {
            tokio::join!(call(others, Some(PACE), size.phase), call(stormers, Some(PACE), size.phase))
        }
    };
    seen.recovered_in.push(stormers[0].poll_until_good().await.as_secs_f64());

    assert_eq!((before.failed(), during.failed()), (0, 0), "{:?} {:?}", before.statuses, during.statuses);
    assert_eq!(broken.unhelpful, 0, "a 503 says when to come back");
    let allowed: &[u16] = match trouble {
        Trouble::Stopped | Trouble::Frozen => &[503],
        Trouble::Storming | Trouble::StormingElsewhere => &[200, 429],
    };
    assert!(broken.statuses.keys().all(|status| allowed.contains(status)), "{:?}", broken.statuses);
    seen.add(&before, &during, broken);
}

impl Seen {
    fn add(&mut self, before: &Calls, during: &Calls, broken: Calls) {
        self.baseline.push([before.percentile(50.0), before.percentile(99.0)]);
        self.medians.push(during.percentile(50.0) / before.percentile(50.0));
        self.p99s.push(during.percentile(99.0) / before.percentile(99.0));
        self.longest = self.longest.max(broken.all.max() as f64 / 1_000_000.0);
        for (status, count) in broken.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
    }

    fn report(self, trouble: Trouble, table: &mut Table) {
        let name = match trouble {
            Trouble::Stopped => "stopped",
            Trouble::Frozen => "frozen",
            Trouble::Storming => "storming",
            Trouble::StormingElsewhere => "storming at another gateway",
        };
        let [base, base_p99] = [0, 1].map(|at| median(self.baseline.iter().map(|both| both[at]).collect()));
        table.add(
            &format!("{name}: the others' median and p99 before"),
            format!("{base:.2} ms, {base_p99:.2} ms"),
            "",
            None,
        );
        for (what, ratios) in [("median", self.medians), ("p99", self.p99s)] {
            let ratio = median(ratios);
            let what = format!("{name}: the others' {what}, as a part of that");
            let (bound, reached) = match trouble {
                Trouble::StormingElsewhere => ("", None),
                _ => ("1.2", Some(ratio <= 1.2)),
            };
            table.add(&what, format!("{ratio:.2}"), bound, reached);
        }
        table.add(&format!("{name}: its callers' answers"), format!("{:?}", self.statuses), "", None);
        table.add(&format!("{name}: its callers' longest wait"), format!("{:.2} s", self.longest), "", None);
        let recovered = format!("{:.1} s", median(self.recovered_in));
        table.add(&format!("{name}: served again after"), recovered, "", None);
    }
}
