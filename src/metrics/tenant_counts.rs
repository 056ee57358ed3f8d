//! What has been counted for one tenant since this process first knew it.
//!
//! Numbers of our own, not handles of a registry: a registry's series stay until the process ends, while these go with their
//! tenant. They are written into the page at a scrape.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use metrics::Histogram;

use super::catalogue::{CLAIMS, OUTCOMES, RECORDS, REFUSALS, REQUESTS, RESPONSE_BYTES, TENANT_IN_FLIGHT};
use super::page::Page;
use super::request::RequestEnd;

/// Outcomes and results are there with 0 from the first request on: a series that begins at 1 has no increase.
const KNOWN_OUTCOMES: [&str; 6] =
    ["answered", "broken_off", "delivered", "refused", "released_unread", "void"];

/// One tenant's counts, or those of requests that named no tenant.
pub struct TenantCounts {
    counts: Mutex<Counts>, // std Mutex: held for a few additions, never across an await
    in_flight: AtomicUsize,
    histograms: Option<TenantHistograms>,
}

/// The tenant's own histograms, where they are wanted.
pub struct TenantHistograms {
    pub duration: Histogram,
    pub phases: [Histogram; 4],
}

#[derive(Default)]
struct Counts {
    /// By status; None: the vendor left before an answer.
    requests: BTreeMap<Option<u16>, u64>,
    outcomes: BTreeMap<&'static str, u64>,
    refusals: BTreeMap<u16, u64>,
    claims: BTreeMap<&'static str, u64>,
    records: BTreeMap<&'static str, u64>,
    bytes: u64,
}

impl TenantCounts {
    pub fn new(histograms: Option<TenantHistograms>) -> Self {
        Self { counts: Mutex::default(), in_flight: AtomicUsize::new(0), histograms }
    }

    pub fn begin(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub fn end(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    pub fn is_busy(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) > 0
    }

    /// Adds a request that has ended.
    pub fn add(&self, end: &RequestEnd) {
        {
            let mut counts = self.counts();
            *counts.requests.entry(end.status).or_default() += 1;
            if let Some(outcome) = end.outcome {
                *counts.outcomes.entry(outcome).or_default() += 1;
            }
            if let Some(code) = end.error_code {
                *counts.refusals.entry(code).or_default() += 1;
            }
            if let Some(result) = end.claim {
                *counts.claims.entry(result).or_default() += 1;
                if matches!(end.outcome, Some("delivered" | "released_unread")) {
                    *counts.records.entry(result).or_default() += end.records;
                }
            }
            counts.bytes += end.bytes;
        }
        if let Some(histograms) = &self.histograms {
            histograms.duration.record(end.seconds);
            for (phase, seconds) in histograms.phases.iter().zip(end.phases) {
                if let Some(seconds) = seconds {
                    phase.record(seconds);
                }
            }
        }
    }

    /// Writes the tenant's samples; without `tenant`, those of requests that named none.
    pub fn write(&self, page: &Page, tenant: Option<&str>) {
        let counts = self.counts();
        let label = |name: &'static str, value: String| {
            let tenant = tenant.map(|tenant| ("tenant", tenant.to_owned()));
            tenant.into_iter().chain([(name, value)]).collect::<Vec<_>>()
        };
        for (status, count) in &counts.requests {
            let status = status.map_or_else(|| "none".to_owned(), |status| status.to_string());
            page.counter(REQUESTS, label("status", status), *count);
        }
        for (code, count) in &counts.refusals {
            page.counter(REFUSALS, label("error_code", code.to_string()), *count);
        }
        let outcomes = KNOWN_OUTCOMES.map(|outcome| (outcome, counts.outcomes.get(outcome).copied()));
        for (outcome, count) in outcomes.into_iter().filter(|(_, count)| tenant.is_some() || count.is_some())
        {
            page.counter(OUTCOMES, label("outcome", outcome.to_owned()), count.unwrap_or_default());
        }
        for (family, results) in [(CLAIMS, &counts.claims), (RECORDS, &counts.records)] {
            for (result, count) in results {
                page.counter(family, label("result", (*result).to_owned()), *count);
            }
        }
        let tenant: Vec<_> = tenant.map(|tenant| ("tenant", tenant.to_owned())).into_iter().collect();
        page.counter(RESPONSE_BYTES, tenant.clone(), counts.bytes);
        if !tenant.is_empty() {
            page.gauge(TENANT_IN_FLIGHT, tenant, self.in_flight.load(Ordering::Relaxed) as f64);
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
