//! Every URL of the operators' listener: what each means, by which method, and which scope it asks for.

use hyper::Method;
use matchit::{Params, Router as Paths};
use percent_encoding::percent_decode_str;

use super::operator::Scope;
use super::problem::AdminProblem;
use crate::config::TenantId;

/// What an operator can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Live,
    Ready,
    ShowMetrics,
    Describe,
    ShowGateway,
    ListTenants,
    ShowTenant,
    ListBatches,
    ShowBatch,
    PauseTenant,
    ResumeTenant,
    Explain,
    ListAudit,
    ListTokens,
    IssueToken,
    RotateToken,
    RevokeToken,
    VoidBatch,
    RequeueBatch,
    Drain,
    Reload,
}

/// A path, its one method, and what it takes to be let in.
#[derive(Debug)]
pub struct Operation {
    pub verb: Verb,
    /// In the audit and in the API's description.
    pub name: &'static str,
    pub method: Method,
    pub path: &'static str,
    /// None: whoever reaches the listener may.
    pub scope: Option<Scope>,
}

macro_rules! operations {
    ($($verb:ident $name:literal: $method:ident $path:literal $(for $scope:ident)?;)*) => {
        /// Everything that there is.
        pub const OPERATIONS: &[Operation] = &[$(Operation {
            verb: Verb::$verb,
            name: $name,
            method: Method::$method,
            path: $path,
            scope: operations!(@scope $($scope)?),
        }),*];
    };
    (@scope $scope:ident) => { Some(Scope::$scope) };
    (@scope) => { None };
}

operations! {
    Live "live": GET "/livez";
    Ready "ready": GET "/readyz";
    ShowMetrics "metrics.show": GET "/metrics" for MetricsRead;
    Describe "openapi": GET "/admin/v1/openapi.json";
    ShowGateway "gateway.show": GET "/admin/v1/gateway" for TenantsRead;
    Reload "gateway.reload": POST "/admin/v1/reload" for ConfigReload;
    Drain "gateway.drain": POST "/admin/v1/drain" for ConfigReload;
    ListTenants "tenant.list": GET "/admin/v1/tenants" for TenantsRead;
    ShowTenant "tenant.show": GET "/admin/v1/tenants/{tenant}" for TenantsRead;
    PauseTenant "tenant.pause": POST "/admin/v1/tenants/{tenant}/pause" for TenantsWrite;
    ResumeTenant "tenant.resume": POST "/admin/v1/tenants/{tenant}/resume" for TenantsWrite;
    Explain "violation.explain": GET "/admin/v1/tenants/{tenant}/explain" for TenantsRead;
    ListAudit "audit.list": GET "/admin/v1/tenants/{tenant}/audit" for TenantsRead;
    ListTokens "token.list": GET "/admin/v1/tenants/{tenant}/tokens" for TenantsRead;
    IssueToken "token.issue": POST "/admin/v1/tenants/{tenant}/tokens" for TokensWrite;
    RotateToken "token.rotate": POST "/admin/v1/tenants/{tenant}/tokens/{number}/rotate" for TokensWrite;
    RevokeToken "token.revoke": POST "/admin/v1/tenants/{tenant}/tokens/{number}/revoke" for TokensWrite;
    ListBatches "batch.list": GET "/admin/v1/tenants/{tenant}/batches" for TenantsRead;
    ShowBatch "batch.show": GET "/admin/v1/tenants/{tenant}/batches/{number}" for TenantsRead;
    VoidBatch "batch.void": POST "/admin/v1/tenants/{tenant}/batches/{number}/void" for BatchesWrite;
    RequeueBatch "batch.requeue": POST "/admin/v1/tenants/{tenant}/batches/{number}/requeue" for BatchesWrite;
}

impl Operation {
    pub fn is_write(&self) -> bool {
        self.method != Method::GET
    }
}

/// An operation with its path's parameters.
#[derive(Debug, Clone)]
pub struct Route {
    pub operation: &'static Operation,
    /// None where the path has none, or what stands there can't be any tenant's id.
    pub tenant: Option<TenantId>,
    /// A batch's or a token's number; 0, which none has, where it isn't one.
    pub number: i64,
}

/// The paths, prepared once.
pub struct Router {
    paths: Paths<Vec<&'static Operation>>,
}

impl Router {
    pub fn new() -> Self {
        let mut paths: Paths<Vec<&'static Operation>> = Paths::new();
        for operation in OPERATIONS {
            match paths.at_mut(operation.path) {
                Ok(known) if known.value[0].path == operation.path => known.value.push(operation),
                _ => paths.insert(operation.path, vec![operation]).expect("no two of these paths are alike"),
            }
        }
        Self { paths }
    }

    /// Resolves a request's method and path (without its query). A HEAD is answered like its GET.
    pub fn route(&self, method: &Method, path: &str) -> Result<Route, AdminProblem> {
        let found = self.paths.at(path).map_err(|_no_match| AdminProblem::UnknownPath)?;
        let method = if method == Method::HEAD { &Method::GET } else { method };
        let operation = found.value.iter().find(|operation| operation.method == *method);
        let operation =
            operation.ok_or_else(|| AdminProblem::WrongMethod { allowed: allowed(found.value) })?;
        Ok(Route {
            operation,
            tenant: tenant(&found.params),
            number: found.params.get("number").map_or(0, number),
        })
    }
}

impl Default for Router {
    fn default() -> Self {
        Self::new()
    }
}

fn allowed(operations: &[&Operation]) -> &'static str {
    let gets = operations.iter().any(|operation| operation.method == Method::GET);
    let posts = operations.iter().any(|operation| operation.method == Method::POST);
    match (gets, posts) {
        (true, true) => "GET, HEAD, POST",
        (true, false) => "GET, HEAD",
        (false, _) => "POST",
    }
}

fn tenant(params: &Params<'_, '_>) -> Option<TenantId> {
    let text = percent_decode_str(params.get("tenant")?).decode_utf8().ok()?;
    TenantId::parse(&text).ok()
}

/// A number has one spelling.
fn number(text: &str) -> i64 {
    text.parse().ok().filter(|number: &i64| *number > 0 && number.to_string() == text).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(method: &Method, path: &str) -> Result<(Verb, Option<String>, i64), AdminProblem> {
        let route = Router::new().route(method, path)?;
        Ok((route.operation.verb, route.tenant.map(|tenant| tenant.to_string()), route.number))
    }

    #[test]
    fn every_operation_is_found_by_its_path() {
        for operation in OPERATIONS {
            let path = operation.path.replace("{tenant}", "OC_TOMA").replace("{number}", "7");
            assert_eq!(route(&operation.method, &path).unwrap().0, operation.verb, "{path}");
        }
    }

    #[test]
    fn parameters_are_read_off_the_path() {
        let path = "/admin/v1/tenants/OC_TOMA/batches/12";
        assert_eq!(route(&Method::GET, path), Ok((Verb::ShowBatch, Some("OC_TOMA".to_owned()), 12)));
        let path = "/admin/v1/tenants/a%2Fb/batches/012";
        assert_eq!(route(&Method::HEAD, path), Ok((Verb::ShowBatch, None, 0)));
    }

    #[test]
    fn a_wrong_method_is_told_the_right_ones() {
        let problem = route(&Method::DELETE, "/admin/v1/tenants").unwrap_err();
        assert_eq!(problem, AdminProblem::WrongMethod { allowed: "GET, HEAD" });
        let problem = route(&Method::GET, "/admin/v1/drain").unwrap_err();
        assert_eq!(problem, AdminProblem::WrongMethod { allowed: "POST" });
    }

    #[test]
    fn other_paths_are_unknown() {
        for path in ["/", "/admin", "/admin/v1", "/admin/v2/tenants", "/admin/v1/tenants/", "/livez/"] {
            assert_eq!(route(&Method::GET, path), Err(AdminProblem::UnknownPath), "{path}");
        }
    }
}
