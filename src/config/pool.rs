//! How many connections a tenant's database gets, and how long anything may take there.

use std::time::Duration;

use super::section::Section;
use super::value::{DAY, HOUR, MINUTE, SECOND, boolean, duration, integer};

/// Bounds of one tenant's connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolConfig {
    /// Connections at most, 1 to 64; an idle tenant holds none.
    pub max_connections: usize,
    /// How long a request waits for a free connection before it is shed.
    pub pool_timeout: Duration,
    /// How long opening a connection may take, TLS and authentication included.
    pub connect_timeout: Duration,
    /// PostgreSQL's `statement_timeout`.
    pub statement_timeout: Duration,
    /// PostgreSQL's `lock_timeout`.
    pub lock_timeout: Duration,
    /// PostgreSQL's `idle_in_transaction_session_timeout`.
    pub idle_in_transaction_timeout: Duration,
    /// A connection unused for so long is closed.
    pub idle_timeout: Duration,
    /// A connection so old is closed after its current use.
    pub max_connection_age: Duration,
    /// Off where a transaction pooler such as PgBouncer stands between.
    pub prepared_statements: bool,
    /// When a database that can't be reached is left alone, and for how long.
    pub breaker: BreakerConfig,
}

/// The circuit breaker's bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakerConfig {
    /// Failures in a row that open it, 1 to 100.
    pub breaker_threshold: u32,
    /// The longest pause between two probes.
    pub breaker_backoff: Duration,
}

impl Default for BreakerConfig {
    fn default() -> BreakerConfig {
        BreakerConfig { breaker_threshold: 3, breaker_backoff: 30 * SECOND }
    }
}

impl Default for PoolConfig {
    fn default() -> PoolConfig {
        PoolConfig {
            max_connections: 8,
            pool_timeout: 2 * SECOND,
            connect_timeout: 5 * SECOND,
            statement_timeout: 30 * SECOND,
            lock_timeout: 5 * SECOND,
            idle_in_transaction_timeout: 10 * SECOND,
            idle_timeout: MINUTE,
            max_connection_age: 30 * MINUTE,
            prepared_statements: true,
            breaker: BreakerConfig::default(),
        }
    }
}

/// How much longer than the server's own `statement_timeout` we wait for an answer before we take the server for gone.
const ANSWER_GRACE: Duration = Duration::from_secs(2);

impl PoolConfig {
    /// How long a statement's answer may take.
    pub fn answer_timeout(&self) -> Duration {
        self.statement_timeout + ANSWER_GRACE
    }

    /// Reads a tenant's keys, or `[defaults]`'; where the section is silent, `base` holds.
    #[rustfmt::skip] // One key a line: it is a table.
    pub(super) fn read(section: &mut Section, base: &PoolConfig) -> PoolConfig {
        PoolConfig {
            max_connections: section.find("max_connections", integer(1..=64)).unwrap_or(base.max_connections),
            pool_timeout: section.find("pool_timeout", duration(MINUTE)).unwrap_or(base.pool_timeout),
            connect_timeout: section.find("connect_timeout", duration(MINUTE)).unwrap_or(base.connect_timeout),
            statement_timeout: section.find("statement_timeout", duration(HOUR)).unwrap_or(base.statement_timeout),
            lock_timeout: section.find("lock_timeout", duration(HOUR)).unwrap_or(base.lock_timeout),
            idle_in_transaction_timeout: section.find("idle_in_transaction_timeout", duration(HOUR)).unwrap_or(base.idle_in_transaction_timeout),
            idle_timeout: section.find("idle_timeout", duration(7 * DAY)).unwrap_or(base.idle_timeout),
            max_connection_age: section.find("max_connection_age", duration(7 * DAY)).unwrap_or(base.max_connection_age),
            prepared_statements: section.find("prepared_statements", boolean).unwrap_or(base.prepared_statements),
            breaker: BreakerConfig {
                breaker_threshold: section.find("breaker_threshold", integer(1..=100)).unwrap_or(base.breaker.breaker_threshold),
                breaker_backoff: section.find("breaker_backoff", duration(HOUR)).unwrap_or(base.breaker.breaker_backoff),
            },
        }
    }
}
