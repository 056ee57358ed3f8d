//! Tenants: how each is doing.

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::Admin;
use super::answer::{self, Answer};
use super::call::{Call, flag};
use super::problem::AdminProblem;
use super::refused;
use crate::database::{BreakerState, DatabaseError, Fault, Parameters, statements as sql};
use crate::tenant::Tenant;

/// Eligible violations are counted up to here.
const ELIGIBLE_LIMIT: i64 = 100_000;

#[derive(Serialize, ToSchema)]
pub struct Tenants {
    /// By id.
    tenants: Vec<TenantEntry>,
}

/// One tenant, as this process serves it.
#[derive(Serialize, ToSchema)]
pub struct TenantEntry {
    tenant: String,
    /// The institution's name.
    name: String,
    version: String,
    state: TenantState,
    breaker: Breaker,
    pool: Pool,
    /// What its database says; asked for with `?activity=true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    activity: Option<Activity>,
}

/// Whether it is served.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TenantState {
    Live,
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
    last_claim_at: Option<Timestamp>,
    /// Batches being delivered.
    open_batches: i64,
}

pub fn list(admin: &Admin, call: &Call<'_>) -> Result<Answer, AdminProblem> {
    call.query([])?;
    let seen = admin.gateway.directory.live();
    let seen = seen.iter().filter(|tenant| call.operator.sees(tenant.id()));
    let mut tenants: Vec<TenantEntry> = seen.map(|tenant| TenantEntry::from(&**tenant)).collect();
    tenants.sort_by(|one, other| one.tenant.cmp(&other.tenant));
    Ok(answer::json(&Tenants { tenants }))
}

/// `?activity=true` asks the tenant's database, too.
pub async fn show(admin: &Admin, call: &Call<'_>) -> Result<Answer, AdminProblem> {
    let [activity] = call.query(["activity"])?;
    let with_activity = flag(activity)?;
    let tenant = admin.tenant(call)?;
    let mut entry = TenantEntry::from(&*tenant);
    if with_activity {
        let asked = ask(&tenant).await;
        entry.activity = Some(asked.map_err(|error| refused(call.audit, &error))?);
    }
    Ok(answer::json(&entry))
}

async fn ask(tenant: &Tenant) -> Result<Activity, DatabaseError> {
    let rules = &tenant.config().eligibility;
    let parameters: Parameters<'_> =
        &[&rules.grace_days, &rules.minimum_balance, &rules.exclude_categories, &(ELIGIBLE_LIMIT + 1)];
    let rows = tenant.database().query(&sql::ACTIVITY, parameters).await?;
    let row = rows.first().ok_or_else(|| DatabaseError::Unexpected(Fault::text("no row")))?;
    let counted: i64 = row.get("eligible");
    Ok(Activity {
        eligible: counted.min(ELIGIBLE_LIMIT),
        more: counted > ELIGIBLE_LIMIT,
        last_claim_at: row.get("last_claim_at"),
        open_batches: row.get("open_batches"),
    })
}

impl From<&Tenant> for TenantEntry {
    fn from(tenant: &Tenant) -> Self {
        let pool = tenant.database().status();
        Self {
            tenant: tenant.id().to_string(),
            name: tenant.config().name.clone(),
            version: tenant.version().to_owned(),
            state: TenantState::Live,
            breaker: Breaker::from(tenant.database().breaker()),
            pool: Pool { open: pool.open, in_use: pool.in_use, waiting: pool.waiting, limit: pool.limit },
            activity: None,
        }
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
