//! The process as a whole: what it is doing, its configuration, and its end.

use serde::Serialize;
use tracing::info;
use utoipa::ToSchema;

use super::Admin;
use super::answer::{self, Answer};
use super::call::{Call, flag};
use super::problem::AdminProblem;
use crate::reload::{Outcome, Trigger};

#[derive(Serialize, ToSchema)]
pub struct GatewayEntry {
    version: &'static str,
    uptime_seconds: u64,
    /// Whether it takes no new calls any more.
    draining: bool,
    /// Tenants that are served.
    tenants: usize,
    /// Answers on their way, of all tenants.
    deliveries: usize,
}

#[derive(Serialize, ToSchema)]
pub struct Draining {
    draining: bool,
    deliveries: usize,
}

pub fn show(admin: &Admin) -> Result<Answer, AdminProblem> {
    Ok(answer::json(&GatewayEntry {
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: admin.started.elapsed().as_secs(),
        draining: admin.draining.is_cancelled(),
        tenants: admin.gateway.directory.live().len(),
        deliveries: admin.gateway.deliveries.len(),
    }))
}

/// The same as SIGTERM: the process takes no new calls, ends those under way, and then itself.
pub fn drain(admin: &Admin, call: &Call<'_>) -> Result<Answer, AdminProblem> {
    call.query([])?;
    call.reason()?;
    info!(actor = call.operator.actor, "draining on an operator's order");
    admin.draining.cancel();
    Ok(answer::accepted(&Draining { draining: true, deliveries: admin.gateway.deliveries.len() }))
}

/// Has the configuration's files read and put into force, or with `?dry_run=true` tells what that would do. A reload that is
/// refused is answered 422, with the same report.
pub async fn reload(admin: &Admin, call: &Call<'_>) -> Result<Answer, AdminProblem> {
    let [dry_run] = call.query(["dry_run"])?;
    let dry_run = flag(dry_run)?;
    call.reason()?;
    let report =
        if dry_run { admin.reloader.dry_run().await } else { admin.reloader.reload(Trigger::Admin).await };
    Ok(match report.outcome {
        Outcome::Applied => answer::json(&report),
        Outcome::Refused => answer::unprocessable(&report),
    })
}
