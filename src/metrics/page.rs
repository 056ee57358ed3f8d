//! The page that one scrape is given, as far as it is written at that moment.
//!
//! A recorder of its own, which lives as long as the scrape: what isn't written this time isn't there, so that a tenant who
//! was removed, or a database server that nobody names any more, leaves no series behind.

use metrics::{Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};

use super::catalogue::{FAMILIES, Kind};

/// What the library wants to know of a metric's place in the code; the exporter ignores it.
pub(super) const METADATA: Metadata<'static> = Metadata::new("turnpike", Level::INFO, None);

pub type Labels = Vec<(&'static str, String)>;

/// Samples of this moment.
pub struct Page {
    recorder: PrometheusRecorder,
}

impl Page {
    pub(super) fn new() -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        describe(&recorder);
        Self { recorder }
    }

    /// What only grows, as it stands now.
    pub fn counter(&self, name: &'static str, labels: Labels, value: u64) {
        self.recorder.register_counter(&key(name, labels), &METADATA).absolute(value);
    }

    pub fn gauge(&self, name: &'static str, labels: Labels, value: f64) {
        self.recorder.register_gauge(&key(name, labels), &METADATA).set(value);
    }

    /// What the operating system has of this process, under the names that Prometheus's own clients use.
    pub(super) fn write_process(&self, process: &metrics_process::Collector) {
        metrics::with_local_recorder(&self.recorder, || {
            process.describe();
            process.collect();
        });
    }

    pub(super) fn render(&self) -> String {
        self.recorder.handle().render()
    }
}

pub(super) fn key(name: &'static str, labels: Labels) -> Key {
    Key::from_parts(name, labels.into_iter().map(|(name, value)| Label::new(name, value)).collect::<Vec<_>>())
}

/// Gives a recorder every family's `# HELP`.
pub(super) fn describe(recorder: &PrometheusRecorder) {
    for family in FAMILIES {
        let describe = match family.kind {
            Kind::Counter => Recorder::describe_counter,
            Kind::Gauge => Recorder::describe_gauge,
            Kind::Histogram => Recorder::describe_histogram,
        };
        describe(recorder, family.name.into(), None, family.help.into());
    }
}
