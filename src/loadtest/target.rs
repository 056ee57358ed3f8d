//! Whom a run calls for: a tenant, and a vendor's token there.

use std::fmt;

use crate::config::TenantId;

/// A tenant and a token. The token is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    pub tenant: TenantId,
    pub token: String,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({})", self.tenant)
    }
}
