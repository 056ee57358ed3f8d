//! Takes a `postgres://` URL apart, as strictly as an operator would wish afterwards.
//!
//! tokio-postgres parses leniently, knows no `verify-full` and puts what it could not read into its errors.
//! So what concerns TLS is taken out before it sees the URL, and every reason in here is a fixed text:
//! none can hold a password, not even the half of one that had an unescaped `@` in it.

use percent_encoding::percent_decode_str;
use tokio_postgres::config::{Host, TargetSessionAttrs};

/// What a URL says.
pub(super) struct DatabaseUrl {
    /// Has a user, a host and a database; its password where the URL has one.
    pub(super) postgres: tokio_postgres::Config,
    /// `sslmode`, where the URL says one.
    pub(super) tls: Option<TlsMode>,
    /// `sslrootcert`, as written.
    pub(super) ca: Option<String>,
}

/// How a connection is protected, before the certificate authority is known.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum TlsMode {
    Disable,
    Require,
    VerifyFull,
}

impl TlsMode {
    /// Takes libpq's names, but none that gives up protection unnoticed.
    pub(super) fn parse(text: &str) -> Result<TlsMode, &'static str> {
        match text {
            "disable" => Ok(TlsMode::Disable),
            "require" => Ok(TlsMode::Require),
            "verify-full" => Ok(TlsMode::VerifyFull),
            "allow" | "prefer" => Err(
                "\"allow\" and \"prefer\" go on in plain text unnoticed: use \"require\" or \"verify-full\"",
            ),
            "verify-ca" => Err("\"verify-ca\" takes any host's certificate: use \"verify-full\""),
            _other => Err("must be \"disable\", \"require\" or \"verify-full\""),
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            TlsMode::Disable => "disable",
            TlsMode::Require => "require",
            TlsMode::VerifyFull => "verify-full",
        }
    }
}

/// What can be wrong with a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum UrlFault {
    #[error("must be a URL that begins with postgres:// or postgresql://")]
    NoScheme,
    #[error("has more than one @: write one within a user name or password as %40")]
    SeveralAts,
    #[error("has a parameter without a value after the ?")]
    NoValue,
    #[error("has an unknown parameter after the ?: {0} are understood", PARAMETERS.join(", "))]
    UnknownParameter,
    #[error(
        "must not say options: statement_timeout and its like are keys, the rest is the gateway's to set"
    )]
    Options,
    #[error("sslmode: {0}")]
    TlsMode(&'static str),
    #[error("is not a valid URL: check the port, the parameters' values and the percent-encoding")]
    Unreadable,
    #[error("has an empty password")]
    NoPassword,
    #[error("has no user")]
    NoUser,
    #[error("has no host")]
    NoHost,
    #[error("has no database name")]
    NoDatabase,
    #[error("must name one port in all, or one for each host")]
    PortCount,
    #[error("must name as many hostaddr as hosts")]
    AddressCount,
}

/// tokio-postgres's parameters, without those that the gateway sets itself, and with libpq's `sslrootcert`.
const PARAMETERS: [&str; 18] = [
    "user",
    "password",
    "dbname",
    "host",
    "hostaddr",
    "port",
    "sslmode",
    "sslrootcert",
    "sslnegotiation",
    "connect_timeout",
    "tcp_user_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "target_session_attrs",
    "channel_binding",
    "load_balance_hosts",
];

impl DatabaseUrl {
    /// Parses a URL and gives either all of it or all that is wrong with it.
    pub(super) fn parse(url: &str) -> Result<DatabaseUrl, Vec<UrlFault>> {
        let parts = Parts::split(url).map_err(|fault| vec![fault])?;
        let mut postgres: tokio_postgres::Config =
            parts.rest.parse().map_err(|_| vec![UrlFault::Unreadable])?;
        let faults = find_faults(&postgres);
        if !faults.is_empty() {
            return Err(faults);
        }
        if !parts.says_session_attributes {
            postgres.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        Ok(DatabaseUrl { postgres, tls: parts.tls, ca: parts.ca })
    }
}

/// A URL, and what was taken out of its parameters.
struct Parts {
    rest: String,
    tls: Option<TlsMode>,
    ca: Option<String>,
    says_session_attributes: bool,
}

impl Parts {
    /// Finds the parameters where tokio-postgres finds them: behind the first `?` that follows the `@`.
    fn split(url: &str) -> Result<Parts, UrlFault> {
        let is_url = url.starts_with("postgres://") || url.starts_with("postgresql://");
        if !is_url {
            return Err(UrlFault::NoScheme);
        }
        if url.matches('@').count() > 1 {
            return Err(UrlFault::SeveralAts);
        }
        let after_user = url.find('@').unwrap_or(0);
        let Some(query_at) = url[after_user..].find('?').map(|at| after_user + at) else {
            return Ok(Parts { rest: url.to_owned(), tls: None, ca: None, says_session_attributes: false });
        };
        Parts::take_from(&url[..query_at], &url[query_at + 1..])
    }

    fn take_from(address: &str, query: &str) -> Result<Parts, UrlFault> {
        let mut parts =
            Parts { rest: address.to_owned(), tls: None, ca: None, says_session_attributes: false };
        let mut separator = '?';
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').ok_or(UrlFault::NoValue)?;
            match name {
                "sslmode" => parts.tls = Some(TlsMode::parse(value).map_err(UrlFault::TlsMode)?),
                "sslrootcert" => parts.ca = Some(decode(value)?),
                // Libraries put it into their URLs unasked; nothing rests on it.
                "application_name" => {}
                "options" => return Err(UrlFault::Options),
                known if PARAMETERS.contains(&known) => {
                    parts.says_session_attributes |= known == "target_session_attrs";
                    parts.rest.push(separator);
                    parts.rest.push_str(parameter);
                    separator = '&';
                }
                _unknown => return Err(UrlFault::UnknownParameter),
            }
        }
        Ok(parts)
    }
}

fn decode(text: &str) -> Result<String, UrlFault> {
    match percent_decode_str(text).decode_utf8() {
        Ok(text) if text.is_empty() => Err(UrlFault::NoValue),
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(UrlFault::Unreadable),
    }
}

/// What tokio-postgres would guess, or find out when it connects.
fn find_faults(postgres: &tokio_postgres::Config) -> Vec<UrlFault> {
    let hosts = postgres.get_hosts();
    let (ports, addresses) = (postgres.get_ports().len(), postgres.get_hostaddrs().len());
    let has_empty_host = hosts.iter().any(|host| matches!(host, Host::Tcp(name) if name.is_empty()));
    let checks = [
        (postgres.get_password() == Some(b""), UrlFault::NoPassword),
        (postgres.get_user().is_none_or(str::is_empty), UrlFault::NoUser),
        (hosts.is_empty() || has_empty_host, UrlFault::NoHost),
        (postgres.get_dbname().is_none_or(str::is_empty), UrlFault::NoDatabase),
        (ports > 1 && ports != hosts.len(), UrlFault::PortCount),
        (addresses > 0 && addresses != hosts.len(), UrlFault::AddressCount),
    ];
    checks.into_iter().filter(|(is_wrong, _)| *is_wrong).map(|(_, fault)| fault).collect()
}

/// Whether every host of it is this machine: a Unix socket, or a loopback address.
pub(super) fn is_local(postgres: &tokio_postgres::Config) -> bool {
    let addresses = postgres.get_hostaddrs();
    if !addresses.is_empty() {
        return addresses.iter().all(std::net::IpAddr::is_loopback);
    }
    postgres.get_hosts().iter().all(|host| match host {
        Host::Tcp(name) => {
            name == "localhost" || name.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
        }
        #[cfg(unix)]
        Host::Unix(_) => true,
    })
}

/// Whether one of its hosts is a Unix socket, over which PostgreSQL speaks no TLS.
pub(super) fn has_unix_socket(postgres: &tokio_postgres::Config) -> bool {
    postgres.get_hosts().iter().any(|host| !matches!(host, Host::Tcp(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(url: &str) -> Vec<UrlFault> {
        DatabaseUrl::parse(url).err().unwrap_or_default()
    }

    #[test]
    fn a_url_must_say_who_and_where_and_which() {
        assert_eq!(faults("postgres://"), [UrlFault::NoUser, UrlFault::NoHost, UrlFault::NoDatabase]);
        assert_eq!(faults("postgres://u:@h/d"), [UrlFault::NoPassword]);
        assert_eq!(faults("postgres://u@:5432/d"), [UrlFault::NoHost]);
        assert_eq!(faults("host=h user=u dbname=d"), [UrlFault::NoScheme]);
    }

    #[test]
    fn the_parameters_may_say_it_too() {
        let url = DatabaseUrl::parse("postgresql:///d?user=u&password=p&host=%2Frun&port=5433").ok().unwrap();

        assert_eq!(url.postgres.get_password(), Some(&b"p"[..]));
        assert_eq!(url.postgres.get_ports(), [5433]);
        assert!(has_unix_socket(&url.postgres) && is_local(&url.postgres));
    }

    #[test]
    fn what_cannot_be_read_is_refused_in_fixed_words() {
        for (url, expected) in [
            ("postgres://u:a@b@h/d", UrlFault::SeveralAts),
            ("postgres://u:secret/d", UrlFault::Unreadable),
            ("postgres://u@h:port/d", UrlFault::Unreadable),
            ("postgres://u@h/d?keepalives=x", UrlFault::Unreadable),
            ("postgres://u@h/d?verbose", UrlFault::NoValue),
            ("postgres://u@h/d?sslrootcert=", UrlFault::NoValue),
            ("postgres://h/d?user=u&password=a&b=c", UrlFault::UnknownParameter),
            ("postgres://u@h/d?options=-c%20jit%3Don", UrlFault::Options),
            ("postgres://u@a,b,c:1/d?port=1", UrlFault::PortCount),
            ("postgres://u@a,b/d?hostaddr=127.0.0.1", UrlFault::AddressCount),
        ] {
            assert_eq!(faults(url), [expected], "{url}");
        }
    }

    #[test]
    fn what_concerns_tls_is_taken_out_wherever_it_stands() {
        for query in [
            "sslmode=verify-full&sslrootcert=a%20b.pem&keepalives=0",
            "keepalives=0&sslmode=verify-full&sslrootcert=a%20b.pem",
            "sslrootcert=a%20b.pem&keepalives=0&sslmode=verify-full",
        ] {
            let url = DatabaseUrl::parse(&format!("postgres://u:p?w@h/d?{query}")).ok().unwrap();

            assert!(url.tls == Some(TlsMode::VerifyFull));
            assert_eq!(url.ca.as_deref(), Some("a b.pem"));
            assert_eq!(url.postgres.get_password(), Some(&b"p?w"[..]));
            assert!(!url.postgres.get_keepalives());
        }
    }

    #[test]
    fn a_session_that_accepts_writes_is_asked_for_unless_the_url_says_otherwise() {
        let silent = DatabaseUrl::parse("postgres://u@h/d").ok().unwrap();
        let any = DatabaseUrl::parse("postgres://u@h/d?target_session_attrs=any").ok().unwrap();

        assert_eq!(silent.postgres.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
        assert_eq!(any.postgres.get_target_session_attrs(), TargetSessionAttrs::Any);
    }
}
