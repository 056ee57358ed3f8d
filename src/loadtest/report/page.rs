//! A report as a page that needs nothing else: no script, no style sheet, no font and no picture from anywhere.
//!
//! The template escapes all that comes from configurations and gateways; the charts alone are put in as they are.

use askama::Template;

use super::charts::{self, Chart};
use super::{Latency, Report, TenantReport, bytes, milliseconds, text};

#[derive(Template)]
#[template(path = "loadtest.html")]
struct Page<'a> {
    report: &'a Report,
    title: String,
    figures: Vec<(&'static str, String)>,
    latencies: Vec<[String; 8]>,
    tenants: Vec<[String; 9]>,
    charts: Vec<(&'static str, &'static str, Chart)>,
    warnings: Vec<String>,
}

/// The page's text.
pub fn render(report: &Report) -> String {
    let page = Page {
        report,
        title: text::title(report),
        figures: figures(report),
        latencies: latencies(report),
        tenants: tenants(report),
        charts: charts(report),
        warnings: report.warnings(),
    };
    page.render().expect("a template whose values all have a text renders")
}

fn figures(report: &Report) -> Vec<(&'static str, String)> {
    let of = |of: fn(&Latency) -> f64| {
        report.latency_ms.as_ref().map_or_else(|| "none".to_owned(), |latency| milliseconds(of(latency)))
    };
    vec![
        ("answers a second", format!("{:.1}", report.answered_per_second)),
        ("median", of(|latency| latency.p50)),
        ("p90", of(|latency| latency.p90)),
        ("p99", of(|latency| latency.p99)),
        ("failed", format!("{} of {}", report.failed, report.calls)),
        ("received", bytes(report.bytes as f64)),
    ]
}

fn charts(report: &Report) -> Vec<(&'static str, &'static str, Chart)> {
    if report.calls == 0 {
        return Vec::new();
    }
    let mut charts = Vec::new();
    if report.latency_ms.is_some() {
        charts.push((
            "Latency over time",
            "By the moment at which a call was due. A stall shows in every call that was due while it lasted.",
            charts::latency_over_time(report),
        ));
    }
    charts.push(("Rate over time", "By the moment at which a call was due.", charts::rate_over_time(report)));
    if report.latency_ms.is_some() {
        charts.push((
            "Latency distribution",
            "So much of the calls took no longer than this.",
            charts::distribution(report),
        ));
    }
    charts
}

fn latencies(report: &Report) -> Vec<[String; 8]> {
    let rows = [
        ("from when due to the last byte (latency)", &report.latency_ms),
        ("from when made to the answer's head", &report.head_ms),
        ("from when due to when made (own lag)", &report.lag_ms),
    ];
    let row = |(name, latency): (&str, &Option<Latency>)| {
        let it = latency.as_ref()?;
        let [min, mean, p50, p90, p99, p999, max] =
            [it.min, it.mean, it.p50, it.p90, it.p99, it.p999, it.max].map(milliseconds);
        Some([name.to_owned(), min, mean, p50, p90, p99, p999, max])
    };
    rows.into_iter().filter_map(row).collect()
}

fn tenants(report: &Report) -> Vec<[String; 9]> {
    let row = |tenant: &TenantReport| {
        let it = tenant.latency_ms.as_ref();
        let [p50, p90, p99, max] = match it {
            Some(it) => [it.p50, it.p90, it.p99, it.max].map(milliseconds),
            None => ["–"; 4].map(str::to_owned),
        };
        let [answered, failed, records] =
            [tenant.answered, tenant.failed, tenant.records].map(|count| count.to_string());
        [tenant.tenant.clone(), answered, failed, records, bytes(tenant.bytes as f64), p50, p90, p99, max]
    };
    report.tenants.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::report_of;
    use super::*;

    #[test]
    fn a_page_refers_to_nothing_outside() {
        let page = render(&report_of(1000, 20, 12.5));

        for reference in ["http:", "https:", "src=", "href=", "@import", "url(", "<script", "<link"] {
            assert!(!page.contains(reference), "{reference}");
        }
        assert_eq!(page.matches("<svg").count(), 3);
        assert_eq!(page.matches("</svg>").count(), 3);
    }

    #[test]
    fn what_others_name_is_escaped() {
        let mut report = report_of(10, 0, 1.0);
        report.tenants[0].tenant = "<script>alert(1)</script>".to_owned();
        report.gateway = "\"><img src=x>".to_owned();

        let page = render(&report);

        assert!(!page.contains("<script") && !page.contains("<img"), "{page}");
        assert!(page.contains("&#60;script&#62;"), "it is told, though");
    }

    #[test]
    fn a_run_without_answers_has_a_page_too() {
        let none = render(&report_of(0, 0, 1.0));
        let refused = render(&report_of(0, 7, 1.0));

        assert!(!none.contains("<svg"));
        assert_eq!(refused.matches("<svg").count(), 1, "its rate of errors");
        assert!(refused.contains("503 with ErrorCode 9104"));
    }
}
