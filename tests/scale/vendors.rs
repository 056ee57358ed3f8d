//! Vendors who poll: each over a connection of its own, at a pace or as fast as they are answered.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;
use hdrhistogram::Histogram;
use reqwest::{Certificate, Client};
use serde_json::json;
use tokio::time::{Instant, interval, sleep_until};

use crate::world::TOKEN;

#[derive(Clone)]
pub struct Vendor {
    client: Client,
    url: String,
}

/// One answer. Status 0: there was none.
pub struct Reply {
    pub status: u16,
    pub retry_after: Option<u64>,
    pub took: Duration,
}

/// What became of many calls.
pub struct Calls {
    /// Of good answers, in microseconds.
    pub good: Histogram<u64>,
    /// Of all, in microseconds.
    pub all: Histogram<u64>,
    pub statuses: BTreeMap<u16, u64>,
    /// 503s without Retry-After.
    pub unhelpful: u64,
}

impl Vendor {
    pub fn new(directory: &Path, gateway: SocketAddr, tenant: &str) -> Self {
        let pem = std::fs::read(directory.join("ca.pem")).unwrap();
        let client = Client::builder().no_proxy().http1_only();
        let client = client.tls_certs_only([Certificate::from_pem(&pem).unwrap()]).build().unwrap();
        Self {
            client,
            url: format!("https://{gateway}/api/{tenant}/v1/violations/send_overdue_to_collections"),
        }
    }

    /// The documented call.
    pub async fn poll(&self) -> Reply {
        let begun = Instant::now();
        let request = self.client.post(&self.url).header("Content-Type", "application/json");
        let Ok(response) = request.body(json!({ "apiToken": TOKEN }).to_string()).send().await else {
            return Reply { status: 0, retry_after: None, took: begun.elapsed() };
        };
        let retry_after =
            response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        let status = response.status().as_u16();
        let whole = response.bytes().await.is_ok();
        Reply { status: if whole { status } else { 0 }, retry_after, took: begun.elapsed() }
    }

    /// Calls until it is answered well; gives how long that took.
    pub async fn poll_until_good(&self) -> Duration {
        let begun = Instant::now();
        let mut every = interval(Duration::from_millis(20));
        loop {
            every.tick().await;
            let reply = self.poll().await;
            if reply.status == 200 {
                return begun.elapsed();
            }
            assert!(begun.elapsed() < Duration::from_secs(90), "it doesn't come back: {}", reply.status);
        }
    }
}

/// Has all of them call for so long, each once in every `pace`, at any moment of it, or as fast as it is answered.
pub async fn call(vendors: &[Vendor], pace: Option<Duration>, length: Duration) -> Calls {
    let begun = Instant::now();
    let calling = vendors.iter().map(|vendor| {
        let vendor = vendor.clone();
        tokio::spawn(async move {
            let mut calls = Calls::default();
            let mut period = 0.0;
            while begun.elapsed() < length {
                if let Some(pace) = pace {
                    // At random: real vendors know nothing of each other, and neither meet at every call nor never.
                    let moment = begun + pace.mul_f64(period + rand::random::<f64>());
                    if moment >= begun + length {
                        break;
                    }
                    sleep_until(moment).await;
                }
                calls.add(&vendor.poll().await);
                period =
                    pace.map_or(0.0, |pace| begun.elapsed().div_duration_f64(pace).floor().max(period + 1.0));
            }
            calls
        })
    });
    let mut sum = Calls::default();
    for calls in join_all(calling).await {
        sum.join(calls.unwrap());
    }
    sum
}

impl Default for Calls {
    fn default() -> Self {
        let histogram = || Histogram::new(3).unwrap();
        Self { good: histogram(), all: histogram(), statuses: BTreeMap::new(), unhelpful: 0 }
    }
}

impl Calls {
    pub fn add(&mut self, reply: &Reply) {
        let took = reply.took.as_micros().try_into().unwrap();
        self.all.record(took).unwrap();
        if reply.status == 200 {
            self.good.record(took).unwrap();
        }
        *self.statuses.entry(reply.status).or_default() += 1;
        self.unhelpful += u64::from(reply.status == 503 && reply.retry_after.is_none());
    }

    fn join(&mut self, other: Self) {
        self.good.add(other.good).unwrap();
        self.all.add(other.all).unwrap();
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        self.unhelpful += other.unhelpful;
    }

    /// Calls that weren't answered 200.
    pub fn failed(&self) -> u64 {
        self.statuses.iter().filter(|(status, _)| **status != 200).map(|(_, count)| count).sum()
    }

    /// Milliseconds within which so many of 100 good answers came.
    pub fn percentile(&self, percent: f64) -> f64 {
        self.good.value_at_percentile(percent) as f64 / 1000.0
    }
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
