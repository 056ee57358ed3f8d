//! Every refusal of the operators' listener: its status and its texts, decided here and nowhere else. The texts are static.
//!
//! Sources: RFC 9457 for the object, RFC 6750 for what `WWW-Authenticate` says.

use std::time::Duration;

use hyper::StatusCode;

use super::keys::TokenError;
use super::operator::Scope;
use crate::config::edit::EditError;
use crate::database::DatabaseError;
use crate::ledger::OversightError;
use crate::tokens::TokenError as TokenFault;

/// Why an operator is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdminProblem {
    UnknownPath,
    WrongMethod {
        allowed: &'static str,
    },
    NoKeys,
    NoToken,
    Token(TokenError),
    MissingScope(Scope),
    UnknownTenant,
    UnknownBatch,
    Query,
    NotJson,
    Body,
    BodyTooLarge,
    BodyTimeout,
    Reason,
    BatchState(&'static str),
    Unavailable {
        retry_after: Duration,
    },
    Quarantined,
    UnknownToken,
    UnknownTicket,
    /// What must be otherwise.
    Value(&'static str),
    TokenState(&'static str),
    Edit(&'static str),
    Internal,
}

/// An answer to a refused request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    pub status: StatusCode,
    /// What to do about it.
    pub detail: &'static str,
    pub retry_after: Option<Duration>,
    pub allow: Option<&'static str>,
    /// `WWW-Authenticate`
    pub challenge: Option<String>,
}

const RETRY_SOON: Duration = Duration::from_secs(5);

impl AdminProblem {
    pub fn describe(self) -> Description {
        match self {
            Self::UnknownPath => {
                refusal(404, "There is nothing at this path; see GET /admin/v1/openapi.json.")
            }
            Self::WrongMethod { allowed } => Description {
                allow: Some(allowed),
                ..refusal(405, "Use one of the methods in the Allow header.")
            },
            Self::NoKeys => refusal(
                403,
                "Configure operator_keys or operator_jwks, or let admin_listen be a Unix socket (unix:/PATH).",
            ),
            Self::NoToken => Description {
                challenge: Some("Bearer realm=\"turnpike\"".to_owned()),
                ..refusal(401, "Send Authorization: Bearer TOKEN; turnpike operator token makes one.")
            },
            Self::Token(error) => Description {
                challenge: Some(format!(
                    "Bearer realm=\"turnpike\", error=\"invalid_token\", error_description=\"{error}\""
                )),
                ..refusal(401, invalid_token(error))
            },
            Self::MissingScope(scope) => Description {
                challenge: Some(format!(
                    "Bearer realm=\"turnpike\", error=\"insufficient_scope\", scope=\"{scope}\""
                )),
                ..refusal(403, "The token lacks the scope that WWW-Authenticate names.")
            },
            Self::UnknownTenant => {
                refusal(404, "There is no such tenant, or the token's tenants don't include it.")
            }
            Self::UnknownBatch => refusal(404, "The tenant has no batch with this number."),
            Self::Query => refusal(
                400,
                "The query has a parameter that is unknown here, stands twice or has a value that is out of range.",
            ),
            Self::NotJson => refusal(415, "Send Content-Type: application/json."),
            Self::Body => refusal(
                400,
                "Send one JSON object with the members that GET /admin/v1/openapi.json names, and no others.",
            ),
            Self::BodyTooLarge => refusal(413, "Send a body of at most 16384 bytes."),
            Self::BodyTimeout => refusal(408, "The request did not arrive in time; send it in one go."),
            Self::Reason => refusal(
                422,
                "reason must say why: 1 to 500 characters, not blank, without control characters.",
            ),
            Self::BatchState(detail) => refusal(409, detail),
            Self::Unavailable { retry_after } => Description {
                retry_after: Some(retry_after),
                ..refusal(503, "The tenant's database can't be reached; come back after Retry-After.")
            },
            Self::Quarantined => {
                refusal(409, "The tenant's configuration is broken: GET /admin/v1/tenants/{tenant} says why.")
            }
            Self::UnknownToken => refusal(404, "The tenant has no token with this number."),
            Self::UnknownTicket => refusal(404, "The tenant has no violation with this ticket."),
            Self::Value(detail) => refusal(422, detail),
            Self::TokenState(detail) | Self::Edit(detail) => refusal(409, detail),
            Self::Internal => refusal(
                500,
                "The request failed because of a fault in the gateway; its log has the requestId.",
            ),
        }
    }
}

fn refusal(status: u16, detail: &'static str) -> Description {
    let status = StatusCode::from_u16(status).expect("every status of the table above is one");
    Description { status, detail, retry_after: None, allow: None, challenge: None }
}

fn invalid_token(error: TokenError) -> &'static str {
    match error {
        TokenError::Malformed => "The token isn't one that is understood here; make a new one.",
        TokenError::UnknownKey => {
            "No configured key fits the token: it must be signed with EdDSA, ES256 or RS256 by one of them."
        }
        TokenError::Signature => "The token's signature is wrong; was it copied whole?",
        TokenError::Expired => "The token has expired; make a new one.",
        TokenError::NotYetValid => "The token isn't valid yet; are both clocks right?",
        TokenError::Issuer => "The token's iss isn't operator_issuer.",
        TokenError::Audience => "The token's aud isn't operator_audience.",
        TokenError::Lifetime => {
            "The token is valid for longer than operator_token_lifetime; make one that isn't."
        }
    }
}

impl From<TokenError> for AdminProblem {
    fn from(error: TokenError) -> Self {
        Self::Token(error)
    }
}

impl From<&TokenFault> for AdminProblem {
    fn from(error: &TokenFault) -> Self {
        match error {
            TokenFault::UnnamedVendor => Self::Value("vendor must name somebody."),
            TokenFault::EmptyAmendment => Self::Value("There is nothing to change."),
            TokenFault::Unknown { .. } => Self::UnknownToken,
            TokenFault::Revoked { .. } => {
                Self::TokenState("The token is revoked: issue another, or rotate it.")
            }
            TokenFault::AlreadyRotated { .. } => {
                Self::TokenState("The token was rotated already: rotate or revoke the one in its rotated_to.")
            }
            TokenFault::Database { source, .. } => Self::from(source),
        }
    }
}

impl From<&EditError> for AdminProblem {
    fn from(error: &EditError) -> Self {
        match error {
            EditError::UnknownTenant { .. } => Self::UnknownTenant,
            EditError::NotPaused(_) => Self::Edit("The tenant isn't paused."),
            EditError::Unusable(_) | EditError::Faulty(_) => {
                Self::Edit("The configuration is at fault as it is; turnpike check says where.")
            }
            EditError::Changed(_) => {
                Self::Edit("The configuration is being edited by somebody else: try again.")
            }
            EditError::TenantExists { .. } | EditError::FileExists(_) => {
                Self::Edit("There is something in the way; the log says what.")
            }
            EditError::Read { .. } | EditError::Write { .. } => Self::Edit(
                "The gateway can't write its configuration: run turnpike tenant pause or resume where it can be written.",
            ),
        }
    }
}

impl From<&OversightError> for AdminProblem {
    fn from(error: &OversightError) -> Self {
        match error {
            OversightError::Unknown => Self::UnknownBatch,
            OversightError::Released => {
                Self::BatchState("The batch is released: only an open one can be voided; requeue it instead.")
            }
            OversightError::Void => Self::BatchState("The batch is void already."),
            OversightError::NotReleased => {
                Self::BatchState("The batch isn't released: there is nothing to requeue.")
            }
            OversightError::Requeued => Self::BatchState("The batch was requeued already."),
            OversightError::Database { source, .. } => Self::from(source),
        }
    }
}

impl From<&DatabaseError> for AdminProblem {
    fn from(error: &DatabaseError) -> Self {
        match error {
            DatabaseError::CircuitOpen { retry_in, .. } => Self::Unavailable { retry_after: *retry_in },
            DatabaseError::Unreachable(_)
            | DatabaseError::PoolExhausted
            | DatabaseError::BudgetExhausted
            | DatabaseError::ServerFull(_)
            | DatabaseError::Lost(_) => Self::Unavailable { retry_after: RETRY_SOON },
            DatabaseError::Refused(_) | DatabaseError::Unexpected(_) => Self::Internal,
        }
    }
}
