//! The gateway's own TLS: certificate and key from the configured files, TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1 by ALPN.
//! The pair can be exchanged while connections are served: those that are open keep what they have.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use thiserror::Error;
use x509_parser::prelude::{FromDer, X509Certificate};

#[derive(Debug, Error)]
pub enum TlsError {
    #[error("could not read {path} as PEM")]
    Pem { path: PathBuf, source: rustls::pki_types::pem::Error },
    #[error("{path} holds no certificate")]
    NoCertificate { path: PathBuf },
    #[error("the certificate {certificate} and the key {key} can't be used together")]
    Pair { certificate: PathBuf, key: PathBuf, source: rustls::Error },
}

/// The certificate chain that vendors are shown, with its key.
pub struct Identity {
    current: ArcSwap<CertifiedKey>,
}

/// A chain and its key that belong together, not yet shown to anybody.
pub struct Pair(Arc<CertifiedKey>);

impl Pair {
    /// Reads a pair from PEM files.
    ///
    /// # Errors
    /// Where a file can't be read or parsed, or the key isn't the certificate's.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let pem = |path: &Path| {
            let path = path.to_owned();
            move |source| TlsError::Pem { path, source }
        };
        let pair =
            |source| TlsError::Pair { certificate: certificate.to_owned(), key: key.to_owned(), source };
        let chain = CertificateDer::pem_file_iter(certificate).map_err(pem(certificate))?;
        let chain: Vec<_> = chain.collect::<Result<_, _>>().map_err(pem(certificate))?;
        if chain.is_empty() {
            return Err(TlsError::NoCertificate { path: certificate.to_owned() });
        }
        let secret = PrivateKeyDer::from_pem_file(key).map_err(pem(key))?;
        let provider = aws_lc_rs::default_provider();
        CertifiedKey::from_der(chain, secret, &provider).map(|key| Self(Arc::new(key))).map_err(pair)
    }

    /// When the chain's first certificate, the server's own, expires; None where that can't be read off it.
    pub fn expires_at(&self) -> Option<Timestamp> {
        let (_rest, own) = X509Certificate::from_der(self.0.cert.first()?).ok()?;
        Timestamp::from_second(own.validity().not_after.timestamp()).ok()
    }
}

impl Identity {
    pub fn new(pair: Pair) -> Arc<Self> {
        Arc::new(Self { current: ArcSwap::new(pair.0) })
    }

    /// Whether this is the chain that is shown already.
    pub fn shows(&self, pair: &Pair) -> bool {
        self.current.load().cert == pair.0.cert
    }

    /// Shows another pair from the next handshake on.
    pub fn replace(&self, pair: Pair) {
        self.current.store(pair.0);
    }

    /// The server's side of TLS, which shows this identity as it is at each handshake.
    pub fn server_config(self: &Arc<Self>) -> Arc<ServerConfig> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has what TLS 1.2 and 1.3 need")
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Arc::new(config)
    }
}

/// rustls asks for it; a key is nothing to show.
impl fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Identity").finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

/// The server's side of TLS with a pair that stays.
///
/// # Errors
/// As [`Pair::read`].
pub fn server_config(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    Pair::read(certificate, key).map(|pair| Identity::new(pair).server_config())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn a_certificates_end_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let [certificate, secret] = ["gateway.pem", "gateway.key"].map(|name| directory.path().join(name));
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.not_after = date_time_ymd(2030, 1, 2);
        let key = KeyPair::generate().unwrap();
        std::fs::write(&certificate, params.self_signed(&key).unwrap().pem()).unwrap();
        std::fs::write(&secret, key.serialize_pem()).unwrap();

        let expires_at = Pair::read(&certificate, &secret).unwrap().expires_at();

        assert_eq!(expires_at, Some("2030-01-02T00:00:00Z".parse().unwrap()));
    }
}
