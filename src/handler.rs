//! One request, from its head to its answer.
//!
//! [`Gateway::answer`] never fails: it gives the request its id and its log line, and turns every error into its answer.
//! `Gateway::serve` is the way itself, a stage a line. Every refusal before `authenticate` takes no connection.

mod correlation;

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::{Method, Request};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use self::correlation::{request_id, trace_parent};
use crate::access_log::{AccessLog, Outcome};
use crate::auth::{AuthError, Authenticator, Credential, Grant};
use crate::batches;
use crate::claim::{Caller, ClaimError};
use crate::clock::Clock;
use crate::config::{Config, GatewayConfig, TenantId};
use crate::database::Budget;
use crate::delivery::{Delivery, DeliveryError, Order, Precedence};
use crate::directory::{Directory, DirectoryError};
use crate::limits::{Admitted, LimitError, Limits, Peers, Standing};
use crate::metrics::Metrics;
use crate::openapi;
use crate::problem::Problem;
use crate::request::{self, Wanted};
use crate::response::{self, Answer};
use crate::router::{DOCUMENT, Route, Router};
use crate::tenant::Tenant;
use crate::traces::{RequestTrace, SpanCounts};
use crate::transport::Socket;

/// A caller who isn't let in is answered no sooner than this, so that the time doesn't tell an unknown client (no database
/// to ask) from an unknown token; and who comes too often doesn't come the oftener for being refused quickly.
const REFUSAL_FLOOR: Duration = Duration::from_millis(50);

/// All that serving needs, shared by every connection.
pub struct Gateway {
    config: ArcSwap<GatewayConfig>,
    pub directory: Directory,
    pub clock: Clock,
    /// Room for vendors' connections.
    pub peers: Peers,
    router: Router,
    document: Bytes,
    authenticator: Authenticator,
    pub limits: Limits,
    precedence: Precedence,
    pub metrics: Arc<Metrics>,
    pub budget: Arc<Budget>,
    spans: OnceLock<Arc<SpanCounts>>,
    /// Deliveries outlive their handlers; whoever stops the process waits for these.
    pub deliveries: TaskTracker,
    /// Cancelled when deliveries have no more time.
    pub stop: CancellationToken,
}

impl Gateway {
    pub fn new(config: &Config) -> Self {
        Self::with_clock(config, Clock::system())
    }

    /// [`Gateway::new`] by another clock.
    pub fn with_clock(config: &Config, clock: Clock) -> Self {
        let host =
            nix::unistd::gethostname().ok().and_then(|host| host.into_string().ok()).unwrap_or_default();
        let name = format!("{host}/{}/{}", std::process::id(), Uuid::new_v4().simple());
        let metrics = Arc::new(Metrics::new(config.gateway.telemetry.metrics_per_tenant_histograms));
        metrics.config_loaded(clock.now());
        let budget = Budget::observed(config.gateway.budget.clone(), metrics.pool_wait.clone());
        Self {
            config: ArcSwap::from_pointee(config.gateway.clone()),
            directory: Directory::open(config, name, clock.clone(), Arc::clone(&budget)),
            clock,
            peers: Peers::new(config.gateway.max_peers),
            router: Router::new(),
            document: Bytes::from(openapi::render(&openapi::vendor::document())),
            authenticator: Authenticator::new(&config.gateway).observed(&metrics.auth_cache),
            limits: Limits::new(),
            precedence: Precedence::default(),
            metrics,
            budget,
            spans: OnceLock::new(),
            deliveries: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }

    /// Has the spans counted that the process sends to a collector; once.
    pub fn count_spans(&self, counts: Arc<SpanCounts>) {
        let _ = self.spans.set(counts);
    }

    /// What became of spans; None where there is no collector.
    pub fn spans(&self) -> Option<&SpanCounts> {
        self.spans.get().map(Arc::as_ref)
    }

    /// What holds for every tenant at present; a reload may change it.
    pub fn config(&self) -> Guard<Arc<GatewayConfig>> {
        self.config.load()
    }

    /// Puts other settings into force. Where fewer peers are allowed than are connected, new ones wait until enough have
    /// gone.
    pub fn reconfigure(&self, config: GatewayConfig) {
        self.peers.resize(self.config().max_peers, config.max_peers);
        self.config.store(Arc::new(config));
    }

    /// Forgets what is remembered of a tenant's token that was revoked, or whose end has changed.
    pub fn forget_token(&self, tenant: &TenantId, token_id: i64) {
        self.authenticator.forget_token(tenant, token_id);
    }

    /// Answers one request of the vendor at `peer`. Safe to drop: what was claimed is then voided.
    pub async fn answer(&self, request: Request<Incoming>, peer: IpAddr, socket: Socket) -> Answer {
        let _busy = socket.busy();
        let headers = request.headers().clone();
        let metrics = Arc::clone(&self.metrics);
        let trace = RequestTrace::begin(|| trace_parent(&headers));
        let log =
            Arc::new(AccessLog::start(request_id(&headers), request.method().as_str(), peer, metrics, trace));
        let (head, mut body) = request.into_parts();
        let mut answer = match self.serve(&head, &mut body, peer, socket, &log).await {
            Ok(answer) => answer,
            Err(Refused { problem, standings }) => {
                log.outcome(Outcome::Refused);
                log.error_code(problem.describe().code);
                request::discard(&mut body).await;
                if problem.is_answered_slowly() {
                    sleep_until(log.started() + REFUSAL_FLOOR).await;
                }
                let mut answer = response::refusal(problem, log.request_id(), &headers);
                response::tell_limits(&mut answer, &standings);
                answer
            }
        };
        if let Some(bytes) = response::whole_size(&answer) {
            log.outcome(Outcome::Answered);
            log.sent(bytes);
        }
        response::dress(&mut answer, log.request_id());
        if let Some(at) = log.token_expires_at() {
            response::warn_of_expiry(&mut answer, at);
        }
        self.show_telemetry(&mut answer, &log);
        log.status(answer.status().as_u16());
        answer
    }

    /// What a caller is told of the request's trace, and, where it was let in, of what it took: a refusal's time would tell a
    /// stranger what was looked up.
    fn show_telemetry(&self, answer: &mut Answer, log: &AccessLog) {
        if let Some(traceparent) = log.traceparent() {
            response::trace(answer, &traceparent);
        }
        if self.config().telemetry.server_timing && answer.status().is_success() {
            response::timing(answer, &log.timings());
        }
    }

    async fn serve(
        &self,
        head: &Parts,
        body: &mut Incoming,
        peer: IpAddr,
        socket: Socket,
        log: &Arc<AccessLog>,
    ) -> Result<Answer, Refused> {
        let deadline = log.started() + self.config().request_timeout;
        request::check_host(head).map_err(|error| refused(log, &error))?;
        if head.uri.path() == DOCUMENT {
            log.route(DOCUMENT);
            return Ok(self.describe(&head.method)?);
        }
        let route = self.router.route(head.uri.path()).map_err(|error| refused(log, &error))?;
        log.route(route.operation.template());
        let presented = match head.method {
            Method::POST => request::read_post(route.operation, &head.headers, body, deadline).await,
            Method::GET if route.operation.answers_get() => request::read_get(route.operation, head),
            Method::OPTIONS => return Ok(response::preflight(route.operation.allowed_methods())),
            _ => return Err(Problem::WrongMethod { allowed: route.operation.allowed_methods() }.into()),
        };
        let presented = presented.map_err(|error| refused(log, &error))?;
        let credential = Credential::new(&presented.token, peer);
        let (tenant, grant) = self.authenticate(&route, &credential, log).await?;
        let warning = self.config().token_expiry_warning;
        log.token(grant.token_id, warning.and_then(|warning| grant.expires_within(warning)));
        let admitted = self.limits.admit(tenant.config(), credential.token).await;
        let Admitted { in_flight, standings } = admitted.map_err(|error| limited(log, &error))?;
        let delivery = Delivery {
            tenant,
            in_flight,
            socket,
            log: Arc::clone(log),
            stop: self.stop.clone(),
            coding: request::accepted_coding(&head.headers),
            acknowledged: self.config().await_acknowledgement,
            precedence: self.precedence.clone(),
        };
        match self.fulfil(presented.wanted, delivery, credential, &grant).await {
            Ok(mut answer) => {
                response::tell_limits(&mut answer, &standings);
                Ok(answer)
            }
            Err(problem) => Err(Refused { problem, standings }),
        }
    }

    /// Gives an admitted caller what it wants.
    async fn fulfil(
        &self,
        wanted: Wanted,
        delivery: Delivery,
        credential: Credential,
        grant: &Grant,
    ) -> Result<Answer, Problem> {
        let (tenant, log) = (&delivery.tenant, &delivery.log);
        if !wanted.is_checked_by_its_statement() {
            let confirmed = self.authenticator.confirm(tenant, &credential).await;
            confirmed.map_err(|error| refused(log, &error))?;
        }
        let token = &credential.token;
        match wanted {
            Wanted::Delivery(order) => {
                let order = if grant.sandbox { order.into_preview() } else { order };
                self.deliver(delivery, credential, order).await
            }
            Wanted::Batches(page) => {
                let listed = batches::list(tenant.database(), token, page).await;
                let (batches, more) = listed.map_err(|error| refused(log, &error))?;
                Ok(response::batches(&batches, more))
            }
            Wanted::Acknowledgement { batch_id, records } => {
                let acknowledged = batches::acknowledge(tenant.database(), token, batch_id, records).await;
                Ok(response::batch(&acknowledged.map_err(|error| refused(log, &error))?))
            }
        }
    }

    fn describe(&self, method: &Method) -> Result<Answer, Problem> {
        const METHODS: &str = "GET, HEAD, OPTIONS";
        match *method {
            Method::GET | Method::HEAD => Ok(response::document(self.document.clone())),
            Method::OPTIONS => Ok(response::preflight(METHODS)),
            _ => Err(Problem::WrongMethod { allowed: METHODS }),
        }
    }

    fn find_tenant(&self, route: &Route, log: &AccessLog) -> Result<Arc<Tenant>, Problem> {
        let id = route.tenant.as_ref().ok_or(Problem::Unauthenticated)?;
        let found = self.directory.find(id);
        if !matches!(found, Err(DirectoryError::UnknownTenant)) {
            log.tenant(id.as_str());
        }
        found.map_err(|error| refused(log, &error))
    }

    /// Who calls whom. A caller who isn't let in has used up a try, the same whether the client exists or not.
    async fn authenticate(
        &self,
        route: &Route,
        credential: &Credential,
        log: &AccessLog,
    ) -> Result<(Arc<Tenant>, Arc<Grant>), Refused> {
        let tries = self.limits.tries(self.config().failures, credential.address, route.tenant.as_ref());
        let tenant = match self.find_tenant(route, log) {
            Ok(tenant) => tenant,
            Err(Problem::Unauthenticated) => {
                tries.take().await.map_err(|error| limited(log, &error))?;
                return Err(Problem::Unauthenticated.into());
            }
            Err(problem) => return Err(problem.into()),
        };
        let _phase = log.phase("authenticate");
        let authenticating = Instant::now();
        let authenticated = match self.authenticator.recall(&tenant, credential).await {
            Some(grant) => Ok(grant),
            None => {
                let _waiting = self.limits.wait(tenant.config()).map_err(|error| limited(log, &error))?;
                self.authenticator.authenticate(&tenant, credential, tries).await
            }
        };
        log.authenticate_seconds(authenticating.elapsed());
        match authenticated {
            Ok(grant) => Ok((tenant, grant)),
            Err(AuthError::NotNow(error)) => Err(limited(log, &error)),
            Err(error) => Err(refused(log, &error).into()),
        }
    }

    /// Runs the delivery in a task of its own, and answers with its head.
    async fn deliver(
        &self,
        delivery: Delivery,
        credential: Credential,
        order: Order,
    ) -> Result<Answer, Problem> {
        let (tenant, log) = (Arc::clone(&delivery.tenant), Arc::clone(&delivery.log));
        let caller = Caller {
            token: credential.token,
            address: credential.address,
            request_id: log.request_id().to_owned(),
        };
        let (head, told) = oneshot::channel();
        self.deliveries.spawn(delivery.run(order, caller, head));
        match told.await.unwrap_or_else(|_panicked| Err(DeliveryError::Broken)) {
            Ok(head) => Ok(response::records(head)),
            Err(error) => {
                if let DeliveryError::Claim(ClaimError::Credential | ClaimError::Permission) = error {
                    self.authenticator.forget(&tenant, &credential).await;
                }
                Err(refused(&log, &error))
            }
        }
    }
}

/// What a caller is told who doesn't get what it wants.
struct Refused {
    problem: Problem,
    /// Where it stands in the rates that count it.
    standings: Vec<Standing>,
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self { problem, standings: Vec::new() }
    }
}

fn limited(log: &AccessLog, error: &LimitError) -> Refused {
    Refused { problem: refused(log, error), standings: error.standing().into_iter().collect() }
}

/// Notes why, and decides what the caller is told.
fn refused<'a, E>(log: &AccessLog, error: &'a E) -> Problem
where
    E: std::error::Error + 'static,
    Problem: From<&'a E>,
{
    log.cause(error);
    Problem::from(error)
}
