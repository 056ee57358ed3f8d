//! A TCP proxy before PostgreSQL that can be cut, made to swallow what passes, and healed.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// Forwards to a port of this machine for as long as the runtime runs.
pub struct Proxy {
    pub port: u16,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Of the connections since the last heal. std Mutex: held for one clone, never across an await.
    cut: Mutex<CancellationToken>,
    refused: AtomicU64,
    requests: Direction,
    replies: Direction,
}

#[derive(Default)]
struct Direction {
    held: AtomicBool,
    swallowed: AtomicU64,
}

impl Proxy {
    pub async fn start(server_port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::default());
        tokio::spawn(accept(listener, (Ipv4Addr::LOCALHOST, server_port).into(), Arc::clone(&state)));
        Self { port, state }
    }

    /// Drops every connection, and each new one, until healed.
    pub fn cut(&self) {
        self.state.cut.lock().unwrap().cancel();
    }

    pub fn heal(&self) {
        self.state.requests.held.store(false, Ordering::SeqCst);
        self.state.replies.held.store(false, Ordering::SeqCst);
        *self.state.cut.lock().unwrap() = CancellationToken::new();
    }

    /// Throws away what the server says from now on.
    pub fn hold_replies(&self) {
        self.state.replies.held.store(true, Ordering::SeqCst);
    }

    /// Throws away what the clients say from now on.
    pub fn hold_requests(&self) {
        self.state.requests.held.store(true, Ordering::SeqCst);
    }

    /// Connections dropped because the proxy was cut.
    pub fn refused(&self) -> u64 {
        self.state.refused.load(Ordering::SeqCst)
    }

    /// Bytes of the clients thrown away so far.
    pub fn swallowed_requests(&self) -> u64 {
        self.state.requests.swallowed.load(Ordering::SeqCst)
    }

    /// Bytes of the server thrown away so far.
    pub fn swallowed_replies(&self) -> u64 {
        self.state.replies.swallowed.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, state: Arc<State>) {
    while let Ok((client, _)) = listener.accept().await {
        let cut = state.cut.lock().unwrap().clone();
        if cut.is_cancelled() {
            state.refused.fetch_add(1, Ordering::SeqCst);
            continue;
        }
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = TcpStream::connect(server).await.unwrap().into_split();
            tokio::select! {
                () = cut.cancelled() => {}
                () = pass(from_client, to_server, &state.requests) => {}
                () = pass(from_server, to_client, &state.replies) => {}
            }
        });
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, direction: &Direction) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if direction.held.load(Ordering::SeqCst) {
            direction.swallowed.fetch_add(count as u64, Ordering::SeqCst);
        } else if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
