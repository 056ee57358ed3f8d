//! `cargo bench --bench parts`: the encoder, the router and the verdicts' cache alone, by criterion.
//!
//! Rows exist only where a server made them, and a verdict where one was looked up: a cluster is started for both.

#[path = "../delivery/world.rs"]
#[expect(dead_code, reason = "what the delivery's benchmark needs beyond this one")]
mod world;

use std::hint::black_box;
use std::net::Ipv4Addr;

use criterion::{Criterion, Throughput};
use tokio::runtime::Runtime;
use turnpike::auth::{Authenticator, Credential};
use turnpike::config::{BudgetConfig, Config};
use turnpike::database::{Budget, Database};
use turnpike::limits::Limits;
use turnpike::records::{FieldProfile, RecordEncoder, RecordReader, Related};
use turnpike::router::Router;
use turnpike::tenant::Tenant;

use self::world::{TOKEN, World};

const RECORDS: i32 = 500;

fn main() {
    let runtime = Runtime::new().expect("a runtime");
    let world = runtime.block_on(World::prepare());
    let config = Config::load(&world.configure(&["batch"])).expect("a good configuration");
    let mut criterion = Criterion::default().configure_from_args();
    measure_encoder(&mut criterion, &runtime, &config);
    measure_router(&mut criterion);
    measure_cache(&mut criterion, &runtime, &config);
    criterion.final_summary();
    runtime.block_on(world.stop());
}

/// Records of a chunk that is read and related already: the keys, the values, the copies of what they share.
fn measure_encoder(criterion: &mut Criterion, runtime: &Runtime, config: &Config) {
    let mut encoder = RecordEncoder::new(FieldProfile::Full);
    let chunks = runtime.block_on(read(config, &mut encoder));
    let mut out = Vec::new();
    let mut encode = || {
        out.clear();
        for related in &chunks {
            for index in 0..related.record_count() {
                encoder.write_record(&mut out, related, index).expect("a record");
            }
        }
        out.len()
    };
    let bytes = encode();
    let mut group = criterion.benchmark_group("encoder");
    group.throughput(Throughput::Bytes(u64::try_from(bytes).expect("a size")));
    group.bench_function(format!("{RECORDS} records"), |bencher| bencher.iter(&mut encode));
    group.finish();
}

async fn read(config: &Config, encoder: &mut RecordEncoder) -> Vec<Related> {
    let database = Database::open(&config.tenants[0]).expect("a pool");
    let violation_ids = (1..=RECORDS).collect();
    let mut reader =
        RecordReader::open(database, violation_ids, FieldProfile::Full).await.expect("the first rows");
    let mut chunks = Vec::new();
    while let Some(chunk) = reader.next().await.expect("a chunk") {
        chunks.push(encoder.relate(chunk).expect("rows of this schema"));
    }
    chunks
}

fn measure_router(criterion: &mut Criterion) {
    let router = Router::new();
    criterion.bench_function("router: the documented path", |bencher| {
        bencher.iter(|| router.route(black_box("/api/OC_TOMA/v1/violations/send_overdue_to_collections")));
    });
    criterion.bench_function("router: an unknown path", |bencher| {
        bencher.iter(|| router.route(black_box("/api/OC_TOMA/v1/permits")).is_err());
    });
}

/// A good verdict that is known, the token's hash included.
fn measure_cache(criterion: &mut Criterion, runtime: &Runtime, config: &Config) {
    let _inside = runtime.enter();
    let tenant = Tenant::open(config.tenants[0].clone(), 0, "bench", &Budget::new(BudgetConfig::default()));
    let tenant = tenant.expect("a pool");
    let (authenticator, limits) = (Authenticator::new(&config.gateway), Limits::new());
    let address = Ipv4Addr::LOCALHOST.into();
    let tries = limits.tries(config.gateway.failures, address, None);
    let known = Credential::new(TOKEN, address);
    runtime.block_on(authenticator.authenticate(&tenant, &known, tries)).expect("a grant");
    criterion.bench_function("cache: a known token", |bencher| {
        bencher.iter(|| {
            let credential = Credential::new(black_box(TOKEN), address);
            runtime.block_on(authenticator.recall(&tenant, &credential)).expect("a grant")
        });
    });
}
