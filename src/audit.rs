//! What operators did, in the tenant's own database: who, when, to what, and why.
//!
//! Whatever changes that database writes its entry in the statement that makes the change, so neither is there without the
//! other; [`record`] is for what happens elsewhere, such as a pause. The gateway's role can add entries at the database's
//! present, and change none. What vendors do stands in the ledger, not here.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::database::{Database, DatabaseError, Parameters, Row, statements as sql};

/// Who does something to a tenant, and why.
#[derive(Debug, Clone)]
pub struct Actor {
    /// The operating system's user, or the operator's subject. Never empty.
    pub name: String,
    /// What the operator gives as reason; some actions demand one.
    pub reason: Option<String>,
    /// The request of the operators' plane with which it was done.
    pub request_id: Option<String>,
}

/// One entry.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = AuditEntry)]
pub struct Entry {
    pub audit_id: i64,
    pub at: Timestamp,
    pub actor: String,
    /// The database's role, as the database knows it.
    pub role: String,
    pub action: String,
    pub object: String,
    #[schema(required)]
    pub reason: Option<String>,
    #[schema(required)]
    pub request_id: Option<String>,
    /// What it set.
    #[schema(value_type = Object)]
    pub detail: Value,
}

/// From when on.
#[derive(Debug, Clone, Copy)]
pub enum Since {
    Ago(Duration),
    Time(Timestamp),
}

/// Which entries; None: whatever it is.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub since: Option<Since>,
    /// Such as `token.revoke`.
    pub action: Option<String>,
    /// Such as `token 5`.
    pub object: Option<String>,
}

/// Records an `action` done to an `object`, where no statement of ours does so itself. `detail` is what it set.
pub async fn record(
    database: &Database,
    actor: &Actor,
    action: &str,
    object: &str,
    detail: &Value,
) -> Result<(), DatabaseError> {
    let detail = detail.to_string();
    let entry: Parameters<'_> = &[&actor.name, &action, &object, &actor.reason, &actor.request_id, &detail];
    database.query(&sql::AUDIT_RECORD, entry).await.map(drop)
}

/// At most `limit` entries, newest first.
pub async fn list(database: &Database, filter: &Filter, limit: i64) -> Result<Vec<Entry>, DatabaseError> {
    let (ago, time) = match filter.since {
        Some(Since::Ago(ago)) => (Some(ago.as_secs_f64()), None),
        Some(Since::Time(time)) => (None, Some(time)),
        None => (None, None),
    };
    let filter: Parameters<'_> = &[&ago, &time, &filter.action, &filter.object, &limit];
    let rows = database.query(&sql::AUDIT_LIST, filter).await?;
    Ok(rows.iter().map(Entry::from).collect())
}

impl From<&Row> for Entry {
    fn from(row: &Row) -> Self {
        Self {
            audit_id: row.get("audit_id"),
            at: row.get("at"),
            actor: row.get("actor"),
            role: row.get("role"),
            action: row.get("action"),
            object: row.get("object"),
            reason: row.get("reason"),
            request_id: row.get("request_id"),
            // PostgreSQL writes jsonb as JSON.
            detail: serde_json::from_str(row.get("detail")).unwrap_or_default(),
        }
    }
}
