//! A token's life: issued, [rotated](rotate), changed, revoked; or [imported](import) from where vendors had it before.
//!
//! The plain text is there once, in what [`issue`] and [`rotate`] give; the database keeps its SHA-256 alone. Every change is
//! one transaction together with its entry in the audit log. Whoever serves the tenant sees it at the next call: a claim, a
//! preview and everything about batches is checked against the table each time.

mod import;
mod network;
mod rotation;
mod stored;

use std::fmt;
use std::time::Duration;

use ipnet::IpNet;
use jiff::Timestamp;
use rand::Rng;
use rand::distr::Alphanumeric;
use thiserror::Error;

pub use self::import::{ImportError, Imports, LineFault, import, known, read_imports};
pub use self::network::parse_network;
pub use self::rotation::{Rotated, Rotation, rotate};
pub use self::stored::{StoredToken, expiring, find, list};
use crate::audit::Actor;
use crate::auth::hash_token;
use crate::claim::TokenHash;
use crate::database::{Database, DatabaseError, statements as sql};
use crate::records::FieldProfile;

/// Tokens that we issue have exactly the contract's maximum of 50 characters.
const TOKEN_LENGTH: usize = 50;

/// A token's plain text, which is shown once and stored nowhere. Its `Debug` doesn't show it.
#[derive(Clone)]
pub struct PlainToken(String);

impl PlainToken {
    /// A new one: 50 random letters and digits, 297 bits.
    fn generate() -> Self {
        Self(rand::rng().sample_iter(Alphanumeric).take(TOKEN_LENGTH).map(char::from).collect())
    }

    fn hash(&self) -> TokenHash {
        hash_token(&self.0)
    }

    /// The text, to be shown to whoever asked for the token.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PlainToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlainToken(…)")
    }
}

/// What a token may do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Permission {
    pub action: String,
    pub resource: String,
}

impl Permission {
    /// `ACTION:RESOURCE`; None for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let (action, resource) = text.split_once(':')?;
        let is_word =
            |word: &str| !word.is_empty() && !word.contains(|c: char| c.is_whitespace() || c == ':');
        (is_word(action) && is_word(resource))
            .then(|| Self { action: action.to_owned(), resource: resource.to_owned() })
    }

    /// What the documented request needs, and all that a token gets unless told otherwise.
    pub fn documented() -> Self {
        Self { action: "user-create".to_owned(), resource: "violation_collection".to_owned() }
    }
}

/// A token to be issued.
#[derive(Debug, Clone)]
pub struct TokenOrder {
    /// The collections company.
    pub vendor: String,
    pub permissions: Vec<Permission>,
    pub profile: FieldProfile,
    /// It only ever gets previews.
    pub sandbox: bool,
    /// None: it is valid until it is revoked.
    pub expires_in: Option<Duration>,
    /// Where it may be used; empty: anywhere.
    pub allowed: Vec<IpNet>,
}

/// A token that was issued.
#[derive(Debug, Clone)]
pub struct Issued {
    pub token_id: i64,
    pub expires_at: Option<Timestamp>,
    pub token: PlainToken,
}

/// A token that is revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    pub vendor: String,
    pub revoked_at: Timestamp,
    /// Whether it was this call that revoked it.
    pub now: bool,
}

/// What to change of a token; None leaves as it is. The rest can't be changed: a sandbox token is in developers' hands.
#[derive(Debug, Clone, Default)]
pub struct Amendment {
    pub profile: Option<FieldProfile>,
    /// Empty: it may be used anywhere.
    pub allowed: Option<Vec<IpNet>>,
    pub expiry: Option<Expiry>,
}

/// When a token ends, counted from the database's now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    Never,
    In(Duration),
}

#[derive(Debug, Error)]
pub enum TokenError {
    #[error("the vendor must be named")]
    UnnamedVendor,
    #[error("there is no token {token_id}")]
    Unknown { token_id: i64 },
    #[error("token {token_id} is revoked: issue another, or rotate it")]
    Revoked { token_id: i64 },
    /// Whoever rotates it again would leave a vendor with two successors.
    #[error("token {token_id} was rotated already, to token {successor}: rotate or revoke that one")]
    AlreadyRotated { token_id: i64, successor: i64 },
    #[error("nothing to change")]
    EmptyAmendment,
    #[error("could not {attempt}")]
    Database { attempt: &'static str, source: DatabaseError },
}

fn failed(attempt: &'static str) -> impl FnOnce(DatabaseError) -> TokenError {
    move |source| TokenError::Database { attempt, source }
}

/// Issues a token. Not to be repeated after a lost answer without a look at the list.
pub async fn issue(database: &Database, order: &TokenOrder, actor: &Actor) -> Result<Issued, TokenError> {
    if order.vendor.trim().is_empty() {
        return Err(TokenError::UnnamedVendor);
    }
    let token = PlainToken::generate();
    let expires_in = order.expires_in.map(|duration| duration.as_secs_f64());
    let (actions, resources): (Vec<&str>, Vec<&str>) =
        order.permissions.iter().map(|p| (p.action.as_str(), p.resource.as_str())).unzip();
    let rows = database
        .query(
            &sql::TOKEN_ISSUE,
            &[
                &token.hash().as_slice(),
                &order.vendor,
                &order.profile.as_str(),
                &order.sandbox,
                &expires_in,
                &network::to_cidr(&order.allowed),
                &actions,
                &resources,
                &actor.name,
                &actor.reason,
                &actor.request_id,
            ],
        )
        .await
        .map_err(failed("issue the token"))?;
    let row = rows.first().ok_or_else(|| unexpected("issue the token"))?;
    Ok(Issued { token_id: row.get("token_id"), expires_at: row.get("expires_at"), token })
}

/// Revokes a token; no call that begins afterwards gets anything. May be repeated: the first time stays.
pub async fn revoke(database: &Database, token_id: i64, actor: &Actor) -> Result<Revoked, TokenError> {
    let rows = database
        .query(&sql::TOKEN_REVOKE, &[&token_id, &actor.name, &actor.reason, &actor.request_id])
        .await
        .map_err(failed("revoke the token"))?;
    let row = rows.first().ok_or(TokenError::Unknown { token_id })?;
    Ok(Revoked { vendor: row.get("vendor"), revoked_at: row.get("revoked_at"), now: row.get("now") })
}

/// Changes a token that isn't revoked, and gives it as it is then.
pub async fn update(
    database: &Database,
    token_id: i64,
    amendment: &Amendment,
    actor: &Actor,
) -> Result<StoredToken, TokenError> {
    let Amendment { profile, allowed, expiry } = amendment;
    if profile.is_none() && allowed.is_none() && expiry.is_none() {
        return Err(TokenError::EmptyAmendment);
    }
    let expires_in = match expiry {
        Some(Expiry::In(duration)) => Some(duration.as_secs_f64()),
        Some(Expiry::Never) | None => None,
    };
    let rows = database
        .query(
            &sql::TOKEN_AMEND,
            &[
                &token_id,
                &profile.map(FieldProfile::as_str),
                &allowed.is_some(),
                &allowed.as_deref().and_then(network::to_cidr),
                &expiry.is_some(),
                &expires_in,
                &actor.name,
                &actor.reason,
                &actor.request_id,
            ],
        )
        .await
        .map_err(failed("change the token"))?;
    let token = find(database, token_id).await?;
    if rows.is_empty() { Err(TokenError::Revoked { token_id }) } else { Ok(token) }
}

fn unexpected(attempt: &'static str) -> TokenError {
    let fault = crate::database::Fault::text("the statement gave no row");
    TokenError::Database { attempt, source: DatabaseError::Unexpected(fault) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permission_is_two_words() {
        let documented = Permission::parse("user-create:violation_collection");

        assert_eq!(documented, Some(Permission::documented()));
        for text in ["", ":", "a", "a:", ":b", "a:b:c", "a :b", "a:b c"] {
            assert_eq!(Permission::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_token_is_fifty_letters_and_digits_that_debug_does_not_show() {
        let token = PlainToken::generate();

        assert_eq!(token.reveal().len(), 50);
        assert!(token.reveal().bytes().all(|byte| byte.is_ascii_alphanumeric()), "{}", token.reveal());
        assert!(!format!("{token:?}").contains(token.reveal()));
        assert_ne!(token.reveal(), PlainToken::generate().reveal());
    }
}
