//! What operators are told of the gateway at work, beyond its log.

use reqwest::Url;
use toml::Value;

use super::section::Section;
use super::value::{boolean, string, wrong_type};

const MILLION: f64 = 1_000_000.0;

/// Metrics that not everybody wants to pay for, traces, and what vendors are told of the time that they cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TelemetryConfig {
    /// Whether each tenant has histograms of its own.
    pub metrics_per_tenant_histograms: bool,
    /// Whether good answers have a `Server-Timing`.
    pub server_timing: bool,
    /// Base address of the collector that takes traces by OTLP; `None`: there are none.
    pub otlp_endpoint: Option<String>,
    /// How many of the traces that begin here are kept.
    pub trace_sample_ratio: Ratio,
}

/// A part of all, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ratio {
    millionths: u32,
}

impl Ratio {
    const ALL: Ratio = Ratio { millionths: 1_000_000 };

    pub fn as_f64(self) -> f64 {
        f64::from(self.millionths) / MILLION
    }
}

impl TelemetryConfig {
    #[rustfmt::skip] // One key a line: it is a table.
    pub(super) fn read(section: &mut Section) -> TelemetryConfig {
        TelemetryConfig {
            metrics_per_tenant_histograms: section.find("metrics_per_tenant_histograms", boolean).unwrap_or(false),
            server_timing: section.find("server_timing", boolean).unwrap_or(false),
            otlp_endpoint: section.find("otlp_endpoint", collector),
            trace_sample_ratio: section.find("trace_sample_ratio", ratio).unwrap_or(Ratio::ALL),
        }
    }
}

fn collector(value: Value) -> Result<String, String> {
    let url = Url::parse(&string(value)?)
        .map_err(|_| "must be a URL such as \"http://127.0.0.1:4318\"".to_owned())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("must begin with http:// or https://".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a password: set OTEL_EXPORTER_OTLP_HEADERS in the environment".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must end with its path: /v1/traces is put behind it".to_owned());
    }
    Ok(url.into())
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1000000, as checked")]
fn ratio(value: Value) -> Result<Ratio, String> {
    let number = match value {
        Value::Float(number) => number,
        Value::Integer(number @ 0..=1) => f64::from(u8::from(number == 1)),
        Value::Integer(number) => return Err(format!("must be 0 to 1, is {number}")),
        other => return Err(wrong_type("a number from 0 to 1", &other)),
    };
    if !(0.0..=1.0).contains(&number) {
        return Err(format!("must be 0 to 1, is {number}"));
    }
    Ok(Ratio { millionths: (number * MILLION).round() as u32 })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Fault;

    fn read(text: &str) -> (TelemetryConfig, Vec<String>) {
        let mut section = Section::root(Path::new("t.toml"), text.parse().unwrap());
        let config = TelemetryConfig::read(&mut section);
        let faults = section.finish();
        (config, faults.iter().map(|Fault { key, reason, .. }| format!("{key}: {reason}")).collect())
    }

    #[test]
    fn nothing_leaves_the_process_unless_a_collector_is_named() {
        let (config, faults) = read("");

        assert_eq!(faults, [""; 0]);
        assert_eq!((config.otlp_endpoint, config.server_timing), (None, false));
        assert!((config.trace_sample_ratio.as_f64() - 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_collector_is_an_address_without_a_secret() {
        let (config, faults) = read("otlp_endpoint = \"http://collector:4318\"\ntrace_sample_ratio = 0.25");
        assert_eq!(faults, [""; 0]);
        assert_eq!(config.otlp_endpoint.as_deref(), Some("http://collector:4318/"));
        assert!((config.trace_sample_ratio.as_f64() - 0.25).abs() < f64::EPSILON);

        for (url, reason) in [
            ("collector:4318", "must begin with http:// or https://"),
            ("http://", "must be a URL such as \"http://127.0.0.1:4318\""),
            ("grpc://collector:4317", "must begin with http:// or https://"),
            (
                "https://user:hunter2@collector",
                "must not hold a password: set OTEL_EXPORTER_OTLP_HEADERS in the environment",
            ),
            ("https://collector/?key=hunter2", "must end with its path: /v1/traces is put behind it"),
        ] {
            let (_config, faults) = read(&format!("otlp_endpoint = {url:?}"));
            assert_eq!(faults, [format!("otlp_endpoint: {reason}")], "{url}");
        }
    }

    #[test]
    fn a_ratio_is_a_part_of_all() {
        for (text, expected) in [("0", 0.0), ("1", 1.0), ("0.5", 0.5)] {
            let (config, faults) = read(&format!("trace_sample_ratio = {text}"));
            assert_eq!(faults, [""; 0]);
            assert!((config.trace_sample_ratio.as_f64() - expected).abs() < f64::EPSILON);
        }
        for (text, reason) in [
            ("1.1", "must be 0 to 1, is 1.1"),
            ("-1", "must be 0 to 1, is -1"),
            ("nan", "must be 0 to 1, is NaN"),
            ("\"10%\"", "must be a number from 0 to 1, is a string"),
        ] {
            let (_config, faults) = read(&format!("trace_sample_ratio = {text}"));
            assert_eq!(faults, [format!("trace_sample_ratio: {reason}")]);
        }
    }
}
