//! Scale: a thousand tenants in one process, and one of them broken; real databases, the built gateway, vendors over HTTPS.
//!
//! What must never happen fails the run: a failed call, a session beyond the budget, a tenant that doesn't come back. What
//! takes how long, and how much memory, is printed beside its bound and depends on the machine.
//! `SCALE_TENANTS` (40), `SCALE_SECONDS` of a phase (1), `SCALE_ROUNDS` (1), `SCALE_DIRECTORY` (under target/): where the
//! databases are, 8 MB each. `SCALE_PART` runs one part alone: many, storm or isolation.

#![expect(clippy::unwrap_used, reason = "a test, though it isn't marked as one: a panic is its way to fail")]

mod callers;
mod gateway;
mod isolation;
mod many;
mod storm;
mod table;
mod vendors;
mod world;

use std::process::ExitCode;
use std::time::Duration;

use self::table::Table;
use self::world::World;

/// How much is run.
#[derive(Clone, Copy)]
pub struct Size {
    pub tenants: usize,
    pub phase: Duration,
    pub rounds: usize,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|word| word == callers::COMMAND) {
        callers::serve(&arguments[1..]).await;
        return ExitCode::SUCCESS;
    }
    // cargo test's own arguments: a list, or the name of another test.
    if arguments.iter().any(|a| a == "--list" || (!a.starts_with('-') && !"scale".contains(a.as_str()))) {
        return ExitCode::SUCCESS;
    }
    let size = Size {
        tenants: setting("SCALE_TENANTS").unwrap_or(40),
        phase: Duration::from_secs(setting("SCALE_SECONDS").unwrap_or(1) as u64),
        rounds: setting("SCALE_ROUNDS").unwrap_or(1),
    };
    println!("scale: {} tenants, phases of {} s, {} rounds", size.tenants, size.phase.as_secs(), size.rounds);
    let world = World::create(size.tenants).await;
    let mut table = Table::default();
    let part = variable("SCALE_PART");
    let known = ["many", "storm", "isolation"];
    assert!(part.as_deref().is_none_or(|part| known.contains(&part)), "SCALE_PART must be one of {known:?}");
    let wanted = |name: &str| part.as_deref().is_none_or(|part| part == name);
    if wanted("many") {
        many::run(&world, size, &mut table).await;
    }
    if wanted("storm") {
        storm::run(&world, size, &mut table).await;
    }
    if wanted("isolation") {
        isolation::run(&world, size, &mut table).await;
    }
    table.print();
    ExitCode::SUCCESS
}

#[expect(clippy::disallowed_methods, reason = "a test's arguments")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn setting(name: &str) -> Option<usize> {
    let value = variable(name)?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} must be a whole number, is {value}")))
}
