//! Accepts vendors' connections, speaks TLS and HTTP with them, and drains them when the process is to end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use rustls::{HandshakeKind, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info, warn};

use crate::handler::Gateway;
use crate::limits::{Peers, Place};
use crate::metrics::Handshake;
use crate::transport::{Socket, Watched};

/// After a failed accept (no descriptors left, most likely) the loop rests instead of spinning.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Streams that one HTTP/2 connection may have open: vendors make one call at a time.
const STREAMS_A_CONNECTION: u32 = 32;
const HEADERS_LIMIT: usize = 64;
const HEAD_BYTES: u32 = 32 * 1024;
/// HTTP/1.1's buffer, for a head at most and for frames on their way out.
const BUFFER_BYTES: usize = 256 * 1024;
/// What a delivery that is told to stop still gets for voiding its batch.
const VOID_TIME: Duration = Duration::from_secs(5);

/// The vendors' listener, bound and ready to run.
pub struct Listener {
    socket: TcpListener,
    tls: TlsAcceptor,
    gateway: Arc<Gateway>,
}

impl Listener {
    pub async fn bind(
        address: SocketAddr,
        tls: Arc<ServerConfig>,
        gateway: Arc<Gateway>,
    ) -> io::Result<Self> {
        Ok(Self { socket: TcpListener::bind(address).await?, tls: TlsAcceptor::from(tls), gateway })
    }

    /// Where it listens; the port is the kernel's choice where 0 was configured.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves until `shutdown` completes, then drains: no new connections, running requests finish within
    /// `drain_timeout`, what is left is voided.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let graceful = GracefulShutdown::new();
        let peers = &self.gateway.peers;
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                (stream, peer, place) = self.accept(peers) => {
                    let connection =
                        serve(stream, peer, self.tls.clone(), Arc::clone(&self.gateway), graceful.watcher());
                    tokio::spawn(async move {
                        connection.await;
                        drop(place);
                    });
                }
            }
        }
        drop(self.socket);
        drain(&self.gateway, graceful).await;
    }

    async fn accept(&self, peers: &Peers) -> (TcpStream, SocketAddr, Place) {
        loop {
            let vacancy = peers.vacancy().await;
            match self.socket.accept().await {
                Ok((stream, peer)) => {
                    match peers.seat(vacancy, peer.ip(), self.gateway.config().max_peers_per_address) {
                        Some(place) => return (stream, peer, place),
                        None => debug!(%peer, "max_peers_per_address is reached, closing"),
                    }
                }
                Err(error) => {
                    warn!(%error, "could not accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn drain(gateway: &Gateway, graceful: GracefulShutdown) {
    let limit = gateway.config().drain_timeout;
    info!(connections = graceful.count(), deliveries = gateway.deliveries.len(), "draining");
    let stop = gateway.stop.clone();
    gateway.deliveries.close();
    let finished = async {
        graceful.shutdown().await;
        gateway.deliveries.wait().await;
    };
    if timeout(limit, finished).await.is_err() {
        warn!(deliveries = gateway.deliveries.len(), "drain_timeout is over, voiding what is still running");
        stop.cancel();
        if timeout(VOID_TIME, gateway.deliveries.wait()).await.is_err() {
            warn!(deliveries = gateway.deliveries.len(), "could not void in time; leases will");
        }
    }
}

/// One vendor's connection, from its handshake to its end.
async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    tls: TlsAcceptor,
    gateway: Arc<Gateway>,
    watcher: Watcher,
) {
    let _ = stream.set_nodelay(true); // only ever a matter of speed
    let _counted = gateway.metrics.peer();
    let socket = Socket::new(&stream);
    let stream = match timeout(gateway.config().handshake_timeout, tls.accept(stream)).await {
        Ok(Ok(stream)) => {
            gateway.metrics.handshake(match stream.get_ref().1.handshake_kind() {
                Some(HandshakeKind::Resumed) => Handshake::Resumed,
                _ => Handshake::Full,
            });
            Watched::new(stream, socket.clone())
        }
        Ok(Err(error)) => {
            gateway.metrics.handshake(Handshake::Failed);
            return debug!(%peer, %error, "TLS handshake failed");
        }
        Err(_elapsed) => {
            gateway.metrics.handshake(Handshake::TimedOut);
            return debug!(%peer, "TLS handshake took too long");
        }
    };
    let service = {
        let (gateway, socket) = (Arc::clone(&gateway), socket.clone());
        service_fn(move |request: Request<Incoming>| {
            let (gateway, socket) = (Arc::clone(&gateway), socket.clone());
            async move { Ok::<_, std::convert::Infallible>(gateway.answer(request, peer.ip(), socket).await) }
        })
    };
    let builder = http(&gateway);
    let connection = watcher.watch(builder.serve_connection(TokioIo::new(stream), service).into_owned());
    tokio::select! {
        ended = connection => {
            if let Err(error) = ended {
                debug!(%peer, %error, "connection ended with an error");
            }
        }
        () = socket.until_cut() => debug!(%peer, "connection cut"),
        () = socket.until_idle(gateway.config().keep_alive_timeout) => debug!(%peer, "idle connection closed"),
    }
}

fn http(gateway: &Gateway) -> auto::Builder<TokioExecutor> {
    let config = gateway.config();
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(config.keep_alive_timeout + config.request_timeout) // counts from the answer before
        .max_headers(HEADERS_LIMIT)
        .max_buf_size(BUFFER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_A_CONNECTION)
        .max_header_list_size(HEAD_BYTES);
    builder
}
