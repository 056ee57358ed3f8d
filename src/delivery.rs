//! One call's violations from the first row to the last byte: claim, send, release, or void.
//!
//! Runs in a task of its own: hyper drops a handler whose peer goes away, and a dropped commit has an unknown outcome.
//! The rule it keeps: **the frame that makes the document whole leaves only after the batch is released**. Whatever
//! happens before that, the body ends in an error and the batch is voided, so its violations go to the next call.
//! A replay and a preview go the same way, and own no batch: there is nothing to release or to void.

mod precedence;
mod send;

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use uuid::Uuid;

pub use self::precedence::Precedence;
use self::send::{Form, Sent, send_empty, send_records};
use crate::access_log::{AccessLog, Outcome, chain};
use crate::batches::{self, BatchError};
use crate::claim::{Caller, Claim, ClaimError, Claimed};
use crate::compress::Coding;
use crate::database::DatabaseError;
use crate::ledger::{Batch, LedgerError};
use crate::limits::InFlight;
use crate::outlet::{self, FrameSource, Outlet, VendorGone};
use crate::records::{EncodeError, FieldProfile, RecordReader};
use crate::tenant::Tenant;
use crate::transport::Socket;

/// A lease is renewed when this part of it has passed.
const RENEWALS_A_LEASE: u32 = 4;
/// How long a caller waits for a doubtful claim to be voided before it is told to come back; the voiding goes on.
const VOID_FIRST: Duration = Duration::from_secs(2);

/// What a delivery needs beside the caller.
pub struct Delivery {
    pub tenant: Arc<Tenant>,
    /// Its tenant's place, held to the last stage's end.
    pub in_flight: InFlight,
    pub socket: Socket,
    pub log: Arc<AccessLog>,
    /// Cancelled when running deliveries have no more time: the process is about to end.
    pub stop: CancellationToken,
    /// What the vendor accepts best.
    pub coding: Coding,
    /// Whether the peer's kernel must have acknowledged everything before the last frame.
    pub acknowledged: bool,
    pub precedence: Precedence,
}

/// Which violations are wanted.
#[derive(Debug, Clone)]
pub enum Order {
    /// All that are eligible, or `limit` of them; marked.
    Claim { limit: Option<i64>, key: Option<String> },
    /// The same, and nothing is marked.
    Preview { limit: Option<i64> },
    /// Those of a released batch, again.
    Replay { batch_id: i64 },
}

impl Order {
    /// What a sandbox token gets instead: the same answer, and nothing marked.
    pub fn into_preview(self) -> Self {
        match self {
            Self::Claim { limit, .. } | Self::Preview { limit } => Self::Preview { limit },
            replay @ Self::Replay { .. } => replay,
        }
    }
}

/// The answer's head, known before its first byte.
pub struct Head {
    /// None where nothing is eligible, and of a preview.
    pub batch_id: Option<i64>,
    pub record_count: i32,
    /// More are eligible than `limit` let through.
    pub more: bool,
    /// The batch was handed over before.
    pub replayed: bool,
    pub coding: Coding,
    pub body: FrameSource,
}

/// Why nothing is delivered; nothing is marked then.
#[derive(Debug, Error)]
pub enum DeliveryError {
    #[error(transparent)]
    Claim(#[from] ClaimError),
    #[error(transparent)]
    Batch(#[from] BatchError),
    #[error("could not read the batch")]
    Read(#[source] DatabaseError),
    /// A defect of ours: the delivery's task panicked. The lease gives back whatever it had claimed.
    #[error("the delivery ended without a word")]
    Broken,
}

/// What there is to send.
#[derive(Default)]
struct Obtained {
    /// None: an empty document.
    records: Option<(RecordReader, FieldProfile)>,
    entry: Entry,
    record_count: i32,
    more: bool,
}

/// What the ledger has of it.
#[derive(Default)]
enum Entry {
    /// Nothing: no records, or a preview.
    #[default]
    None,
    /// An open batch, ours to release or to void.
    Open(Batch),
    /// A batch that was handed over before.
    Released(Batch),
}

impl Entry {
    fn batch(&self) -> Option<&Batch> {
        match self {
            Self::None => None,
            Self::Open(batch) | Self::Released(batch) => Some(batch),
        }
    }

    fn owned(&self) -> Option<&Batch> {
        if let Self::Open(batch) = self { Some(batch) } else { None }
    }
}

/// Why a delivery was broken off before its last frame.
#[derive(Debug, Error)]
enum Halt {
    #[error("vendor gone")]
    VendorGone(#[from] VendorGone),
    #[error("write stalled")]
    Stalled,
    #[error("gateway stopping")]
    Stopping,
    #[error("read failed")]
    Read(#[from] DatabaseError),
    #[error("encoding failed")]
    Encode(#[from] EncodeError),
    #[error("compressing failed")]
    Compress(#[from] std::io::Error),
    #[error("lease lost")]
    Lease(#[source] LedgerError),
    #[error("release failed")]
    Release(#[source] LedgerError),
    #[error("replay not noted")]
    Replay(#[source] LedgerError),
}

impl Delivery {
    /// Obtains what `caller` ordered, tells `head` what became of it, and sees a batch through to released or void.
    /// Not safe to drop: spawn it.
    pub async fn run(self, order: Order, caller: Caller, head: oneshot::Sender<Result<Head, DeliveryError>>) {
        let _busy = self.socket.busy();
        let claim_id = Uuid::new_v4();
        let (outlet, body) = outlet::open(self.socket.clone());
        let claiming = Instant::now();
        let phase = self.log.phase("claim");
        let is_preview = matches!(order, Order::Preview { .. });
        let obtained = self.precedence.first(self.obtain(order, claim_id, &caller)).await;
        self.log.claim_seconds(claiming.elapsed());
        drop(phase);
        let obtained = match obtained {
            Ok(obtained) => obtained,
            Err(error) => return self.refuse(claim_id, error, head).await,
        };
        let Obtained { records, entry, record_count, more } = obtained;
        let (batch_id, replayed) =
            (entry.batch().map(|batch| batch.batch_id), matches!(entry, Entry::Released(_)));
        self.log.claim(match &entry {
            Entry::Open(_) => "batch",
            Entry::Released(_) => "replay",
            Entry::None if is_preview => "preview",
            Entry::None => "empty",
        });
        self.log.batch(batch_id, record_count);
        let vendor_waits =
            head.send(Ok(Head { batch_id, record_count, more, replayed, coding: self.coding, body })).is_ok();

        let _phase = self.log.phase("deliver");
        let delivering = Instant::now();
        let delivered = match records {
            _ if !vendor_waits => Err(Halt::VendorGone(VendorGone)),
            None => send_empty(self.form(), outlet, &self.log).await,
            Some((reader, profile)) => self.deliver(reader, profile, &entry, outlet).await,
        };
        self.log.deliver_seconds(delivering.elapsed());
        match delivered {
            Ok(()) => self.log.outcome(Outcome::Delivered),
            Err(halt) => self.give_up(entry.owned(), &halt).await,
        }
    }

    async fn obtain(&self, order: Order, claim_id: Uuid, caller: &Caller) -> Result<Obtained, DeliveryError> {
        let database = self.tenant.database();
        let claim = |limit| Claim {
            database,
            ledger: self.tenant.ledger(),
            eligibility: &self.tenant.config().eligibility,
            replay_window: self.tenant.config().delivery.replay_window,
            limit,
        };
        match order {
            Order::Claim { limit, key } => match claim(limit).run(claim_id, caller, key.as_deref()).await? {
                Claimed::Nothing => Ok(Obtained::default()),
                Claimed::Fresh { batch, first, more } => {
                    let reader = RecordReader::new(
                        database.clone(),
                        batch.violation_ids.clone(),
                        batch.profile,
                        first,
                    );
                    Ok(Obtained {
                        records: Some((reader, batch.profile)),
                        record_count: batch.record_count,
                        entry: Entry::Open(batch),
                        more,
                    })
                }
                Claimed::Again { batch, more } => Ok(Obtained { more, ..self.open_again(batch).await? }),
            },
            Order::Replay { batch_id } => {
                self.open_again(batches::find_released(database, &caller.token, batch_id).await?).await
            }
            Order::Preview { limit } => {
                let previewed = claim(limit).preview(caller).await?;
                if previewed.violation_ids.is_empty() {
                    return Ok(Obtained::default());
                }
                let (violation_ids, profile) = (previewed.violation_ids, previewed.profile);
                let record_count = i32::try_from(violation_ids.len()).unwrap_or(i32::MAX);
                let reader = RecordReader::open(database.clone(), violation_ids.into(), profile).await;
                let reader = reader.map_err(DeliveryError::Read)?;
                Ok(Obtained {
                    records: Some((reader, profile)),
                    record_count,
                    more: previewed.more,
                    ..Obtained::default()
                })
            }
        }
    }

    /// A released batch, rendered anew: the same violations in the same order.
    async fn open_again(&self, batch: Batch) -> Result<Obtained, DeliveryError> {
        batches::ensure_complete(self.tenant.database(), &batch).await?;
        let (database, violation_ids) = (self.tenant.database().clone(), batch.violation_ids.clone());
        let reader = RecordReader::open(database, violation_ids, batch.profile).await;
        Ok(Obtained {
            records: Some((reader.map_err(DeliveryError::Read)?, batch.profile)),
            record_count: batch.record_count,
            entry: Entry::Released(batch),
            ..Obtained::default()
        })
    }

    /// Answers an order that came to nothing. A claim that may have been committed is voided first, if that is quick.
    async fn refuse(
        &self,
        claim_id: Uuid,
        error: DeliveryError,
        head: oneshot::Sender<Result<Head, DeliveryError>>,
    ) {
        let DeliveryError::Claim(ClaimError::OutcomeUnknown(cause)) = &error else {
            let _ = head.send(Err(error)); // a caller who is gone needs no answer
            return;
        };
        warn!(tenant = %self.tenant.id(), %cause, "claim of unknown outcome, voiding it");
        let mut voiding = std::pin::pin!(self.void(claim_id, "claim outcome unknown"));
        let voided = timeout(VOID_FIRST, &mut voiding).await;
        let _ = head.send(Err(error));
        if voided.is_err() {
            voiding.await;
        }
    }

    /// Sends the records, releases the batch if one is ours (or notes that it is handed over again), and only then sends
    /// the last frame.
    async fn deliver(
        &self,
        reader: RecordReader,
        profile: FieldProfile,
        entry: &Entry,
        mut outlet: Outlet,
    ) -> Result<(), Halt> {
        let (gone, stalled) = (outlet.gone(), outlet.stalled(self.tenant.config().delivery.delivery_timeout));
        let sending = async {
            let mut sent =
                send_records(reader, profile, self.form(), &mut outlet, &self.precedence, &self.log).await?;
            if entry.owned().is_some() {
                sent.end = outlet.settle(sent.end, self.acknowledged).await?;
            }
            Ok(sent)
        };
        let sent = tokio::select! {
            sent = sending => sent,
            halt = self.keep_lease(entry.owned()) => Err(halt),
            () = gone => Err(Halt::VendorGone(VendorGone)),
            () = stalled => Err(Halt::Stalled),
            () = self.stop.cancelled() => Err(Halt::Stopping),
        };
        let entered = match sent {
            Ok(sent) => self.enter(entry, &sent).await.map(|()| sent),
            Err(halt) => Err(halt),
        };
        match entered {
            Ok(Sent { end, last, .. }) => {
                self.log.sent(last.len());
                let last = Bytes::from([end, last].concat());
                // Released: a vendor who is gone by now finds the batch in the ledger, and nobody else is sent it.
                if outlet.finish(last).await.is_err() && entry.owned().is_some() {
                    self.log.outcome(Outcome::ReleasedUnread);
                }
                Ok(())
            }
            Err(halt) => {
                // A vendor who has stopped reading would not notice the body's error: that connection is cut.
                if matches!(halt, Halt::Stalled | Halt::Stopping) {
                    outlet.cut();
                }
                Err(halt)
            }
        }
    }

    fn form(&self) -> Form<'_> {
        Form { version: self.tenant.version(), coding: self.coding }
    }

    /// Writes to the ledger that everything but the last frame has been sent.
    async fn enter(&self, entry: &Entry, sent: &Sent) -> Result<(), Halt> {
        let ledger = self.tenant.ledger();
        match entry {
            Entry::None => Ok(()),
            Entry::Released(batch) => ledger.note_replay(batch, &sent.persons).await.map_err(Halt::Replay),
            Entry::Open(batch) => {
                let _phase = self.log.phase("release");
                let releasing = Instant::now();
                let released = ledger.release(batch, &sent.persons).await;
                self.log.release_seconds(releasing.elapsed());
                released.map_err(Halt::Release)
            }
        }
    }

    /// Renews the lease as long as it is polled; completes only when the batch is lost.
    async fn keep_lease(&self, owned: Option<&Batch>) -> Halt {
        let Some(batch) = owned else {
            return pending().await;
        };
        let ledger = self.tenant.ledger();
        let mut until = Instant::now() + ledger.lease();
        loop {
            sleep(ledger.lease() / RENEWALS_A_LEASE).await;
            let asked = Instant::now();
            match ledger.renew(batch).await {
                Ok(()) => until = asked + ledger.lease(),
                Err(error @ LedgerError::NotOpen) => return Halt::Lease(error),
                Err(error) if Instant::now() >= until => return Halt::Lease(error),
                Err(_may_work_next_time) => {}
            }
        }
    }

    async fn give_up(&self, owned: Option<&Batch>, halt: &Halt) {
        self.log.cause(halt);
        let outcome = match owned {
            None => Outcome::BrokenOff,
            Some(batch) if self.void(batch.claim_id, &halt.to_string()).await => Outcome::Void,
            // The release whose answer was lost had worked: the vendor, cut off, finds the batch in the ledger.
            Some(_) => Outcome::ReleasedUnread,
        };
        self.log.outcome(outcome);
    }

    /// Whether the batch is void, or will be.
    async fn void(&self, claim_id: Uuid, reason: &str) -> bool {
        let _phase = self.log.phase("void");
        self.tenant.ledger().void(claim_id, reason).await.unwrap_or_else(|error| {
            let cause = chain(&error);
            warn!(tenant = %self.tenant.id(), %claim_id, cause, "could not void; the lease will");
            true
        })
    }
}
