//! Reads what a vendor sent: headers first, then the body, then the token. Nothing here touches a database.
//!
//! Input: an HTTP request and the operation that its path means. Output: the token and what is [`Wanted`], or a
//! [`RequestError`].

mod attributes;

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::Version;
use hyper::body::Body;
use hyper::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderMap};
use hyper::http::request::Parts;
use mime::Mime;
use serde_json::Value;
use thiserror::Error;
use tokio::time::{Instant, timeout, timeout_at};

use self::attributes::{Attributes, parse};
use crate::batches::Page;
use crate::compress::Coding;
use crate::delivery::Order;
use crate::router::Operation;

/// A request's body is a token and a few attributes; more is a mistake or an attack.
pub const BODY_LIMIT: usize = 16 * 1024;
/// How much of a refused body is taken in, and for how long.
const DISCARD_LIMIT: usize = 1024 * 1024;
const DISCARD_TIME: Duration = Duration::from_secs(1);
/// The contract's maximum for `apiToken`, in characters.
pub const TOKEN_LIMIT: usize = 50;
/// `limit` of a claim or a preview.
const LIMIT: RangeInclusive<i64> = 1..=1_000_000;
/// `limit` of a list of batches.
const PAGE: RangeInclusive<i64> = 1..=500;
const USUAL_PAGE: i64 = 50;
const KEY_LIMIT: usize = 255;
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// A call, understood.
pub struct Presented {
    /// The API token as it came; hash it and drop it.
    pub token: String,
    pub wanted: Wanted,
}

/// What the vendor wants.
#[derive(Debug)]
pub enum Wanted {
    Delivery(Order),
    Batches(Page),
    Acknowledgement { batch_id: i64, records: i64 },
}

impl Wanted {
    /// Whether its own SQL checks the caller again: a claim's and a preview's does.
    pub fn is_checked_by_its_statement(&self) -> bool {
        match self {
            Self::Delivery(Order::Claim { .. } | Order::Preview { .. }) => true,
            Self::Delivery(Order::Replay { .. }) | Self::Batches(_) | Self::Acknowledgement { .. } => false,
        }
    }
}

/// What can be wrong in a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attribute {
    Limit,
    PageLimit,
    Preview,
    Before,
    Records,
    IdempotencyKey,
}

#[derive(Debug, Error, PartialEq, Eq)]
pub enum RequestError {
    #[error("the request has no Host, or several")]
    NoHost,
    #[error("the content type isn't JSON")]
    NotJson,
    #[error("the body has a content encoding")]
    EncodedBody,
    #[error("the body isn't one JSON object, or names a key twice")]
    Malformed,
    #[error("the body is over {BODY_LIMIT} bytes")]
    BodyTooLarge,
    #[error("the body did not arrive in time")]
    BodyTimeout,
    #[error("the connection failed while the body was read")]
    BodyLost,
    #[error("no apiToken")]
    MissingToken,
    #[error("apiToken is over {TOKEN_LIMIT} characters")]
    TokenTooLong,
    #[error("{0:?} is out of range")]
    InvalidValue(Attribute),
    #[error("records is missing")]
    MissingRecords,
}

/// An HTTP/1.1 request has one Host; any other must be refused, or a proxy before us might take it for another site's
/// (RFC 9112, section 3.2).
pub fn check_host(head: &Parts) -> Result<(), RequestError> {
    let hosts = head.headers.get_all(HOST).iter().count();
    if head.version == Version::HTTP_11 && hosts != 1 { Err(RequestError::NoHost) } else { Ok(()) }
}

/// Reads a POST, whose body must have arrived by `deadline`: the token stands in the body.
pub async fn read_post<B>(
    operation: Operation,
    headers: &HeaderMap,
    body: B,
    deadline: Instant,
) -> Result<Presented, RequestError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    check_headers(headers)?;
    let attributes = parse(&read_body(body, deadline).await?)?;
    understand(operation, headers, attributes)
}

/// Reads a GET: the token stands in `Authorization: Bearer …` (RFC 6750, section 2.1), attributes in the query. A token in
/// the query is none: URLs end up in logs and histories.
pub fn read_get(operation: Operation, head: &Parts) -> Result<Presented, RequestError> {
    let authorization = head.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = authorization
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| Value::from(token.trim()));
    let (mut attributes, mut seen) = (Attributes::default(), HashSet::new());
    for (name, text) in form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes()) {
        let value = text.parse::<i64>().map_or_else(|_no_number| Value::from(text.as_ref()), Value::from);
        attributes.set(&name, value);
        if !seen.insert(name) {
            return Err(RequestError::Malformed);
        }
    }
    attributes.token = token;
    understand(operation, &head.headers, attributes)
}

/// The token first: whoever shows none is told nothing else.
fn understand(
    operation: Operation,
    headers: &HeaderMap,
    attributes: Attributes,
) -> Result<Presented, RequestError> {
    let token = match &attributes.token {
        Some(Value::String(token)) if token.chars().count() > TOKEN_LIMIT => {
            return Err(RequestError::TokenTooLong);
        }
        Some(Value::String(token)) if !token.is_empty() => token.clone(),
        _ => return Err(RequestError::MissingToken),
    };
    let wanted = match operation {
        Operation::SendOverdue => {
            let limit = Attributes::number(&attributes.limit, LIMIT, Attribute::Limit)?;
            let key = idempotency_key(headers)?;
            Wanted::Delivery(if attributes.preview()? {
                Order::Preview { limit }
            } else {
                Order::Claim { limit, key }
            })
        }
        Operation::ListBatches => Wanted::Batches(Page {
            before: Attributes::number(&attributes.before, 1..=i64::MAX, Attribute::Before)?,
            limit: Attributes::number(&attributes.limit, PAGE, Attribute::PageLimit)?.unwrap_or(USUAL_PAGE),
        }),
        Operation::ReplayBatch { batch_id } => Wanted::Delivery(Order::Replay { batch_id }),
        Operation::AcknowledgeBatch { batch_id } => {
            let records = Attributes::number(&attributes.records, 0..=i64::MAX, Attribute::Records)?;
            Wanted::Acknowledgement { batch_id, records: records.ok_or(RequestError::MissingRecords)? }
        }
    };
    Ok(Presented { token, wanted })
}

/// The content coding that the caller accepts best.
pub fn accepted_coding(headers: &HeaderMap) -> Coding {
    Coding::negotiate(headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok()))
}

/// 1 to 255 visible ASCII characters, with or without the quotes that the IETF's draft has around them.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, RequestError> {
    let mut keys = headers.get_all(IDEMPOTENCY_KEY).iter();
    let (Some(key), None) = (keys.next(), keys.next()) else {
        let none_at_all = headers.get(IDEMPOTENCY_KEY).is_none();
        return if none_at_all {
            Ok(None)
        } else {
            Err(RequestError::InvalidValue(Attribute::IdempotencyKey))
        };
    };
    let key = key.to_str().unwrap_or_default().trim();
    let key = key.strip_prefix('"').and_then(|key| key.strip_suffix('"')).unwrap_or(key);
    let is_sound = (1..=KEY_LIMIT).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
    if is_sound {
        Ok(Some(key.to_owned()))
    } else {
        Err(RequestError::InvalidValue(Attribute::IdempotencyKey))
    }
}

/// Takes in what is left of a refused request's body, within bounds: HTTP/2 resets a stream whose body is still under way,
/// and the caller would see the reset instead of the refusal.
pub async fn discard<B>(body: B)
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let _ = timeout(DISCARD_TIME, Limited::new(body, DISCARD_LIMIT).collect()).await;
}

/// `application/json` or a `+json` type, in UTF-8 (RFC 8259, section 8.1), and not compressed.
fn check_headers(headers: &HeaderMap) -> Result<(), RequestError> {
    let content_type: Mime = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse().ok())
        .ok_or(RequestError::NotJson)?;
    let is_json = content_type.type_() == mime::APPLICATION
        && (content_type.subtype() == mime::JSON || content_type.suffix() == Some(mime::JSON));
    let is_utf8 = content_type.get_param(mime::CHARSET).is_none_or(|charset| charset == mime::UTF_8);
    if !is_json || !is_utf8 {
        return Err(RequestError::NotJson);
    }
    let plain = headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .all(|value| value.as_bytes().eq_ignore_ascii_case(b"identity"));
    if plain { Ok(()) } else { Err(RequestError::EncodedBody) }
}

async fn read_body<B>(body: B, deadline: Instant) -> Result<Bytes, RequestError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let announced = body.size_hint().lower();
    if announced > BODY_LIMIT as u64 {
        return Err(RequestError::BodyTooLarge);
    }
    match timeout_at(deadline, Limited::new(body, BODY_LIMIT).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(RequestError::BodyTooLarge),
        Ok(Err(_)) => Err(RequestError::BodyLost),
        Err(_elapsed) => Err(RequestError::BodyTimeout),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn present(body: &str) -> Result<Presented, RequestError> {
        understand(Operation::SendOverdue, &HeaderMap::new(), parse(body.as_bytes())?)
    }

    fn token(body: &str) -> Result<String, RequestError> {
        present(body).map(|presented| presented.token)
    }

    #[test]
    fn the_token_is_read() {
        assert_eq!(token(r#"{"apiToken":"abc-123"}"#), Ok("abc-123".to_owned()));
        assert_eq!(token(r#" {"more": [1, {"apiToken": 2}], "apiToken": "a"} "#), Ok("a".to_owned()));
    }

    #[test]
    fn the_published_sample_with_its_trailing_comma_is_malformed() {
        assert_eq!(token(r#"{"apiToken": "YOUR-API-TOKEN",}"#), Err(RequestError::Malformed));
    }

    #[test]
    fn what_is_not_one_object_is_malformed() {
        for body in [
            "",
            " ",
            "null",
            "[]",
            "\"a\"",
            "1",
            "{",
            r#"{"apiToken":"a"}{}"#,
            r#"{"apiToken":"a"} x"#,
            "{'apiToken':'a'}",
            r#"{"apiToken":"a","apiToken":"b"}"#,
            r#"{"apiToken":"a","x":1,"x":1}"#,
            r#"{"apiToken":"\ud800"}"#,
            "\u{feff}{\"apiToken\":\"a\"}",
        ] {
            assert_eq!(token(body), Err(RequestError::Malformed), "{body}");
        }
        assert_eq!(parse(b"{\"apiToken\":\"\xff\"}").err(), Some(RequestError::Malformed));
    }

    #[test]
    fn a_token_that_is_no_text_is_missing() {
        for body in
            ["{}", r#"{"apiToken":""}"#, r#"{"apiToken":null}"#, r#"{"apiToken":7}"#, r#"{"apitoken":"a"}"#]
        {
            assert_eq!(token(body), Err(RequestError::MissingToken), "{body}");
        }
    }

    #[test]
    fn fifty_characters_are_the_longest_token() {
        let body = |length: usize| format!(r#"{{"apiToken":"{}"}}"#, "é".repeat(length));
        assert!(token(&body(50)).is_ok());
        assert_eq!(token(&body(51)), Err(RequestError::TokenTooLong));
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for (body, attribute) in [
            (r#"{"apiToken":"a","limit":0}"#, Attribute::Limit),
            (r#"{"apiToken":"a","limit":-1}"#, Attribute::Limit),
            (r#"{"apiToken":"a","limit":1.5}"#, Attribute::Limit),
            (r#"{"apiToken":"a","limit":"10"}"#, Attribute::Limit),
            (r#"{"apiToken":"a","limit":1000001}"#, Attribute::Limit),
            (r#"{"apiToken":"a","preview":"true"}"#, Attribute::Preview),
            (r#"{"apiToken":"a","preview":1}"#, Attribute::Preview),
        ] {
            assert_eq!(present(body).err(), Some(RequestError::InvalidValue(attribute)), "{body}");
        }
        assert_eq!(
            present(r#"{"limit":0}"#).err(),
            Some(RequestError::MissingToken),
            "the token comes first"
        );
    }

    #[test]
    fn a_preview_claims_nothing() {
        let wanted = |body: &str| present(body).map(|presented| presented.wanted);
        let preview = wanted(r#"{"apiToken":"a","preview":true,"limit":5}"#);
        assert!(matches!(preview, Ok(Wanted::Delivery(Order::Preview { limit: Some(5) }))));
        let claim = wanted(r#"{"apiToken":"a","preview":false,"limit":null}"#);
        assert!(matches!(claim, Ok(Wanted::Delivery(Order::Claim { limit: None, key: None }))));
    }

    #[test]
    fn an_idempotency_key_is_visible_ascii() {
        let read = |key: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(IDEMPOTENCY_KEY, key.parse().unwrap());
            idempotency_key(&headers)
        };
        assert_eq!(read("2026-11-23"), Ok(Some("2026-11-23".to_owned())));
        assert_eq!(read("\"quoted\""), Ok(Some("quoted".to_owned())));
        for bad in ["", "\"\"", "two words", &"x".repeat(256)] {
            assert_eq!(read(bad), Err(RequestError::InvalidValue(Attribute::IdempotencyKey)), "{bad}");
        }
        assert_eq!(idempotency_key(&HeaderMap::new()), Ok(None));
    }

    #[test]
    fn json_types_pass_and_others_do_not() {
        let check = |content_type: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
            check_headers(&headers)
        };
        for good in [
            "application/json",
            "application/json; charset=utf-8",
            "application/json;charset=UTF-8",
            "Application/JSON",
            "application/vnd.api+json",
            "application/problem+json; charset=\"utf-8\"",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "text/json",
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/json; charset=iso-8859-1",
            "application/jsonp",
            "json",
            "",
        ] {
            assert_eq!(check(bad), Err(RequestError::NotJson), "{bad}");
        }
        assert_eq!(check_headers(&HeaderMap::new()), Err(RequestError::NotJson));
    }
}
