//! Connections to the gateway under test: opened when needed, kept for the next call unless each is to have a fresh one.
//!
//! Over HTTP/1.1 a connection carries one call at a time, and at most so many are open; whoever finds none waits, and the
//! wait counts as latency. Over HTTP/2 the calls take turns on a fixed number of connections, many at once on each.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsConnector;

use super::endpoint::{Endpoint, HttpVersion, Reuse};
use super::failure::Failure;

/// How connections are opened.
#[derive(Clone)]
pub struct Dialer {
    pub endpoint: Endpoint,
    pub tls: Arc<ClientConfig>,
    pub http: HttpVersion,
    pub reuse: Reuse,
}

enum Sender {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

impl Dialer {
    async fn open(&self) -> Result<Sender, Failure> {
        let socket = TcpStream::connect(self.endpoint.address).await;
        let socket = socket.map_err(|error| Failure::of_connecting(&error))?;
        let _ = socket.set_nodelay(true); // without it, latency is a little worse
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        let stream = connector.connect(self.endpoint.server_name.clone(), socket).await;
        let stream = TokioIo::new(stream.map_err(|error| Failure::of_handshake(&error))?);
        // A connection that fails fails the call that it carries, which tells of it.
        match self.http {
            HttpVersion::One => {
                let opened = http1::handshake(stream).await;
                let (sender, connection) = opened.map_err(|_error| Failure::Connection)?;
                tokio::spawn(async move { drop(connection.await) });
                Ok(Sender::One(sender))
            }
            HttpVersion::Two => {
                let opened = http2::handshake(TokioExecutor::new(), stream).await;
                let (sender, connection) = opened.map_err(|_error| Failure::Connection)?;
                tokio::spawn(async move { drop(connection.await) });
                Ok(Sender::Two(sender))
            }
        }
    }
}

impl Sender {
    fn is_open(&self) -> bool {
        match self {
            Sender::One(sender) => !sender.is_closed(),
            Sender::Two(sender) => !sender.is_closed(),
        }
    }
}

/// A bounded set of connections. Each call [leases](Self::lease) one.
pub struct Connections {
    dialer: Dialer,
    /// HTTP/1.1: kept ones that carry no call at present. std Mutex: held for one push or pop, never across an await.
    idle: Mutex<Vec<Sender>>,
    /// HTTP/1.1: bounds the calls, and thereby the connections.
    permits: Arc<Semaphore>,
    /// HTTP/2: the connections, opened at first use.
    shared: Vec<tokio::sync::Mutex<Option<http2::SendRequest<Full<Bytes>>>>>,
    turn: AtomicUsize,
}

/// A connection for one call. Dropped without [`Lease::give_back`], over HTTP/1.1 it is closed.
pub struct Lease<'a> {
    connections: &'a Connections,
    sender: Sender,
    _permit: Option<OwnedSemaphorePermit>,
    /// Whether it carried a call before: the gateway may have closed it meanwhile.
    pub used_before: bool,
}

impl Connections {
    pub fn new(dialer: Dialer, limit: usize) -> Connections {
        let shared = match dialer.http {
            HttpVersion::One => Vec::new(),
            HttpVersion::Two => (0..limit).map(|_| tokio::sync::Mutex::default()).collect(),
        };
        Connections {
            dialer,
            idle: Mutex::default(),
            permits: Arc::new(Semaphore::new(limit)),
            shared,
            turn: AtomicUsize::new(0),
        }
    }

    /// Host and port, as requests name them.
    pub fn authority(&self) -> &str {
        &self.dialer.endpoint.authority
    }

    /// A connection, opened where none is free. Safe to drop.
    pub async fn lease(&self) -> Result<Lease<'_>, Failure> {
        match (self.dialer.http, self.dialer.reuse) {
            (HttpVersion::Two, Reuse::Kept) => self.share().await,
            (HttpVersion::One, _) | (_, Reuse::Fresh) => self.take().await,
        }
    }

    async fn take(&self) -> Result<Lease<'_>, Failure> {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let permit = Some(permit.expect("the semaphore is never closed"));
        let idle = self.pop_idle();
        let used_before = idle.is_some();
        let sender = match idle {
            Some(sender) => sender,
            None => self.dialer.open().await?,
        };
        Ok(Lease { connections: self, sender, _permit: permit, used_before })
    }

    fn pop_idle(&self) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        while let Some(sender) = idle.pop() {
            if sender.is_open() {
                return Some(sender);
            }
        }
        None
    }

    async fn share(&self) -> Result<Lease<'_>, Failure> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.shared.len();
        // Held while it is opened, so that the calls of a cold start share one connection.
        let mut place = self.shared[turn].lock().await;
        let open = place.as_ref().filter(|sender| !sender.is_closed()).cloned();
        let used_before = open.is_some();
        let sender = match open {
            Some(sender) => sender,
            None => {
                let Sender::Two(sender) = self.dialer.open().await? else {
                    return Err(Failure::Connection);
                };
                place.insert(sender).clone()
            }
        };
        Ok(Lease { connections: self, sender: Sender::Two(sender), _permit: None, used_before })
    }
}

impl Lease<'_> {
    pub fn version(&self) -> Version {
        match self.sender {
            Sender::One(_) => Version::HTTP_11,
            Sender::Two(_) => Version::HTTP_2,
        }
    }

    pub async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, hyper::Error> {
        match &mut self.sender {
            Sender::One(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
            Sender::Two(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }

    /// Keeps the connection for the next call, after an answer that was read to its end.
    pub fn give_back(self) {
        if matches!(self.sender, Sender::One(_)) && self.connections.dialer.reuse == Reuse::Kept {
            let mut idle = self.connections.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            idle.push(self.sender);
        }
    }
}
