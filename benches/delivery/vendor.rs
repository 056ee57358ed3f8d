//! A vendor inside the benchmark's process: one TLS connection that is kept, HTTP/1.1, no more work than must be.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::world::TOKEN;

/// Trusts the benchmark's authority alone.
pub fn trust(directory: &Path) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(directory.join("ca.pem")).expect("the authority") {
        roots.add(certificate.expect("a certificate")).expect("an authority");
    }
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

pub struct Vendor {
    sender: SendRequest<Full<Bytes>>,
    pub handshake: HandshakeKind,
}

#[derive(Debug, Clone, Copy)]
pub struct Answer {
    pub status: u16,
    pub records: usize,
}

impl Vendor {
    pub async fn connect(trust: &Arc<ClientConfig>, address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("the gateway listens");
        stream.set_nodelay(true).expect("a TCP socket");
        let name = ServerName::try_from("localhost").expect("a name");
        let stream = TlsConnector::from(Arc::clone(trust)).connect(name, stream).await.expect("TLS");
        let handshake_kind = stream.get_ref().1.handshake_kind().expect("the handshake is over");
        let (sender, connection) = handshake(TokioIo::new(stream)).await.expect("HTTP/1.1");
        tokio::spawn(connection);
        Self { sender, handshake: handshake_kind }
    }

    /// Claims `limit` records, or all, and reads the answer to its end.
    pub async fn claim(&mut self, tenant: &str, limit: Option<i64>) -> Answer {
        let limit = limit.map_or_else(String::new, |limit| format!(",\"limit\":{limit}"));
        let body = format!("{{\"apiToken\":\"{TOKEN}\"{limit}}}");
        let answer =
            self.send(&format!("/api/{tenant}/v1/violations/send_overdue_to_collections"), body).await;
        assert_eq!(answer.status, 200, "{tenant}");
        answer
    }

    pub async fn send(&mut self, path: &str, body: String) -> Answer {
        let request = Request::post(path)
            .header("host", "localhost")
            .header("content-type", "application/json")
            .body(Full::from(body))
            .expect("a request");
        self.sender.ready().await.expect("the connection is open");
        let response = self.sender.send_request(request).await.expect("an answer");
        let status = response.status().as_u16();
        let records =
            response.headers().get("batch-count").and_then(|count| count.to_str().ok()?.parse().ok());
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            frame.expect("a whole answer");
        }
        Answer { status, records: records.unwrap_or(0) }
    }
}
