//! Holds `tenants.toml`, which operators read as the reference, to what the code reads.

use std::path::Path;
use std::time::Duration;

use super::workspace::Workspace;
use super::*;

const EXAMPLE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tenants.toml"));

fn workspace_with(example: &str) -> Workspace {
    let workspace = Workspace::new()
        .file("tenants.toml", example)
        .file("certs/gateway.pem", "certificate")
        .file("certs/gateway.key", "key")
        .file("certs/postgres-ca.pem", "certificate")
        .file("certs/admin.pem", "certificate")
        .file("certs/admin.key", "key")
        .file("keys/operator.pem", "key")
        .file("keys/jwks.json", "keys")
        .file("secrets/oc_toma", "hunter2\n")
        .file("secrets/NORTHERN_U", "hunter2\n");
    workspace
        .env("NORTHERN_U_DATABASE_URL", "postgres://turnpike:hunter2@db2:5432/northern_u")
        .env("TURNPIKE_OWNER_PASSWORD", "hunter3")
}

/// Takes `# ` from every line that shows a key and its value: `# max_peers = 10000`.
fn uncomment(example: &str) -> String {
    let lines = example.lines().map(|line| {
        let shown = line.strip_prefix("# ").unwrap_or(line);
        let is_key = shown
            .split_once(" = ")
            .is_some_and(|(key, _)| key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
        if is_key { shown } else { line }
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_example_loads_as_it_is() {
    let config = workspace_with(EXAMPLE).load().unwrap();

    let ids: Vec<&str> = config.tenants.iter().map(|tenant| tenant.id.as_str()).collect();
    assert_eq!(ids, ["NORTHERN_U", "OC_TOMA"]);
    assert_eq!(config.faults().next(), None);
}

#[test]
fn without_its_files_the_example_lacks_nothing_but_them() {
    let error = Workspace::new().file("tenants.toml", EXAMPLE).load().unwrap_err();

    for fault in &error.faults {
        let is_missing = fault.reason.starts_with("cannot read ") || fault.reason.ends_with(" is not set");
        assert!(is_missing, "{fault}");
    }
}

#[test]
fn every_key_that_the_example_shows_is_known_and_its_value_loads() {
    let example = uncomment(EXAMPLE);

    let config = workspace_with(&example).load().unwrap();

    assert!(example.contains("\nmax_peers = "), "nothing was uncommented");
    assert_eq!(config.faults().map(Fault::to_string).collect::<Vec<_>>(), [""; 0]);
    assert_eq!(config.tenants.len(), 2);
    assert_eq!(config.tenants[0].owner.postgres.get_password(), Some(&b"hunter3"[..]));
}

#[test]
fn the_defaults_that_the_example_shows_are_the_defaults() {
    let shown = workspace_with(&uncomment(EXAMPLE)).load().unwrap();
    let silent = workspace_with(EXAMPLE).load().unwrap();

    let in_one_place = |mut gateway: GatewayConfig| {
        gateway.tls_certificate = Path::new("").into();
        gateway.tls_key = Path::new("").into();
        // Examples, not defaults.
        (gateway.admin.tls, gateway.admin.operators.jwks) = (None, None);
        gateway.admin.operators.keys.clear();
        gateway.telemetry.otlp_endpoint = None;
        gateway
    };
    assert_eq!(in_one_place(shown.gateway), in_one_place(silent.gateway));
    for (shown, silent) in shown.tenants.iter().zip(&silent.tenants) {
        assert_eq!(shown.pool, silent.pool);
        assert_eq!(shown.delivery, silent.delivery);
        assert_eq!(shown.limits, silent.limits);
        assert_eq!(shown.eligibility, silent.eligibility);
    }
    assert_eq!(silent.tenants[1].pool.max_connections, 8);
    assert_eq!(silent.tenants[1].delivery.lease, Duration::from_secs(60));
}

#[test]
fn the_example_names_every_key_that_is_known() {
    let words: Vec<&str> = EXAMPLE.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).collect();
    let mut gateway = Section::root(Path::new("t.toml"), toml::Table::new());
    GatewayConfig::read(&mut gateway);
    let mut defaults = Section::root(Path::new("t.toml"), toml::Table::new());
    TenantSettings::read_defaults(&mut defaults);
    let eligibility = ["grace_days", "minimum_balance", "exclude_categories"].map(str::to_owned);

    // Known so that they are refused with a hint.
    let refused = ["database_password", "owner_database_password"];
    let known = gateway.asked().iter().chain(defaults.asked()).chain(&eligibility);
    for key in known.filter(|key| !refused.contains(&key.as_str())) {
        assert!(words.contains(&key.as_str()), "tenants.toml doesn't mention {key}");
    }
}
