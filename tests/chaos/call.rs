//! One call on a connection of its own: HTTP/1.1 by hand, whose every byte is under the vendor's control, or HTTP/2.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reqwest::{Certificate, Client, RequestBuilder};
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::faults::Fault;
use crate::process::GatewayProcess;

/// What the vendor's kernel takes in at most while the vendor reads nothing (Linux doubles it).
const SMALL_RECEIVE_BUFFER: u32 = 8 * 1024;
/// Longer than any wait that the gateway promises to bound.
const SILENCE: Duration = Duration::from_secs(15);
/// Longer than a lease.
const TRICKLE: Duration = Duration::from_secs(3);

/// What is asked.
pub struct Request<'a> {
    pub path: String,
    pub key: Option<&'a str>,
    pub body: Value,
}

/// How the vendor goes about it.
pub struct Manner {
    pub fault: Option<Fault>,
    pub seed: u64,
    /// How long one must stop reading to be given up.
    pub stall: Duration,
    /// So many bytes each record has at least.
    pub record_bytes: usize,
    pub http2: bool,
}

/// Which faults a vendor can do to itself over HTTP/2, where frames and connections aren't its to break.
pub fn is_of_streams(fault: Option<Fault>) -> bool {
    matches!(
        fault,
        None | Some(
            Fault::CutAtFirstByte | Fault::CutInTheMiddle | Fault::CutAtLastByte | Fault::StopReading
        )
    )
}

/// How calls trust the gateways.
#[derive(Clone)]
pub struct Trust {
    pub tls: TlsConnector,
    pub authority: Certificate,
}

/// All that came.
#[derive(Default)]
pub struct Received {
    pub answer: Parsed,
    /// The fault came to pass: there was something to spoil.
    pub spoilt: bool,
    pub error: Option<String>,
    /// Nothing came for [`SILENCE`].
    pub silent: bool,
}

pub async fn call(
    gateway: &Arc<GatewayProcess>,
    trust: &Trust,
    request: &Request<'_>,
    manner: &Manner,
) -> Received {
    let mut rng = StdRng::seed_from_u64(manner.seed);
    let Some(address) = gateway.address() else {
        return Received { error: Some("it has ended".to_owned()), ..Received::default() };
    };
    if manner.http2 {
        return call_http2(address, &trust.authority, request, manner, &mut rng).await;
    }
    let stream = timeout(SILENCE, send(address, &trust.tls, request, rng.random())).await;
    let mut stream = match stream {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Received { error: Some(error.to_string()), ..Received::default() },
        Err(_elapsed) => return Received { silent: true, ..Received::default() },
    };
    let mut raw = Vec::new();
    let mut received = read(&mut stream, &mut raw, gateway, manner, &mut rng).await;
    if received.spoilt && manner.fault != Some(Fault::StopReading) && rng.random() {
        let _ = stream.get_ref().0.set_zero_linger(); // a reset, as of a program that crashes
    } else if received.spoilt {
        let _ = timeout(Duration::from_millis(100), stream.shutdown()).await;
    }
    received.answer = parse(&raw);
    received
}

async fn call_http2(
    gateway: SocketAddr,
    authority: &Certificate,
    request: &Request<'_>,
    manner: &Manner,
    rng: &mut StdRng,
) -> Received {
    let client = Client::builder().no_proxy().tls_certs_only([authority.clone()]).read_timeout(SILENCE);
    let call = client.build().unwrap().post(format!("https://{gateway}{}", request.path));
    let call = call.header("content-type", "application/json").body(request.body.to_string());
    let call = match request.key {
        Some(key) => call.header("idempotency-key", key),
        None => call,
    };
    let mut received = Received::default();
    let read = read_http2(call, manner, rng, &mut received).await;
    if let Err(error) = read {
        received.silent = error.is_timeout();
        received.error = Some(error.to_string());
    }
    received
}

async fn read_http2(
    call: RequestBuilder,
    manner: &Manner,
    rng: &mut StdRng,
    received: &mut Received,
) -> reqwest::Result<()> {
    let mut response = call.send().await?;
    let answer = &mut received.answer;
    answer.status = Some(response.status().as_u16());
    answer.headers = response
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    let size = usize::try_from(answer.number("batch-count").unwrap_or(0)).unwrap() * manner.record_bytes;
    let (share, has_batch) = (rng.random_range(0.1..0.9), answer.batch_id().is_some());
    while let Some(frame) = response.chunk().await? {
        answer.body.extend_from_slice(&frame);
        match manner.fault.filter(|_| has_batch) {
            Some(Fault::CutAtFirstByte) => {
                received.spoilt = true;
                answer.body.truncate(1);
                return Ok(());
            }
            Some(Fault::CutInTheMiddle) if answer.body.len() as f64 > size as f64 * share => {
                received.spoilt = true;
                return Ok(());
            }
            Some(Fault::StopReading) if !received.spoilt => {
                received.spoilt = true;
                sleep(manner.stall + Duration::from_millis(rng.random_range(200..1500))).await;
            }
            _ => {}
        }
    }
    if manner.fault == Some(Fault::CutAtLastByte) && has_batch {
        received.spoilt = true;
        answer.body.truncate(answer.body.len() - rng.random_range(1..=3));
        return Ok(());
    }
    answer.ended = true;
    Ok(())
}

async fn send(
    gateway: SocketAddr,
    tls: &TlsConnector,
    request: &Request<'_>,
    small: bool,
) -> std::io::Result<TlsStream<TcpStream>> {
    let socket = TcpSocket::new_v4()?;
    if small {
        socket.set_recv_buffer_size(SMALL_RECEIVE_BUFFER)?;
    }
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = tls.connect(name, socket.connect(gateway).await?).await?;
    let body = request.body.to_string();
    let key = request.key.map(|key| format!("Idempotency-Key: {key}\r\n")).unwrap_or_default();
    let text = format!(
        "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{key}Content-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        request.path,
        body.len()
    );
    stream.write_all(text.as_bytes()).await?;
    stream.flush().await?;
    Ok(stream)
}

/// Reads until all has come, or the vendor has had its way.
async fn read(
    stream: &mut TlsStream<TcpStream>,
    raw: &mut Vec<u8>,
    gateway: &Arc<GatewayProcess>,
    manner: &Manner,
    rng: &mut StdRng,
) -> Received {
    let mut received = Received::default();
    let began = Instant::now();
    let share = rng.random_range(0.1..0.9);
    if manner.fault == Some(Fault::HalfClose) {
        let _ = stream.shutdown().await;
        received.spoilt = true;
    }
    if manner.fault == Some(Fault::CutAtFirstByte) && rng.random() {
        received.spoilt = true; // before it, even
        sleep(Duration::from_millis(rng.random_range(0..30))).await;
        return received;
    }
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let most = match manner.fault {
            Some(Fault::CutAtFirstByte) => 1,
            Some(Fault::Trickle) if began.elapsed() < TRICKLE => rng.random_range(1..4096),
            _ => buffer.len(),
        };
        match timeout(SILENCE, stream.read(&mut buffer[..most])).await {
            Ok(Ok(0)) => return received,
            Ok(Ok(count)) => raw.extend_from_slice(&buffer[..count]),
            Ok(Err(error)) => return Received { error: Some(error.to_string()), ..received },
            Err(_elapsed) => return Received { silent: true, ..received },
        }
        let answer = parse(raw);
        let has_batch = answer.batch_id().is_some();
        match manner.fault {
            Some(Fault::CutAtFirstByte) => return Received { spoilt: true, ..received },
            Some(Fault::CutInTheMiddle) if has_batch && is_in_the_middle(&answer, manner, share) => {
                return Received { spoilt: true, ..received };
            }
            Some(Fault::KillInTheMiddle)
                if has_batch && !received.spoilt && is_in_the_middle(&answer, manner, share) =>
            {
                received.spoilt = gateway.kill().await;
            }
            Some(Fault::KillRightAfter) if has_batch && answer.ended => {
                received.spoilt = gateway.kill().await;
            }
            Some(Fault::CutBeforeLastFrame) if has_batch => {
                if let Some(before) = answer.before_last_frame {
                    raw.truncate(before);
                    return Received { spoilt: true, ..received };
                }
            }
            Some(Fault::CutAtLastByte) if has_batch && answer.ended => {
                raw.truncate(raw.len() - rng.random_range(1..=10));
                return Received { spoilt: true, ..received };
            }
            Some(Fault::CutRightAfter) if has_batch && answer.ended => {
                return Received { spoilt: true, ..received };
            }
            Some(Fault::Trickle) if has_batch && began.elapsed() < TRICKLE => {
                received.spoilt = true;
                sleep(Duration::from_millis(rng.random_range(5..40))).await;
            }
            Some(Fault::StopReading) if has_batch && !received.spoilt && !answer.ended => {
                received.spoilt = true;
                sleep(manner.stall + Duration::from_millis(rng.random_range(200..1500))).await;
            }
            _ => {}
        }
        if answer.ended {
            return received;
        }
    }
}

/// Whether more than `share` of the records came, and not all.
fn is_in_the_middle(answer: &Parsed, manner: &Manner, share: f64) -> bool {
    let count = answer.number("batch-count").unwrap_or(0);
    let size = usize::try_from(count).unwrap_or(0) * manner.record_bytes;
    !answer.ended && answer.body.len() as f64 > size as f64 * share
}

/// An HTTP/1.1 answer, as far as it came.
#[derive(Debug, Default)]
pub struct Parsed {
    pub status: Option<u16>,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// By HTTP's count it is whole.
    pub ended: bool,
    /// Where the frame of one byte ends, which is the last before the closing one.
    before_last_frame: Option<usize>,
}

impl Parsed {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub fn number(&self, name: &str) -> Option<i64> {
        self.header(name)?.parse().ok()
    }

    pub fn batch_id(&self) -> Option<i64> {
        self.number("batch-id")
    }

    /// The body as the document that it must be; None where it isn't whole.
    pub fn document(&self) -> Option<Value> {
        let document: Value = serde_json::from_slice(&self.body).ok()?;
        document.is_object().then_some(document)
    }

    /// The violations that are named in what came.
    pub fn violation_ids(&self) -> Vec<i32> {
        let text = String::from_utf8_lossy(&self.body);
        let ids = text.split("\"ViolationID\":").skip(1);
        ids.filter_map(|rest| rest.split([',', '}']).next()?.trim().parse().ok()).collect()
    }
}

fn parse(raw: &[u8]) -> Parsed {
    let mut parsed = Parsed::default();
    let Some(head) = find(raw, b"\r\n\r\n") else {
        return parsed;
    };
    let text = String::from_utf8_lossy(&raw[..head]);
    let mut lines = text.split("\r\n");
    parsed.status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    parsed.headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let rest = &raw[head + 4..];
    if let Some(length) = parsed.number("content-length") {
        parsed.body = rest.to_vec();
        parsed.ended = rest.len() >= usize::try_from(length).unwrap();
        return parsed;
    }
    let mut at = 0;
    while let Some(line) = find(&rest[at..], b"\r\n") {
        let size = usize::from_str_radix(&String::from_utf8_lossy(&rest[at..at + line]), 16)
            .expect("a chunk's size");
        let start = at + line + 2;
        if size == 0 {
            parsed.ended = rest.len() >= start + 2;
            return parsed;
        }
        let end = (start + size).min(rest.len());
        parsed.body.extend_from_slice(&rest[start..end]);
        if rest.len() < start + size + 2 {
            return parsed;
        }
        at = start + size + 2;
        if size == 1 {
            parsed.before_last_frame = Some(head + 4 + at);
        }
    }
    parsed
}

fn find(bytes: &[u8], sought: &[u8]) -> Option<usize> {
    bytes.windows(sought.len()).position(|window| window == sought)
}
