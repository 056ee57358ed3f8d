//! A vendor whose every byte is under the test's control: HTTP/1.1 over one TLS connection with a small receive buffer,
//! read exactly as far as told, and closed or reset at will.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::gateway::{TOKEN, TestGateway, authority};

/// What the vendor's kernel takes in at most while the vendor reads nothing (Linux doubles it).
const RECEIVE_BUFFER: u32 = 8 * 1024;

/// One call under way.
pub struct SlowVendor {
    stream: TlsStream<TcpStream>,
    /// All that was read so far: head, and body as it was chunked.
    pub read: Vec<u8>,
}

impl SlowVendor {
    /// Sends the documented request, and reads nothing.
    pub async fn call(gateway: &TestGateway, tenant: &str) -> Self {
        Self::call_with(gateway.address, tenant, "", json!({})).await
    }

    /// The same with more header lines (each with its line end) and attributes.
    pub async fn call_with(gateway: SocketAddr, tenant: &str, lines: &str, mut attributes: Value) -> Self {
        let mut stream = connect(gateway).await;
        attributes["apiToken"] = json!(TOKEN);
        let body = attributes.to_string();
        let request = format!(
            "POST /api/{tenant}/v1/violations/send_overdue_to_collections HTTP/1.1\r\nHost: localhost\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n{lines}\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        Self { stream, read: Vec::new() }
    }

    /// Reads so many bytes more.
    pub async fn read(&mut self, count: usize) {
        let start = self.read.len();
        self.read.resize(start + count, 0);
        self.stream.read_exact(&mut self.read[start..]).await.expect("the answer goes on");
    }

    /// Reads on, little by little, until `text` has come.
    pub async fn read_until(&mut self, text: &str) {
        let mut looked = self.read.len().saturating_sub(text.len());
        while !contains(&self.read[looked..], text) {
            looked = self.read.len().saturating_sub(text.len());
            let mut some = [0; 4 * 1024];
            let count = self.stream.read(&mut some).await.expect("the answer goes on");
            assert!(count > 0, "the answer ended before {text}");
            self.read.extend_from_slice(&some[..count]);
        }
    }

    /// Reads whatever else comes until the connection ends, in order or in an error.
    pub async fn read_to_end(&mut self) {
        let _ended = self.stream.read_to_end(&mut self.read).await; // cut connections end in an error
    }

    /// Whether `text` has come.
    pub fn has_read(&self, text: &str) -> bool {
        contains(&self.read, text)
    }

    /// Whether HTTP calls the answer whole: its last chunk has come.
    pub fn is_whole(&self) -> bool {
        self.read.ends_with(b"\r\n0\r\n\r\n")
    }

    /// The body without its chunks' frames, of an answer that is whole.
    pub fn body(&self) -> Vec<u8> {
        let head = find(&self.read, b"\r\n\r\n").expect("a head") + 4;
        let (mut body, mut rest) = (Vec::new(), &self.read[head..]);
        loop {
            let line = find(rest, b"\r\n").expect("a chunk's size");
            let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
            if size == 0 {
                return body;
            }
            body.extend_from_slice(&rest[line + 2..line + 2 + size]);
            rest = &rest[line + 2 + size + 2..];
        }
    }

    /// Goes away as a program that ends in order.
    pub async fn close(mut self) {
        let _gone = self.stream.shutdown().await; // the gateway may have cut it first
    }

    /// Goes away as a program that crashes: the kernel answers with a reset.
    pub fn reset(self) {
        self.stream.get_ref().0.set_zero_linger().unwrap();
    }
}

async fn connect(gateway: SocketAddr) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(RECEIVE_BUFFER).unwrap();
    let stream = socket.connect(gateway).await.unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(ServerName::try_from("localhost").unwrap(), stream)
        .await
        .unwrap()
}

fn contains(bytes: &[u8], text: &str) -> bool {
    find(bytes, text.as_bytes()).is_some()
}

fn find(bytes: &[u8], sought: &[u8]) -> Option<usize> {
    bytes.windows(sought.len()).position(|window| window == sought)
}
