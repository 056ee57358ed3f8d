//! The institution's own people, who change violations while they are handed over.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use tokio::time::{Instant, sleep};
use tokio_postgres::{Client, Error};

use crate::faults::{Fault, Hits};
use crate::history::{Action, Event, History};
use crate::world::World;

pub struct BackOffice {
    pub world: Arc<World>,
    pub database: String,
    pub tenant: &'static str,
    pub history: History,
    pub hits: Hits,
    pub rng: StdRng,
    /// Violations are numbered 1 to this.
    pub count: i32,
    pub most: i32,
    pub comment: usize,
}

impl BackOffice {
    /// Works until `end`: `actions`, and new violations.
    pub async fn work(mut self, actions: Vec<Action>, end: Instant) {
        let mut client = self.world.connect(&self.database).await;
        while Instant::now() < end {
            sleep(Duration::from_millis(self.rng.random_range(10..60))).await;
            let action = actions.choose(&mut self.rng).copied();
            let worked = match action {
                Some(action) if self.rng.random_bool(0.7) => self.change(&client, action).await,
                _ => self.add(&client).await,
            };
            if worked.is_err() {
                client = self.world.connect(&self.database).await;
            }
        }
    }

    async fn add(&mut self, client: &Client) -> Result<(), Error> {
        let count = self.rng.random_range(1..20);
        if self.count + count <= self.most {
            add_overdue(client, self.count, count, self.comment).await?;
            self.count += count;
        }
        Ok(())
    }

    async fn change(&mut self, client: &Client, action: Action) -> Result<(), Error> {
        let violation_id = self.rng.random_range(1..=self.count);
        let changed = self.try_change(client, action, violation_id).await;
        let done_at = changed.as_ref().ok().copied();
        let tenant = self.tenant.to_owned();
        self.history.write(&Event::BackOffice { tenant, action, violation_id, done_at });
        self.hits.count(match action {
            Action::Pay => Fault::Pay,
            Action::Spoil => Fault::Spoil,
            Action::Edit => Fault::Edit,
        });
        changed.map(drop)
    }

    /// Gives the database's time after the commit.
    async fn try_change(&mut self, client: &Client, action: Action, id: i32) -> Result<i64, Error> {
        client.batch_execute("BEGIN").await?;
        match action {
            Action::Pay => {
                let sql = "INSERT INTO payments (\"ViolationID\", amount) VALUES ($1, 1000)";
                client.execute(sql, &[&id]).await?;
            }
            Action::Spoil => {
                let sql = "UPDATE violations SET \"Spoiled\" = 1 WHERE \"ViolationID\" = $1";
                client.execute(sql, &[&id]).await?;
            }
            Action::Edit => {
                let sql = "UPDATE violations SET \"Comment\" = repeat('e', $2), \"Fine\" = \"Fine\" + 1 \
                           WHERE \"ViolationID\" = $1";
                let length = i32::try_from(self.rng.random_range(0..2 * self.comment)).unwrap();
                client.execute(sql, &[&id, &length]).await?;
            }
        }
        if self.rng.random_bool(0.3) {
            sleep(Duration::from_millis(self.rng.random_range(10..400))).await; // its row is locked so long
        }
        client.batch_execute("COMMIT").await?;
        let sql = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
        Ok(client.query_one(sql, &[]).await?.get(0))
    }
}

/// Adds the violations `used + 1` to `used + count`, all of them eligible.
pub async fn add_overdue(client: &Client, used: i32, count: i32, comment: usize) -> Result<u64, Error> {
    client
        .execute(
            "INSERT INTO violations (\"ViolationID\", \"Ticket\", \"TicketType\", \"Due\", \"Fine\", \"Comment\")
             SELECT id, 'T-' || id, 1, timestamptz '2020-01-01 00:00:00Z' + (id % 97) * interval '1 hour', 50,
                    repeat('x', $3)
               FROM generate_series($1::integer + 1, $1::integer + $2::integer) AS id
             ON CONFLICT DO NOTHING",
            &[&used, &count, &i32::try_from(comment).unwrap()],
        )
        .await
}
