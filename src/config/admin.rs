//! `[gateway]`, the part that is for operators: where they are served, and whose word is taken for who they are.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use toml::Value;

use super::gateway::readable_file;
use super::section::Section;
use super::value::{DAY, address, duration, string, strings};

/// What the address of a Unix socket begins with; its path follows.
const UNIX: &str = "unix:";
/// Linux's `sun_path`, less its closing zero byte and what a name of ours is lengthened by while it is being made.
const UNIX_PATH_LIMIT: usize = 107 - 5;
const CERTIFICATE: &str = "admin_tls_certificate";
const KEY: &str = "admin_tls_key";
const ISSUER: &str = "turnpike";
const AUDIENCE: &str = "turnpike-admin";

/// The operators' listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminConfig {
    /// `None`: operators are served nowhere.
    pub listen: Option<AdminAddress>,
    /// Certificate and key, PEM, where it speaks TLS. Were readable when the configuration was loaded; not parsed here.
    pub tls: Option<(PathBuf, PathBuf)>,
    pub operators: OperatorConfig,
}

/// Where operators are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminAddress {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// How operators authenticate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorConfig {
    /// Public keys, PEM. Were readable when the configuration was loaded; not parsed here.
    pub keys: Vec<PathBuf>,
    /// A JWK set (RFC 7517). Was readable when the configuration was loaded; not parsed here.
    pub jwks: Option<PathBuf>,
    /// Their tokens' `iss`.
    pub issuer: String,
    /// Their tokens' `aud`.
    pub audience: String,
    /// Between their tokens' `iat` and `exp`, at most.
    pub token_lifetime: Duration,
}

impl Default for OperatorConfig {
    fn default() -> OperatorConfig {
        OperatorConfig {
            keys: Vec::new(),
            jwks: None,
            issuer: ISSUER.to_owned(),
            audience: AUDIENCE.to_owned(),
            token_lifetime: DAY,
        }
    }
}

impl OperatorConfig {
    /// Whether anybody can authenticate by a token.
    pub fn has_keys(&self) -> bool {
        !self.keys.is_empty() || self.jwks.is_some()
    }

    fn read(section: &mut Section) -> OperatorConfig {
        let base = OperatorConfig::default();
        let file = readable_file(section);
        let files = |value| strings(value)?.into_iter().map(|path| file(Value::String(path))).collect();
        let keys = section.find("operator_keys", files);
        let jwks = section.find("operator_jwks", &file);
        OperatorConfig {
            keys: keys.unwrap_or(base.keys),
            jwks,
            issuer: section.find("operator_issuer", string).unwrap_or(base.issuer),
            audience: section.find("operator_audience", string).unwrap_or(base.audience),
            token_lifetime: section
                .find("operator_token_lifetime", duration(365 * DAY))
                .unwrap_or(base.token_lifetime),
        }
    }
}

impl AdminConfig {
    /// Every file that it names.
    pub(super) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let tls = self.tls.iter().flat_map(|(certificate, key)| [certificate, key]);
        tls.chain(&self.operators.keys).chain(&self.operators.jwks)
    }

    /// `gateway_tls` is the vendors' pair: a public address is served with it where operators have no pair of their own.
    pub(super) fn read(section: &mut Section, gateway_tls: Option<(PathBuf, PathBuf)>) -> AdminConfig {
        let listen = section.find("admin_listen", admin_address);
        let certificate = section.says(CERTIFICATE);
        if certificate != section.says(KEY) {
            let (said, missing) = if certificate { (CERTIFICATE, KEY) } else { (KEY, CERTIFICATE) };
            section.report(missing, format!("is required beside {said}"));
        }
        let file = readable_file(section);
        let certificate = section.find(CERTIFICATE, &file);
        let own_tls = certificate.zip(section.find(KEY, &file));
        let operators = OperatorConfig::read(section);
        let public = matches!(listen, Some(AdminAddress::Tcp(address)) if !address.ip().is_loopback());
        if public && !operators.has_keys() {
            section.report(
                "admin_listen",
                "must be a loopback address or a Unix socket, unless operator_keys or operator_jwks say whose tokens count",
            );
        }
        if own_tls.is_some() && matches!(listen, Some(AdminAddress::Unix(_))) {
            section.report(
                CERTIFICATE,
                "a Unix socket is served without TLS: only the machine's own users reach it",
            );
        }
        AdminConfig { listen, tls: own_tls.or(if public { gateway_tls } else { None }), operators }
    }
}

/// `127.0.0.1:8444`, or `unix:/run/turnpike/admin.sock`.
fn admin_address(value: Value) -> Result<AdminAddress, String> {
    let Some(path) = value.as_str().and_then(|text| text.strip_prefix(UNIX)).map(PathBuf::from) else {
        return address(value).map(AdminAddress::Tcp).map_err(|reason| format!("{reason}; or unix:/PATH"));
    };
    if !path.is_absolute() {
        return Err("a Unix socket's path must be absolute, such as unix:/run/turnpike/admin.sock".to_owned());
    }
    if path.as_os_str().len() > UNIX_PATH_LIMIT {
        return Err(format!("a Unix socket's path must have at most {UNIX_PATH_LIMIT} bytes"));
    }
    Ok(AdminAddress::Unix(path))
}

impl std::fmt::Display for AdminAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Fault;

    /// Reads operators' keys; their files are this crate's own manifest.
    fn read(text: &str) -> (AdminConfig, Vec<String>) {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("g.toml");
        let mut section = Section::root(&file, text.parse().unwrap());
        let config = AdminConfig::read(&mut section, Some(("gateway".into(), "pair".into())));
        let faults = section.finish();
        (config, faults.iter().map(|Fault { key, reason, .. }| format!("{key}: {reason}")).collect())
    }

    #[test]
    fn a_public_address_needs_keys_and_is_served_over_tls() {
        let (_, faults) = read("admin_listen = \"0.0.0.0:1\"");
        let (config, good) = read("admin_listen = \"0.0.0.0:1\"\noperator_keys = [\"Cargo.toml\"]");

        assert_eq!(
            faults,
            [
                "admin_listen: must be a loopback address or a Unix socket, unless operator_keys or operator_jwks say whose \
              tokens count"
            ]
        );
        assert_eq!(good, [""; 0]);
        assert_eq!(config.tls, Some(("gateway".into(), "pair".into())));
    }

    #[test]
    fn a_loopback_address_and_a_unix_socket_need_neither() {
        for address in ["127.0.0.1:1", "[::1]:1", "unix:/run/turnpike/admin.sock"] {
            let (config, faults) = read(&format!("admin_listen = \"{address}\""));

            assert_eq!(faults, [""; 0]);
            assert_eq!((config.listen.unwrap().to_string().as_str(), config.tls), (address, None));
        }
    }

    #[test]
    fn a_socket_has_an_absolute_path_that_the_kernel_takes() {
        let (_, relative) = read("admin_listen = \"unix:admin.sock\"");
        let (_, long) = read(&format!("admin_listen = \"unix:/{}\"", "a".repeat(200)));

        assert_eq!(
            relative,
            ["admin_listen: a Unix socket's path must be absolute, such as unix:/run/turnpike/admin.sock"]
        );
        assert_eq!(long, ["admin_listen: a Unix socket's path must have at most 102 bytes"]);
    }

    #[test]
    fn a_certificate_needs_its_key() {
        let (_, faults) = read("admin_tls_certificate = \"Cargo.toml\"");

        assert_eq!(faults, ["admin_tls_key: is required beside admin_tls_certificate"]);
    }

    #[test]
    fn a_key_that_is_not_there_is_named() {
        let (_, faults) = read("operator_keys = [\"no/such.pem\"]");

        assert!(faults[0].starts_with("operator_keys: cannot read "), "{faults:?}");
    }
}
