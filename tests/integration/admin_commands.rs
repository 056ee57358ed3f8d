//! `turnpike operator`, and what `check` and `serve` say of the operators' part of the configuration.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::json;
use turnpike::config::AdminAddress;

use crate::support::operator::{ED25519, P256, RSA};
use crate::support::{TestGateway, TestOperator, turnpike};

#[tokio::test]
async fn a_key_and_a_token_made_by_the_command_open_the_api() {
    let directory = tempfile::tempdir().unwrap();
    let keys = directory.path().join("keys");
    let made = turnpike(Path::new("-"), &format!("operator keygen --out {}", keys.display())).await;
    let again = turnpike(Path::new("-"), &format!("operator keygen --out {}", keys.display())).await;
    let key = keys.join("operator.key");
    let private = fs::read_to_string(&key).unwrap();
    let token = turnpike(
        Path::new("-"),
        &format!(
            "operator token --key {} --subject jdoe --scope tenants:read batches:write --tenant A --expires-in 10m",
            key.display()
        ),
    )
    .await;
    let gateway = TestGateway::with_tenants(["A", "B"])
        .gateway_setting(&format!(
            "admin_listen = \"127.0.0.1:0\"\noperator_keys = [{:?}]",
            keys.join("operator.pem")
        ))
        .start()
        .await;
    let operator =
        |token: &str| TestOperator::at(gateway.admin.as_ref().unwrap()).with_token(Some(token.to_owned()));

    let listed = operator(token.output().trim_end()).get("/admin/v1/tenants").await.done();
    let drained = operator(token.output().trim_end()).post("/admin/v1/drain", json!({"reason": "x"})).await;

    assert_eq!(made.code, Some(0), "{made:?}");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!((again.code, again.stderr.contains("is there already")), (Some(1), true), "{again:?}");
    assert_eq!(fs::read_to_string(&key).unwrap(), private, "nothing is overwritten");
    assert_eq!(token.stdout.lines().count(), 1, "the token and nothing else");
    assert_eq!(listed["tenants"].as_array().unwrap().len(), 1);
    assert_eq!(listed["tenants"][0]["tenant"], json!("A"));
    assert_eq!(drained.status, 403);
}

#[tokio::test]
async fn keys_of_every_kind_make_tokens() {
    let directory = tempfile::tempdir().unwrap();
    let gateway = TestGateway::with_tenants(["A"]).admin_keys("127.0.0.1:0").start().await;
    for key in [&*ED25519, &*P256, &*RSA] {
        let file = directory.path().join("private.key");
        fs::write(&file, &key.private_pem).unwrap();
        let arguments =
            format!("operator token --key {} --subject jdoe --scope tenants:read --tenant *", file.display());
        let token = turnpike(Path::new("-"), &arguments).await;

        let operator = TestOperator::at(gateway.admin.as_ref().unwrap());
        let reply =
            operator.with_token(Some(token.output().trim_end().to_owned())).get("/admin/v1/tenants").await;

        assert_eq!(reply.status, 200, "{:?}", key.algorithm);
    }
}

#[tokio::test]
async fn what_cannot_sign_a_token_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let public = directory.path().join("public.pem");
    fs::write(&public, &ED25519.public_pem).unwrap();
    let arguments = |rest: &str| format!("operator token --key {} --subject jdoe {rest}", public.display());

    let no_private_key = turnpike(Path::new("-"), &arguments("--scope tenants:read")).await;
    let no_scope = turnpike(Path::new("-"), &arguments("")).await;
    let unknown_scope = turnpike(Path::new("-"), &arguments("--scope everything")).await;
    let no_glob = turnpike(Path::new("-"), &arguments("--scope tenants:read --tenant [A")).await;

    assert_eq!((no_private_key.code, no_private_key.stdout.as_str()), (Some(1), ""));
    assert!(no_private_key.stderr.contains("holds no private key"), "{no_private_key:?}");
    assert_eq!((no_scope.code, unknown_scope.code, no_glob.code), (Some(2), Some(2), Some(2)));
    assert!(unknown_scope.stderr.contains("config:reload"), "{unknown_scope:?}");
}

#[tokio::test]
async fn keys_that_cannot_be_used_are_faults() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let private = file("private.pem", &ED25519.private_pem);
    let nonsense = file("nonsense.pem", "canary");
    let no_set = file("set.json", "{}");
    let symmetric = file("oct.json", "{\"keys\":[{\"kty\":\"oct\",\"k\":\"Y2FuYXJ5\"}]}");
    for (setting, expected) in [
        (format!("operator_keys = [{private:?}]"), "holds a private key"),
        (format!("operator_keys = [{nonsense:?}]"), "holds no public key"),
        (format!("operator_jwks = {no_set:?}"), "is no JWK set"),
        (format!("operator_jwks = {symmetric:?}"), "no key that can be used"),
    ] {
        let setting = format!("admin_listen = \"127.0.0.1:0\"\n{setting}");
        let (directory, _databases) =
            TestGateway::with_tenants(["A"]).gateway_setting(&setting).prepare().await;
        let config = directory.path().join("tenants.toml");
        let checked = turnpike(&config, "check").await;
        let served = turnpike(&config, "serve").await;

        assert_eq!((checked.code, served.code), (Some(1), Some(1)), "{expected}");
        assert!(
            checked.stdout.contains("gateway.operator_keys") && checked.stdout.contains(expected),
            "{checked:?}"
        );
        assert!(served.stderr.contains(expected), "{served:?}");
        assert!(!served.stderr.contains("canary"), "no key's text is shown");
    }
}

#[tokio::test]
async fn a_public_address_is_refused_without_keys_and_served_over_tls_with_them() {
    let (directory, _databases) =
        TestGateway::with_tenants(["A"]).gateway_setting("admin_listen = \"0.0.0.0:0\"").prepare().await;
    let refused = turnpike(&directory.path().join("tenants.toml"), "serve").await;
    let gateway = TestGateway::with_tenants(["A"]).admin_keys("0.0.0.0:0").start().await;
    let Some(AdminAddress::Tcp(address)) = gateway.admin else { panic!("{:?}", gateway.admin) };
    let authority = fs::read(crate::support::gateway::authority()).unwrap();
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([reqwest::Certificate::from_pem(&authority).unwrap()])
        .build()
        .unwrap();
    let plain = reqwest::Client::builder().no_proxy().build().unwrap();

    let alive = client.get(format!("https://127.0.0.1:{}/livez", address.port())).send().await.unwrap();
    let in_the_clear = plain.get(format!("http://127.0.0.1:{}/livez", address.port())).send().await;

    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("gateway.admin_listen: must be a loopback address"), "{refused:?}");
    assert_eq!(alive.status(), 200);
    assert_eq!(alive.version(), reqwest::Version::HTTP_2);
    assert!(in_the_clear.is_err(), "{in_the_clear:?}");
}
