//! One tenant's PostgreSQL: its lazy, bounded pool, and the only place that speaks the driver's language.
//!
//! Input: a [`Statement`] (SQL text from a `.sql` file, with its parameters' types) and parameters. Output: rows, or a
//! [`DatabaseError`] that says whether the statement's outcome is known.
//! A connection on which anything failed is never used again: after a time-out, a cancel or a failover (25006) it may
//! be half-way through something.

mod breaker;
mod budget;
mod connect;
mod fault;
mod session;
mod sessions;
pub mod statements;
mod wire;

use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use deadpool::managed::{self, PoolError, TimeoutType};
use deadpool_postgres::ClientWrapper;
use futures_util::future::try_join_all;
use tokio::time::{Instant, timeout};
pub use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use self::breaker::Admission;
pub use self::breaker::BreakerState;
pub use self::budget::{Budget, Usage};
pub use self::connect::{ConnectError, Connector};
pub use self::fault::{DatabaseError, Fault};
pub use self::sessions::Waits;
use self::sessions::{OpenError, Pool, Sessions};
pub use self::statements::Statement;
use crate::config::{BudgetConfig, PoolConfig, TenantConfig};

/// A statement that isn't answered for so long makes us ask whether its server still takes log-ins; if not, that is found
/// `connect_timeout` later.
const DOUBTED_AFTER: Duration = Duration::from_secs(2);
/// A standby that was the primary: every session leads to the wrong server.
const READ_ONLY: &str = "25006";
const NO_ANSWER: &str = "the server did not answer in time";

pub type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

/// A tenant's pool. Opening it opens no connection; a tenant that nobody calls holds none.
#[derive(Clone)]
pub struct Database {
    pool: Pool,
    prepared_statements: bool,
    patience: Patience,
}

/// How long answers are waited for.
#[derive(Clone, Copy)]
struct Patience {
    /// After so long the server is asked for a sign of life.
    doubted_after: Duration,
    at_most: Duration,
    /// For a connection.
    pool: Duration,
}

/// A pool's connections: open, lent out, and callers who wait for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolStatus {
    pub open: usize,
    pub in_use: usize,
    pub waiting: usize,
    pub limit: usize,
}

impl Database {
    /// Prepares the pool of one tenant, for a command that has the process to itself.
    ///
    /// # Errors
    /// Where the TLS settings towards PostgreSQL can't be used (an unreadable CA, for instance).
    pub fn open(tenant: &TenantConfig) -> Result<Self, ConnectError> {
        Self::open_within(tenant, &Budget::new(BudgetConfig::default()))
    }

    /// Prepares the pool of one tenant among others, within what they may open together.
    ///
    /// # Errors
    /// As [`Database::open`].
    pub fn open_within(tenant: &TenantConfig, budget: &Arc<Budget>) -> Result<Self, ConnectError> {
        let settings = tenant.pool.clone();
        let connector = Connector::for_gateway(tenant)?;
        let share = budget.share(connector.server());
        let pool = managed::Pool::builder(Sessions::new(connector, settings.clone(), share))
            .max_size(settings.max_connections)
            .runtime(deadpool::Runtime::Tokio1)
            .wait_timeout(Some(settings.pool_timeout))
            .build()
            .expect("a runtime is given, which is all that the builder can miss");
        pool.manager().share.register(pool.weak());
        let at_most = settings.answer_timeout();
        let doubted_after = DOUBTED_AFTER.min(settings.connect_timeout).min(at_most);
        let patience = Patience { doubted_after, at_most, pool: settings.pool_timeout };
        Ok(Self { pool, prepared_statements: settings.prepared_statements, patience })
    }

    /// A connection of the pool. Waits at most three times `pool_timeout` and `connect_timeout`, of which each is for
    /// something else: for another caller's connection, for the budget, for the server.
    ///
    /// # Errors
    /// At once, where the database couldn't be reached a moment ago.
    pub async fn connection(&self) -> Result<Connection, DatabaseError> {
        let asked = Instant::now();
        let connection = self.take().await;
        let sessions = self.pool.manager();
        sessions.waits.add(asked.elapsed(), connection.is_err());
        sessions.share.waited(asked.elapsed());
        connection
    }

    async fn take(&self) -> Result<Connection, DatabaseError> {
        self.admit().await?;
        let patience = Instant::now() + self.patience.pool;
        let object = loop {
            match self.pool.get().await {
                Ok(object) => break object,
                Err(PoolError::Backend(OpenError::Returned)) if Instant::now() < patience => {}
                Err(error) => return Err(self.refusal(error)),
            }
        };
        Ok(Connection {
            object: Some(object),
            prepared_statements: self.prepared_statements,
            patience: self.patience,
        })
    }

    /// Lets a call pass, unless there is an outage; the call whose turn it is finds out whether that is over.
    async fn admit(&self) -> Result<(), DatabaseError> {
        let sessions = self.pool.manager();
        match sessions.breaker.admit() {
            Admission::Pass => Ok(()),
            Admission::Probe(probe) => {
                // What was opened before the outage may be dead without knowing it.
                sessions.evict(&self.pool);
                sessions.probe(probe).await
            }
            Admission::Refused(error) => Err(error),
        }
    }

    fn refusal(&self, error: PoolError<OpenError>) -> DatabaseError {
        match error {
            PoolError::Backend(OpenError::Failed(error)) => error,
            PoolError::Timeout(TimeoutType::Wait) | PoolError::Backend(OpenError::Returned) => {
                // Those who hold the connections may have found out meanwhile that there is an outage.
                self.pool.manager().breaker.check().err().unwrap_or(DatabaseError::PoolExhausted)
            }
            PoolError::Closed => DatabaseError::Unreachable(Fault::text("the tenant's pool is closed")),
            PoolError::Timeout(_) | PoolError::PostCreateHook(_) | PoolError::NoRuntimeSpecified => {
                DatabaseError::Unreachable(Fault::text("the tenant's pool is broken"))
            }
        }
    }

    /// Whether the database is reached at present.
    pub fn breaker(&self) -> BreakerState {
        self.pool.manager().breaker.show()
    }

    /// How often the breaker has opened.
    pub fn breaker_openings(&self) -> u64 {
        self.pool.manager().breaker.openings()
    }

    /// Who asked for a connection so far.
    pub fn waits(&self) -> &Waits {
        &self.pool.manager().waits
    }

    pub fn status(&self) -> PoolStatus {
        let status = self.pool.status();
        PoolStatus {
            open: status.size,
            in_use: status.size.saturating_sub(status.available),
            waiting: status.waiting,
            limit: status.max_size,
        }
    }

    /// Closes every connection that isn't in use.
    pub fn close_all(&self) {
        self.pool.retain(|_, _| false);
    }

    /// One statement on a connection of its own, for what needs no transaction.
    pub async fn query(
        &self,
        statement: &Statement,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, DatabaseError> {
        let connection = self.connection().await?;
        connection.prepare(&[statement]).await?;
        let rows = connection.query(statement, parameters).await;
        connection.finish(rows)
    }

    /// Closes connections that have been idle for longer than `idle_timeout`.
    pub fn close_idle(&self, settings: &PoolConfig) {
        self.pool.retain(|_, metrics| metrics.last_used() < settings.idle_timeout);
    }

    /// Two statements in one transaction and one flight; gives the second one's rows. The second sees what the first did,
    /// and whatever the first had to wait for.
    pub async fn query_both(
        &self,
        first: (&Statement, Parameters<'_>),
        second: (&Statement, Parameters<'_>),
    ) -> Result<Vec<Row>, DatabaseError> {
        let connection = self.connection().await?;
        connection.prepare(&[first.0, second.0]).await?;
        let (begun, done, rows, committed) = tokio::join!(
            connection.execute(statements::BEGIN),
            connection.query(first.0, first.1),
            connection.query(second.0, second.1),
            connection.execute(statements::COMMIT),
        );
        connection.finish(begun.and(done).and(committed).and(rows))
    }

    /// Statements, one after the other, on a session that is opened for them and closed after them, beside the pool: for
    /// chores, which must neither take a vendor's connection nor keep one from being closed. Gives each one's rows.
    pub async fn query_apart(
        &self,
        statements: &[(&Statement, Parameters<'_>)],
    ) -> Result<Vec<Vec<Row>>, DatabaseError> {
        self.admit().await?;
        let session = self.pool.manager().open().await?;
        let mut answers = Vec::with_capacity(statements.len());
        for (statement, parameters) in statements {
            let typed: Vec<(&(dyn ToSql + Sync), Type)> =
                parameters.iter().copied().zip(statement.parameters.iter().cloned()).collect();
            match timeout(self.patience.at_most, session.client.query_typed(statement.sql, &typed)).await {
                Ok(rows) => answers.push(rows.map_err(|error| DatabaseError::from(&error))?),
                Err(_elapsed) => return Err(no_answer()),
            }
        }
        Ok(answers)
    }

    /// Whether this process holds a connection to the tenant's database at present.
    pub fn is_connected(&self) -> bool {
        self.pool.status().size > 0
    }
}

/// A PostgreSQL session, borrowed from its tenant's pool. Dropped without [`Connection::finish`] it is closed, so that a
/// future which is cancelled half-way never returns a session in an unknown state.
pub struct Connection {
    object: Option<managed::Object<Sessions>>,
    prepared_statements: bool,
    patience: Patience,
}

impl Connection {
    fn object(&self) -> &managed::Object<Sessions> {
        self.object.as_ref().expect("taken only by finish and drop, which end the connection's use")
    }

    fn client(&self) -> &ClientWrapper {
        &self.object().client
    }

    /// Sees to it that the statements are prepared, so that queries which follow go out in one flight.
    pub async fn prepare(&self, statements: &[&Statement]) -> Result<(), DatabaseError> {
        if self.prepared_statements {
            let prepares = statements.iter().map(|s| self.client().prepare_typed_cached(s.sql, s.parameters));
            self.answered(try_join_all(prepares)).await?;
        }
        Ok(())
    }

    /// Has the server parse the statement and find its tables and columns, without running it.
    pub async fn describe(&self, statement: &Statement) -> Result<(), DatabaseError> {
        self.answered(self.client().prepare_typed(statement.sql, statement.parameters)).await.map(drop)
    }

    /// Sends one statement. Several of these polled together (`join!`) travel in one flight and run in that order,
    /// provided that all were [prepared](Self::prepare) before.
    pub async fn query(
        &self,
        statement: &Statement,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, DatabaseError> {
        if self.prepared_statements {
            let prepared = self.client().prepare_typed_cached(statement.sql, statement.parameters);
            let prepared = self.answered(prepared).await?;
            return self.answered(self.client().query(&prepared, parameters)).await;
        }
        let typed: Vec<(&(dyn ToSql + Sync), Type)> =
            parameters.iter().copied().zip(statement.parameters.iter().cloned()).collect();
        self.answered(self.client().query_typed(statement.sql, &typed)).await
    }

    /// Sends SQL without parameters by the simple protocol: transaction control, and multi-statement text.
    pub async fn execute(&self, sql: &str) -> Result<(), DatabaseError> {
        self.answered(self.client().batch_execute(sql)).await
    }

    /// Gives the connection back to the pool after a success; closes it after an error, and where another tenant waits for
    /// what it takes of the budget.
    pub fn finish<T, E>(mut self, result: Result<T, E>) -> Result<T, E> {
        // A tenant that was taken out of the configuration has no pool any more.
        if result.is_ok()
            && let Some(pool) = managed::Object::pool(self.object())
            && let Some(object) = self.object.take()
        {
            pool.manager().give_back(object);
        }
        result
    }

    async fn answered<T>(
        &self,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, DatabaseError> {
        let mut answer = pin!(answer);
        let Patience { doubted_after, at_most, .. } = self.patience;
        if let Ok(answer) = timeout(doubted_after, &mut answer).await {
            return answer.map_err(|error| self.told(DatabaseError::from(&error)));
        }
        let pool = managed::Object::pool(self.object());
        let gone = async {
            match &pool {
                Some(pool) => pool.manager().gone().await,
                None => pending().await,
            }
        };
        let answer = tokio::select! {
            answer = timeout(at_most - doubted_after, answer) => answer,
            cause = gone => return Err(DatabaseError::Lost(cause)),
        };
        let Ok(answer) = answer else {
            if let Some(pool) = &pool {
                pool.manager().breaker.failed(Fault::text(NO_ANSWER), false);
            }
            return Err(no_answer());
        };
        answer.map_err(|error| self.told(DatabaseError::from(&error)))
    }

    /// After a failover the pool's other sessions are on the old primary, too.
    fn told(&self, error: DatabaseError) -> DatabaseError {
        let DatabaseError::Refused(fault) = &error else {
            return error;
        };
        if let (Some(READ_ONLY), Some(pool)) = (fault.sqlstate(), managed::Object::pool(self.object())) {
            pool.manager().evict(&pool);
        }
        error
    }
}

fn no_answer() -> DatabaseError {
    DatabaseError::Lost(Fault::text(NO_ANSWER))
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(object) = self.object.take() {
            drop(managed::Object::take(object));
        }
    }
}
