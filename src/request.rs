//! Reads what a vendor sent: headers first, then the body, then the token. Nothing here touches a database.
//!
//! Input: an HTTP request. Output: the [`Presented`] token and attributes, or a [`RequestError`].

use std::collections::HashSet;
use std::fmt;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::Version;
use hyper::body::Body;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderMap};
use hyper::http::request::Parts;
use mime::Mime;
use serde::de::{Deserializer as _, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use thiserror::Error;
use tokio::time::{Instant, timeout_at};

/// A request's body is a token and a few attributes; more is a mistake or an attack.
pub const BODY_LIMIT: usize = 16 * 1024;
/// The contract's maximum for `apiToken`, in characters.
pub const TOKEN_LIMIT: usize = 50;

/// The request's attributes.
pub struct Presented {
    /// The API token as it came; hash it and drop it.
    pub token: String,
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
}

/// An HTTP/1.1 request has one Host; any other must be refused, or a proxy before us might take it for another site's
/// (RFC 9112, section 3.2).
pub fn check_host(head: &Parts) -> Result<(), RequestError> {
    let hosts = head.headers.get_all(HOST).iter().count();
    if head.version == Version::HTTP_11 && hosts != 1 { Err(RequestError::NoHost) } else { Ok(()) }
}

/// Reads the credential out of a POST, whose body must have arrived by `deadline`.
pub async fn read<B>(headers: &HeaderMap, body: B, deadline: Instant) -> Result<Presented, RequestError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    check_headers(headers)?;
    let body = read_body(body, deadline).await?;
    parse(&body)
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

fn parse(body: &[u8]) -> Result<Presented, RequestError> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let attributes = reader.deserialize_map(AttributesVisitor).map_err(|_syntax| RequestError::Malformed)?;
    reader.end().map_err(|_trailing| RequestError::Malformed)?;
    match attributes.token {
        Some(Value::String(token)) if token.chars().count() > TOKEN_LIMIT => Err(RequestError::TokenTooLong),
        Some(Value::String(token)) if !token.is_empty() => Ok(Presented { token }),
        _ => Err(RequestError::MissingToken),
    }
}

/// The attributes that mean something; others are passed over, as the documented endpoint does.
#[derive(Default)]
struct Attributes {
    token: Option<Value>,
}

/// Refuses a key that comes twice: which of the two counts would be anybody's guess.
struct AttributesVisitor;

impl<'de> Visitor<'de> for AttributesVisitor {
    type Value = Attributes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Attributes, A::Error> {
        let mut attributes = Attributes::default();
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "apiToken" => attributes.token = Some(map.next_value()?),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
            if !seen.insert(key) {
                return Err(A::Error::custom("a key comes twice"));
            }
        }
        Ok(attributes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(body: &str) -> Result<String, RequestError> {
        parse(body.as_bytes()).map(|presented| presented.token)
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
