//! Cross-origin calls: the published sample is a browser's script, so its preflight must pass and its answers be readable.

use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, RequestBuilder, StatusCode};

use crate::support::{Answer, TestGateway};

/// The preflight that a browser sends before `XMLHttpRequest` with `Content-Type: application/json`.
fn preflight(gateway: &TestGateway, url: &str) -> RequestBuilder {
    gateway
        .vendor("A")
        .client
        .request(Method::OPTIONS, url)
        .header("Origin", "https://vendor.example")
        .header("Access-Control-Request-Method", "POST")
        .header("Access-Control-Request-Headers", "content-type")
}

async fn send(request: RequestBuilder) -> Answer {
    Answer::read(request.send().await.unwrap()).await.unwrap()
}

fn list(answer: &Answer, header: &str) -> Vec<String> {
    let value = answer.header(header).unwrap_or_else(|| panic!("no {header}"));
    value.split(',').map(|item| item.trim().to_ascii_lowercase()).collect()
}

#[tokio::test]
async fn the_published_browser_sample_may_call() {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 1).start().await;

    let answer = send(preflight(&gateway, &gateway.vendor("A").url)).await;

    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    assert_eq!(answer.text, "");
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert!(list(&answer, "access-control-allow-methods").contains(&"post".to_owned()));
    assert!(list(&answer, "access-control-allow-headers").contains(&"content-type".to_owned()));
    assert!(answer.header("access-control-max-age").is_some());
    assert_eq!(gateway.database("A").gateway_sessions().await, 0);
    assert_eq!(gateway.database("A").marked().await, 0);
}

#[tokio::test]
async fn a_preflight_does_not_tell_which_clients_there_are() {
    let gateway = TestGateway::with_tenants(["A"]).start().await;
    let url = gateway.vendor("A").url;

    let known = send(preflight(&gateway, &url)).await;
    let unknown = send(preflight(&gateway, &url.replace("/A/", "/NOBODY/"))).await;

    assert_eq!(known.status, unknown.status);
    assert_eq!(known.headers.keys().collect::<Vec<_>>(), unknown.headers.keys().collect::<Vec<_>>());
}

#[tokio::test]
async fn a_script_may_read_good_answers_and_refusals_with_their_headers() {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 1).start().await;
    let vendor = gateway.vendor("A");

    let good = send(vendor.request().header("Origin", "https://vendor.example")).await;
    let form = vendor.client.post(&vendor.url).header(CONTENT_TYPE, "text/plain").body("{}");
    let refused = send(form.header("Origin", "https://vendor.example")).await;

    assert_eq!(good.status, StatusCode::OK);
    assert_eq!(refused.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    for answer in [&good, &refused] {
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        let exposed = list(answer, "access-control-expose-headers");
        for header in
            ["batch-id", "batch-count", "ratelimit", "ratelimit-policy", "retry-after", "x-request-id"]
        {
            assert!(exposed.contains(&header.to_owned()), "{header} is not in {exposed:?}");
        }
    }
}

#[tokio::test]
async fn a_preflight_of_an_unknown_path_is_404() {
    let gateway = TestGateway::with_tenants(["A"]).start().await;

    let answer = send(preflight(&gateway, &gateway.url("/api/A/v1/violations/elsewhere"))).await;

    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert_eq!(answer.error_code(), 9009);
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
}
