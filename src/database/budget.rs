//! How many sessions may be open: of this process, and with each database server, whatever each tenant's own bound allows.
//!
//! A session holds a [`Permit`] from before it is opened until the server has ended it. Who finds none stands in line: one
//! caller of each tenant, first come, first served, so that a tenant's share doesn't grow with its callers. For whom no
//! session is being closed already, idle ones of other tenants are closed, the longest idle first, and those that come back
//! after a while of use: a tenant that is called often can't sit on a server's connections.
//! Openings are paced by server, in the line's order.

mod scope;

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use metrics::Histogram;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout};

use self::scope::{Scope, Seat};
use super::sessions::{Pool, WeakPool};
use crate::config::BudgetConfig;

/// How often the first in line looks for sessions to close.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// A session that was idle for so long may be closed for another tenant's sake: a delivery comes back for its next
/// statement sooner.
const IDLE_ENOUGH: Duration = Duration::from_millis(10);
/// A session that has served for so long may be closed as soon as it comes back. Opening one costs several milliseconds:
/// far less, and the server would do nothing else.
const SERVED_ENOUGH: Duration = Duration::from_millis(200);
/// What may be opened at once, as a part of what may be opened in a second.
const BURST_PART: u32 = 10;

/// What the process may open, all tenants together.
pub struct Budget {
    config: BudgetConfig,
    process: Scope,
    /// By address. Never emptied: there are few servers.
    servers: Mutex<HashMap<String, Arc<Server>>>,
    last_share: AtomicU64,
    /// How long callers waited for a session, all tenants together.
    pool_wait: Histogram,
}

/// Sessions that are open, or about to be or to end.
#[derive(Debug)]
pub struct Usage {
    pub process: usize,
    pub process_limit: usize,
    pub servers: Vec<(String, usize)>,
    pub server_limit: usize,
    /// Tenants that wait for what others hold.
    pub waiting: usize,
}

struct Server {
    scope: Scope,
    /// Held by the first in line.
    line: tokio::sync::Mutex<()>,
    openings: DefaultDirectRateLimiter,
    pools: Mutex<HashMap<u64, WeakPool>>,
}

/// One tenant's part in it.
pub struct Share {
    budget: Arc<Budget>,
    server: Arc<Server>,
    number: u64,
    /// Held by the one caller who stands in line for the tenant.
    turn: tokio::sync::Mutex<()>,
}

/// The right to one open session, given back when it is dropped.
pub struct Permit {
    _server: OwnedSemaphorePermit,
    process: Option<OwnedSemaphorePermit>,
}

impl Permit {
    /// Gives back the process's part alone: for a session that we are done with, and the server may not be.
    pub fn leave_process(&mut self) {
        self.process = None;
    }
}

/// A session in use or in a pool, as opposed to one that is being ended.
pub struct Seats(#[expect(dead_code, reason = "held, not looked at")] [Seat; 2]);

impl Budget {
    pub fn new(config: BudgetConfig) -> Arc<Self> {
        Self::observed(config, Histogram::noop())
    }

    /// The same, and every wait for a session is recorded.
    pub fn observed(config: BudgetConfig, pool_wait: Histogram) -> Arc<Self> {
        Arc::new(Self {
            process: Scope::new(config.max_database_connections, burst(&config).get() as usize),
            config,
            servers: Mutex::default(),
            last_share: AtomicU64::new(0),
            pool_wait,
        })
    }

    /// A tenant's part, whose database is at `address`.
    pub fn share(self: &Arc<Self>, address: String) -> Share {
        let mut servers = lock(&self.servers);
        let server = servers.entry(address).or_insert_with(|| Arc::new(Server::new(&self.config)));
        Share {
            budget: Arc::clone(self),
            server: Arc::clone(server),
            number: self.last_share.fetch_add(1, Ordering::Relaxed),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// What is taken of it.
    pub fn usage(&self) -> Usage {
        let servers = lock(&self.servers);
        let waiting: usize = servers.values().map(|server| server.scope.waiting()).sum();
        Usage {
            process: self.process.taken(),
            process_limit: self.config.max_database_connections,
            servers: servers
                .iter()
                .map(|(address, server)| (address.clone(), server.scope.taken()))
                .collect(),
            server_limit: self.config.max_connections_per_server,
            waiting: waiting + self.process.waiting(),
        }
    }
}

impl Server {
    fn new(config: &BudgetConfig) -> Self {
        let rate = NonZeroU32::new(config.connection_opening_rate).unwrap_or(NonZeroU32::MIN);
        let burst = burst(config);
        Self {
            scope: Scope::new(config.max_connections_per_server, burst.get() as usize),
            line: tokio::sync::Mutex::default(),
            openings: RateLimiter::direct(Quota::per_second(rate).allow_burst(burst)),
            pools: Mutex::default(),
        }
    }

    fn pools_but(&self, share: u64) -> Vec<Pool> {
        let pools = lock(&self.pools);
        pools.iter().filter(|(number, _)| **number != share).filter_map(|(_, pool)| pool.upgrade()).collect()
    }
}

impl Share {
    /// Names the pool whose idle sessions others may have closed.
    pub fn register(&self, pool: WeakPool) {
        lock(&self.server.pools).insert(self.number, pool);
    }

    /// Waits for the right to open a session, and for the server's turn to have one opened. Safe to drop.
    pub async fn acquire(&self) -> (Permit, Seats) {
        let _turn = self.turn.lock().await;
        let standing = self.server.scope.stand(self.number);
        let _first = self.server.line.lock().await;
        let (server, at_server) = self.take(&self.server.scope).await;
        drop(standing);
        let standing = self.budget.process.stand(self.number);
        let (process, in_process) = self.take(&self.budget.process).await;
        drop(standing);
        self.server.openings.until_ready().await;
        (Permit { _server: server, process: Some(process) }, Seats([at_server, in_process]))
    }

    /// A caller has waited for a session, be it in vain.
    pub fn waited(&self, time: Duration) {
        self.budget.pool_wait.record(time);
    }

    async fn take(&self, scope: &Scope) -> (OwnedSemaphorePermit, Seat) {
        let mut permit = pin!(scope.acquire());
        loop {
            self.make_room(scope);
            if let Ok(permit) = timeout(LOOK_EVERY, &mut permit).await {
                return (permit, scope.sit());
            }
        }
    }

    /// Whether a session that comes back now is to be closed for another tenant's sake.
    pub fn is_wanted(&self, opened: Instant) -> bool {
        let short = |scope: &Scope| scope.lacking(Some(self.number)) > 0;
        opened.elapsed() >= SERVED_ENOUGH && (short(&self.server.scope) || short(&self.budget.process))
    }

    /// Closes other tenants' sessions, the longest idle ones, as many as are lacking.
    fn make_room(&self, scope: &Scope) {
        let mut lacking = scope.lacking(None);
        if lacking == 0 {
            return;
        }
        let servers: Vec<_> = match std::ptr::eq(scope, &self.budget.process) {
            true => lock(&self.budget.servers).values().cloned().collect(),
            false => vec![Arc::clone(&self.server)],
        };
        let others: Vec<_> = servers.iter().flat_map(|server| server.pools_but(self.number)).collect();
        let may_go = |opened: Instant, idle_since: Instant| {
            idle_since.elapsed() >= IDLE_ENOUGH || opened.elapsed() >= SERVED_ENOUGH
        };
        let mut idle = Vec::new();
        for pool in &others {
            pool.retain(|session, _| {
                if may_go(session.opened, session.idle_since) {
                    idle.push(session.idle_since);
                }
                true
            });
        }
        idle.sort_unstable();
        let Some(latest) = idle.get(lacking - 1).or(idle.last()) else {
            return;
        };
        for pool in &others {
            pool.retain(|session, _| {
                let goes = lacking > 0
                    && session.idle_since <= *latest
                    && may_go(session.opened, session.idle_since);
                lacking -= usize::from(goes);
                !goes
            });
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        lock(&self.server.pools).remove(&self.number);
    }
}

fn burst(config: &BudgetConfig) -> NonZeroU32 {
    NonZeroU32::new(config.connection_opening_rate / BURST_PART).unwrap_or(NonZeroU32::MIN)
}

/// std Mutex: held for a look or a change, never across an await.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
