//! Opens a tenant's sessions, within the budget and as the breaker allows, and looks at those that are taken out again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use deadpool::managed::{self, Metrics, Object, RecycleError, RecycleResult};
use tokio::sync::{Mutex, MutexGuard, Notify};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::breaker::{Breaker, Probe};
use super::budget::Share;
use super::connect::Connector;
use super::fault::{DatabaseError, Failure, Fault};
use super::session::{Opening, Session};
use crate::config::PoolConfig;

/// A session that has been idle for longer is asked for a sign of life before it is used: the server may have frozen, and
/// a statement would wait for its whole time-out.
const DOUBTED_AFTER: Duration = Duration::from_secs(1);

pub type Pool = managed::Pool<Sessions>;
pub type WeakPool = managed::WeakPool<Sessions>;

/// Callers who asked a pool for a session.
#[derive(Debug, Default)]
pub struct Waits {
    pub count: AtomicU64,
    pub failed: AtomicU64,
    microseconds: AtomicU64,
}

impl Waits {
    /// All waiting together.
    pub fn total(&self) -> Duration {
        Duration::from_micros(self.microseconds.load(Ordering::Relaxed))
    }

    pub fn add(&self, time: Duration, failed: bool) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.failed.fetch_add(u64::from(failed), Ordering::Relaxed);
        self.microseconds.fetch_add(time.as_micros().try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// How a tenant's sessions are made.
pub struct Sessions {
    connector: Connector,
    settings: PoolConfig,
    pub share: Share,
    pub breaker: Breaker,
    pub waits: Waits,
    /// Grows when the sessions of before are to go, also those in use.
    epoch: AtomicU64,
    /// A session came back, which is as good as a new one for who waits for the right to open one.
    returned: Notify,
    /// Held while a session is opened after an outage: one at a time.
    slowly: Mutex<()>,
    /// When the server was last seen to take a log-in, by those who doubt it.
    alive_at: Mutex<Option<Instant>>,
}

/// Why the pool has no new session for a caller.
pub enum OpenError {
    /// One that was in use is free now.
    Returned,
    Failed(DatabaseError),
}

/// The right to open a session.
type Right<'a> = (Option<MutexGuard<'a, ()>>, Opening);

impl Sessions {
    pub fn new(connector: Connector, settings: PoolConfig, share: Share) -> Self {
        Self {
            connector,
            share,
            breaker: Breaker::new(settings.breaker.clone()),
            waits: Waits::default(),
            settings,
            epoch: AtomicU64::default(),
            returned: Notify::default(),
            slowly: Mutex::default(),
            alive_at: Mutex::default(),
        }
    }

    /// Opens a session beside the pool.
    ///
    /// # Errors
    /// Where there is an outage, without trying; it is for a probe to find out.
    pub async fn open(&self) -> Result<Session, DatabaseError> {
        self.open_by(self.acquire().await?).await
    }

    /// Finds out whether an outage is over.
    pub async fn probe(&self, probe: Probe<'_>) -> Result<(), DatabaseError> {
        let right = timeout(self.settings.pool_timeout, self.share.acquire()).await;
        let right = right.map_err(|_elapsed| DatabaseError::BudgetExhausted)?;
        match self.log_in(Opening::by(right)).await {
            Ok(_closed) => Ok(()),
            Err(Failure::Full(fault)) => Err(DatabaseError::ServerFull(fault)),
            Err(Failure::Unreachable { fault, .. }) => Err(probe.failed(fault)),
        }
    }

    /// Ends when the server is found to be gone: who still waits for an answer waits in vain.
    pub async fn gone(&self) -> Fault {
        loop {
            let mut alive_at = self.alive_at.lock().await;
            // A server that refuses is there.
            if let Err(DatabaseError::CircuitOpen { cause, .. }) = self.breaker.check()
                && cause.sqlstate().is_none()
            {
                return cause;
            }
            if alive_at.is_none_or(|at| at.elapsed() >= self.settings.connect_timeout) {
                if let Err(DatabaseError::Unreachable(fault)) = self.open().await {
                    self.breaker.failed(fault, true);
                }
                *alive_at = Some(Instant::now());
                continue;
            }
            drop(alive_at);
            sleep(self.settings.connect_timeout).await;
        }
    }

    /// Takes a session back into its pool, or closes it for another tenant's sake.
    pub fn give_back(&self, mut session: Object<Self>) {
        self.breaker.answered();
        if self.share.is_wanted(session.opened) {
            drop(Object::take(session));
            return;
        }
        session.idle_since = Instant::now();
        drop(session);
        self.returned.notify_one();
    }

    /// Has every session of before closed: at once, or when it comes back.
    pub fn evict(&self, pool: &Pool) {
        self.epoch.fetch_add(1, Ordering::Relaxed);
        pool.retain(|_, _| false);
    }

    /// Waits no longer than `pool_timeout`.
    async fn acquire(&self) -> Result<Right<'_>, DatabaseError> {
        self.breaker.check()?;
        let right = timeout(self.settings.pool_timeout, async {
            let turn = if self.breaker.is_recovering() { Some(self.slowly.lock().await) } else { None };
            (turn, Opening::by(self.share.acquire().await))
        });
        right.await.map_err(|_elapsed| DatabaseError::BudgetExhausted)
    }

    async fn open_by(&self, (_turn, opening): Right<'_>) -> Result<Session, DatabaseError> {
        // It may have opened while we waited.
        self.breaker.check()?;
        match self.log_in(opening).await {
            Ok(session) => Ok(session),
            Err(Failure::Full(fault)) => Err(DatabaseError::ServerFull(fault)),
            Err(Failure::Unreachable { fault, decisive }) => {
                self.breaker.failed(fault.clone(), decisive);
                // Where that has opened it, the caller is told when to come back.
                Err(self.breaker.check().err().unwrap_or(DatabaseError::Unreachable(fault)))
            }
        }
    }

    async fn log_in(&self, opening: Opening) -> Result<Session, Failure> {
        let deadline = Instant::now() + self.settings.connect_timeout;
        let opened = async {
            let (client, driver) = Failure::judge(timeout_at(deadline, self.connector.connect()).await)?;
            let epoch = self.epoch.load(Ordering::Relaxed);
            let session = opening.into_session(client, driver, epoch, &self.settings);
            Failure::judge(timeout_at(deadline, self.connector.prepare_session(&session.client)).await)?;
            Ok(session)
        };
        let opened = opened.await;
        if !matches!(opened, Err(Failure::Unreachable { .. })) {
            self.breaker.succeeded();
        }
        opened
    }
}

impl managed::Manager for Sessions {
    type Type = Session;
    type Error = OpenError;

    async fn create(&self) -> Result<Session, OpenError> {
        let right = tokio::select! {
            biased;
            right = self.acquire() => right.map_err(OpenError::Failed)?,
            () = self.returned.notified() => return Err(OpenError::Returned),
        };
        self.open_by(right).await.map_err(OpenError::Failed)
    }

    async fn recycle(&self, session: &mut Session, _: &Metrics) -> RecycleResult<OpenError> {
        let outdated = session.epoch != self.epoch.load(Ordering::Relaxed) || session.is_old();
        if outdated || session.client.is_closed() || self.breaker.check().is_err() {
            return Err(RecycleError::message("the session has to go"));
        }
        if session.idle_since.elapsed() < DOUBTED_AFTER {
            return Ok(());
        }
        match timeout(self.settings.connect_timeout, session.client.check_connection()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(RecycleError::message("the session is broken")),
            Err(_elapsed) => {
                self.breaker.failed(Fault::text("the server gives no sign of life"), true);
                Err(RecycleError::message("the server gives no sign of life"))
            }
        }
    }
}
