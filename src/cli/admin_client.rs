//! Asks the gateway that runs, at its admin API: over its Unix socket, or over HTTP with an operator's token.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{Certificate, Client, StatusCode};
use serde::Deserialize;
use serde_json::json;
use thiserror::Error;

use crate::admin::router::{OPERATIONS, Verb};
use crate::config::{AdminAddress, GatewayConfig};
use crate::reload::Report;

const UNIX: &str = "unix:";
/// A reload of a thousand tenants takes a part of it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How to reach the gateway that runs.
#[derive(Debug, Clone, clap::Args)]
pub struct Access {
    /// An operator's token, in a file; over a Unix socket none is needed
    #[arg(long, value_name = "FILE")]
    operator_token_file: Option<PathBuf>,
    #[arg(long, env = "TURNPIKE_OPERATOR_TOKEN", hide = true, hide_env_values = true)]
    operator_token: Option<String>,
    /// The authority of the admin API's certificate, PEM; without it, this machine's authorities count
    #[arg(long, value_name = "FILE")]
    operator_ca: Option<PathBuf>,
}

#[derive(Debug, Error)]
pub enum AskError {
    #[error("admin_listen isn't configured")]
    NoListener,
    #[error("could not read {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("could not reach {address}")]
    Unreachable { address: String, source: reqwest::Error },
    #[error("{address} answered {status}: {detail}")]
    Refused { address: String, status: StatusCode, detail: String },
}

/// A gateway's admin API.
pub struct AdminClient {
    http: Client,
    address: String,
    root: String,
    token: Option<String>,
}

/// What a refusal says (RFC 9457).
#[derive(Deserialize)]
struct Problem {
    detail: String,
}

impl AdminClient {
    /// The gateway at an address as people write it: `https://HOST:PORT`, `unix:/PATH`, or the socket's path alone.
    pub fn at(address: &str, access: &Access) -> Result<Self, AskError> {
        let socket = address.strip_prefix(UNIX).or_else(|| address.starts_with('/').then_some(address));
        let unreachable = |source| AskError::Unreachable { address: address.to_owned(), source };
        let mut builder =
            Client::builder().no_proxy().timeout(ANSWER_TIMEOUT).connect_timeout(CONNECT_TIMEOUT);
        if let Some(path) = socket {
            builder = builder.unix_socket(Path::new(path));
        }
        if let Some(path) = &access.operator_ca {
            let pem = read(path)?;
            builder =
                builder.tls_certs_only(Certificate::from_pem_bundle(pem.as_bytes()).map_err(unreachable)?);
        }
        let token = match &access.operator_token_file {
            Some(path) => Some(read(path)?.trim().to_owned()),
            None => access.operator_token.clone(),
        };
        let root = if socket.is_some() { "http://localhost" } else { address.trim_end_matches('/') };
        Ok(Self {
            http: builder.build().map_err(unreachable)?,
            root: root.to_owned(),
            address: address.to_owned(),
            token,
        })
    }

    /// The gateway that is configured here.
    pub fn of(config: &GatewayConfig, access: &Access) -> Result<Self, AskError> {
        let address = match &config.admin.listen {
            None => return Err(AskError::NoListener),
            Some(AdminAddress::Unix(path)) => format!("{UNIX}{}", path.display()),
            Some(AdminAddress::Tcp(address)) => {
                let scheme = if config.admin.tls.is_some() { "https" } else { "http" };
                format!("{scheme}://{address}")
            }
        };
        Self::at(&address, access)
    }

    /// Where it is, for people.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Has it reload; gives what came of that. `reason` goes into its log.
    pub async fn reload(&self, reason: &str) -> Result<Report, AskError> {
        self.ask("", reason).await
    }

    /// What a reload would do.
    pub async fn dry_run(&self) -> Result<Report, AskError> {
        self.ask("?dry_run=true", "turnpike check --diff").await
    }

    async fn ask(&self, query: &str, reason: &str) -> Result<Report, AskError> {
        let unreachable = |source| AskError::Unreachable { address: self.address.clone(), source };
        let mut request = self
            .http
            .post(format!("{}{}{query}", self.root, reload_path()))
            .json(&json!({ "reason": reason }));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let body = response.bytes().await.map_err(unreachable)?;
        // A reload that was refused is answered with its report, too.
        serde_json::from_slice::<Report>(&body).map_err(|_no_report| {
            let problem = serde_json::from_slice::<Problem>(&body).map(|problem| problem.detail);
            let detail = problem.unwrap_or_else(|_| "that is no gateway's admin API".to_owned());
            AskError::Refused { address: self.address.clone(), status, detail }
        })
    }
}

/// Where the router has it.
fn reload_path() -> &'static str {
    let reload = OPERATIONS.iter().find(|operation| operation.verb == Verb::Reload);
    reload.expect("every verb has its operation").path
}

fn read(path: &Path) -> Result<String, AskError> {
    std::fs::read_to_string(path).map_err(|source| AskError::Read { path: path.to_owned(), source })
}
