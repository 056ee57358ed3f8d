//! Which operation of which tenant a path means. The only place that knows URLs.

use matchit::Router as Paths;
use percent_encoding::percent_decode_str;
use thiserror::Error;

use crate::config::TenantId;

/// The documented operation.
pub const SEND_OVERDUE: &str = "/api/{client}/v1/violations/send_overdue_to_collections";
/// The same without its `{client}`: documented to have an error of its own.
const SEND_OVERDUE_NOBODY: [&str; 2] =
    ["/api/v1/violations/send_overdue_to_collections", "/api//v1/violations/send_overdue_to_collections"];

/// A path that means something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub operation: Operation,
    /// None where the path's `{client}` can't be any tenant's id.
    pub tenant: Option<TenantId>,
}

/// What a vendor can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    SendOverdue,
}

impl Operation {
    /// The path's template, for logs.
    pub fn template(self) -> &'static str {
        match self {
            Self::SendOverdue => SEND_OVERDUE,
        }
    }

    /// The methods that it answers, as an `Allow` header has them.
    pub fn allowed_methods(self) -> &'static str {
        match self {
            Self::SendOverdue => "POST, OPTIONS",
        }
    }
}

#[derive(Debug, Error, PartialEq, Eq)]
pub enum RouteError {
    #[error("the path has no client")]
    MissingClient,
    #[error("no such path")]
    UnknownPath,
}

/// The paths of the gateway, prepared once.
pub struct Router {
    paths: Paths<Option<Operation>>,
}

impl Router {
    pub fn new() -> Self {
        let mut paths = Paths::new();
        paths.insert(SEND_OVERDUE, Some(Operation::SendOverdue)).expect("the first path conflicts with none");
        for path in SEND_OVERDUE_NOBODY {
            paths.insert(path, None).expect("it has no client, so it differs from those that have one");
        }
        Self { paths }
    }

    /// Resolves a request's path (without its query).
    pub fn route(&self, path: &str) -> Result<Route, RouteError> {
        let found = self.paths.at(path).map_err(|_no_match| RouteError::UnknownPath)?;
        let operation = found.value.ok_or(RouteError::MissingClient)?;
        let client = found.params.get("client").unwrap_or_default();
        // RFC 3986, section 2.3: a percent-encoded letter means the letter.
        let client = percent_decode_str(client).decode_utf8().ok();
        Ok(Route { operation, tenant: client.and_then(|id| TenantId::parse(&id).ok()) })
    }
}

impl Default for Router {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(path: &str) -> Result<Option<String>, RouteError> {
        Router::new().route(path).map(|route| route.tenant.map(|id| id.to_string()))
    }

    #[test]
    fn the_client_is_the_tenant() {
        let path = "/api/OC_TOMA/v1/violations/send_overdue_to_collections";
        assert_eq!(tenant(path), Ok(Some("OC_TOMA".to_owned())));
    }

    #[test]
    fn a_percent_encoded_letter_means_the_letter() {
        let path = "/api/%4FC_TOMA/v1/violations/send_overdue_to_collections";
        assert_eq!(tenant(path), Ok(Some("OC_TOMA".to_owned())));
    }

    #[test]
    fn a_client_that_cannot_be_an_id_is_no_tenant() {
        for client in ["..", "a b", "%00", "%ff", "é", "a%2Fb", "v1%0a"] {
            let path = format!("/api/{client}/v1/violations/send_overdue_to_collections");
            assert_eq!(tenant(&path), Ok(None), "{client}");
        }
    }

    #[test]
    fn a_path_without_client_is_told_apart() {
        for path in SEND_OVERDUE_NOBODY {
            assert_eq!(tenant(path), Err(RouteError::MissingClient));
        }
    }

    #[test]
    fn other_paths_are_unknown() {
        for path in [
            "/",
            "",
            "*",
            "/api",
            "/api/OC_TOMA",
            "/api/OC_TOMA/v2/violations/send_overdue_to_collections",
            "/api/OC_TOMA/v1/violations/send_overdue_to_collections/",
            "/API/OC_TOMA/v1/violations/send_overdue_to_collections",
        ] {
            assert_eq!(tenant(path), Err(RouteError::UnknownPath), "{path}");
        }
    }
}
