//! What to try next: lines to paste into a shell.

use std::env;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::Tokens;
use super::call::{Delivery, claim_path};
use super::directory::DemoDirectory;
use super::tenants::NORTHERN_U;

pub(super) fn print(directory: &DemoDirectory, gateway: SocketAddr, tokens: &Tokens, delivery: &Delivery) {
    let program = shell_word(&program_as_typed());
    let config = shell_word(&directory.configuration());
    let authority = shell_word(&directory.path("certs/ca.pem"));

    println!(
        "To take the overdue violations of each tenant; whoever calls again gets none, they were handed over:"
    );
    for (tenant, token) in &tokens.0 {
        println!(
            "\ncurl --cacert {authority} -X POST -H 'Content-Type: application/json' \
             -d '{{\"apiToken\":\"{token}\"}}' https://{gateway}{}",
            claim_path(tenant)
        );
    }
    println!("\n{}'s are taken already, by the call above. More of them:\n", NORTHERN_U.id);
    println!("{program} sample --config {config} --tenant {} --violations 20", NORTHERN_U.id);
    println!("\nWhy a violation is, or is no longer, handed over; and who may call:\n");
    if let Some(ticket) = delivery.records().first().and_then(|record| record["Ticket"].as_str()) {
        let ticket = shell_word(Path::new(ticket));
        println!("{program} explain --config {config} --tenant {} --ticket {ticket}", NORTHERN_U.id);
    }
    println!("{program} token list --config {config} --tenant {}", NORTHERN_U.id);
    println!("\nWhat it bears, on previews, which take nothing away; Ctrl-C reports what there is:\n");
    let tokens = shell_word(&directory.path("tokens"));
    println!(
        "{program} loadtest --config {config} --all --token-dir {tokens} --ca {authority} --rate 50/s --duration 30s"
    );
    println!("\nThe gateway's log: {}", directory.path("gateway.log").display());
}

/// This program, relative to the working directory where it is below it.
fn program_as_typed() -> PathBuf {
    let program = env::current_exe().unwrap_or_else(|_| PathBuf::from("turnpike"));
    match env::current_dir() {
        Ok(here) => program.strip_prefix(here).map(Path::to_owned).unwrap_or(program),
        Err(_) => program,
    }
}

fn shell_word(path: &Path) -> String {
    let word = path.display().to_string();
    let plain = |character: char| character.is_ascii_alphanumeric() || "/._-+:".contains(character);
    if word.chars().all(plain) { word } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_a_space_or_a_quote_is_one_word() {
        assert_eq!(shell_word(Path::new(".demo/certs/ca.pem")), ".demo/certs/ca.pem");
        assert_eq!(shell_word(Path::new("my demo's")), r"'my demo'\''s'");
    }
}
