//! Takes eligible violations: one short transaction that checks the caller again, marks the rows and writes the ledger.
//!
//! Input: who calls ([`Caller`]) and what may be taken. Output: an open [`Batch`] with its first rows, the batch that the
//! same idempotency key made before, or nothing where nothing is eligible. The transaction and the first rows travel in
//! one flight, and no lock outlives it. A [preview](Claim::preview) computes the same without a mark.
//! The outcome is never guessed: where the answer to the commit is lost, nothing is sent, and the claim is voided by the
//! id that we gave it, whether it took effect, didn't, or is yet to arrive.

use std::net::IpAddr;
use std::time::Duration;

use thiserror::Error;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::config::EligibilityConfig;
use crate::database::{Connection, Database, DatabaseError, Fault, Parameters, Statement, statements as sql};
use crate::ledger::{Batch, LEASE_OVER, Ledger};
use crate::records::{FieldProfile, read_first};

/// SHA-256 of an API token: the only form in which one is kept.
pub type TokenHash = [u8; 32];

/// Who claims.
#[derive(Debug, Clone)]
pub struct Caller {
    pub token: TokenHash,
    pub address: IpAddr,
    pub request_id: String,
}

/// What a claim came to.
pub enum Claimed {
    /// Nothing is eligible.
    Nothing,
    /// An open batch, and the rows of its first violations.
    Fresh { batch: Batch, first: Vec<Row>, more: bool },
    /// The key was used before, and its batch is released: it may be handed over again.
    Again { batch: Batch, more: bool },
}

/// What a claim would come to.
pub struct Previewed {
    pub violation_ids: Vec<i32>,
    pub profile: FieldProfile,
    pub more: bool,
}

#[derive(Debug, Error)]
pub enum ClaimError {
    /// Revoked or expired since it was last looked up.
    #[error("the token isn't valid any more")]
    Credential,
    #[error("the token has lost its permission")]
    Permission,
    /// The first request with this key hasn't ended yet.
    #[error("the idempotency key is in use")]
    KeyInUse,
    #[error("the idempotency key was used for another request")]
    KeyReused,
    #[error("could not claim")]
    Database(#[source] DatabaseError),
    /// The transaction may have committed: the caller must void it by its claim id.
    #[error("the outcome of the claim isn't known")]
    OutcomeUnknown(#[source] DatabaseError),
}

/// One claim of one tenant.
pub struct Claim<'a> {
    pub database: &'a Database,
    pub ledger: &'a Ledger,
    pub eligibility: &'a EligibilityConfig,
    /// How long an idempotency key is remembered.
    pub replay_window: Duration,
    /// At most this many records; None takes all that are eligible.
    pub limit: Option<i64>,
}

const STATEMENTS: [&Statement; 3] = [&sql::EXPIRE, &sql::CLAIM, &sql::VIOLATIONS];

impl Claim<'_> {
    /// Claims, under an id that the caller has made up. Not safe to drop: the commit's outcome would be unknown; run it
    /// in a task of its own.
    pub async fn run(
        &self,
        claim_id: Uuid,
        caller: &Caller,
        key: Option<&str>,
    ) -> Result<Claimed, ClaimError> {
        let connection = self.database.connection().await.map_err(ClaimError::Database)?;
        connection.prepare(&STATEMENTS).await.map_err(ClaimError::Database)?;
        let flight = self.fly(&connection, claim_id, caller, key).await;
        let (row, first) = connection.finish(flight)?;
        let profile = check_caller(&row)?;
        if row.get::<_, Option<i64>>("batch_id").is_none() {
            return Ok(Claimed::Nothing);
        }
        let batch = Batch::new(&row, profile);
        if !row.get::<_, bool>("again") {
            return Ok(Claimed::Fresh { batch, first, more: is_true(&row, "more") });
        }
        if row.get::<_, Option<i64>>("record_limit") != self.limit {
            return Err(ClaimError::KeyReused);
        }
        match row.get("state") {
            "released" => Ok(Claimed::Again { batch, more: is_true(&row, "more") }),
            _ => Err(ClaimError::KeyInUse),
        }
    }

    /// What [`Claim::run`] would take now. Locks nothing, marks nothing, writes nothing. Safe to drop.
    pub async fn preview(&self, caller: &Caller) -> Result<Previewed, ClaimError> {
        let eligibility = self.eligibility;
        let token = caller.token.as_slice();
        let parameters: Parameters<'_> = &[
            &token,
            &caller.address,
            &eligibility.grace_days,
            &eligibility.minimum_balance,
            &eligibility.exclude_categories,
            &self.limit,
        ];
        let rows = self.database.query(&sql::PREVIEW, parameters).await.map_err(ClaimError::Database)?;
        let row = rows.first().ok_or_else(|| unexpected("the preview gave no row"))?;
        let profile = check_caller(row)?;
        Ok(Previewed { violation_ids: row.get("violation_ids"), profile, more: is_true(row, "more") })
    }

    /// The transaction, and behind it the first rows. Whatever fails before COMMIT is sent makes it a ROLLBACK.
    async fn fly(
        &self,
        connection: &Connection,
        claim_id: Uuid,
        caller: &Caller,
        key: Option<&str>,
    ) -> Result<(Row, Vec<Row>), ClaimError> {
        let (ledger, eligibility) = (self.ledger, self.eligibility);
        let (token, lease) = (caller.token.as_slice(), ledger.lease().as_secs_f64());
        let remembered = self.replay_window.as_secs_f64();
        let parameters: Parameters<'_> = &[
            &token,
            &caller.address,
            &claim_id,
            &eligibility.grace_days,
            &eligibility.minimum_balance,
            &eligibility.exclude_categories,
            &self.limit,
            &lease,
            &ledger.gateway(),
            &caller.request_id,
            &key,
            &remembered,
        ];
        let (begun, expired, claimed, committed, first) = tokio::join!(
            connection.execute(sql::CLAIM_BEGIN),
            connection.query(&sql::EXPIRE, &[&LEASE_OVER]),
            connection.query(&sql::CLAIM, parameters),
            connection.execute(sql::COMMIT),
            read_first(connection, claim_id),
        );
        // An error of the server's before the commit is final: PostgreSQL answers the COMMIT of a failed transaction
        // with a rollback. A lost connection says nothing of what happened after it.
        for attempt in [begun, expired.map(drop)] {
            attempt.map_err(claim_failed)?;
        }
        let row = claimed.map_err(claim_failed)?.into_iter().next();
        committed.map_err(ClaimError::OutcomeUnknown)?;
        let row = row.ok_or_else(|| unexpected("the claim gave no row"))?;
        let first = first.map_err(ClaimError::OutcomeUnknown)?;
        Ok((row, first))
    }
}

/// The token's field profile, where the statement's own check let the caller pass.
fn check_caller(row: &Row) -> Result<FieldProfile, ClaimError> {
    if !row.get::<_, bool>("authenticated") {
        return Err(ClaimError::Credential);
    }
    if !row.get::<_, bool>("permitted") {
        return Err(ClaimError::Permission);
    }
    FieldProfile::parse(row.get("field_profile"))
        .ok_or_else(|| unexpected("a field profile of another version"))
}

fn is_true(row: &Row, column: &str) -> bool {
    row.get::<_, Option<bool>>(column).unwrap_or(false)
}

fn claim_failed(error: DatabaseError) -> ClaimError {
    match error {
        DatabaseError::Lost(_) | DatabaseError::Unexpected(_) => ClaimError::OutcomeUnknown(error),
        DatabaseError::Refused(_)
        | DatabaseError::Unreachable(_)
        | DatabaseError::PoolExhausted
        | DatabaseError::BudgetExhausted
        | DatabaseError::ServerFull(_)
        | DatabaseError::CircuitOpen { .. } => ClaimError::Database(error),
    }
}

fn unexpected(message: &str) -> ClaimError {
    ClaimError::OutcomeUnknown(DatabaseError::Unexpected(Fault::text(message)))
}
