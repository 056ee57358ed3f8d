//! Claims go before chunks: what many wait for a moment for before what one waits for in any case.
//!
//! A large batch keeps PostgreSQL and us busy for seconds, a claim for a fraction of a millisecond. Where both want the same
//! processors, the next chunk is asked for when the claims that are under way have been answered.
//! Nobody is starved: a chunk waits no longer than [`LONGEST`], and a claim that takes longer than that (its database is gone, or
//! it marks a hundred thousand violations) keeps no chunk waiting any more.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

/// Several times what an empty poll takes; about what a chunk takes.
const LONGEST: Duration = Duration::from_millis(3);

/// Who goes first, of the whole process. Clones share it.
#[derive(Clone, Default)]
pub struct Precedence {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Claims that began less than `LONGEST` ago and haven't ended.
    claims: AtomicUsize,
    none_left: Notify,
}

/// One of `claims` for as long as it is held.
struct Claiming<'a>(&'a Shared);

impl Precedence {
    /// Runs a claim, or what else a caller waits for before the first byte. As safe to drop as `work` is.
    pub async fn first<T>(&self, work: impl Future<Output = T>) -> T {
        let claiming = Claiming::begin(&self.shared);
        let mut work = pin!(work);
        match timeout(LONGEST, &mut work).await {
            Ok(done) => done,
            Err(_elapsed) => {
                drop(claiming);
                work.await
            }
        }
    }

    /// Waits for the claims that are under way, a little. Safe to drop.
    pub async fn give_way(&self) {
        let none_left = self.shared.none_left.notified();
        if self.shared.claims.load(Ordering::SeqCst) > 0 {
            let _ = timeout(LONGEST, none_left).await; // whether they have ended or not
        }
    }
}

impl<'a> Claiming<'a> {
    fn begin(shared: &'a Shared) -> Self {
        shared.claims.fetch_add(1, Ordering::SeqCst);
        Self(shared)
    }
}

impl Drop for Claiming<'_> {
    fn drop(&mut self) {
        if self.0.claims.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.none_left.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::{Instant, sleep};

    use super::*;

    /// How long a chunk waits that is wanted 1 ms after a claim of this length began.
    async fn chunk_waits(claim: impl Future<Output = ()> + Send + 'static) -> Duration {
        let precedence = Precedence::default();
        let claiming = precedence.clone();
        let claiming = tokio::spawn(async move { claiming.first(claim).await });
        sleep(Duration::from_millis(1)).await;
        let asked = Instant::now();
        precedence.give_way().await;
        claiming.abort();
        asked.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_chunk_waits_for_nobody_where_there_is_no_claim() {
        assert_eq!(chunk_waits(async {}).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_chunk_waits_until_the_claim_has_ended() {
        assert_eq!(chunk_waits(sleep(Duration::from_millis(2))).await, Duration::from_millis(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_claim_that_takes_long_is_not_waited_for_to_its_end() {
        assert_eq!(chunk_waits(pending()).await, LONGEST - Duration::from_millis(1));
    }

    #[tokio::test(start_paused = true)]
    async fn claim_upon_claim_delays_a_chunk_and_does_not_stop_it() {
        let precedence = Precedence::default();
        let busy: Vec<_> = (0..2)
            .map(|number| {
                let precedence = precedence.clone();
                tokio::spawn(async move {
                    sleep(Duration::from_millis(number)).await;
                    loop {
                        precedence.first(sleep(Duration::from_millis(2))).await;
                    }
                })
            })
            .collect();
        sleep(Duration::from_millis(4)).await;

        let asked = Instant::now();
        precedence.give_way().await;

        assert_eq!(asked.elapsed(), LONGEST);
        busy.iter().for_each(tokio::task::JoinHandle::abort);
    }

    #[tokio::test(start_paused = true)]
    async fn a_claim_that_is_dropped_keeps_nobody_waiting() {
        let precedence = Precedence::default();
        drop(timeout(Duration::from_millis(1), precedence.first(pending::<()>())).await);

        let asked = Instant::now();
        precedence.give_way().await;

        assert_eq!(asked.elapsed(), Duration::ZERO);
    }
}
