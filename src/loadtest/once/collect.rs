//! One call of a vendor who keeps what comes, and who may be cut off on purpose.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::RETRY_AFTER;
use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::time::{Instant, timeout, timeout_at};

use crate::loadtest::call::{Order, error_code, number, send};
use crate::loadtest::connections::Connections;
use crate::loadtest::document::Document;
use crate::loadtest::failure::Failure;

/// Where a vendor is cut off.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Cut {
    /// So long after the request was begun, if no head has come by then.
    BeforeHead(Duration),
    AtHead,
    /// When this share of the records has come.
    Midway(f64),
    /// When everything has come: the file is lost, not the connection.
    AtEnd,
}

/// What a vendor holds after a whole answer.
pub(super) struct Received {
    /// None where there are no records.
    pub(super) batch_id: Option<i64>,
    pub(super) replayed: bool,
    pub(super) violations: Vec<i32>,
}

/// Why a vendor holds nothing.
pub(super) struct Loss {
    pub(super) cause: Cause,
    /// The batch's number, where the head came.
    pub(super) batch_id: Option<i64>,
    pub(super) retry_after: Option<Duration>,
}

pub(super) enum Cause {
    Cut,
    Failed(Failure),
}

impl Loss {
    fn of(failure: Failure, batch_id: Option<i64>) -> Loss {
        Loss { cause: Cause::Failed(failure), batch_id, retry_after: None }
    }

    fn cut(batch_id: Option<i64>) -> Loss {
        Loss { cause: Cause::Cut, batch_id, retry_after: None }
    }
}

/// Makes the call and reads its answer, as far as the cut allows.
pub(super) async fn collect(
    connections: &Connections,
    order: &Order,
    cut: Option<Cut>,
    deadline: Instant,
) -> Result<Received, Loss> {
    let sent = timeout_at(deadline, send(connections, order));
    let sent = match cut {
        Some(Cut::BeforeHead(after)) => timeout(after, sent).await.map_err(|_cut| Loss::cut(None))?,
        _ => sent.await,
    };
    let sent = sent.unwrap_or(Err(Failure::Timeout));
    let (lease, response) = sent.map_err(|failure| Loss::of(failure, None))?;
    let (head, body) = response.into_parts();
    if head.status.as_u16() != 200 {
        let failure = Failure::Status { status: head.status.as_u16(), code: error_code(body).await };
        lease.give_back();
        let retry_after = number(&head.headers, RETRY_AFTER.as_str()).map(Duration::from_secs);
        return Err(Loss { retry_after, ..Loss::of(failure, None) });
    }
    let batch_id = number(&head.headers, "batch-id");
    let count: u64 = number(&head.headers, "batch-count").unwrap_or(0);
    if cut == Some(Cut::AtHead) {
        return Err(Loss::cut(batch_id));
    }
    let enough = match cut {
        Some(Cut::Midway(share)) => Some((count as f64 * share) as u64),
        _ => None,
    };
    let read = timeout_at(deadline, read(body, enough)).await.unwrap_or(Err(Some(Failure::Timeout)));
    let violations = read.map_err(|failure| match failure {
        Some(failure) => Loss::of(failure, batch_id),
        None => Loss::cut(batch_id),
    })?;
    lease.give_back();
    if violations.len() as u64 != count {
        return Err(Loss::of(Failure::WrongCount, batch_id));
    }
    // An empty answer can't be lost: there is nothing to lose.
    if cut.is_some() && !violations.is_empty() {
        return Err(Loss::cut(batch_id));
    }
    Ok(Received { batch_id, replayed: head.headers.contains_key("idempotent-replayed"), violations })
}

/// The violations of a document; no failure where it was cut because it had `enough` records.
async fn read(mut body: Incoming, enough: Option<u64>) -> Result<Vec<i32>, Option<Failure>> {
    #[derive(Deserialize)]
    struct Answer {
        records: Vec<Record>,
        #[serde(rename = "state")]
        _state: IgnoredAny,
    }
    #[derive(Deserialize)]
    struct Record {
        #[serde(rename = "ViolationID")]
        violation: i32,
    }
    let (mut document, mut bytes) = (Document::default(), Vec::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_error| Some(Failure::BrokenBody))?;
        if let Some(data) = frame.data_ref() {
            bytes.extend_from_slice(data);
            document.feed(data);
        }
        if enough.is_some_and(|enough| document.so_far() > enough) {
            return Err(None);
        }
    }
    let answer: Answer = serde_json::from_slice(&bytes).map_err(|_error| Some(Failure::NotWhole))?;
    Ok(answer.records.into_iter().map(|record| record.violation).collect())
}
