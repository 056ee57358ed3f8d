//! The APIs as they are described: the documents are the code's, what is served fits them, and so do the databases.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::timeout;
use tokio_postgres::types::Type;
use turnpike::admin::openapi as admin;
use turnpike::config::AdminAddress;
use turnpike::database::{Statement, statements as sql};
use turnpike::openapi::{render, vendor};
use turnpike::records::{Form, columns};

use crate::support::gateway::authority;
use crate::support::operator::{ED25519, payload};
use crate::support::{TOKEN, TestGateway, TestOperator, turnpike};

const SEED: &str = "20261124";

#[test]
fn the_documents_in_docs_are_the_codes() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    for (whose, document) in [("vendor", vendor::document()), ("admin", admin::document())] {
        let kept = std::fs::read_to_string(docs.join(format!("openapi-{whose}.json"))).unwrap();

        assert!(
            kept == render(&document),
            "make it anew: turnpike openapi {whose} > docs/openapi-{whose}.json"
        );
    }
}

#[tokio::test]
async fn both_documents_are_served_without_a_token_or_a_connection() {
    let gateway =
        TestGateway::with_tenants(["A"]).gateway_setting("admin_listen = \"127.0.0.1:0\"").start().await;
    let client = gateway.vendor("A").client;
    let url = gateway.url("/api/openapi.json");

    let vendors = client.get(&url).send().await.unwrap();
    let content_type = vendors.headers()["content-type"].clone();
    let vendors: Value = vendors.json().await.unwrap();
    let posted = client.post(&url).send().await.unwrap();
    let operators = TestOperator::at(gateway.admin.as_ref().unwrap()).with_token(None);
    let operators = operators.get("/admin/v1/openapi.json").await.done();

    assert_eq!(content_type, "application/json");
    assert_eq!(vendors, serde_json::from_str::<Value>(&render(&vendor::document())).unwrap());
    assert_eq!(operators, serde_json::from_str::<Value>(&render(&admin::document())).unwrap());
    assert_eq!(
        (posted.status().as_u16(), &posted.headers()["allow"]),
        (405, &"GET, HEAD, OPTIONS".parse().unwrap())
    );
    assert_eq!(gateway.database("A").gateway_sessions().await, 0);
}

#[tokio::test]
async fn a_described_column_is_what_the_server_says_of_it() {
    let gateway = TestGateway::with_tenants(["A"]).start().await;
    let session = gateway.database("A").session().await;
    let objects: [&Statement; 13] = [
        &sql::VIOLATIONS,
        &sql::VEHICLES,
        &sql::PEOPLE,
        &sql::DETAILS,
        &sql::ATTACHMENTS,
        &sql::VEHICLE_MAKES,
        &sql::VEHICLE_COLOURS,
        &sql::VEHICLE_TYPES,
        &sql::PLATE_TYPES,
        &sql::PROVINCES,
        &sql::LOCATIONS,
        &sql::TICKET_CATEGORIES,
        &sql::VIOLATION_TYPES,
    ];
    for statement in objects {
        let prepared = session.prepare_typed(statement.sql, statement.parameters).await.unwrap();
        let described = columns(statement);

        let said: Vec<&str> = prepared.columns().iter().map(tokio_postgres::Column::name).collect();
        let read: Vec<&str> = described.iter().map(|column| column.name.as_str()).collect();
        assert_eq!(read, said, "{}", statement.name);
        for (column, said) in described.iter().zip(prepared.columns()) {
            let expected = match column.form {
                Form::Integer => Type::INT4,
                Form::Flag => Type::INT2,
                Form::Boolean => Type::BOOL,
                Form::Number => Type::NUMERIC,
                Form::Timestamp => Type::TIMESTAMPTZ,
                Form::Decimal | Form::Text => Type::TEXT,
                Form::Uuid => Type::UUID,
            };
            assert_eq!(said.type_(), &expected, "{}: {}", statement.name, column.name);
        }
    }
}

/// schemathesis of the version in tests/schemathesis, installed where it isn't there yet.
async fn schemathesis() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schemathesis/install.sh");
    let installed = Command::new(script).arg(target).output().await.unwrap();
    assert!(
        installed.status.success(),
        "schemathesis isn't there and can't be installed; see tests/schemathesis/install.sh: {}",
        String::from_utf8_lossy(&installed.stderr)
    );
    target.join("schemathesis/bin/schemathesis")
}

/// Has schemathesis call what a document describes; gives what it found.
async fn check(document: &str, base: &str, token: Option<&str>, settings: &[&str]) -> (bool, String) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("openapi.json");
    std::fs::write(&file, document).unwrap();
    let hooks = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schemathesis/hooks.py");
    let mut command = Command::new(schemathesis().await);
    let configuration = hooks.with_file_name("schemathesis.toml");
    command
        .args(["--config-file", configuration.to_str().unwrap()])
        .args(["run", file.to_str().unwrap(), "--url", base, "--tls-verify", authority().to_str().unwrap()])
        .args(["--checks", "all", "--phases", "examples,coverage,fuzzing", "--max-examples", "20"])
        .args(["--seed", SEED, "--continue-on-failure", "--generation-database", "none"])
        .args(["--no-color", "--output-sanitize", "false", "--suppress-health-check", "all"])
        .args(settings)
        .current_dir(directory.path())
        .env("SCHEMATHESIS_HOOKS", hooks)
        .env("TURNPIKE_PATH", json!({"client": "A", "tenant": "A", "batch": 1, "number": 1}).to_string())
        .env("NO_PROXY", "*")
        .kill_on_drop(true);
    if let Some(token) = token {
        command.env("TURNPIKE_TOKEN", token);
    }
    let output = timeout(Duration::from_secs(240), command.output()).await.expect("it ends").unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (output.status.success(), said.join("\n"))
}

async fn start() -> TestGateway {
    let gateway = TestGateway::with_tenants(["A", "B"])
        .admin_keys("127.0.0.1:0")
        .gateway_setting("failures_per_address = \"none\"")
        .start()
        .await;
    turnpike(&gateway.config_file(), "sample --tenant A --violations 20").await.output();
    gateway.database("A").fill_every_column("text").await;
    gateway
}

#[tokio::test]
async fn the_vendors_plane_is_as_it_is_described() {
    let gateway = start().await;

    // A GET's; a POST has it in its body.
    let header = format!("Authorization: Bearer {TOKEN}");
    let settings = ["--header", header.as_str()];
    let (fits, said) = check(&render(&vendor::document()), &gateway.url(""), Some(TOKEN), &settings).await;

    assert!(fits, "{said}");
    let batches = gateway.database("A").batch_states().await;
    assert!(batches.contains(&"released".to_owned()), "records were read: {batches:?}");
}

#[tokio::test]
async fn the_operators_plane_is_as_it_is_described() {
    let gateway = start().await;
    gateway.vendor("A").claim().await;
    let Some(AdminAddress::Tcp(address)) = &gateway.admin else { panic!("{:?}", gateway.admin) };
    let header = format!("Authorization: Bearer {}", ED25519.sign(&payload_for_an_hour()));

    let settings = ["--header", header.as_str()];
    let (fits, said) =
        check(&render(&admin::document()), &format!("http://{address}"), None, &settings).await;

    assert!(fits, "{said}");
    let requeued = gateway.database("A").query("SELECT requeued_by FROM collection_batches", &[]).await;
    assert_eq!(requeued[0].get::<_, Option<&str>>(0), Some("jdoe"), "writes were done");
}

fn payload_for_an_hour() -> Value {
    let mut payload = payload();
    payload["exp"] = json!(payload["iat"].as_u64().unwrap() + 3_600);
    payload
}

#[tokio::test]
async fn a_document_that_says_another_thing_is_found_out() {
    let gateway = start().await;
    let described = render(&vendor::document()).replacen("\"next\"", "\"next_page\"", 2);
    assert_ne!(described, render(&vendor::document()));

    let settings = ["--include-path", "/api/{client}/v1/violations/collection_batches"];
    let (fits, said) = check(&described, &gateway.url(""), Some(TOKEN), &settings).await;

    assert!(!fits, "{said}");
    assert!(said.contains("next_page"), "{said}");
}
