//! From spans to a collector: sampling, the bounded queue, OTLP over HTTP (protobuf), and what became of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{ExporterBuildError, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::runtime::Tokio;
use opentelemetry_sdk::trace::span_processor_with_async_runtime::BatchSpanProcessor;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, Sampler, SdkTracerProvider, Span, SpanData, SpanExporter, SpanProcessor,
};
use thiserror::Error;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::level_filters::LevelFilter;
use tracing::{Subscriber, info, warn};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

use super::TARGET;

/// Spans that wait to be sent, at most; what doesn't fit is dropped. Some MiB.
const QUEUE: usize = 8_192;
const BATCH: usize = 512;
const SEND_EVERY: Duration = Duration::from_secs(1);
/// For one batch, tries included. A collector that hangs costs spans, and nothing else.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// For what is left when the process ends.
const LAST_EXPORT: Duration = Duration::from_secs(3);
/// Where a collector that is given by its base address takes spans (OTLP specification, "OTLP/HTTP Request").
const TRACES_PATH: &str = "/v1/traces";

#[derive(Debug, Error)]
#[error("could not prepare the export of traces to otlp_endpoint")]
pub struct TracesError(#[source] ExporterBuildError);

/// What became of sampled spans.
#[derive(Debug, Default)]
pub struct SpanCounts {
    pub ended: AtomicU64,
    pub exported: AtomicU64,
    pub failed: AtomicU64,
    /// The last export failed: it isn't logged again.
    failing: AtomicBool,
}

/// The process's traces, on their way to one collector.
pub struct Traces {
    provider: SdkTracerProvider,
    counts: Arc<SpanCounts>,
}

impl Traces {
    /// Prepares the export to the collector at `endpoint`, of `ratio` (0 to 1) of the traces that begin here; a caller's own
    /// trace is kept where the caller keeps it. Within a tokio runtime.
    ///
    /// # Errors
    /// Where the HTTP client can't be made.
    pub fn start(endpoint: &str, ratio: f64) -> Result<Self, TracesError> {
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_endpoint(format!("{}{TRACES_PATH}", endpoint.trim_end_matches('/')))
            .with_timeout(EXPORT_TIMEOUT)
            .build()
            .map_err(TracesError)?;
        let counts = Arc::new(SpanCounts::default());
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE)
            .with_max_export_batch_size(BATCH)
            .with_scheduled_delay(SEND_EVERY)
            .with_max_export_timeout(EXPORT_TIMEOUT)
            .build();
        let exporter = CountedExporter { exporter, counts: Arc::clone(&counts) };
        let queue = BatchSpanProcessor::builder(exporter, Tokio).with_batch_config(batches).build();
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let provider = SdkTracerProvider::builder()
            .with_span_processor(CountedQueue { queue, counts: Arc::clone(&counts) })
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio))))
            .with_resource(Resource::builder().with_service_name("turnpike").with_attribute(version).build())
            .build();
        Ok(Self { provider, counts })
    }

    /// What makes the spans of `tracing` the collector's.
    pub fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer("turnpike"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_level(false)
            .with_tracked_inactivity(false)
            .with_context_activation(false)
            .with_filter(Targets::new().with_target(TARGET, LevelFilter::TRACE))
    }

    pub fn counts(&self) -> Arc<SpanCounts> {
        Arc::clone(&self.counts)
    }

    /// Sends what is left, for a few seconds at most.
    pub async fn finish(self) {
        let (done, finished) = oneshot::channel();
        // The library's call blocks, without a bound of its own: on a thread that the process's end doesn't wait for.
        thread::spawn(move || done.send(self.provider.shutdown()));
        if timeout(LAST_EXPORT, finished).await.is_err() {
            warn!("the last traces could not be sent in time");
        }
    }
}

/// Counts what is to be sent.
#[derive(Debug)]
struct CountedQueue {
    queue: BatchSpanProcessor<Tokio>,
    counts: Arc<SpanCounts>,
}

impl SpanProcessor for CountedQueue {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.queue.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() {
            self.counts.ended.fetch_add(1, Ordering::Relaxed);
        }
        self.queue.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.queue.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.queue.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.queue.set_resource(resource);
    }
}

/// Counts what was sent, and tells the log when that begins to fail and when it works again.
#[derive(Debug)]
struct CountedExporter {
    exporter: opentelemetry_otlp::SpanExporter,
    counts: Arc<SpanCounts>,
}

impl SpanExporter for CountedExporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len() as u64;
        // The queue gives up after the same time, and would tell nobody.
        let exported = timeout(EXPORT_TIMEOUT, self.exporter.export(batch)).await;
        let failure = match &exported {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_elapsed) => Some("the collector did not answer in time".to_owned()),
        };
        let counter = if failure.is_some() { &self.counts.failed } else { &self.counts.exported };
        counter.fetch_add(spans, Ordering::Relaxed);
        let was_failing = self.counts.failing.swap(failure.is_some(), Ordering::Relaxed);
        match failure {
            Some(cause) if !was_failing => warn!(cause, "could not send traces"),
            None if was_failing => info!("traces are sent again"),
            _ => {}
        }
        exported.unwrap_or(Ok(()))
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
