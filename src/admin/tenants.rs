//! Tenants: how each is doing; paused and resumed; why one of its violations is or isn't eligible; what operators did to it.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::task::spawn_blocking;
use tracing::warn;
use utoipa::ToSchema;

use super::answer::{self, Answer};
use super::call::{Call, Reason, flag, number, word};
use super::problem::AdminProblem;
use super::{Admin, refused};
use crate::access_log::chain;
use crate::audit::{self, Entry, Filter};
use crate::config::edit::{Draft, EditError};
use crate::config::{Fault, PauseConfig, TenantId};
use crate::database::{BreakerState, DatabaseError, Fault as DatabaseFault, Parameters, statements as sql};
use crate::directory::Standing;
use crate::explain;
use crate::reload::{Outcome, Trigger};
use crate::tenant::Tenant;

/// Eligible violations are counted up to here.
const ELIGIBLE_LIMIT: i64 = 100_000;
const PAGE: i64 = 50;
const LARGEST_PAGE: i64 = 1_000;

#[derive(Serialize, ToSchema)]
pub struct Tenants {
    /// By id.
    tenants: Vec<TenantEntry>,
}

/// One tenant, as this process serves it.
#[derive(Serialize, ToSchema)]
pub struct TenantEntry {
    tenant: TenantId,
    state: TenantState,
    /// The institution's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// Why it is paused, and until when.
    #[serde(skip_serializing_if = "Option::is_none")]
    paused: Option<PauseConfig>,
    /// Why it is quarantined.
    #[serde(skip_serializing_if = "Option::is_none")]
    faults: Option<Vec<Fault>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    breaker: Option<Breaker>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pool: Option<Pool>,
    /// Vendors' requests under way, deliveries included.
    in_flight: usize,
    /// What its database says; asked for with `?activity=true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    activity: Option<Activity>,
}

/// `live`: it is served. `paused`: on purpose it isn't. `quarantined`: its configuration is at fault.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TenantState {
    Live,
    Paused,
    Quarantined,
}

/// `closed`: its database is reached. `open`: calls are refused at once. `half-open`: one call finds out.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BreakerWord {
    Closed,
    Open,
    HalfOpen,
}

/// Whether its database is reached at present.
#[derive(Serialize, ToSchema)]
pub struct Breaker {
    state: BreakerWord,
    /// Of an outage so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    outage_seconds: Option<f64>,
    /// Until the next call may find out.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_in_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
}

/// Connections to its database.
#[derive(Serialize, ToSchema)]
pub struct Pool {
    open: usize,
    in_use: usize,
    /// Calls that wait for one.
    waiting: usize,
    limit: usize,
}

#[derive(Serialize, ToSchema)]
pub struct Activity {
    /// Violations that the next call would get.
    eligible: i64,
    /// Whether there are more than that: they are counted up to a bound.
    more: bool,
    #[schema(required)]
    last_claim_at: Option<Timestamp>,
    /// Batches being delivered.
    open_batches: i64,
}

/// A pause to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPause {
    reason: Reason,
    /// When it ends by itself; without it, when somebody resumes the tenant.
    until: Option<Timestamp>,
}

#[derive(Serialize, ToSchema)]
pub struct AuditEntries {
    /// The newest first.
    entries: Vec<Entry>,
}

pub fn list(admin: &Admin, call: &Call<'_>) -> Result<Answer, AdminProblem> {
    call.query([])?;
    let all = admin.gateway.directory.list().into_iter();
    let seen = all.filter(|(id, _)| call.operator.sees(id));
    let tenants = seen.map(|(id, standing)| entry(admin, &id, &standing)).collect();
    Ok(answer::json(&Tenants { tenants }))
}

/// `?activity=true` asks the tenant's database, too.
pub async fn show(admin: &Admin, call: &Call<'_>) -> Result<Answer, AdminProblem> {
    let [activity] = call.query(["activity"])?;
    let with_activity = flag(activity)?;
    let standing = admin.gateway.directory.find_standing(call.tenant_id()?);
    let standing = standing.ok_or(AdminProblem::UnknownTenant)?;
    let mut entry = entry(admin, call.tenant_id()?, &standing);
    if with_activity {
        let asked = ask(&*admin.tenant(call)?).await;
        entry.activity = Some(asked.map_err(|error| refused(call.audit, &error))?);
    }
    Ok(answer::json(&entry))
}

/// Writes the pause into the configuration and reloads it: vendors get 503 with Retry-After, also after a restart.
pub async fn pause(admin: &Admin, call: &Call<'_>) -> Result<Answer, AdminProblem> {
    call.query([])?;
    let NewPause { reason, until } = call.body()?;
    let reason = call.accept(reason)?;
    if until.is_some_and(|until| until <= admin.gateway.clock.now()) {
        return Err(AdminProblem::Value("until is over already: it must be a moment to come."));
    }
    let pause = PauseConfig { reason: reason.clone(), until };
    let detail = json!({ "until": until });
    let edit = move |main: PathBuf, tenant: TenantId| Draft::pause(&main, &tenant, &pause);
    change(admin, call, edit, (&reason, detail)).await
}

/// Takes the pause out of the configuration and reloads it.
pub async fn resume(admin: &Admin, call: &Call<'_>) -> Result<Answer, AdminProblem> {
    call.query([])?;
    let reason = call.reason()?;
    let edit = |main: PathBuf, tenant: TenantId| Draft::resume(&main, &tenant);
    change(admin, call, edit, (&reason, json!({}))).await
}

/// Edits the configuration, puts it into force, and answers how the tenant stands then.
async fn change(
    admin: &Admin,
    call: &Call<'_>,
    edit: impl FnOnce(PathBuf, TenantId) -> Result<Draft, EditError> + Send + 'static,
    (reason, detail): (&str, serde_json::Value),
) -> Result<Answer, AdminProblem> {
    let id = call.tenant_id()?.clone();
    admin.gateway.directory.find_standing(&id).ok_or(AdminProblem::UnknownTenant)?;
    let (main, tenant) = (admin.reloader.path().to_owned(), id.clone());
    let written = spawn_blocking(move || edit(main, tenant)?.write()).await;
    let written = written.map_err(|_panicked| AdminProblem::Internal)?;
    written.map_err(|error| refused(call.audit, &error))?;
    if admin.reloader.reload(Trigger::Admin).await.outcome == Outcome::Refused {
        return Err(AdminProblem::Edit(
            "It was written, but the configuration is at fault; turnpike check says where.",
        ));
    }
    let standing = admin.gateway.directory.find_standing(&id).ok_or(AdminProblem::UnknownTenant)?;
    if let Standing::Live(tenant) | Standing::Paused(tenant, _) = &standing {
        let (actor, action) = (call.actor(reason), call.route.operation.name);
        // Its database may be why it is paused: the log has the entry in any case.
        if let Err(error) = audit::record(tenant.database(), &actor, action, "tenant", &detail).await {
            warn!(tenant = %id, action, cause = chain(&error), "not in the tenant's own audit log");
        }
    }
    Ok(answer::json(&entry(admin, &id, &standing)))
}

/// `?ticket=`
pub async fn explain(tenant: &Tenant, call: &Call<'_>) -> Result<Answer, AdminProblem> {
    let [ticket] = call.query(["ticket"])?;
    let ticket = word(ticket)?.ok_or(AdminProblem::Query)?;
    let explained = explain::explain(tenant.database(), &tenant.config().eligibility, &ticket).await;
    let explained = explained.map_err(|error| refused(call.audit, &error))?;
    Ok(answer::json(&explained.ok_or(AdminProblem::UnknownTicket)?))
}

/// `?action=`, `?object=`, `?limit=`
pub async fn audit(tenant: &Tenant, call: &Call<'_>) -> Result<Answer, AdminProblem> {
    let [action, object, limit] = call.query(["action", "object", "limit"])?;
    let filter = Filter { since: None, action: word(action)?, object: word(object)? };
    let limit = number(limit, 1..=LARGEST_PAGE)?.unwrap_or(PAGE);
    let entries = audit::list(tenant.database(), &filter, limit).await;
    Ok(answer::json(&AuditEntries { entries: entries.map_err(|error| refused(call.audit, &error))? }))
}

fn entry(admin: &Admin, id: &TenantId, standing: &Standing) -> TenantEntry {
    let (state, tenant, paused, faults) = match standing {
        Standing::Live(tenant) => (TenantState::Live, Some(tenant), None, None),
        Standing::Paused(tenant, pause) => (TenantState::Paused, Some(tenant), Some(pause.clone()), None),
        Standing::Quarantined(faults) => (TenantState::Quarantined, None, None, Some(faults.to_vec())),
    };
    TenantEntry {
        tenant: id.clone(),
        state,
        name: tenant.map(|tenant| tenant.config().name.clone()),
        version: tenant.map(|tenant| tenant.version().to_owned()),
        paused,
        faults,
        breaker: tenant.map(|tenant| Breaker::from(tenant.database().breaker())),
        pool: tenant.map(|tenant| Pool::of(tenant)),
        in_flight: admin.gateway.limits.in_flight(id),
        activity: None,
    }
}

async fn ask(tenant: &Tenant) -> Result<Activity, DatabaseError> {
    let rules = &tenant.config().eligibility;
    let parameters: Parameters<'_> =
        &[&rules.grace_days, &rules.minimum_balance, &rules.exclude_categories, &(ELIGIBLE_LIMIT + 1)];
    let rows = tenant.database().query(&sql::ACTIVITY, parameters).await?;
    let row = rows.first().ok_or_else(|| DatabaseError::Unexpected(DatabaseFault::text("no row")))?;
    let counted: i64 = row.get("eligible");
    Ok(Activity {
        eligible: counted.min(ELIGIBLE_LIMIT),
        more: counted > ELIGIBLE_LIMIT,
        last_claim_at: row.get("last_claim_at"),
        open_batches: row.get("open_batches"),
    })
}

impl Pool {
    fn of(tenant: &Tenant) -> Self {
        let status = tenant.database().status();
        Self { open: status.open, in_use: status.in_use, waiting: status.waiting, limit: status.limit }
    }
}

impl From<BreakerState> for Breaker {
    fn from(state: BreakerState) -> Self {
        let closed =
            Self { state: BreakerWord::Closed, outage_seconds: None, retry_in_seconds: None, cause: None };
        match state {
            BreakerState::Closed => closed,
            BreakerState::Open { since, retry_in, cause } => Self {
                state: BreakerWord::Open,
                outage_seconds: Some(since.as_secs_f64()),
                retry_in_seconds: Some(retry_in.as_secs_f64()),
                cause: Some(cause.to_string()),
            },
            BreakerState::HalfOpen { since, cause } => Self {
                state: BreakerWord::HalfOpen,
                outage_seconds: Some(since.as_secs_f64()),
                cause: Some(cause.to_string()),
                ..closed
            },
        }
    }
}
