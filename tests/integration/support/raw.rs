//! A peer who writes HTTP/1.1 by hand: for what no decent client sends, and for reading slowly.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::gateway::authority;

/// So little that an answer of some hundred records doesn't fit.
const RECEIVE_BUFFER: u32 = 32 * 1024;

pub struct RawPeer {
    stream: TlsStream<TcpStream>,
}

impl RawPeer {
    pub async fn connect(gateway: SocketAddr) -> Self {
        Self::connect_with(gateway, Self::config()).await
    }

    /// A client's TLS; peers who share one resume each other's sessions.
    pub fn config() -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(authority()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    }

    pub async fn connect_with(gateway: SocketAddr, config: Arc<ClientConfig>) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(RECEIVE_BUFFER).unwrap();
        let stream = socket.connect(gateway).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        Self { stream: TlsConnector::from(config).connect(name, stream).await.unwrap() }
    }

    /// Sends the text; a gateway that has closed already is the business of who reads then.
    pub async fn send(&mut self, text: &str) {
        let _ = self.stream.write_all(text.as_bytes()).await;
        let _ = self.stream.flush().await;
    }

    /// Sends the documented request, and asks for the connection to be closed after its answer.
    pub async fn send_claim(&mut self, tenant: &str, token: &str) {
        let body = format!("{{\"apiToken\":\"{token}\"}}");
        self.send(&format!(
            "POST /api/{tenant}/v1/violations/send_overdue_to_collections HTTP/1.1\r\nHost: localhost\r\n\
             Connection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await;
    }

    /// All that comes until the gateway closes, in whatever way it does.
    pub async fn read_to_end(mut self) -> String {
        let mut read = Vec::new();
        let _ = self.stream.read_to_end(&mut read).await;
        String::from_utf8_lossy(&read).into_owned()
    }
}
