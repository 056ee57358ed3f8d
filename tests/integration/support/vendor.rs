//! A vendor who calls: over HTTPS, with a token, trusting the tests' certificate authority.

use std::net::SocketAddr;

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

    /// Calls the documented endpoint.
    pub async fn claim(&self) -> Answer {
        Answer::read(self.request().send().await.unwrap()).await.unwrap()
    }

    /// Calls with this body.
    pub async fn post(&self, body: &str) -> Answer {
        let request =
            self.client.post(&self.url).header(CONTENT_TYPE, "application/json").body(body.to_owned());
        Answer::read(request.send().await.unwrap()).await.unwrap()
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
