//! How many sessions may be open: of this process, and with each database server, whatever each tenant's own bound allows.
//!
//! A session holds a [`Permit`] from before it is opened until the server has had the time to end it. Who finds none waits
//! in line (first come, first served, whatever the tenant), and meanwhile has the session closed that was idle longest, and
//! those that are given back: a tenant that is called often can't sit on a server's connections.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use metrics::Histogram;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

use super::sessions::WeakPool;
use crate::config::BudgetConfig;

/// A server still counts a session for a moment after we have closed it.
const LINGER: Duration = Duration::from_millis(50);

/// What the process may open, all tenants together.
pub struct Budget {
    config: BudgetConfig,
    process: Arc<Semaphore>,
    /// By address. Never emptied: there are few servers.
    servers: Mutex<HashMap<String, Arc<Server>>>,
    pools: Mutex<Vec<(u64, String, WeakPool)>>,
    waiters: Mutex<HashMap<u64, Waiter>>,
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
    /// Callers who wait for what others hold.
    pub waiting: usize,
}

struct Server {
    sessions: Arc<Semaphore>,
    openings: DefaultDirectRateLimiter,
}

struct Waiter {
    server: String,
    count: usize,
}

/// One tenant's part in it.
pub struct Share {
    budget: Arc<Budget>,
    address: String,
    server: Arc<Server>,
    number: u64,
}

/// The right to one open session.
pub struct Permit(Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)>);

impl Drop for Permit {
    fn drop(&mut self) {
        let permits = self.0.take();
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                sleep(LINGER).await;
                drop(permits);
            });
        }
    }
}

impl Budget {
    pub fn new(config: BudgetConfig) -> Arc<Self> {
        Self::observed(config, Histogram::noop())
    }

    /// The same, and every wait for a session is recorded.
    pub fn observed(config: BudgetConfig, pool_wait: Histogram) -> Arc<Self> {
        Arc::new(Self {
            process: Arc::new(Semaphore::new(config.max_database_connections)),
            config,
            servers: Mutex::default(),
            pools: Mutex::default(),
            waiters: Mutex::default(),
            last_share: AtomicU64::new(0),
            pool_wait,
        })
    }

    /// A tenant's part, whose database is at `address`.
    pub fn share(self: &Arc<Self>, address: String) -> Share {
        let server = {
            let mut servers = lock(&self.servers);
            let server =
                servers.entry(address.clone()).or_insert_with(|| Arc::new(Server::new(&self.config)));
            Arc::clone(server)
        };
        let number = self.last_share.fetch_add(1, Ordering::Relaxed);
        Share { budget: Arc::clone(self), address, server, number }
    }

    /// Sessions that may still be opened: of the process, and with each server.
    pub fn available(&self) -> (usize, Vec<(String, usize)>) {
        let servers = lock(&self.servers);
        let servers = servers.iter().map(|(address, s)| (address.clone(), s.sessions.available_permits()));
        (self.process.available_permits(), servers.collect())
    }
}

impl Budget {
    /// What is taken of it.
    pub fn usage(&self) -> Usage {
        let (process_left, servers_left) = self.available();
        let (process_limit, server_limit) =
            (self.config.max_database_connections, self.config.max_connections_per_server);
        let servers = servers_left.into_iter().map(|(address, left)| (address, server_limit - left));
        Usage {
            process: process_limit - process_left,
            process_limit,
            servers: servers.collect(),
            server_limit,
            waiting: lock(&self.waiters).values().map(|waiter| waiter.count).sum(),
        }
    }
}

impl Server {
    fn new(config: &BudgetConfig) -> Self {
        let rate = NonZeroU32::new(config.connection_opening_rate).unwrap_or(NonZeroU32::MIN);
        Self {
            sessions: Arc::new(Semaphore::new(config.max_connections_per_server)),
            openings: RateLimiter::direct(Quota::per_second(rate)),
        }
    }
}

impl Share {
    /// Names the pool whose idle sessions others may have closed.
    pub fn register(&self, pool: WeakPool) {
        let mut pools = lock(&self.budget.pools);
        pools.retain(|(_, _, pool)| pool.upgrade().is_some());
        pools.push((self.number, self.address.clone(), pool));
    }

    /// Waits for the right to open a session, and for the server's turn to have one opened. Safe to drop.
    pub async fn acquire(&self) -> Permit {
        let sessions = Arc::clone(&self.server.sessions);
        let process = Arc::clone(&self.budget.process);
        let at_once = (Arc::clone(&sessions).try_acquire_owned(), Arc::clone(&process).try_acquire_owned());
        let permits = if let (Ok(session), Ok(process)) = at_once {
            (session, process)
        } else {
            let _waiting = Waiting::begin(self);
            self.make_room();
            let session = sessions.acquire_owned().await.expect("this semaphore is never closed");
            (session, process.acquire_owned().await.expect("this semaphore is never closed"))
        };
        let permit = Permit(Some(permits));
        self.server.openings.until_ready().await;
        permit
    }

    /// A caller has waited for a session, be it in vain.
    pub fn waited(&self, time: Duration) {
        self.budget.pool_wait.record(time);
    }

    /// Whether another tenant waits for what this one holds.
    pub fn others_wait(&self) -> bool {
        let waiters = lock(&self.budget.waiters);
        let crowded = self.budget.process.available_permits() == 0;
        waiters
            .iter()
            .any(|(number, waiter)| *number != self.number && (crowded || waiter.server == self.address))
    }

    /// Closes another tenant's session: the one that has been idle longest.
    fn make_room(&self) {
        let everywhere = self.budget.process.available_permits() == 0;
        let pools: Vec<_> = lock(&self.budget.pools)
            .iter()
            .filter(|(number, address, _)| *number != self.number && (everywhere || *address == self.address))
            .filter_map(|(_, _, pool)| pool.upgrade())
            .collect();
        let longest_idle = |pool: &super::sessions::Pool| {
            let mut longest = None;
            pool.retain(|_, metrics| {
                longest = longest.max(Some(metrics.last_used()));
                true
            });
            longest
        };
        let idlest = pools.iter().filter_map(|pool| Some((longest_idle(pool)?, pool)));
        if let Some((_, pool)) = idlest.max_by_key(|(idle, _)| *idle) {
            let mut closed = false;
            pool.retain(|_, _| std::mem::replace(&mut closed, true));
        }
    }
}

/// Counts as waiting for as long as it is held.
struct Waiting<'a>(&'a Share);

impl<'a> Waiting<'a> {
    fn begin(share: &'a Share) -> Self {
        let mut waiters = lock(&share.budget.waiters);
        let waiter =
            waiters.entry(share.number).or_insert_with(|| Waiter { server: share.address.clone(), count: 0 });
        waiter.count += 1;
        Self(share)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut waiters = lock(&self.0.budget.waiters);
        if let Some(waiter) = waiters.get_mut(&self.0.number) {
            waiter.count -= 1;
            if waiter.count == 0 {
                waiters.remove(&self.0.number);
            }
        }
    }
}

/// std Mutex: held for a look or a change, never across an await.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
