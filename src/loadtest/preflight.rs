//! Looks before a run whether it can succeed, by a call for each target that only reads.
//!
//! It also keeps a run away from what isn't a Turnpike: whoever doesn't know previews hands real violations over, and
//! whoever doesn't list a token's batches doesn't know previews.

use std::fmt;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::time::Instant;

use super::call::list_batches;
use super::connections::Connections;
use super::failure::Failure;
use super::target::Target;
use crate::config::TenantId;

/// So many targets are looked at side by side.
const AT_ONCE: usize = 16;

/// Why a target can't be called.
#[derive(Debug, PartialEq, Eq)]
pub struct Unfit {
    pub tenant: TenantId,
    pub failure: Failure,
}

/// Every target that can't be called.
pub async fn find_unfit(connections: &Connections, targets: &[Target], timeout: Duration) -> Vec<Unfit> {
    let looks = targets.iter().map(|target| async move {
        let listed = list_batches(connections, target, Instant::now() + timeout).await;
        listed.err().map(|failure| Unfit { tenant: target.tenant.clone(), failure })
    });
    stream::iter(looks).buffered(AT_ONCE).filter_map(|unfit| async { unfit }).collect().await
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let advice = match self.failure {
            Failure::Refused => "nobody listens there: give the gateway's address with --url",
            Failure::Tls => "give the authority that issued the gateway's certificate with --ca",
            Failure::Connection | Failure::BrokenBody => {
                "does a gateway listen there, with TLS and this --http?"
            }
            Failure::Timeout => "the gateway, or the tenant's database, doesn't answer in time",
            Failure::Status { status: 401, .. } => "the token, or the client code, isn't known there",
            Failure::Status { status: 403, .. } => "the token lacks user-create:violation_collection",
            Failure::Status { status: 429 | 503, .. } => "the tenant can't be served at present",
            Failure::Status { status: 404 | 405, .. } | Failure::NotWhole => {
                "this isn't a Turnpike: what doesn't know previews would hand real violations over"
            }
            Failure::Status { .. } | Failure::WrongCount | Failure::Consumed => "see the gateway's log",
        };
        write!(f, "{}: {} ({advice})", self.tenant, self.failure)
    }
}
