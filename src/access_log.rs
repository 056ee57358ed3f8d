//! One event a request, whatever becomes of it; what it adds to the metrics, and its trace's span.
//!
//! Stages note what they know; the event is written when the last of them lets go of the log, so neither a handler that
//! hyper drops nor a delivery that outlives it is missed. What a log may hold is exactly the fields below: never a token, a
//! body, a path as it came, a name or a plate. Field names follow OpenTelemetry's semantic conventions where they have one.

use std::error::Error;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::metrics::{Metrics, RequestEnd, TenantCounts};
use crate::traces::{Phase, Phases, RequestTrace};

/// What a caller makes up isn't logged (OpenTelemetry, `http.request.method`).
const METHODS: [&str; 9] = ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];

/// How a request ended, beyond its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The whole answer was handed to the connection; a batch, if there was one, is released.
    Delivered,
    /// The batch is released, but the vendor's connection closed before the last frame was taken.
    ReleasedUnread,
    /// The delivery was broken off: nothing stays marked.
    Void,
    /// A list, an acknowledgement or a preflight was answered.
    Answered,
    /// A replay, a preview or an empty answer was broken off: there was nothing to void.
    BrokenOff,
    /// Answered with an error; nothing was marked.
    Refused,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::ReleasedUnread => "released_unread",
            Self::Void => "void",
            Self::Answered => "answered",
            Self::BrokenOff => "broken_off",
            Self::Refused => "refused",
        }
    }
}

/// A request's log line in the making.
pub struct AccessLog {
    request_id: String,
    method: &'static str,
    peer: IpAddr,
    started: Instant,
    metrics: Arc<Metrics>,
    trace: RequestTrace,
    fields: Mutex<Fields>, // std Mutex: held for one assignment, never across an await
}

#[derive(Default)]
struct Fields {
    route: Option<&'static str>,
    tenant: Option<(String, Arc<TenantCounts>)>,
    token_id: Option<i64>,
    token_expires_at: Option<Timestamp>,
    status: Option<u16>,
    outcome: Option<Outcome>,
    error_code: Option<u16>,
    claim: Option<&'static str>,
    cause: Option<String>,
    batch_id: Option<i64>,
    batch_count: Option<i32>,
    bytes: usize,
    authenticate_seconds: Option<f64>,
    claim_seconds: Option<f64>,
    deliver_seconds: Option<f64>,
    release_seconds: Option<f64>,
}

impl AccessLog {
    pub fn start(
        request_id: String,
        method: &str,
        peer: IpAddr,
        metrics: Arc<Metrics>,
        trace: RequestTrace,
    ) -> Self {
        metrics.begin();
        let method = METHODS.into_iter().find(|known| *known == method).unwrap_or("_OTHER");
        Self { request_id, method, peer, started: Instant::now(), metrics, trace, fields: Mutex::default() }
    }

    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    /// Begins a part of the request, for its trace.
    pub fn phase(&self, name: &'static str) -> Phase {
        self.trace.phases().begin(name)
    }

    /// Begins parts of it, for who must not hold this log.
    pub fn phases(&self) -> Phases {
        self.trace.phases()
    }

    /// The request's span as a `traceparent`; None where nobody collects traces.
    pub fn traceparent(&self) -> Option<String> {
        self.trace.to_traceparent()
    }

    /// How long the verdict on the token and the claim took, in seconds, as far as they are over.
    pub fn timings(&self) -> [(&'static str, Option<f64>); 2] {
        let fields = self.fields();
        [("auth", fields.authenticate_seconds), ("claim", fields.claim_seconds)]
    }

    /// When the request's head had arrived.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// The path's template, or what kind of path it wasn't.
    pub fn route(&self, template: &'static str) {
        self.fields().route = Some(template);
    }

    /// A configured tenant's id; what a caller made up isn't logged.
    pub fn tenant(&self, id: &str) {
        let counts = self.metrics.tenant(id);
        counts.begin();
        self.fields().tenant = Some((id.to_owned(), counts));
    }

    /// The token's number, and its end where that is near.
    pub fn token(&self, id: i64, expires_at: Option<Timestamp>) {
        let mut fields = self.fields();
        (fields.token_id, fields.token_expires_at) = (Some(id), expires_at);
    }

    /// When the caller's token ends, where that is near.
    pub fn token_expires_at(&self) -> Option<Timestamp> {
        self.fields().token_expires_at
    }

    pub fn status(&self, status: u16) {
        self.fields().status = Some(status);
    }

    pub fn outcome(&self, outcome: Outcome) {
        self.fields().outcome.get_or_insert(outcome);
    }

    /// The refusal's `ErrorCode`.
    pub fn error_code(&self, code: u16) {
        self.fields().error_code = Some(code);
    }

    /// What a call for violations came to: `batch`, `empty`, `replay` or `preview`.
    pub fn claim(&self, result: &'static str) {
        self.fields().claim = Some(result);
    }

    /// Why it failed, with every cause beneath.
    pub fn cause(&self, error: &dyn Error) {
        self.fields().cause = Some(chain(error));
    }

    pub fn batch(&self, id: Option<i64>, count: i32) {
        let mut fields = self.fields();
        (fields.batch_id, fields.batch_count) = (id, Some(count));
    }

    pub fn sent(&self, bytes: usize) {
        self.fields().bytes += bytes;
    }

    pub fn authenticate_seconds(&self, took: Duration) {
        self.fields().authenticate_seconds = Some(took.as_secs_f64());
    }

    pub fn claim_seconds(&self, took: Duration) {
        self.fields().claim_seconds = Some(took.as_secs_f64());
    }

    pub fn deliver_seconds(&self, took: Duration) {
        self.fields().deliver_seconds = Some(took.as_secs_f64());
    }

    pub fn release_seconds(&self, took: Duration) {
        self.fields().release_seconds = Some(took.as_secs_f64());
    }

    fn count(&self, fields: &Fields) {
        let end = RequestEnd {
            route: fields.route,
            method: self.method,
            status: fields.status,
            outcome: fields.outcome.map(Outcome::as_str),
            error_code: fields.error_code,
            claim: fields.claim,
            records: fields.batch_count.and_then(|count| count.try_into().ok()).unwrap_or_default(),
            bytes: fields.bytes as u64,
            phases: [
                fields.authenticate_seconds,
                fields.claim_seconds,
                fields.deliver_seconds,
                fields.release_seconds,
            ],
            seconds: self.started.elapsed().as_secs_f64(),
        };
        let tenant = fields.tenant.as_ref().map(|(_id, counts)| counts.as_ref());
        self.metrics.end(&end, tenant);
        if let Some(counts) = tenant {
            counts.end();
        }
    }

    fn end_trace(&self, fields: &Fields) {
        let trace = &self.trace;
        if trace.trace_id().is_none() {
            return;
        }
        trace.name(format!("{} {}", self.method, fields.route.unwrap_or_default()).trim_end().to_owned());
        trace.attribute("http.request.method", Some(self.method));
        trace.attribute("url.scheme", Some("https"));
        trace.attribute("http.route", fields.route);
        trace.attribute("http.response.status_code", fields.status.map(i64::from));
        trace.attribute("http.response.body.size", i64::try_from(fields.bytes).ok());
        trace.attribute("turnpike.request_id", Some(self.request_id.clone()));
        trace.attribute("turnpike.tenant", fields.tenant.as_ref().map(|(id, _counts)| id.clone()));
        trace.attribute("turnpike.outcome", fields.outcome.map(Outcome::as_str));
        trace.attribute("turnpike.batch.id", fields.batch_id);
        trace.attribute("turnpike.batch.count", fields.batch_count.map(i64::from));
        trace.attribute("error.type", fields.error_code.map(|code| code.to_string()));
        if matches!(fields.status, None | Some(500..)) || matches!(fields.outcome, Some(Outcome::Void)) {
            trace.failed();
        }
    }

    fn fields(&self) -> MutexGuard<'_, Fields> {
        self.fields.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An event at a level that is decided at run time; the macro wants it written out.
macro_rules! request_event {
    ($level:ident, $log:expr, $fields:expr, $trace_id:expr) => {
        $level!(
            target: "turnpike::request",
            request_id = $log.request_id,
            trace_id = $trace_id,
            client.address = %$log.peer,
            http.request.method = $log.method,
            http.route = $fields.route,
            tenant = $fields.tenant.as_ref().map(|(id, _counts)| id.as_str()),
            token.id = $fields.token_id,
            token.expires_at = $fields.token_expires_at.map(tracing::field::display),
            http.response.status_code = $fields.status,
            outcome = $fields.outcome.map(Outcome::as_str),
            error.cause = $fields.cause,
            batch.id = $fields.batch_id,
            batch.count = $fields.batch_count,
            http.response.body.size = $fields.bytes,
            authenticate_seconds = $fields.authenticate_seconds,
            claim_seconds = $fields.claim_seconds,
            deliver_seconds = $fields.deliver_seconds,
            release_seconds = $fields.release_seconds,
            duration_seconds = $log.started.elapsed().as_secs_f64(),
            "request"
        )
    };
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        let fields = std::mem::take(&mut *self.fields());
        self.count(&fields);
        self.end_trace(&fields);
        let trace_id = self.trace.trace_id();
        match (fields.status, fields.outcome) {
            (Some(500), _) => request_event!(error, self, fields, trace_id),
            (None | Some(501..), _) | (_, Some(Outcome::Void | Outcome::ReleasedUnread)) => {
                request_event!(warn, self, fields, trace_id);
            }
            _ => request_event!(info, self, fields, trace_id),
        }
    }
}

/// An error and every cause beneath it, in one line.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    text
}
