//! A certificate authority of our own and one server certificate under it, for the demo and the tests.
//!
//! Nothing else is ever signed: the authority's key is not written, so that trusting `ca.pem` is trusting this one
//! certificate. Written for the strictest of verifiers (Python's `VERIFY_X509_STRICT`): key usage, basic
//! constraints, subject and authority key identifiers, as RFC 5280 section 4.2.1 asks.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, date_time_ymd,
};

/// Names that every certificate has: the demo and the tests run on this machine.
const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
const VALID_DAYS: i64 = 90;

/// Where the files are.
#[derive(Clone, Debug)]
pub struct IssuedCertificates {
    /// `ca.pem`: what a client trusts.
    pub authority: PathBuf,
    /// `gateway.pem`: the server's certificate. A root is not sent, so the chain ends there.
    pub certificate: PathBuf,
    /// `gateway.key`: its key, PKCS #8, readable by the owner alone.
    pub key: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum CertificatesError {
    #[error("could not issue a certificate for {names}")]
    Issue { names: String, source: rcgen::Error },
    #[error("could not write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// Issues a certificate for `names` (DNS names or addresses, beside localhost) and writes it, its key and its
/// authority into `directory`, which exists.
pub fn create_authority_and_server(
    directory: &Path,
    names: &[&str],
) -> Result<IssuedCertificates, CertificatesError> {
    let mut all_names: Vec<String> = LOCAL_NAMES.iter().chain(names).map(|name| (*name).to_owned()).collect();
    all_names.sort_unstable();
    all_names.dedup();
    let (authority_pem, certificate_pem, key_pem) = issue(&all_names)
        .map_err(|source| CertificatesError::Issue { names: all_names.join(", "), source })?;

    let issued = IssuedCertificates {
        authority: directory.join("ca.pem"),
        certificate: directory.join("gateway.pem"),
        key: directory.join("gateway.key"),
    };
    write(&issued.key, &key_pem, 0o600)?;
    write(&issued.certificate, &certificate_pem, 0o644)?;
    write(&issued.authority, &authority_pem, 0o644)?;
    Ok(issued)
}

/// The authority's certificate, the server's certificate and the server's key, in PEM.
fn issue(names: &[String]) -> Result<(String, String, String), rcgen::Error> {
    let mut authority = params("Turnpike demo authority", &[])?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?)?;

    let mut server = params("turnpike", names)?;
    server.is_ca = IsCa::ExplicitNoCa;
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let certificate = server.signed_by(&key, &authority)?;
    Ok((authority.pem(), certificate.pem(), key.serialize_pem()))
}

fn params(common_name: &str, names: &[String]) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    // From yesterday: a client's clock may be behind ours.
    let today = today();
    let [from, until] =
        [today.saturating_sub(1.day()), today.saturating_add(VALID_DAYS.days())].map(|date| {
            let [month, day] = [date.month(), date.day()].map(|part| part.unsigned_abs());
            date_time_ymd(date.year().into(), month, day)
        });
    params.not_before = from;
    params.not_after = until;
    Ok(params)
}

#[expect(
    clippy::disallowed_methods,
    reason = "certificates are valid by the wall clock; no behaviour depends on it"
)]
fn today() -> Date {
    Timestamp::now().to_zoned(TimeZone::UTC).date()
}

fn write(path: &Path, content: &str, mode: u32) -> Result<(), CertificatesError> {
    let write = || {
        // Made anew, so that the mode holds from the first byte, whatever was there.
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        File::options().write(true).create_new(true).mode(mode).open(path)?.write_all(content.as_bytes())
    };
    write().map_err(|source| CertificatesError::Write { path: path.to_owned(), source })
}
