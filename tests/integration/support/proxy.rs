//! A TCP proxy before PostgreSQL that can be cut, made to swallow what passes, and healed.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// A server that says nothing for so long has answered all that it was asked.
const SILENCE: Duration = Duration::from_millis(150);

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
    /// Passes replies on only when the client waits for them, and counts how often it did.
    counting: AtomicBool,
    waits: AtomicU64,
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

    /// From now on replies are passed on only when the client has nothing more to say until it gets one: each time is a
    /// round trip.
    pub fn count_round_trips(&self) {
        self.state.waits.store(0, Ordering::SeqCst);
        self.state.counting.store(true, Ordering::SeqCst);
    }

    pub fn stop_counting(&self) {
        self.state.counting.store(false, Ordering::SeqCst);
    }

    /// Round trips since the counting began.
    pub fn round_trips(&self) -> u64 {
        self.state.waits.load(Ordering::SeqCst)
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
                () = pass_requests(from_client, to_server, &state) => {}
                () = pass_replies(from_server, to_client, &state) => {}
            }
        });
    }
}

async fn pass_requests(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, state: &State) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if state.requests.held.load(Ordering::SeqCst) {
            state.requests.swallowed.fetch_add(count as u64, Ordering::SeqCst);
        } else if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

async fn pass_replies(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, state: &State) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let mut replies = buffer[..count].to_vec();
        if state.counting.load(Ordering::SeqCst) {
            // The server is done with all that it was asked when it falls silent; only then the client is told.
            while let Ok(Ok(more @ 1..)) = timeout(SILENCE, from.read(&mut buffer)).await {
                replies.extend_from_slice(&buffer[..more]);
            }
            state.waits.fetch_add(1, Ordering::SeqCst);
        }
        if state.replies.held.load(Ordering::SeqCst) {
            state.replies.swallowed.fetch_add(replies.len() as u64, Ordering::SeqCst);
        } else if to.write_all(&replies).await.is_err() {
            return;
        }
    }
}
