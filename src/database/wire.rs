//! The socket towards PostgreSQL, plain or encrypted. Shutting it down lasts until the server has ended the session.
//!
//! A backend closes its side last of all, when it doesn't count any more (PostgreSQL, `socket_close` in pqcomm.c: "so that
//! clients can perform a synchronous close by waiting for EOF"). Whoever counts sessions needs that moment, not the one at
//! which we lost interest.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::Socket;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres_rustls::MakeRustlsConnect;

type Encrypted = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;
type EncryptedHandshake = <MakeRustlsConnect as MakeTlsConnect<Socket>>::TlsConnect;

/// What the driver takes for its TLS, also where there is none: with the negotiation "direct" it hands its socket over
/// without a word to the server, which is the only way to get hold of it.
#[derive(Clone)]
pub struct Wiring(pub Option<MakeRustlsConnect>);

pub struct Handshake(Option<EncryptedHandshake>);

pub struct Wire {
    stream: Stream,
    said_goodbye: bool,
}

enum Stream {
    Plain(Socket),
    Encrypted(Box<Encrypted>),
}

impl MakeTlsConnect<Socket> for Wiring {
    type Stream = Wire;
    type TlsConnect = Handshake;
    type Error = Infallible;

    fn make_tls_connect(&mut self, host: &str) -> Result<Handshake, Infallible> {
        let tls = self.0.as_mut().map(|tls| MakeTlsConnect::<Socket>::make_tls_connect(tls, host));
        Ok(Handshake(tls.transpose()?))
    }
}

impl TlsConnect<Socket> for Handshake {
    type Stream = Wire;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Wire>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        Box::pin(async move {
            let stream = match self.0 {
                None => Stream::Plain(socket),
                Some(tls) => Stream::Encrypted(Box::new(tls.connect(socket).await?)),
            };
            Ok(Wire { stream, said_goodbye: false })
        })
    }
}

impl TlsStream for Wire {
    fn channel_binding(&self) -> ChannelBinding {
        match &self.stream {
            Stream::Plain(_) => ChannelBinding::none(),
            Stream::Encrypted(stream) => stream.channel_binding(),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Encrypted(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Encrypted(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Encrypted(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.said_goodbye {
            ready!(match &mut self.stream {
                Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
                Stream::Encrypted(stream) => Pin::new(stream).poll_shutdown(cx),
            })?;
            self.said_goodbye = true;
        }
        let mut bytes = [0; 512];
        loop {
            let mut buffer = ReadBuf::new(&mut bytes);
            let read = ready!(self.as_mut().poll_read(cx, &mut buffer));
            // An error is an end, too.
            if read.is_err() || buffer.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}
