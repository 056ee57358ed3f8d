//! A vendor's own batches: list them, hand one over again, take note of a receipt.
//!
//! Everything is looked up by the token's hash, among the batches of its line (a token and what it was rotated to): another
//! token's batch isn't there, whoever may know its number.

use jiff::Timestamp;
use thiserror::Error;

use crate::claim::TokenHash;
use crate::database::{Database, DatabaseError, Row, statements as sql};
use crate::ledger::Batch;
use crate::records::FieldProfile;

/// What a vendor is told of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchSummary {
    pub batch_id: i64,
    pub state: String,
    pub record_count: i32,
    pub claimed_at: Timestamp,
    pub released_at: Option<Timestamp>,
    pub acknowledged_at: Option<Timestamp>,
    pub idempotency_key: Option<String>,
}

/// A page of batches, newest first.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    /// Only batches before this one.
    pub before: Option<i64>,
    pub limit: i64,
}

#[derive(Debug, Error)]
pub enum BatchError {
    #[error("the token has no such batch")]
    Unknown,
    /// Its first delivery hasn't ended yet.
    #[error("the batch is still being delivered")]
    Open,
    /// The institution deleted some of its violations: the answer could not be the same again.
    #[error("violations of the batch were deleted")]
    Incomplete,
    #[error("the batch has another number of records")]
    WrongCount,
    #[error("could not look the batch up")]
    Database(#[from] DatabaseError),
}

/// The batches of the token's line, and whether there are more behind the page. A void one handed nothing over and isn't listed.
pub async fn list(
    database: &Database,
    token: &TokenHash,
    page: Page,
) -> Result<(Vec<BatchSummary>, bool), BatchError> {
    let (token, one_more) = (token.as_slice(), page.limit + 1);
    let rows = database.query(&sql::BATCH_LIST, &[&token, &page.before, &one_more]).await?;
    let mut batches: Vec<BatchSummary> = rows.iter().map(BatchSummary::from).collect();
    let limit = usize::try_from(page.limit).unwrap_or(usize::MAX);
    let more = batches.len() > limit;
    batches.truncate(limit);
    Ok((batches, more))
}

/// A released batch, to be handed over again.
pub async fn find_released(
    database: &Database,
    token: &TokenHash,
    batch_id: i64,
) -> Result<Batch, BatchError> {
    let token = token.as_slice();
    let rows = database.query(&sql::BATCH_FIND, &[&token, &batch_id]).await?;
    let row = rows.first().ok_or(BatchError::Unknown)?;
    if row.get::<_, &str>("state") != "released" {
        return Err(BatchError::Open);
    }
    let profile = FieldProfile::parse(row.get("field_profile")).ok_or(BatchError::Unknown)?;
    Ok(Batch::new(row, profile))
}

/// Whether the batch can be handed over again as it was, looked up before its first byte.
///
/// # Errors
/// [`BatchError::Incomplete`] where a violation of it isn't there any more.
pub async fn ensure_complete(database: &Database, batch: &Batch) -> Result<(), BatchError> {
    let rows = database.query(&sql::BATCH_MISSING, &[&batch.claim_id]).await?;
    match rows.first().map_or(0, |row| row.get::<_, i64>("missing")) {
        0 => Ok(()),
        _ => Err(BatchError::Incomplete),
    }
}

/// Notes that the vendor has received all `records` of a batch. May be repeated.
pub async fn acknowledge(
    database: &Database,
    token: &TokenHash,
    batch_id: i64,
    records: i64,
) -> Result<BatchSummary, BatchError> {
    let hash = token.as_slice();
    let rows = database.query(&sql::BATCH_ACKNOWLEDGE, &[&hash, &batch_id, &records]).await?;
    match rows.first() {
        Some(row) => Ok(BatchSummary::from(row)),
        None => find_released(database, token, batch_id).await.and(Err(BatchError::WrongCount)),
    }
}

impl From<&Row> for BatchSummary {
    fn from(row: &Row) -> Self {
        Self {
            batch_id: row.get("batch_id"),
            state: row.get("state"),
            record_count: row.get("record_count"),
            claimed_at: row.get("claimed_at"),
            released_at: row.get("released_at"),
            acknowledged_at: row.get("acknowledged_at"),
            idempotency_key: row.get("idempotency_key"),
        }
    }
}
