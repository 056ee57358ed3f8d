//! A page of metrics, read as strictly as Prometheus reads it (text format 0.0.4).

use std::collections::{BTreeMap, BTreeSet};

use turnpike::scrape;

use super::TestGateway;

/// One scrape.
pub struct Scrape {
    pub text: String,
    /// By `name{label="value",…}`, labels sorted.
    pub samples: BTreeMap<String, f64>,
    /// Name and type of each family.
    pub families: BTreeMap<String, String>,
}

impl Scrape {
    /// What a scrape of a gateway in this process gives.
    pub fn of(gateway: &TestGateway) -> Self {
        Self::parse(scrape::page(&gateway.inner))
    }

    /// Panics at whatever Prometheus would refuse, and at a family without a HELP.
    pub fn parse(text: String) -> Self {
        let (mut samples, mut families, mut helped) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        let mut current = String::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, _words) = help.split_once(' ').expect("a HELP has words");
                assert!(helped.insert(name.to_owned()), "two HELPs: {line}");
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').expect("a TYPE has a kind");
                assert!(families.insert(name.to_owned(), kind.to_owned()).is_none(), "two TYPEs: {line}");
                name.clone_into(&mut current);
            } else {
                let (series, value) = line.rsplit_once(' ').expect("a sample has a value");
                let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
                let suffix = name.strip_prefix(&current).unwrap_or_else(|| panic!("{line} under {current}"));
                let allowed: &[&str] =
                    if families[&current] == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
                assert!(allowed.contains(&suffix), "{line} is no sample of a {}", families[&current]);
                let mut labels = read_labels(labels.strip_suffix('}').expect("labels end"));
                labels.sort();
                let series = format!("{name}{{{}}}", labels.join(","));
                let value = value.parse().unwrap_or_else(|_| panic!("{line} has no number"));
                assert!(samples.insert(series, value).is_none(), "twice: {line}");
            }
        }
        let named: BTreeSet<String> = families.keys().cloned().collect();
        assert_eq!(named, helped, "every family has a HELP");
        Self { text, samples, families }
    }

    /// The value of `name{label="value",…}` (labels sorted, `{}` where there are none); 0 where there is no such series.
    pub fn value(&self, series: &str) -> f64 {
        self.samples.get(series).copied().unwrap_or_default()
    }

    /// The series that contain a text.
    pub fn series_with(&self, text: &str) -> Vec<&str> {
        self.samples.keys().filter(|series| series.contains(text)).map(String::as_str).collect()
    }
}

/// `a="1",b="2"`, whose values may hold commas and braces, and quotes after a backslash.
fn read_labels(mut text: &str) -> Vec<String> {
    let mut labels = Vec::new();
    while !text.is_empty() {
        let (name, rest) = text.split_once("=\"").expect("a label has a quoted value");
        let name = name.trim_start_matches(',');
        assert!(!name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
        let mut escaped = false;
        let end = rest.bytes().position(|byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        });
        let end = end.expect("a value's quotes close");
        labels.push(format!("{name}=\"{}\"", &rest[..end]));
        text = &rest[end + 1..];
    }
    labels
}
