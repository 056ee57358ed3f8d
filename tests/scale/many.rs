//! Many tenants in one process: its start, its memory, a poll, a reload under load.

use std::time::Duration;

use tokio::time::{Instant, interval};

use crate::Size;
use crate::gateway::GatewayProcess;
use crate::table::Table;
use crate::vendors::{Vendor, call, median};
use crate::world::{World, connect, id, write_tenant};

const POLLS: usize = 200;
const VENDORS: usize = 50;
const PACE: Duration = Duration::from_millis(200);

pub async fn run(world: &World, size: Size, table: &mut Table) {
    let tenants = size.tenants;
    let config = world.configure("many", (0..tenants).map(id));
    let many = GatewayProcess::start(&config).await;
    let vendor = Vendor::new(&world.directory, many.address, &id(0));
    vendor.poll_until_good().await;
    let answered_in = many.started.elapsed();
    let seconds = |time: Duration| format!("{:.2} s", time.as_secs_f64());
    table.add(
        "from the start to \"serving\"",
        seconds(many.started_in),
        "2 s",
        Some(many.started_in.as_secs() < 2),
    );
    table.add(
        "from the start to the first answer",
        seconds(answered_in),
        "2 s",
        Some(answered_in.as_secs() < 2),
    );
    let swept_in = wait_for_the_sweep(world, tenants).await;
    table.add("every database looked at after", seconds(swept_in), "", None);
    let resident = many.resident();
    table.add("resident, idle", format!("{resident:.1} MiB"), "120 MiB", Some(resident < 120.0));

    let one = GatewayProcess::start(&world.configure("one", std::iter::once(id(0)))).await;
    table.add("the same with one tenant", format!("{:.1} MiB", one.resident()), "", None);
    compare_polls(world, size, [&one, &many], table).await;
    one.stop().await;
    reload(world, size, &many, table).await;
    table.add("resident after all that", format!("{:.1} MiB", many.resident()), "", None);
    many.stop().await;
}

/// Until every tenant's database has had a session.
async fn wait_for_the_sweep(world: &World, tenants: usize) -> Duration {
    let (begun, session) = (Instant::now(), connect(&world.cluster, "postgres").await);
    let mut every = interval(Duration::from_millis(50));
    loop {
        every.tick().await;
        let sql = "SELECT count(*) FROM pg_stat_database WHERE datname LIKE 't0%' AND sessions > 0";
        let looked_at: i64 = session.query_one(sql, &[]).await.unwrap().get(0);
        if usize::try_from(looked_at).unwrap() >= tenants {
            return begun.elapsed();
        }
        assert!(
            begun.elapsed() < Duration::from_secs(120),
            "{looked_at} of {tenants} databases were looked at"
        );
    }
}

async fn compare_polls(world: &World, size: Size, gateways: [&GatewayProcess; 2], table: &mut Table) {
    let vendors = gateways.map(|gateway| Vendor::new(&world.directory, gateway.address, &id(0)));
    let mut ratios = Vec::new();
    let mut medians = [Vec::new(), Vec::new()];
    for round in 0..size.rounds * 4 {
        let mut took = [0.0; 2];
        for at in [round % 2, 1 - round % 2] {
            vendors[at].poll().await;
            let mut times = Vec::with_capacity(POLLS);
            for _ in 0..POLLS {
                let reply = vendors[at].poll().await;
                assert_eq!(reply.status, 200);
                times.push(reply.took.as_secs_f64() * 1000.0);
            }
            took[at] = median(times);
            medians[at].push(took[at]);
        }
        ratios.push(took[1] / took[0]);
    }
    let [one, many] = medians.map(median);
    let ratio = median(ratios);
    table.add("median poll, one tenant", format!("{one:.3} ms"), "", None);
    table.add("median poll, all tenants", format!("{many:.3} ms"), "", None);
    table.add("the ratio of these", format!("{ratio:.3}"), "1.1", Some(ratio <= 1.1));
}

/// Ten added, ten changed, ten removed (or fewer, of few), while vendors call those that stay.
async fn reload(world: &World, size: Size, gateway: &GatewayProcess, table: &mut Table) {
    let (tenants, part) = (size.tenants, (size.tenants / 20).min(10));
    let directory = world.directory.join("many");
    // The last ones go; of those who are called, some are changed.
    let vendors: Vec<Vendor> = (0..VENDORS)
        .map(|number| Vendor::new(&world.directory, gateway.address, &id(number % (tenants - part))))
        .collect();
    call(&vendors, Some(PACE), PACE * 3).await;
    let calling = tokio::spawn(async move { call(&vendors, Some(PACE), Duration::from_secs(4)).await });
    for number in 0..part {
        write_tenant(&directory, &id(tenants + number), "");
        write_tenant(&directory, &id(number), "max_connections = 4\n");
        std::fs::remove_file(directory.join(format!("tenants.d/{}.toml", id(tenants - 1 - number)))).unwrap();
    }
    call(&[Vendor::new(&world.directory, gateway.address, &id(0))], Some(PACE), PACE * 3).await;
    let (took, report) = gateway.reload().await;
    let added = Vendor::new(&world.directory, gateway.address, &id(tenants)).poll().await;
    let removed = Vendor::new(&world.directory, gateway.address, &id(tenants - 1)).poll().await;
    let calls = calling.await.unwrap();

    assert_eq!((added.status, removed.status), (200, 401), "{report}");
    assert_eq!(calls.failed(), 0, "{:?}", calls.statuses);
    assert_eq!(report["unchanged"], tenants - 2 * part, "{report}");
    table.add(
        &format!("reload: {part} added, {part} changed, {part} removed"),
        format!("{:.0} ms", took.as_secs_f64() * 1000.0),
        "1 s",
        Some(took.as_secs_f64() < 1.0),
    );
    table.add(
        &format!("of the {} calls of {VENDORS} vendors meanwhile, failed", calls.all.len()),
        calls.failed().to_string(),
        "0",
        Some(true),
    );
}
