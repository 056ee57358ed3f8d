//! The floor: a client that runs exactly the gateway's statements, in its order, and throws the rows away. No HTTP, no JSON.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use turnpike::auth::hash_token;
use turnpike::claim::{Caller, Claim, Claimed};
use turnpike::config::TenantConfig;
use turnpike::database::Database;
use turnpike::ledger::Ledger;
use turnpike::records::RecordReader;
use uuid::Uuid;

use crate::world::TOKEN;

/// One tenant's pool, as the gateway has it. Clones share it.
#[derive(Clone)]
pub struct Floor {
    tenant: TenantConfig,
    database: Database,
    ledger: Ledger,
}

impl Floor {
    pub fn open(tenant: TenantConfig) -> Self {
        let database = Database::open(&tenant).expect("a pool");
        let ledger = Ledger::new(database.clone(), "bench".to_owned(), tenant.delivery.lease);
        Self { tenant, database, ledger }
    }

    /// Claims, reads and releases; says how many violations it were.
    pub async fn claim(&self, limit: Option<i64>) -> usize {
        let claim = Claim {
            database: &self.database,
            ledger: &self.ledger,
            eligibility: &self.tenant.eligibility,
            replay_window: self.tenant.delivery.replay_window,
            limit,
        };
        let caller = Caller {
            token: hash_token(TOKEN),
            address: Ipv4Addr::LOCALHOST.into(),
            request_id: "bench".to_owned(),
        };
        let (batch, first) = match claim.run(Uuid::new_v4(), &caller, None).await.expect("a claim") {
            Claimed::Nothing => return 0,
            Claimed::Fresh { batch, first, .. } => (batch, first),
            Claimed::Again { .. } => panic!("no key was given"),
        };
        let (database, violation_ids) = (self.database.clone(), batch.violation_ids.clone());
        let mut reader = RecordReader::new(database, violation_ids, batch.profile, first);
        let (mut read, mut persons) = (0, BTreeSet::new());
        while let Some(chunk) = reader.next().await.expect("a chunk") {
            read += chunk.violations.len();
            persons.extend(chunk.people.iter().map(|row| row.get::<_, i32>(0)));
        }
        let persons: Vec<i32> = persons.into_iter().collect();
        self.ledger.release(&batch, &persons).await.expect("a release");
        read
    }
}
