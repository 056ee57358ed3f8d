//! Accepts operators: on a TCP address, over TLS or plain HTTP, or on a Unix socket.
//!
//! Few connections at once, little time for a head, no long answers. Who a peer of the Unix socket is, the kernel says.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::Admin;
use crate::config::AdminAddress;
use crate::transport::{Socket, Watched};

/// Operators, probes and scrapers at once. One more waits.
const CONNECTIONS: usize = 64;
/// For a handshake, for a head, and between two requests: nobody keeps a place without using it.
const PATIENCE: Duration = Duration::from_secs(30);
const STREAMS_A_CONNECTION: u32 = 8;
const HEADERS_LIMIT: usize = 64;
const HEAD_BYTES: u32 = 32 * 1024;
const BUFFER_BYTES: usize = 64 * 1024;
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// What requests under way get to end in when the process ends.
const LAST_MOMENTS: Duration = Duration::from_secs(2);
const SOCKET_MODE: u32 = 0o600;
const ROOT: u32 = 0;

/// Who is at the other end, as far as the kernel knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    Remote(IpAddr),
    /// A process of this machine. `trusted`: it is the gateway's own user's, or root's.
    Local {
        uid: u32,
        trusted: bool,
    },
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Remote(address) => address.fmt(f),
            Self::Local { uid, .. } => write!(f, "unix:{uid}"),
        }
    }
}

/// The listener, bound and ready to run.
pub struct AdminListener {
    bound: Bound,
    tls: Option<TlsAcceptor>,
    admin: Arc<Admin>,
}

enum Bound {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

enum Accepted {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

/// A listener that runs in a task of its own.
pub struct RunningAdmin {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl RunningAdmin {
    /// Takes no more requests, and waits a moment for those under way.
    pub async fn stop(self) {
        self.stop.cancel();
        let _ = self.task.await; // it has no result, and a panic of it was reported
    }
}

impl AdminListener {
    /// Binds the address. A Unix socket that an earlier process left behind is replaced, one that is in use is not.
    pub async fn bind(
        address: &AdminAddress,
        tls: Option<Arc<ServerConfig>>,
        admin: Arc<Admin>,
    ) -> io::Result<Self> {
        let bound = match address {
            AdminAddress::Tcp(address) => Bound::Tcp(TcpListener::bind(address).await?),
            AdminAddress::Unix(path) => Bound::Unix(bind_unix(path).await?, path.clone()),
        };
        Ok(Self { bound, tls: tls.map(TlsAcceptor::from), admin })
    }

    /// Where it listens; the port is the kernel's choice where 0 was configured.
    pub fn address(&self) -> io::Result<AdminAddress> {
        match &self.bound {
            Bound::Tcp(listener) => listener.local_addr().map(AdminAddress::Tcp),
            Bound::Unix(_, path) => Ok(AdminAddress::Unix(path.clone())),
        }
    }

    /// Serves until it is told to stop.
    pub fn start(self) -> RunningAdmin {
        let stop = CancellationToken::new();
        RunningAdmin { task: tokio::spawn(self.run(stop.clone())), stop }
    }

    async fn run(self, stop: CancellationToken) {
        let graceful = GracefulShutdown::new();
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let place = Arc::clone(&places).acquire_owned().await.expect("this semaphore is never closed");
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.accept() => accepted,
            };
            let (admin, tls, watcher) = (Arc::clone(&self.admin), self.tls.clone(), graceful.watcher());
            tokio::spawn(async move {
                serve(accepted, tls, admin, watcher).await;
                drop(place);
            });
        }
        if timeout(LAST_MOMENTS, graceful.shutdown()).await.is_err() {
            debug!("operators' connections were cut");
        }
    }

    async fn accept(&self) -> Accepted {
        loop {
            let accepted = match &self.bound {
                Bound::Tcp(listener) => {
                    listener.accept().await.map(|(stream, peer)| Accepted::Tcp(stream, peer))
                }
                Bound::Unix(listener, _) => listener.accept().await.map(|(stream, _)| Accepted::Unix(stream)),
            };
            match accepted {
                Ok(accepted) => return accepted,
                Err(error) => {
                    warn!(%error, "could not accept an operator's connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Under another name first, so that nobody meets a socket whose mode isn't set yet, and so that the old one's place is taken
/// at once.
async fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    if UnixStream::connect(path).await.is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process serves at this socket"));
    }
    if std::fs::symlink_metadata(path).is_ok_and(|found| !is_socket(&found)) {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket"));
    }
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = PathBuf::from(unfinished);
    let _ = std::fs::remove_file(&unfinished); // of a process that was killed half-way
    let listener = UnixListener::bind(&unfinished)?;
    std::fs::set_permissions(&unfinished, std::fs::Permissions::from_mode(SOCKET_MODE))?;
    std::fs::rename(&unfinished, path)?;
    Ok(listener)
}

fn is_socket(found: &std::fs::Metadata) -> bool {
    std::os::unix::fs::FileTypeExt::is_socket(&found.file_type())
}

async fn serve(accepted: Accepted, tls: Option<TlsAcceptor>, admin: Arc<Admin>, watcher: Watcher) {
    match accepted {
        Accepted::Unix(stream) => match stream.peer_cred() {
            Ok(credentials) => {
                let uid = credentials.uid();
                let trusted = uid == ROOT || uid == nix::unistd::geteuid().as_raw();
                let socket = Socket::new(&stream);
                speak(
                    Watched::new(stream, socket.clone()),
                    socket,
                    Peer::Local { uid, trusted },
                    admin,
                    watcher,
                )
                .await;
            }
            Err(error) => debug!(%error, "the kernel doesn't say who an operator's peer is"),
        },
        Accepted::Tcp(stream, peer) => {
            let _ = stream.set_nodelay(true); // only ever a matter of speed
            let socket = Socket::new(&stream.as_fd());
            let peer = Peer::Remote(peer.ip().to_canonical());
            let Some(tls) = tls else {
                return speak(Watched::new(stream, socket.clone()), socket, peer, admin, watcher).await;
            };
            match timeout(PATIENCE, tls.accept(stream)).await {
                Ok(Ok(stream)) => {
                    speak(Watched::new(stream, socket.clone()), socket, peer, admin, watcher).await;
                }
                Ok(Err(error)) => debug!(%peer, %error, "an operator's TLS handshake failed"),
                Err(_elapsed) => debug!(%peer, "an operator's TLS handshake took too long"),
            }
        }
    }
}

/// HTTP with one peer, to the connection's end.
async fn speak<S>(stream: Watched<S>, socket: Socket, peer: Peer, admin: Arc<Admin>, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = {
        let socket = socket.clone();
        service_fn(move |request: Request<Incoming>| {
            let (admin, busy) = (Arc::clone(&admin), socket.busy());
            async move {
                let answer = admin.answer(request, peer).await;
                drop(busy);
                Ok::<_, std::convert::Infallible>(answer)
            }
        })
    };
    let builder = http();
    let connection = watcher.watch(builder.serve_connection(TokioIo::new(stream), service).into_owned());
    tokio::select! {
        ended = connection => {
            if let Err(error) = ended {
                debug!(%peer, %error, "an operator's connection ended with an error");
            }
        }
        () = socket.until_idle(PATIENCE) => debug!(%peer, "an operator's idle connection closed"),
    }
}

fn http() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_headers(HEADERS_LIMIT)
        .max_buf_size(BUFFER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_A_CONNECTION)
        .max_header_list_size(HEAD_BYTES);
    builder
}
