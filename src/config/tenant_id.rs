//! The name a tenant goes by: in the URL, in the configuration, in `application_name`, in logs and metrics.
//!
//! [`TenantId::parse`] is the only door. What passes needs no escaping in a path, a label, a file name
//! or a PostgreSQL identifier list, so nothing behind it checks again.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

/// A tenant's id: 1 to 64 ASCII letters, digits, `_` or `-`, the first a letter or a digit. Case matters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct TenantId(Arc<str>);

/// The text is no tenant's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 64 letters, digits, `_` or `-`, beginning with a letter or a digit")]
pub struct InvalidTenantId;

impl PartialSchema for TenantId {
    fn schema() -> RefOr<Schema> {
        let id = ObjectBuilder::new().schema_type(Type::String).pattern(Some(TenantId::PATTERN));
        RefOr::T(Schema::from(id.build()))
    }
}

impl ToSchema for TenantId {}

impl TenantId {
    /// All that is an id, and nothing else, as a regular expression.
    pub const PATTERN: &'static str = "^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$";

    /// Longest id, in bytes.
    const MAX_LENGTH: usize = 64;

    /// Takes the text as an id, as it stands: nothing is trimmed, no case is folded.
    ///
    /// # Errors
    /// [`InvalidTenantId`] for anything but `[A-Za-z0-9][A-Za-z0-9_-]{0,63}`.
    pub fn parse(text: &str) -> Result<TenantId, InvalidTenantId> {
        let starts_well = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        let goes_on_well = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if starts_well && goes_on_well && text.len() <= Self::MAX_LENGTH {
            Ok(TenantId(Arc::from(text)))
        } else {
            Err(InvalidTenantId)
        }
    }

    /// The id as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<TenantId> for String {
    fn from(id: TenantId) -> String {
        id.as_str().to_owned()
    }
}

impl TryFrom<String> for TenantId {
    type Error = InvalidTenantId;

    fn try_from(text: String) -> Result<TenantId, InvalidTenantId> {
        TenantId::parse(&text)
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_digits_underscores_and_hyphens_are_an_id() {
        for text in ["OC_TOMA", "a", "7", "north-2", &"x".repeat(64)] {
            assert_eq!(TenantId::parse(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "_a", "-a", "a b", "a/b", "a.b", "é", "a\n", "a\0", &"x".repeat(65)] {
            assert_eq!(TenantId::parse(text), Err(InvalidTenantId), "{text:?}");
        }
    }
}
