//! One call, as a vendor makes it, and whether its answer is whole.

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap};
use hyper::{Method, Request, Response, Version};
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use super::connections::{Connections, Lease};
use super::document::Document;
use super::failure::Failure;
use super::target::Target;
use crate::router::{Operation, path_of};

/// More of a refusal isn't read.
const LARGEST_REFUSAL: usize = 64 * 1024;

/// What is asked of the gateway, the same for each call of a target.
#[derive(Clone)]
pub struct Order {
    path: String,
    body: Bytes,
    preview: bool,
    /// How many records each answer must have, where that is known.
    expected: Option<u64>,
    key: Option<String>,
}

/// What a call may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taking {
    /// Nothing: the answer is a preview.
    Preview,
    /// Violations, for real.
    Consume,
}

/// A whole answer.
#[derive(Debug, Clone, Copy)]
pub struct Answer {
    pub records: u64,
    pub bytes: u64,
    /// When its head came.
    pub head_at: Instant,
}

impl Order {
    /// A tenant's overdue violations, at most `limit` of them.
    pub fn overdue(target: &Target, taking: Taking, limit: Option<u32>) -> Order {
        let mut body = json!({ "apiToken": target.token });
        if taking == Taking::Preview {
            body["preview"] = json!(true);
        }
        if let Some(limit) = limit {
            body["limit"] = json!(limit);
        }
        Order {
            path: path_of(Operation::SendOverdue, &target.tenant),
            body: Bytes::from(body.to_string()),
            preview: taking == Taking::Preview,
            expected: None,
            key: None,
        }
    }

    /// One of the token's batches again.
    pub fn replay(target: &Target, batch_id: i64) -> Order {
        Order {
            path: path_of(Operation::ReplayBatch { batch_id }, &target.tenant),
            body: Bytes::from(json!({ "apiToken": target.token }).to_string()),
            preview: false,
            expected: None,
            key: None,
        }
    }

    /// The newest of the token's batches: a call that only reads.
    pub fn list_batches(target: &Target) -> Order {
        Order {
            path: path_of(Operation::ListBatches, &target.tenant),
            body: Bytes::from(json!({ "apiToken": target.token, "limit": 1 }).to_string()),
            preview: false,
            expected: None,
            key: None,
        }
    }

    /// Any other number of records is a failure.
    pub fn expecting(self, records: Option<u64>) -> Order {
        Order { expected: records, ..self }
    }

    /// With an `Idempotency-Key`.
    pub fn with_key(self, key: Option<&str>) -> Order {
        Order { key: key.map(str::to_owned), ..self }
    }

    fn request(&self, authority: &str, version: Version) -> Request<Full<Bytes>> {
        let builder = Request::builder().method(Method::POST).version(version);
        let builder = match version {
            Version::HTTP_2 => builder.uri(format!("https://{authority}{}", self.path)),
            _ => builder.uri(&self.path).header(HOST, authority),
        };
        let builder = match &self.key {
            Some(key) => builder.header("Idempotency-Key", key),
            None => builder,
        };
        builder
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(self.body.clone()))
            .expect("a tenant's path, a host and a key of letters make a request")
    }
}

/// Makes a call and reads its answer to the end, in constant memory; the deadline holds for all of it.
pub async fn call(connections: &Connections, order: &Order, deadline: Instant) -> Result<Answer, Failure> {
    timeout_at(deadline, take(connections, order)).await.unwrap_or(Err(Failure::Timeout))
}

async fn take(connections: &Connections, order: &Order) -> Result<Answer, Failure> {
    let (lease, response) = send(connections, order).await?;
    let head_at = Instant::now();
    let (head, mut body) = response.into_parts();
    if head.status.as_u16() != 200 {
        let code = error_code(body).await;
        lease.give_back();
        return Err(Failure::Status { status: head.status.as_u16(), code });
    }
    let (mut document, mut bytes) = (Document::default(), 0);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_error| Failure::BrokenBody)?;
        if let Some(data) = frame.data_ref() {
            bytes += data.len() as u64;
            document.feed(data);
        }
    }
    lease.give_back();
    let records = document.finish().ok_or(Failure::NotWhole)?;
    verify(order, &head.headers, records)?;
    Ok(Answer { records, bytes, head_at })
}

/// The number of records is the one that the head told, and nothing was taken that wasn't to be taken.
fn verify(order: &Order, headers: &HeaderMap, records: u64) -> Result<(), Failure> {
    if order.preview && headers.contains_key("batch-id") {
        return Err(Failure::Consumed);
    }
    let told = number(headers, "batch-count").unwrap_or(0);
    if told != records || order.expected.is_some_and(|expected| expected != records) {
        return Err(Failure::WrongCount);
    }
    Ok(())
}

/// Sends the request, on another connection where the gateway had closed a kept one before the request left.
pub async fn send<'a>(
    connections: &'a Connections,
    order: &Order,
) -> Result<(Lease<'a>, Response<Incoming>), Failure> {
    loop {
        let mut lease = connections.lease().await?;
        let request = order.request(connections.authority(), lease.version());
        match lease.send(request).await {
            Ok(response) => return Ok((lease, response)),
            Err(error) if lease.used_before && (error.is_canceled() || error.is_closed()) => {}
            Err(_error) => return Err(Failure::Connection),
        }
    }
}

/// A header's number.
pub fn number<N: std::str::FromStr>(headers: &HeaderMap, name: &str) -> Option<N> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

/// `ErrorCode` of a refusal.
pub async fn error_code(body: Incoming) -> Option<i64> {
    #[derive(Deserialize)]
    struct Refusal {
        #[serde(rename = "ErrorCode")]
        code: i64,
    }
    let bytes = Limited::new(body, LARGEST_REFUSAL).collect().await.ok()?.to_bytes();
    serde_json::from_slice(&bytes).ok().map(|refusal: Refusal| refusal.code)
}

/// Makes the call that only reads. A good answer means: here is a Turnpike, and it takes this token.
pub async fn list_batches(
    connections: &Connections,
    target: &Target,
    deadline: Instant,
) -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct Listed {
        #[serde(rename = "batches")]
        _batches: Vec<serde::de::IgnoredAny>,
    }
    let listed = async {
        let (lease, response) = send(connections, &Order::list_batches(target)).await?;
        let (head, body) = response.into_parts();
        if head.status.as_u16() != 200 {
            return Err(Failure::Status { status: head.status.as_u16(), code: error_code(body).await });
        }
        let body = Limited::new(body, LARGEST_REFUSAL).collect().await;
        let bytes = body.map_err(|_error| Failure::BrokenBody)?.to_bytes();
        lease.give_back();
        serde_json::from_slice(&bytes).map(|_: Listed| ()).map_err(|_error| Failure::NotWhole)
    };
    timeout_at(deadline, listed).await.unwrap_or(Err(Failure::Timeout))
}
