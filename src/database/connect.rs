//! Opens sessions: TLS as configured, every time-out set, and a driver that takes no doubtful commit for a good one.

use std::future::poll_fn;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;
use tokio_postgres::config::{Host, SslMode, SslNegotiation};
use tokio_postgres::{AsyncMessage, Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;
use tracing::debug;

use super::statements;
use super::wire::Wiring;
use crate::config::{ConnectionConfig, DatabaseTls, TenantConfig};

/// An operator's command may wait longer for a lock or a statement than a vendor's call.
const OWNER_OPTIONS: &str = "-c TimeZone=UTC -c search_path=public -c lock_timeout=60s";
const ADMINISTRATOR_TIMEOUT: Duration = Duration::from_secs(10);
const DEFAULT_PORT: u16 = 5432;
/// A peer that is gone without a word is noticed after about this long.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Debug, Error)]
pub enum ConnectError {
    #[error("could not read the certificate authorities in {path}")]
    Authorities { path: PathBuf, source: rustls::pki_types::pem::Error },
    #[error("{path} holds no certificate that can be trusted")]
    NoAuthority { path: PathBuf },
    #[error("could not set up TLS towards the database")]
    Tls(#[from] rustls::Error),
}

/// How to reach one database as one role.
pub struct Connector {
    postgres: Config,
    wiring: Wiring,
    /// Transaction poolers hand a session to many clients: settings made for a session don't hold there.
    has_settings: bool,
}

impl Connector {
    /// As the gateway's role, with the tenant's time-outs.
    pub fn for_gateway(tenant: &TenantConfig) -> Result<Self, ConnectError> {
        let mut connector = Self::new(&tenant.database)?;
        let pool = &tenant.pool;
        connector.has_settings = pool.prepared_statements;
        connector.postgres.application_name(format!("turnpike/{}", tenant.id));
        connector.postgres.connect_timeout(pool.connect_timeout);
        if pool.prepared_statements {
            // Statements name their schemas; the search path is closed so that nothing can slip in between.
            // READ COMMITTED, UTC and JIT are ours to decide: eligibility, grace days and speed rest on them. Every
            // statement finds its rows by an index; statistics that are out of date must not talk it into a scan, nor a claim
            // with a limit into a bitmap, which reads everything and sorts it. Generic plans: a chunk's number of ids isn't worth a new plan each time, and with many of them the planner would
            // rather hash the whole of `users`.
            connector.postgres.options(format!(
                "-c search_path=pg_catalog -c TimeZone=UTC -c default_transaction_isolation=read\\ committed -c jit=off -c enable_seqscan=off -c enable_bitmapscan=off -c plan_cache_mode=force_generic_plan \
                 -c statement_timeout={} -c lock_timeout={} -c idle_in_transaction_session_timeout={}",
                pool.statement_timeout.as_millis(),
                pool.lock_timeout.as_millis(),
                pool.idle_in_transaction_timeout.as_millis(),
            ));
        }
        Ok(connector)
    }

    /// As the role that owns the schema, for the operator's commands.
    pub fn for_owner(tenant: &TenantConfig) -> Result<Self, ConnectError> {
        let mut connector = Self::new(&tenant.owner)?;
        connector.postgres.application_name(format!("turnpike-owner/{}", tenant.id));
        connector.postgres.connect_timeout(tenant.pool.connect_timeout);
        connector.postgres.options(OWNER_OPTIONS);
        Ok(connector)
    }

    /// As the server's administrator, who makes roles and databases.
    pub fn for_administrator(connection: &ConnectionConfig) -> Result<Self, ConnectError> {
        let mut connector = Self::new(connection)?;
        connector.postgres.application_name("turnpike-administrator");
        connector.postgres.connect_timeout(ADMINISTRATOR_TIMEOUT);
        Ok(connector)
    }

    fn new(connection: &ConnectionConfig) -> Result<Self, ConnectError> {
        let mut postgres = connection.postgres.clone();
        postgres.keepalives_idle(Duration::from_secs(30));
        postgres.tcp_user_timeout(TCP_USER_TIMEOUT);
        let tls = match &connection.tls {
            DatabaseTls::Disable => None,
            DatabaseTls::Require => Some(unverified()?),
            DatabaseTls::VerifyFull { ca } => Some(verified(ca)?),
        };
        let local = postgres.get_hosts().iter().any(|host| matches!(host, Host::Unix(_)));
        // The driver hands no Unix socket out: its end can't be waited for, and the server may count it a moment longer.
        postgres.ssl_mode(if local { SslMode::Disable } else { SslMode::Require });
        if tls.is_none() {
            postgres.ssl_negotiation(SslNegotiation::Direct);
        }
        Ok(Self { postgres, wiring: Wiring(tls), has_settings: false })
    }

    /// The server's addresses, as the budget tells servers apart: in whichever order they are given.
    pub(super) fn server(&self) -> String {
        let ports = self.postgres.get_ports();
        let hosts = self.postgres.get_hosts().iter().enumerate().map(|(at, host)| {
            let host = match host {
                Host::Tcp(name) => name.clone(),
                Host::Unix(directory) => directory.display().to_string(),
            };
            let port = ports.get(at).or(ports.first()).copied().unwrap_or(DEFAULT_PORT);
            format!("{host}:{port}")
        });
        let mut hosts: Vec<_> = hosts.collect();
        hosts.sort_unstable();
        hosts.join(",")
    }

    /// Opens one session; the driver runs in a task of its own until the client is dropped.
    pub async fn open(&self) -> Result<(Client, JoinHandle<()>), tokio_postgres::Error> {
        let (client, driver) = self.connect().await?;
        let driver = tokio::spawn(driver);
        self.prepare_session(&client).await?;
        Ok((client, driver))
    }

    /// Logs in. The driver has to be polled until it ends, which is when the server has ended the session.
    pub(super) async fn connect(&self) -> Result<(Client, Driver), tokio_postgres::Error> {
        let (client, connection) = self.postgres.connect(self.wiring.clone()).await?;
        Ok((client, Box::pin(drive(connection))))
    }

    /// Makes a new session's settings.
    pub(super) async fn prepare_session(&self, client: &Client) -> Result<(), tokio_postgres::Error> {
        if self.has_settings { client.batch_execute(statements::SESSION).await } else { Ok(()) }
    }
}

pub(super) type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Moves a session's bytes until it ends. A commit that PostgreSQL acknowledges without having waited for its standby
/// comes with a warning; the session is then cut before the acknowledgement is read, so that the commit counts as what it
/// is: of unknown outcome.
async fn drive<S, T>(mut connection: tokio_postgres::Connection<S, T>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(message) = poll_fn(|cx| connection.poll_message(cx)).await {
        match message {
            Ok(AsyncMessage::Notice(notice)) if notice.routine() == Some("SyncRepWaitForLSN") => {
                debug!(
                    sqlstate = notice.code().code(),
                    "commit was not confirmed by the standby, cutting the session"
                );
                return;
            }
            Ok(_) => {}
            Err(_error) => return, // the client's pending request carries it
        }
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Certificate and host name are verified, against the given authorities alone.
fn verified(path: &PathBuf) -> Result<MakeRustlsConnect, ConnectError> {
    let unreadable = |source| ConnectError::Authorities { path: path.clone(), source };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
        roots.add(certificate.map_err(unreadable)?)?;
    }
    if roots.is_empty() {
        return Err(ConnectError::NoAuthority { path: path.clone() });
    }
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

/// Encrypted, but anybody may be at the other end: PostgreSQL's `sslmode=require`.
fn unverified() -> Result<MakeRustlsConnect, ConnectError> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider())))
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

/// Accepts every certificate, but still has the peer prove that it holds the certificate's key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
