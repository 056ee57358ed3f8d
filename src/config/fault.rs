//! What is wrong with a configuration, said so that the line at fault can be found.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::contents::Contents;

/// One thing wrong, in one place.
///
/// Prints as `tenants.toml: tenants.OC_TOMA.max_connections: must be 1 to 64, is 0`. The reason never holds
/// a password, nor a URL that might hold one: faults go to logs and to the admin API.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub struct Fault {
    /// The file that says it, as the path was given or found by `include`.
    #[schema(value_type = String)]
    pub file: PathBuf,
    /// The full dotted key; empty where the whole file is meant.
    pub key: String,
    /// What is wrong, and where it helps what to write instead.
    pub reason: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file.display())?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.reason)
    }
}

/// A configuration that cannot be used at all, with every fault that was found on the way, tenants' included.
///
/// Prints one fault a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Sorted by file and key, none twice, never empty.
    pub faults: Vec<Fault>,
    /// What was read on the way.
    pub contents: Contents,
}

impl ConfigError {
    pub(super) fn new(faults: Vec<Fault>, contents: Contents) -> ConfigError {
        ConfigError { faults: tidy(faults), contents }
    }
}

/// Sorted by file and key, none twice: the two connections of a tenant may share a fault.
pub(super) fn tidy(mut faults: Vec<Fault>) -> Vec<Fault> {
    faults.sort();
    faults.dedup();
    faults
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(key: &str, reason: &str) -> Fault {
        Fault { file: PathBuf::from("tenants.toml"), key: key.to_owned(), reason: reason.to_owned() }
    }

    #[test]
    fn a_fault_names_file_and_key_and_reason() {
        let fault = fault("tenants.OC_TOMA.max_connections", "must be 1 to 64, is 0");

        assert_eq!(fault.to_string(), "tenants.toml: tenants.OC_TOMA.max_connections: must be 1 to 64, is 0");
    }

    #[test]
    fn a_fault_of_the_whole_file_prints_no_key() {
        assert_eq!(fault("", "is not UTF-8").to_string(), "tenants.toml: is not UTF-8");
    }

    #[test]
    fn an_error_prints_one_fault_a_line_and_none_twice() {
        let error = ConfigError::new(
            vec![fault("b", "two"), fault("a", "one"), fault("b", "two")],
            Contents::default(),
        );

        assert_eq!(error.to_string(), "tenants.toml: a: one\ntenants.toml: b: two");
    }
}
