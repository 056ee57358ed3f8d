//! The PostgreSQL that is installed on this machine: where its programs are, and as whom they run.
//!
//! initdb and postgres refuse to run as root. Where we are root they run as user `postgres`, by setpriv(1).

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs, io};

use nix::sys::signal::Signal;
use nix::unistd::{Uid, User};

use super::ClusterError;
use super::process::bound_command;

const ACCOUNT: &str = "postgres";

#[derive(Debug)]
pub(super) struct Installation {
    binaries: PathBuf,
    /// Whom the programs run as, where it is not us.
    account: Option<User>,
    /// Whether the account has to be let through directories that it may not enter, such as a root user's home.
    let_through: bool,
}

/// What lets a process enter and read any directory, and change none.
const LET_THROUGH: [&str; 2] = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"];

impl Installation {
    pub(super) fn find() -> Result<Installation, ClusterError> {
        let binaries = find_binaries().ok_or(ClusterError::NotInstalled)?;
        let account = if Uid::effective().is_root() {
            let user = User::from_name(ACCOUNT).ok().flatten();
            Some(user.ok_or(ClusterError::NoAccount)?)
        } else {
            None
        };
        Ok(Installation { binaries, account, let_through: false })
    }

    /// A command line for one of PostgreSQL's programs, with a bare environment: no `PG…` variable of the caller's
    /// may redirect it.
    pub(super) fn command(&self, program: &str, death_signal: Signal) -> Command {
        let mut command = self.bare_command(death_signal);
        command.arg(self.binaries.join(program));
        command
    }

    /// Gives a file or directory to the account that the server runs as.
    pub(super) fn hand_over(&self, path: &Path) -> io::Result<()> {
        match &self.account {
            Some(user) => std::os::unix::fs::chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())),
            None => Ok(()),
        }
    }

    /// Sees to it that the account can get into a directory: where an ancestor is closed to it, it is let through if
    /// we may grant that, and else the ancestor is named.
    pub(super) fn make_reachable(&mut self, directory: &Path) -> Result<(), ClusterError> {
        if self.account.is_none() || self.find_closed(directory)?.is_none() {
            return Ok(());
        }
        self.let_through = true;
        match self.find_closed(directory)? {
            None => Ok(()),
            Some(ancestor) => Err(ClusterError::Unreachable { directory: directory.to_owned(), ancestor }),
        }
    }

    /// The first ancestor, from the root, that the account can't enter.
    fn find_closed(&self, directory: &Path) -> Result<Option<PathBuf>, ClusterError> {
        let mut from_root: Vec<&Path> = directory.ancestors().collect();
        from_root.reverse();
        for ancestor in from_root {
            let mut test = self.bare_command(Signal::SIGTERM);
            // Not `test -x`: access(2), which it uses, leaves out what we grant by a capability.
            test.args(["test", "-d"]).arg(ancestor.join("."));
            let status = test.stderr(Stdio::null()).status().map_err(ClusterError::Spawn)?;
            if !status.success() {
                return Ok(Some(ancestor.to_owned()));
            }
        }
        Ok(None)
    }

    fn bare_command(&self, death_signal: Signal) -> Command {
        let mut command = bound_command(death_signal, self.account.as_ref().map(|_| ACCOUNT));
        if self.let_through {
            command.args(LET_THROUGH);
        }
        command.env_clear().env("LC_ALL", "C").env("PATH", "/usr/local/bin:/usr/bin:/bin");
        // Our own working directory may be one that the account cannot enter.
        command.current_dir("/").stdin(Stdio::null());
        command
    }
}

/// $PATH first, then Debian's place (the highest version), then whatever pg_config tells.
fn find_binaries() -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "$PATH is where programs are looked up, not configuration")]
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .find(|directory| has_server(directory))
        .map(|directory| follow_links(&directory).unwrap_or(directory))
        .or_else(|| highest_version(Path::new("/usr/lib/postgresql")))
        .or_else(|| ask_pg_config().filter(|directory| has_server(directory)))
}

fn has_server(directory: &Path) -> bool {
    directory.is_absolute() && ["initdb", "postgres"].iter().all(|program| directory.join(program).is_file())
}

/// Where the server's programs really are: its other programs are beside them.
fn follow_links(directory: &Path) -> Option<PathBuf> {
    let real = fs::canonicalize(directory.join("initdb")).ok()?.parent()?.to_owned();
    has_server(&real).then_some(real)
}

fn highest_version(root: &Path) -> Option<PathBuf> {
    let version = |name: &OsStr| name.to_str()?.parse::<u32>().ok();
    fs::read_dir(root)
        .ok()?
        .flatten()
        .filter_map(|entry| Some((version(&entry.file_name())?, entry.path().join("bin"))))
        .filter(|(_, binaries)| has_server(binaries))
        .max()
        .map(|(_, binaries)| binaries)
}

fn ask_pg_config() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").stderr(Stdio::null()).output().ok()?;
    Some(PathBuf::from(String::from_utf8(output.stdout).ok()?.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_10_is_higher_than_version_9() {
        let root = env::temp_dir().join(format!("turnpike-installation-{}", std::process::id()));
        for version in ["9", "10", "common"] {
            let binaries = root.join(version).join("bin");
            fs::create_dir_all(&binaries).unwrap();
            fs::write(binaries.join("initdb"), "").unwrap();
            fs::write(binaries.join("postgres"), "").unwrap();
        }

        let found = highest_version(&root);

        assert_eq!(found, Some(root.join("10/bin")));
        fs::remove_dir_all(root).unwrap();
    }
}
