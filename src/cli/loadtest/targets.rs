//! What the load testers have in common: where the gateway is, whom to call for, and with which tokens.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use glob::Pattern;

use super::super::{CommandError, parse_tenant};
use super::parse_duration;
use crate::access_log::chain;
use crate::config::{Config, TenantId};
use crate::loadtest::connections::{Connections, Dialer};
use crate::loadtest::endpoint::{Endpoint, EndpointError, HttpVersion, Reuse, client_tls};
use crate::loadtest::preflight::find_unfit;
use crate::loadtest::target::Target;

/// So many tenants that can't be called are told of one by one.
const UNFIT_SHOWN: usize = 10;

#[derive(Debug, clap::Args)]
pub struct GatewayArgs {
    /// Where the gateway is; without it, where the configuration's gateway listens on this machine
    #[arg(long, value_name = "https://HOST:PORT")]
    url: Option<String>,
    /// The certificate authorities to trust, PEM; without it, this machine's
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The HTTP version to speak
    #[arg(long, value_enum, default_value_t = Http::Two)]
    http: Http,
    /// A file that holds the API token, of every tenant that is called
    #[arg(long, value_name = "FILE", required_unless_present = "token_dir", conflicts_with = "token_dir")]
    token_file: Option<PathBuf>,
    /// A directory that holds each tenant's API token, in a file of its id
    #[arg(long, value_name = "DIR")]
    token_dir: Option<PathBuf>,
    /// How long a call may take, from when it is due
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    pub(super) timeout: Duration,
    /// Open a connection for each call, with a full TLS handshake, as a vendor's cron job does
    #[arg(long)]
    fresh_connections: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Http {
    #[value(name = "1.1")]
    One,
    #[value(name = "2")]
    Two,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub struct TenantsArgs {
    /// A tenant to call for, or a pattern of them in the configuration, as in 'OC_*'; may be repeated
    #[arg(long = "tenant", value_name = "ID", value_parser = parse_pattern)]
    patterns: Vec<TenantPattern>,
    /// Call for every tenant of the configuration
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Clone)]
enum TenantPattern {
    One(TenantId),
    Many(Pattern),
}

fn parse_pattern(text: &str) -> Result<TenantPattern, String> {
    if !text.contains(['*', '?', '[']) {
        return parse_tenant(text).map(TenantPattern::One);
    }
    Pattern::new(text).map(TenantPattern::Many).map_err(|error| error.to_string())
}

impl TenantsArgs {
    /// The tenants that are meant, each once; never none.
    pub(super) fn select(&self, config: &Path) -> Result<Vec<TenantId>, CommandError> {
        let mut selected = Vec::new();
        if self.all {
            selected = configured(config)?;
        }
        for pattern in &self.patterns {
            match pattern {
                TenantPattern::One(tenant) => selected.push(tenant.clone()),
                TenantPattern::Many(pattern) => {
                    let all = configured(config)?;
                    let before = selected.len();
                    selected.extend(all.into_iter().filter(|tenant| pattern.matches(tenant.as_str())));
                    if selected.len() == before {
                        let none = format!("no tenant of {} is called {pattern}", config.display());
                        return Err(CommandError::Usage(none));
                    }
                }
            }
        }
        let mut seen = std::collections::HashSet::new();
        selected.retain(|tenant| seen.insert(tenant.clone()));
        if selected.is_empty() {
            return Err(CommandError::Usage(format!("{} has no valid tenant", config.display())));
        }
        Ok(selected)
    }
}

fn configured(config: &Path) -> Result<Vec<TenantId>, CommandError> {
    let config = Config::load(config)?;
    for quarantined in &config.quarantined {
        eprintln!(
            "turnpike loadtest: {} is left out: it is at fault in the configuration",
            quarantined.tenant
        );
    }
    Ok(config.tenants.into_iter().map(|tenant| tenant.id).collect())
}

impl GatewayArgs {
    /// How to connect, with the gateway's address found and the authorities read.
    pub(super) async fn dialer(&self, config: &Path) -> Result<Dialer, CommandError> {
        let url = match &self.url {
            Some(url) => url.clone(),
            None => format!("https://{}", reachable(Config::load(config)?.gateway.listen)?),
        };
        let http = match self.http {
            Http::One => HttpVersion::One,
            Http::Two => HttpVersion::Two,
        };
        let reuse = if self.fresh_connections { Reuse::Fresh } else { Reuse::Kept };
        let unusable = |error: EndpointError| CommandError::Usage(chain(&error));
        let tls = client_tls(self.ca.as_deref(), http, reuse).map_err(unusable)?;
        Ok(Dialer { endpoint: Endpoint::find(&url).await.map_err(unusable)?, tls, http, reuse })
    }

    /// The tenants with their tokens.
    pub(super) fn targets(&self, tenants: Vec<TenantId>) -> Result<Vec<Target>, CommandError> {
        tenants.into_iter().map(|tenant| Ok(Target { token: self.token(&tenant)?, tenant })).collect()
    }

    fn token(&self, tenant: &TenantId) -> Result<String, CommandError> {
        let path = match (&self.token_file, &self.token_dir) {
            (Some(file), _) => file.clone(),
            (None, Some(directory)) => directory.join(tenant.as_str()),
            (None, None) => {
                return Err(CommandError::Usage("give the token with --token-file or --token-dir".into()));
            }
        };
        let unusable = |reason: String| {
            CommandError::Usage(format!("could not read {tenant}'s token from {}: {reason}", path.display()))
        };
        let token = fs::read_to_string(&path).map_err(|error| unusable(error.to_string()))?;
        let token = token.trim();
        if token.is_empty() { Err(unusable("it is empty".to_owned())) } else { Ok(token.to_owned()) }
    }

    /// Looks whether every target can be called, and refuses the run where one can't.
    pub(super) async fn ensure_fit(&self, dialer: &Dialer, targets: &[Target]) -> Result<(), CommandError> {
        let connections = Connections::new(dialer.clone(), 4);
        let unfit = find_unfit(&connections, targets, self.timeout).await;
        if unfit.is_empty() {
            return Ok(());
        }
        let mut lines: Vec<String> =
            unfit.iter().take(UNFIT_SHOWN).map(|unfit| format!("  {unfit}")).collect();
        if let Some(left @ 1..) = unfit.len().checked_sub(UNFIT_SHOWN) {
            lines.push(format!("  and {left} more"));
        }
        Err(CommandError::Refused(format!(
            "{} of {} tenants can't be load-tested at {}; nothing was run:\n{}",
            unfit.len(),
            targets.len(),
            dialer.endpoint.authority,
            lines.join("\n")
        )))
    }
}

/// Where a client on this machine finds a gateway that listens there.
fn reachable(listen: SocketAddr) -> Result<SocketAddr, CommandError> {
    if listen.port() == 0 {
        let why = "the configuration's listen leaves the port open: give the gateway's address with --url";
        return Err(CommandError::Usage(why.to_owned()));
    }
    let ip = match listen.ip() {
        address if !address.is_unspecified() => address,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    Ok(SocketAddr::new(ip, listen.port()))
}
