//! Makes a pool's sessions, and looks at those that are taken out again: within the budget, and as the breaker allows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use deadpool::managed::{self, Metrics, RecycleError, RecycleResult};
use deadpool_postgres::{ClientWrapper, ManagerConfig, RecyclingMethod};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;

use super::breaker::Breaker;
use super::budget::{Permit, Share};
use super::connect::{Connector, PoolConnector};
use super::fault::{DatabaseError, Fault};
use crate::config::PoolConfig;

/// Old sessions go at an age that differs by up to this part, so that a pool's sessions don't all go at once.
const AGE_JITTER: f64 = 0.2;
/// A session that has been idle for longer is asked for a sign of life before it is used: the server may have frozen, and
/// a statement would wait for its whole time-out.
const DOUBTED_AFTER: Duration = Duration::from_secs(1);

pub type Pool = managed::Pool<Sessions>;
pub type WeakPool = managed::WeakPool<Sessions>;

/// A session of the pool, with its part of the budget.
pub struct Session {
    pub client: ClientWrapper,
    _permit: Permit,
}

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
    driver: deadpool_postgres::Manager,
    connector: Arc<Connector>,
    settings: PoolConfig,
    pub share: Arc<Share>,
    pub breaker: Arc<Breaker>,
    pub waits: Waits,
    /// Held while a session is opened after an outage: one at a time.
    turn: Semaphore,
}

impl Sessions {
    pub fn new(connector: Arc<Connector>, settings: PoolConfig, share: Share, breaker: Breaker) -> Self {
        let driver = deadpool_postgres::Manager::from_connect(
            connector.postgres().clone(),
            PoolConnector(Arc::clone(&connector)),
            ManagerConfig { recycling_method: RecyclingMethod::Fast },
        );
        let (share, breaker) = (Arc::new(share), Arc::new(breaker));
        Self { driver, connector, settings, share, breaker, waits: Waits::default(), turn: Semaphore::new(1) }
    }

    /// The right to open a session, waited for no longer than `pool_timeout`.
    pub async fn permit(&self) -> Result<Permit, DatabaseError> {
        let permit = timeout(self.settings.pool_timeout, self.share.acquire()).await;
        permit.map_err(|_elapsed| DatabaseError::BudgetExhausted)
    }

    /// Opens a session, and has the breaker know what came of it.
    pub async fn open<T>(
        &self,
        opening: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, DatabaseError> {
        let _turn = if self.breaker.is_recovering() {
            Some(self.turn.acquire().await.expect("this semaphore is never closed"))
        } else {
            None
        };
        match timeout(self.settings.connect_timeout, opening).await {
            Ok(Ok(session)) => {
                self.breaker.succeeded();
                Ok(session)
            }
            Ok(Err(error)) if is_full(&error) => {
                self.breaker.succeeded();
                Err(DatabaseError::ServerFull(Fault::from(&error)))
            }
            Ok(Err(error)) => {
                let fault = Fault::from(&error);
                self.breaker.failed(fault.clone(), is_decisive(&error));
                Err(DatabaseError::Unreachable(fault))
            }
            Err(_elapsed) => {
                let fault = Fault::text("connecting took longer than connect_timeout");
                self.breaker.failed(fault.clone(), false);
                Err(DatabaseError::Unreachable(fault))
            }
        }
    }

    pub fn connector(&self) -> &Connector {
        &self.connector
    }
}

impl managed::Manager for Sessions {
    type Type = Session;
    type Error = DatabaseError;

    async fn create(&self) -> Result<Session, DatabaseError> {
        self.breaker.check()?;
        let permit = self.permit().await?;
        let client = self.open(managed::Manager::create(&self.driver)).await?;
        Ok(Session { client, _permit: permit })
    }

    async fn recycle(&self, session: &mut Session, metrics: &Metrics) -> RecycleResult<DatabaseError> {
        if session.client.is_closed() || self.breaker.check().is_err() {
            return Err(RecycleError::message("the session is closed"));
        }
        let limit = self.settings.max_connection_age.mul_f64(1.0 - AGE_JITTER * rand::random::<f64>());
        if metrics.created.elapsed() > limit {
            return Err(RecycleError::message("the session is old enough to go"));
        }
        if metrics.last_used() < DOUBTED_AFTER {
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

    fn detach(&self, session: &mut Session) {
        managed::Manager::detach(&self.driver, &mut session.client);
    }
}

/// 53300 and its class: the server lives, and has no room for us.
fn is_full(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| code.code().starts_with("53"))
}

/// What stays wrong until somebody mends it: a password, a role, a database, a privilege.
fn is_decisive(error: &tokio_postgres::Error) -> bool {
    let lasting = [
        SqlState::INVALID_PASSWORD,
        SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
        SqlState::INVALID_CATALOG_NAME,
        SqlState::INSUFFICIENT_PRIVILEGE,
    ];
    error.code().is_some_and(|code| lasting.contains(code))
}
