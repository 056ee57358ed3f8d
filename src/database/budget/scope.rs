//! One bound on open sessions: how many there are, and who waits for one.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::lock;

/// Sessions with one server, or of the whole process.
pub struct Scope {
    limit: usize,
    /// Sessions are closed for so many of those who wait: more couldn't be opened soon.
    ahead: usize,
    permits: Arc<Semaphore>,
    /// Sessions that nobody has begun to close. The permits that are out beyond these come back by themselves.
    seated: Arc<AtomicUsize>,
    /// Shares' numbers.
    standing: Mutex<HashSet<u64>>,
}

/// Counts as a session for as long as it is held.
pub struct Seat(Arc<AtomicUsize>);

/// Counts as waiting for as long as it is held.
pub struct Standing<'a>(&'a Scope, u64);

impl Scope {
    pub fn new(limit: usize, ahead: usize) -> Self {
        let permits = Arc::new(Semaphore::new(limit));
        Self { limit, ahead, permits, seated: Arc::default(), standing: Mutex::default() }
    }

    /// Sessions that are open, being opened or being ended.
    pub fn taken(&self) -> usize {
        self.limit - self.permits.available_permits()
    }

    pub fn waiting(&self) -> usize {
        lock(&self.standing).len()
    }

    pub async fn acquire(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.permits).acquire_owned().await.expect("this semaphore is never closed")
    }

    pub fn sit(&self) -> Seat {
        self.seated.fetch_add(1, Ordering::Relaxed);
        Seat(Arc::clone(&self.seated))
    }

    pub fn stand(&self, share: u64) -> Standing<'_> {
        lock(&self.standing).insert(share);
        Standing(self, share)
    }

    /// How many sessions have to be closed for those who wait, or for all of them but one share.
    pub fn lacking(&self, all_but: Option<u64>) -> usize {
        let standing = lock(&self.standing);
        let own = all_but.is_some_and(|share| standing.contains(&share));
        let waiting = (standing.len() - usize::from(own)).min(self.ahead);
        (waiting + self.seated.load(Ordering::Relaxed)).saturating_sub(self.limit)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        lock(&self.0.standing).remove(&self.1);
    }
}
