//! What telemetry costs: of a request, and of a scrape with a thousand tenants.

use std::hint::black_box;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use turnpike::metrics::{Metrics, Page, RequestEnd};

const TENANTS: usize = 1_000;

fn id(number: usize) -> String {
    format!("TENANT_{number:04}")
}

fn delivered() -> RequestEnd {
    RequestEnd {
        route: Some("/api/{client}/v1/violations/send_overdue_to_collections"),
        method: "POST",
        status: Some(200),
        outcome: Some("delivered"),
        error_code: None,
        claim: Some("batch"),
        records: 50,
        bytes: 300_000,
        phases: [Some(0.000_1), Some(0.012), Some(0.031), Some(0.004)],
        seconds: 0.045,
    }
}

/// All that a request adds, from its head to its end.
fn count(metrics: &Metrics, tenant: &str) {
    metrics.begin();
    let counts = metrics.tenant(tenant);
    counts.begin();
    metrics.end(&delivered(), Some(&counts));
    counts.end();
}

/// What is read of a tenant at a scrape.
const READ: [&str; 12] = [
    "turnpike_pool_connections",
    "turnpike_pool_connections_in_use",
    "turnpike_pool_connections_limit",
    "turnpike_pool_waiting",
    "turnpike_pool_waited_seconds",
    "turnpike_breaker_state",
    "turnpike_open_batches",
    "turnpike_unacknowledged_batches",
    "turnpike_ledger_look_timestamp_seconds",
    "turnpike_pool_waits_total",
    "turnpike_pool_failures_total",
    "turnpike_breaker_openings_total",
];

/// As many samples of each tenant as a scrape has of one that is called.
fn observe(page: &Page) {
    for number in 0..TENANTS {
        for name in READ {
            page.gauge(name, vec![("tenant", id(number))], 1.0);
        }
    }
}

fn telemetry(criterion: &mut Criterion) {
    let metrics = Arc::new(Metrics::new(false));
    let chore = Arc::downgrade(&metrics);
    // As the gateway's own chore does, only oftener: a benchmark makes more samples than vendors do.
    thread::spawn(move || {
        while let Some(metrics) = chore.upgrade() {
            metrics.tidy();
            drop(metrics);
            thread::park_timeout(Duration::from_millis(50));
        }
    });
    for number in 0..TENANTS {
        count(&metrics, &id(number));
    }

    criterion.bench_function("a request is counted", |bencher| {
        bencher.iter(|| count(&metrics, black_box("TENANT_0500")));
    });
    let page = metrics.render(observe);
    let series = page.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count();
    println!("a scrape of {TENANTS} tenants: {series} series, {} bytes", page.len());
    criterion.bench_function("a scrape of a thousand tenants", |bencher| {
        bencher.iter(|| metrics.render(observe).len());
    });
}

criterion_group!(benches, telemetry);
criterion_main!(benches);
