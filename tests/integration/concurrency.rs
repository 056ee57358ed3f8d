//! Many at once: every violation is in exactly one answer, and none that was paid before the call.

use std::collections::HashMap;
use std::net::SocketAddr;

use futures_util::future::join_all;
use rand::Rng;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::time::Instant;

use crate::support::gateway::{TOKEN, second_gateway};
use crate::support::{TestGateway, Vendor};

const CALLS: usize = 50;
const WAVES: i32 = 10;
const A_WAVE: i32 = 50;

/// Fifty vendors, each with a connection of its own, call at once, again and again, while violations become due.
/// Gives the tickets of all answers.
async fn call_at_once(gateway: &TestGateway, addresses: &[SocketAddr]) -> Vec<String> {
    let feeding = async {
        for _ in 0..WAVES {
            gateway.database("A").add_overdue(A_WAVE).await;
        }
    };
    let calling = join_all((0..CALLS).map(async |number| {
        let vendor = Vendor::new(addresses[number % addresses.len()], "A", TOKEN);
        let mut tickets = Vec::new();
        for _ in 0..3 {
            tickets.extend(vendor.claim().await.tickets());
        }
        tickets
    }));
    let ((), answers) = tokio::join!(feeding, calling);
    let last = gateway.vendor("A").claim().await.tickets();
    answers.into_iter().flatten().chain(last).collect()
}

async fn gateway_for_many() -> TestGateway {
    let settings = "pool_timeout = \"60s\"\nlock_timeout = \"60s\"";
    TestGateway::with_tenants(["A"]).tenant_setting("A", settings).start().await
}

fn assert_each_once(mut tickets: Vec<String>) {
    tickets.sort_unstable();
    let mut expected: Vec<String> = (1..=WAVES * A_WAVE).map(|number| format!("T-{number}")).collect();
    expected.sort_unstable();
    assert_eq!(tickets, expected);
}

#[tokio::test]
async fn every_violation_is_in_exactly_one_of_many_answers() {
    let gateway = gateway_for_many().await;

    let tickets = call_at_once(&gateway, &[gateway.address]).await;

    assert_each_once(tickets);
    assert!(gateway.database("A").batch_states().await.iter().all(|state| state == "released"));
}

#[tokio::test]
async fn every_violation_is_in_exactly_one_answer_of_two_gateways() {
    let gateway = gateway_for_many().await;
    let (address, second) = second_gateway(&gateway.config_file()).await;

    let tickets = call_at_once(&gateway, &[gateway.address, address]).await;

    assert_each_once(tickets);
    second.abort();
}

#[tokio::test]
async fn what_was_paid_before_a_call_is_not_in_its_answer() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let gateway = gateway_for_many().await;
    let database = gateway.database("A");
    let (vendor, cashier) = (gateway.vendor("A"), database.session().await);
    let mut paid: HashMap<String, Instant> = HashMap::new();
    let mut sent: HashMap<String, Instant> = HashMap::new();

    for wave in 0..20 {
        database.add_overdue(20).await;
        let paying: Vec<i32> = (wave * 20 + 1..=wave * 20 + 20).filter(|_| random.random_bool(0.5)).collect();
        let pay = async {
            let mut receipts = Vec::new();
            for number in paying {
                let payment = "INSERT INTO payments (\"ViolationID\", amount) VALUES ($1, 50)";
                cashier.execute(payment, &[&number]).await.unwrap();
                receipts.push((format!("T-{number}"), Instant::now()));
            }
            receipts
        };
        let call = async {
            let asked = Instant::now();
            (asked, vendor.claim().await.tickets())
        };
        let (receipts, (asked, tickets)) = tokio::join!(pay, call);
        paid.extend(receipts);
        for ticket in tickets {
            assert_eq!(sent.insert(ticket.clone(), asked), None, "{ticket} was sent twice");
        }
    }
    let asked = Instant::now();
    sent.extend(vendor.claim().await.tickets().into_iter().map(|ticket| (ticket, asked)));

    for number in 1..=400 {
        let ticket = format!("T-{number}");
        match (paid.get(&ticket), sent.get(&ticket)) {
            (None, sent) => assert!(sent.is_some(), "{ticket} was neither paid nor sent"),
            (Some(paid), Some(asked)) => assert!(asked < paid, "{ticket} was sent though it was paid"),
            (Some(_), None) => {}
        }
    }
}
