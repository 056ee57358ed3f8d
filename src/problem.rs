//! Every refusal: its status, its documented code and its texts, decided here and nowhere else.
//!
//! Input: the stages' errors. Output: a [`Problem`], and by [`Problem::describe`] all that its answer says. The texts are
//! static, so that nothing private can leak through them. Nothing but a 200 marks anything.
//! Sources: the contract's table of error codes; RFC 9457 for `type`, `title`, `status` and `detail`.

use std::time::Duration;

use hyper::StatusCode;

use crate::auth::AuthError;
use crate::batches::BatchError;
use crate::claim::ClaimError;
use crate::database::DatabaseError;
use crate::delivery::DeliveryError;
use crate::directory::DirectoryError;
use crate::limits::LimitError;
use crate::request::{Attribute, RequestError};
use crate::router::RouteError;

/// Why a request is refused, as its vendor is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    MissingClient,
    UnknownPath,
    WrongMethod { allowed: &'static str },
    NoHost,
    NotJson,
    EncodedBody,
    Malformed,
    BodyTooLarge,
    BodyTimeout,
    MissingToken,
    TokenTooLong,
    InvalidValue(Attribute),
    MissingRecords,
    Unauthenticated,
    Unauthorized,
    UnknownBatch,
    BatchOpen,
    BatchIncomplete,
    WrongCount,
    KeyInUse,
    KeyReused,
    TooManyRequests { retry_after: Duration },
    TooManyFailures { retry_after: Duration },
    Unavailable { retry_after: Duration },
    OutcomeUnknown,
    Internal,
}

/// An answer to a refused request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Description {
    pub status: StatusCode,
    /// `ErrorCode`
    pub code: u16,
    /// `ErrorMessage`: the documented words for the code
    pub message: &'static str,
    /// RFC 9457's `detail`: what to do about it
    pub detail: &'static str,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    pub retry_after: Option<Duration>,
    pub allow: Option<&'static str>,
}

const MISSING_CLIENT: &str = "Client Code is missing from the request.";
const MISSING_TOKEN: &str = "API Token is missing from the request.";
const NO_PERMISSION: &str = "The supplied API token does not have permission to perform that request.";
const NOT_PARSED: &str = "Could not parse the request.";
const TOO_MANY: &str = "Too many requests.";
const NOT_FOUND: &str = "Record not found.";

/// When to come back after a passing fault on our side.
const RETRY_SOON: Duration = Duration::from_secs(5);

impl Problem {
    /// Whether the answer waits: see the handler's floor.
    pub fn is_answered_slowly(self) -> bool {
        matches!(self, Self::Unauthenticated | Self::TooManyRequests { .. } | Self::TooManyFailures { .. })
    }

    /// All that the answer says.
    pub fn describe(self) -> Description {
        match self {
            Self::MissingClient => {
                refusal(400, 9000, MISSING_CLIENT, "Call /api/{client}/v1/…, with your client code.")
            }
            Self::UnknownPath => {
                refusal(404, 9009, NOT_FOUND, "There is nothing at this path; check it against the API page.")
            }
            Self::WrongMethod { allowed } => Description {
                allow: Some(allowed),
                ..refusal(405, 9003, NOT_PARSED, "Use one of the methods in the Allow header.")
            },
            Self::NoHost => refusal(400, 9003, NOT_PARSED, "Send one Host header, as HTTP/1.1 asks."),
            Self::NotJson => refusal(415, 9003, NOT_PARSED, "Send Content-Type: application/json, in UTF-8."),
            Self::EncodedBody => refusal(415, 9003, NOT_PARSED, "Send the body without Content-Encoding."),
            Self::Malformed => refusal(
                400,
                9003,
                NOT_PARSED,
                "Send one JSON object with each key once; mind that JSON allows no comma before a closing brace.",
            ),
            Self::BodyTooLarge => refusal(413, 9003, NOT_PARSED, "Send a body of at most 16384 bytes."),
            Self::BodyTimeout => Description {
                retryable: true,
                ..refusal(408, 9003, NOT_PARSED, "The request did not arrive in time; send it in one go.")
            },
            Self::MissingToken => {
                refusal(401, 9001, MISSING_TOKEN, "Send {\"apiToken\": \"…\"}, with your token as a string.")
            }
            Self::TokenTooLong => refusal(
                422,
                9030,
                "Maximum length exceeded: apiToken exceeds 50 characters.",
                "A token has at most 50 characters; check that yours was copied alone.",
            ),
            Self::InvalidValue(attribute) => refusal(422, 9033, invalid(attribute), valid(attribute)),
            Self::MissingRecords => refusal(
                422,
                9031,
                "Field required: records.",
                "Send {\"records\": n}, the number of records that you received.",
            ),
            Self::Unauthenticated => refusal(
                401,
                9002,
                NO_PERMISSION,
                "Check the client code and the token; if both are right, ask the institution for a new token.",
            ),
            Self::Unauthorized => refusal(
                403,
                9002,
                NO_PERMISSION,
                "Ask the institution to grant the token user-create violation_collection.",
            ),
            Self::UnknownBatch => refusal(404, 9009, NOT_FOUND, "Your token has no batch with this number."),
            Self::BatchIncomplete => refusal(
                404,
                9009,
                NOT_FOUND,
                "The institution deleted violations of this batch since; ask it what became of them.",
            ),
            Self::BatchOpen => Description {
                retryable: true,
                retry_after: Some(RETRY_SOON),
                ..refusal(
                    409,
                    9101,
                    "The batch is still being delivered.",
                    "Wait for the delivery under way to end, or come back after Retry-After.",
                )
            },
            Self::WrongCount => refusal(
                422,
                9033,
                "Value invalid: records is not the batch's number of records.",
                "You did not receive the batch whole, or received another; fetch it again and count.",
            ),
            Self::KeyInUse => Description {
                retryable: true,
                retry_after: Some(RETRY_SOON),
                ..refusal(
                    409,
                    9101,
                    "A request with this Idempotency-Key is still under way.",
                    "Send the same request again after Retry-After.",
                )
            },
            Self::KeyReused => refusal(
                422,
                9102,
                "This Idempotency-Key was used for another request.",
                "Use the key with the attributes that it was first sent with, or use a new key.",
            ),
            Self::TooManyRequests { retry_after } => Description {
                retryable: true,
                retry_after: Some(retry_after),
                ..refusal(
                    429,
                    9103,
                    TOO_MANY,
                    "Nothing was marked as sent; send the same request again after Retry-After, and fewer at a time.",
                )
            },
            Self::TooManyFailures { retry_after } => Description {
                retryable: true,
                retry_after: Some(retry_after),
                ..refusal(
                    429,
                    9103,
                    TOO_MANY,
                    "Too many calls with client codes or tokens that aren't valid; check yours, and come back after Retry-After.",
                )
            },
            Self::Unavailable { retry_after } => Description {
                retryable: true,
                retry_after: Some(retry_after),
                ..refusal(
                    503,
                    9104,
                    "The service is temporarily unavailable.",
                    "Nothing was marked as sent; send the same request again after Retry-After.",
                )
            },
            Self::OutcomeUnknown => Description {
                retryable: true,
                retry_after: Some(RETRY_SOON),
                ..refusal(
                    503,
                    9105,
                    "The outcome of the request could not be determined.",
                    "Whatever was marked is being given back; send the same request again after Retry-After.",
                )
            },
            Self::Internal => Description {
                retryable: true,
                ..refusal(
                    500,
                    9100,
                    "The request failed because of a fault in the gateway.",
                    "Nothing was marked as sent; if it happens again, tell the institution the requestId.",
                )
            },
        }
    }
}

fn invalid(attribute: Attribute) -> &'static str {
    match attribute {
        Attribute::Limit | Attribute::PageLimit => "Value invalid: limit.",
        Attribute::Preview => "Value invalid: preview.",
        Attribute::Before => "Value invalid: before.",
        Attribute::Records => "Value invalid: records.",
        Attribute::IdempotencyKey => "Value invalid: Idempotency-Key.",
    }
}

fn valid(attribute: Attribute) -> &'static str {
    match attribute {
        Attribute::Limit => "limit is a whole number from 1 to 1000000.",
        Attribute::PageLimit => "limit is a whole number from 1 to 500.",
        Attribute::Preview => "preview is true or false.",
        Attribute::Before => "before is the number of a batch.",
        Attribute::Records => "records is a whole number.",
        Attribute::IdempotencyKey => "Send one Idempotency-Key of 1 to 255 visible ASCII characters.",
    }
}

fn refusal(status: u16, code: u16, message: &'static str, detail: &'static str) -> Description {
    let status = StatusCode::from_u16(status).expect("every status of the table above is one");
    Description { status, code, message, detail, retryable: false, retry_after: None, allow: None }
}

impl From<&RouteError> for Problem {
    fn from(error: &RouteError) -> Self {
        match error {
            RouteError::MissingClient => Self::MissingClient,
            RouteError::UnknownPath => Self::UnknownPath,
        }
    }
}

impl From<&RequestError> for Problem {
    fn from(error: &RequestError) -> Self {
        match error {
            RequestError::NoHost => Self::NoHost,
            RequestError::NotJson => Self::NotJson,
            RequestError::EncodedBody => Self::EncodedBody,
            RequestError::Malformed | RequestError::BodyLost => Self::Malformed,
            RequestError::BodyTooLarge => Self::BodyTooLarge,
            RequestError::BodyTimeout => Self::BodyTimeout,
            RequestError::MissingToken => Self::MissingToken,
            RequestError::TokenTooLong => Self::TokenTooLong,
            RequestError::InvalidValue(attribute) => Self::InvalidValue(*attribute),
            RequestError::MissingRecords => Self::MissingRecords,
        }
    }
}

impl From<&DirectoryError> for Problem {
    fn from(error: &DirectoryError) -> Self {
        match error {
            // The same answer as to a bad token: who may not call is not told which tenants there are.
            DirectoryError::UnknownTenant => Self::Unauthenticated,
            DirectoryError::Quarantined => Self::Unavailable { retry_after: RETRY_SOON },
            DirectoryError::Paused { retry_after, .. } => Self::Unavailable { retry_after: *retry_after },
        }
    }
}

impl From<&AuthError> for Problem {
    fn from(error: &AuthError) -> Self {
        match error {
            AuthError::Credential => Self::Unauthenticated,
            AuthError::Permission => Self::Unauthorized,
            AuthError::Database(fault) => Self::from(fault),
            AuthError::NotNow(error) => Self::from(error),
        }
    }
}

impl From<&LimitError> for Problem {
    fn from(error: &LimitError) -> Self {
        match error {
            LimitError::AddressFailures(standing) | LimitError::TenantFailures(standing) => {
                Self::TooManyFailures { retry_after: standing.reset }
            }
            LimitError::Token(standing) | LimitError::Tenant(standing) => {
                Self::TooManyRequests { retry_after: standing.reset }
            }
            LimitError::InFlight | LimitError::TokenInFlight => {
                Self::TooManyRequests { retry_after: RETRY_SOON }
            }
            LimitError::Waiting => Self::Unavailable { retry_after: RETRY_SOON },
        }
    }
}

impl From<&ClaimError> for Problem {
    fn from(error: &ClaimError) -> Self {
        match error {
            ClaimError::Credential => Self::Unauthenticated,
            ClaimError::Permission => Self::Unauthorized,
            ClaimError::Database(fault) => Self::from(fault),
            ClaimError::KeyInUse => Self::KeyInUse,
            ClaimError::KeyReused => Self::KeyReused,
            ClaimError::OutcomeUnknown(_) => Self::OutcomeUnknown,
        }
    }
}

impl From<&BatchError> for Problem {
    fn from(error: &BatchError) -> Self {
        match error {
            BatchError::Unknown => Self::UnknownBatch,
            BatchError::Open => Self::BatchOpen,
            BatchError::Incomplete => Self::BatchIncomplete,
            BatchError::WrongCount => Self::WrongCount,
            BatchError::Database(fault) => Self::from(fault),
        }
    }
}

impl From<&DeliveryError> for Problem {
    fn from(error: &DeliveryError) -> Self {
        match error {
            DeliveryError::Claim(error) => Self::from(error),
            DeliveryError::Batch(error) => Self::from(error),
            DeliveryError::Read(fault) => Self::from(fault),
            DeliveryError::Broken => Self::OutcomeUnknown,
        }
    }
}

impl From<&DatabaseError> for Problem {
    fn from(error: &DatabaseError) -> Self {
        match error {
            DatabaseError::CircuitOpen { retry_in, .. } => Self::Unavailable { retry_after: *retry_in },
            DatabaseError::Refused(fault) if is_our_fault(fault.sqlstate()) => Self::Internal,
            DatabaseError::Unreachable(_)
            | DatabaseError::PoolExhausted
            | DatabaseError::BudgetExhausted
            | DatabaseError::ServerFull(_)
            | DatabaseError::Lost(_)
            | DatabaseError::Refused(_) => Self::Unavailable { retry_after: RETRY_SOON },
            DatabaseError::Unexpected(_) => Self::Internal,
        }
    }
}

/// Classes 22 and 42: a value or a statement that no retry makes right (PostgreSQL, appendix A). 42501, a missing
/// privilege, is among them: the operator has to run the grants.
fn is_our_fault(sqlstate: Option<&str>) -> bool {
    sqlstate.is_some_and(|code| code.starts_with("22") || code.starts_with("42"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_that_passes_says_when_to_come_back() {
        for problem in [Problem::Unavailable { retry_after: RETRY_SOON }, Problem::OutcomeUnknown] {
            let description = problem.describe();
            assert!(description.retryable && description.retry_after.is_some(), "{problem:?}");
        }
    }

    #[test]
    fn an_unknown_client_is_answered_like_a_bad_token() {
        let unknown = Problem::from(&DirectoryError::UnknownTenant).describe();
        assert_eq!(unknown, Problem::from(&AuthError::Credential).describe());
    }
}
