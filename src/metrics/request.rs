//! What one request adds to the metrics when it has ended.

/// The phases that a request's log line measures, in the order of [`RequestEnd::phases`].
pub const PHASES: [&str; 4] = ["authenticate", "claim", "deliver", "release"];

/// A request that has ended. Every text is one of ours, and there are few of each: what a caller made up makes no series.
#[derive(Debug, Default)]
pub struct RequestEnd {
    /// The path's template; None for a path that means nothing.
    pub route: Option<&'static str>,
    pub method: &'static str,
    pub status: Option<u16>,
    pub outcome: Option<&'static str>,
    /// `ErrorCode` of a refusal
    pub error_code: Option<u16>,
    /// What a call for violations came to: `batch`, `empty`, `replay`, `preview`.
    pub claim: Option<&'static str>,
    pub records: u64,
    pub bytes: u64,
    pub phases: [Option<f64>; 4],
    pub seconds: f64,
}

impl RequestEnd {
    /// `2xx` and so on: a histogram's statuses.
    pub fn status_class(&self) -> &'static str {
        match self.status {
            None => "none",
            Some(..=199) => "1xx",
            Some(200..=299) => "2xx",
            Some(300..=399) => "3xx",
            Some(400..=499) => "4xx",
            Some(500..) => "5xx",
        }
    }
}
