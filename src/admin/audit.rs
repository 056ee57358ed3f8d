//! An operator's request in one log line: who did what to which tenant, why, and what came of it.
//!
//! What changes something is an event of `turnpike::audit`, what only looks one of `turnpike::operator`. Never a token, a
//! body, or a path as it came.

use std::error::Error;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hyper::StatusCode;
use tokio::time::Instant;
use tracing::info;

use super::listener::Peer;
use super::router::Operation;
use crate::access_log::chain;
use crate::config::TenantId;

/// The line, filled in as the request goes its way.
pub struct Audit {
    operation: &'static Operation,
    peer: Peer,
    request_id: String,
    started: Instant,
    /// std Mutex: held for one assignment, never across an await.
    fields: Mutex<Fields>,
}

#[derive(Default)]
struct Fields {
    actor: Option<String>,
    tenant: Option<TenantId>,
    object: Option<String>,
    reason: Option<String>,
    cause: Option<String>,
}

impl Audit {
    pub fn start(operation: &'static Operation, peer: Peer, request_id: &str) -> Self {
        let (request_id, started) = (request_id.to_owned(), Instant::now());
        Self { operation, peer, request_id, started, fields: Mutex::default() }
    }

    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    /// Who it is, once that is proved.
    pub fn actor(&self, actor: &str) {
        self.fields().actor = Some(actor.to_owned());
    }

    pub fn tenant(&self, tenant: &TenantId) {
        self.fields().tenant = Some(tenant.clone());
    }

    /// What of the tenant's: `batch 12`, `token 5`.
    pub fn object(&self, object: String) {
        self.fields().object = Some(object);
    }

    /// Why, in the operator's words.
    pub fn reason(&self, reason: &str) {
        self.fields().reason = Some(reason.to_owned());
    }

    /// Why it failed, with every cause beneath.
    pub fn cause(&self, error: &dyn Error) {
        self.fields().cause = Some(chain(error));
    }

    /// Writes the line.
    pub fn finish(&self, status: StatusCode) {
        let fields = self.fields();
        let outcome = match status {
            status if status.is_success() => "done",
            status if status.is_client_error() => "refused",
            _ => "failed",
        };
        let tenant = fields.tenant.as_ref().map(TenantId::as_str);
        // A target is part of the event's place in the code: one event each.
        macro_rules! event {
            ($target:literal, $message:literal) => {
                info!(
                    target: $target,
                    request_id = self.request_id,
                    client.address = %self.peer,
                    actor = fields.actor,
                    scope = self.operation.scope.map(|scope| scope.as_str()),
                    verb = self.operation.name,
                    tenant,
                    object = fields.object,
                    reason = fields.reason,
                    outcome,
                    http.response.status_code = status.as_u16(),
                    error.cause = fields.cause,
                    duration_seconds = self.started.elapsed().as_secs_f64(),
                    $message
                )
            };
        }
        if self.operation.is_write() {
            event!("turnpike::audit", "audit");
        } else {
            event!("turnpike::operator", "operator's request");
        }
    }

    fn fields(&self) -> MutexGuard<'_, Fields> {
        self.fields.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
