//! The ledger as operators see it: who received what and when, and the taking back of a batch.
//!
//! A privacy commissioner asks for that by person, a vendor's help desk by batch, the institution by ticket. Says no more of a
//! violation than its number and its ticket. A batch that is taken back has its entry in the audit log.

use jiff::Timestamp;
use serde::Serialize;
use thiserror::Error;
use utoipa::ToSchema;

use crate::audit::Actor;
use crate::database::{Database, DatabaseError, Row, statements as sql};

/// Why a batch can't be shown or taken back.
#[derive(Debug, Error)]
pub enum OversightError {
    #[error("there is no such batch")]
    Unknown,
    #[error("the batch is released: only an open batch can be voided; a released one can be requeued")]
    Released,
    #[error("the batch was void already")]
    Void,
    #[error("the batch isn't released")]
    NotReleased,
    #[error("the batch was requeued already")]
    Requeued,
    #[error("could not {attempt}")]
    Database { attempt: &'static str, source: DatabaseError },
}

/// Which batches are meant, all conditions at once.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct BatchQuery {
    /// Only those that hold this violation.
    pub ticket: Option<String>,
    /// Only those that disclosed this person, as a ticket's addressee or as a driver.
    pub person: Option<i32>,
    /// Only those that are `open`, `released` or `void`.
    pub state: Option<&'static str>,
    /// At most so many, the newest.
    pub limit: i64,
}

/// One batch as the ledger has it.
#[derive(Debug, Serialize, ToSchema)]
pub struct BatchEntry {
    pub batch_id: i64,
    #[schema(required)]
    pub vendor: Option<String>,
    /// Null in the void row of a claim whose outcome was unknown.
    #[schema(required)]
    pub field_profile: Option<String>,
    pub state: String,
    pub records: i32,
    pub claimed_at: Timestamp,
    #[schema(required)]
    pub released_at: Option<Timestamp>,
    #[schema(required)]
    pub acknowledged_at: Option<Timestamp>,
    #[schema(required)]
    pub replayed_at: Option<Timestamp>,
    #[schema(required)]
    pub voided_at: Option<Timestamp>,
    #[schema(required)]
    pub void_reason: Option<String>,
    #[schema(required)]
    pub requeued_at: Option<Timestamp>,
    #[schema(required)]
    pub requeued_by: Option<String>,
    #[schema(required)]
    pub requeue_reason: Option<String>,
    #[schema(required)]
    pub idempotency_key: Option<String>,
    #[schema(required)]
    pub request_id: Option<String>,
    pub gateway: String,
}

impl From<&Row> for BatchEntry {
    fn from(row: &Row) -> Self {
        Self {
            batch_id: row.get("batch_id"),
            vendor: row.get("vendor"),
            field_profile: row.get("field_profile"),
            state: row.get("state"),
            records: row.get("record_count"),
            claimed_at: row.get("claimed_at"),
            released_at: row.get("released_at"),
            acknowledged_at: row.get("acknowledged_at"),
            replayed_at: row.get("replayed_at"),
            voided_at: row.get("voided_at"),
            void_reason: row.get("void_reason"),
            requeued_at: row.get("requeued_at"),
            requeued_by: row.get("requeued_by"),
            requeue_reason: row.get("requeue_reason"),
            idempotency_key: row.get("idempotency_key"),
            request_id: row.get("request_id"),
            gateway: row.get("gateway"),
        }
    }
}

/// One batch's violations, in the answer's order.
#[derive(Debug, Serialize, ToSchema)]
pub struct BatchContent {
    pub batch_id: i64,
    pub state: String,
    pub violations: Vec<HandedOver>,
}

/// A violation of a batch.
#[derive(Debug, Serialize, ToSchema)]
pub struct HandedOver {
    pub position: i64,
    #[serde(rename = "ViolationID")]
    pub id: i32,
    /// Null where it was deleted since.
    #[serde(rename = "Ticket")]
    #[schema(required)]
    pub ticket: Option<String>,
}

/// The batches that are meant, newest first.
pub async fn search(database: &Database, query: &BatchQuery) -> Result<Vec<BatchEntry>, OversightError> {
    let BatchQuery { ticket, person, state, limit } = query;
    let rows = database.query(&sql::BATCH_SEARCH, &[ticket, person, state, limit]).await;
    let rows = rows.map_err(failed("list the batches"))?;
    Ok(rows.iter().map(BatchEntry::from).collect())
}

/// One batch.
///
/// # Errors
/// [`OversightError::Unknown`] where there is none with this number.
pub async fn show(database: &Database, batch_id: i64) -> Result<BatchContent, OversightError> {
    let rows = database.query(&sql::BATCH_SHOW, &[&batch_id]).await.map_err(failed("look the batch up"))?;
    let first = rows.first().ok_or(OversightError::Unknown)?;
    let violations = rows
        .iter()
        .filter_map(|row| {
            let id = row.get::<_, Option<i32>>("ViolationID")?;
            Some(HandedOver { position: row.get("position"), id, ticket: row.get("Ticket") })
        })
        .collect();
    Ok(BatchContent { batch_id, state: first.get("state"), violations })
}

/// Voids an open batch, for the actor's reason; gives how many violations the next call may get.
pub async fn void(database: &Database, batch_id: i64, actor: &Actor) -> Result<i64, OversightError> {
    let Actor { name, reason, request_id } = actor;
    let rows = database.query(&sql::BATCH_VOID, &[&batch_id, reason, name, request_id]).await;
    match rows.map_err(failed("void the batch"))?.first() {
        Some(row) => Ok(row.get("freed")),
        None if show(database, batch_id).await?.state == "void" => Err(OversightError::Void),
        None => Err(OversightError::Released),
    }
}

/// Frees a released batch's violations, to be handed out again, for the actor's reason. Gives how many that were.
pub async fn requeue(database: &Database, batch_id: i64, actor: &Actor) -> Result<i64, OversightError> {
    let Actor { name, reason, request_id } = actor;
    let rows = database.query(&sql::BATCH_REQUEUE, &[&batch_id, reason, name, request_id]).await;
    match rows.map_err(failed("requeue the batch"))?.first() {
        Some(row) => Ok(row.get("freed")),
        None if show(database, batch_id).await?.state == "released" => Err(OversightError::Requeued),
        None => Err(OversightError::NotReleased),
    }
}

fn failed(attempt: &'static str) -> impl FnOnce(DatabaseError) -> OversightError {
    move |source| OversightError::Database { attempt, source }
}
