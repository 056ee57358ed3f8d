//! Tokens as the table has them.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::{TokenError, failed};
use crate::database::{Database, Row, statements as sql};

/// Everything about a token but the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct StoredToken {
    pub token_id: i64,
    pub vendor: String,
    /// `active`, `expired` or `revoked`, by the database's clock
    pub status: String,
    /// `full`, `standard` or `minimal`
    pub fields: String,
    pub sandbox: bool,
    /// Each as `ACTION:RESOURCE`
    pub permissions: Vec<String>,
    /// None: anywhere
    #[schema(required)]
    pub allowed_addresses: Option<Vec<String>>,
    pub created_at: Timestamp,
    pub created_by: String,
    #[schema(required)]
    pub expires_at: Option<Timestamp>,
    #[schema(required)]
    pub revoked_at: Option<Timestamp>,
    #[schema(required)]
    pub revoked_by: Option<String>,
    /// The first token of its line: tokens of one line have their batches and idempotency keys in common.
    pub line: i64,
    /// The token that this one took over from.
    #[schema(required)]
    pub rotated_from: Option<i64>,
    /// The last one that took over from it.
    #[schema(required)]
    pub rotated_to: Option<i64>,
    #[schema(required)]
    pub last_claim: Option<Timestamp>,
}

/// Every token of the tenant, oldest first.
pub async fn list(database: &Database) -> Result<Vec<StoredToken>, TokenError> {
    read(database, None, None).await
}

/// The tokens that are valid now and expire within the time.
pub async fn expiring(database: &Database, within: Duration) -> Result<Vec<StoredToken>, TokenError> {
    read(database, None, Some(within)).await
}

/// One token.
pub async fn find(database: &Database, token_id: i64) -> Result<StoredToken, TokenError> {
    read(database, Some(token_id), None).await?.pop().ok_or(TokenError::Unknown { token_id })
}

async fn read(
    database: &Database,
    token_id: Option<i64>,
    within: Option<Duration>,
) -> Result<Vec<StoredToken>, TokenError> {
    let within = within.map(|duration| duration.as_secs_f64());
    let rows = database.query(&sql::TOKEN_LIST, &[&token_id, &within]).await;
    Ok(rows.map_err(failed("list the tokens"))?.iter().map(StoredToken::from).collect())
}

impl From<&Row> for StoredToken {
    fn from(row: &Row) -> Self {
        Self {
            token_id: row.get("token_id"),
            vendor: row.get("vendor"),
            status: row.get("status"),
            fields: row.get("field_profile"),
            sandbox: row.get("sandbox"),
            permissions: row.get("permissions"),
            allowed_addresses: row.get("allowed_addresses"),
            created_at: row.get("created_at"),
            created_by: row.get("created_by"),
            expires_at: row.get("expires_at"),
            revoked_at: row.get("revoked_at"),
            revoked_by: row.get("revoked_by"),
            line: row.get("token_line"),
            rotated_from: row.get("rotated_from"),
            rotated_to: row.get("rotated_to"),
            last_claim: row.get("last_claim"),
        }
    }
}
