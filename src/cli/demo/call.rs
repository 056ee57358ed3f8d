//! A vendor's side of the demo: real HTTPS calls that trust the demo's authority and nothing else.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

const ANSWERED_WITHIN: Duration = Duration::from_secs(30);

/// The URL's path that takes a tenant's overdue violations.
pub(super) fn claim_path(tenant: &str) -> String {
    format!("/api/{tenant}/v1/violations/send_overdue_to_collections")
}

pub(super) struct Vendor {
    gateway: SocketAddr,
    connector: TlsConnector,
}

/// A whole answer, received.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) bytes: usize,
    pub(super) elapsed: Duration,
    pub(super) body: Value,
}

#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("could not read the authority's certificate")]
    Authority(#[source] rustls::pki_types::pem::Error),
    #[error("could not set up TLS")]
    Tls(#[from] rustls::Error),
    #[error("could not connect")]
    Connect(#[source] std::io::Error),
    #[error("could not complete the HTTP exchange")]
    Http(#[from] hyper::Error),
    #[error("the answer is not JSON")]
    Json(#[from] serde_json::Error),
    #[error("no complete answer within {} s", ANSWERED_WITHIN.as_secs())]
    Late,
}

impl Vendor {
    pub(super) fn new(gateway: SocketAddr, authority: &Path) -> Result<Vendor, CallError> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(authority).map_err(CallError::Authority)?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Vendor { gateway, connector: TlsConnector::from(Arc::new(config)) })
    }

    /// Whether the gateway completes a TLS handshake and answers a request, whatever it answers.
    pub(super) async fn is_answered(&self) -> bool {
        let request = self.request("GET", "/", String::new());
        self.exchange(request).await.is_ok()
    }

    /// Takes a tenant's overdue violations.
    pub(super) async fn claim(&self, tenant: &str, token: &str) -> Result<Delivery, CallError> {
        let body = json!({ "apiToken": token }).to_string();
        let began = Instant::now();
        let (response, bytes) = self.exchange(self.request("POST", &claim_path(tenant), body)).await?;
        let elapsed = began.elapsed();
        Ok(Delivery {
            status: response.status(),
            headers: response.headers().clone(),
            bytes: bytes.len(),
            elapsed,
            body: serde_json::from_slice(&bytes)?,
        })
    }

    fn request(&self, method: &str, path: &str, body: String) -> Request<Full<Bytes>> {
        Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.gateway.to_string())
            .header(CONTENT_TYPE, "application/json")
            .body(Full::from(body))
            .expect("tenants' paths and socket addresses are valid in a request")
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<(Response<()>, Bytes), CallError> {
        timeout(ANSWERED_WITHIN, self.exchange_unbounded(request)).await.map_err(|_| CallError::Late)?
    }

    async fn exchange_unbounded(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<(Response<()>, Bytes), CallError> {
        let socket = TcpStream::connect(self.gateway).await.map_err(CallError::Connect)?;
        let name = ServerName::from(self.gateway.ip());
        let stream = self.connector.connect(name, socket).await.map_err(CallError::Connect)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // A failed connection fails the exchange below, which tells of it.
        tokio::spawn(async move { drop(connection.await) });
        let (head, body) = sender.send_request(request).await?.into_parts();
        let bytes = body.collect().await?.to_bytes();
        Ok((Response::from_parts(head, ()), bytes))
    }
}

impl Delivery {
    pub(super) fn records(&self) -> &[Value] {
        self.body["records"].as_array().map_or(&[], Vec::as_slice)
    }

    /// Whether this is a delivery of exactly `count` records.
    pub(super) fn has_records(&self, count: usize) -> bool {
        self.status == StatusCode::OK && self.body["records"].is_array() && self.records().len() == count
    }

    pub(super) fn summary(&self) -> String {
        let header =
            |name: &str| self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("none");
        let mut summary = format!(
            "  {}   Batch-Id {}   Batch-Count {}   {} bytes in {} ms\n",
            self.status,
            header("Batch-Id"),
            header("Batch-Count"),
            self.bytes,
            self.elapsed.as_millis()
        );
        match self.records().first() {
            Some(first) => {
                summary += &format!(
                    "  {} records, the first: ViolationID {}, Ticket {}, Due {}, Fine {}\n",
                    self.records().len(),
                    first["ViolationID"],
                    first["Ticket"],
                    first["Due"],
                    first["Fine"]
                );
            }
            None if self.status.is_success() => summary += "  no records\n",
            None => summary += &format!("  {}\n", self.body),
        }
        summary
    }
}
