//! Edits of whole configurations: what ends up where, and what is refused without a trace.

use super::*;
use crate::config::workspace::Workspace;

const A: &str = "# the first\n[tenants.A]\nname = \"A\" # for people\ndatabase_url = \"postgres://u@h/a\"\n";

fn id(text: &str) -> TenantId {
    TenantId::parse(text).unwrap()
}

fn tenant(name: &str) -> NewTenant {
    NewTenant {
        id: id(name),
        name: format!("The {name}"),
        version: None,
        database_url: Some(format!("postgres://u@h/{name}")),
        database_password: None,
        owner_database_url: None,
        owner_database_password: None,
    }
}

fn pause() -> PauseConfig {
    PauseConfig { reason: "moving".to_owned(), until: None }
}

fn including() -> Workspace {
    Workspace::with_top("include = [\"named.toml\", \"tenants.d/*.toml\"]", A)
        .file("named.toml", "[tenants.NAMED]\nname = \"N\"\ndatabase_url = \"postgres://u@h/n\"\n")
}

fn read(workspace: &Workspace, name: &str) -> String {
    fs::read_to_string(workspace.path(name)).unwrap()
}

#[test]
fn a_tenant_gets_a_file_of_its_own_where_one_is_included() {
    let workspace = including();
    let main = workspace.path("tenants.toml");
    let before = read(&workspace, "tenants.toml");
    let mut new = tenant("B");
    new.database_password = Some(Password::Text("hunter2".to_owned()));

    let draft = Draft::add(&main, &new).unwrap();
    let password = draft.find_tenant(&new.id).unwrap().database.postgres.get_password().map(<[u8]>::to_vec);
    let untouched = !workspace.path("tenants.d").exists() && !workspace.path("secrets").exists();
    let written = draft.write().unwrap();

    assert_eq!(password.as_deref(), Some(&b"hunter2"[..]));
    assert!(untouched, "a draft writes nothing");
    assert_eq!(written, [workspace.path("tenants.d/B.toml")]);
    assert_eq!(
        read(&workspace, "tenants.d/B.toml"),
        "[tenants.B]\nname = \"The B\"\ndatabase_url = \"postgres://u@h/B\"\ndatabase_password_file = \"../secrets/B\"\n"
    );
    assert_eq!(read(&workspace, "secrets/B"), "hunter2");
    assert_eq!(read(&workspace, "tenants.toml"), before);
    let loaded = workspace.load().unwrap();
    assert_eq!(
        loaded.tenants.iter().map(|tenant| tenant.id.as_str()).collect::<Vec<_>>(),
        ["A", "B", "NAMED"]
    );
}

#[test]
fn a_tenant_is_appended_to_the_main_file_where_nothing_is_included() {
    let workspace = Workspace::with(A);
    let before = read(&workspace, "tenants.toml");
    let secret = workspace.path("elsewhere");
    let workspace = workspace.file("elsewhere", "hunter2");
    let mut new = tenant("B");
    new.database_password = Some(Password::File(secret));

    Draft::add(&workspace.path("tenants.toml"), &new).unwrap().write().unwrap();

    let section = "\n[tenants.B]\nname = \"The B\"\ndatabase_url = \"postgres://u@h/B\"\ndatabase_password_file = \"elsewhere\"\n";
    assert_eq!(read(&workspace, "tenants.toml"), before + section);
}

#[test]
fn what_would_be_at_fault_is_refused_and_changes_nothing() {
    let workspace = including().file("tenants.d/TAKEN.toml", "");
    let main = workspace.path("tenants.toml");
    let before = ["tenants.toml", "named.toml"].map(|name| read(&workspace, name));
    let no_url = NewTenant { database_url: Some("mysql://u@h/d".to_owned()), ..tenant("B") };
    let no_secret =
        NewTenant { database_password: Some(Password::File(workspace.path("missing"))), ..tenant("B") };

    let refusals = [
        Draft::add(&main, &tenant("A")).unwrap_err().to_string(),
        Draft::add(&main, &tenant("TAKEN")).unwrap_err().to_string(),
        Draft::add(&main, &no_url).unwrap_err().to_string(),
        Draft::add(&main, &no_secret).unwrap_err().to_string(),
        Draft::remove(&main, &id("B")).unwrap_err().to_string(),
        Draft::pause(&main, &id("B"), &pause()).unwrap_err().to_string(),
        Draft::resume(&main, &id("A")).unwrap_err().to_string(),
    ];

    for (refusal, expected) in refusals.iter().zip([
        "tenant A is there already, in ",
        "TAKEN.toml is there already, and not overwritten",
        "database_url: must be a URL that begins with postgres://",
        "database_password_file: cannot read ",
        "there is no tenant B in ",
        "there is no tenant B in ",
        "tenant A isn't paused",
    ]) {
        assert!(refusal.contains(expected), "{refusal}");
    }
    assert_eq!(["tenants.toml", "named.toml"].map(|name| read(&workspace, name)), before);
    assert_eq!(fs::read_dir(workspace.path("tenants.d")).unwrap().count(), 1);
}

#[test]
fn a_tenant_that_was_at_fault_before_keeps_nobody_from_editing_another() {
    let workspace = Workspace::with(&format!("{A}[tenants.BAD]\n"));
    let main = workspace.path("tenants.toml");

    Draft::pause(&main, &id("A"), &pause()).unwrap().write().unwrap();

    assert_eq!(workspace.load().unwrap().tenants[0].paused, Some(pause()));
}

#[test]
fn a_configuration_that_can_not_be_used_is_not_edited() {
    let workspace = Workspace::with("[defaults]\nlease = 1");

    let refused = Draft::add(&workspace.path("tenants.toml"), &tenant("A")).unwrap_err();

    assert!(matches!(refused, EditError::Unusable(_)), "{refused}");
}

#[test]
fn pausing_and_resuming_leave_the_file_as_it_was() {
    let workspace = including();
    let main = workspace.path("tenants.toml");
    for (tenant, file) in [("A", "tenants.toml"), ("NAMED", "named.toml")] {
        let before = read(&workspace, file);

        Draft::pause(&main, &id(tenant), &pause()).unwrap().write().unwrap();
        let paused = read(&workspace, file);
        Draft::resume(&main, &id(tenant)).unwrap().write().unwrap();

        assert!(paused.contains("paused = { reason = \"moving\" }\n"), "{paused}");
        assert_eq!(read(&workspace, file), before);
    }
}

#[test]
fn a_removed_tenants_file_goes_unless_it_is_named() {
    let workspace = including();
    let main = workspace.path("tenants.toml");
    Draft::add(&main, &tenant("B")).unwrap().write().unwrap();

    for tenant in ["A", "B", "NAMED"] {
        Draft::remove(&main, &id(tenant)).unwrap().write().unwrap();
    }

    assert_eq!(workspace.load().unwrap().tenants, []);
    assert!(read(&workspace, "tenants.toml").ends_with("# the first\n"));
    assert!(!workspace.path("tenants.d/B.toml").exists());
    assert_eq!(read(&workspace, "named.toml"), "");
}

#[test]
fn a_file_that_changed_under_the_draft_is_not_overwritten() {
    let workspace = Workspace::with(A);
    let draft = Draft::pause(&workspace.path("tenants.toml"), &id("A"), &pause()).unwrap();
    let workspace = Workspace::file(workspace, "tenants.toml", "somebody else's");

    let refused = draft.write().unwrap_err();

    assert!(matches!(refused, EditError::Changed(_)), "{refused}");
    assert_eq!(read(&workspace, "tenants.toml"), "somebody else's");
}

#[test]
fn a_directory_whose_name_looks_like_a_pattern_is_a_directory() {
    let root = tempfile::tempdir().unwrap();
    let main = root.path().join("a[1]*/tenants.toml");
    fs::create_dir(main.parent().unwrap()).unwrap();
    fs::write(main.with_file_name("c.pem"), "").unwrap();
    let gateway = "include = [\"d/*.toml\"]\n[gateway]\ntls_certificate = \"c.pem\"\ntls_key = \"c.pem\"\n";
    fs::write(&main, gateway).unwrap();

    let written = Draft::add(&main, &tenant("B")).unwrap().write().unwrap();

    assert_eq!(written, [main.with_file_name("d").join("B.toml")]);
}
