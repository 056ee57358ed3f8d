//! Loads whole configurations: what one section can't show by itself.

use std::path::Path;

use super::workspace::{Workspace, tenant_a};
use super::{Config, PoolConfig};

#[test]
fn no_tenants_at_all_is_a_configuration() {
    let config = Workspace::with("[tenants]").load().unwrap();

    assert_eq!(config.tenants, []);
    assert_eq!(config.quarantined, []);
}

#[test]
fn a_tenant_at_fault_is_quarantined_alone_with_all_its_faults() {
    let workspace = Workspace::with(
        "[tenants.BAD]
        max_connections = 0
        lock_timeout = 5
        max_conections = 9
        eligibility = { grace_days = -1, grace = 3 }
        [tenants.GOOD]
        name = \"Good\"
        database_url = \"postgres://u@h/d\"",
    );

    let config = workspace.load().unwrap();

    assert_eq!(config.tenants[0].id.as_str(), "GOOD");
    assert_eq!(config.quarantined[0].tenant.as_str(), "BAD");
    assert_eq!(
        workspace.quarantine_lines(),
        [
            "tenants.toml: tenants.BAD.database_url: is required, here or in [defaults]",
            "tenants.toml: tenants.BAD.eligibility.grace: unknown key",
            "tenants.toml: tenants.BAD.eligibility.grace_days: must be 0 to 3650, is -1",
            "tenants.toml: tenants.BAD.lock_timeout: must be a duration with its unit: write \"5s\"",
            "tenants.toml: tenants.BAD.max_conections: unknown key, did you mean `max_connections`?",
            "tenants.toml: tenants.BAD.max_connections: must be 1 to 64, is 0",
            "tenants.toml: tenants.BAD.name: is required",
        ]
    );
}

#[test]
fn an_unusable_configuration_tells_every_fault_of_every_file_at_once() {
    let workspace = Workspace::new()
        .file(
            "tenants.toml",
            "include = [\"more/*.toml\", \"gone.toml\"]
            gatway = 1
            [gateway]
            listen = \"here\"
            tls_key = \"tenants.toml\"
            [defaults]
            name = \"all\"
            max_connections = 65
            [tenants.\"A B\"]
            [tenants.A]
            database_url = \"postgres://u@h/d\"",
        )
        .file("more/a.toml", "[defaults]\n[tenants.B]\nname = 1\ndatabase_url = \"postgres://u@h/d\"")
        .file("more/b.toml", "[tenants.C\n");

    let id_rule = "must be 1 to 64 letters, digits, `_` or `-`, beginning with a letter or a digit";
    assert_eq!(
        workspace.error_lines(),
        [
            "more/a.toml: defaults: belongs in the main file: an included one holds [tenants.*] only",
            "more/a.toml: tenants.B.name: must be a string, is an integer",
            "more/b.toml: line 1, column 11: unclosed table, expected `]`",
            "tenants.toml: defaults.max_connections: must be 1 to 64, is 65",
            "tenants.toml: defaults.name: is each tenant's own: set it in [tenants.ID]",
            "tenants.toml: gateway.listen: must be an IP address and a port such as \"0.0.0.0:8443\", is \"here\"",
            "tenants.toml: gateway.tls_certificate: is required",
            "tenants.toml: gatway: unknown key, did you mean `gateway`?",
            "tenants.toml: include: cannot read gone.toml: No such file or directory (os error 2)",
            &format!("tenants.toml: tenants.\"A B\": {id_rule}"),
            "tenants.toml: tenants.A.name: is required",
        ]
    );
}

#[test]
fn a_file_that_cannot_be_read_or_parsed_is_one_fault() {
    let missing = Workspace::new();
    let binary = Workspace::with("");
    std::fs::write(binary.path("tenants.toml"), b"a = \xff").unwrap();
    let unquoted = Workspace::with("[tenants.A]\ndatabase_url = postgres://u:hunter2@h/d");

    assert_eq!(
        missing.error_lines(),
        ["tenants.toml: cannot read the file: No such file or directory (os error 2)"]
    );
    assert_eq!(binary.error_lines(), ["tenants.toml: is not UTF-8 from byte 4 on"]);
    assert_eq!(
        unquoted.error_lines(),
        ["tenants.toml: line 7, column 16: string values must be quoted, expected literal string"]
    );
}

#[test]
fn a_tenant_starts_from_the_defaults_and_overrides_them_key_by_key() {
    let tenant = Workspace::with(&format!(
        "[defaults]
        version = \"1\"
        database_url = \"postgres://u@h/{{tenant}}\"
        max_connections = 4
        pool_timeout = \"1s\"
        eligibility = {{ grace_days = 7, exclude_categories = [9] }}
        {}",
        tenant_a("max_connections = 2\neligibility = { grace_days = 0 }"),
    ))
    .tenant();

    assert_eq!(tenant.version.as_deref(), Some("1"));
    assert_eq!(tenant.database.postgres.get_dbname(), Some("A"));
    assert_eq!(tenant.pool.max_connections, 2);
    assert_eq!(tenant.pool.pool_timeout, std::time::Duration::from_secs(1));
    assert_eq!(tenant.pool.lock_timeout, PoolConfig::default().lock_timeout);
    assert_eq!(tenant.eligibility.grace_days, 0);
    assert_eq!(tenant.eligibility.exclude_categories, [9]);
}

#[test]
fn a_tenant_equals_its_former_self_until_something_changes_be_it_a_secret() {
    let workspace = Workspace::with(&tenant_a(
        "database_url = \"postgres://u@h/d\"\ndatabase_password_file = \"secret\"",
    ))
    .file("secret", "hunter2");

    let before = workspace.tenant();
    let again = workspace.tenant();
    let after = workspace.file("secret", "hunter3").tenant();

    assert_eq!(before, again);
    assert_ne!(before, after);
}

#[test]
fn included_files_bring_tenants_with_paths_of_their_own() {
    let workspace = Workspace::with_top("include = [\"tenants.d/*.toml\", \"tenants.d/b.toml\"]", "")
        .file("tenants.d/b.toml", &tenant_a("database_url_file = \"b.url\""))
        .file("tenants.d/.b.toml", "half-written")
        .file("tenants.d/b.url", "postgres://u@h/d");

    let config = workspace.load().unwrap();

    assert_eq!(config.tenants.len(), 1);
    assert_eq!(
        config.contents.files().collect::<Vec<_>>(),
        ["gateway.pem", "tenants.d/b.toml", "tenants.d/b.url", "tenants.toml"]
            .map(|name| workspace.path(name))
    );
}

#[test]
fn a_tenant_that_two_files_define_is_quarantined() {
    let lines = tenant_a("database_url = \"postgres://u@h/d\"");
    let workspace =
        Workspace::with_top("include = [\"tenants.d/*\"]", &lines).file("tenants.d/a.toml", &lines);

    let config = workspace.load().unwrap();

    assert_eq!(config.tenants, []);
    let fault = config.faults().next().unwrap();
    assert_eq!(fault.file, workspace.path("tenants.toml"));
    assert_eq!(fault.key, "tenants.A");
    assert_eq!(fault.reason, format!("is defined in {} too", workspace.path("tenants.d/a.toml").display()));
}

#[test]
fn a_file_that_a_pattern_matches_later_is_watched() {
    let workspace = Workspace::with_top("include = [\"tenants.d/*.toml\"]", "");
    let config = workspace.load().unwrap();
    let workspace = workspace.file("tenants.d/new.toml", "");

    let now = config.contents.look_again();

    assert!(now.files().any(|file| file == workspace.path("tenants.d/new.toml")));
    assert_ne!(now, config.contents);
}

#[test]
fn a_secret_that_is_missing_is_watched() {
    let workspace = Workspace::with(&tenant_a("database_url_file = \"later\""));

    assert!(workspace.load().unwrap().contents.files().any(|file| file == workspace.path("later")));
}

#[test]
fn a_main_file_without_directory_is_read_from_the_working_directory() {
    let error = Config::load(Path::new("no-such-tenants.toml")).unwrap_err();

    assert_eq!(
        error.to_string(),
        "no-such-tenants.toml: cannot read the file: No such file or directory (os error 2)"
    );
}
