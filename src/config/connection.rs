//! A tenant's two ways into its database, ready to connect: as the gateway's role, and as the schema's owner.
//!
//! Puts together what the URL, the keys beside it and `[defaults]` say. A tenant's word beats the defaults';
//! on one level nothing beats anything: two sources of one password are a fault, for somebody believes
//! that the other one is in use.

use std::path::PathBuf;

use super::contents::Digest;
use super::database_keys::DatabaseKeys;
use super::database_tls::{DatabaseTls, TlsWords};
use super::database_url::DatabaseUrl;
use super::fault::Fault;
use super::secret::{Level, Resolver, Said, Source, fill_in};
use super::tenant_id::TenantId;

/// How to reach one database as one role. `Debug` hides the password, `==` compares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionConfig {
    /// User, password, hosts and database; `ssl_mode` agrees with `tls`; `application_name` is not set.
    pub postgres: tokio_postgres::Config,
    /// What the connector has to verify.
    pub tls: DatabaseTls,
    /// What the file of certificate authorities held, where there is one: a renewed one is another connection.
    pub authorities: Option<Digest>,
}

impl ConnectionConfig {
    /// A connection that belongs to no tenant, such as an administrator's: all of it stands in the URL. Paths in it start at
    /// the working directory.
    ///
    /// # Errors
    /// All that is wrong with the URL; none of it shows the URL itself.
    pub fn parse(url: &str) -> Result<ConnectionConfig, Vec<String>> {
        let url = DatabaseUrl::parse(url)
            .map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        let url = Said { value: url, key: "the URL".to_owned(), file: PathBuf::new(), level: Level::Tenant };
        let nobody = TenantId::parse("none").expect("these letters are an id");
        let tls = TlsWords::of_url(&url).settle(&url, &nobody).map_err(|fault| vec![fault.reason])?;
        let mut postgres = url.value.postgres;
        postgres.ssl_mode(tls.ssl_mode());
        Ok(ConnectionConfig { postgres, tls, authorities: None })
    }
}

/// Builds one tenant's connections and collects what stands against them.
pub(super) struct Connector<'a, 'env> {
    pub(super) tenant: &'a TenantId,
    pub(super) keys: &'a DatabaseKeys,
    pub(super) resolver: &'a mut Resolver<'env>,
    pub(super) faults: Vec<Fault>,
}

impl Connector<'_, '_> {
    /// The gateway's connection; `None` where there is a fault for it, or no URL at all.
    pub(super) fn connect_gateway(&mut self) -> Option<ConnectionConfig> {
        let keys = self.keys;
        let url = self.parse_url(keys.url.as_ref());
        let password = self.find_password(url.as_ref(), keys.password.as_ref());
        let url = url?;
        let words = TlsWords::of_url(&url).agreeing_with(&keys.tls, self.tenant);
        let words = self.keep(words)?;
        self.put_together(url, password, words)
    }

    /// The owner's connection; `None` where there is a fault for it, or no URL at all.
    pub(super) fn connect_owner(&mut self) -> Option<ConnectionConfig> {
        let keys = self.keys;
        if let (Some(password), None) = (&keys.owner_password, &keys.owner_url) {
            self.faults.push(password.fault(self.tenant, "is of no use without owner_database_url"));
        }
        let url = self.parse_url(keys.owner_url.as_ref());
        let password = self.find_password(url.as_ref(), keys.owner_password.as_ref());
        let url = url?;
        let words = TlsWords::of_url(&url).or(&keys.tls);
        self.put_together(url, password, words)
    }

    fn parse_url(&mut self, source: Option<&Said<Source>>) -> Option<Said<DatabaseUrl>> {
        let source = source?;
        let text = self.resolver.resolve(source, self.tenant);
        let text = self.keep(text)?;
        match DatabaseUrl::parse(&fill_in(&text, self.tenant)) {
            Ok(url) => Some(source.with(url)),
            Err(faults) => {
                let faults = faults.into_iter().map(|fault| source.fault(self.tenant, fault));
                self.faults.extend(faults);
                None
            }
        }
    }

    /// The password beside the URL, where it counts; `None` too where there is a fault for it.
    fn find_password(
        &mut self,
        url: Option<&Said<DatabaseUrl>>,
        source: Option<&Said<Source>>,
    ) -> Option<String> {
        let source = source?;
        let in_url = url.filter(|url| url.value.postgres.get_password().is_some());
        if let Some(url) = in_url {
            match (source.level, url.level) {
                (Level::Tenant, Level::Defaults) => {}
                (Level::Defaults, Level::Tenant) => return None,
                (Level::Tenant, Level::Tenant) | (Level::Defaults, Level::Defaults) => {
                    let reason = format!("is given in {} too: keep one of them", url.key);
                    self.faults.push(source.fault(self.tenant, reason));
                    return None;
                }
            }
        }
        let password = self.resolver.resolve(source, self.tenant);
        self.keep(password)
    }

    fn put_together(
        &mut self,
        url: Said<DatabaseUrl>,
        password: Option<String>,
        words: TlsWords,
    ) -> Option<ConnectionConfig> {
        let authorities = words.ca.as_ref().and_then(|ca| self.resolver.note_file(&ca.value));
        let tls = words.settle(&url, self.tenant);
        let tls = self.keep(tls)?;
        let mut postgres = url.value.postgres;
        if let Some(password) = password {
            postgres.password(password);
        }
        postgres.ssl_mode(tls.ssl_mode());
        Some(ConnectionConfig { postgres, tls, authorities })
    }

    fn keep<T>(&mut self, result: Result<T, Fault>) -> Option<T> {
        result.map_err(|fault| self.faults.push(fault)).ok()
    }
}
