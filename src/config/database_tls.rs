//! Settles how a connection to PostgreSQL is protected, from what the URL and the keys beside it say.

use std::path::{Path, PathBuf};

use tokio_postgres::config::SslMode;

use super::database_url::{DatabaseUrl, TlsMode, has_unix_socket, is_local};
use super::fault::Fault;
use super::secret::{Level, Said};
use super::tenant_id::TenantId;
use super::value::check_readable;

/// How a connection to PostgreSQL is protected.
///
/// Where nothing is said: not at all for Unix sockets and loopback addresses, [`DatabaseTls::Require`] else.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum DatabaseTls {
    /// Plain text.
    Disable,
    /// Encrypted; the server's certificate is not verified, so it may be anyone's.
    Require,
    /// Encrypted; the certificate must come from `ca` and be for the host's name.
    VerifyFull {
        /// PEM. Was readable when the configuration was loaded; not parsed here.
        ca: PathBuf,
    },
}

impl DatabaseTls {
    /// tokio-postgres's part of it: whether to ask for TLS. What to verify is the connector's.
    pub(super) fn ssl_mode(&self) -> SslMode {
        match self {
            DatabaseTls::Disable => SslMode::Disable,
            DatabaseTls::Require | DatabaseTls::VerifyFull { .. } => SslMode::Require,
        }
    }
}

/// What is said about TLS, by a URL or by keys.
#[derive(Clone, Default)]
pub(super) struct TlsWords {
    pub(super) mode: Option<Said<TlsMode>>,
    pub(super) ca: Option<Said<PathBuf>>,
}

impl TlsWords {
    /// `sslmode` and `sslrootcert`, the latter relative to the file that says the URL.
    pub(super) fn of_url(url: &Said<DatabaseUrl>) -> TlsWords {
        let directory = url.file.parent().unwrap_or(Path::new(""));
        TlsWords {
            mode: url.value.tls.map(|mode| url.with(mode)),
            ca: url.value.ca.as_ref().map(|ca| url.with(directory.join(ca))),
        }
    }

    /// The URL's words and the keys'. Where both speak they must agree: one of the two believes in a
    /// protection that isn't there.
    pub(super) fn agreeing_with(self, keys: &TlsWords, tenant: &TenantId) -> Result<TlsWords, Fault> {
        if let (Some(url), Some(key)) = (&self.mode, &keys.mode)
            && url.value != key.value
        {
            let (key_says, url_says) = (key.value.as_str(), url.value.as_str());
            let url_key = &url.key;
            let reason =
                format!("is \"{key_says}\", but {url_key} says sslmode={url_says}: keep one of them");
            return Err(key.fault(tenant, reason));
        }
        if let (Some(url), Some(key)) = (&self.ca, &keys.ca)
            && url.value != key.value
        {
            let reason = format!("is not the sslrootcert of {}: keep one of them", url.key);
            return Err(key.fault(tenant, reason));
        }
        Ok(TlsWords {
            mode: self.mode.or_else(|| keys.mode.clone()),
            ca: self.ca.or_else(|| keys.ca.clone()),
        })
    }

    /// The URL's words, else the keys', for the owner's URL: the keys are named after the gateway's own.
    pub(super) fn or(self, keys: &TlsWords) -> TlsWords {
        let mode = self.mode.or_else(|| keys.mode.clone());
        let verifies = mode.as_ref().is_some_and(|mode| mode.value == TlsMode::VerifyFull);
        let inherited = if verifies { keys.ca.clone() } else { None };
        TlsWords { mode, ca: self.ca.or(inherited) }
    }

    /// The protection of a connection to `url`.
    pub(super) fn settle(self, url: &Said<DatabaseUrl>, tenant: &TenantId) -> Result<DatabaseTls, Fault> {
        let postgres = &url.value.postgres;
        let implicit = if is_local(postgres) { TlsMode::Disable } else { TlsMode::Require };
        self.refuse_idle_ca(tenant)?;
        let mode = self.mode.unwrap_or_else(|| url.with(implicit));
        if mode.value != TlsMode::Disable && has_unix_socket(postgres) {
            return Err(mode.fault(tenant, "a Unix socket carries no TLS: use \"disable\" for it"));
        }
        match mode.value {
            TlsMode::Disable => Ok(DatabaseTls::Disable),
            TlsMode::Require => Ok(DatabaseTls::Require),
            TlsMode::VerifyFull => verify_with(&mode, self.ca, tenant),
        }
    }

    /// A CA that verifies nothing is a fault, unless a tenant turned off what the defaults had turned on.
    fn refuse_idle_ca(&self, tenant: &TenantId) -> Result<(), Fault> {
        let Some(ca) = &self.ca else {
            return Ok(());
        };
        let is_used = self.mode.as_ref().is_some_and(|mode| {
            mode.value == TlsMode::VerifyFull || (ca.level == Level::Defaults && mode.level == Level::Tenant)
        });
        if is_used {
            return Ok(());
        }
        Err(ca.fault(tenant, "a CA certificate is used with \"verify-full\" only: set database_tls"))
    }
}

fn verify_with(
    mode: &Said<TlsMode>,
    ca: Option<Said<PathBuf>>,
    tenant: &TenantId,
) -> Result<DatabaseTls, Fault> {
    let Some(ca) = ca else {
        return Err(mode.fault(tenant, "\"verify-full\" needs a CA certificate: set database_tls_ca"));
    };
    check_readable(&ca.value).map_err(|reason| ca.fault(tenant, reason))?;
    Ok(DatabaseTls::VerifyFull { ca: ca.value })
}
