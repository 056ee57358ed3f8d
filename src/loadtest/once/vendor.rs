//! One vendor, who goes about it as the documentation asks: nothing but a whole answer counts, and what was lost is asked
//! for again, by the same key or by the batch's number.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use thiserror::Error;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Deeds;
use super::checker::Whole;
use super::collect::{Cause, Cut, Loss, Received, collect};
use crate::loadtest::call::{Order, Taking};
use crate::loadtest::connections::Connections;
use crate::loadtest::failure::Failure;
use crate::loadtest::target::Target;

/// Longer than a lease: what a killed gateway left open is free again by then.
const PATIENCE: Duration = Duration::from_secs(180);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A cut before the head comes within so many milliseconds.
const BEFORE_HEAD_MS: u64 = 30;
/// Of a hundred calls without a cut, so many have no key, and so many no limit.
const KEYLESS_PERCENT: u32 = 30;
const UNLIMITED_PERCENT: u32 = 2;

/// The first calls of each vendor have a limit, so that one doesn't take all there is from the others.
const ALWAYS_LIMITED: usize = 5;

/// How vendors call.
#[derive(Debug, Clone)]
pub struct Manners {
    /// Of a hundred calls, so many are cut off on purpose.
    pub cut_percent: u32,
    /// Most calls ask for 1 to so many records.
    pub largest_limit: u32,
}

/// Why a vendor gave up.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum VendorError {
    #[error("vendor {vendor}: {failure}, for {} s", PATIENCE.as_secs())]
    Patience { vendor: usize, failure: Failure },
    #[error("vendor {vendor}: {failure}")]
    Refused { vendor: usize, failure: Failure },
    #[error("the answers are previews: this token is a sandbox token, which can't claim")]
    Sandbox,
}

pub(super) struct Vendor {
    pub(super) number: usize,
    pub(super) target: Target,
    pub(super) connections: Connections,
    pub(super) manners: Manners,
    pub(super) timeout: Duration,
    pub(super) rng: StdRng,
    pub(super) deeds: Deeds,
    pub(super) answers: Vec<Whole>,
}

/// What a vendor wants with one claim.
struct Errand {
    limit: Option<u32>,
    key: Option<String>,
    cut: Option<Cut>,
}

impl Errand {
    /// The vendor's errand with this number, counted from 0. The kinds of cuts take turns.
    fn draw(manners: &Manners, rng: &mut StdRng, number: usize, cuts: usize) -> Errand {
        let mut percent = |percent: u32| rng.random_range(0..100) < percent;
        let (is_cut, unlimited, keyless) =
            (percent(manners.cut_percent), percent(UNLIMITED_PERCENT), percent(KEYLESS_PERCENT));
        let cut = is_cut.then(|| match cuts % 4 {
            0 => Cut::BeforeHead(Duration::from_millis(rng.random_range(0..BEFORE_HEAD_MS))),
            1 => Cut::AtHead,
            2 => Cut::Midway(rng.random_range(0.1..0.9)),
            _ => Cut::AtEnd,
        });
        // Without a key, and without a head that tells the batch's number, an answer that is lost at the last moment
        // can't be had again: the documented reason to send a key.
        let needs_key = matches!(cut, Some(Cut::BeforeHead(_)));
        Errand {
            limit: (!unlimited || number < ALWAYS_LIMITED)
                .then(|| rng.random_range(1..=manners.largest_limit)),
            // Not drawn from the seed: the gateway remembers the keys of the run before.
            key: (needs_key || !keyless).then(|| format!("loadtest-{}", Uuid::now_v7())),
            cut,
        }
    }
}

impl Vendor {
    /// Claims until an answer is empty; gives itself back, with what it holds.
    pub(super) async fn claim_to_the_end(
        mut self,
        stop: &CancellationToken,
    ) -> (Vendor, Option<VendorError>) {
        let mut cuts = self.number;
        for number in 0.. {
            let errand = Errand::draw(&self.manners, &mut self.rng, number, cuts);
            cuts += usize::from(errand.cut.is_some());
            let received = tokio::select! {
                received = self.run(errand) => received,
                () = stop.cancelled() => return (self, None),
            };
            match received {
                Ok(Received { violations, .. }) if violations.is_empty() => {
                    self.deeds.empty_answers += 1;
                    return (self, None);
                }
                Ok(Received { batch_id: Some(batch_id), replayed, violations }) => {
                    self.deeds.whole_answers += 1;
                    self.deeds.replayed += u64::from(replayed);
                    self.answers.push(Whole { vendor: self.number, batch_id, violations });
                }
                Ok(Received { batch_id: None, .. }) => return (self, Some(VendorError::Sandbox)),
                Err(error) => return (self, Some(error)),
            }
        }
        (self, None)
    }

    /// One claim, asked for until its answer is whole.
    async fn run(&mut self, errand: Errand) -> Result<Received, VendorError> {
        let claim = Order::overdue(&self.target, Taking::Consume, errand.limit);
        let key = errand.key;
        let claim = claim.with_key(key.as_deref());
        let (mut order, mut cut) = (claim.clone(), errand.cut);
        let (began, mut pause) = (Instant::now(), FIRST_PAUSE);
        loop {
            self.deeds.calls += 1;
            let deadline = Instant::now() + self.timeout;
            let loss = match collect(&self.connections, &order, cut, deadline).await {
                Ok(received) => return Ok(received),
                Err(loss) => loss,
            };
            if let Loss { cause: Cause::Cut, .. } = loss {
                self.note_cut(cut.take());
            } else {
                self.deeds.repeated += 1;
            }
            if let (None, Some(batch_id)) = (&key, loss.batch_id) {
                order = Order::replay(&self.target, batch_id);
            }
            if let Cause::Failed(failure) = loss.cause {
                if self.is_void(&failure, &key) {
                    order = claim.clone();
                } else if !is_temporary(&failure) {
                    return Err(VendorError::Refused { vendor: self.number, failure });
                } else if began.elapsed() > PATIENCE {
                    return Err(VendorError::Patience { vendor: self.number, failure });
                }
                sleep(loss.retry_after.map_or(pause, |asked| asked.min(pause))).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }

    /// Whether a keyless vendor learns that the batch it saw was never handed over: its violations go to whoever calls.
    fn is_void(&self, failure: &Failure, key: &Option<String>) -> bool {
        key.is_none() && matches!(failure, Failure::Status { status: 404, .. })
    }

    fn note_cut(&mut self, cut: Option<Cut>) {
        match cut {
            Some(Cut::BeforeHead(_)) => self.deeds.cut_before_head += 1,
            Some(Cut::AtHead) => self.deeds.cut_at_head += 1,
            Some(Cut::Midway(_)) => self.deeds.cut_midway += 1,
            Some(Cut::AtEnd) => self.deeds.cut_at_end += 1,
            None => {}
        }
    }
}

/// Whether the documentation says to try again.
fn is_temporary(failure: &Failure) -> bool {
    match failure {
        Failure::Status { status, .. } => matches!(status, 408 | 409 | 429 | 500..=599),
        Failure::Refused | Failure::Connection | Failure::Timeout | Failure::BrokenBody => true,
        Failure::Tls | Failure::NotWhole | Failure::WrongCount | Failure::Consumed => false,
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn draw(count: usize) -> Vec<Errand> {
        let manners = Manners { cut_percent: 40, largest_limit: 10 };
        let mut rng = StdRng::seed_from_u64(7);
        let mut cuts = 0;
        let draws = (0..count).map(|number| {
            let errand = Errand::draw(&manners, &mut rng, number, cuts);
            cuts += usize::from(errand.cut.is_some());
            errand
        });
        draws.collect()
    }

    #[test]
    fn every_kind_of_call_is_drawn() {
        let errands = draw(1000);
        let count = |is: fn(&Errand) -> bool| errands.iter().filter(|errand| is(errand)).count();

        let cuts = [
            count(|errand| matches!(errand.cut, Some(Cut::BeforeHead(_)))),
            count(|errand| matches!(errand.cut, Some(Cut::AtHead))),
            count(|errand| matches!(errand.cut, Some(Cut::Midway(_)))),
            count(|errand| matches!(errand.cut, Some(Cut::AtEnd))),
        ];
        assert!(cuts.iter().all(|count| (80..120).contains(count)), "{cuts:?}");
        assert!((150..350).contains(&count(|errand| errand.key.is_none())));
        assert!((5..50).contains(&count(|errand| errand.limit.is_none())));
    }

    #[test]
    fn who_may_be_cut_before_the_batchs_number_is_known_has_a_key() {
        let before_head = |errand: &&Errand| matches!(errand.cut, Some(Cut::BeforeHead(_)));

        assert!(draw(1000).iter().filter(before_head).all(|errand| errand.key.is_some()));
    }
}
