//! Which operation of which tenant a path means. The only place that knows URLs.

use matchit::Router as Paths;
use percent_encoding::percent_decode_str;
use thiserror::Error;

use crate::config::TenantId;

/// The documented operation.
pub const SEND_OVERDUE: &str = "/api/{client}/v1/violations/send_overdue_to_collections";
pub const BATCHES: &str = "/api/{client}/v1/violations/collection_batches";
pub const BATCH: &str = "/api/{client}/v1/violations/collection_batches/{batch}";
pub const ACKNOWLEDGE: &str = "/api/{client}/v1/violations/collection_batches/{batch}/acknowledge";
/// The description of all this. Nobody's in particular, and no secret.
pub const DOCUMENT: &str = "/api/openapi.json";
/// The same without a `{client}`: documented to have an error of its own.
const NOBODYS: [&str; 2] = ["/api/v1/violations/{*operation}", "/api//v1/violations/{*operation}"];
/// What can't be a batch's number: the ledger counts from 1.
const NO_BATCH: i64 = 0;

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
    ListBatches,
    ReplayBatch { batch_id: i64 },
    AcknowledgeBatch { batch_id: i64 },
}

impl Operation {
    /// The path's template, for logs.
    pub fn template(self) -> &'static str {
        match self {
            Self::SendOverdue => SEND_OVERDUE,
            Self::ListBatches => BATCHES,
            Self::ReplayBatch { .. } => BATCH,
            Self::AcknowledgeBatch { .. } => ACKNOWLEDGE,
        }
    }

    /// The methods that it answers, as an `Allow` header has them.
    pub fn allowed_methods(self) -> &'static str {
        if self.answers_get() { "GET, POST, OPTIONS" } else { "POST, OPTIONS" }
    }

    /// Whether it only reads, so that a GET with the token in `Authorization` will do.
    pub fn answers_get(self) -> bool {
        match self {
            Self::ListBatches | Self::ReplayBatch { .. } => true,
            Self::SendOverdue | Self::AcknowledgeBatch { .. } => false,
        }
    }
}

/// The path of an operation, for those who call a gateway.
pub fn path_of(operation: Operation, tenant: &TenantId) -> String {
    let path = operation.template().replace("{client}", tenant.as_str());
    match operation {
        Operation::SendOverdue | Operation::ListBatches => path,
        Operation::ReplayBatch { batch_id } | Operation::AcknowledgeBatch { batch_id } => {
            path.replace("{batch}", &batch_id.to_string())
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
    paths: Paths<Path>,
}

/// An operation that lacks its path's parameters yet.
#[derive(Debug, Clone, Copy)]
enum Path {
    Complete(Operation),
    OfBatch(fn(i64) -> Operation),
    WithoutClient,
}

impl Router {
    pub fn new() -> Self {
        let mut paths = Paths::new();
        for (path, means) in [
            (SEND_OVERDUE, Path::Complete(Operation::SendOverdue)),
            (BATCHES, Path::Complete(Operation::ListBatches)),
            (BATCH, Path::OfBatch(|batch_id| Operation::ReplayBatch { batch_id })),
            (ACKNOWLEDGE, Path::OfBatch(|batch_id| Operation::AcknowledgeBatch { batch_id })),
            (NOBODYS[0], Path::WithoutClient),
            (NOBODYS[1], Path::WithoutClient),
        ] {
            paths.insert(path, means).expect("no two of these paths are alike");
        }
        Self { paths }
    }

    /// Resolves a request's path (without its query).
    pub fn route(&self, path: &str) -> Result<Route, RouteError> {
        let found = self.paths.at(path).map_err(|_no_match| RouteError::UnknownPath)?;
        let parameter = |name| found.params.get(name).unwrap_or_default();
        let operation = match found.value {
            Path::Complete(operation) => *operation,
            Path::OfBatch(operation) => operation(batch_id(parameter("batch"))),
            Path::WithoutClient => return Err(RouteError::MissingClient),
        };
        // RFC 3986, section 2.3: a percent-encoded letter means the letter.
        let client = percent_decode_str(parameter("client")).decode_utf8().ok();
        Ok(Route { operation, tenant: client.and_then(|id| TenantId::parse(&id).ok()) })
    }
}

/// A batch's number has one spelling.
fn batch_id(text: &str) -> i64 {
    text.parse().ok().filter(|id: &i64| id.to_string() == text).unwrap_or(NO_BATCH)
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
        for path in [
            "/api/v1/violations/send_overdue_to_collections",
            "/api//v1/violations/send_overdue_to_collections",
            "/api//v1/violations/collection_batches",
            "/api/v1/violations/collection_batches/7/acknowledge",
        ] {
            assert_eq!(tenant(path), Err(RouteError::MissingClient), "{path}");
        }
    }

    #[test]
    fn a_batch_is_named_by_its_number() {
        let operation = |path: &str| Router::new().route(path).map(|route| route.operation);
        let batches = "/api/A/v1/violations/collection_batches";
        assert_eq!(operation(batches), Ok(Operation::ListBatches));
        assert_eq!(operation(&format!("{batches}/12")), Ok(Operation::ReplayBatch { batch_id: 12 }));
        assert_eq!(
            operation(&format!("{batches}/no-number")),
            Ok(Operation::ReplayBatch { batch_id: NO_BATCH })
        );
        let acknowledge = operation(&format!("{batches}/12/acknowledge"));
        assert_eq!(acknowledge, Ok(Operation::AcknowledgeBatch { batch_id: 12 }));
    }

    #[test]
    fn a_path_leads_to_the_operation_that_it_was_made_for() {
        let tenant = TenantId::parse("OC_TOMA").unwrap();
        for operation in [
            Operation::SendOverdue,
            Operation::ListBatches,
            Operation::ReplayBatch { batch_id: 7 },
            Operation::AcknowledgeBatch { batch_id: 7 },
        ] {
            let route = Router::new().route(&path_of(operation, &tenant));
            assert_eq!(route, Ok(Route { operation, tenant: Some(tenant.clone()) }));
        }
    }

    #[test]
    fn a_client_may_be_called_v1() {
        assert_eq!(tenant("/api/v1/v1/violations/collection_batches"), Ok(Some("v1".to_owned())));
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
