//! A new token takes over from an old one, which goes on until the vendor has changed over.
//!
//! Both are of one line: the new one finds the old one's batches and idempotency keys, or a retry across the rotation would
//! claim afresh what the vendor was already given (docs/decisions/0035).

use std::time::Duration;

use jiff::Timestamp;

use super::{Expiry, PlainToken, TokenError, failed};
use crate::audit::Actor;
use crate::database::{Database, Parameters, statements as sql};

/// What to rotate, and how.
#[derive(Debug, Clone)]
pub struct Rotation {
    pub token_id: i64,
    /// How long the old one goes on, if it doesn't end sooner by itself. Zero ends it now.
    pub overlap: Duration,
    /// When the new one ends; None: it lives as long as the last of its line was to live.
    pub expiry: Option<Expiry>,
}

/// The new token, and what became of the old one.
#[derive(Debug, Clone)]
pub struct Rotated {
    pub vendor: String,
    /// `full`, `standard` or `minimal`, as the old one had it
    pub fields: String,
    pub token_id: i64,
    pub expires_at: Option<Timestamp>,
    pub token: PlainToken,
    /// When the old one ends or ended.
    pub old_expires_at: Option<Timestamp>,
    /// A token that was revoked stays so; its successor takes the line up.
    pub old_revoked_at: Option<Timestamp>,
}

/// Issues a token with the vendor, permissions, fields, sandbox and addresses of an old one, in the old one's line.
///
/// Two at once: one rotates, the other gets [`TokenError::AlreadyRotated`]. A successor that was revoked or has expired is no
/// obstacle, so a new token that was lost can be replaced.
pub async fn rotate(database: &Database, rotation: &Rotation, actor: &Actor) -> Result<Rotated, TokenError> {
    let token_id = rotation.token_id;
    let token = PlainToken::generate();
    let expires_in = match rotation.expiry {
        Some(Expiry::In(duration)) => Some(duration.as_secs_f64()),
        Some(Expiry::Never) | None => None,
    };
    let hash = token.hash();
    let lock: Parameters<'_> = &[&token_id];
    let rotate: Parameters<'_> = &[
        &token_id,
        &hash.as_slice(),
        &rotation.overlap.as_secs_f64(),
        &expires_in,
        &(rotation.expiry == Some(Expiry::Never)),
        &actor.name,
        &actor.reason,
        &actor.request_id,
    ];
    let rows = database.query_both((&sql::TOKEN_LOCK, lock), (&sql::TOKEN_ROTATE, rotate)).await;
    let rows = rows.map_err(failed("rotate the token"))?;
    let row = rows.first().ok_or(TokenError::Unknown { token_id })?;
    if let Some(successor) = row.get("successor") {
        return Err(TokenError::AlreadyRotated { token_id, successor });
    }
    Ok(Rotated {
        vendor: row.get("vendor"),
        fields: row.get("field_profile"),
        token_id: row.get("token_id"),
        expires_at: row.get("expires_at"),
        token,
        old_expires_at: row.get("old_expires_at"),
        old_revoked_at: row.get("revoked_at"),
    })
}
