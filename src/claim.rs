//! Takes eligible violations: one short transaction that checks the caller again, marks the rows and writes the ledger.
//!
//! Input: who calls ([`Caller`]) and what may be taken. Output: an open [`Batch`] with its first rows, or none where
//! nothing is eligible. The transaction and the first rows travel in one flight, and no lock outlives it.
//! The outcome is never guessed: where the answer to the commit is lost, nothing is sent, and the claim is voided by the
//! id that we gave it, whether it took effect, didn't, or is yet to arrive.

use std::net::IpAddr;

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

/// An open batch, and the rows of its first violations.
pub struct Claimed {
    pub batch: Batch,
    pub first: Vec<Row>,
}

#[derive(Debug, Error)]
pub enum ClaimError {
    /// Revoked or expired since it was last looked up.
    #[error("the token isn't valid any more")]
    Credential,
    #[error("the token has lost its permission")]
    Permission,
    #[error("could not claim")]
    Database(#[source] DatabaseError),
    /// The transaction may have committed: the caller must void it by its claim id.
    #[error("the outcome of the claim isn't known")]
    OutcomeUnknown(#[source] DatabaseError),
    /// A defect of ours: the delivery's task panicked. The lease gives back whatever it had claimed.
    #[error("the delivery ended without a word")]
    Broken,
}

/// One claim of one tenant.
pub struct Claim<'a> {
    pub database: &'a Database,
    pub ledger: &'a Ledger,
    pub eligibility: &'a EligibilityConfig,
    pub claim_id: Uuid,
    /// At most this many records; None takes all that are eligible.
    pub limit: Option<i64>,
}

const STATEMENTS: [&Statement; 3] = [&sql::EXPIRE, &sql::CLAIM, &sql::VIOLATIONS];

impl Claim<'_> {
    /// Claims. Not safe to drop: the commit's outcome would be unknown; run it in a task of its own.
    pub async fn run(&self, caller: &Caller) -> Result<Option<Claimed>, ClaimError> {
        let connection = self.database.connection().await.map_err(ClaimError::Database)?;
        connection.prepare(&STATEMENTS).await.map_err(ClaimError::Database)?;
        let flight = self.fly(&connection, caller).await;
        let (row, first) = connection.finish(flight)?;

        let (authenticated, permitted): (bool, bool) = (row.get("authenticated"), row.get("permitted"));
        if !authenticated {
            return Err(ClaimError::Credential);
        }
        if !permitted {
            return Err(ClaimError::Permission);
        }
        let Some(batch_id) = row.get::<_, Option<i64>>("batch_id") else {
            return Ok(None);
        };
        let profile: &str = row.get("field_profile");
        let profile =
            FieldProfile::parse(profile).ok_or_else(|| unexpected("a field profile of another version"))?;
        let batch =
            Batch { batch_id, claim_id: self.claim_id, record_count: row.get("record_count"), profile };
        Ok(Some(Claimed { batch, first }))
    }

    /// The transaction, and behind it the first rows. Whatever fails before COMMIT is sent makes it a ROLLBACK.
    async fn fly(&self, connection: &Connection, caller: &Caller) -> Result<(Row, Vec<Row>), ClaimError> {
        let (ledger, eligibility) = (self.ledger, self.eligibility);
        let (token, lease) = (caller.token.as_slice(), ledger.lease().as_secs_f64());
        let parameters: Parameters<'_> = &[
            &token,
            &caller.address,
            &self.claim_id,
            &eligibility.grace_days,
            &eligibility.minimum_balance,
            &eligibility.exclude_categories,
            &self.limit,
            &lease,
            &ledger.gateway(),
            &caller.request_id,
        ];
        let (begun, expired, claimed, committed, first) = tokio::join!(
            connection.execute(sql::CLAIM_BEGIN),
            connection.query(&sql::EXPIRE, &[&LEASE_OVER]),
            connection.query(&sql::CLAIM, parameters),
            connection.execute(sql::COMMIT),
            read_first(connection, self.claim_id),
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

fn claim_failed(error: DatabaseError) -> ClaimError {
    match error {
        DatabaseError::Lost(_) | DatabaseError::Unexpected(_) => ClaimError::OutcomeUnknown(error),
        DatabaseError::Refused(_) | DatabaseError::Unreachable(_) | DatabaseError::PoolExhausted => {
            ClaimError::Database(error)
        }
    }
}

fn unexpected(message: &str) -> ClaimError {
    ClaimError::OutcomeUnknown(DatabaseError::Unexpected(Fault::text(message)))
}
