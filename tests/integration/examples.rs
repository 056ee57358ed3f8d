//! The scripts in docs/examples, which vendors are told to call with: run as they are, against a gateway.

use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::time::timeout;

use crate::support::gateway::authority;
use crate::support::{TOKEN, TestGateway};

const VIOLATIONS: i32 = 120;

/// One of the scripts, and a directory for what it collects.
struct Example {
    program: &'static str,
    script: PathBuf,
    directory: TempDir,
}

fn examples() -> [Example; 3] {
    let examples =
        [("sh", "collect.sh", "curl"), ("python3", "collect.py", "python3"), ("php", "collect.php", "php")];
    examples.map(|(program, name, needs)| {
        let there = std::process::Command::new(needs).arg("--version").output().is_ok();
        assert!(
            there,
            "docs/examples/{name} needs {needs}, which isn't on PATH: run deploy/install-postgres.sh"
        );
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples").join(name);
        Example { program, script, directory: tempfile::tempdir().unwrap() }
    })
}

impl Example {
    async fn run(&self, port: u16, arguments: &[&str]) -> Output {
        let mut command = Command::new(self.program);
        command
            .arg(&self.script)
            .arg(format!("https://127.0.0.1:{port}/api/A"))
            .arg(self.directory.path())
            .args(arguments)
            .env("TURNPIKE_TOKEN", TOKEN)
            .env("TURNPIKE_PATIENCE", "60")
            .env("SSL_CERT_FILE", authority())
            .env("no_proxy", "*")
            .env_remove("CURL_CA_BUNDLE")
            .kill_on_drop(true);
        timeout(Duration::from_secs(120), command.output()).await.expect("a script that ends").unwrap()
    }

    /// What it printed, after a run that must have succeeded.
    async fn collect(&self, port: u16, arguments: &[&str]) -> String {
        let output = self.run(port, arguments).await;
        assert_eq!(output.status.code(), Some(0), "{}: {output:?}", self.script.display());
        String::from_utf8(output.stdout).unwrap()
    }

    /// The files that a run left behind, without the lock.
    fn files(&self) -> Vec<String> {
        let entries = self.directory.path().read_dir().unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name != "lock");
        names.sort();
        names
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.directory.path().join(name), text).unwrap();
    }

    /// The tickets of a document that was kept.
    fn tickets(&self, file: &str) -> Vec<String> {
        let path = self.directory.path().join(file);
        assert_eq!(
            path.metadata().unwrap().permissions().mode() & 0o077,
            0,
            "personal data is the owner's alone"
        );
        let document: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let records = document["records"].as_array().unwrap();
        records.iter().map(|record| record["Ticket"].as_str().unwrap().to_owned()).collect()
    }
}

fn all_tickets() -> Vec<String> {
    (1..=VIOLATIONS).map(|number| format!("T-{number}")).collect()
}

async fn gateway() -> TestGateway {
    TestGateway::with_tenants(["A"]).overdue("A", VIOLATIONS).start().await
}

async fn acknowledged(gateway: &TestGateway) -> i64 {
    gateway
        .database("A")
        .count("SELECT count(*) FROM collection_batches WHERE state = 'released' AND acknowledged_at IS NOT NULL")
        .await
}

#[tokio::test]
async fn a_run_keeps_all_violations_and_acknowledges_and_the_next_finds_nothing() {
    for example in examples() {
        let gateway = gateway().await;
        let port = gateway.address.port();

        let first = example.collect(port, &[]).await;
        let kept = example.files();
        let second = example.collect(port, &[]).await;

        assert_eq!(first, format!("batch 1: {VIOLATIONS} records, acknowledged\n"));
        assert_eq!(kept, ["batch-1.json"]);
        assert_eq!(example.tickets("batch-1.json"), all_tickets());
        assert_eq!(acknowledged(&gateway).await, 1);
        assert_eq!(second, "nothing to collect\n");
        assert_eq!(example.files(), ["batch-1.json"]);
    }
}

#[tokio::test]
async fn a_broken_off_answer_is_called_for_again() {
    for example in examples() {
        let gateway = gateway().await;
        let comments = "UPDATE violations SET \"Comment\" = repeat('x, ', 30000)";
        gateway.database("A").execute(comments).await;
        let port = breaking_once(gateway.address.port(), 1_000_000).await;

        let output = example.run(port, &[]).await;

        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("trying again"), "{output:?}");
        let [kept] = example.files().try_into().expect("one document");
        assert_eq!(example.tickets(&kept), all_tickets());
        assert_eq!(gateway.database("A").batch_states().await, ["void", "released"]);
        assert_eq!(acknowledged(&gateway).await, 1);
    }
}

#[tokio::test]
async fn a_run_that_was_killed_is_taken_up_by_the_next() {
    for example in examples() {
        let gateway = gateway().await;
        let request = gateway.vendor("A").request().header("idempotency-key", "of-a-run-that-was-killed");
        let lost = request.send().await.unwrap().bytes().await.unwrap();
        example.write("key", "of-a-run-that-was-killed\n");

        let taken_up = example.collect(gateway.address.port(), &[]).await;

        assert!(!lost.is_empty());
        assert_eq!(taken_up, format!("batch 1: {VIOLATIONS} records, acknowledged\n"));
        assert_eq!(example.files(), ["batch-1.json"]);
        assert_eq!(example.tickets("batch-1.json"), all_tickets());
        assert_eq!(gateway.database("A").batch_states().await, ["released"]);
    }
}

#[tokio::test]
async fn what_an_earlier_run_did_not_acknowledge_is_acknowledged_first() {
    for example in examples() {
        let gateway = gateway().await;
        gateway.vendor("A").claim().await;
        example.write("outstanding", &format!("1 {VIOLATIONS}\n"));

        let output = example.collect(gateway.address.port(), &[]).await;

        assert_eq!(output, format!("batch 1: {VIOLATIONS} records, acknowledged\nnothing to collect\n"));
        assert_eq!(acknowledged(&gateway).await, 1);
        assert_eq!(example.files(), [""; 0]);
    }
}

#[tokio::test]
async fn a_lost_file_is_fetched_again_by_its_batch() {
    for example in examples() {
        let gateway = gateway().await;
        let port = gateway.address.port();
        example.collect(port, &[]).await;
        std::fs::remove_file(example.directory.path().join("batch-1.json")).unwrap();

        example.collect(port, &["1"]).await;
        let unknown = example.run(port, &["2"]).await;

        assert_eq!(example.tickets("batch-1.json"), all_tickets());
        assert_eq!(unknown.status.code(), Some(1), "{unknown:?}");
        assert!(String::from_utf8_lossy(&unknown.stderr).contains("9009"), "{unknown:?}");
    }
}

#[tokio::test]
async fn a_gateway_that_is_called_too_often_is_called_again_later() {
    let runs = examples().map(async |example| {
        let gateway = TestGateway::with_tenants(["A"])
            .overdue("A", VIOLATIONS)
            .tenant_setting("A", "requests_per_token = \"12/min burst 1\"")
            .start()
            .await;
        gateway.vendor("A").get("collection_batches").await;

        let output = example.run(gateway.address.port(), &[]).await;

        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("429"), "{output:?}");
        assert_eq!(example.files(), ["batch-1.json"]);
        assert_eq!(acknowledged(&gateway).await, 1);
    });
    join_all(runs).await;
}

#[tokio::test]
async fn a_sandbox_token_only_ever_sees_previews() {
    for example in examples() {
        let gateway = gateway().await;
        gateway.database("A").execute("UPDATE api_tokens SET sandbox = true").await;

        let output = example.collect(gateway.address.port(), &[]).await;

        assert!(output.starts_with(&format!("a preview of {VIOLATIONS} records")), "{output}");
        assert_eq!(example.files(), [""; 0]);
        assert_eq!(gateway.database("A").marked().await, 0);
    }
}

#[tokio::test]
async fn a_run_says_by_its_exit_code_whether_to_come_back() {
    for example in examples() {
        let gateway = gateway().await;
        let port = gateway.address.port();
        let mut run = Command::new(example.program);
        let run = run.arg(&example.script).env("SSL_CERT_FILE", authority()).env("no_proxy", "*");
        let url = format!("https://127.0.0.1:{port}/api/A");

        let no_token =
            run.arg(&url).arg(example.directory.path()).env_remove("TURNPIKE_TOKEN").output().await;
        let refused = run.env("TURNPIKE_TOKEN", "another").output().await.unwrap();
        drop(gateway);
        let unreachable = run.env("TURNPIKE_PATIENCE", "0").output().await.unwrap();

        assert_eq!(no_token.unwrap().status.code(), Some(2));
        assert_eq!(refused.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&refused.stderr).contains("9002"), "{refused:?}");
        assert_eq!(unreachable.status.code(), Some(75), "{unreachable:?}");
        assert_eq!(example.files(), ["key"], "the next run takes it up");
    }
}

/// A port before the gateway's, whose first connection is lost after so many bytes of the answer.
async fn breaking_once(gateway: u16, after: u64) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut allowance = after;
        while let Ok((vendor, _)) = listener.accept().await {
            let gateway = TcpStream::connect((Ipv4Addr::LOCALHOST, gateway)).await.unwrap();
            tokio::spawn(pass(vendor, gateway, allowance));
            allowance = u64::MAX;
        }
    });
    port
}

async fn pass(vendor: TcpStream, gateway: TcpStream, allowance: u64) {
    let (mut from_vendor, mut to_vendor) = vendor.into_split();
    let (from_gateway, mut to_gateway) = gateway.into_split();
    let mut answer = from_gateway.take(allowance);
    tokio::select! {
        _ = copy(&mut from_vendor, &mut to_gateway) => {}
        _ = copy(&mut answer, &mut to_vendor) => {}
    }
    let _ended = to_vendor.shutdown().await; // either side may be gone
}
