//! A rate and where somebody stands in it: governor's arithmetic (GCRA), on a state from which can be given back.

use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::{NotKeyed, StateStore};
use governor::{Quota, RateLimiter};
use moka::future::Cache;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::config::Rate;

/// A bucket that nobody has taken from for so long is full again: no rate's time is longer.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60 * 60);

/// How long somebody waits for others to give back.
const PATIENCE: Duration = Duration::from_secs(5);

/// A policy, and where a caller stands in it: what the RateLimit header fields tell
/// (draft-ietf-httpapi-ratelimit-headers).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    pub policy: &'static str,
    /// Requests in each window.
    pub quota: u32,
    pub window: Duration,
    /// How many may come now.
    pub remaining: u32,
    /// Until the quota is whole again; of a refused request, until the next one may come.
    pub reset: Duration,
}

/// Everybody's buckets under one policy. Bounded: whoever was seen least is forgotten first.
pub struct Buckets<K> {
    policy: &'static str,
    cache: Cache<K, Arc<Bucket>>,
}

impl<K: Hash + Eq + Clone + Send + Sync + 'static> Buckets<K> {
    pub fn new(policy: &'static str, capacity: u64) -> Self {
        let cache = Cache::builder().max_capacity(capacity).time_to_idle(FORGOTTEN_AFTER).build();
        Self { policy, cache }
    }

    /// The key's bucket; a new and full one where the rate isn't what it was.
    pub async fn get(&self, key: &K, rate: Rate) -> Arc<Bucket> {
        let create = async { Arc::new(Bucket::new(self.policy, rate)) };
        let changed = |bucket: &Arc<Bucket>| bucket.rate != rate;
        self.cache.entry_by_ref(key).or_insert_with_if(create, changed).await.into_value()
    }
}

/// What one key may still take.
pub struct Bucket {
    policy: &'static str,
    rate: Rate,
    level: Level,
    /// Reservations. std Mutex: held for one decision, never across an await.
    reserved: Mutex<usize>,
    settled: Notify,
    limiter: RateLimiter<NotKeyed, Level, SinceThen, StateInformationMiddleware>,
}

impl Bucket {
    fn new(policy: &'static str, rate: Rate) -> Self {
        let quota = Quota::with_period(rate.interval())
            .expect("a second and a million requests leave a microsecond")
            .allow_burst(rate.burst);
        let level = Level::default();
        let limiter = RateLimiter::new(quota, level.clone(), SinceThen(Instant::now()));
        Self { policy, rate, level, reserved: Mutex::default(), settled: Notify::new(), limiter }
    }

    /// Takes one.
    ///
    /// # Errors
    /// Nothing is taken from an empty bucket; `reset` is the time until there is one again.
    pub fn take(&self) -> Result<Standing, Standing> {
        match self.limiter.check() {
            Ok(after) => {
                Ok(self.standing(after.remaining_burst_capacity(), self.level.until_full(self.now())))
            }
            Err(not_until) => Err(self.standing(0, not_until.wait_time_from(self.now()))),
        }
    }

    /// Takes one that may be given back. From a bucket that is empty because of others who may give back, too, it waits
    /// for what becomes of them, but not for long: many good calls at once are no failures. Safe to drop.
    ///
    /// # Errors
    /// As [`Bucket::take`].
    pub async fn reserve(self: &Arc<Self>) -> Result<Reservation, Standing> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let settled = self.settled.notified();
            {
                let mut reserved = self.reserved();
                match self.take() {
                    Ok(_) => {
                        *reserved += 1;
                        return Ok(Reservation { bucket: Arc::clone(self), given_back: false });
                    }
                    Err(standing) if *reserved == 0 || Instant::now() >= deadline => return Err(standing),
                    Err(_) => {}
                }
            }
            let _ = timeout_at(deadline, settled).await; // the next look tells either way
        }
    }

    fn reserved(&self) -> MutexGuard<'_, usize> {
        self.reserved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.limiter.clock().now()
    }

    fn standing(&self, remaining: u32, reset: Duration) -> Standing {
        let Rate { requests, per: window, .. } = self.rate;
        Standing { policy: self.policy, quota: requests.get(), window, remaining, reset }
    }
}

/// One that was taken and may be given back; dropped, it stays taken.
pub struct Reservation {
    bucket: Arc<Bucket>,
    given_back: bool,
}

impl Reservation {
    pub fn give_back(mut self) {
        self.given_back = true;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut reserved = self.bucket.reserved();
        *reserved -= 1;
        if self.given_back {
            self.bucket.level.lower(self.bucket.rate.interval());
            self.bucket.settled.notify_one();
        }
        if *reserved == 0 {
            self.bucket.settled.notify_waiters(); // nobody is left who could give back
        }
    }
}

/// governor's state: the moment at which the bucket would be full, in nanoseconds since it was made; 0: it is.
#[derive(Clone, Default)]
struct Level(Arc<AtomicU64>);

impl Level {
    fn until_full(&self, now: Duration) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Acquire)).saturating_sub(now)
    }

    fn lower(&self, by: Duration) {
        let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |full_at| Some(full_at.saturating_sub(by)))
            .ok();
    }
}

impl StateStore for Level {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, _key: &NotKeyed, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut seen = self.0.load(Ordering::Acquire);
        loop {
            let (told, next) = decide(if seen == 0 { None } else { Some(seen.into()) })?;
            match self.0.compare_exchange_weak(seen, next.into(), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(told),
                Err(changed) => seen = changed,
            }
        }
    }
}

/// Tokio's clock, which tests can stop and turn.
struct SinceThen(Instant);

impl Clock for SinceThen {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use futures_util::future::join_all;
    use tokio::time::{advance, sleep};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn rate(requests: u32, burst: u32) -> Rate {
        let count = |number| NonZeroU32::new(number).unwrap();
        Rate { requests: count(requests), per: 60 * SECOND, burst: count(burst) }
    }

    fn bucket(requests: u32, burst: u32) -> Bucket {
        Bucket::new("test", rate(requests, burst))
    }

    #[tokio::test(start_paused = true)]
    async fn as_many_as_the_burst_come_at_once_and_the_next_waits_for_its_turn() {
        let bucket = bucket(60, 3);

        let taken: Vec<u32> = (0..3).map(|_| bucket.take().unwrap().remaining).collect();
        let refused = bucket.take().unwrap_err();

        assert_eq!(taken, [2, 1, 0]);
        let told = Standing { policy: "test", quota: 60, window: 60 * SECOND, remaining: 0, reset: SECOND };
        assert_eq!(refused, told);
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_that_a_refusal_names_is_enough_and_no_less_is() {
        let bucket = bucket(60, 1);
        bucket.take().unwrap();

        advance(SECOND - Duration::from_nanos(1)).await;
        let early = bucket.take();
        advance(early.unwrap_err().reset).await;

        assert!(bucket.take().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_bucket_is_full_again_after_the_time_that_it_told() {
        let bucket = bucket(60, 10);
        let taken: Vec<Standing> = (0..10).map(|_| bucket.take().unwrap()).collect();
        let told = taken[9].reset;

        advance(told).await;

        assert_eq!(told, 10 * SECOND);
        assert_eq!((0..20).filter(|_| bucket.take().is_ok()).count(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_given_back_can_be_taken_again_and_no_more_than_that() {
        let bucket = Arc::new(bucket(60, 2));
        let (kept, back) = (bucket.reserve().await.unwrap(), bucket.reserve().await.unwrap());

        drop(kept);
        back.give_back();

        assert!(bucket.take().is_ok());
        assert!(bucket.take().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn giving_back_fills_no_bucket_above_its_burst() {
        let bucket = Arc::new(bucket(60, 2));
        let reservation = bucket.reserve().await.unwrap();
        advance(10 * SECOND).await;

        reservation.give_back();

        assert_eq!((0..5).filter(|_| bucket.take().is_ok()).count(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn however_many_give_back_nobody_is_refused() {
        let bucket = Arc::new(bucket(1, 1));
        let calls = (0..50).map(|_| async {
            let reservation = bucket.reserve().await?;
            sleep(Duration::from_millis(1)).await;
            reservation.give_back();
            Ok::<_, Standing>(())
        });

        assert!(join_all(calls).await.into_iter().all(|call| call.is_ok()));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_others_is_refused_when_they_keep_theirs_or_take_too_long() {
        let bucket = Arc::new(bucket(1, 1));
        let first = bucket.reserve().await.unwrap();

        let late = bucket.reserve().await;
        let keeping = async {
            sleep(SECOND).await;
            drop(first);
        };
        let (kept, ()) = tokio::join!(bucket.reserve(), keeping);

        assert_eq!(late.map(drop).unwrap_err().reset, 55 * SECOND);
        assert_eq!(kept.map(drop).unwrap_err().reset, 54 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn a_bucket_is_kept_as_long_as_its_rate_is_the_same() {
        let buckets = Buckets::new("test", 10);
        buckets.get(&"a", rate(60, 1)).await.take().unwrap();

        let kept = buckets.get(&"a", rate(60, 1)).await.take();
        let anothers = buckets.get(&"b", rate(60, 1)).await.take();
        let changed = buckets.get(&"a", rate(61, 1)).await.take();

        assert!(kept.is_err());
        assert!(anothers.is_ok() && changed.is_ok());
    }
}
