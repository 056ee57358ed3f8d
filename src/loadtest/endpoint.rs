//! Where the gateway under test is, and whom to trust there.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper::Uri;
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;
use thiserror::Error;
use tokio::net::lookup_host;

const HTTPS_PORT: u16 = 443;

#[derive(Debug, Error)]
pub enum EndpointError {
    #[error("{url} is no address of a gateway: give https://HOST:PORT, without a path")]
    Url { url: String },
    #[error("could not find the address of {host}")]
    Resolve { host: String, source: std::io::Error },
    #[error("{host} has no address")]
    NoAddress { host: String },
    #[error("could not read the certificate authorities in {}", path.display())]
    Authorities { path: PathBuf, source: rustls::pki_types::pem::Error },
    #[error("{} holds no certificate", path.display())]
    NoAuthority { path: PathBuf },
    #[error("could not set up TLS")]
    Tls(#[from] rustls::Error),
}

/// A gateway's address.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// `HOST:PORT`, as `Host` and reports have it.
    pub authority: String,
    pub address: SocketAddr,
    pub server_name: ServerName<'static>,
}

/// The HTTP version that is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpVersion {
    One,
    Two,
}

/// What becomes of a connection after a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reuse {
    /// It is kept for the next one.
    Kept,
    /// It is closed: each call opens its own, as a vendor's cron job does.
    Fresh,
}

impl HttpVersion {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::One => "HTTP/1.1",
            Self::Two => "HTTP/2",
        }
    }
}

impl Endpoint {
    /// Takes `https://HOST:PORT` and looks the host up, once.
    pub async fn find(url: &str) -> Result<Endpoint, EndpointError> {
        let unusable = || EndpointError::Url { url: url.to_owned() };
        let uri: Uri = url.parse().map_err(|_no_uri| unusable())?;
        let (Some("https"), Some(host)) = (uri.scheme_str(), uri.host()) else {
            return Err(unusable());
        };
        let plain = !url.contains('@') && matches!(uri.path(), "" | "/") && uri.query().is_none();
        let port = uri.port_u16().unwrap_or(HTTPS_PORT);
        // An address of version 6 stands in brackets in a URL, and without them in a certificate.
        let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let server_name = ServerName::try_from(name.clone()).map_err(|_no_name| unusable())?;
        if !plain {
            return Err(unusable());
        }
        let mut addresses = lookup_host((name.as_str(), port))
            .await
            .map_err(|source| EndpointError::Resolve { host: name.clone(), source })?;
        let address = addresses.next().ok_or(EndpointError::NoAddress { host: name.clone() })?;
        Ok(Endpoint { authority: format!("{host}:{port}"), address, server_name })
    }
}

/// TLS towards the gateway: trusts the authorities in `ca` alone, or where there is none those of this machine.
///
/// Fresh connections take up no earlier one's TLS session, as a program that is started for each call can't.
pub fn client_tls(
    ca: Option<&Path>,
    http: HttpVersion,
    reuse: Reuse,
) -> Result<Arc<ClientConfig>, EndpointError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = match ca {
        Some(path) => builder.with_root_certificates(authorities(path)?).with_no_client_auth(),
        None => builder.with_platform_verifier()?.with_no_client_auth(),
    };
    config.alpn_protocols = match http {
        HttpVersion::One => vec![b"http/1.1".to_vec()],
        HttpVersion::Two => vec![b"h2".to_vec()],
    };
    if reuse == Reuse::Fresh {
        config.resumption = Resumption::disabled();
    }
    Ok(Arc::new(config))
}

fn authorities(path: &Path) -> Result<RootCertStore, EndpointError> {
    let unreadable = |source| EndpointError::Authorities { path: path.to_owned(), source };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
        roots.add(certificate.map_err(unreadable)?)?;
    }
    if roots.is_empty() {
        return Err(EndpointError::NoAuthority { path: path.to_owned() });
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_endpoint_is_a_host_and_a_port() {
        let endpoint = Endpoint::find("https://127.0.0.1:8443").await.unwrap();
        let version_6 = Endpoint::find("https://[::1]:8443/").await.unwrap();

        assert_eq!((endpoint.authority.as_str(), endpoint.address.port()), ("127.0.0.1:8443", 8443));
        assert_eq!(version_6.authority, "[::1]:8443");
        assert!(version_6.address.is_ipv6());
    }

    #[tokio::test]
    async fn what_is_no_address_is_refused() {
        for url in [
            "",
            "127.0.0.1:8443",
            "http://127.0.0.1:8443",
            "https://127.0.0.1:8443/some/path",
            "https://127.0.0.1:8443?x=1",
            "https://me@127.0.0.1:8443",
        ] {
            let found = Endpoint::find(url).await;
            assert!(matches!(found, Err(EndpointError::Url { .. })), "{url}: {found:?}");
        }
    }
}
