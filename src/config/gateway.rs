//! `[gateway]`: what holds for every tenant and every peer.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Value;

use super::admin::{AdminAddress, AdminConfig};
use super::limits::FailuresConfig;
use super::section::Section;
use super::telemetry::TelemetryConfig;
use super::value::{
    DAY, HOUR, MINUTE, SECOND, address, boolean, check_readable, duration, duration_or_off, integer, string,
};

/// The listener, its TLS, and the bounds on peers and on the authentication cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayConfig {
    /// Where vendors are served.
    pub listen: SocketAddr,
    /// Where operators are served, and how they authenticate.
    pub admin: AdminConfig,
    /// The certificate chain, PEM. Was readable when the configuration was loaded; not parsed here.
    pub tls_certificate: PathBuf,
    /// The certificate's key, PEM. Was readable when the configuration was loaded; not parsed here.
    pub tls_key: PathBuf,
    /// How often the configuration's files are looked at for a change; `None`: never.
    pub reload_interval: Option<Duration>,
    /// How long a request's body may take to arrive after its head.
    pub request_timeout: Duration,
    /// How long a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// How long a connection may idle between requests.
    pub keep_alive_timeout: Duration,
    /// How long open requests get to end when the gateway stops.
    pub drain_timeout: Duration,
    /// Open vendor connections at most.
    pub max_peers: usize,
    /// Of these with one address at most.
    pub max_peers_per_address: usize,
    /// When an address, or whoever calls one tenant, is refused unheard.
    pub failures: FailuresConfig,
    /// What all tenants together may open of database connections.
    pub budget: BudgetConfig,
    /// Whether a body's last frame waits until the peer's kernel has acknowledged the bytes before it.
    pub await_acknowledgement: bool,
    /// How long before a token's end its vendor is warned; `None`: never.
    pub token_expiry_warning: Option<Duration>,
    /// How long a good verdict on a token is remembered.
    pub auth_cache_ttl: Duration,
    /// How long a bad verdict on a token is remembered.
    pub auth_refusal_ttl: Duration,
    /// Good verdicts remembered at most.
    pub auth_cache_capacity: u64,
    /// Bad verdicts remembered at most; apart, so that a flood of bad tokens can't push out the good ones.
    pub auth_refusal_capacity: u64,
    pub telemetry: TelemetryConfig,
}

/// Bounds on database connections across tenants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetConfig {
    /// Of this process at most.
    pub max_database_connections: usize,
    /// With one database server at most.
    pub max_connections_per_server: usize,
    /// So many a second are opened with one server at most.
    pub connection_opening_rate: u32,
}

impl Default for BudgetConfig {
    fn default() -> BudgetConfig {
        BudgetConfig {
            max_database_connections: 1_000,
            max_connections_per_server: 90, // PostgreSQL's own default is 100, some of them kept for superusers
            connection_opening_rate: 100,
        }
    }
}

impl BudgetConfig {
    #[rustfmt::skip] // One key a line: it is a table.
    fn read(section: &mut Section) -> BudgetConfig {
        let base = BudgetConfig::default();
        BudgetConfig {
            max_database_connections: section.find("max_database_connections", integer(1..=100_000)).unwrap_or(base.max_database_connections),
            max_connections_per_server: section.find("max_connections_per_server", integer(1..=100_000)).unwrap_or(base.max_connections_per_server),
            connection_opening_rate: section.find("connection_opening_rate", integer(1..=100_000)).unwrap_or(base.connection_opening_rate),
        }
    }
}

impl GatewayConfig {
    /// Every file that it names.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        [&self.tls_certificate, &self.tls_key].into_iter().chain(self.admin.files()).map(PathBuf::as_path)
    }

    /// `None` where something required is missing; there is a fault for it then.
    #[rustfmt::skip] // One key a line: it is a table.
    pub(super) fn read(section: &mut Section) -> Option<GatewayConfig> {
        let listen = section.find("listen", address).unwrap_or((Ipv4Addr::UNSPECIFIED, 8443).into());
        let file = readable_file(section);
        let tls_certificate = section.require("tls_certificate", &file);
        let tls_key = section.require("tls_key", &file);
        let admin = AdminConfig::read(section, tls_certificate.clone().zip(tls_key.clone()));
        if admin.listen == Some(AdminAddress::Tcp(listen)) && listen.port() != 0 {
            section.report("admin_listen", format!("must not be the address of listen, {listen}"));
        }
        let reload_interval = section.find("reload_interval", duration_or_off(HOUR)).unwrap_or(Some(5 * SECOND));
        let request_timeout = section.find("request_timeout", duration(5 * MINUTE)).unwrap_or(10 * SECOND);
        let handshake_timeout = section.find("handshake_timeout", duration(5 * MINUTE)).unwrap_or(10 * SECOND);
        let keep_alive_timeout = section.find("keep_alive_timeout", duration(HOUR)).unwrap_or(75 * SECOND);
        let drain_timeout = section.find("drain_timeout", duration(HOUR)).unwrap_or(30 * SECOND);
        let max_peers = section.find("max_peers", integer(1..=1_000_000)).unwrap_or(10_000);
        let max_peers_per_address = section.find("max_peers_per_address", integer(1..=1_000_000)).unwrap_or(2_500);
        let failures = FailuresConfig::read(section);
        let budget = BudgetConfig::read(section);
        let await_acknowledgement = section.find("await_acknowledgement", boolean).unwrap_or(true);
        let token_expiry_warning = section.find("token_expiry_warning", duration_or_off(365 * DAY)).unwrap_or(Some(14 * DAY));
        let auth_cache_ttl = section.find("auth_cache_ttl", duration(HOUR)).unwrap_or(30 * SECOND);
        let auth_refusal_ttl = section.find("auth_refusal_ttl", duration(HOUR)).unwrap_or(5 * SECOND);
        let auth_cache_capacity = section.find("auth_cache_capacity", integer(1..=10_000_000)).unwrap_or(100_000);
        let auth_refusal_capacity = section.find("auth_refusal_capacity", integer(1..=10_000_000)).unwrap_or(10_000);
        let telemetry = TelemetryConfig::read(section);
        Some(GatewayConfig {
            listen,
            admin,
            tls_certificate: tls_certificate?,
            tls_key: tls_key?,
            reload_interval,
            request_timeout,
            handshake_timeout,
            keep_alive_timeout,
            drain_timeout,
            max_peers,
            max_peers_per_address,
            failures,
            budget,
            await_acknowledgement,
            token_expiry_warning,
            auth_cache_ttl,
            auth_refusal_ttl,
            auth_cache_capacity,
            auth_refusal_capacity,
            telemetry,
        })
    }
}

/// A path, beside the section's file, that can be read.
pub(super) fn readable_file(section: &Section) -> impl Fn(Value) -> Result<PathBuf, String> + use<> {
    let directory = section.beside("");
    move |value| {
        let path = directory.join(string(value)?);
        check_readable(&path)?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Fault;

    /// Reads a `[gateway]` whose certificate and key are this crate's own manifest: some file that is there.
    fn read(text: &str) -> (Option<GatewayConfig>, Vec<String>) {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("g.toml");
        let text = format!("tls_certificate = \"Cargo.toml\"\ntls_key = \"Cargo.toml\"\n{text}");
        let mut section = Section::root(&file, text.parse().unwrap());
        let config = GatewayConfig::read(&mut section);
        let faults = section.finish();
        (config, faults.iter().map(|Fault { key, reason, .. }| format!("{key}: {reason}")).collect())
    }

    #[test]
    fn the_defaults_are_as_documented() {
        let (config, faults) = read("");
        let config = config.unwrap();

        assert_eq!(faults, [""; 0]);
        assert_eq!(config.listen.to_string(), "0.0.0.0:8443");
        assert_eq!(config.admin.listen, None);
        assert_eq!(config.tls_key, Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));
        assert_eq!(config.keep_alive_timeout, 75 * SECOND);
        assert_eq!((config.max_peers, config.max_peers_per_address), (10_000, 2_500));
        assert_eq!(config.failures, FailuresConfig::default());
        assert_eq!(config.auth_refusal_capacity, 10_000);
    }

    #[test]
    fn the_wait_for_acknowledgement_can_be_switched_off() {
        let (config, faults) = read("await_acknowledgement = false\nrequest_timeout = \"0s\"");

        assert!(!config.unwrap().await_acknowledgement);
        assert_eq!(faults, ["request_timeout: must be 1ms to 5m, is 0s"]);
    }

    #[test]
    fn operators_and_vendors_are_not_served_at_one_address() {
        let (_, faults) = read("listen = \"127.0.0.1:1\"\nadmin_listen = \"127.0.0.1:1\"");

        assert_eq!(faults, ["admin_listen: must not be the address of listen, 127.0.0.1:1"]);
    }

    #[test]
    fn a_certificate_is_required_and_must_be_a_readable_file() {
        let mut section = Section::root(Path::new("nowhere/g.toml"), "tls_key = \"k.pem\"".parse().unwrap());

        assert_eq!(GatewayConfig::read(&mut section), None);
        assert_eq!(
            section.finish().iter().map(Fault::to_string).collect::<Vec<_>>(),
            [
                "nowhere/g.toml: tls_certificate: is required",
                "nowhere/g.toml: tls_key: cannot read nowhere/k.pem: No such file or directory (os error 2)",
            ]
        );
    }
}
