//! Answers in HTTP: the documented document, refusals, and the headers that every answer carries.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::{Body, Frame};
use hyper::header::{
    ACCEPT, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ALLOW, CACHE_CONTROL, CONTENT_ENCODING,
    CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, STRICT_TRANSPORT_SECURITY, VARY,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::batches::BatchSummary;
use crate::delivery::Head;
use crate::limits::Standing;
use crate::outlet::{BrokenOff, FrameSource};
use crate::problem::{Description, Problem};

/// A whole answer in memory, or a batch's frames as they are made.
pub type AnswerBody = Either<Full<Bytes>, Frames>;
pub type Answer = Response<AnswerBody>;

const BATCH_ID: HeaderName = HeaderName::from_static("batch-id");
const BATCH_COUNT: HeaderName = HeaderName::from_static("batch-count");
const BATCH_MORE: HeaderName = HeaderName::from_static("batch-more");
const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const TRACE_RESPONSE: HeaderName = HeaderName::from_static("traceresponse");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
const TIMING_ALLOW_ORIGIN: HeaderName = HeaderName::from_static("timing-allow-origin");
const TOKEN_EXPIRES: HeaderName = HeaderName::from_static("token-expires");
const TRUE: HeaderValue = HeaderValue::from_static("true");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
/// What a script in a browser may read beside the body.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "Batch-Id, Batch-Count, Batch-More, Idempotent-Replayed, RateLimit, RateLimit-Policy, Retry-After, Token-Expires, X-Request-Id",
);
const PREFLIGHT_HEADERS: HeaderValue =
    HeaderValue::from_static("Authorization, Content-Type, Idempotency-Key, X-Request-Id");
const PREFLIGHT_SECONDS: HeaderValue = HeaderValue::from_static("86400");
const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// A batch's frames as an HTTP body.
pub struct Frames(FrameSource);

impl Body for Frames {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        self.0.poll_next(cx).map(|frame| frame.map(|frame| frame.map(Frame::data)))
    }
}

/// 200 with the documented document, streamed.
pub fn records(head: Head) -> Answer {
    let mut answer = Response::new(Either::Right(Frames(head.body)));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, JSON);
    headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    if let Some(coding) = head.coding.token() {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding));
    }
    if let Some(batch_id) = head.batch_id {
        headers.insert(BATCH_ID, batch_id.into());
    }
    if head.record_count > 0 {
        headers.insert(BATCH_COUNT, head.record_count.into());
    }
    if head.more {
        headers.insert(BATCH_MORE, TRUE);
    }
    if head.replayed {
        headers.insert(IDEMPOTENT_REPLAYED, TRUE);
    }
    answer
}

/// A batch as its vendor sees it.
#[derive(Serialize, ToSchema)]
#[schema(as = Batch)]
pub struct BatchObject<'a> {
    batch_id: i64,
    state: &'a str,
    records: i32,
    #[schema(format = DateTime)]
    claimed_at: String,
    #[schema(format = DateTime, required)]
    released_at: Option<String>,
    #[schema(format = DateTime, required)]
    acknowledged_at: Option<String>,
    #[schema(required)]
    idempotency_key: Option<&'a str>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Batches)]
pub struct BatchesObject<'a> {
    batches: Vec<BatchObject<'a>>,
    /// What to send as `before` for the next page; null on the last.
    #[schema(required)]
    next: Option<i64>,
}

impl<'a> From<&'a BatchSummary> for BatchObject<'a> {
    fn from(batch: &'a BatchSummary) -> Self {
        // The record's own form of a date: six digits and a Z.
        let date = |at: Timestamp| at.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
        Self {
            batch_id: batch.batch_id,
            state: &batch.state,
            records: batch.record_count,
            claimed_at: date(batch.claimed_at),
            released_at: batch.released_at.map(date),
            acknowledged_at: batch.acknowledged_at.map(date),
            idempotency_key: batch.idempotency_key.as_deref(),
        }
    }
}

/// 200 with a page of batches.
pub fn batches(batches: &[BatchSummary], more: bool) -> Answer {
    let next = if more { batches.last().map(|batch| batch.batch_id) } else { None };
    json(&BatchesObject { batches: batches.iter().map(BatchObject::from).collect(), next })
}

/// 200 with one batch.
pub fn batch(batch: &BatchSummary) -> Answer {
    json(&BatchObject::from(batch))
}

fn json(object: &impl Serialize) -> Answer {
    let body = serde_json::to_vec(object).expect("strings, numbers and lists always have a JSON form");
    let mut answer = Response::new(Either::Left(Full::from(body)));
    answer.headers_mut().insert(CONTENT_TYPE, JSON);
    answer
}

/// 200 with the API's description.
pub fn document(json: Bytes) -> Answer {
    let mut answer = Response::new(Either::Left(Full::from(json)));
    answer.headers_mut().insert(CONTENT_TYPE, JSON);
    answer
}

/// 204 to a browser's preflight: what the published sample's `XMLHttpRequest` needs.
pub fn preflight(allowed: &'static str) -> Answer {
    let mut answer = Response::new(Either::Left(Full::default()));
    *answer.status_mut() = StatusCode::NO_CONTENT;
    let headers = answer.headers_mut();
    headers.insert(ALLOW, HeaderValue::from_static(allowed));
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(allowed));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, PREFLIGHT_HEADERS);
    headers.insert(ACCESS_CONTROL_MAX_AGE, PREFLIGHT_SECONDS);
    answer
}

/// The documented error object, followed in the same object by RFC 9457's members.
#[derive(Serialize, ToSchema)]
pub struct Refusal<'a> {
    #[serde(rename = "ErrorCode")]
    code: u16,
    #[serde(rename = "ErrorMessage")]
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(rename = "requestId")]
    request_id: &'a str,
    retryable: bool,
}

/// A refusal; `problem+json` where the caller's `Accept` asks for it.
pub fn refusal(problem: Problem, request_id: &str, accept: &HeaderMap) -> Answer {
    let Description { status, code, message, detail, retryable, retry_after, allow } = problem.describe();
    let body = Refusal {
        code,
        message,
        kind: "about:blank",
        title: status.canonical_reason().unwrap_or_default(),
        status: status.as_u16(),
        detail,
        request_id,
        retryable,
    };
    let body = serde_json::to_vec(&body).expect("strings, numbers and a bool always have a JSON form");
    let mut answer = Response::new(Either::Left(Full::from(body)));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, if wants_problem(accept) { PROBLEM_JSON } else { JSON });
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    if let Some(wait) = retry_after {
        headers.insert(RETRY_AFTER, whole_seconds(wait).into());
    }
    if let Some(allow) = allow {
        headers.insert(ALLOW, HeaderValue::from_static(allow));
    }
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")); // RFC 9110, section 11.6.1: a 401 has one
    }
    answer
}

/// Rounded up: who comes back at the second that it names isn't too early.
fn whole_seconds(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

/// Tells where the caller stands in each policy that counts it (draft-ietf-httpapi-ratelimit-headers: two lists of
/// structured fields).
pub fn tell_limits(answer: &mut Answer, standings: &[Standing]) {
    if standings.is_empty() {
        return;
    }
    let list = |item: fn(&Standing) -> String| {
        let items: Vec<String> = standings.iter().map(item).collect();
        HeaderValue::from_str(&items.join(", ")).expect("names and numbers")
    };
    let policy = list(|s| format!("\"{}\";q={};w={}", s.policy, s.quota, s.window.as_secs()));
    let standing = list(|s| format!("\"{}\";r={};t={}", s.policy, s.remaining, whole_seconds(s.reset)));
    answer.headers_mut().insert(RATE_LIMIT_POLICY, policy);
    answer.headers_mut().insert(RATE_LIMIT, standing);
}

fn wants_problem(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|range| {
            range
                .split(';')
                .next()
                .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/problem+json"))
        })
}

/// The size in bytes of an answer that is whole in memory; None of one that is streamed.
pub fn whole_size(answer: &Answer) -> Option<usize> {
    match answer.body() {
        Either::Left(whole) => whole.size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok()),
        Either::Right(_) => None,
    }
}

/// Names the request's span, for callers who trace (W3C Trace Context, level 2, `traceresponse`).
pub fn trace(answer: &mut Answer, traceparent: &str) {
    if let Ok(value) = HeaderValue::from_str(traceparent) {
        answer.headers_mut().insert(TRACE_RESPONSE, value);
    }
}

/// Tells what was measured up to the head, in seconds (W3C Server Timing), and lets scripts of other origins read it.
pub fn timing(answer: &mut Answer, timings: &[(&'static str, Option<f64>)]) {
    let known = timings.iter().filter_map(|(name, seconds)| Some((name, (*seconds)?)));
    let entries: Vec<String> =
        known.map(|(name, seconds)| format!("{name};dur={:.1}", seconds * 1_000.0)).collect();
    if entries.is_empty() {
        return; // nobody was let in: a preflight
    }
    if let Ok(value) = HeaderValue::from_str(&entries.join(", ")) {
        let headers = answer.headers_mut();
        headers.insert(SERVER_TIMING, value);
        headers.insert(TIMING_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    }
}

/// Tells the vendor when its token ends, to the second: the record's form of a time, without the fraction, so never later
/// than it is. Not `Sunset` (RFC 8594): that is the end of a resource, and this one stays (docs/decisions/0037).
pub fn warn_of_expiry(answer: &mut Answer, at: Timestamp) {
    if let Ok(at) = HeaderValue::try_from(at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()) {
        answer.headers_mut().insert(TOKEN_EXPIRES, at);
    }
}

/// Adds what every answer carries.
pub fn dress(answer: &mut Answer, request_id: &str) {
    let headers = answer.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(STRICT_TRANSPORT_SECURITY, HSTS);
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, id);
    }
}
