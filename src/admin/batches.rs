//! Batches: the ledger, shown; a batch, taken back.

use serde::Serialize;
use utoipa::ToSchema;

use super::answer::{self, Answer};
use super::call::{Call, number, word};
use super::problem::AdminProblem;
use super::refused;
use crate::ledger::oversight::{self, BatchEntry, BatchQuery};
use crate::tenant::Tenant;

const PAGE: i64 = 50;
const LARGEST_PAGE: i64 = 1_000;

#[derive(Serialize, ToSchema)]
pub struct Batches {
    /// The newest first.
    batches: Vec<BatchEntry>,
}

#[derive(Serialize, ToSchema)]
pub struct Freed {
    batch_id: i64,
    /// Violations that the next call may get.
    freed: i64,
}

/// `?ticket=`, `?person=`, `?state=`, `?limit=`
pub async fn list(tenant: &Tenant, call: &Call<'_>) -> Result<Answer, AdminProblem> {
    let [ticket, person, state, limit] = call.query(["ticket", "person", "state", "limit"])?;
    let ticket = word(ticket)?;
    let state = match state.as_deref() {
        None => None,
        Some("open") => Some("open"),
        Some("released") => Some("released"),
        Some("void") => Some("void"),
        Some(_) => return Err(AdminProblem::Query),
    };
    let person = number(person, i32::MIN..=i32::MAX)?;
    let limit = number(limit, 1..=LARGEST_PAGE)?.unwrap_or(PAGE);
    let batches = oversight::search(tenant.database(), &BatchQuery { ticket, person, state, limit }).await;
    Ok(answer::json(&Batches { batches: batches.map_err(|error| refused(call.audit, &error))? }))
}

pub async fn show(tenant: &Tenant, call: &Call<'_>) -> Result<Answer, AdminProblem> {
    call.query([])?;
    let content = oversight::show(tenant.database(), note_batch(call)).await;
    Ok(answer::json(&content.map_err(|error| refused(call.audit, &error))?))
}

pub async fn void(tenant: &Tenant, call: &Call<'_>) -> Result<Answer, AdminProblem> {
    call.query([])?;
    let (batch_id, reason) = (note_batch(call), call.reason()?);
    let freed = oversight::void(tenant.database(), batch_id, &call.actor(&reason)).await;
    let freed = freed.map_err(|error| refused(call.audit, &error))?;
    Ok(answer::json(&Freed { batch_id, freed }))
}

pub async fn requeue(tenant: &Tenant, call: &Call<'_>) -> Result<Answer, AdminProblem> {
    call.query([])?;
    let (batch_id, reason) = (note_batch(call), call.reason()?);
    let freed = oversight::requeue(tenant.database(), batch_id, &call.actor(&reason)).await;
    let freed = freed.map_err(|error| refused(call.audit, &error))?;
    Ok(answer::json(&Freed { batch_id, freed }))
}

fn note_batch(call: &Call<'_>) -> i64 {
    call.audit.object(format!("batch {}", call.route.number));
    call.route.number
}
