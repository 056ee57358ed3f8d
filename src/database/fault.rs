//! What can go wrong with a tenant's database, told without a tenant's data.
//!
//! PostgreSQL's DETAIL and CONTEXT can hold values of rows, and the driver's `Display` prints them: nothing but the
//! SQLSTATE and the primary message is kept here.

use std::fmt;
use std::time::Duration;

use thiserror::Error;
use tokio::time::error::Elapsed;
use tokio_postgres::error::SqlState;

/// A failed attempt at a tenant's database.
#[derive(Debug, Clone, Error)]
pub enum DatabaseError {
    #[error("could not connect: {0}")]
    Unreachable(Fault),
    #[error("no connection became free within pool_timeout")]
    PoolExhausted,
    /// Other tenants hold every connection that this process may open, of all or with this server.
    #[error("no connection could be opened within pool_timeout: the budget is used up")]
    BudgetExhausted,
    /// The server lives, and has no room for another session.
    #[error("the server takes no more connections: {0}")]
    ServerFull(Fault),
    /// It couldn't be reached a moment ago; it isn't asked again before `retry_in` is over.
    #[error("the database is not asked again for {:.1} s: {cause}", retry_in.as_secs_f64())]
    CircuitOpen { retry_in: Duration, cause: Fault },
    /// The connection went while a statement was under way: whether it took effect isn't known.
    #[error("lost the connection: {0}")]
    Lost(Fault),
    /// The server answered with an error: the statement, and the transaction around it, had no effect.
    #[error("refused by the server: {0}")]
    Refused(Fault),
    /// The answer isn't what this version of the gateway was written for.
    #[error("unexpected answer: {0}")]
    Unexpected(Fault),
}

/// Why a log-in failed.
pub enum Failure {
    /// The server lives, and has no room for us.
    Full(Fault),
    /// `decisive` where it stays so until somebody mends it.
    Unreachable { fault: Fault, decisive: bool },
}

impl Failure {
    /// What came of a part of a log-in, within its time.
    pub fn judge<T>(outcome: Result<Result<T, tokio_postgres::Error>, Elapsed>) -> Result<T, Self> {
        match outcome {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) if is_full(&error) => Err(Self::Full(Fault::from(&error))),
            Ok(Err(error)) => {
                Err(Self::Unreachable { fault: Fault::from(&error), decisive: is_decisive(&error) })
            }
            Err(_elapsed) => {
                let fault = Fault::text("connecting took longer than connect_timeout");
                Err(Self::Unreachable { fault, decisive: false })
            }
        }
    }
}

/// 53300 and its class: insufficient resources.
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

/// SQLSTATE and message of a PostgreSQL error, or the reason why there was none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    sqlstate: Option<String>,
    message: String,
}

impl Fault {
    pub fn text(message: impl Into<String>) -> Self {
        Self { sqlstate: None, message: message.into() }
    }

    /// Drops a message that may hold a row's values: what a tenant's own trigger raises (class P0), and what names the
    /// value that didn't fit (class 22). The SQLSTATE stays.
    fn without_values(self) -> Self {
        match self.sqlstate() {
            Some(code) if code.starts_with("P0") => {
                Self { message: "raised by a function of the tenant's database".to_owned(), ..self }
            }
            Some(code) if code.starts_with("22") => {
                Self { message: "a value is out of range or malformed".to_owned(), ..self }
            }
            _ => self,
        }
    }

    /// The five characters of PostgreSQL's appendix A, where the server answered.
    pub fn sqlstate(&self) -> Option<&str> {
        self.sqlstate.as_deref()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.sqlstate {
            Some(sqlstate) => write!(f, "{} ({sqlstate})", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl From<&tokio_postgres::Error> for Fault {
    fn from(error: &tokio_postgres::Error) -> Self {
        if let Some(db) = error.as_db_error() {
            return Self { sqlstate: Some(db.code().code().to_owned()), message: db.message().to_owned() };
        }
        let mut message = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(source) = cause {
            message = format!("{message}: {source}");
            cause = source.source();
        }
        Self::text(message)
    }
}

impl From<&tokio_postgres::Error> for DatabaseError {
    fn from(error: &tokio_postgres::Error) -> Self {
        let fault = Fault::from(error).without_values();
        match error.code() {
            Some(code) if ends_session(code) => Self::Lost(fault),
            Some(_) => Self::Refused(fault),
            None => Self::Lost(fault),
        }
    }
}

/// Errors with which the server ends the session; it may have committed before it noticed.
fn ends_session(code: &SqlState) -> bool {
    [
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
        SqlState::CONNECTION_FAILURE,
        SqlState::CONNECTION_EXCEPTION,
        SqlState::CONNECTION_DOES_NOT_EXIST,
    ]
    .contains(code)
}
