//! A collector of traces: takes OTLP over HTTP (protobuf), as a real one does.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::AnyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

/// How it answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    Takes,
    /// Takes the connection and the request, and says nothing.
    Hangs,
}

/// Dropped, it is gone.
pub struct Collector {
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
    _running: AbortOnDropHandle<()>,
}

impl Collector {
    pub async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::<Mutex<Vec<_>>>::default();
        let taken = Arc::clone(&requests);
        let running = tokio::spawn(async move {
            while let Ok((stream, _gateway)) = listener.accept().await {
                let taken = Arc::clone(&taken);
                let service = service_fn(move |request| take(request, manner, Arc::clone(&taken)));
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                tokio::spawn(connection);
            }
        });
        Self { address, requests, _running: AbortOnDropHandle::new(running) }
    }

    /// The line of configuration that has a gateway send here.
    pub fn setting(&self) -> String {
        format!("otlp_endpoint = \"http://{}\"", self.address)
    }

    /// Every span so far.
    pub fn spans(&self) -> Vec<Span> {
        let requests = self.requests.lock().unwrap();
        let resources = requests.iter().flat_map(|request| &request.resource_spans);
        resources.flat_map(|resource| &resource.scope_spans).flat_map(|scope| scope.spans.clone()).collect()
    }

    pub fn requests(&self) -> usize {
        self.requests.lock().unwrap().len()
    }

    /// All that came, resources and attributes included, as text to search through.
    pub fn text(&self) -> String {
        self.requests.lock().unwrap().iter().map(|request| format!("{request:?}\n")).collect()
    }
}

async fn take(
    request: Request<Incoming>,
    manner: Manner,
    taken: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    assert_eq!(request.uri().path(), "/v1/traces");
    assert_eq!(request.headers()["content-type"], "application/x-protobuf");
    let body = request.into_body().collect().await.unwrap().to_bytes();
    taken.lock().unwrap().push(ExportTraceServiceRequest::decode(body).unwrap());
    if manner == Manner::Hangs {
        pending::<()>().await;
    }
    let mut answer = Response::new(Empty::new());
    *answer.status_mut() = StatusCode::OK;
    Ok(answer)
}

/// A span's attributes as text.
pub fn attributes(span: &Span) -> BTreeMap<&str, String> {
    let text = |value: &AnyValue| match value.value.as_ref().unwrap() {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        other => panic!("{other:?}"),
    };
    let attributes = span.attributes.iter();
    attributes.map(|attribute| (attribute.key.as_str(), text(attribute.value.as_ref().unwrap()))).collect()
}
