//! Traces: which spans a request has, and their way to a collector by OTLP.
//!
//! Off unless a collector is configured; then a request's spans are made by `tracing`, sampled, and sent in batches by a task
//! of the process. A request never waits for that: the queue is bounded, what doesn't fit is dropped, and an export that fails
//! is counted and logged once. Spans have ids, counts and outcomes: never a token, a body, a path as it came, an address, or
//! personal data. The caller's own `traceparent` and `tracestate` (W3C Trace Context) are taken where they are well-formed.

mod export;

use std::collections::HashMap;

use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{Status, TraceContextExt};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::{Span, trace_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

pub use self::export::{SpanCounts, Traces, TracesError};

/// The spans' target, by which they are told from the log's events; the macros want it written out.
const TARGET: &str = "turnpike::trace";

/// What a caller's headers say of the trace that its call is part of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceParent {
    pub traceparent: String,
    pub tracestate: Option<String>,
}

/// A request's span. It ends when the last stage lets go of it.
pub struct RequestTrace {
    span: Span,
    /// None where nobody collects traces.
    context: Option<Context>,
}

/// A part of a request, for as long as it is held.
pub struct Phase(Span);

/// Begins parts of a request where its log must not be held: the request's line waits for all who hold that.
#[derive(Clone)]
pub struct Phases(Span);

impl Phases {
    pub fn begin(&self, name: &'static str) -> Phase {
        Phase(trace_span!(target: "turnpike::trace", parent: &self.0, "phase", otel.name = name))
    }
}

impl RequestTrace {
    /// Begins a request's span, under the caller's where there is one.
    pub fn begin(parent: impl FnOnce() -> Option<TraceParent>) -> Self {
        let span = trace_span!(target: "turnpike::trace", parent: None, "request", otel.kind = "server");
        if span.is_disabled() {
            return Self { span, context: None };
        }
        if let Some(parent) = parent() {
            // It can't be refused: the span is new.
            let _ = span.set_parent(extract(parent));
        }
        let context = Some(span.context()).filter(|context| context.span().span_context().is_valid());
        Self { span, context }
    }

    pub fn phases(&self) -> Phases {
        Phases(self.span.clone())
    }

    /// The trace's id, for the log; None where nobody collects traces.
    pub fn trace_id(&self) -> Option<String> {
        self.context.as_ref().map(|context| context.span().span_context().trace_id().to_string())
    }

    /// The span as a `traceparent` for whoever is told of it.
    pub fn to_traceparent(&self) -> Option<String> {
        let mut headers = HashMap::new();
        TraceContextPropagator::new().inject_context(self.context.as_ref()?, &mut headers);
        headers.remove("traceparent")
    }

    /// Names the span once it is known what was asked for.
    pub fn name(&self, name: String) {
        if let Some(context) = &self.context {
            context.span().update_name(name);
        }
    }

    /// Notes an attribute, by OpenTelemetry's name where there is one.
    pub fn attribute(&self, name: &'static str, value: Option<impl Into<Value>>) {
        if let (Some(context), Some(value)) = (&self.context, value) {
            context.span().set_attribute(KeyValue::new(name, value));
        }
    }

    /// Marks the span as failed.
    pub fn failed(&self) {
        if let Some(context) = &self.context {
            context.span().set_status(Status::error(""));
        }
    }
}

impl Phase {
    /// Notes a number.
    pub fn count(&self, name: &'static str, count: usize) {
        if !self.0.is_disabled() {
            self.0.set_attribute(name, i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}

fn extract(parent: TraceParent) -> Context {
    let mut headers = HashMap::from([("traceparent".to_owned(), parent.traceparent)]);
    headers.extend(parent.tracestate.map(|state| ("tracestate".to_owned(), state)));
    TraceContextPropagator::new().extract_with_context(&Context::new(), &headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn trace_id(traceparent: &str) -> Option<String> {
        let context = extract(TraceParent { traceparent: traceparent.to_owned(), tracestate: None });
        let span = context.span();
        Some(span.span_context()).filter(|span| span.is_valid()).map(|span| span.trace_id().to_string())
    }

    #[test]
    fn a_parent_is_taken_as_w3c_writes_it() {
        assert_eq!(trace_id(TRACEPARENT).as_deref(), Some("0af7651916cd43dd8448eb211c80319c"));
    }

    #[test]
    fn anything_else_is_no_parent() {
        for text in [
            "",
            "canary",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(trace_id(text), None, "{text}");
        }
    }

    #[test]
    fn without_a_collector_there_is_no_trace() {
        let trace = RequestTrace::begin(|| panic!("nobody asks for the parent"));

        assert_eq!(trace.trace_id(), None);
        assert_eq!(trace.to_traceparent(), None);
    }
}
