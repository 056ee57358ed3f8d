//! Vendors: with keys, who ask again until they hold a whole document, and without, who take what comes.

use std::collections::HashSet;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::call::{Manner, Request, Trust, call, is_of_streams};
use crate::faults::{Fault, Hits};
use crate::history::{Answer, Event, History, Way};
use crate::process::GatewayProcess;

/// After the faults, everything must come to its end within this.
pub const PATIENCE: Duration = Duration::from_secs(30);
const AFTER_A_REFUSAL: Duration = Duration::from_millis(60);

/// What all vendors of a round share.
#[derive(Clone)]
pub struct Market {
    pub gateways: Vec<Arc<GatewayProcess>>,
    pub trust: Trust,
    pub history: History,
    pub hits: Hits,
    pub stall: Duration,
    pub record_bytes: usize,
    /// How often vendors may still have their gateway killed.
    pub kills_left: Arc<AtomicI32>,
    /// Batches that a vendor holds whole, by tenant.
    pub held: Arc<Mutex<HashSet<(String, i64)>>>,
}

pub struct Vendor {
    pub market: Market,
    pub name: String,
    pub tenant: &'static str,
    pub token_index: usize,
    pub token: String,
    pub faults: Vec<Fault>,
    pub rng: StdRng,
}

impl Vendor {
    /// Calls with keys until `end`, and then until the last key's answer is held.
    pub async fn call_with_keys(mut self, end: Instant) {
        let mut number = 0;
        while Instant::now() < end {
            number += 1;
            let key = format!("{}-{number}", self.name);
            let limit = self.choose_limit();
            let mut calls_again = self.rng.random_bool(0.25);
            loop {
                let fault = self.choose_fault(end);
                let answer = self.claim(Some(&key), limit, fault).await;
                if answer.whole && answer.status == Some(200) {
                    self.rest_if_empty(&answer).await;
                    if !std::mem::take(&mut calls_again) {
                        break;
                    }
                } else {
                    sleep(AFTER_A_REFUSAL).await;
                }
                if Instant::now() > end + PATIENCE {
                    let what = format!("a whole answer to key {key}");
                    return self.market.history.write(&Event::Overdue { what });
                }
            }
        }
    }

    /// Calls without keys until `end`; what comes broken is lost to it.
    pub async fn call_without_keys(mut self, end: Instant) {
        while Instant::now() < end {
            let (limit, fault) = (self.choose_limit(), self.choose_fault(end));
            let answer = self.claim(None, limit, fault).await;
            if answer.status == Some(200) {
                self.rest_if_empty(&answer).await;
            } else {
                sleep(AFTER_A_REFUSAL).await;
            }
        }
    }

    /// Calls until nothing is left: two empty answers, the second no sooner than `leases_over`.
    pub async fn drain(mut self, leases_over: Instant) {
        let give_up = leases_over + PATIENCE;
        let mut empty = 0;
        while empty < 2 {
            let answer = self.claim(None, Some(200), None).await;
            let is_empty = answer.whole && answer.status == Some(200) && answer.violation_ids.is_empty();
            empty = if is_empty && Instant::now() >= leases_over { empty + 1 } else { 0 };
            if is_empty || answer.status != Some(200) {
                sleep(AFTER_A_REFUSAL).await;
            }
            if Instant::now() > give_up {
                let what = format!("two empty answers of tenant {}", self.tenant);
                return self.market.history.write(&Event::Overdue { what });
            }
        }
        self.market.history.write(&Event::Drained { tenant: self.tenant.to_owned() });
    }

    /// Fetches again what the ledger says was handed over, and nobody holds. Gives how many batches that were.
    pub async fn recover(mut self) -> usize {
        let (give_up, mut before, mut recovered) = (Instant::now() + PATIENCE, None, 0);
        while Instant::now() < give_up {
            let Some(page) = self.list(before).await else {
                sleep(AFTER_A_REFUSAL).await;
                continue;
            };
            for batch in page["batches"].as_array().unwrap() {
                let batch_id = batch["batch_id"].as_i64().unwrap();
                let is_held = self.market.held.lock().unwrap().contains(&(self.tenant.to_owned(), batch_id));
                if batch["state"] == "released" && !is_held {
                    while Instant::now() < give_up {
                        let answer = self.replay(batch_id).await;
                        if answer.whole && answer.well_formed {
                            recovered += 1;
                            break;
                        }
                        sleep(AFTER_A_REFUSAL).await;
                    }
                }
            }
            before = page["next"].as_i64();
            if before.is_none() {
                return recovered;
            }
        }
        self.market.history.write(&Event::Overdue { what: "the list of batches".to_owned() });
        recovered
    }

    fn choose_limit(&mut self) -> Option<i64> {
        self.rng.random_bool(0.98).then(|| self.rng.random_range(4..30))
    }

    fn choose_fault(&mut self, end: Instant) -> Option<Fault> {
        let strikes = Instant::now() < end && self.rng.random_bool(0.5);
        let fault = self.faults.choose(&mut self.rng).copied().filter(|_| strikes);
        let kills = matches!(fault, Some(Fault::KillInTheMiddle | Fault::KillRightAfter));
        fault.filter(|_| !kills || self.market.kills_left.fetch_sub(1, Ordering::SeqCst) > 0)
    }

    async fn rest_if_empty(&mut self, answer: &Answer) {
        if answer.violation_ids.is_empty() {
            sleep(Duration::from_millis(self.rng.random_range(20..120))).await;
        }
    }

    async fn claim(&mut self, key: Option<&str>, limit: Option<i64>, fault: Option<Fault>) -> Answer {
        let path = format!("/api/{}/v1/violations/send_overdue_to_collections", self.tenant);
        let mut body = json!({ "apiToken": self.token });
        if let Some(limit) = limit {
            body["limit"] = limit.into();
        }
        self.call(Way::Claim, Request { path, key, body }, limit, fault).await
    }

    async fn replay(&mut self, batch_id: i64) -> Answer {
        let path = format!("/api/{}/v1/violations/collection_batches/{batch_id}", self.tenant);
        let body = json!({ "apiToken": self.token });
        self.call(Way::Replay, Request { path, key: None, body }, None, None).await
    }

    async fn list(&mut self, before: Option<i64>) -> Option<Value> {
        let path = format!("/api/{}/v1/violations/collection_batches", self.tenant);
        let mut body = json!({ "apiToken": self.token, "limit": 20 });
        if let Some(before) = before {
            body["before"] = before.into();
        }
        let manner = self.manner(None);
        let received = call(
            &self.choose_gateway().await?,
            &self.market.trust,
            &Request { path, key: None, body },
            &manner,
        )
        .await;
        let answer = received.answer;
        answer.document().filter(|_| answer.ended && answer.status == Some(200))
    }

    fn manner(&mut self, fault: Option<Fault>) -> Manner {
        let Market { stall, record_bytes, .. } = self.market;
        let http2 = is_of_streams(fault) && self.rng.random_bool(0.3);
        Manner { fault, seed: self.rng.random(), stall, record_bytes, http2 }
    }

    /// Any that serves; None where none does.
    async fn choose_gateway(&mut self) -> Option<Arc<GatewayProcess>> {
        let serving: Vec<_> = self.market.gateways.iter().filter(|g| g.address().is_some()).collect();
        let chosen = serving.choose(&mut self.rng).map(|gateway| Arc::clone(gateway));
        if chosen.is_none() {
            sleep(Duration::from_millis(20)).await;
        }
        chosen
    }

    async fn call(
        &mut self,
        way: Way,
        request: Request<'_>,
        limit: Option<i64>,
        fault: Option<Fault>,
    ) -> Answer {
        let (manner, asked_ms) = (self.manner(fault), self.market.history.now_ms());
        let gateway = self.choose_gateway().await;
        let called = gateway.is_some();
        let received = match gateway {
            Some(gateway) => call(&gateway, &self.market.trust, &request, &manner).await,
            None => Default::default(),
        };
        if received.silent {
            self.market.history.write(&Event::Overdue { what: "a byte of the answer".to_owned() });
        }
        let parsed = received.answer;
        let document = parsed.document().filter(|_| parsed.status == Some(200));
        let well_formed = document.is_some();
        let answer = Answer {
            way,
            vendor: self.name.clone(),
            tenant: self.tenant.to_owned(),
            token: self.token_index,
            http2: manner.http2,
            key: request.key.map(str::to_owned),
            limit,
            fault: fault.filter(|_| received.spoilt).map(|fault| fault.to_string()),
            asked_ms,
            ended_ms: self.market.history.now_ms(),
            status: parsed.status,
            batch_id: parsed.batch_id(),
            batch_count: parsed.number("batch-count"),
            replayed: parsed.header("idempotent-replayed") == Some("true"),
            request_id: parsed.header("x-request-id").map(str::to_owned),
            whole: parsed.ended && (well_formed || parsed.status != Some(200)),
            well_formed,
            violation_ids: if parsed.status == Some(200) { parsed.violation_ids() } else { Vec::new() },
            error: received.error,
        };
        if let (true, Some(fault)) = (received.spoilt, fault) {
            self.market.hits.count(fault);
        }
        if let (true, true, Some(batch_id)) = (answer.whole, well_formed, answer.batch_id) {
            self.market.held.lock().unwrap().insert((answer.tenant.clone(), batch_id));
        }
        if called {
            self.market.history.write(&Event::Answer(Box::new(answer.clone())));
        }
        answer
    }
}
