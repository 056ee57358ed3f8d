//! A tenant's circuit breaker: keeps calls from a database that can't be reached, and finds out when it can be again.
//!
//! ```text
//!  closed ── failures in a row, or one that no retry mends ──▶ open ── backoff over ──▶ half-open (one call is the probe)
//!    ▲                                                           ▲                        │        │
//!    └── a while later ── recovering (a session at a time) ◀─────┼────────── it connects ─┘        │
//!                                                                └────────── it fails ─────────────┘
//! ```
//! Lack of capacity at the server ("too many connections") is no failure: the server lives. A backoff doubles with each
//! failed probe and has jitter, so that many gateways don't come back at the same moment.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::time::Instant;

use super::fault::{DatabaseError, Fault};
use crate::config::BreakerConfig;

/// After an outage sessions are opened one at a time for so long.
const RECOVERY: Duration = Duration::from_secs(5);
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
    /// Nobody may: [`DatabaseError::CircuitOpen`].
    Refused(DatabaseError),
}

pub struct Probe<'a>(&'a Breaker);

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
        let retry_in = outage.probe_at.map_or(PROBE_TIME, |at| at.saturating_duration_since(Instant::now()));
        if retry_in.is_zero() {
            outage.probe_at = None;
            return Admission::Probe(Probe(self));
        }
        Admission::Refused(DatabaseError::CircuitOpen { retry_in, cause: outage.cause.clone() })
    }

    /// Whether its backoff is still running.
    ///
    /// # Errors
    /// [`DatabaseError::CircuitOpen`] with the time until the next probe.
    pub fn check(&self) -> Result<(), DatabaseError> {
        match self.show() {
            BreakerState::Open { retry_in, cause, .. } if !retry_in.is_zero() => {
                Err(DatabaseError::CircuitOpen { retry_in, cause })
            }
            _ => Ok(()),
        }
    }

    /// The server has answered, be it that it has no room.
    pub fn succeeded(&self) {
        let mut state = self.state();
        state.failures = 0;
        if state.outage.take().is_some() {
            state.recovering_until = Some(Instant::now() + RECOVERY);
        }
    }

    /// The server couldn't be reached; `decisive` where trying again at once mends nothing.
    pub fn failed(&self, cause: Fault, decisive: bool) {
        let state = &mut *self.state();
        state.failures = state.failures.saturating_add(1);
        if state.outage.is_none() && state.failures < self.config.breaker_threshold && !decisive {
            return;
        }
        let now = Instant::now();
        state.openings += u64::from(state.outage.is_none());
        let outage = state.outage.get_or_insert_with(|| Outage {
            cause: cause.clone(),
            since: now,
            backoff: self.backoff(),
            probe_at: None,
        });
        // Another call that was under way when it opened tells nothing new.
        if outage.probe_at.is_none() {
            let pause = outage.backoff.next().unwrap_or(self.config.breaker_backoff);
            outage.probe_at = Some(now + pause.min(self.config.breaker_backoff));
            outage.cause = cause;
        }
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
            .with_jitter()
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
        assert!((1.0..=2.0).contains(&wait.as_secs_f64()), "a second, and jitter: {wait:?}");
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
            waits.push(retry_in(&breaker));
            tokio::time::advance(retry_in(&breaker)).await;
            let probe = breaker.admit();
            assert!(matches!(probe, Admission::Probe(_)));
            assert!(matches!(breaker.admit(), Admission::Refused(_)), "there is one probe");
            fail(&breaker);
            drop(probe);
        }

        assert!(waits[1] > waits[0] && waits[2] >= waits[1], "{waits:?}");
        assert!(waits.iter().all(|wait| *wait <= Duration::from_secs(8)), "{waits:?}");
        assert_eq!(waits[5], Duration::from_secs(8));
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
