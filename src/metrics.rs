//! What is counted, for Prometheus.
//!
//! One [`Metrics`] a gateway, passed to who counts: many gateways in one process, as in the tests, don't mix. A request costs
//! a few additions when it ends: handles are registered once, and no label is written but at a scrape.
//! A tenant's label is a configured tenant's id and nothing else, so that callers can't make series; a tenant who is removed
//! takes its series along (its own histograms, which are opt-in, stay until the process ends).

pub mod catalogue;
mod page;
mod request;
mod tenant_counts;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use jiff::Timestamp;
use metrics::{Counter, Gauge, Histogram, Recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};

use self::catalogue::{
    AUTH_CACHE, CERTIFICATE_EXPIRY, HANDSHAKES, PEERS, PHASE_DURATION, RELOAD_TIME, RELOADS,
    REQUEST_DURATION, REQUESTS_IN_FLIGHT, TENANT_PHASE_DURATION, TENANT_REQUEST_DURATION,
};
pub use self::page::{Labels, Page};
use self::page::{METADATA, describe, key};
pub use self::request::{PHASES, RequestEnd};
pub use self::tenant_counts::TenantCounts;
use self::tenant_counts::TenantHistograms;

/// Upper bounds in seconds: from a cached verdict to a delivery that takes minutes.
const BUCKETS: [f64; 16] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];
const NO_ROUTE: &str = "unknown";

/// (route, method, class of the status)
type DurationKey = (&'static str, &'static str, &'static str);

/// One gateway's metrics.
pub struct Metrics {
    recorder: PrometheusRecorder,
    process: metrics_process::Collector,
    /// By route, method and class of status; few, for each is one of ours.
    durations: RwLock<HashMap<DurationKey, Histogram>>,
    phases: [Histogram; 4],
    in_flight: Gauge,
    /// Those that are configured and were called; see [`Metrics::keep_tenants`].
    tenants: RwLock<HashMap<String, Arc<TenantCounts>>>,
    nobody: Arc<TenantCounts>,
    per_tenant_histograms: bool,
    peers: Gauge,
    handshakes: [Counter; 4],
    reloads: [Counter; 2],
    /// Verdicts on tokens.
    pub auth_cache: AuthCache,
    /// How long callers waited for a database connection.
    pub pool_wait: Histogram,
}

/// Where verdicts on tokens came from.
#[derive(Clone)]
pub struct AuthCache {
    pub grants: Counter,
    pub refusals: Counter,
    pub misses: Counter,
}

impl AuthCache {
    /// Counts nothing.
    pub fn noop() -> Self {
        Self { grants: Counter::noop(), refusals: Counter::noop(), misses: Counter::noop() }
    }
}

/// How a TLS handshake ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handshake {
    Full,
    Resumed,
    Failed,
    TimedOut,
}

/// Counts a vendor's connection for as long as it is held.
pub struct Peer(Gauge);

impl Drop for Peer {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

impl Metrics {
    pub fn new(per_tenant_histograms: bool) -> Self {
        let builder = PrometheusBuilder::new().set_buckets(&BUCKETS).expect("there are buckets");
        let recorder = builder.build_recorder();
        describe(&recorder);
        let counter = |name, label, value: &str| {
            recorder.register_counter(&key(name, vec![(label, value.to_owned())]), &METADATA)
        };
        let phase = |phase: &str| {
            recorder.register_histogram(&key(PHASE_DURATION, vec![("phase", phase.to_owned())]), &METADATA)
        };
        let gauge = |name| recorder.register_gauge(&key(name, Vec::new()), &METADATA);
        Self {
            process: metrics_process::Collector::default(),
            durations: RwLock::default(),
            phases: PHASES.map(phase),
            in_flight: gauge(REQUESTS_IN_FLIGHT),
            tenants: RwLock::default(),
            nobody: Arc::new(TenantCounts::new(None)),
            per_tenant_histograms,
            peers: gauge(PEERS),
            handshakes: ["full", "resumed", "failed", "timeout"]
                .map(|result| counter(HANDSHAKES, "result", result)),
            reloads: ["success", "failure"].map(|result| counter(RELOADS, "result", result)),
            auth_cache: AuthCache {
                grants: counter(AUTH_CACHE, "result", "grant"),
                refusals: counter(AUTH_CACHE, "result", "refusal"),
                misses: counter(AUTH_CACHE, "result", "miss"),
            },
            pool_wait: phase("pool_wait"),
            recorder,
        }
    }

    /// A request has begun. Every one that begins must [end](Metrics::end).
    pub fn begin(&self) {
        self.in_flight.increment(1.0);
    }

    /// A request has ended; `tenant` is None where it named no configured tenant.
    pub fn end(&self, end: &RequestEnd, tenant: Option<&TenantCounts>) {
        self.in_flight.decrement(1.0);
        self.record_duration(end);
        for (phase, seconds) in self.phases.iter().zip(end.phases) {
            if let Some(seconds) = seconds {
                phase.record(seconds);
            }
        }
        tenant.unwrap_or(&self.nobody).add(end);
    }

    /// A configured tenant's counts.
    pub fn tenant(&self, id: &str) -> Arc<TenantCounts> {
        if let Some(counts) = self.tenants.read().unwrap_or_else(PoisonError::into_inner).get(id) {
            return Arc::clone(counts);
        }
        let mut tenants = self.tenants.write().unwrap_or_else(PoisonError::into_inner);
        let counts = tenants
            .entry(id.to_owned())
            .or_insert_with(|| Arc::new(TenantCounts::new(self.tenant_histograms(id))));
        Arc::clone(counts)
    }

    fn tenant_histograms(&self, id: &str) -> Option<TenantHistograms> {
        let tenant = || ("tenant", id.to_owned());
        let histogram = |name, labels| self.recorder.register_histogram(&key(name, labels), &METADATA);
        self.per_tenant_histograms.then(|| TenantHistograms {
            duration: histogram(TENANT_REQUEST_DURATION, vec![tenant()]),
            phases: PHASES
                .map(|phase| histogram(TENANT_PHASE_DURATION, vec![tenant(), ("phase", phase.to_owned())])),
        })
    }

    fn record_duration(&self, end: &RequestEnd) {
        let labels = (end.route.unwrap_or(NO_ROUTE), end.method, end.status_class());
        let known = self.durations.read().unwrap_or_else(PoisonError::into_inner).get(&labels).cloned();
        let histogram = known.unwrap_or_else(|| {
            let (route, method, status) = labels;
            let names = [("route", route), ("method", method), ("status", status)];
            let names = names.map(|(name, value)| (name, value.to_owned()));
            let made = self.recorder.register_histogram(&key(REQUEST_DURATION, names.into()), &METADATA);
            let mut durations = self.durations.write().unwrap_or_else(PoisonError::into_inner);
            durations.entry(labels).or_insert(made).clone()
        });
        histogram.record(end.seconds);
    }

    /// A vendor's connection was accepted.
    pub fn peer(&self) -> Peer {
        self.peers.increment(1.0);
        Peer(self.peers.clone())
    }

    pub fn handshake(&self, handshake: Handshake) {
        self.handshakes[handshake as usize].increment(1);
    }

    /// A reload went live.
    pub fn reloaded(&self, at: Timestamp) {
        self.reloads[0].increment(1);
        self.config_loaded(at);
    }

    /// A reload failed, and changed nothing.
    pub fn reload_failed(&self) {
        self.reloads[1].increment(1);
    }

    /// When the configuration that is served was loaded.
    pub fn config_loaded(&self, at: Timestamp) {
        self.set_moment(RELOAD_TIME, at);
    }

    /// Vendors are shown a certificate that expires then; None where that can't be read off it.
    pub fn certificate_shown(&self, expires_at: Option<Timestamp>) {
        if let Some(at) = expires_at {
            self.set_moment(CERTIFICATE_EXPIRY, at);
        }
    }

    fn set_moment(&self, name: &'static str, at: Timestamp) {
        let gauge = self.recorder.register_gauge(&key(name, Vec::new()), &METADATA);
        gauge.set(at.as_duration().as_secs_f64());
    }

    /// Drops what was counted for tenants who aren't configured any more.
    pub fn keep_tenants(&self, configured: impl Fn(&str) -> bool) {
        let mut tenants = self.tenants.write().unwrap_or_else(PoisonError::into_inner);
        tenants.retain(|id, counts| configured(id) || counts.is_busy());
    }

    /// Puts away samples of histograms, which otherwise pile up between scrapes.
    pub fn tidy(&self) {
        self.recorder.handle().run_upkeep();
    }

    /// Everything, in Prometheus's text format (version 0.0.4). `observe` writes what is read at this moment.
    pub fn render(&self, observe: impl FnOnce(&Page)) -> String {
        let page = Page::new();
        self.nobody.write(&page, None);
        for (id, counts) in self.tenants.read().unwrap_or_else(PoisonError::into_inner).iter() {
            counts.write(&page, Some(id));
        }
        page.write_process(&self.process);
        observe(&page);
        self.recorder.handle().render() + &page.render()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(metrics: &Metrics, tenant: &str) {
        let counts = metrics.tenant(tenant);
        metrics.begin();
        counts.begin();
        metrics
            .end(&RequestEnd { method: "POST", status: Some(200), ..RequestEnd::default() }, Some(&counts));
        counts.end();
    }

    #[test]
    fn a_removed_tenant_takes_its_series_along() {
        let metrics = Metrics::new(false);
        ended(&metrics, "LEAVES");
        ended(&metrics, "STAYS");

        metrics.keep_tenants(|tenant| tenant == "STAYS");

        let page = metrics.render(|_page| {});
        assert!(page.contains("turnpike_requests_total{tenant=\"STAYS\",status=\"200\"} 1"), "{page}");
        assert!(!page.contains("LEAVES"), "{page}");
    }

    #[test]
    fn a_tenant_stays_while_a_request_of_its_is_under_way() {
        let metrics = Metrics::new(false);
        let counts = metrics.tenant("LEAVES");
        counts.begin();

        metrics.keep_tenants(|_tenant| false);
        assert!(metrics.render(|_page| {}).contains("LEAVES"));

        counts.end();
        metrics.keep_tenants(|_tenant| false);
        assert!(!metrics.render(|_page| {}).contains("LEAVES"));
    }

    #[test]
    fn samples_that_were_put_away_are_still_counted() {
        let metrics = Metrics::new(false);
        ended(&metrics, "A");
        metrics.tidy();
        ended(&metrics, "A");

        let page = metrics.render(|_page| {});

        let labels = "route=\"unknown\",method=\"POST\",status=\"2xx\"";
        assert!(page.contains(&format!("turnpike_request_duration_seconds_count{{{labels}}} 2")), "{page}");
    }
}
