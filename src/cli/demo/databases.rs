//! The demo's roles and databases, and what SQL alone can put into them.

use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, NoTls};

use super::DemoError;
use super::directory::Secrets;
use super::tenants::{self, OC_TOMA};
use crate::cluster::Cluster;

/// Makes the roles `turnpike_owner` and `turnpike`, and a database for each tenant.
pub(super) async fn create(cluster: &Cluster, secrets: &Secrets) -> Result<(), DemoError> {
    let mut superuser = cluster.superuser_config("postgres");
    superuser.options(format!(
        "-c demo.owner_password={} -c demo.gateway_password={}",
        secrets.owner_password, secrets.gateway_password
    ));
    let session = Session::open(&superuser).await?;
    session.run(include_str!("roles.sql")).await?;
    for statement in include_str!("databases.sql").split_inclusive(";\n") {
        session.run(statement).await?;
    }
    Ok(())
}

/// Grants the gateway's role what it needs in each migrated database, and no more.
pub(super) async fn grant(cluster: &Cluster, secrets: &Secrets) -> Result<(), DemoError> {
    for tenant in tenants::ALL {
        let owner = owner_config(cluster, secrets, tenant.database);
        Session::open(&owner).await?.run(include_str!("../../../schema/roles.sql")).await?;
    }
    Ok(())
}

/// Loads the violation of the documentation's sample answer.
pub(super) async fn load_documented_sample(cluster: &Cluster, secrets: &Secrets) -> Result<(), DemoError> {
    let owner = owner_config(cluster, secrets, OC_TOMA.database);
    Session::open(&owner).await?.run(include_str!("../../../schema/documented_sample.sql")).await
}

fn owner_config(cluster: &Cluster, secrets: &Secrets, database: &str) -> Config {
    let mut config = cluster.superuser_config(database);
    config.user("turnpike_owner").password(&secrets.owner_password);
    config
}

struct Session {
    client: Client,
    connection: JoinHandle<()>,
}

impl Session {
    async fn open(config: &Config) -> Result<Session, DemoError> {
        let (client, connection) = config.connect(NoTls).await.map_err(DemoError::Sql)?;
        // A failed connection fails the client's next statement, which tells of it.
        let connection = tokio::spawn(async move { drop(connection.await) });
        Ok(Session { client, connection })
    }

    async fn run(&self, sql: &str) -> Result<(), DemoError> {
        self.client.batch_execute(sql).await.map_err(DemoError::Sql)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.connection.abort();
    }
}
