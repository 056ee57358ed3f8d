//! The demo's directory: ours alone, locked while a demo runs in it, and made anew by each run.

use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rand::Rng;
use rand::distr::Alphanumeric;

use super::DemoError;

const MARKER: &str = ".turnpike-demo";
/// The cluster empties its own directory, after the server in it has gone.
const POSTGRES: &str = "postgres";

/// A directory that carries our marker, empty but for that. The lock on it ends with the value, or with us.
#[derive(Debug)]
pub(super) struct DemoDirectory {
    path: PathBuf,
    lock: File,
}

/// The passwords of the demo's two roles: letters and digits.
pub(super) struct Secrets {
    pub(super) owner_password: String,
    pub(super) gateway_password: String,
}

impl DemoDirectory {
    /// Takes `path`, and empties it where an earlier demo made it; refuses what anyone else made.
    pub(super) fn claim(path: &Path) -> Result<DemoDirectory, DemoError> {
        let failed = |source| DemoError::Files { path: path.to_owned(), source };
        fs::create_dir_all(path).map_err(failed)?;
        let marker = path.join(MARKER);
        if !marker.exists() && fs::read_dir(path).map_err(failed)?.next().is_some() {
            return Err(DemoError::DirectoryNotOurs(path.to_owned()));
        }
        let lock = File::options().append(true).create(true).open(&marker).map_err(failed)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => DemoError::DirectoryInUse(path.to_owned()),
            TryLockError::Error(source) => failed(source),
        })?;
        let directory = DemoDirectory { path: path.to_owned(), lock };
        directory.make_anew().map_err(failed)?;
        Ok(directory)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(super) fn postgres(&self) -> PathBuf {
        self.path(POSTGRES)
    }

    pub(super) fn configuration(&self) -> PathBuf {
        self.path("tenants.toml")
    }

    /// Writes `secrets/turnpike` and `secrets/turnpike_owner`.
    pub(super) fn create_secrets(&self) -> Result<Secrets, DemoError> {
        let secrets = Secrets { owner_password: random_password(), gateway_password: random_password() };
        self.write_private("secrets/turnpike", &secrets.gateway_password)?;
        self.write_private("secrets/turnpike_owner", &secrets.owner_password)?;
        Ok(secrets)
    }

    /// Writes a file that nobody else may read.
    pub(super) fn write_private(&self, name: &str, content: &str) -> Result<(), DemoError> {
        let path = self.path(name);
        File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(content.as_bytes()))
            .map_err(|source| DemoError::Files { path, source })
    }

    fn make_anew(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_name() == MARKER || entry.file_name() == POSTGRES {
                continue;
            }
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        // The server may run as user `postgres`, who has to pass through.
        fs::set_permissions(&self.path, Permissions::from_mode(0o755))?;
        fs::create_dir(self.path("certs"))?;
        for private in ["secrets", "tokens"] {
            DirBuilder::new().mode(0o700).create(self.path(private))?;
        }
        Ok(())
    }
}

impl Drop for DemoDirectory {
    /// Closing the file is not enough: a process that another thread starts holds a copy until its `exec`, and the
    /// lock with it (flock(2)).
    fn drop(&mut self) {
        // Where this fails, the lock ends with the last copy.
        let _ = self.lock.unlock();
    }
}

fn random_password() -> String {
    rand::rng().sample_iter(Alphanumeric).take(32).map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn temporary(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("turnpike-demo-{name}-{}", std::process::id()))
    }

    #[test]
    fn a_second_demo_in_the_same_directory_is_refused() {
        let path = temporary("twice");
        let first = DemoDirectory::claim(&path).unwrap();
        fs::write(first.path("tenants.toml"), "of the first").unwrap();

        let second = DemoDirectory::claim(&path);
        assert!(matches!(second, Err(DemoError::DirectoryInUse(_))));
        assert!(first.path("tenants.toml").exists());

        let _held_by_a_process_about_to_exec = first.lock.try_clone().unwrap();
        drop(first);
        let third = DemoDirectory::claim(&path).unwrap();
        assert!(!third.path("tenants.toml").exists());
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn a_directory_that_no_demo_made_is_not_emptied() {
        let path = temporary("foreign");
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("thesis.txt"), "years of work").unwrap();

        let claimed = DemoDirectory::claim(&path);

        assert!(matches!(claimed, Err(DemoError::DirectoryNotOurs(_))));
        assert!(path.join("thesis.txt").exists());
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn secrets_are_for_the_owners_eyes() {
        let path = temporary("secrets");
        let directory = DemoDirectory::claim(&path).unwrap();

        let secrets = directory.create_secrets().unwrap();

        let file = directory.path("secrets/turnpike");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(&file).unwrap(), secrets.gateway_password);
        fs::remove_dir_all(path).unwrap();
    }
}
