//! The operators' listener: is the process alive, and does it serve? Plain HTTP on a loopback address.
//!
//! `/livez` answers as long as the process runs; `/readyz` until it begins to drain. Neither asks a tenant's database: one
//! institution's outage must not take the gateway out of a load balancer for all the others.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// Binds the listener and serves it in a task of its own until the process ends. `draining` is cancelled when the
/// gateway takes no new vendor connections any more.
pub async fn start(address: SocketAddr, draining: CancellationToken) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _operator)) = listener.accept().await {
            let draining = draining.clone();
            let service = service_fn(move |request| {
                let answer = answer(&request, &draining);
                async { Ok::<_, Infallible>(answer) }
            });
            let mut http = hyper::server::conn::http1::Builder::new();
            let connection = http.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    debug!(%error, "an operator's connection ended with an error");
                }
            });
        }
    });
    Ok(bound)
}

fn answer(request: &Request<Incoming>, draining: &CancellationToken) -> Response<Full<Bytes>> {
    let (status, text) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/livez") => (StatusCode::OK, "alive\n"),
        (&Method::GET | &Method::HEAD, "/readyz") if draining.is_cancelled() => {
            (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
        }
        (&Method::GET | &Method::HEAD, "/readyz") => (StatusCode::OK, "ready\n"),
        _ => (StatusCode::NOT_FOUND, "there is /livez and /readyz\n"),
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response
}
