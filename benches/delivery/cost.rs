//! What one request costs: CPU time of the gateway and of PostgreSQL's sessions, and the encoder's instructions.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use turnpike::config::Config;
use turnpike::database::Database;
use turnpike::records::{FieldProfile, RecordEncoder, RecordReader};

use crate::process::{Gateway, sessions_cpu};
use crate::results::{Results, Wanted, over};
use crate::vendor::{Vendor, trust};
use crate::world::World;

const PART: &str = "cost";
const POLLS: u32 = 3_000;
const CLAIMS: u32 = 200;
/// The benchmark's own program, started again under valgrind.
pub const COMMAND: &str = "encode";
const ENCODED: i32 = 500;
const PASSES: u32 = 4;

pub async fn measure(world: &World, results: &mut Results) {
    for (what, template, limit, calls) in
        [("empty poll", "none", None, POLLS), ("claim of 20", "batch", Some(20), CLAIMS)]
    {
        world.copy(template, "cost").await;
        let gateway = Gateway::start(&world.configure(&["cost"]));
        let mut vendor = Vendor::connect(&Arc::new(trust(&world.directory)), gateway.address).await;
        vendor.claim("cost", Some(1)).await;
        let before = (gateway.cpu(), sessions_cpu(world).await);
        for _ in 0..calls {
            vendor.claim("cost", limit).await;
        }
        let after = (gateway.cpu(), sessions_cpu(world).await);
        let (ours, theirs) = ((after.0 - before.0) / calls, (after.1 - before.1) / calls);
        results.figure(PART, format!("{what}: CPU of the gateway"), micros(ours), "µs");
        results.figure(PART, format!("{what}: CPU of PostgreSQL's session"), micros(theirs), "µs");
        if limit.is_none() {
            let name = format!("{what}: CPU of the gateway / of PostgreSQL");
            results.ratio(name, over(ours, theirs), Wanted::AtMost(1.0));
        }
        drop((vendor, gateway));
        world.drop("cost").await;
    }
    count_instructions(world, results);
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// What more passes over the same rows take beyond one, so that reading them doesn't count.
fn count_instructions(world: &World, results: &mut Results) {
    let installed = Command::new("valgrind").arg("--version").stdout(Stdio::null()).status();
    if !installed.is_ok_and(|status| status.success()) {
        return eprintln!("  the encoder's instructions: skipped, valgrind isn't installed");
    }
    let config = world.configure(&["batch"]);
    let ((one, _), (more, bytes)) =
        (run_under_callgrind(world, &config, 1), run_under_callgrind(world, &config, PASSES));
    let instructions = (more - one) / f64::from(PASSES - 1);
    let record = instructions / f64::from(ENCODED);
    results.figure(PART, "encoder: instructions a record", record, "");
    results.figure(PART, "encoder: bytes a record", bytes / f64::from(ENCODED), "");
    results.figure(PART, "encoder: instructions a megabyte", instructions / bytes * 1e6, "");
}

/// Instructions of the whole program, and the bytes of one pass.
fn run_under_callgrind(world: &World, config: &Path, passes: u32) -> (f64, f64) {
    let file = world.directory.join("callgrind.out");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet"])
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(std::env::current_exe().expect("this program's path"))
        .arg(COMMAND)
        .arg(config)
        .arg(passes.to_string())
        .stderr(Stdio::null())
        .output()
        .expect("valgrind");
    let bytes = String::from_utf8(output.stdout).expect("a number").trim().parse().expect("a number");
    let written = fs::read_to_string(file).expect("callgrind's file");
    let total =
        written.lines().find_map(|line| line.strip_prefix("summary: ").or(line.strip_prefix("totals: ")));
    (total.and_then(|total| total.trim().parse().ok()).expect("callgrind's total"), bytes)
}

/// The program under valgrind: `encode CONFIG PASSES`. Reads rows once and encodes them again and again; prints the bytes.
pub async fn encode(arguments: &[String]) {
    let [config, passes] = arguments else { panic!("{COMMAND} takes a configuration and a number") };
    let config = Config::load(Path::new(config)).expect("a good configuration");
    let database = Database::open(&config.tenants[0]).expect("a pool");
    let violation_ids = (1..=ENCODED).collect();
    let reader = RecordReader::open(database, violation_ids, FieldProfile::Full).await;
    let mut reader = reader.expect("the first rows");
    let mut encoder = RecordEncoder::new(FieldProfile::Full);
    let mut chunks = Vec::new();
    while let Some(chunk) = reader.next().await.expect("a chunk") {
        chunks.push(encoder.relate(chunk).expect("rows of this schema"));
    }
    let mut out = Vec::new();
    for _ in 0..passes.parse().expect("a number") {
        out.clear();
        for related in &chunks {
            for index in 0..related.record_count() {
                encoder.write_record(&mut out, related, index).expect("a record");
            }
        }
    }
    println!("{}", out.len());
}
