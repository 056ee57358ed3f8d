//! Operators' answers in HTTP.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::problem::{AdminProblem, Description};
use crate::scrape;

pub type Answer = Response<Full<Bytes>>;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

pub fn text(status: StatusCode, text: &'static str) -> Answer {
    let mut answer = Response::new(Full::from(text));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}

/// 200 with Prometheus's page.
pub fn metrics(page: Option<String>) -> Answer {
    let Some(page) = page else {
        return text(StatusCode::INTERNAL_SERVER_ERROR, "the page could not be written\n");
    };
    let mut answer = Response::new(Full::from(page));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(scrape::CONTENT_TYPE));
    answer
}

/// 200 with JSON that was made before.
pub fn ready_json(json: Bytes) -> Answer {
    let mut answer = Response::new(Full::from(json));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// 200 with an object.
pub fn json(object: &impl Serialize) -> Answer {
    json_with(StatusCode::OK, "application/json", object)
}

/// 201 with what was made.
pub fn created(object: &impl Serialize) -> Answer {
    json_with(StatusCode::CREATED, "application/json", object)
}

/// 202: it was begun, and goes on.
pub fn accepted(object: &impl Serialize) -> Answer {
    json_with(StatusCode::ACCEPTED, "application/json", object)
}

/// 422 with an object that says why.
pub fn unprocessable(object: &impl Serialize) -> Answer {
    json_with(StatusCode::UNPROCESSABLE_ENTITY, "application/json", object)
}

/// RFC 9457's object.
#[derive(Serialize, ToSchema)]
pub struct ProblemObject<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    title: &'a str,
    status: u16,
    /// What to do about it.
    detail: &'a str,
    #[serde(rename = "requestId")]
    request_id: &'a str,
}

pub fn refusal(problem: AdminProblem, request_id: &str) -> Answer {
    let Description { status, detail, retry_after, allow, challenge } = problem.describe();
    let title = status.canonical_reason().unwrap_or_default();
    let object = ProblemObject { kind: "about:blank", title, status: status.as_u16(), detail, request_id };
    let mut answer = json_with(status, "application/problem+json", &object);
    let headers = answer.headers_mut();
    if let Some(wait) = retry_after {
        headers.insert(RETRY_AFTER, wait.as_secs().max(1).into());
    }
    if let Some(allow) = allow {
        headers.insert(ALLOW, HeaderValue::from_static(allow));
    }
    if let Some(challenge) = challenge.and_then(|challenge| HeaderValue::from_str(&challenge).ok()) {
        headers.insert(WWW_AUTHENTICATE, challenge);
    }
    dress(answer, request_id)
}

/// Adds what every answer of the API carries.
pub fn dress(mut answer: Answer, request_id: &str) -> Answer {
    let headers = answer.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, id);
    }
    answer
}

fn json_with(status: StatusCode, content_type: &'static str, object: &impl Serialize) -> Answer {
    let body = serde_json::to_vec(object).expect("what operators are shown always has a JSON form");
    let mut answer = Response::new(Full::from(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}
