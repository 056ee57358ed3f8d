//! The way from a delivery to hyper: a bounded channel of body frames, and word of how far they have come.
//!
//! [`Outlet`] is the delivery's end, [`FrameSource`] the response body's. A delivery that ends without
//! [`Outlet::finish`] ends the body in an error, so that no client takes what it has for a whole document.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, interval, sleep, timeout};

use crate::transport::Socket;

/// Frames that wait for the vendor; with a frame's size this is the read-ahead's memory.
const FRAMES_AHEAD: usize = 8;
/// A flush that is due after hyper has asked for more comes within the same poll on HTTP/1.1. On HTTP/2 another task
/// may have flushed before; after this long, with nothing unflushed, the bytes have left.
const FLUSH_GRACE: Duration = Duration::from_millis(25);
/// Between two looks at the send queue: the kernel doesn't announce acknowledgements.
const FIRST_LOOK: Duration = Duration::from_micros(200);
const LONGEST_LOOK: Duration = Duration::from_millis(20);
/// A peer's kernel nearby that acknowledges at once does so within this time.
const ACKNOWLEDGED_SOON: Duration = Duration::from_millis(2);
/// Between two looks at whether bytes move.
const STALL_LOOK: Duration = Duration::from_millis(250);

/// The vendor's connection is closed: nobody takes frames any more.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("the vendor is gone")]
pub struct VendorGone;

/// The body was ended before its last frame.
#[derive(Debug, Error)]
#[error("the delivery was broken off")]
pub struct BrokenOff;

/// A delivery's end.
pub struct Outlet {
    frames: mpsc::Sender<Result<Bytes, BrokenOff>>,
    asked: watch::Receiver<Asked>,
    socket: Socket,
    sent: Arc<AtomicU64>,
    /// Whether the frame that makes the document whole is among those handed over.
    finished: Arc<AtomicBool>,
}

/// A response body's end.
pub struct FrameSource {
    frames: mpsc::Receiver<Result<Bytes, BrokenOff>>,
    asked: watch::Sender<Asked>,
    socket: Socket,
    taken: u64,
    finished: Arc<AtomicBool>,
}

/// hyper took `frames` frames and asked for one more when the socket had completed `flushes` flushes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Asked {
    frames: u64,
    flushes: u64,
}

/// Both ends, for one answer on one vendor connection.
pub fn open(socket: Socket) -> (Outlet, FrameSource) {
    let (frames, source) = mpsc::channel(FRAMES_AHEAD);
    let (asked_sender, asked) = watch::channel(Asked::default());
    let finished = Arc::new(AtomicBool::new(false));
    let outlet = Outlet {
        frames,
        asked,
        socket: socket.clone(),
        sent: Arc::default(),
        finished: Arc::clone(&finished),
    };
    (outlet, FrameSource { frames: source, asked: asked_sender, socket, taken: 0, finished })
}

impl Outlet {
    /// Hands over one frame, waiting while `FRAMES_AHEAD` of them are before it. Safe to drop: the frame isn't sent.
    pub async fn send(&mut self, frame: Bytes) -> Result<(), VendorGone> {
        let permit = self.frames.reserve().await.map_err(|_closed| VendorGone)?;
        permit.send(Ok(frame));
        self.sent.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    /// Waits until every frame has left this process and, where `acknowledged` is asked for, the peer's kernel has
    /// confirmed their receipt. Unbounded in itself; safe to drop.
    async fn until_delivered(&mut self, acknowledged: bool) -> Result<(), VendorGone> {
        let sent = self.sent.load(Ordering::Acquire);
        let asked = *self.asked.wait_for(|asked| asked.frames == sent).await.map_err(|_closed| VendorGone)?;
        while timeout(FLUSH_GRACE, self.socket.flushed_after(asked.flushes)).await.is_err() {
            if self.socket.is_flushed() {
                break;
            }
        }
        let mut look = FIRST_LOOK;
        while acknowledged && (self.socket.unacknowledged() > 0 || !self.socket.is_flushed()) {
            sleep(look).await;
            look = (look * 2).min(LONGEST_LOOK);
        }
        if self.frames.is_closed() { Err(VendorGone) } else { Ok(()) }
    }

    /// Hands over `end`, the bytes before the last frame, and waits until everything so far has left and, where
    /// `acknowledged` is asked for, has been received by the peer's kernel. Gives back what of `end` was not needed: it may
    /// travel with the last frame. Unbounded in itself; safe to drop.
    ///
    /// The bytes go one by one. On HTTP/2 hyper takes one more only when all before it has its window, which it would not
    /// wait for otherwise. And Linux lets a lone small segment wait up to 40 ms for its acknowledgement, but sends it as soon
    /// as its program has read two: a byte that isn't acknowledged soon has the next one sent after it.
    pub async fn settle(&mut self, mut end: Bytes, acknowledged: bool) -> Result<Bytes, VendorGone> {
        self.until_delivered(false).await?;
        while !end.is_empty() {
            self.send(end.split_to(1)).await?;
            if let Ok(delivered) = timeout(ACKNOWLEDGED_SOON, self.until_delivered(acknowledged)).await {
                return delivered.map(|()| end);
            }
        }
        self.until_delivered(acknowledged).await?;
        Ok(end)
    }

    /// Sends the frame that makes the document whole.
    pub async fn finish(self, last: Bytes) -> Result<(), VendorGone> {
        let permit = self.frames.reserve().await.map_err(|_closed| VendorGone)?;
        self.finished.store(true, Ordering::Release);
        permit.send(Ok(last));
        self.sent.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    /// Completes when the vendor's connection is closed.
    pub fn gone(&self) -> impl Future<Output = ()> + use<> {
        let frames = self.frames.clone();
        async move { frames.closed().await }
    }

    /// Completes when there was something for the vendor to take for `limit`, and not a byte of it moved.
    pub fn stalled(&self, limit: Duration) -> impl Future<Output = ()> + use<> {
        let (socket, asked, sent) = (self.socket.clone(), self.asked.clone(), Arc::clone(&self.sent));
        async move {
            let mut looks = interval(STALL_LOOK);
            let (mut last, mut since) = (socket.progress(), Instant::now());
            loop {
                looks.tick().await;
                let now = socket.progress();
                // A frame may have been taken by hyper and wait there for an HTTP/2 window.
                let untaken = asked.borrow().frames < sent.load(Ordering::Acquire);
                let waiting = untaken || !socket.is_flushed() || now.1 > 0;
                if now != last || !waiting {
                    (last, since) = (now, Instant::now());
                }
                if since.elapsed() >= limit {
                    return;
                }
            }
        }
    }

    /// Drops the vendor's connection, whatever is still unsent.
    pub fn cut(&self) {
        self.socket.cut();
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        if self.finished.load(Ordering::Acquire) {
            return;
        }
        if let Err(TrySendError::Full(_)) = self.frames.try_send(Err(BrokenOff)) {
            // The error can't be queued behind what a slow vendor hasn't taken. Where the body is dropped already the
            // connection may be about to carry a refusal.
            self.socket.cut();
        }
    }
}

impl FrameSource {
    /// The next frame; None after the last one. A delivery that is gone without having finished is an error, even if hyper
    /// gets here before it sees the connection cut: a bare end would look like a good one.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BrokenOff>>> {
        let mut frame = self.frames.poll_recv(cx);
        if matches!(frame, Poll::Ready(None)) && !self.finished.load(Ordering::Acquire) {
            frame = Poll::Ready(Some(Err(BrokenOff)));
        }
        match &frame {
            Poll::Ready(_) => self.taken += 1,
            Poll::Pending => {
                let now = Asked { frames: self.taken, flushes: self.socket.flushes() };
                self.asked.send_if_modified(|asked| {
                    let first_time = asked.frames != now.frames || now.frames == 0;
                    if first_time {
                        *asked = now;
                    }
                    first_time
                });
            }
        }
        frame
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::pin::pin;

    use super::*;

    fn outlet() -> (Outlet, FrameSource) {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        open(Socket::new(&ours))
    }

    /// Takes all frames, as hyper does; whether the end was a good one.
    async fn drain(mut source: FrameSource) -> (usize, bool) {
        let mut frames = 0;
        loop {
            match poll_fn(|cx| source.poll_next(cx)).await {
                Some(Ok(_)) => frames += 1,
                Some(Err(BrokenOff)) => return (frames, false),
                None => return (frames, true),
            }
        }
    }

    #[tokio::test]
    async fn only_a_finished_delivery_has_a_good_end() {
        for sent in [0, 1, FRAMES_AHEAD - 1, FRAMES_AHEAD] {
            let (mut outlet, source) = outlet();
            for _ in 0..sent {
                outlet.send(Bytes::from_static(b"frame")).await.unwrap();
            }
            drop(outlet);
            assert_eq!(drain(source).await, (sent, false));
        }
        let (outlet, source) = outlet();
        outlet.finish(Bytes::from_static(b"last")).await.unwrap();
        assert_eq!(drain(source).await, (1, true));
    }

    #[tokio::test]
    async fn a_last_frame_that_found_no_room_is_no_good_end() {
        let (mut outlet, source) = outlet();
        for _ in 0..FRAMES_AHEAD {
            outlet.send(Bytes::from_static(b"frame")).await.unwrap();
        }
        let finishing = timeout(Duration::from_millis(1), outlet.finish(Bytes::from_static(b"last"))).await;

        assert!(finishing.is_err());
        assert_eq!(drain(source).await, (FRAMES_AHEAD, false));
    }

    #[tokio::test]
    async fn an_acknowledgement_that_is_late_is_asked_for_with_the_next_byte_and_waited_for() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        let (mut outlet, mut source) = open(Socket::new(&ours));
        ours.write_all(b"unread").unwrap();
        let taking = tokio::spawn(async move {
            let mut taken = Vec::new();
            while let Some(Ok(frame)) = poll_fn(|cx| source.poll_next(cx)).await {
                taken.push(frame);
            }
            taken
        });
        {
            let mut settling = pin!(outlet.settle(Bytes::from_static(b"}]"), true));
            let settled = timeout(Duration::from_millis(100), &mut settling).await;
            assert!(settled.is_err(), "it waits for what the peer hasn't got");
            theirs.read_exact(&mut [0; 6]).unwrap();
            assert!(settling.await.unwrap().is_empty());
        }
        drop(outlet);
        assert_eq!(taking.await.unwrap(), ["}", "]"]);
    }
}
