//! Whether one tenant's storm reaches another: a tenant's latency alone, and under the storm, side by side.
//!
//! Both are measured in turns, several times, so that whatever else the machine does meanwhile falls on both alike. The
//! measured tenant is called at a constant rate, and latency counts from when a call was due.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::call::Order;
use super::connections::Dialer;
use super::report::{ErrorCount, Latency, errors, milliseconds};
use super::run::{Model, Plan, Run};
use super::schedule::Rate;
use super::tally::Tally;

/// What is compared, and how.
#[derive(Clone)]
pub struct Comparison {
    pub dialer: Dialer,
    /// The tenant whose latency is measured.
    pub measured: Order,
    pub rate: Rate,
    /// The tenants who storm.
    pub storm: Arc<[Order]>,
    pub storm_vendors: usize,
    /// How long each window is measured; the storm rages for `warm_up` before.
    pub duration: Duration,
    pub warm_up: Duration,
    pub rounds: u32,
    pub timeout: Duration,
    pub connections: usize,
}

/// A window's, or all windows', numbers.
#[derive(Debug, Clone, Serialize)]
pub struct Window {
    pub answered: u64,
    pub failed: u64,
    pub latency_ms: Option<Latency>,
}

/// One baseline and one storm.
#[derive(Debug, Clone, Serialize)]
pub struct Round {
    pub baseline: Window,
    pub storm: Window,
}

/// What a comparison has shown.
#[derive(Debug, Clone, Serialize)]
pub struct Isolation {
    pub measured: String,
    pub storming: Vec<String>,
    pub rate: String,
    pub storm_vendors: usize,
    pub rounds: Vec<Round>,
    /// All rounds' calls together.
    pub baseline: Window,
    pub under_storm: Window,
    pub errors: Vec<ErrorCount>,
    /// What the storm itself got: whole answers and failures of all rounds.
    pub storm_answered: u64,
    pub storm_errors: Vec<ErrorCount>,
    pub storm_bytes: u64,
    pub median_ratio: Option<f64>,
    pub p99_ratio: Option<f64>,
    pub max_ratio: f64,
    pub interrupted: bool,
    /// Why it wasn't held; empty where it was.
    pub faults: Vec<String>,
}

/// The tallies of all rounds, in turns.
pub struct Measured {
    rounds: Vec<(Tally, Tally)>,
    storm: Option<Tally>,
}

/// Measures in turns; `told` is given each window's end. Cancelling `stop` ends it.
pub async fn measure(
    comparison: &Comparison,
    stop: &CancellationToken,
    told: impl Fn(&str, &Tally),
) -> Measured {
    let mut measured = Measured { rounds: Vec::new(), storm: None };
    for _ in 0..comparison.rounds {
        let baseline = Run::new(comparison.measuring(), stop.clone()).go().await;
        told("alone", &baseline);
        let ended = CancellationToken::new();
        let raging = Run::new(comparison.storming(), ended.clone());
        let raging = tokio::spawn(raging.go());
        let under_storm = Run::new(comparison.measuring(), stop.clone()).go().await;
        told("under storm", &under_storm);
        ended.cancel();
        if let Ok(raged) = raging.await {
            match &mut measured.storm {
                Some(storm) => storm.merge(&raged),
                none => *none = Some(raged),
            }
        }
        if stop.is_cancelled() {
            break;
        }
        measured.rounds.push((baseline, under_storm));
    }
    measured
}

impl Comparison {
    fn measuring(&self) -> Plan {
        Plan {
            dialer: self.dialer.clone(),
            orders: Arc::new([self.measured.clone()]),
            model: Model::Open { rate: self.rate },
            warm_up: self.warm_up,
            duration: self.duration,
            timeout: self.timeout,
            connections: self.connections,
        }
    }

    /// Longer than what is measured under it, whose last answers may come late.
    fn storming(&self) -> Plan {
        Plan {
            orders: Arc::clone(&self.storm),
            model: Model::Closed { vendors: self.storm_vendors },
            warm_up: Duration::ZERO,
            duration: self.warm_up + self.duration + self.timeout,
            ..self.measuring()
        }
    }
}

/// Who was measured, under whose storm.
pub struct Names {
    pub measured: String,
    pub storming: Vec<String>,
}

impl Isolation {
    pub fn new(comparison: &Comparison, names: Names, measured: &Measured, max_ratio: f64) -> Isolation {
        let baseline = merged(measured.rounds.iter().map(|(baseline, _)| baseline));
        let under_storm = merged(measured.rounds.iter().map(|(_, storm)| storm));
        let all = merged([&baseline, &under_storm].into_iter().flatten());
        let window = |tally: &Option<Tally>| tally.as_ref().map_or_else(Window::empty, Window::of);
        let (baseline, under_storm) = (window(&baseline), window(&under_storm));
        let ratio = |of: fn(&Latency) -> f64| {
            Some(of(under_storm.latency_ms.as_ref()?) / of(baseline.latency_ms.as_ref()?))
        };
        let mut isolation = Isolation {
            measured: names.measured,
            storming: names.storming,
            rate: comparison.rate.to_string(),
            storm_vendors: comparison.storm_vendors,
            rounds: measured.rounds.iter().map(|(one, other)| Round::of(one, other)).collect(),
            median_ratio: ratio(|latency| latency.p50),
            p99_ratio: ratio(|latency| latency.p99),
            baseline,
            under_storm,
            errors: all.map(|all| errors(&all.counts)).unwrap_or_default(),
            storm_answered: measured.storm.as_ref().map_or(0, |storm| storm.counts.answered),
            storm_errors: measured.storm.as_ref().map(|storm| errors(&storm.counts)).unwrap_or_default(),
            storm_bytes: measured.storm.as_ref().map_or(0, |storm| storm.counts.bytes),
            max_ratio,
            interrupted: measured.rounds.len() < comparison.rounds as usize,
            faults: Vec::new(),
        };
        isolation.faults = isolation.find_faults();
        isolation
    }

    fn find_faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (name, ratio) in [("median", self.median_ratio), ("p99", self.p99_ratio)] {
            match ratio {
                None => faults.push(format!("no {name} was measured")),
                Some(ratio) if ratio > self.max_ratio => {
                    faults.push(format!(
                        "the {name} is {ratio:.2} times the baseline's, above {}",
                        self.max_ratio
                    ));
                }
                Some(_) => {}
            }
        }
        if self.baseline.failed + self.under_storm.failed > 0 {
            faults.push(format!(
                "calls of {} failed: {} alone, {} under storm",
                self.measured, self.baseline.failed, self.under_storm.failed
            ));
        }
        if self.storm_answered == 0 {
            faults.push("the storm got no whole answer: nothing was put to the test".to_owned());
        }
        if self.interrupted {
            faults.push("interrupted: only whole rounds count".to_owned());
        }
        faults
    }

    /// Whether the storm didn't reach the measured tenant.
    pub fn held(&self) -> bool {
        self.faults.is_empty()
    }
}

fn merged<'a>(tallies: impl IntoIterator<Item = &'a Tally>) -> Option<Tally> {
    let mut tallies = tallies.into_iter();
    let mut all = tallies.next()?.clone();
    tallies.for_each(|tally| all.merge(tally));
    Some(all)
}

impl Window {
    fn of(tally: &Tally) -> Window {
        Window {
            answered: tally.counts.answered,
            failed: tally.counts.failed(),
            latency_ms: Latency::of(&tally.latency),
        }
    }

    fn empty() -> Window {
        Window { answered: 0, failed: 0, latency_ms: None }
    }

    /// p50, p90, p99 and maximum, as people read them.
    pub fn percentiles(&self) -> [String; 4] {
        match &self.latency_ms {
            None => ["-"; 4].map(str::to_owned),
            Some(it) => [it.p50, it.p90, it.p99, it.max].map(milliseconds),
        }
    }
}

impl Round {
    fn of(baseline: &Tally, storm: &Tally) -> Round {
        Round { baseline: Window::of(baseline), storm: Window::of(storm) }
    }
}
