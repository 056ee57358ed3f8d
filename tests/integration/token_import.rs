//! Tokens that vendors have already come in by a file: all or none, and their text goes nowhere.

use std::fs;

use reqwest::StatusCode;
use serde_json::json;
use turnpike::auth::hash_token;

use crate::support::program::{Finished, turnpike_logging, turnpike_reading};
use crate::support::{TestGateway, turnpike};

const FIRST: &str = "canary-0001-4a4b-9a55-6a0f3b0a0001";
const SECOND: &str = "canary-0002-4a4b-9a55-6a0f3b0a0002";

fn file() -> String {
    format!(
        "vendor,token,fields,expires,permission,allow\n\
         Northern,{FIRST},full,2999-01-31,,\n\
         Acme,{SECOND},,,a:b user-create:violation_collection,127.0.0.0/8 192.0.2.0/24\n"
    )
}

fn assert_no_token(text: &str) {
    for token in [FIRST, SECOND] {
        let hash: String = hash_token(token).iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(!text.contains("canary") && !text.contains(&hash), "{text}");
    }
}

fn written(run: &Finished) -> String {
    format!("{}{}", run.stdout, run.stderr)
}

#[tokio::test]
async fn an_imported_token_works_as_its_line_says_and_is_stored_as_its_hash_alone() {
    let gateway = TestGateway::with_tenants(["A"]).overdue("A", 1).start().await;
    let (config, database) = (gateway.config_file(), gateway.database("A"));
    fs::write(gateway.directory.path().join("tokens.csv"), file()).unwrap();
    let import = format!("token import --tenant A --file {}/tokens.csv", gateway.directory.path().display());

    let dry = turnpike_logging(&config, &format!("{import} --dry-run"), Some("trace")).await;
    let after_dry = database.count("SELECT count(*) FROM api_tokens").await;
    let imported = turnpike_logging(&config, &format!("{import} --json"), Some("trace")).await;
    let again = turnpike_logging(&config, &import, Some("trace")).await;
    let listed = turnpike(&config, "token list --tenant A --json").await;

    assert!(dry.output().contains("2 tokens would be imported at A"), "{dry:?}");
    assert_eq!(after_dry, 1, "the harness's own");
    assert_eq!(
        imported.json(),
        json!([
            {"line": 2, "token_id": 2, "vendor": "Northern", "fields": "full"},
            {"line": 3, "token_id": 3, "vendor": "Acme", "fields": "standard"},
        ])
    );
    assert_eq!((again.code, again.stdout.as_str()), (Some(1), ""));
    for line in ["nothing was imported", "line 2: has a token that is there already", "line 3: has a token"] {
        assert!(again.stderr.contains(line), "{again:?}");
    }
    let tokens = listed.json();
    assert_eq!(tokens[1]["expires_at"], json!("2999-01-31T00:00:00Z"));
    assert_eq!(tokens[2]["permissions"], json!(["a:b", "user-create:violation_collection"]));
    assert_eq!(tokens[2]["allowed_addresses"], json!(["127.0.0.0/8", "192.0.2.0/24"]));
    let everything: String = database.everything().await.into_iter().map(|(_, rows)| rows).collect();
    assert!(!everything.contains("canary-000"), "the database has the hash alone");
    for run in [&dry, &imported, &again, &listed] {
        assert_no_token(&written(run));
    }
    for token in [FIRST, SECOND] {
        let answer = gateway.vendor("A").with_token(token).claim().await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    }
    assert_eq!(database.marked().await, 1);
}

#[tokio::test]
async fn one_bad_line_keeps_every_other_out_and_no_token_is_repeated() {
    let gateway = TestGateway::with_tenants(["A"]).start().await;
    let config = gateway.config_file();
    let tokens = "SELECT count(*) FROM api_tokens";

    for (bad, expected) in [
        (format!("Acme,{FIRST},,,,\n"), "line 4: has the same token as line 2"),
        (
            format!("Acme,{}é,,,,\n", "canary"),
            "line 4: token has characters beside letters, digits and dashes",
        ),
        (format!("Acme,{FIRST}{SECOND},,,,\n"), "line 4: token has more than 50 characters"),
        ("Acme,canary-three,,2020-01-01,,\n".to_owned(), "line 4: expires is over"),
        ("canary-three\n".to_owned(), "line 4: has 1 fields where the first line names 6"),
    ] {
        let refused = turnpike_reading(&config, "token import --tenant A", &(file() + &bad)).await;

        assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""), "{refused:?}");
        assert!(refused.stderr.contains(expected), "{expected}: {refused:?}");
        assert_no_token(&written(&refused));
        assert_eq!(gateway.database("A").count(tokens).await, 1);
    }
    assert_eq!(gateway.database("A").count("SELECT count(*) FROM audit_log").await, 0);
}

#[tokio::test]
async fn a_file_without_a_header_is_not_read_out() {
    let gateway = TestGateway::with_tenants(["A"]).start().await;

    let headerless = format!("{FIRST},Northern\n{SECOND},Acme\n");
    let refused =
        turnpike_reading(&gateway.config_file(), "token import --tenant A --file -", &headerless).await;

    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("line 1: the column token is missing"), "{refused:?}");
    assert_no_token(&written(&refused));
}

#[tokio::test]
async fn a_short_token_is_imported_with_a_warning() {
    let gateway = TestGateway::with_tenants(["A"]).start().await;

    let imported = turnpike_reading(
        &gateway.config_file(),
        "token import --tenant A --fields minimal",
        "token,vendor\r\ncanary-short,Northern\r\n",
    )
    .await;

    assert!(imported.output().contains("1 tokens imported at A"), "{imported:?}");
    assert!(imported.stderr.contains("line 2: the token has fewer than 20 characters"), "{imported:?}");
    assert_no_token(&written(&imported));
    let minimal = "SELECT count(*) FROM api_tokens WHERE field_profile = 'minimal'";
    assert_eq!(gateway.database("A").count(minimal).await, 1);
}

#[tokio::test]
async fn of_two_imports_of_one_file_at_once_one_stores_it() {
    let gateway = TestGateway::with_tenants(["A"]).start().await;
    let (config, file) = (gateway.config_file(), file());
    let import = || turnpike_reading(&config, "token import --tenant A", &file);

    let (one, other) = tokio::join!(import(), import());

    let mut codes = [one.code, other.code];
    codes.sort_unstable();
    assert_eq!(codes, [Some(0), Some(1)], "{one:?} {other:?}");
    assert_eq!(gateway.database("A").count("SELECT count(*) FROM api_tokens").await, 3);
    assert_eq!(gateway.database("A").count("SELECT count(*) FROM audit_log").await, 2);
}
