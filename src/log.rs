//! Logs: on standard error, readable on a terminal, JSON lines otherwise. Standard output carries results alone.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;

/// Starts logging. `filter` is in tracing-subscriber's syntax (`info`, `turnpike=debug`); None logs what operators need.
///
/// # Errors
/// Where the filter can't be parsed.
pub fn start(filter: Option<&str>) -> Result<(), tracing_subscriber::filter::ParseError> {
    // deadpool's warnings repeat what our own errors say with a tenant's name.
    let filter = EnvFilter::builder().parse(filter.unwrap_or("info,deadpool.postgres=error"))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    if stderr().is_terminal() {
        builder.with_target(false).init();
    } else {
        builder.json().flatten_event(true).init();
    }
    Ok(())
}
