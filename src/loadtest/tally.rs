//! What was measured, while it is measured: counts, and latencies in HDR histograms, over all, per tenant and over time.
//!
//! Percentiles are of whole answers and of calls that timed out, these at the time-out: else the slowest calls would make the
//! figures better. A call that was refused at once says nothing about latency, and counts as an error alone.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::time::Instant;

use super::call::Answer;
use super::failure::Failure;

/// Significant digits: 1 ms is told from 1.001 ms.
const DIGITS: u8 = 3;
/// A slice of time has few calls and is drawn as a dot.
const SLICE_DIGITS: u8 = 2;

/// One call that has ended.
#[derive(Debug)]
pub struct Ended {
    /// The target's place in the plan.
    pub target: usize,
    /// When it was due; latency counts from here.
    pub due: Instant,
    /// When the load tester came to it.
    pub began: Instant,
    pub ended: Instant,
    pub outcome: Result<Answer, Failure>,
}

/// Counts of calls.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// Whole answers.
    pub answered: u64,
    pub records: u64,
    pub bytes: u64,
    pub failures: BTreeMap<Failure, u64>,
}

/// A span of time, by when its calls were due.
#[derive(Debug, Clone)]
pub struct Slice {
    pub answered: u64,
    pub failed: u64,
    pub latency: Histogram<u32>,
}

/// One tenant's part.
#[derive(Debug, Clone)]
pub struct TenantTally {
    pub counts: Counts,
    pub latency: Histogram<u32>,
}

/// All that was measured. Latencies are in microseconds.
#[derive(Debug, Clone)]
pub struct Tally {
    /// When measuring began, after the warm-up.
    pub start: Instant,
    /// When the last call ended.
    pub last: Instant,
    pub counts: Counts,
    /// From when a call was due to the last byte.
    pub latency: Histogram<u64>,
    /// From when a call was made to the answer's head.
    pub head: Histogram<u64>,
    /// How much later than due the load tester came to a call: its own lateness, not the gateway's.
    pub lag: Histogram<u64>,
    pub tenants: Vec<TenantTally>,
    pub slice: Duration,
    pub slices: Vec<Slice>,
}

fn histogram<C: hdrhistogram::Counter>(digits: u8) -> Histogram<C> {
    Histogram::new(digits).expect("a legal number of digits")
}

fn record<C: hdrhistogram::Counter>(histogram: &mut Histogram<C>, latency: u64) {
    // `saturating_record` would clamp to the range so far instead of growing.
    histogram.record(latency).expect("a histogram that grows takes any latency");
}

/// In whole microseconds, at least one: a histogram has no zero.
fn micros(duration: Duration) -> u64 {
    /// As far as a histogram goes; half a million years.
    const LONGEST: u64 = u64::MAX / 2;
    u64::try_from(duration.as_micros()).unwrap_or(LONGEST).clamp(1, LONGEST)
}

impl Counts {
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    pub fn calls(&self) -> u64 {
        self.answered + self.failed()
    }

    fn add(&mut self, outcome: &Result<Answer, Failure>) {
        match outcome {
            Ok(answer) => {
                self.answered += 1;
                self.records += answer.records;
                self.bytes += answer.bytes;
            }
            Err(failure) => *self.failures.entry(failure.clone()).or_default() += 1,
        }
    }
}

impl Tally {
    pub fn new(targets: usize, start: Instant, slice: Duration) -> Tally {
        let tenant = TenantTally { counts: Counts::default(), latency: histogram(DIGITS) };
        Tally {
            start,
            last: start,
            counts: Counts::default(),
            latency: histogram(DIGITS),
            head: histogram(DIGITS),
            lag: histogram(DIGITS),
            tenants: vec![tenant; targets],
            slice,
            slices: Vec::new(),
        }
    }

    /// Counts a call; those of the warm-up don't.
    fn add(&mut self, call: &Ended) {
        if call.due < self.start {
            return;
        }
        self.last = self.last.max(call.ended);
        self.counts.add(&call.outcome);
        let tenant = &mut self.tenants[call.target];
        tenant.counts.add(&call.outcome);
        record(&mut self.lag, micros(call.began - call.due));
        if let Ok(answer) = &call.outcome {
            record(&mut self.head, micros(answer.head_at - call.began));
        }
        let slice = slice_at(&mut self.slices, (call.due - self.start).as_nanos() / self.slice.as_nanos());
        match call.outcome {
            Ok(_) => slice.answered += 1,
            Err(_) => slice.failed += 1,
        }
        if matches!(call.outcome, Ok(_) | Err(Failure::Timeout)) {
            let latency = micros(call.ended - call.due);
            record(&mut self.latency, latency);
            record(&mut tenant.latency, latency);
            record(&mut slice.latency, latency);
        }
    }

    /// Takes in what was measured at another time.
    pub fn merge(&mut self, other: &Tally) {
        self.counts.answered += other.counts.answered;
        self.counts.records += other.counts.records;
        self.counts.bytes += other.counts.bytes;
        for (failure, count) in &other.counts.failures {
            *self.counts.failures.entry(failure.clone()).or_default() += count;
        }
        self.latency.add(&other.latency).expect("histograms that grow take any other in");
    }
}

fn slice_at(slices: &mut Vec<Slice>, index: u128) -> &mut Slice {
    let index = usize::try_from(index).expect("as many slices as fit in memory");
    while slices.len() <= index {
        slices.push(Slice { answered: 0, failed: 0, latency: histogram(SLICE_DIGITS) });
    }
    &mut slices[index]
}

/// A tally that many tasks add to, and one looks at meanwhile.
pub struct Recorder {
    in_flight: AtomicU64,
    /// std Mutex: held for one call's numbers or one look, never across an await.
    state: Mutex<(Tally, Recent)>,
}

/// The calls that ended since the last look, warm-up or not.
struct Recent {
    since: Instant,
    answered: u64,
    failed: u64,
    latency: Histogram<u32>,
}

/// What one look at a running tally shows. Latencies are in microseconds, 0 where nothing was measured.
#[derive(Debug, Clone)]
pub struct Look {
    pub at: Instant,
    pub in_flight: u64,
    pub counts: Counts,
    /// p50, p90, p99 and the maximum, of all.
    pub latency: [u64; 4],
    /// The same, of what ended since the last look.
    pub recent_latency: [u64; 4],
    /// Whole answers a second since the last look.
    pub recent_rate: f64,
    pub recent_failed: u64,
    /// Answered, failed and p99 by target.
    pub tenants: Vec<(u64, u64, u64)>,
}

impl Recorder {
    pub fn new(tally: Tally) -> Recorder {
        let recent = Recent { since: Instant::now(), answered: 0, failed: 0, latency: histogram(DIGITS) };
        Recorder { in_flight: AtomicU64::new(0), state: Mutex::new((tally, recent)) }
    }

    pub fn begin(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub fn end(&self, call: &Ended) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        let mut state = self.lock();
        let (tally, recent) = &mut *state;
        tally.add(call);
        match call.outcome {
            Ok(_) => recent.answered += 1,
            Err(_) => recent.failed += 1,
        }
        record(&mut recent.latency, micros(call.ended - call.due));
    }

    /// The state of things, and what came since the last look.
    pub fn look(&self) -> Look {
        let mut state = self.lock();
        let (tally, recent) = &mut *state;
        let now = Instant::now();
        let seconds = (now - recent.since).as_secs_f64().max(1e-6);
        let look = Look {
            at: now,
            in_flight: self.in_flight.load(Ordering::Relaxed),
            counts: tally.counts.clone(),
            latency: quantiles(&tally.latency),
            recent_latency: quantiles(&recent.latency),
            recent_rate: recent.answered as f64 / seconds,
            recent_failed: recent.failed,
            tenants: tally
                .tenants
                .iter()
                .map(|tenant| {
                    let p99 = value_at(&tenant.latency, 0.99);
                    (tenant.counts.answered, tenant.counts.failed(), p99)
                })
                .collect(),
        };
        *recent = Recent { since: now, answered: 0, failed: 0, latency: histogram(DIGITS) };
        look
    }

    pub fn tally(&self) -> Tally {
        self.lock().0.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (Tally, Recent)> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// What so much of the calls doesn't exceed, in microseconds; no more than the slowest took.
pub fn value_at<C: hdrhistogram::Counter>(latency: &Histogram<C>, quantile: f64) -> u64 {
    latency.value_at_quantile(quantile).min(latency.max())
}

fn quantiles<C: hdrhistogram::Counter>(latency: &Histogram<C>) -> [u64; 4] {
    if latency.is_empty() {
        return [0; 4];
    }
    let [p50, p90, p99] = [0.5, 0.9, 0.99].map(|quantile| value_at(latency, quantile));
    [p50, p90, p99, latency.max()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(start: Instant, due: u64, took: u64, outcome: Result<(), Failure>) -> Ended {
        let due = start + Duration::from_millis(due);
        let ended = due + Duration::from_millis(took);
        let outcome = outcome.map(|()| Answer { records: 2, bytes: 100, head_at: ended });
        Ended { target: 0, due, began: due, ended, outcome }
    }

    fn tally_of(calls: impl IntoIterator<Item = (u64, u64, Result<(), Failure>)>) -> Tally {
        let start = Instant::now();
        let mut tally = Tally::new(1, start, Duration::from_secs(1));
        for (due, took, outcome) in calls {
            tally.add(&ended(start, due, took, outcome));
        }
        tally
    }

    fn millis(latency: &Histogram<u64>, quantile: f64) -> u64 {
        (latency.value_at_quantile(quantile) + 500) / 1000
    }

    #[test]
    fn a_percentile_is_the_smallest_value_that_so_many_calls_do_not_exceed() {
        let tally = tally_of((1..=100).map(|took| (0, took, Ok(()))));

        assert_eq!([0.5, 0.9, 0.99, 1.0].map(|q| millis(&tally.latency, q)), [50, 90, 99, 100]);
    }

    #[test]
    fn a_refusal_does_not_improve_the_percentiles_and_a_time_out_worsens_them() {
        let refused = Failure::Status { status: 503, code: Some(9104) };
        let calls = (0..90).map(|_| (0, 10, Ok(())));
        let calls = calls.chain((0..200).map(|_| (0, 1, Err(refused.clone()))));
        let tally = tally_of(calls.chain((0..10).map(|_| (0, 5000, Err(Failure::Timeout)))));

        assert_eq!([0.5, 0.9, 0.99].map(|q| millis(&tally.latency, q)), [10, 10, 5001]); // of three digits
        assert_eq!((tally.counts.answered, tally.counts.failed(), tally.counts.calls()), (90, 210, 300));
        assert_eq!(tally.counts.failures[&refused], 200);
    }

    #[test]
    fn a_call_belongs_to_the_slice_in_which_it_was_due() {
        let tally = tally_of([(0, 1, Ok(())), (999, 5000, Ok(())), (2500, 1, Err(Failure::Refused))]);

        let slices: Vec<_> = tally.slices.iter().map(|slice| (slice.answered, slice.failed)).collect();
        assert_eq!(slices, [(2, 0), (0, 0), (0, 1)]);
    }

    #[test]
    fn the_warm_up_is_not_measured() {
        let now = Instant::now();
        let recorder = Recorder::new(Tally::new(1, now + Duration::from_secs(1), Duration::from_secs(1)));
        for due in [500, 1000] {
            recorder.begin();
            recorder.end(&ended(now, due, 7, Ok(())));
        }

        let tally = recorder.tally();

        assert_eq!((tally.counts.calls(), tally.latency.len(), tally.counts.records), (1, 1, 2));
        assert_eq!(recorder.look().in_flight, 0);
    }

    #[test]
    fn merged_tallies_hold_the_calls_of_both() {
        let mut one = tally_of((0..10).map(|_| (0, 10, Ok(()))));
        let other = tally_of((0..10).map(|_| (0, 90_000, Ok(()))));

        one.merge(&other);

        assert_eq!(one.counts.answered, 20);
        assert_eq!([0.5, 0.51].map(|q| millis(&one.latency, q) / 100), [0, 900]);
    }
}
