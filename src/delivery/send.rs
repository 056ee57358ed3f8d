//! Everything but the last frame: chunk after chunk is read, encoded and handed to the vendor.

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio_util::task::AbortOnDropHandle;

use super::{Halt, Precedence};
use crate::access_log::AccessLog;
use crate::compress::{Coding, Compressor};
use crate::database::DatabaseError;
use crate::outlet::Outlet;
use crate::records::{Chunk, FieldProfile, RecordEncoder, RecordReader};
use crate::traces::Phases;

/// A frame's size: several TLS records of 16 KiB, and small enough that eight of them are no burden.
const FRAME_BYTES: usize = 64 * 1024;
/// Room for the record that makes a frame overflow.
const RECORD_BYTES: usize = 8 * 1024;

/// So many bytes stay behind for [`Outlet::settle`].
const END_BYTES: usize = 2;

/// How the document is to look.
#[derive(Clone, Copy)]
pub struct Form<'a> {
    /// `state.version`
    pub version: &'a str,
    pub coding: Coding,
}

/// All but its end has been sent.
pub struct Sent {
    /// What comes before the last frame, a few bytes: the peer's acknowledgement is got with them.
    pub end: Bytes,
    /// What would make the document whole.
    pub last: Bytes,
    /// UserIDs of everybody whom it names.
    pub persons: Vec<i32>,
}

/// Encodes chunk after chunk while the next one is being read, and gives back what is left to do. Safe to drop.
pub async fn send_records(
    reader: RecordReader,
    profile: FieldProfile,
    form: Form<'_>,
    outlet: &mut Outlet,
    precedence: &Precedence,
    log: &AccessLog,
) -> Result<Sent, Halt> {
    let mut encoder = RecordEncoder::new(profile);
    let mut compressor = Compressor::new(form.coding)?;
    let mut frame = Vec::with_capacity(FRAME_BYTES + RECORD_BYTES);
    encoder.write_opening(&mut frame);
    let (mut chunks, _reading) = read_ahead(reader, precedence.clone(), log.phases());
    while let Some(chunk) = chunks.recv().await {
        let related = encoder.relate(chunk?)?;
        let phase = log.phase("send chunk");
        phase.count("turnpike.chunk.records", related.record_count());
        for index in 0..related.record_count() {
            if frame.len() >= FRAME_BYTES {
                let full = std::mem::replace(&mut frame, Vec::with_capacity(FRAME_BYTES + RECORD_BYTES));
                let ready = compressor.push(full)?;
                log.sent(ready.len());
                if !ready.is_empty() {
                    outlet.send(ready).await?;
                }
                // A large batch mustn't keep a worker from the small answers of others.
                yield_now().await;
            }
            encoder.write_record(&mut frame, &related, index)?;
        }
    }
    let mut ready = compressor.flush(frame)?;
    log.sent(ready.len());
    let end = ready.split_off(ready.len().saturating_sub(END_BYTES));
    outlet.send(ready).await?;
    let mut last = Vec::new();
    encoder.write_closing(&mut last, form.version);
    Ok(Sent { end, last: compressor.finish(last)?, persons: encoder.persons() })
}

/// The whole document of an answer without records.
pub async fn send_empty(form: Form<'_>, outlet: Outlet, log: &AccessLog) -> Result<(), Halt> {
    let encoder = RecordEncoder::new(FieldProfile::Full);
    let mut document = Vec::new();
    encoder.write_opening(&mut document);
    encoder.write_closing(&mut document, form.version);
    let document = Compressor::new(form.coding)?.finish(document)?;
    log.sent(document.len());
    Ok(outlet.finish(document).await?)
}

/// Reads one chunk ahead of the one that is being sent. Dropping the handle ends the reading.
fn read_ahead(
    mut reader: RecordReader,
    precedence: Precedence,
    phases: Phases,
) -> (mpsc::Receiver<Result<Chunk, DatabaseError>>, AbortOnDropHandle<()>) {
    let (chunks, receiver) = mpsc::channel(1);
    let reading = tokio::spawn(async move {
        loop {
            let phase = phases.begin("read chunk");
            let Some(chunk) = reader.next().await.transpose() else { return };
            drop(phase);
            let failed = chunk.is_err();
            if chunks.send(chunk).await.is_err() || failed {
                return;
            }
            if reader.has_more() {
                precedence.give_way().await;
            }
        }
    });
    (receiver, AbortOnDropHandle::new(reading))
}
