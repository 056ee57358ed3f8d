//! Loads tenants for their connections: secrets, URLs, TLS, and what overrides what.

use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

use super::workspace::{Workspace, tenant_a};
use super::{ConnectionConfig, DatabaseTls};

fn password(connection: &ConnectionConfig) -> Option<&str> {
    connection.postgres.get_password().map(|bytes| std::str::from_utf8(bytes).unwrap())
}

#[test]
fn secrets_come_from_files_and_variables_and_may_be_named_after_the_tenant() {
    let tenant = Workspace::with(&format!(
        "[defaults]
        database_password_file = \"secrets/{{tenant}}\"
        owner_database_url_env = \"OWNER_OF_{{tenant}}\"
        {}",
        tenant_a("database_url = \"postgres://u@h/d\""),
    ))
    .file("secrets/A", "hunter2\r\n")
    .env("OWNER_OF_A", "postgres://o:hunter3@h/{tenant}")
    .tenant();

    assert_eq!(password(&tenant.database), Some("hunter2"));
    assert_eq!(password(&tenant.owner), Some("hunter3"));
    assert_eq!(tenant.owner.postgres.get_dbname(), Some("A"));
}

#[test]
fn an_unresolved_secret_names_tenant_and_key() {
    let workspace = Workspace::with(&format!(
        "[defaults]
        database_password_env = \"PASSWORD_OF_{{tenant}}\"
        {}
        [tenants.B]
        name = \"B\"
        database_url_file = \"b\"
        database_password_file = \"nowhere\"
        owner_database_url = \"postgres://o@h/d\"
        owner_database_password_env = \"BLANK\"",
        tenant_a("database_url = \"postgres://u@h/d\""),
    ))
    .file("b", "\n")
    .env("BLANK", "");

    assert_eq!(
        workspace.quarantine_lines(),
        [
            "tenants.toml: tenants.A.database_password_env: \
             environment variable PASSWORD_OF_A is not set (set in [defaults])",
            "tenants.toml: tenants.B.database_password_file: \
             cannot read nowhere: No such file or directory (os error 2)",
            "tenants.toml: tenants.B.database_url_file: b is empty",
            "tenants.toml: tenants.B.owner_database_password_env: environment variable BLANK is empty",
        ]
    );
}

#[test]
fn a_tenants_source_of_a_secret_replaces_the_defaults_whatever_its_form() {
    let defaults = "[defaults]
        database_url = \"postgres://u@h/{tenant}\"
        database_password_file = \"nowhere\"\n";
    let by_variable = tenant_a("database_url_env = \"URL\"\ndatabase_password_env = \"PASSWORD\"");
    let by_url = tenant_a("database_url = \"postgres://u:in-url@h/mine\"");

    let by_variable = Workspace::with(&format!("{defaults}{by_variable}"))
        .env("URL", "postgres://u@h/other")
        .env("PASSWORD", "hunter2")
        .tenant();
    let by_url = Workspace::with(&format!("{defaults}{by_url}")).tenant();

    assert_eq!(by_variable.database.postgres.get_dbname(), Some("other"));
    assert_eq!(password(&by_variable.database), Some("hunter2"));
    assert_eq!(password(&by_url.database), Some("in-url"));
}

#[test]
fn two_sources_of_one_secret_are_a_fault() {
    let workspace = Workspace::with(&tenant_a(
        "database_url = \"postgres://u:hunter2@h/d\"
        database_url_env = \"URL\"
        database_password_file = \"gateway.pem\"
        owner_database_password_file = \"gateway.pem\"
        owner_database_password_env = \"PASSWORD\"",
    ));

    assert_eq!(
        workspace.quarantine_lines(),
        [
            "tenants.toml: tenants.A.database_password_file: is given in database_url too: keep one of them",
            "tenants.toml: tenants.A.database_url_env: is given as database_url too: keep one of them",
            "tenants.toml: tenants.A.owner_database_password_env: \
             is given as owner_database_password_file too: keep one of them",
            "tenants.toml: tenants.A.owner_database_password_file: is of no use without owner_database_url",
        ]
    );
}

#[test]
fn a_password_in_the_file_is_refused_with_a_hint() {
    let workspace =
        Workspace::with(&tenant_a("database_url = \"postgres://u@h/d\"\ndatabase_password = \"hunter2\""));

    assert_eq!(
        workspace.quarantine_lines(),
        ["tenants.toml: tenants.A.database_password: must not stand in this file: \
             use database_password_file or database_password_env"]
    );
}

#[test]
fn neither_debug_nor_a_fault_shows_a_password() {
    let workspace = Workspace::with(&format!(
        "{}[tenants.B]\nname = \"B\"\ndatabase_url = \"postgres://u:hunter2@ter2@h:x/d?hun=ter2\"",
        tenant_a(
            "database_url = \"postgres://u:hunter2@h/d\"\nowner_database_url = \"postgres://o:hunter2@h/d\""
        ),
    ));

    let shown = format!("{:?}", workspace.load().unwrap());

    assert!(shown.contains("has more than one @"));
    assert!(!shown.contains("ter2"), "{shown}");
}

#[test]
fn the_owner_is_the_gateways_role_unless_configured() {
    let tenant = Workspace::with(&tenant_a("database_url = \"postgres://u:hunter2@h/d\"")).tenant();

    assert_eq!(tenant.owner, tenant.database);
}

#[test]
fn a_url_reaches_tokio_postgres_ready_to_connect() {
    let tenant = Workspace::with(&tenant_a(
        "database_url = \"postgres://u@db1:5432,db2:5433/d?sslmode=require&connect_timeout=3&application_name=x\"",
    ))
    .tenant();

    let postgres = &tenant.database.postgres;
    assert_eq!(postgres.get_hosts(), ["db1", "db2"].map(|name| Host::Tcp(name.to_owned())));
    assert_eq!(postgres.get_ports(), [5432, 5433]);
    assert_eq!(postgres.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
    assert_eq!(postgres.get_ssl_mode(), SslMode::Require);
    assert_eq!(postgres.get_application_name(), None);
    assert_eq!(tenant.database.tls, DatabaseTls::Require);
}

#[test]
fn plain_text_is_the_default_on_this_machine_only() {
    for (host, expected) in [
        ("localhost", DatabaseTls::Disable),
        ("127.0.0.9", DatabaseTls::Disable),
        ("[::1]", DatabaseTls::Disable),
        ("%2Frun%2Fpostgresql", DatabaseTls::Disable),
        ("db1", DatabaseTls::Require),
        ("localhost,db1", DatabaseTls::Require),
    ] {
        let tenant =
            Workspace::with(&tenant_a(&format!("database_url = \"postgres://u@{host}/d\""))).tenant();
        assert_eq!(tenant.database.tls, expected, "{host}");
    }
}

#[test]
fn verify_full_can_be_said_in_the_url_or_beside_it() {
    let by_url = "database_url = \"postgres://u@h/d?sslmode=verify-full&sslrootcert=certs%2Fca.pem\"";
    let by_key = "database_url = \"postgres://u@h/d\"\ndatabase_tls = \"verify-full\"\ndatabase_tls_ca = \"certs/ca.pem\"";

    for lines in [by_url, by_key] {
        let workspace = Workspace::with(&tenant_a(lines)).file("certs/ca.pem", "certificate");
        let ca = workspace.path("certs/ca.pem");

        assert_eq!(workspace.tenant().database.tls, DatabaseTls::VerifyFull { ca: ca.clone() });
        assert!(workspace.load().unwrap().contents.files().any(|file| file == ca));
    }
}

#[test]
fn a_protection_that_would_not_be_there_is_a_fault() {
    let url = "database_url = \"postgres://u@h/d\"\n";
    for (lines, expected) in [
        (
            format!("{url}database_tls = \"verify-full\""),
            "database_tls: \"verify-full\" needs a CA certificate: set database_tls_ca",
        ),
        (
            format!("{url}database_tls = \"verify-full\"\ndatabase_tls_ca = \"no.pem\""),
            "database_tls_ca: cannot read no.pem: No such file or directory (os error 2)",
        ),
        (
            format!("{url}database_tls_ca = \"gateway.pem\""),
            "database_tls_ca: a CA certificate is used with \"verify-full\" only: set database_tls",
        ),
        (
            format!("{url}database_tls = \"prefer\""),
            "database_tls: \"allow\" and \"prefer\" go on in plain text unnoticed: use \"require\" or \"verify-full\"",
        ),
        (
            "database_url = \"postgres://u@h/d?sslmode=verify-ca\"".to_owned(),
            "database_url: sslmode: \"verify-ca\" takes any host's certificate: use \"verify-full\"",
        ),
        (
            "database_url = \"postgres://u@h/d?sslmode=require\"\ndatabase_tls = \"disable\"".to_owned(),
            "database_tls: is \"disable\", but database_url says sslmode=require: keep one of them",
        ),
        (
            "database_url = \"postgres://u@%2Frun/d\"\ndatabase_tls = \"require\"".to_owned(),
            "database_tls: a Unix socket carries no TLS: use \"disable\" for it",
        ),
    ] {
        let workspace = Workspace::with(&tenant_a(&lines));
        assert_eq!(workspace.quarantine_lines(), [format!("tenants.toml: tenants.A.{expected}")]);
    }
}

#[test]
fn the_owners_url_decides_its_own_protection() {
    let tenant = Workspace::with(&tenant_a(
        "database_url = \"postgres://u@h/d\"
        database_tls = \"verify-full\"
        database_tls_ca = \"gateway.pem\"
        owner_database_url = \"postgres://o@%2Frun/d?sslmode=disable\"",
    ))
    .tenant();

    assert_eq!(tenant.owner.tls, DatabaseTls::Disable);
    assert_eq!(tenant.owner.postgres.get_ssl_mode(), SslMode::Disable);
}
