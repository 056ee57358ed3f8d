//! One round: fresh databases, gateways, vendors and a back office; faults; peace; the drain; the checker.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use turnpike::auth::hash_token;

use crate::back_office::{BackOffice, add_overdue};
use crate::checker::{Summary, judge};
use crate::faults::{Blow, Fault, Hits, OF_VENDORS, Swap};
use crate::history::{Action, Event, History};
use crate::process::GatewayProcess;
use crate::vendor::{Market, Vendor};
use crate::wiretap::{Armed, Wiretap};
use crate::world::{GATEWAY_ROLE, OWNER_ROLE, World};

const LEASE: Duration = Duration::from_millis(1500);
const DELIVERY_TIMEOUT: Duration = Duration::from_millis(700);
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(1);
/// The gateway's own patience with a silent server: a statement's time and two seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// So long may calls go on that began among faults: the gateway's patience, a lease, and another lane's crash.
const PEACE_WITHIN: Duration = Duration::from_secs(25);
/// The second tenant's violations begin here: none has a number of the first's.
const OF_SECOND: i32 = 1_000_000;
const TOKENS: usize = 2;
/// A gateway that is killed at every call delivers nothing.
const KILLS_BY_VENDORS: i32 = 6;

/// What a round is made of, all drawn from its seed.
#[derive(Debug)]
pub struct Plan {
    pub number: u32,
    pub seed: u64,
    pub faults: Vec<Fault>,
    pub length: Duration,
}

/// A round's parts, in order.
pub const PHASES: [&str; 5] = ["set up", "faults", "peace", "drain", "verdict"];

pub struct Outcome {
    /// When each of [`PHASES`] was over.
    pub ended: Vec<Duration>,
    pub history: PathBuf,
    pub summary: Summary,
    pub recovered: usize,
    pub findings: Option<String>,
}

/// What the seed decides beside the faults.
#[derive(Debug)]
struct Setting {
    gateways: usize,
    vendors_with_keys: usize,
    vendors_without: usize,
    violations: i32,
    of_second: i32,
    second_calls: bool,
    comment: usize,
    prepared_statements: bool,
    idle_in_transaction: Duration,
    await_acknowledgement: bool,
}

impl Setting {
    fn draw(rng: &mut StdRng) -> Self {
        Self {
            gateways: rng.random_range(1..=2),
            vendors_with_keys: rng.random_range(1..=3),
            vendors_without: rng.random_range(2..=3),
            violations: rng.random_range(150..400),
            of_second: rng.random_range(1..40),
            second_calls: rng.random(),
            comment: rng.random_range(2_000..8_000),
            prepared_statements: rng.random_bool(0.75),
            idle_in_transaction: Duration::from_secs(if rng.random() { 1 } else { 10 }),
            await_acknowledgement: rng.random_bool(0.8),
        }
    }
}

struct Gateway {
    process: Arc<GatewayProcess>,
    wiretap: Wiretap,
}

pub async fn run(world: &Arc<World>, plan: &Plan, hits: &Hits) -> Outcome {
    let (began, mut ended) = (Instant::now(), Vec::new());
    let mut rng = StdRng::seed_from_u64(plan.seed);
    let setting = Setting::draw(&mut rng);
    let directory = world.directory.join(format!("round-{}", plan.number));
    fs::create_dir_all(&directory).unwrap();
    let history = History::create(&directory.join("history.jsonl"));
    let plan_text = format!("{setting:?} {:?}", plan.faults);
    history.write(&Event::Round { seed: plan.seed, number: plan.number, plan: plan_text });

    let databases = ["a", "b"].map(|tenant| format!("round_{}_{tenant}", plan.number));
    let counts = [(0, setting.violations), (OF_SECOND, setting.of_second)];
    for (database, (used, count)) in databases.iter().zip(counts) {
        world.create_database(database).await;
        fill(world, database, used, count, setting.comment).await;
    }

    let mut supervised = JoinSet::new();
    let mut gateways = Vec::new();
    for index in 0..setting.gateways {
        let wiretap = Wiretap::start(world, hits.clone(), history.clone()).await;
        let config = directory.join(format!("gateway-{index}.toml"));
        fs::write(&config, configuration(world, &setting, &databases, wiretap.port)).unwrap();
        let process = GatewayProcess::new(index, &config, history.clone());
        wiretap.watch(&process);
        supervised.spawn(Arc::clone(&process).supervise());
        gateways.push(Gateway { process, wiretap });
    }
    for gateway in &gateways {
        gateway.process.wait_for_address().await;
    }

    ended.push(began.elapsed());

    let market = Market {
        gateways: gateways.iter().map(|gateway| Arc::clone(&gateway.process)).collect(),
        trust: world.trust.clone(),
        history: history.clone(),
        hits: hits.clone(),
        stall: DELIVERY_TIMEOUT,
        record_bytes: setting.comment,
        kills_left: Arc::new(KILLS_BY_VENDORS.into()),
        held: Arc::default(),
    };
    let end = Instant::now() + plan.length;
    let mut calling = JoinSet::new();
    send_vendors(&mut calling, &market, plan, &setting, end, &mut rng);
    let back_office = BackOffice {
        world: Arc::clone(world),
        database: databases[0].clone(),
        tenant: "A",
        history: history.clone(),
        hits: hits.clone(),
        rng: StdRng::seed_from_u64(rng.random()),
        count: setting.violations,
        most: 4 * setting.violations,
        comment: setting.comment,
    };
    let working = tokio::spawn(back_office.work(actions(&plan.faults), end));

    inflict(world, plan, &gateways, &databases, hits, &history, end, &mut rng).await;
    let dealt = Instant::now();
    ended.push(began.elapsed());
    for gateway in &gateways {
        gateway.wiretap.heal();
        gateway.wiretap.until_at_rest().await;
        gateway.process.wait_for_address().await;
    }
    working.await.unwrap();
    calling.join_all().await;
    ended.push(began.elapsed());
    if Instant::now() > end.max(dealt) + PEACE_WITHIN {
        history.write(&Event::Overdue { what: "the vendors' last answers".to_owned() });
    }

    let leases_over = Instant::now() + LEASE + Duration::from_millis(200);
    let mut draining = JoinSet::new();
    for tenant in ["A", "B"] {
        draining.spawn(vendor(&market, tenant, 0, "drain", &[], &mut rng).drain(leases_over));
    }
    draining.join_all().await;
    let mut recovered = 0;
    for (tenant, index) in [("A", 0), ("A", 1), ("B", 0)] {
        recovered += vendor(&market, tenant, index, "recover", &[], &mut rng).recover().await;
    }
    for gateway in &gateways {
        tell_descriptors(gateway, &history).await;
    }
    ended.push(began.elapsed());
    let verdict = {
        let _no_crash = world.primary.read().await;
        let url = |name: &String| world.url(OWNER_ROLE, world.port(), name);
        let urls = ["A", "B"].into_iter().zip(databases.iter().map(url));
        judge(&history.path, &urls.collect::<Vec<_>>()).await
    };
    for gateway in &gateways {
        gateway.process.end().await;
    }
    supervised.join_all().await;
    let (summary, findings) = match verdict {
        Ok(summary) => (summary, None),
        Err(findings) => (Summary::default(), Some(findings)),
    };
    if findings.is_none() {
        world.retire(databases).await;
        let _ = fs::remove_dir_all(&directory);
    }
    ended.push(began.elapsed());
    Outcome { ended, history: history.path, summary, recovered, findings }
}

fn token(tenant: &str, index: usize) -> String {
    format!("chaos-token-{tenant}-{index}")
}

async fn fill(world: &World, database: &str, used: i32, count: i32, comment: usize) {
    let _no_crash = world.primary.read().await;
    let client = world.connect(database).await;
    add_overdue(&client, used, count, comment).await.unwrap();
    let tenant = if used == 0 { "A" } else { "B" };
    for index in 0..TOKENS {
        let hash = hash_token(&token(tenant, index));
        client
            .execute(
                "WITH token AS (
                     INSERT INTO api_tokens (token_sha256, vendor, field_profile) VALUES ($1, 'Chaos', 'full')
                     RETURNING token_id
                 )
                 INSERT INTO api_permissions (token_id, action, resource)
                 SELECT token_id, 'user-create', 'violation_collection' FROM token",
                &[&hash.as_slice()],
            )
            .await
            .unwrap();
    }
}

fn configuration(world: &World, setting: &Setting, databases: &[String; 2], port: u16) -> String {
    let Setting { prepared_statements, await_acknowledgement, .. } = setting;
    let [certificate, key] = ["gateway.pem", "gateway.key"].map(|name| world.directory.join(name));
    let mut toml = format!(
        "[gateway]\nlisten = \"127.0.0.1:0\"\ntls_certificate = {certificate:?}\ntls_key = {key:?}\n\
         drain_timeout = \"500ms\"\nawait_acknowledgement = {await_acknowledgement}\n\
         [defaults]\nlease = \"{}ms\"\ndelivery_timeout = \"{}ms\"\nstatement_timeout = \"{}ms\"\n\
         lock_timeout = \"800ms\"\nbreaker_backoff = \"500ms\"\nidle_in_transaction_timeout = \"{}s\"\nconnect_timeout = \"2s\"\n\
         prepared_statements = {prepared_statements}\n",
        LEASE.as_millis(),
        DELIVERY_TIMEOUT.as_millis(),
        STATEMENT_TIMEOUT.as_millis(),
        setting.idle_in_transaction.as_secs(),
    );
    for (tenant, database) in ["A", "B"].iter().zip(databases) {
        let url = world.url(GATEWAY_ROLE, port, database);
        toml += &format!("[tenants.{tenant}]\nname = \"Chaos {tenant}\"\ndatabase_url = \"{url}\"\n");
    }
    toml
}

fn vendor(
    market: &Market,
    tenant: &'static str,
    token_index: usize,
    name: &str,
    faults: &[Fault],
    rng: &mut StdRng,
) -> Vendor {
    Vendor {
        market: market.clone(),
        name: format!("{tenant}-{token_index}-{name}"),
        tenant,
        token_index,
        token: token(tenant, token_index),
        faults: faults.to_vec(),
        rng: StdRng::seed_from_u64(rng.random()),
    }
}

fn send_vendors(
    calling: &mut JoinSet<()>,
    market: &Market,
    plan: &Plan,
    setting: &Setting,
    end: Instant,
    rng: &mut StdRng,
) {
    let faults: Vec<Fault> = plan.faults.iter().copied().filter(|fault| OF_VENDORS.contains(fault)).collect();
    for number in 0..setting.vendors_with_keys {
        let index = rng.random_range(0..TOKENS);
        let vendor = vendor(market, "A", index, &format!("keys-{number}"), &faults, rng);
        calling.spawn(vendor.call_with_keys(end));
    }
    for number in 0..setting.vendors_without {
        let index = rng.random_range(0..TOKENS);
        let vendor = vendor(market, "A", index, &format!("plain-{number}"), &faults, rng);
        calling.spawn(vendor.call_without_keys(end));
    }
    if setting.second_calls {
        calling.spawn(vendor(market, "B", 0, "keys", &[], rng).call_with_keys(end));
    }
}

fn actions(faults: &[Fault]) -> Vec<Action> {
    let action = |fault: &Fault| match fault {
        Fault::Pay => Some(Action::Pay),
        Fault::Spoil => Some(Action::Spoil),
        Fault::Edit => Some(Action::Edit),
        _ => None,
    };
    faults.iter().filter_map(action).collect()
}

/// Deals the round's blows, each gateway's one after the other, until all are dealt or the time is over.
#[expect(clippy::too_many_arguments, reason = "all that a round has is what there is to strike at")]
async fn inflict(
    world: &Arc<World>,
    plan: &Plan,
    gateways: &[Gateway],
    databases: &[String; 2],
    hits: &Hits,
    history: &History,
    end: Instant,
    rng: &mut StdRng,
) {
    let mut blows: Vec<Armed> = plan.faults.iter().filter_map(|fault| arm(*fault, rng)).collect();
    // The rarest first: not all may find their occasion. They are taken from the end.
    blows.reverse();
    let blows = Mutex::new(blows);
    let at_gateways = gateways.iter().map(|gateway| {
        let mut rng = StdRng::seed_from_u64(rng.random());
        let blows = &blows;
        async move {
            loop {
                sleep(Duration::from_millis(rng.random_range(50..250))).await;
                let Some(blow) = blows.lock().unwrap().pop() else { break };
                if timeout_at(end, gateway.wiretap.strike(blow)).await.is_err() {
                    break;
                }
                gateway.process.wait_for_address().await;
            }
        }
    });
    let at_gateways = futures_util::future::join_all(at_gateways);

    let mut at_any_time = JoinSet::new();
    for fault in plan.faults.iter().copied() {
        let moment = Instant::now() + plan.length.mul_f64(rng.random_range(0.1..0.8));
        let (world, hits, history) = (Arc::clone(world), hits.clone(), history.clone());
        let databases = databases.clone();
        let process = Arc::clone(&gateways[rng.random_range(0..gateways.len())].process);
        at_any_time.spawn(async move {
            sleep_until(moment).await;
            let hit = match fault {
                Fault::Kill => {
                    process.wait_for_address().await;
                    process.kill().await
                }
                Fault::Stop => {
                    process.wait_for_address().await;
                    process.stop()
                }
                Fault::Freeze => {
                    process.wait_for_address().await;
                    process.freeze(LEASE + Duration::from_millis(400)).await
                }
                Fault::TerminateSessions => terminate_sessions(&world, &databases).await,
                Fault::RestartPostgres => world.crash().await,
                Fault::Unconfirmed => world.give_up_waits().await > 0,
                Fault::Promote => world.promote().await,
                _ => return,
            };
            let place = format!("gateway {}", process.index);
            history.write(&Event::Fault { class: fault.to_string(), place });
            if hit {
                hits.count(fault);
            }
        });
    }
    at_gateways.await;
    at_any_time.join_all().await;
}

/// Terminates the gateways' sessions as they come along, ten times over.
async fn terminate_sessions(world: &World, databases: &[String; 2]) -> bool {
    let mut terminated = 0;
    for _ in 0..10 {
        let client = world.connect("postgres").await;
        let sql = "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity
                    WHERE datname = ANY ($1) AND application_name LIKE 'turnpike/%' AND random() < 0.5";
        let count = client.query_one(sql, &[&databases.as_slice()]).await;
        terminated += count.map_or(0, |row| row.get::<_, i64>(0));
        sleep(Duration::from_millis(60)).await;
    }
    terminated > 0
}

fn arm(fault: Fault, rng: &mut StdRng) -> Option<Armed> {
    let Fault::At(swap, moment, blow) = fault else {
        return None;
    };
    let length = match blow {
        Blow::Kill | Blow::Drop => Duration::ZERO,
        Blow::Freeze => LEASE + Duration::from_millis(rng.random_range(100..600)),
        Blow::Delay => Duration::from_millis(rng.random_range(50..600)),
        Blow::Late if swap == Swap::Release => LEASE + Duration::from_millis(rng.random_range(100..3000)),
        Blow::Late => ANSWER_TIMEOUT + Duration::from_millis(rng.random_range(50..900)),
    };
    Some(Armed { swap, moment, blow, length, cuts: rng.random() })
}

/// Waits a little until the vendors' connections are closed, and notes what is open.
async fn tell_descriptors(gateway: &Gateway, history: &History) {
    let give_up = Instant::now() + Duration::from_secs(3);
    loop {
        let (at_start, now) = gateway.process.descriptors().unwrap_or_default();
        let database_connections = gateway.wiretap.connections();
        if now <= at_start + database_connections || Instant::now() > give_up {
            let gateway = gateway.process.index;
            return history.write(&Event::Descriptors { gateway, at_start, now, database_connections });
        }
        sleep(Duration::from_millis(50)).await;
    }
}
