//! Chaos: vendors with keys and without, one and two gateway processes, a real PostgreSQL, and everything that can go
//! wrong between them; after each round the [`checker`], a program of its own, decides whether the promise held.
//!
//! `CHAOS_SECONDS` (100) is how long rounds are begun, up to twice as long where a class of faults hasn't hit `CHAOS_HITS` (1)
//! times yet, which fails the run in the end; `CHAOS_SEED` is what everything but time is drawn from, and is printed.

#![expect(clippy::unwrap_used, reason = "a test, though it isn't marked as one: a panic is its way to fail")]

mod back_office;
mod call;
mod checker;
mod faults;
mod history;
mod process;
mod round;
mod vendor;
mod wiretap;
mod world;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::Mutex;
use tokio::time::Instant;

use self::checker::Summary;
use self::faults::{Deck, Hits, all};
use self::round::{Outcome, PHASES, Plan};
use self::world::World;

/// Rounds that run at the same time, each with its own databases and gateways.
const LANES: usize = 3;
const FAULTS_A_ROUND: usize = 8;
/// So many of them are those that hit least.
const RAREST_A_ROUND: usize = 5;
/// A run goes on for the sake of faults that haven't hit often enough: as long again as it was asked for, and at least so long.
const LEAST_OVERTIME: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first() {
        Some((command, rest)) if command == "check" => checker::run(rest).await,
        // cargo test's own arguments: a list, or the name of another test.
        _ if arguments
            .iter()
            .any(|a| a == "--list" || (!a.starts_with('-') && !"chaos".contains(a.as_str()))) =>
        {
            ExitCode::SUCCESS
        }
        _ => run().await,
    }
}

#[expect(clippy::disallowed_methods, reason = "a test's arguments")]
fn setting(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty())?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} must be a whole number, is {value}")))
}

struct Run {
    seed: u64,
    least_hits: u64,
    begins_until: Instant,
    gives_up: Instant,
    world: Arc<World>,
    hits: Hits,
    deck: Mutex<Deck>,
    rounds: AtomicU32,
    failed: AtomicBool,
}

async fn run() -> ExitCode {
    let seconds = setting("CHAOS_SECONDS").unwrap_or(100);
    let seed = setting("CHAOS_SEED").unwrap_or_else(|| u64::from(rand::random::<u32>()));
    let least_hits = setting("CHAOS_HITS").unwrap_or(1);
    println!("chaos: seed {seed}, {seconds} s, every class at least {least_hits} times");
    let hits = Hits::default();
    let world = World::create().await;
    let began = Instant::now();
    let length = Duration::from_secs(seconds);
    let begins_until = began + length;
    let run = Arc::new(Run {
        seed,
        least_hits,
        begins_until,
        gives_up: begins_until + length.max(LEAST_OVERTIME),
        world,
        deck: Mutex::new(Deck::new(hits.clone())),
        hits,
        rounds: AtomicU32::new(0),
        failed: AtomicBool::new(false),
    });
    let lanes = (0..LANES).map(|_| tokio::spawn(Arc::clone(&run).run_rounds()));
    let outcomes: Vec<Outcome> = futures_util::future::join_all(lanes)
        .await
        .into_iter()
        .flat_map(|lane| lane.expect("a lane"))
        .collect();
    run.report(&outcomes, began.elapsed())
}

impl Run {
    async fn run_rounds(self: Arc<Self>) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        while self.goes_on() {
            let number = self.rounds.fetch_add(1, Ordering::SeqCst);
            let seed = self.seed.wrapping_mul(1_000_003).wrapping_add(number.into());
            let mut rng = StdRng::seed_from_u64(seed);
            let faults = self.deck.lock().await.draw(RAREST_A_ROUND, FAULTS_A_ROUND, &mut rng);
            let plan =
                Plan { number, seed, faults, length: Duration::from_millis(rng.random_range(3000..5000)) };
            let outcome = round::run(&self.world, &plan, &self.hits).await;
            let ended = PHASES.iter().zip(&outcome.ended);
            let ended: Vec<_> =
                ended.map(|(phase, at)| format!("{phase} {:.1} s", at.as_secs_f64())).collect();
            println!("round {number}: {}", ended.join(", "));
            if let Some(findings) = &outcome.findings {
                self.failed.store(true, Ordering::SeqCst);
                println!(
                    "round {number} of seed {} FAILED, history {}:",
                    self.seed,
                    outcome.history.display()
                );
                for finding in findings.lines().take(40) {
                    println!("  {finding}");
                }
            }
            outcomes.push(outcome);
        }
        outcomes
    }

    fn goes_on(&self) -> bool {
        let now = Instant::now();
        let wanting = now < self.gives_up && !self.hits.missing(self.least_hits).is_empty();
        !self.failed.load(Ordering::SeqCst) && (now < self.begins_until || wanting)
    }

    fn report(&self, outcomes: &[Outcome], took: Duration) -> ExitCode {
        println!("\n{:<55} {:>6}", "fault", "hits");
        for fault in all() {
            println!("{:<55} {:>6}", fault.to_string(), self.hits.of(fault));
        }
        let sum =
            |of: fn(&Summary) -> usize| outcomes.iter().map(|outcome| of(&outcome.summary)).sum::<usize>();
        println!(
            "\n{} rounds in {} s: {} violations; batches: {} released, {} void; answers: {}, of which {} broken and \
             {} replayed; {} batches recovered by number",
            outcomes.len(),
            took.as_secs(),
            sum(|s| s.violations),
            sum(|s| s.released),
            sum(|s| s.void),
            sum(|s| s.answers),
            sum(|s| s.broken_answers),
            sum(|s| s.replays),
            outcomes.iter().map(|outcome| outcome.recovered).sum::<usize>(),
        );
        let failed: Vec<_> = outcomes.iter().filter(|outcome| outcome.findings.is_some()).collect();
        for outcome in &failed {
            println!("FAILED: CHAOS_SEED={} history {}", self.seed, outcome.history.display());
        }
        let missing = self.hits.missing(self.least_hits);
        for fault in &missing {
            println!("FAILED: hit {} times: {fault}", self.hits.of(*fault));
        }
        if failed.is_empty() && missing.is_empty() {
            println!("chaos: the promise held");
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}
