//! `paused`: a tenant that is out of service on purpose.

use jiff::Timestamp;
use serde::Serialize;
use toml::Value;
use utoipa::ToSchema;

use super::section::Section;
use super::value::{string, wrong_type};

/// Why a tenant is paused, and until when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct PauseConfig {
    /// For people.
    pub reason: String,
    /// When it ends by itself, by this machine's clock; `None`: when the key is taken out.
    #[schema(required)]
    pub until: Option<Timestamp>,
}

impl PauseConfig {
    /// Reads a tenant's table `paused`; `None` where there is none, or its reason is missing and reported.
    pub(super) fn read(section: &mut Section) -> Option<PauseConfig> {
        if !section.says("paused") {
            section.find("paused", |_absent| Ok(())); // asked for, so that a misspelt one is told
            return None;
        }
        let mut table = section.open("paused");
        let reason = table.require("reason", string);
        let until = table.find("until", timestamp);
        section.close(table);
        Some(PauseConfig { reason: reason?, until })
    }

    /// Whether it is in force.
    #[must_use]
    pub fn holds_at(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// A moment; without an offset it would be another one on another machine.
fn timestamp(value: Value) -> Result<Timestamp, String> {
    let Value::Datetime(moment) = value else {
        return Err(wrong_type("a date and time such as 2026-12-01T08:00:00Z", &value));
    };
    moment.to_string().parse().map_err(|_| {
        format!("must be a date and time with its offset, such as 2026-12-01T08:00:00Z, is {moment}")
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn read(text: &str) -> (Option<PauseConfig>, Vec<String>) {
        let mut section = Section::root(Path::new("t.toml"), text.parse().unwrap());
        let config = PauseConfig::read(&mut section);
        (config, section.finish().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_pause_has_a_reason_and_may_have_an_end() {
        let (endless, none) = read("paused = { reason = \"moving\" }");
        let (ending, _) = read("paused = { reason = \"moving\", until = 2026-12-01T01:00:00+01:00 }");

        let until: Timestamp = "2026-12-01T00:00:00Z".parse().unwrap();
        assert_eq!(none, [""; 0]);
        assert!(endless.unwrap().holds_at(until));
        assert!(ending.clone().unwrap().holds_at(until - jiff::SignedDuration::from_nanos(1)));
        assert!(!ending.unwrap().holds_at(until));
        assert_eq!(read(""), (None, Vec::new()));
    }

    #[test]
    fn an_end_must_be_a_moment_and_a_reason_must_be_given() {
        let (config, faults) = read("paused = { until = 2026-12-01, why = 1 }");

        assert_eq!(config, None);
        assert_eq!(
            faults,
            [
                "t.toml: paused.reason: is required",
                "t.toml: paused.until: must be a date and time with its offset, such as 2026-12-01T08:00:00Z, is 2026-12-01",
                "t.toml: paused.why: unknown key",
            ]
        );
        assert_eq!(read("paused = true").1[0], "t.toml: paused: must be a table, is a boolean");
    }
}
