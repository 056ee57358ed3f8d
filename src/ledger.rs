//! The ledger: what state a batch is in, and the swaps between the states.
//!
//! ```text
//!  rows ── claim ──▶ open ── release ──▶ released   (never handed out again)
//!                     └──── void ──────▶ void       (rows unmarked, the next call gets them)
//! ```
//! Every swap compares and swaps, so it may be repeated after a lost answer, on a new connection, and a late owner finds
//! its batch gone instead of taking it back. Only its owner releases a batch.

pub mod oversight;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use thiserror::Error;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::database::{Database, DatabaseError, Fault, Parameters, Row, statements as sql};
use crate::records::FieldProfile;
pub use oversight::OversightError;

/// Tries at a swap whose answer was lost, and the pause between them; together within a lease's length.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(250);

/// What one claim handed over.
#[derive(Debug, Clone)]
pub struct Batch {
    pub batch_id: i64,
    /// Made by us before the claim, so that its outcome can be looked up when the answer was lost.
    pub claim_id: Uuid,
    pub record_count: i32,
    /// In the answer's order.
    pub violation_ids: Arc<[i32]>,
    pub profile: FieldProfile,
}

impl Batch {
    /// From a row that tells of one batch.
    pub fn new(row: &Row, profile: FieldProfile) -> Self {
        Self {
            batch_id: row.get("batch_id"),
            claim_id: row.get("claim_id"),
            record_count: row.get("record_count"),
            violation_ids: row.get::<_, Vec<i32>>("violation_ids").into(),
            profile,
        }
    }
}

#[derive(Debug, Error)]
pub enum LedgerError {
    /// Somebody else voided the batch when its lease was over: its rows aren't ours any more.
    #[error("the batch isn't open any more")]
    NotOpen,
    /// The institution took the batch back.
    #[error("the batch was requeued")]
    NotReleased,
    #[error("could not {attempt}")]
    Database { attempt: &'static str, source: DatabaseError },
}

/// One tenant's ledger, as seen by this gateway process.
#[derive(Clone)]
pub struct Ledger {
    database: Database,
    gateway: String,
    lease: Duration,
    /// std Mutex: held for an assignment, never across an await.
    sweeps: Arc<Mutex<Sweeps>>,
}

impl Ledger {
    /// `gateway` names this process in the ledger; `lease` is how long an open batch is ours without a renewal.
    pub fn new(database: Database, gateway: String, lease: Duration) -> Self {
        Self { database, gateway, lease, sweeps: Arc::default() }
    }

    pub fn lease(&self) -> Duration {
        self.lease
    }

    pub fn gateway(&self) -> &str {
        &self.gateway
    }

    /// Prolongs the batch's lease by the database's clock.
    ///
    /// # Errors
    /// [`LedgerError::NotOpen`] where the batch was taken over.
    pub async fn renew(&self, batch: &Batch) -> Result<(), LedgerError> {
        let rows = self.database.query(&sql::RENEW, &[&batch.claim_id, &self.lease.as_secs_f64()]).await;
        match rows.map_err(|source| LedgerError::Database { attempt: "renew the lease", source })?.first() {
            Some(_) => Ok(()),
            None => Err(LedgerError::NotOpen),
        }
    }

    /// Swaps open → released. Ok only where the batch is known to be released, durably.
    ///
    /// A lost answer is resolved on a new connection by asking again: the swap finds `released` if the lost one worked.
    /// `persons` are the UserIDs of those whom the answer names.
    pub async fn release(&self, batch: &Batch, persons: &[i32]) -> Result<(), LedgerError> {
        let deadline = Instant::now() + self.lease;
        let parameters: Parameters<'_> = &[&batch.claim_id, &persons];
        let rows = insist(deadline, || self.database.query(&sql::RELEASE, parameters)).await;
        let rows = rows.map_err(|source| LedgerError::Database { attempt: "release the batch", source })?;
        if rows.is_empty() { Err(LedgerError::NotOpen) } else { Ok(()) }
    }

    /// Notes that a released batch is handed over again, naming `persons`.
    ///
    /// # Errors
    /// [`LedgerError::NotReleased`] where it was requeued meanwhile.
    pub async fn note_replay(&self, batch: &Batch, persons: &[i32]) -> Result<(), LedgerError> {
        let rows = self.database.query(&sql::REPLAY, &[&batch.claim_id, &persons]).await;
        let rows = rows.map_err(|source| LedgerError::Database { attempt: "note the replay", source })?;
        if rows.is_empty() { Err(LedgerError::NotReleased) } else { Ok(()) }
    }

    /// Swaps open → void and unmarks the batch's rows. A batch that is released, or void already, stays as it is; a claim
    /// that the ledger doesn't know is fenced off. Says whether the batch is void now. After an error the lease voids the
    /// batch when it is over.
    pub async fn void(&self, claim_id: Uuid, reason: &str) -> Result<bool, LedgerError> {
        let deadline = Instant::now() + self.lease;
        let swap: Parameters<'_> = &[&claim_id, &reason, &self.gateway];
        let unmark: Parameters<'_> = &[&claim_id];
        let void = || self.database.query_both((&sql::VOID, swap), (&sql::VOID_UNMARK, unmark));
        let rows = insist(deadline, void).await;
        let rows = rows.map_err(|source| LedgerError::Database { attempt: "void the batch", source })?;
        Ok(rows.first().is_some_and(|row| row.get::<_, &str>("state") == "void"))
    }

    /// Voids every batch whose lease is over, whoever its owner was, and looks at what the ledger has.
    pub async fn expire(&self) -> Result<Expired, LedgerError> {
        let answers = self.database.query_apart(&[(&sql::EXPIRE, &[&LEASE_OVER]), (&sql::LOOK, &[])]).await;
        let mut sweeps = self.sweeps.lock().unwrap_or_else(PoisonError::into_inner);
        sweeps.failures += u64::from(answers.is_err());
        let answers = answers.map_err(|source| LedgerError::Database {
            attempt: "void batches whose lease is over",
            source,
        })?;
        let row = |at: usize| answers.get(at).and_then(|rows| rows.first());
        let count = |column: &str| row(0).map_or(0, |row| row.get(column));
        let expired = Expired { voided: count("voided"), still_open: count("still_open") };
        sweeps.voided += expired.voided.unsigned_abs();
        sweeps.look = row(1).map(Look::from);
        Ok(expired)
    }

    /// What sweeps have come to.
    pub fn sweeps(&self) -> Sweeps {
        self.sweeps.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What this process's sweeps of one tenant have come to.
#[derive(Debug, Clone, Default)]
pub struct Sweeps {
    pub failures: u64,
    pub voided: u64,
    /// The last that worked.
    pub look: Option<Look>,
}

/// What there was in a ledger. Times are the database's, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Look {
    pub at: f64,
    pub open: i64,
    /// The oldest open batch's claim.
    pub open_since: Option<f64>,
    /// The first lease of an open batch to end.
    pub lease_ends: Option<f64>,
    /// Released batches that a vendor who acknowledges hasn't acknowledged, among the newest.
    pub unacknowledged: i64,
    /// The oldest of these was released.
    pub unacknowledged_since: Option<f64>,
}

impl From<&Row> for Look {
    fn from(row: &Row) -> Self {
        Self {
            at: row.get("looked_at"),
            open: row.get("open"),
            open_since: row.get("open_since"),
            lease_ends: row.get("lease_ends"),
            unacknowledged: row.get("unacknowledged"),
            unacknowledged_since: row.get("unacknowledged_since"),
        }
    }
}

/// What a sweep of one tenant found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expired {
    pub voided: i64,
    /// Open batches whose lease isn't over.
    pub still_open: i64,
}

/// The reason that a batch voided by somebody else's claim or sweep carries.
pub const LEASE_OVER: &str = "lease over";

/// Repeats an idempotent statement until it is answered, a few times within the deadline.
async fn insist<T, F>(deadline: Instant, mut attempt: impl FnMut() -> F) -> Result<T, DatabaseError>
where
    F: Future<Output = Result<T, DatabaseError>>,
{
    let mut failure = DatabaseError::Lost(Fault::text("the lease is over"));
    for tried in 0..TRIES {
        if tried > 0 {
            sleep(PAUSE * tried).await;
        }
        if Instant::now() >= deadline {
            break;
        }
        match attempt().await {
            Ok(answer) => return Ok(answer),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}
