//! Who may do what as an operator: every verb against every credential that isn't good enough, and against good ones.

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use turnpike::admin::operator::Scope;
use turnpike::admin::router::{OPERATIONS, Operation};
use turnpike::config::AdminAddress;

use crate::support::operator::{ED25519, P256, RSA, Reply, STRANGER, payload, payload_with};
use crate::support::{TestGateway, TestOperator};

const UNKNOWN_TENANT: &str = "There is no such tenant, or the token's tenants don't include it.";

/// A gateway of tenants A and B whose operators show tokens.
async fn start() -> (TestGateway, AdminAddress) {
    let gateway = TestGateway::with_tenants(["A", "B"]).admin_keys("127.0.0.1:0").start().await;
    let admin = gateway.admin.clone().unwrap();
    (gateway, admin)
}

fn protected() -> impl Iterator<Item = (&'static Operation, Scope)> {
    OPERATIONS.iter().filter_map(|operation| Some((operation, operation.scope?)))
}

/// Calls an operation at tenant A, with a number that isn't anything's and a body that says too little: whoever may call
/// is told so, and nothing happens.
async fn call(operator: &TestOperator, operation: &Operation) -> Reply {
    let path = operation.path.replace("{tenant}", "A").replace("{number}", "999999");
    match operation.method {
        Method::GET => operator.get(&path).await,
        _ => operator.post(&path, json!({"canary": true})).await,
    }
}

fn unsigned(header: Value) -> String {
    let part = |value: &Value| base64url(value.to_string().as_bytes());
    format!("{}.{}.", part(&header), part(&payload()))
}

/// RFC 4648, section 5, without padding.
fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            text.push(char::from(ALPHABET[(word >> (18 - 6 * place) & 63) as usize]));
        }
    }
    text
}

/// Tokens that prove nothing, and what is wrong with each.
fn bad_tokens() -> Vec<(&'static str, String)> {
    let now = get_current_timestamp();
    let good = ED25519.sign(&payload());
    let (signed, _signature) = good.rsplit_once('.').unwrap();
    let mut critical = Header::new(Algorithm::EdDSA);
    critical.crit = Some(vec!["exp".to_owned()]);
    let mut with_public_key_as_secret = Header::new(Algorithm::HS256);
    with_public_key_as_secret.kid = Some(ED25519.id.clone());
    let secret = EncodingKey::from_secret(ED25519.public_pem.as_bytes());
    let signed_by = |changes| ED25519.sign(&payload_with(changes));
    vec![
        ("no token at all", "canary".to_owned()),
        ("nonsense", "canary.canary.canary".to_owned()),
        ("another's key", STRANGER.sign_as(&ED25519.id, &payload())),
        ("a key that isn't configured", STRANGER.sign(&payload())),
        ("another algorithm's key", RSA.sign_as(&ED25519.id, &payload())),
        ("alg none", unsigned(json!({"alg": "none"}))),
        ("alg None", unsigned(json!({"alg": "None", "kid": ED25519.id}))),
        ("no signature", unsigned(json!({"alg": "EdDSA", "kid": ED25519.id}))),
        ("the public key as a secret", encode(&with_public_key_as_secret, &payload(), &secret).unwrap()),
        (
            "another payload's signature",
            format!("{signed}.{}", signed_by(json!({"sub": "x"})).rsplit_once('.').unwrap().1),
        ),
        ("a critical extension", ED25519.sign_with(&critical, &payload())),
        ("expired", signed_by(json!({"iat": now - 600, "exp": now - 300}))),
        ("no exp", signed_by(json!({"exp": null}))),
        ("no iat", signed_by(json!({"iat": null}))),
        ("not yet valid", signed_by(json!({"nbf": now + 300}))),
        ("another issuer", signed_by(json!({"iss": "canary"}))),
        ("no issuer", signed_by(json!({"iss": null}))),
        ("another audience", signed_by(json!({"aud": "canary"}))),
        ("no audience", signed_by(json!({"aud": null}))),
        ("nobody", signed_by(json!({"sub": null}))),
        ("a name that forges a line", signed_by(json!({"sub": "jdoe\nroot"}))),
        ("valid for ever", signed_by(json!({"exp": now + 86_400 * 400}))),
        ("a glob that is none", signed_by(json!({"tenants": ["[A"]}))),
        ("tenants that are no list", signed_by(json!({"tenants": "*"}))),
    ]
}

#[tokio::test]
async fn without_a_good_token_no_verb_does_anything() {
    let (_gateway, admin) = start().await;
    for (operation, _) in protected() {
        let reply = call(&TestOperator::at(&admin).with_token(None), operation).await;

        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{}", operation.name);
        assert_eq!(reply.challenge.as_deref(), Some("Bearer realm=\"turnpike\""), "RFC 6750, section 3");
        assert_eq!(reply.content_type, "application/problem+json");
        for (fault, token) in bad_tokens() {
            let reply = call(&TestOperator::at(&admin).with_token(Some(token)), operation).await;

            assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{}: {fault}", operation.name);
            let challenge = reply.challenge.unwrap();
            assert!(
                challenge.contains("error=\"invalid_token\""),
                "{}: {fault}: {challenge}",
                operation.name
            );
        }
    }
}

#[tokio::test]
async fn a_token_is_no_password() {
    let (_gateway, admin) = start().await;
    let operator = TestOperator::at(&admin).with_token(None);
    let request = || operator.request(Method::GET, "/admin/v1/tenants");
    let token = ED25519.sign(&payload());

    let basic = Reply::read(request().basic_auth("jdoe", Some(&token))).await;
    let twice = Reply::read(request().bearer_auth(&token).bearer_auth(&token)).await;
    let in_query =
        Reply::read(operator.request(Method::GET, &format!("/admin/v1/tenants?access_token={token}"))).await;

    assert_eq!(basic.status, StatusCode::UNAUTHORIZED);
    assert_eq!(twice.status, StatusCode::UNAUTHORIZED);
    assert_eq!(in_query.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn every_verb_asks_for_its_scope() {
    let (_gateway, admin) = start().await;
    for (operation, scope) in protected() {
        let others: Vec<&str> =
            Scope::ALL.into_iter().filter(|other| *other != scope).map(Scope::as_str).collect();
        for scopes in [others.join(" "), String::new(), scope.as_str().to_uppercase()] {
            let token = ED25519.sign(&payload_with(json!({"scope": scopes})));
            let reply = call(&TestOperator::at(&admin).with_token(Some(token)), operation).await;

            assert_eq!(reply.status, StatusCode::FORBIDDEN, "{}: {scopes}", operation.name);
            let expected =
                format!("Bearer realm=\"turnpike\", error=\"insufficient_scope\", scope=\"{scope}\"");
            assert_eq!(reply.challenge, Some(expected), "{}", operation.name);
        }
        let token = ED25519.sign(&payload_with(json!({"scope": format!("openid {scope}")})));
        let reply = call(&TestOperator::at(&admin).with_token(Some(token)), operation).await;

        assert!(!matches!(reply.status.as_u16(), 401 | 403), "{}: {reply:?}", operation.name);
        assert_ne!(reply.body["detail"], json!(UNKNOWN_TENANT), "{}", operation.name);
    }
}

#[tokio::test]
async fn every_kind_of_key_signs() {
    let (_gateway, admin) = start().await;
    for key in [&*ED25519, &*P256, &*RSA] {
        let with_id = key.sign(&payload());
        let without_id = key
            .sign_with(&Header::new(key.algorithm), &payload_with(json!({"aud": ["x", "turnpike-admin"]})));
        for token in [with_id, without_id] {
            let reply = TestOperator::at(&admin).with_token(Some(token)).get("/admin/v1/tenants").await;

            assert_eq!(reply.status, StatusCode::OK, "{:?}: {reply:?}", key.algorithm);
        }
    }
}

#[tokio::test]
async fn a_tenant_outside_the_globs_is_answered_like_an_unknown_one() {
    let (_gateway, admin) = start().await;
    let bound = || protected().filter(|(operation, _)| operation.path.contains("{tenant}"));
    assert!(bound().count() >= 4);
    for (operation, _) in bound() {
        let unknown = operation.path.replace("{tenant}", "NOBODY").replace("{number}", "999999");
        let everybody = TestOperator::at(&admin);
        let unknown = match operation.method {
            Method::GET => everybody.get(&unknown).await,
            _ => everybody.post(&unknown, json!({"canary": true})).await,
        };
        for tenants in [json!(["B"]), json!(["b*", "?A", "AA"]), json!([]), json!(null)] {
            let token = ED25519.sign(&payload_with(json!({"tenants": tenants})));
            let outside = call(&TestOperator::at(&admin).with_token(Some(token)), operation).await;

            assert_eq!(outside.status, StatusCode::NOT_FOUND, "{}: {tenants}", operation.name);
            assert_eq!(outside.body["detail"], json!(UNKNOWN_TENANT));
            assert_eq!((outside.status, &outside.body["detail"]), (unknown.status, &unknown.body["detail"]));
        }
    }
}

#[tokio::test]
async fn a_list_shows_the_tenants_that_the_token_is_for() {
    let (_gateway, admin) = start().await;
    for (tenants, expected) in [
        (json!(["*"]), json!(["A", "B"])),
        (json!(["B"]), json!(["B"])),
        (json!(["[A]"]), json!(["A"])),
        (json!(null), json!([])),
    ] {
        let token = ED25519.sign(&payload_with(json!({"tenants": tenants})));
        let listed = TestOperator::at(&admin).with_token(Some(token)).get("/admin/v1/tenants").await.done();

        let listed: Vec<&Value> =
            listed["tenants"].as_array().unwrap().iter().map(|t| &t["tenant"]).collect();
        assert_eq!(json!(listed), expected, "{tenants}");
    }
}

#[tokio::test]
async fn over_tcp_without_keys_the_api_says_what_to_configure() {
    let gateway =
        TestGateway::with_tenants(["A"]).gateway_setting("admin_listen = \"127.0.0.1:0\"").start().await;
    let admin = gateway.admin.clone().unwrap();
    for (operation, _) in protected().filter(|(_, scope)| *scope != Scope::MetricsRead) {
        let reply = call(&TestOperator::at(&admin), operation).await;

        assert_eq!(reply.status, StatusCode::FORBIDDEN, "{}", operation.name);
        assert!(reply.body["detail"].as_str().unwrap().contains("operator_keys"), "{reply:?}");
    }
    let alive = TestOperator::at(&admin).with_token(None).get("/livez").await;
    assert_eq!((alive.status, alive.body), (StatusCode::OK, json!("alive\n")));
    let scraped = TestOperator::at(&admin).with_token(None).get("/metrics").await;
    assert_eq!(scraped.status, StatusCode::OK, "who reaches a loopback address may see numbers");
}

#[tokio::test]
async fn keys_come_from_a_jwk_set_too() {
    let directory = tempfile::tempdir().unwrap();
    let jwk = |key: &crate::support::operator::SigningKey, id: &str, usage: &str| {
        let decoding = jsonwebtoken::DecodingKey::from_ed_pem(key.public_pem.as_bytes()).unwrap();
        let jwk = jsonwebtoken::jwk::Jwk::from_decoding_key(&decoding, Some(Algorithm::EdDSA)).unwrap();
        let mut jwk = serde_json::to_value(&jwk).unwrap();
        (jwk["kid"], jwk["use"]) = (json!(id), json!(usage));
        jwk
    };
    let secret =
        json!({"kty": "oct", "kid": "symmetric", "alg": "HS256", "k": "Y2FuYXJ5LWNhbmFyeS1jYW5hcnk"});
    let set = json!({"keys": [jwk(&ED25519, "of-the-provider", "sig"), jwk(&STRANGER, "for-encryption", "enc"), secret]});
    let file = directory.path().join("jwks.json");
    std::fs::write(&file, set.to_string()).unwrap();
    let gateway = TestGateway::with_tenants(["A"])
        .gateway_setting(&format!("admin_listen = \"127.0.0.1:0\"\noperator_jwks = {file:?}"))
        .start()
        .await;
    let admin = gateway.admin.clone().unwrap();
    let symmetric = {
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some("symmetric".to_owned());
        encode(&header, &payload(), &EncodingKey::from_secret(b"canary-canary-canary")).unwrap()
    };
    for (token, expected) in [
        (ED25519.sign_as("of-the-provider", &payload()), StatusCode::OK),
        (STRANGER.sign_as("for-encryption", &payload()), StatusCode::UNAUTHORIZED),
        (symmetric, StatusCode::UNAUTHORIZED),
        (ED25519.sign_as("another", &payload()), StatusCode::UNAUTHORIZED),
    ] {
        let reply = TestOperator::at(&admin).with_token(Some(token)).get("/admin/v1/tenants").await;

        assert_eq!(reply.status, expected, "{reply:?}");
    }
}
