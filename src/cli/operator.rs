//! `turnpike operator keygen | token`
//!
//! An operator's token is a JWT, signed with a key that the gateway doesn't have. It isn't kept anywhere, and ends by itself.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;
use glob::Pattern;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256};

use super::{CommandError, CommandResult};
use crate::admin::keys::{Audience, Payload, is_actor, key_id};
use crate::admin::operator::Scope;

const PRIVATE: &str = "operator.key";
const PUBLIC: &str = "operator.pem";
const ONLY_OWNER: u32 = 0o600;
const EVERYBODY_READS: u32 = 0o644;

#[derive(Debug, Subcommand)]
pub enum OperatorCommand {
    /// Make a key pair (Ed25519): operator.key, which signs tokens, and operator.pem, which the gateway verifies them with
    Keygen(KeygenArgs),
    /// Make a token for the admin API, and print it alone
    Token(TokenArgs),
}

#[derive(Debug, clap::Args)]
pub struct KeygenArgs {
    /// The directory for the two files; neither is ever overwritten
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

#[derive(Debug, clap::Args)]
pub struct TokenArgs {
    /// The private key: Ed25519, P-256 or RSA, PKCS #8 in PEM
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Whom it is for: the actor of every audit line
    #[arg(long, value_name = "NAME", value_parser = parse_subject)]
    subject: String,
    /// What it is for: tenants:read, tenants:write, tokens:write, batches:write, config:reload, metrics:read
    #[arg(long, value_parser = parse_scope, num_args = 1.., required = true)]
    scope: Vec<Scope>,
    /// The tenants it is for; without any it is for none
    #[arg(long, value_name = "GLOB", value_parser = parse_glob, num_args = 1..)]
    tenant: Vec<String>,
    /// How long it is valid, like 1h
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = humantime::parse_duration)]
    expires_in: Duration,
    /// The gateway's operator_issuer
    #[arg(long, value_name = "NAME", default_value = "turnpike")]
    issuer: String,
    /// The gateway's operator_audience
    #[arg(long, value_name = "NAME", default_value = "turnpike-admin")]
    audience: String,
}

fn parse_scope(text: &str) -> Result<Scope, String> {
    Scope::parse(text).ok_or_else(|| format!("one of {}", Scope::ALL.map(Scope::as_str).join(", ")))
}

fn parse_subject(text: &str) -> Result<String, String> {
    if is_actor(text) { Ok(text.to_owned()) } else { Err("1 to 128 bytes of text".to_owned()) }
}

fn parse_glob(text: &str) -> Result<String, String> {
    Pattern::new(text).map(|glob| glob.to_string()).map_err(|error| error.msg.to_owned())
}

pub fn run(command: &OperatorCommand) -> CommandResult {
    match command {
        OperatorCommand::Keygen(args) => keygen(args),
        OperatorCommand::Token(args) => token(args),
    }
}

fn keygen(args: &KeygenArgs) -> CommandResult {
    let pair = KeyPair::generate_for(&PKCS_ED25519)
        .map_err(|error| CommandError::Refused(format!("could not make a key: {error}")))?;
    let (private, public) = (args.out.join(PRIVATE), args.out.join(PUBLIC));
    if public.exists() {
        return Err(CommandError::Refused(format!("{} is there already", public.display())));
    }
    let io = |attempt: String| move |source| CommandError::Io { attempt, source };
    std::fs::create_dir_all(&args.out).map_err(io(format!("make {}", args.out.display())))?;
    write_new(&private, ONLY_OWNER, &pair.serialize_pem())?;
    write_new(&public, EVERYBODY_READS, &pair.public_key_pem())?;
    println!(
        "{} signs tokens: keep it from the gateway's machine if you can\n{} goes to the gateway: operator_keys = [\"{PUBLIC}\"]",
        private.display(),
        public.display()
    );
    Ok(ExitCode::SUCCESS)
}

fn write_new(path: &Path, mode: u32, text: &str) -> Result<(), CommandError> {
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|source| CommandError::Io { attempt: format!("write {}", path.display()), source })
}

fn token(args: &TokenArgs) -> CommandResult {
    let attempt = || format!("read {}", args.key.display());
    let pem = std::fs::read_to_string(&args.key)
        .map_err(|source| CommandError::Io { attempt: attempt(), source })?;
    let no_key = || {
        CommandError::Refused(format!(
            "{} holds no private key in PEM (PKCS #8): Ed25519, P-256, or RSA of 2048 bits at least",
            args.key.display()
        ))
    };
    let (header, key) = signer(&pem).ok_or_else(no_key)?;
    let iat = get_current_timestamp();
    let scopes: Vec<&str> = args.scope.iter().map(|scope| scope.as_str()).collect();
    let payload = Payload {
        iss: args.issuer.clone(),
        aud: Audience::One(args.audience.clone()),
        sub: args.subject.clone(),
        iat,
        exp: iat.saturating_add(args.expires_in.as_secs()),
        scope: scopes.join(" "),
        tenants: args.tenant.clone(),
    };
    let token = encode(&header, &payload, &key).map_err(|_unfit| no_key())?;
    println!("{token}");
    Ok(ExitCode::SUCCESS)
}

/// The header that a key's tokens have, and the key. None for what is no key that can be used.
fn signer(pem: &str) -> Option<(Header, EncodingKey)> {
    let pair = KeyPair::from_pem(pem).ok()?;
    let (algorithm, key) = if pair.is_compatible(&PKCS_ED25519) {
        (Algorithm::EdDSA, EncodingKey::from_ed_pem(pem.as_bytes()))
    } else if pair.is_compatible(&PKCS_ECDSA_P256_SHA256) {
        (Algorithm::ES256, EncodingKey::from_ec_pem(pem.as_bytes()))
    } else if pair.is_compatible(&PKCS_RSA_SHA256) {
        (Algorithm::RS256, EncodingKey::from_rsa_pem(pem.as_bytes()))
    } else {
        return None;
    };
    let mut header = Header::new(algorithm);
    header.kid = Some(key_id(&pair.public_key_pem())?);
    Some((header, key.ok()?))
}
