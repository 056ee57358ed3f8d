//! One tenant's PostgreSQL: its lazy, bounded pool, and the only place that speaks the driver's language.
//!
//! Input: a [`Statement`] (SQL text from a `.sql` file, with its parameters' types) and parameters. Output: rows, or a
//! [`DatabaseError`] that says whether the statement's outcome is known.
//! A connection on which anything failed is never used again: after a time-out, a cancel or a failover (25006) it may
//! be half-way through something.

mod connect;
mod fault;
pub mod statements;

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{
    Hook, HookError, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime,
};
use futures_util::future::try_join_all;
use tokio::time::timeout;
pub use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use self::connect::PoolConnector;
pub use self::connect::{ConnectError, Connector};
pub use self::fault::{DatabaseError, Fault};
pub use self::statements::Statement;
use crate::config::{PoolConfig, TenantConfig};

/// How much longer than the server's own `statement_timeout` we wait for an answer before we take the server for gone.
const ANSWER_GRACE: Duration = Duration::from_secs(2);
/// Old connections go at an age that differs by up to this part, so that a pool's connections don't all go at once.
const AGE_JITTER: f64 = 0.2;

pub type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

/// A tenant's pool. Opening it opens no connection; a tenant that nobody calls holds none.
#[derive(Clone)]
pub struct Database {
    pool: Pool,
    connector: Arc<Connector>,
    prepared_statements: bool,
    answer_timeout: Duration,
}

impl Database {
    /// Prepares the pool of one tenant.
    ///
    /// # Errors
    /// Where the TLS settings towards PostgreSQL can't be used (an unreadable CA, for instance).
    pub fn open(tenant: &TenantConfig) -> Result<Self, ConnectError> {
        let settings = tenant.pool.clone();
        let connector = Arc::new(Connector::for_gateway(tenant)?);
        let postgres = connector.postgres().clone();
        let manager = Manager::from_connect(
            postgres,
            PoolConnector(Arc::clone(&connector)),
            ManagerConfig { recycling_method: RecyclingMethod::Fast },
        );
        let max_age = settings.max_connection_age;
        let pool = Pool::builder(manager)
            .max_size(settings.max_connections)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(settings.pool_timeout))
            .create_timeout(Some(settings.connect_timeout))
            .recycle_timeout(Some(settings.connect_timeout))
            .pre_recycle(Hook::sync_fn(move |_, metrics| {
                let age = metrics.created.elapsed();
                if age > max_age.mul_f64(1.0 - AGE_JITTER * rand::random::<f64>()) {
                    return Err(HookError::message("connection is old enough to go"));
                }
                Ok(())
            }))
            .build()
            .expect("a runtime is given, which is all that the builder can miss");
        Ok(Self {
            pool,
            connector,
            prepared_statements: settings.prepared_statements,
            answer_timeout: settings.statement_timeout + ANSWER_GRACE,
        })
    }

    /// A connection of the pool, waited for no longer than `pool_timeout` (or `connect_timeout` for a new one).
    pub async fn connection(&self) -> Result<Connection, DatabaseError> {
        let object = self.pool.get().await.map_err(|error| match error {
            PoolError::Timeout(deadpool_postgres::TimeoutType::Wait) => DatabaseError::PoolExhausted,
            PoolError::Timeout(_) => {
                DatabaseError::Unreachable(Fault::text("connecting took longer than connect_timeout"))
            }
            PoolError::Backend(error) => DatabaseError::Unreachable(Fault::from(&error)),
            PoolError::PostCreateHook(error) => DatabaseError::Unreachable(Fault::text(error.to_string())),
            PoolError::Closed => DatabaseError::Unreachable(Fault::text("the tenant's pool is closed")),
            PoolError::NoRuntimeSpecified => DatabaseError::Unreachable(Fault::text("no runtime")),
        })?;
        Ok(Connection {
            object: Some(object),
            prepared_statements: self.prepared_statements,
            answer_timeout: self.answer_timeout,
        })
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

    /// One statement on a session that is opened for it and closed after it, beside the pool: for chores, which must
    /// neither take a vendor's connection nor keep one from being closed.
    pub async fn query_apart(
        &self,
        statement: &Statement,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, DatabaseError> {
        let (client, _driver) =
            self.connector.open().await.map_err(|error| DatabaseError::Unreachable(Fault::from(&error)))?;
        let typed: Vec<(&(dyn ToSql + Sync), Type)> =
            parameters.iter().copied().zip(statement.parameters.iter().cloned()).collect();
        match timeout(self.answer_timeout, client.query_typed(statement.sql, &typed)).await {
            Ok(rows) => rows.map_err(|error| DatabaseError::from(&error)),
            Err(_elapsed) => Err(DatabaseError::Lost(Fault::text("the server did not answer in time"))),
        }
    }

    /// Whether this process holds a connection to the tenant's database at present.
    pub fn is_connected(&self) -> bool {
        self.pool.status().size > 0
    }
}

/// A PostgreSQL session, borrowed from its tenant's pool. Dropped without [`Connection::finish`] it is closed, so that a
/// future which is cancelled half-way never returns a session in an unknown state.
pub struct Connection {
    object: Option<Object>,
    prepared_statements: bool,
    answer_timeout: Duration,
}

impl Connection {
    fn object(&self) -> &Object {
        self.object.as_ref().expect("taken only by finish and drop, which end the connection's use")
    }

    /// Sees to it that the statements are prepared, so that queries which follow go out in one flight.
    pub async fn prepare(&self, statements: &[&Statement]) -> Result<(), DatabaseError> {
        if self.prepared_statements {
            let prepares = statements.iter().map(|s| self.object().prepare_typed_cached(s.sql, s.parameters));
            self.answered(try_join_all(prepares)).await?;
        }
        Ok(())
    }

    /// Has the server parse the statement and find its tables and columns, without running it.
    pub async fn describe(&self, statement: &Statement) -> Result<(), DatabaseError> {
        self.answered(self.object().prepare_typed(statement.sql, statement.parameters)).await.map(drop)
    }

    /// Sends one statement. Several of these polled together (`join!`) travel in one flight and run in that order,
    /// provided that all were [prepared](Self::prepare) before.
    pub async fn query(
        &self,
        statement: &Statement,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, DatabaseError> {
        if self.prepared_statements {
            let prepared = self.object().prepare_typed_cached(statement.sql, statement.parameters).await;
            let prepared = prepared.map_err(|error| DatabaseError::from(&error))?;
            return self.answered(self.object().query(&prepared, parameters)).await;
        }
        let typed: Vec<(&(dyn ToSql + Sync), Type)> =
            parameters.iter().copied().zip(statement.parameters.iter().cloned()).collect();
        self.answered(self.object().query_typed(statement.sql, &typed)).await
    }

    /// Sends SQL without parameters by the simple protocol: transaction control, and multi-statement text.
    pub async fn execute(&self, sql: &str) -> Result<(), DatabaseError> {
        self.answered(self.object().batch_execute(sql)).await
    }

    /// Gives the connection back to the pool after a success, closes it after an error.
    pub fn finish<T, E>(mut self, result: Result<T, E>) -> Result<T, E> {
        if result.is_ok() {
            drop(self.object.take());
        }
        result
    }

    async fn answered<T>(
        &self,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, DatabaseError> {
        match timeout(self.answer_timeout, answer).await {
            Ok(answer) => answer.map_err(|error| DatabaseError::from(&error)),
            Err(_elapsed) => Err(DatabaseError::Lost(Fault::text("the server did not answer in time"))),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(object) = self.object.take() {
            drop(Object::take(object));
        }
    }
}
