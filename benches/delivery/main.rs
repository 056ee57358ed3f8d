//! `make bench`: what the gateway costs, side by side in one run, as ratios of medians.
//!
//! A cluster and databases of its own, filled by `turnpike sample`; every run of a delivery has a copy of its own. The parts,
//! each of which can be named alone (`cargo bench --bench delivery -- fairness`):
//!
//! - `deliveries`: one batch of 0 to 100,000 against its **floor** (the same statements, the rows thrown away) and its **peers**
//!   (the document built in SQL), and memory;
//! - `concurrency`: 1, 8 and 64 vendors at once;
//! - `cost`: CPU time a request, instructions a record;
//! - `growth`: history, tenants, handshakes; with the word `full` a history of ten million;
//! - `fairness`: a poll beside another tenant's 100,000.
//!
//! Needs `curl`, and `valgrind` for the instructions.

mod charts;
mod concurrency;
mod cost;
mod deliveries;
mod fairness;
mod floor;
mod growth;
mod peers;
mod process;
mod results;
mod vendor;
mod world;

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use self::results::Results;
use self::world::World;

#[tokio::main]
async fn main() -> ExitCode {
    // cargo adds a word of its own.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    match arguments.first().map(String::as_str) {
        Some(peers::COMMAND) => peers::serve(&arguments[1..]).await,
        Some(cost::COMMAND) => cost::encode(&arguments[1..]).await,
        _ => return measure(&arguments).await,
    }
    ExitCode::SUCCESS
}

async fn measure(words: &[String]) -> ExitCode {
    if Command::new("curl").arg("--version").stdout(Stdio::null()).status().is_err() {
        eprintln!("the benchmark calls the gateway by curl: apt-get install curl");
        return ExitCode::FAILURE;
    }
    let full = words.iter().any(|word| word == "full");
    let chosen: Vec<&String> = words.iter().filter(|word| *word != "full").collect();
    let wanted = |part: &str| chosen.is_empty() || chosen.iter().any(|word| *word == part);
    let world = World::prepare().await;
    let mut results = Results::new(version(&world).await);
    if wanted("deliveries") {
        deliveries::measure(&world, &mut results).await;
    }
    if wanted("concurrency") {
        concurrency::measure(&world, &mut results).await;
    }
    if wanted("cost") {
        cost::measure(&world, &mut results).await;
    }
    if wanted("growth") {
        growth::measure(&world, &mut results, full).await;
    }
    if wanted("fairness") {
        fairness::measure(&world, &mut results).await;
    }
    world.stop().await;
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../bench");
    let charts = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/charts");
    for directory in [&target, &charts] {
        fs::create_dir_all(directory).expect("a directory for the results");
    }
    results.publish(&target.join("results.json"));
    if let Err(error) = charts::draw(&results, &charts) {
        eprintln!("the charts could not be drawn: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

async fn version(world: &World) -> String {
    let client = world.connect("postgres").await;
    let version: String = client.query_one("SHOW server_version", &[]).await.expect("a version").get(0);
    format!("PostgreSQL {version}")
}
