//! The operators' listener: health, and a JSON API for what operators do.
//!
//! [`listener`] accepts a peer and tells who it can be; [`router`] tells what a request means; [`keys`] takes a token's word for
//! who the [`operator`] is; the verbs are in `tenants`, `tokens`, `batches` and `process`; `problem` decides every refusal's
//! status and words, `answer` writes it, and `audit` the request's one line. [`Admin::answer`] leads it.
//!
//! `/livez` answers as long as the process runs; `/readyz` until it begins to drain. Neither asks a tenant's database: one
//! institution's outage must not take the gateway out of a load balancer for all the others.

mod answer;
mod audit;
mod batches;
mod call;
pub mod keys;
pub mod listener;
pub mod openapi;
pub mod operator;
mod problem;
mod process;
pub mod router;
mod tenants;
mod tokens;

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderMap};
use hyper::{Request, StatusCode};
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use self::answer::Answer;
use self::audit::Audit;
use self::call::Call;
use self::keys::OperatorKeys;
use self::listener::Peer;
use self::operator::Operator;
use self::problem::AdminProblem;
use self::router::{Operation, Route, Router, Verb};
use crate::access_log::chain;
use crate::directory::Standing;
use crate::handler::Gateway;
use crate::openapi::render;
use crate::reload::Reloader;
use crate::scrape;
use crate::tenant::Tenant;

/// All that operators are served with.
pub struct Admin {
    gateway: Arc<Gateway>,
    reloader: Arc<Reloader>,
    /// Cancelled when the gateway takes no new vendor connections any more; whoever cancels it has it drain.
    draining: CancellationToken,
    keys: ArcSwap<OperatorKeys>,
    router: Router,
    document: Bytes,
    started: Instant,
}

impl Admin {
    pub fn new(
        gateway: Arc<Gateway>,
        reloader: Arc<Reloader>,
        keys: OperatorKeys,
        draining: CancellationToken,
    ) -> Arc<Self> {
        let (router, document) = (Router::new(), Bytes::from(render(&openapi::document())));
        let keys = ArcSwap::from_pointee(keys);
        Arc::new(Self { gateway, reloader, draining, keys, router, document, started: Instant::now() })
    }

    /// Answers one request. What it began to do goes on where the operator hangs up meanwhile.
    pub async fn answer(self: Arc<Self>, request: Request<Incoming>, peer: Peer) -> Answer {
        let route = match self.router.route(request.method(), request.uri().path()) {
            Ok(route) => route,
            Err(problem) => return answer::refusal(problem, &call::request_id(request.headers())),
        };
        match route.operation.verb {
            Verb::Live => answer::text(StatusCode::OK, "alive\n"),
            Verb::Ready if self.draining.is_cancelled() => {
                answer::text(StatusCode::SERVICE_UNAVAILABLE, "draining\n")
            }
            Verb::Describe => answer::ready_json(self.document.clone()),
            Verb::Ready => answer::text(StatusCode::OK, "ready\n"),
            // Without keys the listener is a loopback address or a socket: who reaches it may see numbers.
            Verb::ShowMetrics if self.keys.load().is_empty() => answer::metrics(self.page().await),
            _ => {
                let request_id = call::request_id(request.headers());
                let broken = answer::refusal(AdminProblem::Internal, &request_id);
                let task = tokio::spawn(async move { self.lead(request, route, peer, request_id).await });
                task.await.unwrap_or(broken)
            }
        }
    }

    /// Leads a request to its answer and its line.
    async fn lead(&self, request: Request<Incoming>, route: Route, peer: Peer, request_id: String) -> Answer {
        let audit = Audit::start(route.operation, peer, &request_id);
        let verb = route.operation.verb;
        let answer = match self.serve(request, route, peer, &audit).await {
            Ok(answer) => answer::dress(answer, &request_id),
            Err(problem) => answer::refusal(problem, &request_id),
        };
        // Scrapes that work come every few seconds, and say nothing.
        if verb != Verb::ShowMetrics || !answer.status().is_success() {
            audit.finish(answer.status());
        }
        answer
    }

    async fn serve(
        &self,
        request: Request<Incoming>,
        route: Route,
        peer: Peer,
        audit: &Audit,
    ) -> Result<Answer, AdminProblem> {
        let operator = self.authenticate(request.headers(), peer).inspect_err(|problem| {
            if let AdminProblem::Token(error) = problem {
                audit.cause(error);
            }
        })?;
        audit.actor(&operator.actor);
        authorize(&operator, route.operation)?;
        if let Some(tenant) = route.tenant.as_ref().filter(|tenant| operator.sees(tenant)) {
            audit.tenant(tenant);
        }
        let call = Call::read(request, route, operator, audit).await?;
        if call.route.operation.path.contains("{tenant}") {
            self.gateway.directory.find_standing(call.tenant_id()?).ok_or(AdminProblem::UnknownTenant)?;
        }
        match call.route.operation.verb {
            Verb::Live | Verb::Ready | Verb::Describe => Err(AdminProblem::UnknownPath),
            Verb::ShowMetrics => Ok(answer::metrics(self.page().await)),
            Verb::ShowGateway => process::show(self),
            Verb::Drain => process::drain(self, &call),
            Verb::Reload => process::reload(self, &call).await,
            Verb::ListTenants => tenants::list(self, &call),
            Verb::ShowTenant => tenants::show(self, &call).await,
            Verb::ListBatches => batches::list(&*self.tenant(&call)?, &call).await,
            Verb::ShowBatch => batches::show(&*self.tenant(&call)?, &call).await,
            Verb::VoidBatch => batches::void(&*self.tenant(&call)?, &call).await,
            Verb::RequeueBatch => batches::requeue(&*self.tenant(&call)?, &call).await,
            Verb::PauseTenant => tenants::pause(self, &call).await,
            Verb::ResumeTenant => tenants::resume(self, &call).await,
            Verb::Explain => tenants::explain(&*self.tenant(&call)?, &call).await,
            Verb::ListAudit => tenants::audit(&*self.tenant(&call)?, &call).await,
            Verb::ListTokens => tokens::list(&*self.tenant(&call)?, &call).await,
            Verb::IssueToken => tokens::issue(&*self.tenant(&call)?, &call).await,
            Verb::RotateToken => tokens::rotate(self, &*self.tenant(&call)?, &call).await,
            Verb::RevokeToken => tokens::revoke(self, &*self.tenant(&call)?, &call).await,
        }
    }

    /// The metrics, written beside the workers that vendors wait for; None after a defect of ours.
    async fn page(&self) -> Option<String> {
        let gateway = Arc::clone(&self.gateway);
        spawn_blocking(move || scrape::page(&gateway)).await.ok()
    }

    /// A peer of the Unix socket is who the kernel says; everybody else shows a token.
    fn authenticate(&self, headers: &HeaderMap, peer: Peer) -> Result<Operator, AdminProblem> {
        if let Peer::Local { uid, trusted: true } = peer {
            return Ok(Operator::local(uid));
        }
        if self.keys.load().is_empty() {
            return Err(AdminProblem::NoKeys);
        }
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(AdminProblem::NoToken);
        };
        let (scheme, token) = value.to_str().ok().and_then(|text| text.split_once(' ')).unwrap_or_default();
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(AdminProblem::NoToken);
        }
        Ok(self.keys.load().authenticate(token.trim())?)
    }

    /// The tenant that a call is about, also where it is paused: that is for vendors. One that the operator isn't for is
    /// answered like one that there isn't.
    fn tenant(&self, call: &Call<'_>) -> Result<Arc<Tenant>, AdminProblem> {
        match self.gateway.directory.find_standing(call.tenant_id()?) {
            Some(Standing::Live(tenant) | Standing::Paused(tenant, _)) => Ok(tenant),
            Some(Standing::Quarantined(_)) => Err(AdminProblem::Quarantined),
            None => Err(AdminProblem::UnknownTenant),
        }
    }

    /// Takes operators' keys from the configuration as it is after each reload, for as long as it is polled. Where they can't
    /// be used, those before stay.
    pub async fn follow_reloads(self: Arc<Self>) {
        let mut reloads = self.reloader.reloads();
        while reloads.changed().await.is_ok() {
            let operators = self.gateway.config().admin.operators.clone();
            match spawn_blocking(move || OperatorKeys::load(&operators)).await {
                Ok(Ok(keys)) => self.keys.store(Arc::new(keys)),
                Ok(Err(error)) => warn!(cause = chain(&error), "operators' keys stay as they were"),
                Err(_panicked) => {}
            }
        }
    }
}

fn authorize(operator: &Operator, operation: &Operation) -> Result<(), AdminProblem> {
    match operation.scope {
        Some(scope) if !operator.has(scope) => Err(AdminProblem::MissingScope(scope)),
        _ => Ok(()),
    }
}

/// Notes why, and decides what the operator is told.
fn refused<E>(audit: &Audit, error: &E) -> AdminProblem
where
    E: std::error::Error + 'static,
    for<'a> AdminProblem: From<&'a E>,
{
    audit.cause(error);
    AdminProblem::from(error)
}
