//! A storm over many tenants of one server: sessions stay within its budget, as the server counts them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tokio_postgres::NoTls;

use crate::Size;
use crate::gateway::GatewayProcess;
use crate::table::Table;
use crate::vendors::{Vendor, call};
use crate::world::{World, id};

const TENANTS: usize = 200;
const BUDGET: i64 = 90;

pub async fn run(world: &World, size: Size, table: &mut Table) {
    let tenants = size.tenants.min(TENANTS);
    let gateway = GatewayProcess::start(&world.configure("storm", (0..size.tenants).map(id))).await;
    let vendors: Vec<Vendor> = (0..2 * tenants)
        .map(|number| Vendor::new(&world.directory, gateway.address, &id(number % tenants)))
        .collect();
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, server) = (Arc::clone(&stop), world.cluster.superuser_config("postgres"));
    let sampling = thread::spawn(move || sample(&server, &stopped));
    let length = size.phase.mul_f64(2.5).max(Duration::from_secs(3));
    let calls = call(&vendors, None, length).await;
    stop.store(true, Ordering::Relaxed);
    let (most, samples) = sampling.join().unwrap();
    gateway.stop().await;

    assert!(most <= BUDGET, "{most} sessions");
    assert_eq!(calls.unhelpful, 0);
    table.add(
        &format!("most sessions in a storm over {tenants} tenants, of {samples} samples"),
        most.to_string(),
        &BUDGET.to_string(),
        Some(true),
    );
    let rate = calls.good.len() as f64 / length.as_secs_f64();
    let answered =
        format!("{rate:.0}/s, median {:.0} ms, p99 {:.0} ms", calls.percentile(50.0), calls.percentile(99.0));
    table.add("good answers meanwhile", answered, "", None);
    table.add("others meanwhile, by status", format!("{:?}", others(&calls.statuses)), "", None);
}

fn others(statuses: &std::collections::BTreeMap<u16, u64>) -> Vec<(u16, u64)> {
    statuses.iter().filter(|(status, _)| **status != 200).map(|(status, count)| (*status, *count)).collect()
}

/// The most sessions that the server had at once, and how often it was asked.
fn sample(server: &tokio_postgres::Config, stopped: &AtomicBool) -> (i64, u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (session, connection) = server.connect(NoTls).await.unwrap();
        tokio::spawn(connection);
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'turnpike'";
        let count = session.prepare(sql).await.unwrap();
        let (mut most, mut samples) = (0, 0);
        while !stopped.load(Ordering::Relaxed) {
            most = most.max(session.query_one(&count, &[]).await.unwrap().get(0));
            samples += 1;
            #[expect(clippy::disallowed_methods, reason = "a thread of its own, not a runtime's worker")]
            thread::sleep(Duration::from_millis(1));
        }
        (most, samples)
    })
}
