//! One claim from the first row to the last byte: claim, send, release, or void.
//!
//! Runs in a task of its own: hyper drops a handler whose peer goes away, and a dropped commit has an unknown outcome.
//! The rule it keeps: **the frame that makes the document whole leaves only after the batch is released**. Whatever
//! happens before that, the body ends in an error and the batch is voided, so its violations go to the next call.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;
use uuid::Uuid;

use crate::access_log::{AccessLog, Outcome};
use crate::claim::{Caller, Claim, ClaimError, Claimed};
use crate::database::DatabaseError;
use crate::ledger::{Batch, LedgerError};
use crate::outlet::{self, FrameSource, Outlet, VendorGone};
use crate::records::{Chunk, EncodeError, FieldProfile, RecordEncoder, RecordReader};
use crate::tenant::Tenant;
use crate::transport::Socket;

/// A frame's size: several TLS records of 16 KiB, and small enough that eight of them are no burden.
const FRAME_BYTES: usize = 64 * 1024;
/// Room for the record that makes a frame overflow.
const RECORD_BYTES: usize = 8 * 1024;
/// A lease is renewed when this part of it has passed.
const RENEWALS_A_LEASE: u32 = 4;

/// What a delivery needs beside the caller.
pub struct Delivery {
    pub tenant: Arc<Tenant>,
    pub socket: Socket,
    pub log: Arc<AccessLog>,
    /// Cancelled when running deliveries have no more time: the process is about to end.
    pub stop: CancellationToken,
    /// Whether the peer's kernel must have acknowledged everything before the last frame.
    pub acknowledged: bool,
}

/// The answer's head, known once the claim is committed.
pub struct Head {
    /// None where nothing was eligible.
    pub batch: Option<Batch>,
    pub body: FrameSource,
}

/// Why a delivery was broken off before its release.
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
    #[error("lease lost")]
    Lease(#[source] LedgerError),
    #[error("release failed")]
    Release(#[source] LedgerError),
}

impl Delivery {
    /// Claims for `caller`, tells `head` what became of it, and sees the batch through to released or void.
    /// Not safe to drop: spawn it.
    pub async fn run(self, caller: Caller, head: oneshot::Sender<Result<Head, ClaimError>>) {
        let _busy = self.socket.busy();
        let claim_id = Uuid::new_v4();
        let (mut outlet, body) = outlet::open(self.socket.clone());
        let claiming = Instant::now();
        let claimed = self.claim(claim_id, &caller).await;
        self.log.claim_seconds(claiming.elapsed());

        let (batch, first) = match claimed {
            Ok(Some(Claimed { batch, first })) => (Some(batch), first),
            Ok(None) => (None, Vec::new()),
            Err(error) => {
                if let ClaimError::OutcomeUnknown(cause) = &error {
                    warn!(tenant = %self.tenant.id(), %cause, "claim of unknown outcome, voiding it");
                    self.void(claim_id, "claim outcome unknown").await;
                }
                let _ = head.send(Err(error)); // a caller who is gone needs no answer
                return;
            }
        };
        if let Some(batch) = &batch {
            self.log.batch(batch.batch_id, batch.record_count);
        }
        let vendor_waits = head.send(Ok(Head { batch: batch.clone(), body })).is_ok();
        let delivering = Instant::now();
        let sent = match &batch {
            _ if !vendor_waits => Err(Halt::VendorGone(VendorGone)),
            None => self.send_empty(outlet).await,
            Some(batch) => {
                let reader = RecordReader::new(
                    self.tenant.database().clone(),
                    claim_id,
                    batch.record_count,
                    batch.profile,
                    first,
                );
                match self.send(batch, reader, &mut outlet).await {
                    Ok(last) => self.release(batch, outlet, last).await,
                    Err(halt) => {
                        self.break_off(outlet, &halt);
                        Err(halt)
                    }
                }
            }
        };
        self.log.deliver_seconds(delivering.elapsed());
        match sent {
            Ok(()) => self.log.outcome(Outcome::Delivered),
            Err(halt) => self.give_up(batch.as_ref(), &halt).await,
        }
    }

    async fn claim(&self, claim_id: Uuid, caller: &Caller) -> Result<Option<Claimed>, ClaimError> {
        let claim = Claim {
            database: self.tenant.database(),
            ledger: self.tenant.ledger(),
            eligibility: &self.tenant.config().eligibility,
            claim_id,
            limit: None,
        };
        claim.run(caller).await
    }

    async fn send_empty(&self, outlet: Outlet) -> Result<(), Halt> {
        let encoder = RecordEncoder::new(FieldProfile::Full);
        let mut document = Vec::new();
        encoder.write_opening(&mut document);
        encoder.write_closing(&mut document, self.tenant.version());
        self.log.sent(document.len());
        Ok(outlet.finish(Bytes::from(document)).await?)
    }

    /// Everything but the last frame, which it gives back for after the release.
    async fn send(&self, batch: &Batch, reader: RecordReader, outlet: &mut Outlet) -> Result<Bytes, Halt> {
        let (gone, stalled) = (outlet.gone(), outlet.stalled(self.tenant.config().delivery.delivery_timeout));
        tokio::select! {
            last = self.send_records(batch, reader, outlet) => last,
            halt = self.keep_lease(batch) => Err(halt),
            () = gone => Err(Halt::VendorGone(VendorGone)),
            () = stalled => Err(Halt::Stalled),
            () = self.stop.cancelled() => Err(Halt::Stopping),
        }
    }

    /// Encodes chunk after chunk while the next one is being read. Safe to drop.
    async fn send_records(
        &self,
        batch: &Batch,
        reader: RecordReader,
        outlet: &mut Outlet,
    ) -> Result<Bytes, Halt> {
        let mut encoder = RecordEncoder::new(batch.profile);
        let mut frame = Vec::with_capacity(FRAME_BYTES + RECORD_BYTES);
        encoder.write_opening(&mut frame);
        let (mut chunks, _reading) = read_ahead(reader);
        while let Some(chunk) = chunks.recv().await {
            let related = encoder.relate(chunk?)?;
            for index in 0..related.record_count() {
                if frame.len() >= FRAME_BYTES {
                    let full = std::mem::replace(&mut frame, Vec::with_capacity(FRAME_BYTES + RECORD_BYTES));
                    self.log.sent(full.len());
                    outlet.send(Bytes::from(full)).await?;
                }
                encoder.write_record(&mut frame, &related, index)?;
            }
        }
        self.log.sent(frame.len());
        // On HTTP/2 hyper asks for the next frame while most of this one may still wait for the vendor's window. It takes
        // a byte more only when all before it has its window: so the last byte goes alone, and is what we wait for.
        let last_byte = frame.split_off(frame.len() - 1);
        outlet.send(Bytes::from(frame)).await?;
        outlet.send(Bytes::from(last_byte)).await?;
        outlet.until_delivered(self.acknowledged).await?;
        let mut last = Vec::new();
        encoder.write_closing(&mut last, self.tenant.version());
        Ok(Bytes::from(last))
    }

    /// Renews the lease as long as it is polled; completes only when the batch is lost.
    async fn keep_lease(&self, batch: &Batch) -> Halt {
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

    /// Releases the batch, and only then sends the last frame.
    async fn release(&self, batch: &Batch, outlet: Outlet, last: Bytes) -> Result<(), Halt> {
        let releasing = Instant::now();
        let released = self.tenant.ledger().release(batch).await;
        self.log.release_seconds(releasing.elapsed());
        if let Err(error) = released {
            let halt = Halt::Release(error);
            self.break_off(outlet, &halt);
            return Err(halt);
        }
        self.log.sent(last.len());
        // Released: a vendor who is gone by now finds the batch in the ledger, and nobody is sent it again.
        if outlet.finish(last).await.is_err() {
            self.log.outcome(Outcome::ReleasedUnread);
        }
        Ok(())
    }

    /// Ends the body in an error. A vendor who has stopped reading would not notice: that connection is cut.
    fn break_off(&self, outlet: Outlet, halt: &Halt) {
        if matches!(halt, Halt::Stalled | Halt::Stopping) {
            outlet.cut();
        }
        drop(outlet);
    }

    async fn give_up(&self, batch: Option<&Batch>, halt: &Halt) {
        self.log.outcome(Outcome::Void);
        self.log.cause(halt);
        if let Some(batch) = batch {
            self.void(batch.claim_id, &halt.to_string()).await;
        }
    }

    async fn void(&self, claim_id: Uuid, reason: &str) {
        if let Err(error) = self.tenant.ledger().void(claim_id, reason).await {
            let cause = crate::access_log::chain(&error);
            warn!(tenant = %self.tenant.id(), %claim_id, cause, "could not void; the lease will");
        }
    }
}

/// Reads one chunk ahead of the one that is being sent. Dropping the handle ends the reading.
fn read_ahead(
    mut reader: RecordReader,
) -> (mpsc::Receiver<Result<Chunk, DatabaseError>>, AbortOnDropHandle<()>) {
    let (chunks, receiver) = mpsc::channel(1);
    let reading = tokio::spawn(async move {
        while let Some(chunk) = reader.next().await.transpose() {
            let failed = chunk.is_err();
            if chunks.send(chunk).await.is_err() || failed {
                return;
            }
        }
    });
    (receiver, AbortOnDropHandle::new(reading))
}

/// How long a delivery may still take to void its batch when the process ends.
pub const VOID_TIME: Duration = Duration::from_secs(5);
