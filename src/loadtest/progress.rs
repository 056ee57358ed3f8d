//! A run's state in lines, for logs and for terminals that can't do more.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, interval_at};
use tokio_util::sync::CancellationToken;

use super::report::milliseconds;
use super::tally::{Look, Recorder};

/// A line a second for short runs, and rarer ones for long ones.
const LINES: u32 = 60;

/// Writes lines to standard error until it is told to stop.
pub async fn show(recorder: Arc<Recorder>, begun: Instant, planned: Duration, done: CancellationToken) {
    let every = (planned / LINES).max(Duration::from_secs(1));
    let mut ticks = interval_at(begun + every, every);
    loop {
        tokio::select! {
            _ = ticks.tick() => eprintln!("{}", line(&recorder.look(), begun)),
            () = done.cancelled() => return,
        }
    }
}

fn line(look: &Look, begun: Instant) -> String {
    let [p50, _, p99, _] = look.recent_latency.map(|micros| milliseconds(micros as f64 / 1000.0));
    format!(
        "{:>6.0} s  {:>8.1}/s  p50 {p50:>9}  p99 {p99:>9}  {} failed  {} in flight",
        (look.at - begun).as_secs_f64(),
        look.recent_rate,
        look.recent_failed,
        look.in_flight
    )
}
