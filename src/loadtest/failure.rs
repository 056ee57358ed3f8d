//! Why a call counts as failed, in kinds that can be counted.

use std::fmt;
use std::io;

use serde::Serialize;

/// A call that brought no whole answer. Ordered, so that reports list the kinds alike each time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// Nobody listens there.
    Refused,
    /// The connection couldn't be opened for another reason, or ended before an answer came.
    Connection,
    /// The handshake failed: an untrusted certificate, another name, no common version.
    Tls,
    /// No whole answer within the time that a call gets.
    Timeout,
    /// An answer that isn't a 200, with its `ErrorCode` where it has one.
    Status { status: u16, code: Option<i64> },
    /// The body ended in an error: the vendor holds nothing.
    BrokenBody,
    /// The body ended as if it were whole, and isn't a whole document: what the gateway promises never to do.
    NotWhole,
    /// The document has another number of records than `Batch-Count` says, or than was expected.
    WrongCount,
    /// A preview was answered with a batch: real violations were handed over.
    Consumed,
}

impl Failure {
    /// The kind of an error of a socket before anything was sent.
    pub fn of_connecting(error: &io::Error) -> Failure {
        if error.kind() == io::ErrorKind::ConnectionRefused { Failure::Refused } else { Failure::Connection }
    }

    /// The kind of an error of a handshake.
    pub fn of_handshake(error: &io::Error) -> Failure {
        let is_tls = error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
        if is_tls { Failure::Tls } else { Failure::Connection }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Refused => f.write_str("connection refused"),
            Failure::Connection => f.write_str("connection failed"),
            Failure::Tls => f.write_str("TLS handshake failed"),
            Failure::Timeout => f.write_str("timed out"),
            Failure::Status { status, code: Some(code) } => write!(f, "{status} with ErrorCode {code}"),
            Failure::Status { status, code: None } => write!(f, "{status} without ErrorCode"),
            Failure::BrokenBody => f.write_str("broken body"),
            Failure::NotWhole => f.write_str("not a whole document"),
            Failure::WrongCount => f.write_str("wrong number of records"),
            Failure::Consumed => f.write_str("preview answered with a batch"),
        }
    }
}

impl Serialize for Failure {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
