//! Who operates, and what they may do: scopes, and the tenants that they are for.

use std::fmt;

use glob::Pattern;

use crate::config::TenantId;

/// What an operator's token may be for, as its `scope` says it (RFC 8693, section 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    TenantsRead,
    TenantsWrite,
    TokensWrite,
    BatchesWrite,
    ConfigReload,
    MetricsRead,
}

impl Scope {
    pub const ALL: [Scope; 6] = [
        Scope::TenantsRead,
        Scope::TenantsWrite,
        Scope::TokensWrite,
        Scope::BatchesWrite,
        Scope::ConfigReload,
        Scope::MetricsRead,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::TenantsRead => "tenants:read",
            Self::TenantsWrite => "tenants:write",
            Self::TokensWrite => "tokens:write",
            Self::BatchesWrite => "batches:write",
            Self::ConfigReload => "config:reload",
            Self::MetricsRead => "metrics:read",
        }
    }

    /// None for a word that means nothing here: an identity provider has scopes of its own.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == word)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Somebody who has proved who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// Who it is, in the audit: a token's `sub`, or `unix:UID`.
    pub actor: String,
    rights: Rights,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Rights {
    /// Of whoever could read the configuration and its secrets anyway.
    Everything,
    Granted {
        scopes: Vec<Scope>,
        tenants: Vec<Pattern>,
    },
}

impl Operator {
    /// A peer of the Unix socket: the gateway's own user, or root.
    pub fn local(uid: u32) -> Self {
        Self { actor: format!("unix:{uid}"), rights: Rights::Everything }
    }

    pub fn granted(actor: String, scopes: Vec<Scope>, tenants: Vec<Pattern>) -> Self {
        Self { actor, rights: Rights::Granted { scopes, tenants } }
    }

    pub fn has(&self, scope: Scope) -> bool {
        match &self.rights {
            Rights::Everything => true,
            Rights::Granted { scopes, .. } => scopes.contains(&scope),
        }
    }

    /// Whether the operator is for this tenant. One whose token names no tenants is for none.
    pub fn sees(&self, tenant: &TenantId) -> bool {
        match &self.rights {
            Rights::Everything => true,
            Rights::Granted { tenants, .. } => tenants.iter().any(|glob| glob.matches(tenant.as_str())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sees(globs: &[&str], tenant: &str) -> bool {
        let globs = globs.iter().map(|glob| Pattern::new(glob).unwrap()).collect();
        Operator::granted("o".to_owned(), vec![], globs).sees(&TenantId::parse(tenant).unwrap())
    }

    #[test]
    fn tenants_are_named_by_globs() {
        assert!(sees(&["OC_*"], "OC_TOMA"));
        assert!(sees(&["X", "OC_TOMA"], "OC_TOMA"));
        assert!(!sees(&["OC_*"], "NORTHERN_U"));
        assert!(!sees(&["oc_*"], "OC_TOMA"), "case matters");
        assert!(!sees(&["OC"], "OC_TOMA"), "the whole id is meant");
    }

    #[test]
    fn whoever_names_no_tenant_sees_none() {
        assert!(!sees(&[], "OC_TOMA"));
    }

    #[test]
    fn every_scope_has_a_word_of_its_own() {
        for scope in Scope::ALL {
            assert_eq!(Scope::parse(scope.as_str()), Some(scope));
        }
        assert_eq!(Scope::parse("TENANTS:READ"), None);
    }
}
