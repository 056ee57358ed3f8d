//! Many vendors claim one tenant's violations to the end, some of them cut off on purpose; then each violation must be in
//! exactly one whole answer.
//!
//! For sample data: it consumes what it claims. Each vendor goes about it as the documentation for vendors asks (an answer
//! that isn't whole counts for nothing, the same key or the batch's number gives it again), so whatever is missing or double
//! in the end is the gateway's fault.

pub mod checker;
mod collect;
mod vendor;

use std::collections::BTreeSet;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::Serialize;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::checker::{Expected, Findings, Whole};
use self::vendor::Vendor;
pub use self::vendor::{Manners, VendorError};
use super::connections::{Connections, Dialer};
use super::target::Target;

/// All that a trial needs.
#[derive(Clone)]
pub struct Trial {
    pub dialer: Dialer,
    pub target: Target,
    pub vendors: usize,
    pub seed: u64,
    pub manners: Manners,
    /// How long a call may take.
    pub timeout: Duration,
}

/// What the vendors did and met, all of them together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Deeds {
    pub calls: u64,
    pub whole_answers: u64,
    pub empty_answers: u64,
    pub cut_before_head: u64,
    pub cut_at_head: u64,
    pub cut_midway: u64,
    pub cut_at_end: u64,
    /// Whole answers that came again, by their key or their number.
    pub replayed: u64,
    /// Calls that were answered "not now" (409, 429, 503) or broke off without being meant to, and were repeated.
    pub repeated: u64,
}

/// What a trial has shown.
#[derive(Debug)]
pub struct Outcome {
    pub deeds: Deeds,
    pub answers: Vec<Whole>,
    /// Vendors who had to give up; what they were owed is missing.
    pub errors: Vec<VendorError>,
}

/// Runs every vendor until an answer is empty. Cancelling `stop` ends them in the middle.
pub async fn attempt(trial: &Trial, stop: &CancellationToken) -> Outcome {
    let mut vendors = JoinSet::new();
    let mut seeds = StdRng::seed_from_u64(trial.seed);
    for number in 0..trial.vendors {
        let vendor = Vendor {
            number,
            target: trial.target.clone(),
            connections: Connections::new(trial.dialer.clone(), 1),
            manners: trial.manners.clone(),
            timeout: trial.timeout,
            rng: StdRng::seed_from_u64(seeds.random()),
            deeds: Deeds::default(),
            answers: Vec::new(),
        };
        let stop = stop.clone();
        vendors.spawn(async move { vendor.claim_to_the_end(&stop).await });
    }
    let mut outcome = Outcome { deeds: Deeds::default(), answers: Vec::new(), errors: Vec::new() };
    while let Some(ended) = vendors.join_next().await {
        let (vendor, error) = ended.expect("a vendor doesn't panic");
        outcome.deeds.add(&vendor.deeds);
        outcome.answers.extend(vendor.answers);
        outcome.errors.extend(error);
    }
    outcome
}

impl Deeds {
    pub fn cut(&self) -> u64 {
        self.cut_before_head + self.cut_at_head + self.cut_midway + self.cut_at_end
    }

    fn add(&mut self, other: &Deeds) {
        self.calls += other.calls;
        self.whole_answers += other.whole_answers;
        self.empty_answers += other.empty_answers;
        self.cut_before_head += other.cut_before_head;
        self.cut_at_head += other.cut_at_head;
        self.cut_midway += other.cut_midway;
        self.cut_at_end += other.cut_at_end;
        self.replayed += other.replayed;
        self.repeated += other.repeated;
    }
}

/// A trial's result, ready to be read.
#[derive(Debug, Serialize)]
pub struct Report {
    pub tenant: String,
    pub gateway: String,
    pub http: &'static str,
    pub vendors: usize,
    pub seed: u64,
    pub deeds: Deeds,
    pub findings: Findings,
    /// What is still eligible in the database, where that was looked at.
    pub left_in_database: Option<usize>,
    /// Why vendors gave up.
    pub errors: Vec<String>,
    pub interrupted: bool,
    pub exactly_once: bool,
}

impl Report {
    /// `left`: what is still eligible in the database, where that was looked at.
    pub fn new(
        trial: &Trial,
        outcome: &Outcome,
        expected: &Expected,
        left: Option<&BTreeSet<i32>>,
        stop: &CancellationToken,
    ) -> Report {
        let findings = checker::check(&outcome.answers, expected);
        let (interrupted, left) = (stop.is_cancelled(), left.map(BTreeSet::len));
        let exactly_once =
            findings.hold() && left.is_none_or(|left| left == 0) && outcome.errors.is_empty() && !interrupted;
        Report {
            tenant: trial.target.tenant.to_string(),
            gateway: trial.dialer.endpoint.authority.clone(),
            http: trial.dialer.http.as_str(),
            vendors: trial.vendors,
            seed: trial.seed,
            deeds: outcome.deeds.clone(),
            findings,
            left_in_database: left,
            errors: outcome.errors.iter().map(ToString::to_string).collect(),
            interrupted,
            exactly_once,
        }
    }
}
