//! A vendor's socket, watched: how much has left this process, and how much the peer's kernel has acknowledged.
//!
//! A batch may only be released when everything before its last frame has left, so the delivery must see below hyper's
//! and rustls' buffers. [`Watched`] wraps the encrypted stream; its [`Socket`] is what others look at.

mod send_queue;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::{Instant, interval};
use tokio_util::sync::CancellationToken;

/// Looks at an idle connection within its limit.
const IDLE_LOOKS: u32 = 8;

/// What is known of one vendor connection's way out. Cheap to clone; says nothing once the connection is closed.
#[derive(Clone)]
pub struct Socket {
    state: Arc<State>,
}

struct State {
    /// Plain bytes that hyper gave to TLS.
    written: AtomicU64,
    /// Completed flushes: at each one, all that was written before is in the kernel.
    flushes: watch::Sender<u64>,
    /// Whether something was written since the last completed flush.
    unflushed: AtomicBool,
    /// The kernel's socket, for its send queue alone. Closed with the stream: a second descriptor would keep the
    /// connection open. std Mutex: held for one system call, never across an await.
    descriptor: Mutex<Option<OwnedFd>>,
    cut: CancellationToken,
    /// Bytes that hyper read or wrote, in pieces: a count that stands still while nothing happens.
    activity: AtomicU64,
    /// Held once by us, and once by everything that is under way on this connection.
    busy: Arc<()>,
}

/// Something is under way on the connection: it isn't idle, however few bytes move.
#[derive(Clone)]
pub struct Busy {
    _held: Arc<()>,
}

impl Socket {
    /// Watches the kernel's side of `stream`; without a descriptor the send queue counts as empty.
    pub fn new(stream: &impl AsFd) -> Self {
        let descriptor = stream.as_fd().try_clone_to_owned().ok();
        Self {
            state: Arc::new(State {
                written: AtomicU64::new(0),
                flushes: watch::Sender::new(0),
                unflushed: AtomicBool::new(false),
                descriptor: Mutex::new(descriptor),
                cut: CancellationToken::new(),
                activity: AtomicU64::new(0),
                busy: Arc::new(()),
            }),
        }
    }

    /// How many flushes were completed so far.
    pub fn flushes(&self) -> u64 {
        *self.state.flushes.borrow()
    }

    /// Waits until more than `count` flushes were completed. Safe to drop.
    pub async fn flushed_after(&self, count: u64) {
        let mut flushes = self.state.flushes.subscribe();
        // The sender lives in `state`, which we hold: this can't fail.
        let _ = flushes.wait_for(|flushes| *flushes > count).await;
    }

    /// Whether TLS holds nothing that the kernel hasn't got.
    pub fn is_flushed(&self) -> bool {
        !self.state.unflushed.load(Ordering::Acquire)
    }

    /// Bytes in the kernel that the peer's kernel has not acknowledged (Linux: SIOCOUTQ); 0 where that can't be known.
    pub fn unacknowledged(&self) -> usize {
        let descriptor = self.state.descriptor.lock().unwrap_or_else(PoisonError::into_inner);
        descriptor.as_ref().and_then(|fd| send_queue::length(fd.as_fd()).ok()).unwrap_or(0)
    }

    /// A figure that changes whenever bytes move towards the peer.
    pub fn progress(&self) -> (u64, usize) {
        (self.state.written.load(Ordering::Acquire), self.unacknowledged())
    }

    /// Keeps the connection from counting as idle while it is held.
    pub fn busy(&self) -> Busy {
        Busy { _held: Arc::clone(&self.state.busy) }
    }

    /// Completes when nothing was under way and no byte moved for `limit`.
    pub async fn until_idle(&self, limit: Duration) {
        let mut looks = interval(limit / IDLE_LOOKS);
        let (mut last, mut since) = (0, Instant::now());
        loop {
            looks.tick().await;
            let now = self.state.activity.load(Ordering::Acquire);
            if now != last || Arc::strong_count(&self.state.busy) > 1 {
                (last, since) = (now, Instant::now());
            }
            if since.elapsed() >= limit {
                return;
            }
        }
    }

    /// Has the connection dropped at once, with whatever is still unsent: for a peer that has stopped reading.
    pub fn cut(&self) {
        self.state.cut.cancel();
    }

    /// Completes when somebody [cuts](Self::cut) the connection.
    pub async fn until_cut(&self) {
        self.state.cut.cancelled().await;
    }
}

/// An encrypted stream that tells its [`Socket`] what passes.
pub struct Watched<S> {
    stream: S,
    socket: Socket,
}

impl<S> Watched<S> {
    pub fn new(stream: S, socket: Socket) -> Self {
        Self { stream, socket }
    }
}

impl<S> Drop for Watched<S> {
    fn drop(&mut self) {
        self.socket.state.descriptor.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if read.is_ready() {
            self.socket.state.activity.fetch_add(1, Ordering::AcqRel);
        }
        read
    }
}

impl<S> Watched<S> {
    fn note_written(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(count)) = &written {
            self.socket.state.activity.fetch_add(1, Ordering::AcqRel);
            self.socket.state.unflushed.store(true, Ordering::Release);
            self.socket.state.written.fetch_add(*count as u64, Ordering::AcqRel);
        }
        written
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note_written(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.note_written(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if let Poll::Ready(Ok(())) = &flushed {
            self.socket.state.unflushed.store(false, Ordering::Release);
            self.socket.state.flushes.send_modify(|count| *count += 1);
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
