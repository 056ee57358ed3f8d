//! The judge: a program of its own that reads one round's history and its databases, and says whether the promise held.
//!
//! `chaos check HISTORY TENANT=URL …` prints a summary as JSON, findings on standard error, and exits 1 where there are
//! any. It shares nothing with the harness but the history's form.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};
use tokio_postgres::{Client, NoTls};

use crate::history::{self, Action, Answer, Event, Way};

/// So long may a session still be in its transaction after the round.
const TRANSACTIONS_END_WITHIN: Duration = Duration::from_secs(5);

#[derive(Debug, Default, Clone, Copy, Serialize, Deserialize)]
pub struct Summary {
    pub violations: usize,
    pub released: usize,
    pub void: usize,
    pub answers: usize,
    pub broken_answers: usize,
    pub replays: usize,
}

struct Batch {
    id: i64,
    token_id: Option<i64>,
    state: String,
    violation_ids: Vec<i32>,
    claimed_at: i64,
    key: Option<String>,
    lease_over: bool,
}

struct Violation {
    mark: Option<i64>,
    eligible: bool,
}

struct Tenant {
    name: String,
    batches: BTreeMap<i64, Batch>,
    violations: BTreeMap<i32, Violation>,
    in_transaction: i64,
}

pub async fn run(arguments: &[String]) -> ExitCode {
    let history_path = PathBuf::from(&arguments[0]);
    let events = history::read(&history_path);
    let (mut findings, mut summary) = (Vec::new(), Summary::default());
    check_gateways(&events, &mut findings);
    let mut dump = String::new();
    for argument in &arguments[1..] {
        let (name, url) = argument.split_once('=').expect("TENANT=URL");
        let tenant = Tenant::read(name, url).await;
        tenant.check(&events, &mut findings);
        tenant.count(&events, &mut summary);
        tenant.dump(&mut dump);
    }
    for finding in &findings {
        eprintln!("{finding}");
    }
    if !findings.is_empty() {
        std::fs::write(history_path.with_extension("ledger"), dump).unwrap();
    }
    println!("{}", serde_json::to_string(&summary).unwrap());
    if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn check_gateways(events: &[Event], findings: &mut Vec<String>) {
    for event in events {
        match event {
            Event::Descriptors { gateway, at_start, now, database_connections }
                if *now > at_start + database_connections =>
            {
                findings.push(format!(
                    "gateway {gateway} has {now} descriptors, {at_start} at its start and \
                     {database_connections} for database connections"
                ));
            }
            Event::Died { gateway, status } => {
                findings.push(format!("gateway {gateway} ended by itself: {status}"));
            }
            Event::Overdue { what } => findings.push(format!("waited in vain for {what}")),
            _ => {}
        }
    }
}

fn answers<'a>(events: &'a [Event], tenant: &'a str) -> impl Iterator<Item = &'a Answer> {
    events.iter().filter_map(move |event| match event {
        Event::Answer(answer) if answer.tenant == tenant => Some(&**answer),
        _ => None,
    })
}

impl Tenant {
    async fn read(name: &str, url: &str) -> Self {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("the tenant's database");
        tokio::spawn(connection);
        let in_transaction = count_transactions(&client).await;
        let rows = client
            .query(
                "SELECT batch_id, token_id, state, violation_ids, idempotency_key,
                        (extract(epoch FROM claimed_at) * 1000000)::bigint AS claimed_at,
                        lease_until <= now() AS lease_over
                   FROM collection_batches",
                &[],
            )
            .await
            .unwrap();
        let batches = rows.iter().map(|row| Batch {
            id: row.get("batch_id"),
            token_id: row.get("token_id"),
            state: row.get("state"),
            violation_ids: row.get("violation_ids"),
            claimed_at: row.get("claimed_at"),
            key: row.get("idempotency_key"),
            lease_over: row.get("lease_over"),
        });
        let batches = batches.map(|batch| (batch.id, batch)).collect();
        // Eligibility in its own words, not the gateway's: what the rounds do to violations is all that it must know.
        let rows = client
            .query(
                "SELECT \"ViolationID\",
                        (extract(epoch FROM \"SentToCollections\") * 1000000)::bigint AS mark,
                        \"Spoiled\" = 0 AND NOT EXISTS (
                            SELECT FROM payments p WHERE p.\"ViolationID\" = v.\"ViolationID\"
                        ) AS eligible
                   FROM violations v",
                &[],
            )
            .await
            .unwrap();
        let violation = |row: &tokio_postgres::Row| Violation { mark: row.get(1), eligible: row.get(2) };
        let violations = rows.iter().map(|row| (row.get(0), violation(row))).collect();
        Self { name: name.to_owned(), batches, violations, in_transaction }
    }

    fn check(&self, events: &[Event], findings: &mut Vec<String>) {
        let mut found = Vec::new();
        if !events.iter().any(|e| matches!(e, Event::Drained { tenant } if *tenant == self.name)) {
            found.push("was not drained".to_owned());
        }
        if self.in_transaction > 0 {
            found.push(format!("{} sessions are idle in a transaction", self.in_transaction));
        }
        for answer in answers(events, &self.name) {
            self.check_answer(answer, &mut found);
        }
        self.check_keys(events, &mut found);
        self.check_first_hand(events, &mut found);
        self.check_batches(events, &mut found);
        self.check_violations(events, &mut found);
        self.check_back_office(events, &mut found);
        findings.extend(found.into_iter().map(|finding| format!("tenant {}: {finding}", self.name)));
    }

    /// What came is what the ledger says, and is a document only where the batch is released.
    fn check_answer(&self, answer: &Answer, found: &mut Vec<String>) {
        let of = format!("{} at {} ms (request {:?})", answer.vendor, answer.ended_ms, answer.request_id);
        match answer.status {
            None | Some(200 | 409 | 503) => {}
            Some(status) => found.push(format!("{of}: status {status}")),
        }
        if answer.status != Some(200) {
            return;
        }
        let Some(batch_id) = answer.batch_id else {
            if !answer.violation_ids.is_empty() {
                found.push(format!("{of}: records without a batch"));
            }
            return;
        };
        let Some(batch) = self.batches.get(&batch_id) else {
            found.push(format!("{of}: batch {batch_id} is not in the ledger"));
            return;
        };
        if batch.token_id != i64::try_from(answer.token + 1).ok() {
            found.push(format!("{of}: batch {batch_id} is of token {:?}", batch.token_id));
        }
        if answer.batch_count != i64::try_from(batch.violation_ids.len()).ok() {
            found.push(format!("{of}: Batch-Count {:?} of batch {batch_id}", answer.batch_count));
        }
        if answer.well_formed {
            if batch.state != "released" {
                found.push(format!("{of}: a whole document of batch {batch_id}, which is {}", batch.state));
            }
            if answer.violation_ids != batch.violation_ids {
                found.push(format!("{of}: other violations than the ledger's in batch {batch_id}"));
            }
        } else {
            // The last one may be cut within its number.
            let certain = answer.violation_ids.len().saturating_sub(1);
            if !batch.violation_ids.starts_with(&answer.violation_ids[..certain]) {
                found.push(format!("{of}: a part of other violations than the ledger's in batch {batch_id}"));
            }
        }
        if answer.way == Way::Claim && answer.key != batch.key {
            found.push(format!("{of}: batch {batch_id} has the key {:?}", batch.key));
        }
    }

    /// The same key gives the same violations.
    fn check_keys(&self, events: &[Event], found: &mut Vec<String>) {
        let mut of_keys: BTreeMap<(usize, &str), BTreeSet<i64>> = BTreeMap::new();
        for answer in answers(events, &self.name).filter(|answer| answer.well_formed) {
            if let (Some(key), Some(batch_id)) = (&answer.key, answer.batch_id) {
                of_keys.entry((answer.token, key)).or_default().insert(batch_id);
            }
        }
        for ((token, key), batches) in of_keys.iter().filter(|(_, batches)| batches.len() > 1) {
            found.push(format!("key {key} of token {token} gave the batches {batches:?}"));
        }
    }

    /// A batch is handed out once at first hand; whoever gets it again is told.
    fn check_first_hand(&self, events: &[Event], found: &mut Vec<String>) {
        let mut at_first_hand: BTreeMap<i64, usize> = BTreeMap::new();
        for answer in answers(events, &self.name) {
            if let (Way::Claim, false, Some(id)) = (answer.way, answer.replayed, answer.batch_id) {
                *at_first_hand.entry(id).or_default() += 1;
            }
            if answer.replayed && answer.key.is_none() && answer.way == Way::Claim {
                found.push(format!("{} got a replay without a key", answer.vendor));
            }
        }
        for (id, times) in at_first_hand.into_iter().filter(|(_, times)| *times > 1) {
            found.push(format!("batch {id} was handed out {times} times as a new one"));
        }
    }

    fn check_batches(&self, events: &[Event], found: &mut Vec<String>) {
        let held: BTreeSet<i64> = answers(events, &self.name)
            .filter(|a| a.whole && a.well_formed)
            .filter_map(|a| a.batch_id)
            .collect();
        for batch in self.batches.values() {
            match batch.state.as_str() {
                "released" if !held.contains(&batch.id) => {
                    found.push(format!("batch {} is released, and no vendor could fetch it", batch.id));
                }
                "open" if batch.lease_over => {
                    found.push(format!("batch {} is open past its lease", batch.id));
                }
                "open" => found.push(format!("batch {} is open after the drain", batch.id)),
                _ => {}
            }
        }
    }

    fn check_violations(&self, events: &[Event], found: &mut Vec<String>) {
        let mut live: BTreeMap<i32, Vec<&Batch>> = BTreeMap::new();
        for batch in self.batches.values().filter(|batch| batch.state != "void") {
            for id in &batch.violation_ids {
                live.entry(*id).or_default().push(batch);
            }
        }
        let mut documents: BTreeMap<i32, BTreeSet<i64>> = BTreeMap::new();
        let mut held: BTreeMap<i32, BTreeSet<i64>> = BTreeMap::new();
        for answer in answers(events, &self.name).filter(|answer| answer.well_formed) {
            for id in &answer.violation_ids {
                documents.entry(*id).or_default().extend(answer.batch_id);
                if answer.whole {
                    held.entry(*id).or_default().extend(answer.batch_id);
                }
            }
        }
        let touched: BTreeSet<i32> = self.changes(events).map(|(_, id, _)| id).collect();
        for id in live.keys().chain(documents.keys()).filter(|id| !self.violations.contains_key(id)) {
            found.push(format!("violation {id} is not this tenant's"));
        }
        for (id, violation) in &self.violations {
            let live: &[&Batch] = live.get(id).map_or(&[], Vec::as_slice);
            if live.len() > 1 {
                let ids: Vec<i64> = live.iter().map(|batch| batch.id).collect();
                found.push(format!("violation {id} is in the live batches {ids:?}"));
            }
            match (violation.mark, live.first()) {
                (Some(mark), None) => {
                    found.push(format!("violation {id} is marked ({mark}) and in no live batch"));
                }
                (Some(mark), Some(batch)) if mark != batch.claimed_at => {
                    found.push(format!("violation {id} has another mark than batch {}", batch.id));
                }
                (None, Some(batch)) => {
                    found.push(format!("violation {id} of batch {} isn't marked", batch.id));
                }
                (None, None) if violation.eligible => found.push(format!("violation {id} was left over")),
                _ => {}
            }
            let documents = documents.get(id).map_or(0, BTreeSet::len);
            if documents > 1 {
                found.push(format!("violation {id} came in {documents} batches' documents"));
            }
            let held = held.get(id).map_or(0, BTreeSet::len);
            if !touched.contains(id) && held != 1 {
                found.push(format!("violation {id}, eligible all the time, is in {held} held batches"));
            }
        }
    }

    /// What was paid or spoiled before a claim is not part of it.
    fn check_back_office(&self, events: &[Event], found: &mut Vec<String>) {
        for (action, id, done_at) in self.changes(events) {
            let Some(done_at) = done_at else { continue };
            for batch in self.batches.values() {
                if batch.claimed_at > done_at && batch.violation_ids.contains(&id) {
                    found.push(format!("violation {id} is in batch {}, claimed after {action:?}", batch.id));
                }
            }
        }
    }

    /// What the back office did to end a violation's eligibility, certainly or perhaps.
    fn changes<'a>(&'a self, events: &'a [Event]) -> impl Iterator<Item = (Action, i32, Option<i64>)> {
        events.iter().filter_map(move |event| match event {
            Event::BackOffice { tenant, action, violation_id, done_at }
                if *tenant == self.name && *action != Action::Edit =>
            {
                Some((*action, *violation_id, *done_at))
            }
            _ => None,
        })
    }

    fn count(&self, events: &[Event], summary: &mut Summary) {
        let in_state = |state: &str| self.batches.values().filter(|batch| batch.state == state).count();
        summary.violations += self.violations.len();
        summary.released += in_state("released");
        summary.void += in_state("void");
        summary.answers += answers(events, &self.name).count();
        summary.broken_answers += answers(events, &self.name).filter(|answer| !answer.whole).count();
        summary.replays += answers(events, &self.name).filter(|answer| answer.replayed).count();
    }

    fn dump(&self, text: &mut String) {
        for batch in self.batches.values() {
            let Batch { id, state, claimed_at, key, violation_ids, .. } = batch;
            writeln!(text, "{} batch {id} {state} {claimed_at} {key:?} {violation_ids:?}", self.name)
                .unwrap();
        }
        for (id, Violation { mark, eligible }) in &self.violations {
            writeln!(text, "{} violation {id} mark {mark:?} eligible {eligible}", self.name).unwrap();
        }
    }
}

async fn count_transactions(client: &Client) -> i64 {
    let give_up = Instant::now() + TRANSACTIONS_END_WITHIN;
    loop {
        let sql = "SELECT count(*) FROM pg_stat_activity
                    WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
        let count = client.query_one(sql, &[]).await.unwrap().get(0);
        if count == 0 || Instant::now() > give_up {
            return count;
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Runs this program as the checker. The findings, where there are any.
pub async fn judge(history: &Path, tenants: &[(&str, String)]) -> Result<Summary, String> {
    let mut command = tokio::process::Command::new(std::env::current_exe().unwrap());
    command.arg("check").arg(history);
    command.args(tenants.iter().map(|(name, url)| format!("{name}={url}")));
    let output = command.kill_on_drop(true).output().await.unwrap();
    if output.status.success() {
        Ok(serde_json::from_slice(&output.stdout).expect("the checker's summary"))
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}
