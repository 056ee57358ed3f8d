//! What one section says about a tenant's databases, before anything is fetched or parsed.

use std::path::PathBuf;

use super::database_tls::TlsWords;
use super::database_url::TlsMode;
use super::secret::{Level, Said, Source, read_password_source, read_source};
use super::section::Section;
use super::value::string;

/// The database keys of a tenant, or of `[defaults]`. Without `Debug`: a URL may hold a password.
#[derive(Clone, Default)]
pub(super) struct DatabaseKeys {
    pub(super) url: Option<Said<Source>>,
    pub(super) password: Option<Said<Source>>,
    pub(super) owner_url: Option<Said<Source>>,
    pub(super) owner_password: Option<Said<Source>>,
    pub(super) tls: TlsWords,
}

impl DatabaseKeys {
    pub(super) fn read(section: &mut Section, level: Level) -> DatabaseKeys {
        DatabaseKeys {
            url: read_source(section, level, "database_url"),
            password: read_password_source(section, level, "database_password"),
            owner_url: read_source(section, level, "owner_database_url"),
            owner_password: read_password_source(section, level, "owner_database_password"),
            tls: read_tls(section, level),
        }
    }

    /// Each key from here, else from `defaults`, whichever form it takes there.
    pub(super) fn or(self, defaults: &DatabaseKeys) -> DatabaseKeys {
        let defaults = defaults.clone();
        DatabaseKeys {
            url: self.url.or(defaults.url),
            password: self.password.or(defaults.password),
            owner_url: self.owner_url.or(defaults.owner_url),
            owner_password: self.owner_password.or(defaults.owner_password),
            tls: TlsWords { mode: self.tls.mode.or(defaults.tls.mode), ca: self.tls.ca.or(defaults.tls.ca) },
        }
    }
}

fn read_tls(section: &mut Section, level: Level) -> TlsWords {
    let mode = section.find("database_tls", |value| TlsMode::parse(&string(value)?).map_err(str::to_owned));
    let directory = section.beside("");
    let ca = section.find("database_tls_ca", |value| Ok(directory.join(string(value)?)));
    let at = |key: &str| Said { value: (), key: key.to_owned(), file: section.file().to_owned(), level };
    TlsWords {
        mode: mode.map(|mode: TlsMode| at("database_tls").with(mode)),
        ca: ca.map(|ca: PathBuf| at("database_tls_ca").with(ca)),
    }
}
