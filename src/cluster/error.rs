//! Why there is no cluster, and what to do about it.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error(
        "no PostgreSQL server is installed (looked for `initdb` and `postgres` in $PATH and in \
         /usr/lib/postgresql/*/bin): run deploy/install-postgres.sh, or `apt-get install postgresql`"
    )]
    NotInstalled,
    #[error(
        "PostgreSQL refuses to run as root, and there is no user `postgres` to run it as: create one \
         (`useradd --system postgres`), or run this as a user other than root"
    )]
    NoAccount,
    #[error(
        "user `postgres` may not enter {}, and PostgreSQL refuses to run as root, so it cannot work in {}: \
         move the checkout to where every user may enter (for instance /srv), or run this as a user other than root",
        ancestor.display(), directory.display()
    )]
    Unreachable { directory: PathBuf, ancestor: PathBuf },
    #[error(
        "{} is not empty and was not made by this program, so it is not emptied: remove it, or choose another",
        .0.display()
    )]
    NotOurs(PathBuf),
    #[error("a PostgreSQL server (process {pid}) still runs in {}: stop it first", directory.display())]
    StillRunning { directory: PathBuf, pid: u32 },
    #[error("could not prepare the cluster's files in {}", directory.display())]
    Files { directory: PathBuf, source: io::Error },
    #[error("could not run setpriv (package util-linux) to start PostgreSQL")]
    Spawn(#[source] io::Error),
    #[error("{program} failed ({status}):\n{output}")]
    Unprepared { program: &'static str, status: ExitStatus, output: String },
    #[error("could not find a free port on 127.0.0.1")]
    NoFreePort(#[source] io::Error),
    #[error("the PostgreSQL server ended while it started ({status}); its log ends in:\n{log_tail}")]
    Ended { status: ExitStatus, log_tail: String },
    #[error("no connection to PostgreSQL within {} s; its log ends in:\n{log_tail}", waited.as_secs())]
    NotReady { waited: Duration, source: tokio_postgres::Error, log_tail: String },
}
