//! A tenant's circuit breaker: keeps calls from a database that can't be reached, and finds out when it can be again.
//!
//! ```text
//!  closed ── failures in a row, or one that no retry mends ──▶ open ── backoff over ──▶ half-open (one call probes)
//!    ▲                                                           ▲                        │        │
//!    └── a while later ── recovering (a session at a time) ◀─────┼────────── it connects ─┘        │
//!                                                                └────────── it fails ─────────────┘
//! ```
//! While it is open nobody but the probe tries to log in, and nobody else's failure counts.
//! Lack of capacity at the server ("too many connections") is no failure: the server lives. A backoff doubles with each
//! failed probe and has jitter, so that many tenants and gateways don't come back at the same moment.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::time::Instant;

use super::fault::{DatabaseError, Fault};
use crate::config::BreakerConfig;

/// After an outage sessions are opened one at a time for so long.
const RECOVERY: Duration = Duration::from_secs(5);
/// A backoff is shorter than it could be by up to this part.
const JITTER: f64 = 0.25;
/// Who comes while the probe is under way is sent away for so long.
const PROBE_TIME: Duration = Duration::from_secs(1);

pub struct Breaker {
    config: BreakerConfig,
    /// std Mutex: held for a look, never across an await.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// In a row, while it is closed.
    failures: u32,
    recovering_until: Option<Instant>,
    openings: u64,
    /// `None`: it is closed.
    outage: Option<Outage>,
}

struct Outage {
    cause: Fault,
    since: Instant,
    backoff: ExponentialBackoff,
    /// When the next call is the probe; `None` while one is under way.
    probe_at: Option<Instant>,
}

impl Outage {
    fn refusal(&self) -> DatabaseError {
        let retry_in = self.probe_at.map_or(PROBE_TIME, |at| at.saturating_duration_since(Instant::now()));
        DatabaseError::CircuitOpen { retry_in, cause: self.cause.clone() }
    }
}

/// A breaker's state, as operators are shown it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BreakerState {
    Closed,
    /// Since when, until the next probe, and why.
    Open {
        since: Duration,
        retry_in: Duration,
        cause: Fault,
    },
    HalfOpen {
        since: Duration,
        cause: Fault,
    },
}

/// Whether a call may try.
pub enum Admission<'a> {
    Pass,
    /// It is the one that finds out. Dropped without an outcome, the next call is.
    Probe(Probe<'a>),
    /// Nobody may now: [`DatabaseError::CircuitOpen`].
    Refused(DatabaseError),
}

pub struct Probe<'a>(&'a Breaker);

impl Probe<'_> {
    /// It didn't connect: the next probe is after a longer backoff. Gives what the caller is told.
    pub fn failed(self, cause: Fault) -> DatabaseError {
        let mut state = self.0.state();
        let retry_in = match &mut state.outage {
            Some(outage) => {
                outage.cause = cause.clone();
                self.0.back_off(outage)
            }
            // Another session that was being opened was luckier.
            None => Duration::ZERO,
        };
        DatabaseError::CircuitOpen { retry_in, cause }
    }
}

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        if let Some(outage) = &mut self.0.state().outage {
            outage.probe_at.get_or_insert_with(Instant::now);
        }
    }
}

impl Breaker {
    pub fn new(config: BreakerConfig) -> Self {
        Self { config, state: Mutex::default() }
    }

    /// Whether this call may try to reach the database.
    pub fn admit(&self) -> Admission<'_> {
        let mut state = self.state();
        let Some(outage) = &mut state.outage else {
            return Admission::Pass;
        };
        if outage.probe_at.is_some_and(|at| at <= Instant::now()) {
            outage.probe_at = None;
            return Admission::Probe(Probe(self));
        }
        Admission::Refused(outage.refusal())
    }

    /// Whether there is no outage.
    ///
    /// # Errors
    /// [`DatabaseError::CircuitOpen`] with the time until the next probe.
    pub fn check(&self) -> Result<(), DatabaseError> {
        self.state().outage.as_ref().map_or(Ok(()), |outage| Err(outage.refusal()))
    }

    /// The server has logged us in, or would have if it had room.
    pub fn succeeded(&self) {
        let mut state = self.state();
        state.failures = 0;
        if state.outage.take().is_some() {
            state.recovering_until = Some(Instant::now() + RECOVERY);
        }
    }

    /// The server has answered a statement.
    pub fn answered(&self) {
        self.state().failures = 0;
    }

    /// The server couldn't be reached; `decisive` where trying again at once mends nothing. Not for a probe's failure.
    pub fn failed(&self, cause: Fault, decisive: bool) {
        let state = &mut *self.state();
        state.failures = state.failures.saturating_add(1);
        if state.outage.is_some() || (state.failures < self.config.breaker_threshold && !decisive) {
            return;
        }
        state.openings += 1;
        let backoff = self.backoff();
        let outage = Outage { cause, since: Instant::now(), backoff, probe_at: None };
        self.back_off(state.outage.insert(outage));
    }

    fn back_off(&self, outage: &mut Outage) -> Duration {
        let longest = outage.backoff.next().unwrap_or(self.config.breaker_backoff);
        let pause = longest.mul_f64(1.0 - JITTER * rand::random::<f64>());
        outage.probe_at = Some(Instant::now() + pause);
        pause
    }

    /// Whether sessions are to be opened one at a time.
    pub fn is_recovering(&self) -> bool {
        self.state().recovering_until.is_some_and(|until| Instant::now() < until)
    }

    /// How often it has opened.
    pub fn openings(&self) -> u64 {
        self.state().openings
    }

    pub fn show(&self) -> BreakerState {
        let state = self.state();
        let Some(Outage { cause, since, probe_at, .. }) = &state.outage else {
            return BreakerState::Closed;
        };
        let (since, cause) = (since.elapsed(), cause.clone());
        match probe_at {
            Some(at) => {
                let retry_in = at.saturating_duration_since(Instant::now());
                BreakerState::Open { since, retry_in, cause }
            }
            None => BreakerState::HalfOpen { since, cause },
        }
    }

    fn backoff(&self) -> ExponentialBackoff {
        let least = Duration::from_secs(1).min(self.config.breaker_backoff);
        ExponentialBuilder::default()
            .with_min_delay(least)
            .with_max_delay(self.config.breaker_backoff)
            .without_max_times()
            .build()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker() -> Breaker {
        let breaker_backoff = Duration::from_secs(8);
        Breaker::new(BreakerConfig { breaker_threshold: 3, breaker_backoff })
    }

    fn fail(breaker: &Breaker) {
        breaker.failed(Fault::text("connection refused"), false);
    }

    fn retry_in(breaker: &Breaker) -> Duration {
        match breaker.show() {
            BreakerState::Open { retry_in, .. } => retry_in,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_opens_after_failures_in_a_row() {
        let breaker = breaker();
        fail(&breaker);
        fail(&breaker);
        breaker.succeeded();
        fail(&breaker);
        fail(&breaker);
        assert!(matches!(breaker.admit(), Admission::Pass));

        fail(&breaker);

        assert!(matches!(breaker.admit(), Admission::Refused(_)));
        let wait = retry_in(&breaker);
        assert!((0.75..=1.0).contains(&wait.as_secs_f64()), "a second, less jitter: {wait:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_no_retry_mends_opens_it_at_once() {
        let breaker = breaker();

        breaker.failed(Fault::text("password authentication failed"), true);

        assert!(matches!(breaker.admit(), Admission::Refused(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn one_call_probes_and_the_backoff_grows_with_each_that_fails() {
        let breaker = breaker();
        breaker.failed(Fault::text("gone"), true);
        let mut waits = Vec::new();
        for _ in 0..6 {
            waits.push(retry_in(&breaker).as_secs_f64());
            tokio::time::advance(retry_in(&breaker)).await;
            let Admission::Probe(probe) = breaker.admit() else { panic!("no probe") };
            assert!(matches!(breaker.admit(), Admission::Refused(_)), "there is one probe");
            fail(&breaker);
            assert!(
                matches!(breaker.show(), BreakerState::HalfOpen { .. }),
                "another call's failure is no news"
            );
            probe.failed(Fault::text("still gone"));
        }

        let bounds = [1.0, 2.0, 4.0, 8.0, 8.0, 8.0];
        assert!(
            waits.iter().zip(bounds).all(|(wait, most)| (most * 0.75..=most).contains(wait)),
            "{waits:?}"
        );
        assert!(waits[3] != waits[4] && waits[4] != waits[5], "the longest has jitter, too: {waits:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn it_closes_when_the_probe_connects_and_recovers_slowly() {
        let breaker = breaker();
        breaker.failed(Fault::text("gone"), true);
        tokio::time::advance(retry_in(&breaker)).await;
        let probe = breaker.admit();

        breaker.succeeded();
        drop(probe);

        assert_eq!(breaker.show(), BreakerState::Closed);
        assert!(breaker.is_recovering());
        tokio::time::advance(RECOVERY).await;
        assert!(!breaker.is_recovering());
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_is_given_up_leaves_the_next_call_to_find_out() {
        let breaker = breaker();
        breaker.failed(Fault::text("gone"), true);
        tokio::time::advance(retry_in(&breaker)).await;

        drop(breaker.admit());

        assert!(matches!(breaker.admit(), Admission::Probe(_)));
    }
}
