//! Makes the roles and the database of a new tenant, as a superuser or as one who may create both.
//!
//! Nothing is ever dropped, and no password of a role that is there is changed. Safe to run again after a failure: what is
//! there already is kept.

use thiserror::Error;
use tokio::task::JoinHandle;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};

use crate::config::ConnectionConfig;
use crate::database::{ConnectError, Connector, Fault};

const ROLE: &str = include_str!("sql/provision_role.sql");
const ROLE_EXISTS: &str = include_str!("sql/provision_role_exists.sql");
const DATABASE: &str = include_str!("sql/provision_database.sql");

#[derive(Debug, Error)]
pub enum ProvisionError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("could not connect as the server's administrator: {0}")]
    Unreachable(Fault),
    #[error("could not {attempt}: {fault}")]
    Database { attempt: String, fault: Fault },
    #[error("the database {database} is there already and belongs to {owner}, not to {wanted}")]
    ForeignDatabase { database: String, owner: String, wanted: String },
}

/// A session of the server's administrator.
pub struct Administrator {
    client: Client,
    _driver: JoinHandle<()>,
}

impl Administrator {
    pub async fn connect(connection: &ConnectionConfig) -> Result<Self, ProvisionError> {
        let opened = Connector::for_administrator(connection)?.open().await;
        let (client, driver) = opened.map_err(|error| ProvisionError::Unreachable(Fault::from(&error)))?;
        Ok(Self { client, _driver: driver })
    }

    pub async fn has_role(&self, role: &str) -> Result<bool, ProvisionError> {
        let rows = self.query(ROLE_EXISTS, &[&role], || format!("look for the role {role}")).await?;
        Ok(rows.first().is_some_and(|row| row.get("found")))
    }

    /// Makes a role that may log in; false where there is one of this name, whose password stays.
    pub async fn create_role(&self, role: &str, password: &[u8]) -> Result<bool, ProvisionError> {
        let verifier = postgres_protocol::password::scram_sha_256(password);
        let attempt = || format!("create the role {role}");
        let rows = self.query(ROLE, &[&role, &verifier], attempt).await?;
        let Some(row) = rows.first() else { return Ok(false) };
        self.execute(row.get("statement"), attempt).await?;
        Ok(true)
    }

    /// Makes a database that only its owner and the gateway may enter; false where it is there, and the owner's.
    pub async fn create_database(
        &self,
        database: &str,
        owner: &str,
        gateway: &str,
    ) -> Result<bool, ProvisionError> {
        let attempt = || format!("create the database {database}");
        let steps = self.query(DATABASE, &[&database, &owner, &gateway], attempt).await?;
        let present: Option<String> = steps.first().and_then(|step| step.get("owner"));
        if let Some(present) = present.filter(|present| present != owner) {
            let (database, wanted) = (database.to_owned(), owner.to_owned());
            return Err(ProvisionError::ForeignDatabase { database, owner: present, wanted });
        }
        let mut result = Ok(false);
        for (at, step) in steps.iter().enumerate() {
            let leaves = at + 1 == steps.len() && step.get("joins");
            if result.is_err() && !leaves {
                continue; // but what was joined is left
            }
            match self.execute(step.get("statement"), attempt).await {
                Ok(()) => result = result.map(|made| made || step.get("makes_database")),
                Err(error) => result = result.and(Err(error)),
            }
        }
        result
    }

    async fn query(
        &self,
        sql: &str,
        names: &[&(dyn ToSql + Sync)],
        attempt: impl Fn() -> String,
    ) -> Result<Vec<Row>, ProvisionError> {
        let typed: Vec<_> = names.iter().map(|name| (*name, Type::TEXT)).collect();
        let rows = self.client.query_typed(sql, &typed).await;
        rows.map_err(|error| ProvisionError::Database { attempt: attempt(), fault: Fault::from(&error) })
    }

    async fn execute(&self, statement: &str, attempt: impl Fn() -> String) -> Result<(), ProvisionError> {
        let done = self.client.batch_execute(statement).await;
        done.map_err(|error| ProvisionError::Database { attempt: attempt(), fault: Fault::from(&error) })
    }
}
