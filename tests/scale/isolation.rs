//! One tenant's server is stopped, frozen, or its callers storm; the others' answers are compared with those of the phase
//! just before, in which nothing was wrong.

use std::time::Duration;

use crate::Size;
use crate::callers::{Answers, Callers};
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
    longest: Duration,
    rates: Vec<f64>,
    statuses: std::collections::BTreeMap<u16, u64>,
    baseline: Vec<[f64; 2]>,
}

pub async fn run(world: &World, size: Size, table: &mut Table) {
    let config = world.configure("isolation", (0..size.tenants).map(id));
    world.add_broken(&config, LIMIT);
    let gateway = GatewayProcess::start(&config).await;
    let vendor = |tenant: &str| Vendor::new(&world.directory, gateway.address, tenant);
    let others: Vec<Vendor> = (0..OTHERS).map(|number| vendor(&id(number % size.tenants))).collect();
    let probe = vendor(BROKEN);
    let mut here = Callers::start(&world.directory, gateway.address, BROKEN);
    let config = world.configure("elsewhere", std::iter::empty());
    world.add_broken(&config, LIMIT);
    let another = GatewayProcess::start(&config).await;
    let mut elsewhere = Callers::start(&world.directory, another.address, BROKEN);
    // Everybody has a connection before anything is measured.
    for callers in [&mut here, &mut elsewhere] {
        tokio::join!(call(&others, Some(PACE), size.phase), callers.call(STORMERS, size.phase));
    }
    for trouble in [Trouble::Stopped, Trouble::Frozen, Trouble::Storming, Trouble::StormingElsewhere] {
        let mut seen = Seen::default();
        let callers = if trouble == Trouble::StormingElsewhere { &mut elsewhere } else { &mut here };
        for _ in 0..size.rounds {
            round(world, size, trouble, (&others, callers), &mut seen).await;
            seen.recovered_in.push(probe.poll_until_good().await.as_secs_f64());
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
    (others, callers): (&[Vendor], &mut Callers),
    seen: &mut Seen,
) {
    let (before, _) = tokio::join!(call(others, Some(PACE), size.phase), callers.call(CALLERS, size.phase));
    let (during, broken) = match trouble {
        Trouble::Stopped => {
            world.fragile.stop().await;
            let calls = tokio::join!(call(others, Some(PACE), size.phase), callers.call(CALLERS, size.phase));
            world.fragile.resume().await.unwrap();
            calls
        }
        Trouble::Frozen => {
            let frozen = world.fragile.freeze();
            let calls = tokio::join!(call(others, Some(PACE), size.phase), callers.call(CALLERS, size.phase));
            drop(frozen);
            calls
        }
        Trouble::Storming | Trouble::StormingElsewhere => {
            tokio::join!(call(others, Some(PACE), size.phase), callers.call(STORMERS, size.phase))
        }
    };

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
    fn add(&mut self, before: &Calls, during: &Calls, broken: Answers) {
        self.baseline.push([before.percentile(50.0), before.percentile(99.0)]);
        self.medians.push(during.percentile(50.0) / before.percentile(50.0));
        self.p99s.push(during.percentile(99.0) / before.percentile(99.0));
        self.longest = self.longest.max(broken.longest);
        self.rates.push(broken.rate);
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
        if matches!(trouble, Trouble::Storming | Trouble::StormingElsewhere) {
            let rate = median(self.rates);
            let bound = 0.9 * STORMERS as f64 / PACE.as_secs_f64();
            table.add(
                &format!("{name}: its callers' calls a second"),
                format!("{rate:.0}"),
                &format!("at least {bound:.0}"),
                Some(rate >= bound),
            );
        }
        let longest = format!("{:.2} s", self.longest.as_secs_f64());
        table.add(&format!("{name}: its callers' longest wait"), longest, "", None);
        let recovered = format!("{:.1} s", median(self.recovered_in));
        table.add(&format!("{name}: served again after"), recovered, "", None);
    }
}
