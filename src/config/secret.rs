//! Where a secret comes from, and its text once fetched.
//!
//! A secret may be named as a file (`KEY_file`) or as an environment variable (`KEY_env`); a URL may also stand
//! in the configuration itself, for most hold no password. Nothing in here has `Debug`, and no reason of a
//! fault holds what was fetched.

use std::path::{Path, PathBuf};

use super::contents::{Contents, Digest};
use super::fault::Fault;
use super::section::Section;
use super::tenant_id::TenantId;
use super::value::string;

/// Whose section says something: a tenant's word beats the defaults'.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Defaults,
    Tenant,
}

/// Something a section says, with where it says so, for it can turn out to be wrong much later.
#[derive(Clone)]
pub(super) struct Said<T> {
    pub(super) value: T,
    pub(super) key: String,
    pub(super) file: PathBuf,
    pub(super) level: Level,
}

impl<T> Said<T> {
    /// Another value that was said in the same place.
    pub(super) fn with<U>(&self, value: U) -> Said<U> {
        Said { value, key: self.key.clone(), file: self.file.clone(), level: self.level }
    }

    /// A fault of what was said, under the tenant it matters to, in the file that says it.
    pub(super) fn fault(&self, tenant: &TenantId, reason: impl std::fmt::Display) -> Fault {
        let origin = match self.level {
            Level::Defaults => " (set in [defaults])",
            Level::Tenant => "",
        };
        Fault {
            file: self.file.clone(),
            key: format!("tenants.{tenant}.{}", self.key),
            reason: format!("{reason}{origin}"),
        }
    }
}

/// Where to fetch a secret.
#[derive(Clone)]
pub(super) enum Source {
    /// It stands in the configuration.
    Inline(String),
    /// This file holds it and nothing else; the name is relative to the directory.
    File { directory: PathBuf, name: String },
    /// This environment variable holds it.
    Env(String),
}

/// Reads `key`, `key_file` and `key_env`, of which a section may say one.
pub(super) fn read_source(section: &mut Section, level: Level, key: &str) -> Option<Said<Source>> {
    let inline = section.find(key, string).map(Source::Inline);
    let referred = read_references(section, key);
    let mut sources = Vec::new();
    sources.extend(inline.map(|source| (key.to_owned(), source)));
    sources.extend(referred);
    choose_only(section, level, sources)
}

/// Like [`read_source`] for a password, which must not stand in the configuration itself.
pub(super) fn read_password_source(section: &mut Section, level: Level, key: &str) -> Option<Said<Source>> {
    section.refuse(key, &format!("must not stand in this file: use {key}_file or {key}_env"));
    let sources = read_references(section, key);
    choose_only(section, level, sources)
}

fn read_references(section: &mut Section, key: &str) -> Vec<(String, Source)> {
    let (file_key, env_key) = (format!("{key}_file"), format!("{key}_env"));
    let directory = section.beside("");
    let file = section.find(&file_key, string).map(|name| Source::File { directory, name });
    let env = section.find(&env_key, string).map(Source::Env);
    let mut sources = Vec::new();
    sources.extend(file.map(|source| (file_key, source)));
    sources.extend(env.map(|source| (env_key, source)));
    sources
}

fn choose_only(section: &mut Section, level: Level, sources: Vec<(String, Source)>) -> Option<Said<Source>> {
    let mut sources = sources.into_iter();
    let (key, value) = sources.next()?;
    for (other, _) in sources {
        section.report(&other, format!("is given as {key} too: keep one of them"));
    }
    Some(Said { value, key, file: section.file().to_owned(), level })
}

/// Fetches secrets, and remembers what the files held that it looked at.
pub(super) struct Resolver<'a> {
    env: &'a dyn Fn(&str) -> Option<String>,
    contents: Contents,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(env: &'a dyn Fn(&str) -> Option<String>, contents: Contents) -> Resolver<'a> {
        Resolver { env, contents }
    }

    /// The secret's text. In a file's path and a variable's name `{tenant}` stands for the id.
    pub(super) fn resolve(&mut self, source: &Said<Source>, tenant: &TenantId) -> Result<String, Fault> {
        let text = match &source.value {
            Source::Inline(text) => Ok(text.clone()),
            Source::File { directory, name } => self.read_file(&directory.join(fill_in(name, tenant))),
            Source::Env(name) => self.read_env(&fill_in(name, tenant)),
        };
        text.map_err(|reason| source.fault(tenant, reason))
    }

    /// What a file holds that the configuration depends on; `None` where it can't be read, which others report.
    pub(super) fn note_file(&mut self, path: &Path) -> Option<Digest> {
        self.contents.look(path)
    }

    /// Every file looked at, missing ones included.
    pub(super) fn into_contents(self) -> Contents {
        self.contents
    }

    fn read_file(&mut self, path: &Path) -> Result<String, String> {
        let cannot_read = |error| format!("cannot read {}: {error}", path.display());
        let bytes = self.contents.read(path).map_err(cannot_read)?;
        let text = String::from_utf8(bytes).map_err(|_| format!("{} is not UTF-8", path.display()))?;
        // Without its trailing newline, which editors and `echo` put there unasked.
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            return Err(format!("{} is empty", path.display()));
        }
        Ok(text.to_owned())
    }

    fn read_env(&self, name: &str) -> Result<String, String> {
        match (self.env)(name) {
            None => Err(format!("environment variable {name} is not set")),
            Some(text) if text.is_empty() => Err(format!("environment variable {name} is empty")),
            Some(text) => Ok(text),
        }
    }
}

/// Puts the tenant's id where `{tenant}` stands. An id needs no escaping in a URL, nor in a path.
pub(super) fn fill_in(text: &str, tenant: &TenantId) -> String {
    text.replace("{tenant}", tenant.as_str())
}
