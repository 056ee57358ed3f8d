//! What the tests of the configuration share: a directory with files in it, and an environment.

use std::collections::HashMap;
use std::path::PathBuf;

use tempfile::TempDir;

use super::{Config, ConfigError, Fault, TenantConfig};

/// A directory with a configuration in it, and an environment of its own.
pub(super) struct Workspace {
    directory: TempDir,
    env: HashMap<String, String>,
}

impl Workspace {
    pub(super) fn new() -> Workspace {
        Workspace { directory: tempfile::tempdir().unwrap(), env: HashMap::new() }
    }

    /// A main file with a valid `[gateway]`, followed by `text`.
    pub(super) fn with(text: &str) -> Workspace {
        Workspace::with_top("", text)
    }

    pub(super) fn with_top(top: &str, text: &str) -> Workspace {
        let gateway = "[gateway]\ntls_certificate = \"gateway.pem\"\ntls_key = \"gateway.pem\"\n";
        Workspace::new()
            .file("gateway.pem", "certificate and key")
            .file("tenants.toml", &format!("{top}\n{gateway}\n{text}"))
    }

    pub(super) fn file(self, name: &str, content: &str) -> Workspace {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        self
    }

    pub(super) fn env(mut self, name: &str, value: &str) -> Workspace {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(super) fn load(&self) -> Result<Config, ConfigError> {
        Config::load_with(&self.path("tenants.toml"), &|name| self.env.get(name).cloned())
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The one tenant that is configured, and valid.
    pub(super) fn tenant(&self) -> TenantConfig {
        let config = self.load().unwrap();
        assert_eq!(config.faults().map(Fault::to_string).collect::<Vec<_>>(), [""; 0]);
        config.tenants.into_iter().next().unwrap()
    }

    /// What is wrong with the tenants, as lines without the directory.
    pub(super) fn quarantine_lines(&self) -> Vec<String> {
        let config = self.load().unwrap();
        config.faults().map(|fault| self.without_directory(fault)).collect()
    }

    /// What is wrong with a configuration that can't be used, as lines without the directory.
    pub(super) fn error_lines(&self) -> Vec<String> {
        let error = self.load().unwrap_err();
        error.faults.iter().map(|fault| self.without_directory(fault)).collect()
    }

    fn without_directory(&self, fault: &Fault) -> String {
        fault.to_string().replace(&format!("{}/", self.directory.path().display()), "")
    }
}

/// A tenant `A` with these lines besides its name.
pub(super) fn tenant_a(lines: &str) -> String {
    format!("[tenants.A]\nname = \"A\"\n{lines}\n")
}
