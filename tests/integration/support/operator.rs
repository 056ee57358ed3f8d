//! An operator: keys, the tokens that they sign in every right and wrong way, and calls of the admin API.

use std::sync::LazyLock;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256, SignatureAlgorithm};
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use turnpike::admin::keys::key_id;
use turnpike::config::AdminAddress;

/// One pair of keys, of one algorithm.
pub struct SigningKey {
    pub algorithm: Algorithm,
    pub private_pem: String,
    pub public_pem: String,
    pub id: String,
}

impl SigningKey {
    fn create(algorithm: Algorithm, kind: &'static SignatureAlgorithm) -> Self {
        let pair = KeyPair::generate_for(kind).unwrap();
        let (private_pem, public_pem) = (pair.serialize_pem(), pair.public_key_pem());
        Self { algorithm, id: key_id(&public_pem).unwrap(), private_pem, public_pem }
    }

    fn encoding_key(&self) -> EncodingKey {
        let pem = self.private_pem.as_bytes();
        let key = match self.algorithm {
            Algorithm::EdDSA => EncodingKey::from_ed_pem(pem),
            Algorithm::ES256 => EncodingKey::from_ec_pem(pem),
            _ => EncodingKey::from_rsa_pem(pem),
        };
        key.unwrap()
    }

    /// A token with this payload, as the key's holder would sign it.
    pub fn sign(&self, payload: &Value) -> String {
        self.sign_as(&self.id, payload)
    }

    /// The same under another key's id.
    pub fn sign_as(&self, id: &str, payload: &Value) -> String {
        let mut header = Header::new(self.algorithm);
        header.kid = Some(id.to_owned());
        self.sign_with(&header, payload)
    }

    pub fn sign_with(&self, header: &Header, payload: &Value) -> String {
        encode(header, payload, &self.encoding_key()).unwrap()
    }
}

pub static ED25519: LazyLock<SigningKey> =
    LazyLock::new(|| SigningKey::create(Algorithm::EdDSA, &PKCS_ED25519));
pub static P256: LazyLock<SigningKey> =
    LazyLock::new(|| SigningKey::create(Algorithm::ES256, &PKCS_ECDSA_P256_SHA256));
pub static RSA: LazyLock<SigningKey> =
    LazyLock::new(|| SigningKey::create(Algorithm::RS256, &PKCS_RSA_SHA256));
/// Nobody's.
pub static STRANGER: LazyLock<SigningKey> =
    LazyLock::new(|| SigningKey::create(Algorithm::EdDSA, &PKCS_ED25519));

/// The keys that a gateway made with `admin_keys` believes, by their files' names.
pub fn signing_keys() -> [(&'static str, &'static SigningKey); 3] {
    [("ed25519.pem", &ED25519), ("p256.pem", &P256), ("rsa.pem", &RSA)]
}

/// What a good token says: every scope, every tenant, for a minute.
pub fn payload() -> Value {
    let now = get_current_timestamp();
    json!({
        "iss": "turnpike",
        "aud": "turnpike-admin",
        "sub": "jdoe",
        "iat": now,
        "exp": now + 60,
        "scope": "tenants:read tenants:write tokens:write batches:write config:reload metrics:read",
        "tenants": ["*"],
    })
}

/// A good payload with some members changed, or taken out where they are null.
pub fn payload_with(changes: Value) -> Value {
    let mut payload = payload();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            payload.as_object_mut().unwrap().remove(name);
        } else {
            payload[name] = value.clone();
        }
    }
    payload
}

/// Somebody who calls the admin API.
pub struct TestOperator {
    client: Client,
    base: String,
    token: Option<String>,
}

impl TestOperator {
    /// With a good token over TCP; over a Unix socket without any.
    pub fn at(address: &AdminAddress) -> Self {
        let builder = Client::builder().no_proxy();
        match address {
            AdminAddress::Tcp(address) => Self {
                client: builder.build().unwrap(),
                base: format!("http://{address}"),
                token: Some(ED25519.sign(&payload())),
            },
            AdminAddress::Unix(path) => Self {
                client: builder.unix_socket(path.clone()).build().unwrap(),
                base: "http://localhost".to_owned(),
                token: None,
            },
        }
    }

    pub fn with_token(mut self, token: Option<String>) -> Self {
        self.token = token;
        self
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub async fn get(&self, path: &str) -> Reply {
        Reply::read(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Reply {
        Reply::read(self.request(Method::POST, path).json(&body)).await
    }
}

/// An answer of the admin API.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub challenge: Option<String>,
    pub allow: Option<String>,
    pub content_type: String,
    pub body: Value,
}

impl Reply {
    pub async fn read(request: RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        let header =
            |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let (challenge, allow) = (header("www-authenticate"), header("allow"));
        let content_type = header("content-type").unwrap_or_default();
        let status = response.status();
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Self { status, challenge, allow, content_type, body }
    }

    /// The body of an answer that must be 200 or 202.
    pub fn done(self) -> Value {
        assert!(self.status.is_success(), "{self:?}");
        self.body
    }
}
