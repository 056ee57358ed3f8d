//! A run: so many calls, in an open or a closed model, from the first one due to the last one answered.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::call::{Order, call};
use super::connections::{Connections, Dialer};
use super::failure::Failure;
use super::schedule::{Rate, arrivals};
use super::tally::{Ended, Recorder, Tally};

/// A closed run's vendor whose call failed doesn't try again at once, which would measure refusals alone.
const AFTER_FAILURE: Duration = Duration::from_millis(50);
/// The report's charts have about so many dots at most.
const SLICES: u32 = 120;

/// What decides when calls are made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Model {
    /// So many a second, whatever becomes of them: vendors who don't know of each other.
    Open { rate: Rate },
    /// So many vendors, each of whom calls again when the last answer has come.
    Closed { vendors: usize },
}

/// All that a run needs.
#[derive(Clone)]
pub struct Plan {
    pub dialer: Dialer,
    /// One a target, called in turn; at least one.
    pub orders: Arc<[Order]>,
    pub model: Model,
    pub warm_up: Duration,
    /// How long it measures, after the warm-up.
    pub duration: Duration,
    /// How long a call may take, from when it is due.
    pub timeout: Duration,
    /// Connections of an open run at most; in a closed one each vendor has one.
    pub connections: usize,
}

/// A run under way: what it measures, and how to end it.
pub struct Run {
    plan: Plan,
    begun: Instant,
    recorder: Arc<Recorder>,
    stop: CancellationToken,
}

impl Run {
    /// Prepares a run, whose time begins now. Cancelling `stop` ends it at once; calls that are under way then don't count.
    pub fn new(plan: Plan, stop: CancellationToken) -> Run {
        let begun = Instant::now();
        let tally =
            Tally::new(plan.orders.len(), begun + plan.warm_up, slice_length(plan.duration, plan.model));
        Run { plan, begun, recorder: Arc::new(Recorder::new(tally)), stop }
    }

    pub fn recorder(&self) -> Arc<Recorder> {
        Arc::clone(&self.recorder)
    }

    pub fn begun(&self) -> Instant {
        self.begun
    }

    /// Makes the calls, and waits for the last of them.
    pub async fn go(self) -> Tally {
        let caller = Arc::new(Caller {
            recorder: self.recorder(),
            orders: Arc::clone(&self.plan.orders),
            timeout: self.plan.timeout,
            stop: self.stop.clone(),
        });
        let calls = TaskTracker::new();
        match self.plan.model {
            Model::Open { rate } => self.call_at(rate, &caller, &calls).await,
            Model::Closed { vendors } => self.send_vendors(vendors, &caller, &calls),
        }
        calls.close();
        calls.wait().await;
        self.recorder.tally()
    }

    fn end(&self) -> Instant {
        self.begun + self.plan.warm_up + self.plan.duration
    }

    async fn call_at(&self, rate: Rate, caller: &Arc<Caller>, calls: &TaskTracker) {
        let connections = Arc::new(Connections::new(self.plan.dialer.clone(), self.plan.connections));
        let mut arrivals = arrivals(rate, self.begun, self.end(), self.stop.clone());
        let mut number = 0;
        while let Some(due) = arrivals.recv().await {
            let (caller, connections) = (Arc::clone(caller), Arc::clone(&connections));
            calls.spawn(async move { caller.call(&connections, number, due).await });
            number += 1;
        }
    }

    fn send_vendors(&self, vendors: usize, caller: &Arc<Caller>, calls: &TaskTracker) {
        for vendor in 0..vendors {
            let (caller, end) = (Arc::clone(caller), self.end());
            let connections = Connections::new(self.plan.dialer.clone(), 1);
            calls.spawn(async move {
                for number in vendor.. {
                    let due = Instant::now();
                    if due >= end || caller.stop.is_cancelled() {
                        return;
                    }
                    if !caller.call(&connections, number, due).await {
                        sleep(AFTER_FAILURE).await;
                    }
                }
            });
        }
    }
}

/// Makes calls and has them counted.
struct Caller {
    recorder: Arc<Recorder>,
    orders: Arc<[Order]>,
    timeout: Duration,
    stop: CancellationToken,
}

impl Caller {
    /// The call with this number; whether its answer was whole.
    async fn call(&self, connections: &Connections, number: usize, due: Instant) -> bool {
        let target = number % self.orders.len();
        let began = Instant::now();
        self.recorder.begin();
        let outcome = tokio::select! {
            outcome = call(connections, &self.orders[target], due + self.timeout) => outcome,
            () = self.stop.cancelled() => return false,
        };
        if outcome.as_ref().is_err_and(|failure| *failure == Failure::Consumed) {
            // Nobody asked for that: not one more.
            self.stop.cancel();
        }
        let is_whole = outcome.is_ok();
        self.recorder.end(&Ended { target, due, began, ended: Instant::now(), outcome });
        is_whole
    }
}

/// So long that the run has a readable number of slices, and each some calls to take percentiles of.
fn slice_length(duration: Duration, model: Model) -> Duration {
    const LENGTHS: [u64; 8] = [250, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000];
    const CALLS: f64 = 20.0;
    let populated = match model {
        Model::Open { rate } => Duration::from_secs_f64(CALLS / rate.per_second()).min(duration / 10),
        Model::Closed { .. } => Duration::ZERO,
    };
    let fits = |length: &Duration| duration <= *length * SLICES && *length >= populated;
    let longest = || Duration::from_secs(duration.as_secs().div_ceil(u64::from(SLICES)));
    LENGTHS.map(Duration::from_millis).into_iter().find(fits).unwrap_or_else(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOSED: Model = Model::Closed { vendors: 8 };

    #[test]
    fn a_run_has_at_most_120_slices() {
        let slices = |seconds| {
            let duration = Duration::from_secs(seconds);
            (duration.as_secs_f64() / slice_length(duration, CLOSED).as_secs_f64()).ceil() as u64
        };

        assert_eq!(slice_length(Duration::from_secs(60), CLOSED), Duration::from_millis(500));
        for seconds in [1, 29, 31, 3600, 86_400] {
            assert!((1..=120).contains(&slices(seconds)), "{seconds}");
        }
    }

    #[test]
    fn a_slow_run_has_longer_slices_but_still_ten() {
        let slice = |rate: &str, seconds| {
            slice_length(Duration::from_secs(seconds), Model::Open { rate: rate.parse().unwrap() })
        };

        assert_eq!(slice("1000/s", 10), Duration::from_millis(250));
        assert_eq!(slice("20/s", 30), Duration::from_secs(1));
        assert_eq!(slice("1/s", 30), Duration::from_secs(5));
    }
}
