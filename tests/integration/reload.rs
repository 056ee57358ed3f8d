//! Reload: what changes, what doesn't, and that nobody who calls meanwhile notices.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use nix::sys::signal::Signal;
use reqwest::{Certificate as Trusted, Client, StatusCode};
use serde_json::json;
use turnpike::certificates::create_authority_and_server;
use turnpike::clock::Clock;
use turnpike::reload::{Certificate, Outcome, Report, Trigger};

use crate::support::{RawPeer, Serving, SlowVendor, TOKEN, TestGateway, Vendor, wait_until};

/// The ids that a report names: added, changed, removed, quarantined.
fn named(report: &Report) -> [Vec<&str>; 4] {
    let tenants = &report.tenants;
    [
        tenants.added.iter().map(|id| id.as_str()).collect(),
        tenants.changed.iter().map(|change| change.tenant.as_str()).collect(),
        tenants.removed.iter().map(|id| id.as_str()).collect(),
        tenants.quarantined.iter().map(|withheld| withheld.tenant.as_str()).collect(),
    ]
}

/// A tenant's section, from its header to the next.
fn section(toml: &str, tenant: &str) -> String {
    let from = toml.find(&format!("[tenants.{tenant}]")).unwrap();
    let length = toml[from + 1..].find("[tenants.").map_or(toml.len() - from, |length| length + 1);
    toml[from..from + length].to_owned()
}

/// Another tenant with the settings of one that there is: both on one database.
fn twin(toml: String, tenant: &str, id: &str) -> String {
    let twin = section(&toml, tenant).replace(&format!("[tenants.{tenant}]"), &format!("[tenants.{id}]"));
    format!("{toml}{twin}")
}

/// Calls again and again until told to stop, and counts what it was given; panics at anything but a whole 200.
async fn call_until(stop: Arc<AtomicBool>, vendor: Vendor, preview: bool) -> usize {
    let mut records = 0;
    while !stop.load(Ordering::Relaxed) {
        records += vendor.claim_with(json!({ "preview": preview, "limit": 3 })).await.records().len();
    }
    records
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_who_calls_notices_that_the_configuration_is_reloaded() {
    let gateway = TestGateway::with_tenants(["CHANGED", "GONE", "KEPT"])
        .overdue("KEPT", 300)
        .overdue("CHANGED", 300)
        .start()
        .await;
    let stop = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = ["KEPT", "KEPT", "CHANGED", "CHANGED"]
        .map(|tenant| tokio::spawn(call_until(Arc::clone(&stop), gateway.vendor(tenant), false)))
        .into_iter()
        .collect();
    let previewers: Vec<_> = ["KEPT", "CHANGED"]
        .map(|tenant| tokio::spawn(call_until(Arc::clone(&stop), gateway.vendor(tenant), true)))
        .into_iter()
        .collect();

    for round in 0..12 {
        let id = format!("ADDED_{round}");
        gateway.rewrite(|toml| {
            let old = format!("pool_timeout = \"{}s\"\n", 30 + round - 1);
            let changed = section(&toml, "CHANGED");
            let next = changed.replace(&old, "") + &format!("pool_timeout = \"{}s\"\n", 30 + round);
            let toml = toml.replace(&changed, &next);
            let gone = if round == 0 {
                section(&toml, "GONE")
            } else {
                section(&toml, &format!("ADDED_{}", round - 1))
            };
            twin(toml.replace(&gone, ""), "KEPT", &id)
        });
        let report = gateway.reloader.reload(Trigger::Signal).await;
        let gone = if round == 0 { "GONE".to_owned() } else { format!("ADDED_{}", round - 1) };
        assert_eq!(
            named(&report),
            [vec![id.as_str()], vec!["CHANGED"], vec![gone.as_str()], vec![]],
            "{report:?}"
        );
        assert_eq!(gateway.vendor(&id).claim_with(json!({ "preview": true })).await.status, 200);
        assert_eq!(gateway.vendor(&gone).claim().await.status, StatusCode::UNAUTHORIZED);
    }
    stop.store(true, Ordering::Relaxed);
    let mut claimed = 0;
    for caller in callers {
        claimed += caller.await.unwrap();
    }
    for caller in previewers {
        caller.await.unwrap();
    }

    let marked = gateway.database("KEPT").marked().await + gateway.database("CHANGED").marked().await;
    assert_eq!(i64::try_from(claimed).unwrap(), marked, "what was claimed was handed over, once");
    assert!(claimed > 0, "somebody called");
}

#[tokio::test]
async fn an_unchanged_tenant_keeps_its_session_and_a_changed_one_gets_another() {
    let gateway = TestGateway::with_tenants(["CHANGED", "KEPT"]).overdue("CHANGED", 1).start().await;
    gateway.vendor("KEPT").claim().await;
    gateway.vendor("CHANGED").claim().await;
    let (kept, changed) = (gateway.database("KEPT"), gateway.database("CHANGED"));
    let (kept_pids, old_pids) = (kept.gateway_pids().await, changed.gateway_pids().await);
    let generation = gateway.tenant("KEPT").generation();

    gateway.rewrite(|toml| toml.replace("version of CHANGED", "another version"));
    let report = gateway.reloader.reload(Trigger::Signal).await;
    wait_until("the old session is closed", async || changed.gateway_pids().await.is_empty()).await;
    let answers = [gateway.vendor("KEPT").claim().await, gateway.vendor("CHANGED").claim().await];

    assert_eq!(report.tenants.changed[0].settings, ["version"]);
    assert_eq!(report.tenants.unchanged, 1);
    assert_eq!(answers[1].json()["state"]["version"], "another version");
    assert_eq!(kept.gateway_pids().await, kept_pids);
    assert_eq!(gateway.tenant("KEPT").generation(), generation);
    let new_pids = changed.gateway_pids().await;
    assert!(new_pids.len() == 1 && new_pids != old_pids, "{new_pids:?}");
}

#[tokio::test]
async fn a_delivery_under_way_ends_whole_when_its_tenant_is_changed_or_removed() {
    let gateway = TestGateway::with_tenants(["CHANGED", "REMOVED"]).start().await;
    let mut vendors = Vec::new();
    for id in ["CHANGED", "REMOVED"] {
        gateway.database(id).add_overdue_large(100).await;
        let mut vendor = SlowVendor::call(&gateway, id).await;
        vendor.read(1).await;
        vendors.push(vendor);
    }

    gateway.rewrite(|toml| {
        let removed = section(&toml, "REMOVED");
        toml.replace(&removed, "").replace("version of CHANGED", "another version")
    });
    gateway.reloader.reload(Trigger::Signal).await;
    let retired = gateway.inner.directory.retired().len();
    let refused = gateway.vendor("REMOVED").claim().await;
    for vendor in &mut vendors {
        vendor.read_to_end().await;
    }

    assert_eq!(retired, 2, "both still deliver");
    assert_eq!(refused.error_code(), 9002);
    assert!(vendors.iter().all(SlowVendor::is_whole));
    assert!(vendors[0].has_read("version of CHANGED"), "it ends as it began");
    for id in ["CHANGED", "REMOVED"] {
        let database = gateway.database(id);
        assert_eq!(database.batch_states().await, ["released"]);
        wait_until("its sessions are closed", async || database.gateway_sessions().await == 0).await;
    }
    wait_until("both are gone", async || gateway.inner.directory.retired().is_empty()).await;
}

#[tokio::test]
async fn a_broken_tenant_is_quarantined_alone_and_recovers() {
    let gateway = TestGateway::with_tenants(["A", "B"]).overdue("A", 1).start().await;
    gateway.vendor("A").claim().await;

    gateway.rewrite(|toml| toml.replace("[tenants.A]", "[tenants.A]\nmax_connections = 0"));
    let broken = gateway.reloader.reload(Trigger::Signal).await;
    let refused = gateway.vendor("A").claim().await;
    let other = gateway.vendor("B").claim().await;
    let database = gateway.database("A");
    wait_until("its sessions are closed", async || database.gateway_sessions().await == 0).await;
    gateway.rewrite(|toml| toml.replace("max_connections = 0", "max_connections = 1"));
    let mended = gateway.reloader.reload(Trigger::Signal).await;
    let answer = gateway.vendor("A").claim().await;

    assert_eq!(named(&broken), [vec![], vec![], vec![], vec!["A"]]);
    let withheld = &broken.tenants.quarantined[0];
    assert!(withheld.was_served);
    assert_eq!(withheld.faults[0].key, "tenants.A.max_connections");
    assert!(!broken.is_clean());
    assert_eq!((refused.status, refused.error_code()), (StatusCode::SERVICE_UNAVAILABLE, 9104));
    assert_eq!((other.status, answer.status), (StatusCode::OK, StatusCode::OK));
    assert_eq!(mended.tenants.changed[0].settings, ["quarantine"]);
    assert!(mended.is_clean());
}

#[tokio::test]
async fn a_file_that_does_not_parse_or_a_fault_of_the_gateway_changes_nothing() {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 1).start().await;
    gateway.vendor("A").claim().await;
    let pids = gateway.database("A").gateway_pids().await;
    let good = fs::read_to_string(gateway.config_file()).unwrap();

    for (bad, key) in [
        (good.replace("[tenants.A]", "[tenants.A"), ""),
        (good.replace("[gateway]", "[gateway]\nmax_peers = 0"), "gateway.max_peers"),
        (good.replace("[defaults]", "[defaults]\nlease = 1"), "defaults.lease"),
    ] {
        gateway.rewrite(|_| bad.replace("version of A", "another version"));
        let report = gateway.reloader.reload(Trigger::Signal).await;
        let answer = gateway.vendor("A").claim().await;

        assert_eq!(report.outcome, Outcome::Refused);
        assert_eq!(report.faults[0].key, key);
        assert_eq!(answer.json()["state"]["version"], "version of A");
    }
    assert_eq!(gateway.database("A").gateway_pids().await, pids);
}

#[tokio::test]
async fn a_dry_run_tells_what_a_reload_would_do_and_does_nothing() {
    let gateway = TestGateway::with_tenants(["A", "B"]).start().await;

    gateway.rewrite(|toml| {
        toml.replace("version of A", "another version").replace("[tenants.B]", "[tenants.C]")
    });
    let told = gateway.reloader.dry_run().await;
    let version = gateway.vendor("A").claim().await.json()["state"]["version"].clone();
    let done = gateway.reloader.reload(Trigger::Admin).await;

    assert_eq!(named(&told), [vec!["C"], vec!["A"], vec!["B"], vec![]]);
    assert_eq!(version, "version of A");
    assert_eq!(done.tenants, told.tenants);
}

#[tokio::test]
async fn settings_of_the_gateway_hold_at_once_or_are_named() {
    let gateway = TestGateway::with_tenants(["A"]).gateway_setting("max_peers = 1").start().await;
    let _first = RawPeer::connect(gateway.address).await;

    gateway.rewrite(|toml| {
        toml.replace("max_peers = 1", "max_peers = 2\nrequest_timeout = \"3s\"\nmax_database_connections = 7")
            .replace("127.0.0.1:0", "127.0.0.1:1")
    });
    let report = gateway.reloader.reload(Trigger::Signal).await;
    let second = gateway.vendor("A").claim().await;
    gateway.rewrite(|toml| toml.replace("127.0.0.1:1", "127.0.0.1:0"));
    let again = gateway.reloader.reload(Trigger::Signal).await;

    assert_eq!(report.gateway_changed, ["request_timeout", "max_peers"]);
    assert_eq!(report.restart_required, ["listen", "max_database_connections"]);
    assert_eq!(second.status, StatusCode::OK, "there is room for it now");
    assert_eq!(gateway.inner.config().request_timeout.as_secs(), 3);
    assert_eq!(
        (again.gateway_changed, again.restart_required),
        (vec![], vec!["max_database_connections".to_owned()])
    );
}

/// A client that trusts one authority alone, and has no connection yet.
fn trusting(directory: &Path) -> Client {
    let pem = fs::read(directory.join("ca.pem")).unwrap();
    Client::builder().no_proxy().tls_certs_only([Trusted::from_pem(&pem).unwrap()]).build().unwrap()
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_and_a_pair_that_does_not_match_is_not() {
    let gateway = TestGateway::with_tenants(["A"]).start().await;
    let old = gateway.vendor("A");
    let own = gateway.directory.path().to_owned();
    let url = gateway.url("/");
    gateway.rewrite(|toml| {
        let lines = toml.lines().map(|line| match line.split_once(" = ") {
            Some(("tls_certificate", _)) => "tls_certificate = \"gateway.pem\"",
            Some(("tls_key", _)) => "tls_key = \"gateway.key\"",
            _ => line,
        });
        lines.collect::<Vec<_>>().join("\n")
    });
    old.claim().await;
    create_authority_and_server(&own, &[]).unwrap();

    let renewed = gateway.reloader.reload(Trigger::Signal).await;
    let seen = trusting(&own).get(&url).send().await;
    let kept_open = old.claim().await;
    let first_authority = tempfile::tempdir().unwrap();
    fs::copy(own.join("ca.pem"), first_authority.path().join("ca.pem")).unwrap();
    let key = fs::read(own.join("gateway.key")).unwrap();
    create_authority_and_server(&own, &[]).unwrap();
    fs::write(own.join("gateway.key"), key).unwrap();
    let mismatched = gateway.reloader.reload(Trigger::Signal).await;
    let still = trusting(first_authority.path()).get(&url).send().await;
    let same = gateway.reloader.reload(Trigger::Signal).await;

    assert_eq!(renewed.certificate, Certificate::Renewed);
    assert_eq!(renewed.gateway_changed, ["tls_certificate", "tls_key"]);
    seen.expect("the new certificate is shown");
    assert_eq!(kept_open.status, StatusCode::OK, "an open connection goes on");
    let Certificate::Kept { reason } = &mismatched.certificate else { panic!("{mismatched:?}") };
    assert!(reason.contains("can't be used together"), "{reason}");
    assert!(!mismatched.is_clean());
    still.expect("the certificate before is still shown");
    assert!(matches!(same.certificate, Certificate::Kept { .. }));
}

/// The paths of a volume as Kubernetes mounts it: each file a link through `..data`, which is exchanged as a whole.
fn write_volume(root: &Path, version: &str, toml: &str) {
    fs::create_dir(root.join(version)).unwrap();
    fs::write(root.join(version).join("tenants.toml"), toml).unwrap();
    symlink(version, root.join("..data_tmp")).unwrap();
    fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
}

#[tokio::test]
async fn a_volume_whose_link_is_exchanged_is_reloaded_by_itself() {
    let builder = TestGateway::with_tenants(["A"]).gateway_setting("reload_interval = \"20ms\"");
    let (directory, _databases) = builder.prepare().await;
    let root = directory.path();
    let file = root.join("tenants.toml");
    let toml = fs::read_to_string(&file).unwrap();
    fs::remove_file(&file).unwrap();
    write_volume(root, "..2026_1", &toml);
    symlink("..data/tenants.toml", &file).unwrap();
    let serving = Serving::start(&file).await;
    let vendor = serving.vendor("A", TOKEN);
    let version = async || vendor.claim().await.json()["state"]["version"].clone();
    assert_eq!(version().await, "version of A");

    write_volume(root, "..2026_2", &toml.replace("version of A", "another version"));

    wait_until("the new version is served", async || version().await == "another version").await;
    assert!(serving.written().contains("\"trigger\":\"change\""), "{}", serving.written());
}

#[tokio::test]
async fn a_sighup_reloads_and_ends_nothing() {
    let builder = TestGateway::with_tenants(["A"]).gateway_setting("reload_interval = \"0s\"");
    let (directory, _databases) = builder.prepare().await;
    let file = directory.path().join("tenants.toml");
    let mut serving = Serving::start(&file).await;
    let toml = fs::read_to_string(&file).unwrap();
    fs::write(&file, toml.replace("version of A", "another version")).unwrap();

    let before = serving.vendor("A", TOKEN).claim().await.json();
    serving.signal(Signal::SIGHUP);
    wait_until("it has reloaded", async || serving.written().contains("\"reloaded\"")).await;
    let after = serving.vendor("A", TOKEN).claim().await.json();
    serving.signal(Signal::SIGTERM);

    assert_eq!(before["state"]["version"], "version of A");
    assert_eq!(after["state"]["version"], "another version");
    assert_eq!(serving.wait().await, Some(0));
    let log = serving.written();
    let line = log.lines().find(|line| line.contains("\"reloaded\"")).unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!((&line["trigger"], &line["changed"]), (&json!("signal"), &json!("A")));
}

#[tokio::test]
async fn a_paused_tenant_answers_503_without_asking_its_database_until_the_end_that_was_set() {
    let now = Arc::new(std::sync::Mutex::new("2026-12-01T07:50:00Z".parse::<Timestamp>().unwrap()));
    let told = Arc::clone(&now);
    let gateway = TestGateway::with_tenants(["A"])
        .overdue("A", 1)
        .tenant_setting("A", "paused = { reason = \"moving\", until = 2026-12-01T08:00:00Z }")
        .clock(Clock::told_by(move || *told.lock().unwrap()))
        .start()
        .await;

    let paused = gateway.vendor("A").claim().await;
    let stranger = gateway.vendor("A").with_token("unknown").claim().await;
    let sessions = gateway.database("A").gateway_sessions().await;
    *now.lock().unwrap() = "2026-12-01T08:00:00Z".parse().unwrap();
    let resumed = gateway.vendor("A").claim().await;

    for answer in [&paused, &stranger] {
        assert_eq!((answer.status, answer.error_code()), (StatusCode::SERVICE_UNAVAILABLE, 9104));
        assert_eq!(answer.header("retry-after"), Some("600"));
    }
    assert_eq!(sessions, 0);
    assert_eq!(resumed.records().len(), 1);
}
