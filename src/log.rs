//! Logs: on standard error, readable on a terminal, JSON lines otherwise. Standard output carries results alone.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::traces::Traces;

/// Starts logging. `filter` is in tracing-subscriber's syntax (`info`, `turnpike=debug`); None logs what operators need.
/// `traces` are sent on besides.
///
/// # Errors
/// Where the filter can't be parsed.
pub fn start(
    filter: Option<&str>,
    traces: Option<&Traces>,
) -> Result<(), tracing_subscriber::filter::ParseError> {
    // deadpool's warnings repeat what our own errors say with a tenant's name.
    let filter = EnvFilter::builder().parse(filter.unwrap_or("info,deadpool.postgres=error"))?;
    let lines = tracing_subscriber::fmt::layer().with_writer(stderr);
    let lines = if stderr().is_terminal() {
        lines.with_target(false).with_filter(filter).boxed()
    } else {
        // Spans are the traces' business: a line says all itself.
        let lines = lines.json().flatten_event(true).with_current_span(false).with_span_list(false);
        lines.with_filter(filter).boxed()
    };
    tracing_subscriber::registry().with(lines).with(traces.map(Traces::layer)).init();
    Ok(())
}
