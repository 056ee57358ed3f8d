//! Decides who is calling and what they may do.
//!
//! Input: a [`Credential`] as presented, and the [`Tenant`] it was presented to. Output: a [`Grant`].
//! A verdict, good or bad, is cached: a flood of bad tokens must not reach PostgreSQL, and concurrent misses make one
//! look-up. The cache is a filter and no more; the claim checks again in its own transaction, and whatever has no check of
//! its own is [confirmed](Authenticator::confirm), so that a revocation holds at once. Good verdicts and bad ones are
//! bounded apart: a flood of bad ones can't push out a good one. For longer than a verdict it is remembered who was good: they
//! are looked up again however many others fail.
//! Never logs a credential, not even a part of one.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use moka::future::Cache;
use sha2::{Digest, Sha256};
use thiserror::Error;
use tokio::time::Instant;

use crate::claim::TokenHash;
use crate::config::{GatewayConfig, TenantId};
use crate::database::{DatabaseError, Row, statements as sql};
use crate::limits::{Attempt, LimitError, Tries};
use crate::metrics::AuthCache;
use crate::tenant::Tenant;

/// Who was good is known for so long: a vendor who calls once a week always is.
const KNOWN_FOR: Duration = Duration::from_secs(8 * 24 * 60 * 60);

/// What a caller shows: the SHA-256 of an API token, and where the call comes from.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Credential {
    pub token: TokenHash,
    pub address: IpAddr,
}

impl Credential {
    pub fn new(token: &str, address: IpAddr) -> Self {
        Self { token: hash_token(token), address: address.to_canonical() }
    }
}

/// The form in which a token is stored and looked up.
pub fn hash_token(token: &str) -> TokenHash {
    Sha256::digest(token.as_bytes()).into()
}

/// A caller who may claim at the tenant that gave the grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    pub token_id: i64,
    pub vendor: String,
    /// The token only ever gets previews.
    pub sandbox: bool,
    /// When the token ends; None: not before it is revoked.
    pub expiry: Option<TokenExpiry>,
}

/// When a token ends, by the database's clock and by ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenExpiry {
    pub at: Timestamp,
    due: Instant,
}

impl Grant {
    /// When the token ends, where that is no further away than `warning`.
    pub fn expires_within(&self, warning: Duration) -> Option<Timestamp> {
        let expiry = self.expiry?;
        (expiry.due.saturating_duration_since(Instant::now()) <= warning).then_some(expiry.at)
    }
}

#[derive(Debug, Clone, Error)]
pub enum AuthError {
    /// Unknown, expired, revoked, another tenant's, or not from this address: told apart nowhere.
    #[error("the token isn't valid here")]
    Credential,
    #[error("the token has no permission for this request")]
    Permission,
    #[error("could not look the token up")]
    Database(#[source] DatabaseError),
    /// Nobody was asked.
    #[error("too many authentications failed")]
    NotNow(#[source] LimitError),
}

/// (tenant, its configuration's generation, who)
type Key = (TenantId, u64, Credential);

/// The verdicts' caches.
pub struct Authenticator {
    grants: Cache<Key, Arc<Grant>>,
    refusals: Cache<Key, AuthError>,
    known: Cache<(TenantId, Credential), ()>,
    observed: AuthCache,
}

impl Authenticator {
    pub fn new(config: &GatewayConfig) -> Self {
        Self {
            grants: Cache::builder()
                .support_invalidation_closures()
                .max_capacity(config.auth_cache_capacity)
                .time_to_live(config.auth_cache_ttl)
                .build(),
            refusals: Cache::builder()
                .max_capacity(config.auth_refusal_capacity)
                .time_to_live(config.auth_refusal_ttl)
                .build(),
            known: Cache::builder().max_capacity(config.auth_cache_capacity).time_to_live(KNOWN_FOR).build(),
            observed: AuthCache::noop(),
        }
    }

    /// The same, and where each verdict came from is counted.
    pub fn observed(mut self, counters: &AuthCache) -> Self {
        self.observed = counters.clone();
        self
    }

    /// The caller's grant, where it is remembered.
    pub async fn recall(&self, tenant: &Tenant, credential: &Credential) -> Option<Arc<Grant>> {
        let grant = self.grants.get(&(tenant.id().clone(), tenant.generation(), *credential)).await?;
        self.observed.grants.increment(1);
        Some(grant)
    }

    /// The caller's grant at this tenant. A look-up takes a try, unless the credential was good before; of a refused caller
    /// who needed none, or shared another's, one is taken too, so that it shows nowhere which of these it was. Safe to drop:
    /// another waiter takes the look-up over.
    pub async fn authenticate(
        &self,
        tenant: &Tenant,
        credential: &Credential,
        tries: Tries<'_>,
    ) -> Result<Arc<Grant>, AuthError> {
        let key = (tenant.id().clone(), tenant.generation(), *credential);
        if let Some(refusal) = self.refusals.get(&key).await {
            tries.take().await.map_err(AuthError::NotNow)?;
            self.observed.refusals.increment(1);
            return Err(refusal);
        }
        let who = (tenant.id().clone(), *credential);
        let was_good = self.known.contains_key(&who);
        let mut attempt = None;
        let looking_up = async {
            if !was_good {
                attempt = Some(tries.take().await.map_err(AuthError::NotNow)?);
            }
            self.observed.misses.increment(1);
            look_up(tenant, credential).await
        };
        let looked_up = self.grants.entry(key.clone()).or_try_insert_with(looking_up).await;
        match looked_up.map_err(|refusal| AuthError::clone(&refusal)) {
            Ok(entry) => {
                if !entry.is_fresh() {
                    self.observed.grants.increment(1);
                }
                self.known.insert(who, ()).await;
                attempt.into_iter().for_each(Attempt::forgive);
                Ok(entry.into_value())
            }
            Err(refusal @ (AuthError::Credential | AuthError::Permission)) => {
                self.known.invalidate(&who).await;
                self.refusals.insert(key, refusal.clone()).await;
                if attempt.is_none() {
                    tries.take().await.map_err(AuthError::NotNow)?;
                }
                Err(refusal)
            }
            Err(error @ (AuthError::Database(_) | AuthError::NotNow(_))) => {
                attempt.into_iter().for_each(Attempt::forgive);
                Err(error)
            }
        }
    }

    /// Forgets every grant of one of a tenant's tokens, wherever it was shown from.
    pub fn forget_token(&self, tenant: &TenantId, token_id: i64) {
        let tenant = tenant.clone();
        let forgotten = self
            .grants
            .invalidate_entries_if(move |(id, ..), grant| *id == tenant && grant.token_id == token_id);
        forgotten.expect("the cache was built with support for this");
    }

    /// Asks the database whether the caller's grant still holds: for operations whose own statements don't check it.
    pub async fn confirm(&self, tenant: &Tenant, credential: &Credential) -> Result<(), AuthError> {
        let looked_up = look_up(tenant, credential).await;
        if let Err(AuthError::Credential | AuthError::Permission) = looked_up {
            self.forget(tenant, credential).await;
        }
        looked_up.map(drop)
    }

    /// Forgets a grant that the claim's own check didn't confirm.
    pub async fn forget(&self, tenant: &Tenant, credential: &Credential) {
        self.grants.invalidate(&(tenant.id().clone(), tenant.generation(), *credential)).await;
        self.known.invalidate(&(tenant.id().clone(), *credential)).await;
    }
}

async fn look_up(tenant: &Tenant, credential: &Credential) -> Result<Arc<Grant>, AuthError> {
    let token = credential.token.as_slice();
    let rows = tenant.database().query(&sql::AUTHENTICATE, &[&token, &credential.address]).await;
    let rows = rows.map_err(AuthError::Database)?;
    let row = rows.first().ok_or(AuthError::Credential)?;
    if !row.get::<_, bool>("permitted") {
        return Err(AuthError::Permission);
    }
    Ok(Arc::new(Grant {
        token_id: row.get("token_id"),
        vendor: row.get("vendor"),
        sandbox: row.get("sandbox"),
        expiry: expiry(row),
    }))
}

/// None also for an end that is further away than this machine's clock can count.
fn expiry(row: &Row) -> Option<TokenExpiry> {
    let left = Duration::try_from_secs_f64(row.get::<_, Option<f64>>("expires_in")?).ok()?;
    Some(TokenExpiry {
        at: row.get::<_, Option<Timestamp>>("expires_at")?,
        due: Instant::now().checked_add(left)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_kept_as_its_sha_256() {
        // FIPS 180-4's example "abc".
        let expected = [
            0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23,
            0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad,
        ];
        assert_eq!(hash_token("abc"), expected);
    }

    #[test]
    fn an_address_has_one_form() {
        let mapped = Credential::new("t", "::ffff:192.0.2.1".parse().unwrap());
        assert!(mapped == Credential::new("t", "192.0.2.1".parse().unwrap()));
    }
}
