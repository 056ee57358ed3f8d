//! A vendor who calls: over HTTPS, with a token, trusting the tests' certificate authority.

use std::net::{IpAddr, SocketAddr};

use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Certificate, Client, ClientBuilder, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use super::gateway::authority;

/// A vendor of one tenant.
#[derive(Clone)]
pub struct Vendor {
    pub client: Client,
    pub url: String,
    pub token: String,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Vendor {
    pub fn new(gateway: SocketAddr, tenant: &str, token: &str) -> Self {
        let url = format!("https://{gateway}/api/{tenant}/v1/violations/send_overdue_to_collections");
        Self { client: client(), url, token: token.to_owned() }
    }

    /// Calls from another address of this machine.
    pub fn calling_from(mut self, address: IpAddr) -> Self {
        self.client = client_builder().local_address(address).build().unwrap();
        self
    }

    pub fn with_token(mut self, token: &str) -> Self {
        token.clone_into(&mut self.token);
        self
    }

    /// The documented request, to be changed or sent.
    pub fn request(&self) -> RequestBuilder {
        self.client
            .post(&self.url)
            .header(CONTENT_TYPE, "application/json")
            .body(json!({ "apiToken": self.token }).to_string())
    }

    /// The documented request with more attributes beside the token.
    pub fn request_with(&self, attributes: Value) -> RequestBuilder {
        self.request_to("send_overdue_to_collections", attributes)
    }

    /// A POST to another operation, `…/violations/OPERATION`.
    pub fn request_to(&self, operation: &str, mut attributes: Value) -> RequestBuilder {
        attributes["apiToken"] = json!(self.token);
        self.client
            .post(self.url_of(operation))
            .header(CONTENT_TYPE, "application/json")
            .body(attributes.to_string())
    }

    pub fn url_of(&self, operation: &str) -> String {
        self.url.replace("send_overdue_to_collections", operation)
    }

    /// Calls the documented endpoint.
    pub async fn claim(&self) -> Answer {
        Answer::to(self.request()).await
    }

    /// Calls with more attributes than the documented one.
    pub async fn claim_with(&self, attributes: Value) -> Answer {
        Answer::to(self.request_with(attributes)).await
    }

    /// Calls with an `Idempotency-Key`.
    pub async fn claim_with_key(&self, key: &str) -> Answer {
        Answer::to(self.request().header("Idempotency-Key", key)).await
    }

    /// Calls another operation by POST.
    pub async fn post(&self, operation: &str, attributes: Value) -> Answer {
        Answer::to(self.request_to(operation, attributes)).await
    }

    /// Calls another operation by GET, the token in `Authorization`.
    pub async fn get(&self, operation: &str) -> Answer {
        Answer::to(self.client.get(self.url_of(operation)).bearer_auth(&self.token)).await
    }
}

/// HTTP/2 or HTTP/1.1 by ALPN, no proxies, nothing decompressed.
pub fn client() -> Client {
    client_builder().build().unwrap()
}

/// HTTP/1.1 alone.
pub fn http1_client() -> Client {
    client_builder().http1_only().build().unwrap()
}

fn client_builder() -> ClientBuilder {
    let pem = std::fs::read(authority()).unwrap();
    Client::builder().no_proxy().tls_certs_only([Certificate::from_pem(&pem).unwrap()])
}

impl Answer {
    /// The whole answer to a request.
    pub async fn to(request: RequestBuilder) -> Self {
        Self::read(request.send().await.unwrap()).await.unwrap()
    }

    /// Reads the body to its end; an error where it doesn't end as it should.
    pub async fn read(response: Response) -> reqwest::Result<Self> {
        let (status, headers) = (response.status(), response.headers().clone());
        Ok(Self { status, headers, text: response.text().await? })
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The document up to its `state`, byte for byte: what a replay repeats.
    pub fn records_text(&self) -> &str {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text);
        self.text.rsplit_once("],\"state\":").expect("a whole document").0
    }

    /// `records`, of an answer that must be a good one.
    pub fn records(&self) -> Vec<Value> {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text);
        self.json()["records"].as_array().expect("records is a list").clone()
    }

    /// The records' tickets.
    pub fn tickets(&self) -> Vec<String> {
        self.records().iter().map(|record| record["Ticket"].as_str().unwrap().to_owned()).collect()
    }

    /// `ErrorCode` of a refusal.
    pub fn error_code(&self) -> i64 {
        self.json()["ErrorCode"].as_i64().unwrap_or_else(|| panic!("no ErrorCode: {}", self.text))
    }
}
