//! Edits the configuration's files for operators: adds, removes, pauses and resumes a tenant.
//!
//! An edit is a [`Draft`] first, judged as part of the whole configuration: one that would bring a new fault is refused, and
//! no byte of a file has changed. Written, each file is replaced as a whole. What isn't meant stays as it is, comments and
//! line ends included. One edit at a time: a draft holds a lock on the main file's directory. Blocks on files; not for a
//! worker thread of the runtime.

mod file;
mod text;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Component, Path, PathBuf};

use thiserror::Error;

use super::contents::{Contents, Drafts};
use super::documents::Documents;
use super::fault::{ConfigError, Fault};
use super::{Config, PauseConfig, TenantConfig, TenantId};

/// Where secrets go that an edit writes, beside the main file.
const SECRETS: &str = "secrets";

/// A tenant to be added. Without `Debug`: it may hold passwords.
pub struct NewTenant {
    pub id: TenantId,
    pub name: String,
    pub version: Option<String>,
    /// Without a password. `None`: `[defaults]` has one.
    pub database_url: Option<String>,
    pub database_password: Option<Password>,
    /// Without a password.
    pub owner_database_url: Option<String>,
    pub owner_database_password: Option<Password>,
}

/// Where a password is.
pub enum Password {
    /// In this file, as seen from the working directory.
    File(PathBuf),
    /// Here; it is put into a file of its own beside the configuration.
    Text(String),
}

/// Why a configuration was not edited. Nothing was written, unless it is [`EditError::Write`] of a second file.
#[derive(Debug, Error)]
pub enum EditError {
    #[error("the configuration can't be used as it is:\n{0}")]
    Unusable(ConfigError),
    #[error("there is no tenant {tenant} in {}", config.display())]
    UnknownTenant { tenant: TenantId, config: PathBuf },
    #[error("tenant {tenant} is there already, in {}", file.display())]
    TenantExists { tenant: TenantId, file: PathBuf },
    #[error("{} is there already, and not overwritten", .0.display())]
    FileExists(PathBuf),
    #[error("tenant {0} isn't paused")]
    NotPaused(TenantId),
    #[error("with this the configuration would be at fault:\n{}", lines(.0))]
    Faulty(Vec<Fault>),
    #[error("{} has changed meanwhile: try again", .0.display())]
    Changed(PathBuf),
    #[error("could not read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("could not write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// A configuration as it would be after an edit.
#[derive(Debug)]
pub struct Draft {
    main: PathBuf,
    /// Each with its text as it was read; `None`: it isn't there.
    before: BTreeMap<PathBuf, Option<String>>,
    after: Drafts,
    /// Files of secrets, made before everything else.
    secrets: Vec<Secret>,
    config: Config,
    /// Held while there is a draft.
    _lock: File,
}

struct Secret {
    path: PathBuf,
    /// The same file, as the configuration comes to it.
    seen_as: PathBuf,
    text: String,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secret({})", self.path.display())
    }
}

impl Draft {
    /// A tenant more: in a file of its own where `include` finds it, else at the end of the main file.
    ///
    /// # Errors
    /// Where there is a tenant of this id, or the new one isn't valid.
    pub fn add(main: &Path, tenant: &NewTenant) -> Result<Draft, EditError> {
        let mut edit = Editing::begin(main)?;
        if let Some(file) = edit.find(&tenant.id)? {
            return Err(EditError::TenantExists { tenant: tenant.id.clone(), file });
        }
        let place = edit.place_for(&tenant.id)?;
        let directory = place.parent().unwrap_or(Path::new("")).to_owned();
        let mut settings = vec![("name", tenant.name.clone())];
        settings.extend(tenant.version.clone().map(|version| ("version", version)));
        for (key, value) in [
            ("database_url", tenant.database_url.clone()),
            ("database_password_file", edit.password_file(&directory, tenant, false)?),
            ("owner_database_url", tenant.owner_database_url.clone()),
            ("owner_database_password_file", edit.password_file(&directory, tenant, true)?),
        ] {
            settings.extend(value.map(|value| (key, value)));
        }
        let before = edit.read(&place)?;
        let section = text::render_section(&tenant.id, &settings);
        let after = text::append_section(before.as_deref().unwrap_or(""), &section);
        edit.after.insert(place, Some(after));
        edit.judge()
    }

    /// A tenant less. Its file goes where nothing is left in it; its secrets and its database stay.
    ///
    /// # Errors
    /// Where there is no tenant of this id.
    pub fn remove(main: &Path, tenant: &TenantId) -> Result<Draft, EditError> {
        let mut edit = Editing::begin(main)?;
        let (file, before) = edit.require(tenant)?;
        let after = text::remove_section(&before, tenant).filter(|after| *after != before);
        let after = after.ok_or_else(|| edit.unknown(tenant))?;
        let is_needed = !text::is_empty(&after) || !edit.is_matched(&file);
        edit.after.insert(file, is_needed.then_some(after));
        edit.judge()
    }

    /// A tenant paused, or paused otherwise than it was.
    ///
    /// # Errors
    /// Where there is no tenant of this id.
    pub fn pause(main: &Path, tenant: &TenantId, pause: &PauseConfig) -> Result<Draft, EditError> {
        let mut edit = Editing::begin(main)?;
        let (file, before) = edit.require(tenant)?;
        let after = text::set_pause(&before, tenant, pause).ok_or_else(|| edit.unknown(tenant))?;
        edit.after.insert(file, Some(after));
        edit.judge()
    }

    /// A tenant not paused any more.
    ///
    /// # Errors
    /// Where there is no tenant of this id, or it isn't paused.
    pub fn resume(main: &Path, tenant: &TenantId) -> Result<Draft, EditError> {
        let mut edit = Editing::begin(main)?;
        let (file, before) = edit.require(tenant)?;
        let after = text::clear_pause(&before, tenant);
        let after = after.ok_or_else(|| EditError::NotPaused(tenant.clone()))?;
        edit.after.insert(file, Some(after));
        edit.judge()
    }

    /// The configuration as it would be.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// A valid tenant of it.
    pub fn find_tenant(&self, id: &TenantId) -> Option<&TenantConfig> {
        self.config.tenants.iter().find(|tenant| tenant.id == *id)
    }

    /// The files of secrets that it makes.
    pub fn secrets(&self) -> impl Iterator<Item = &Path> {
        self.secrets.iter().map(|secret| secret.path.as_path())
    }

    /// Makes the files of secrets now, before the configuration names them: a password that a role was given must not be
    /// lost where a later step fails.
    ///
    /// # Errors
    /// Where one is there already, or can't be written.
    pub fn write_secrets(&mut self) -> Result<(), EditError> {
        for secret in std::mem::take(&mut self.secrets) {
            let written = file::create_secret(&secret.path, &secret.text, &self.main);
            written.map_err(|source| EditError::Write { path: secret.path, source })?;
        }
        Ok(())
    }

    /// Writes it; gives the files that have changed. A gateway that runs doesn't know yet.
    ///
    /// # Errors
    /// Where a file has changed since the draft was made, or can't be written.
    pub fn write(mut self) -> Result<Vec<PathBuf>, EditError> {
        self.write_secrets()?;
        for (path, before) in &self.before {
            if read_if_there(path)? != *before {
                return Err(EditError::Changed(path.clone()));
            }
        }
        for (path, after) in &self.after {
            let was_there = self.before.get(path).is_some_and(Option::is_some);
            let written = match after {
                Some(text) if was_there => file::replace(path, text),
                Some(text) => file::create(path, text, &self.main),
                None => file::remove(path),
            };
            written.map_err(|source| EditError::Write { path: path.clone(), source })?;
        }
        Ok(self.after.into_keys().collect())
    }
}

/// The file that a password of the tenant was put into by an edit, if it is there.
pub fn find_secret(main: &Path, tenant: &TenantId, owner: bool) -> Option<PathBuf> {
    Some(secret_path(main, tenant, owner)).filter(|path| path.exists())
}

fn secret_path(main: &Path, tenant: &TenantId, owner: bool) -> PathBuf {
    let suffix = if owner { ".owner" } else { "" };
    main.with_file_name(SECRETS).join(format!("{tenant}{suffix}"))
}

/// An edit in the making.
struct Editing {
    main: PathBuf,
    /// The main file and the included ones.
    files: Vec<PathBuf>,
    patterns: Vec<String>,
    faults_before: Vec<Fault>,
    before: BTreeMap<PathBuf, Option<String>>,
    after: Drafts,
    secrets: Vec<Secret>,
    lock: File,
}

impl Editing {
    fn begin(main: &Path) -> Result<Editing, EditError> {
        let lock = lock(main)?;
        let config = Config::load(main).map_err(EditError::Unusable)?;
        let mut contents = Contents::default();
        let documents = Documents::read(main, &mut contents)
            .map_err(|fault| EditError::Unusable(ConfigError::new(vec![fault], Contents::default())))?;
        let included = documents.included.iter().map(|section| section.file().to_owned());
        Ok(Editing {
            main: main.to_owned(),
            files: std::iter::once(main.to_owned()).chain(included).collect(),
            patterns: contents.patterns().to_vec(),
            faults_before: config.faults().cloned().collect(),
            before: BTreeMap::new(),
            after: Drafts::new(),
            secrets: Vec::new(),
            lock,
        })
    }

    fn read(&mut self, path: &Path) -> Result<Option<String>, EditError> {
        let text = read_if_there(path)?;
        self.before.insert(path.to_owned(), text.clone());
        Ok(text)
    }

    /// The file that has the tenant's section.
    fn find(&self, tenant: &TenantId) -> Result<Option<PathBuf>, EditError> {
        for file in &self.files {
            if read_if_there(file)?.is_some_and(|text| text::names_tenant(&text, tenant)) {
                return Ok(Some(file.clone()));
            }
        }
        Ok(None)
    }

    fn require(&mut self, tenant: &TenantId) -> Result<(PathBuf, String), EditError> {
        let file = self.find(tenant)?.ok_or_else(|| self.unknown(tenant))?;
        let text = self.read(&file)?.ok_or_else(|| EditError::Changed(file.clone()))?;
        Ok((file, text))
    }

    fn unknown(&self, tenant: &TenantId) -> EditError {
        EditError::UnknownTenant { tenant: tenant.clone(), config: self.main.clone() }
    }

    /// Where a new tenant's section goes.
    fn place_for(&self, tenant: &TenantId) -> Result<PathBuf, EditError> {
        let name = format!("{tenant}.toml");
        for pattern in &self.patterns {
            let directory = literal_directory(pattern);
            let place = directory.join(&name);
            if !is_match(pattern, &place) {
                continue;
            }
            if place.exists() {
                return Err(EditError::FileExists(place));
            }
            return Ok(place);
        }
        Ok(self.main.clone())
    }

    /// Whether a pattern finds the file, so that it may be missing as well.
    fn is_matched(&self, file: &Path) -> bool {
        file != self.main && self.patterns.iter().any(|pattern| is_match(pattern, file))
    }

    /// The value of `database_password_file`, or the owner's, as the file in `directory` has to write it.
    fn password_file(
        &mut self,
        directory: &Path,
        tenant: &NewTenant,
        owner: bool,
    ) -> Result<Option<String>, EditError> {
        let password = if owner { &tenant.owner_database_password } else { &tenant.database_password };
        let (path, secret) = match password {
            None => return Ok(None),
            Some(Password::File(path)) => (path.clone(), None),
            Some(Password::Text(text)) => {
                let path = secret_path(&self.main, &tenant.id, owner);
                if path.exists() {
                    return Err(EditError::FileExists(path));
                }
                (path, Some(text.clone()))
            }
        };
        let root = self.main.parent().unwrap_or(Path::new(""));
        let named = beside(root, directory, &path);
        let named = named.map_err(|source| EditError::Read { path: path.clone(), source })?;
        if let Some(text) = secret {
            let seen_as = directory.join(&named);
            self.secrets.push(Secret { path, seen_as, text });
        }
        Ok(Some(named.display().to_string()))
    }

    /// Loads the configuration as it would be, and compares its faults with those that there are.
    fn judge(self) -> Result<Draft, EditError> {
        let secrets = self.secrets.iter().map(|secret| (secret.seen_as.clone(), Some(secret.text.clone())));
        let drafts: Drafts = self.after.clone().into_iter().chain(secrets).collect();
        let faulty = |mut faults: Vec<Fault>| {
            faults.retain(|fault| !self.faults_before.contains(fault));
            EditError::Faulty(faults)
        };
        let config = Config::load_drafts(&self.main, drafts).map_err(|error| faulty(error.faults))?;
        if config.faults().any(|fault| !self.faults_before.contains(fault)) {
            return Err(faulty(config.faults().cloned().collect()));
        }
        let Editing { main, before, after, secrets, lock, .. } = self;
        Ok(Draft { main, before, after, secrets, config, _lock: lock })
    }
}

/// The directory of the main file, not the file: that one is replaced by another.
fn lock(main: &Path) -> Result<File, EditError> {
    let directory = main.parent().filter(|directory| !directory.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    let locked = File::open(directory).and_then(|file| file.lock().map(|()| file));
    locked.map_err(|source| EditError::Read { path: directory.to_owned(), source })
}

fn read_if_there(path: &Path) -> Result<Option<String>, EditError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(EditError::Read { path: path.to_owned(), source }),
    }
}

/// The part of a pattern before its first wildcard.
fn literal_directory(pattern: &str) -> PathBuf {
    let components = Path::new(pattern).components();
    // The directory of the main file stands escaped in a pattern.
    let literal = components.map(|part| (part, unescape(&part.as_os_str().to_string_lossy())));
    literal.map_while(|(part, name)| name.map(|name| (part, name))).fold(
        PathBuf::new(),
        |path, (part, name)| {
            if matches!(part, Component::Normal(_)) { path.join(name) } else { path.join(part) }
        },
    )
}

/// What an escaped part means; `None` where it has a wildcard.
fn unescape(part: &str) -> Option<String> {
    let literal =
        part.replace("[[]", "\u{1}").replace("[]]", "]").replace("[*]", "\u{2}").replace("[?]", "\u{3}");
    if literal.contains(['*', '?', '[']) {
        return None;
    }
    Some(literal.replace('\u{1}', "[").replace('\u{2}', "*").replace('\u{3}', "?"))
}

fn is_match(pattern: &str, file: &Path) -> bool {
    let pattern = glob::Pattern::new(pattern);
    pattern.is_ok_and(|pattern| pattern.matches_path_with(file, super::documents::MATCHING))
}

/// How a file in `directory` names `path`: relative where both are below the configuration's root, else absolute.
fn beside(root: &Path, directory: &Path, path: &Path) -> io::Result<PathBuf> {
    let [root, directory, path] = [root, directory, path]
        .map(|path| std::path::absolute(if path.as_os_str().is_empty() { Path::new(".") } else { path }));
    let (root, directory, path) = (root?, directory?, path?);
    let (Ok(below), Ok(down)) = (path.strip_prefix(&root), directory.strip_prefix(&root)) else {
        return Ok(path);
    };
    let up: PathBuf = down.components().map(|_| "..").collect();
    Ok(up.join(below))
}

fn lines(faults: &[Fault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests;
