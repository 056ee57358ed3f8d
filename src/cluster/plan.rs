//! How a cluster's server is started, the first time and again: its files, settings, password and command line.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use nix::sys::signal::Signal;
use rand::Rng;
use rand::distr::Alphanumeric;
use tokio::time::{Instant, sleep};
use tokio_postgres::NoTls;

use super::installation::Installation;
use super::process::BoundProcess;
use super::{ClusterError, ClusterOptions, ClusterTls, FAST, READY_WITHIN, RETRY_INTERVAL};

const SUPERUSER: &str = "postgres";
const MARKER: &str = ".turnpike-cluster";
const LOG_TAIL_LINES: usize = 12;

/// All that a start needs and a restart needs again.
pub(super) struct Plan {
    installation: Installation,
    pub(super) directory: PathBuf,
    settings: Vec<(String, String)>,
    pub(super) password: String,
    pub(super) log: PathBuf,
}

/// Where a cluster's first data come from.
pub(super) enum Origin {
    Initdb,
    /// Of a running cluster, which it then follows.
    Copy(Primary),
}

pub(super) struct Primary {
    pub(super) port: u16,
    pub(super) password: String,
}

impl Plan {
    /// Empties and creates the directory and fills it. Blocks for about a second.
    pub(super) fn prepare(origin: Origin, options: ClusterOptions) -> Result<Plan, ClusterError> {
        let mut installation = Installation::find()?;
        let directory = std::path::absolute(&options.directory)
            .map_err(|source| ClusterError::Files { directory: options.directory.clone(), source })?;
        let failed = |source| ClusterError::Files { directory: directory.clone(), source };

        if !is_ours_or_empty(&directory).map_err(failed)? {
            return Err(ClusterError::NotOurs(directory));
        }
        create_directory(&directory).and_then(|()| installation.hand_over(&directory)).map_err(failed)?;
        installation.make_reachable(&directory)?;
        let password = match origin {
            Origin::Initdb => {
                let password: String =
                    rand::rng().sample_iter(Alphanumeric).take(32).map(char::from).collect();
                let password_file = directory.join("password");
                write_private(&password_file, password.as_bytes())
                    .and_then(|()| installation.hand_over(&password_file))
                    .map_err(failed)?;
                initdb(&installation, &directory, options.durable)?;
                fs::remove_file(&password_file).map_err(failed)?;
                password
            }
            Origin::Copy(primary) => {
                copy(&installation, &directory, &primary)?;
                primary.password
            }
        };
        let mut settings = base_settings(options.durable);
        if let Some(tls) = &options.tls {
            settings.extend(install_tls(&installation, &directory, tls).map_err(failed)?);
        }
        settings.extend(options.settings);
        let log = directory.join("postgres.log");
        Ok(Plan { installation, directory, settings, password, log })
    }

    /// Starts the server on `port` and waits until it answers.
    pub(super) async fn run(&self, port: u16) -> Result<(u16, BoundProcess), ClusterError> {
        let command = self.server_command(port)?;
        let server = BoundProcess::spawn(command, FAST).await.map_err(ClusterError::Spawn)?;
        let give_up = Instant::now() + READY_WITHIN;
        let config = self.superuser_config(port, "postgres");
        loop {
            if let Some(status) = server.exit_status() {
                return Err(ClusterError::Ended { status, log_tail: self.log_tail() });
            }
            match config.connect(NoTls).await {
                Ok(_) => return Ok((port, server)),
                Err(source) if Instant::now() >= give_up => {
                    return Err(ClusterError::NotReady {
                        waited: READY_WITHIN,
                        source,
                        log_tail: self.log_tail(),
                    });
                }
                Err(_) => sleep(RETRY_INTERVAL).await,
            }
        }
    }

    fn server_command(&self, port: u16) -> Result<Command, ClusterError> {
        let failed = |source| ClusterError::Files { directory: self.directory.clone(), source };
        // Opened by us: the server gets the open file and needs no right to make one.
        let log = File::options().append(true).create(true).mode(0o600).open(&self.log).map_err(failed)?;
        let log_too = log.try_clone().map_err(failed)?;
        let mut command = self.installation.command("postgres", Signal::SIGINT);
        command.arg("-D").arg(self.directory.join("data"));
        for (name, value) in &self.settings {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        command.arg("-c").arg(format!("port={port}")).stdout(log).stderr(log_too);
        Ok(command)
    }

    pub(super) fn superuser_config(&self, port: u16, database: &str) -> tokio_postgres::Config {
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(port).user(SUPERUSER).password(&self.password).dbname(database);
        config.connect_timeout(Duration::from_secs(5)).application_name("turnpike-cluster");
        config
    }

    fn log_tail(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }
}

fn is_ours_or_empty(directory: &Path) -> io::Result<bool> {
    if directory.join(MARKER).exists() {
        return Ok(true);
    }
    match fs::read_dir(directory) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

/// The marker is there from before the first file until after the last: whatever is killed meanwhile leaves a directory that
/// is ours.
fn create_directory(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    fs::write(directory.join(MARKER), "Made by turnpike; emptied at its next start.\n")?;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else if entry.file_name() != MARKER {
            fs::remove_file(entry.path())?;
        }
    }
    fs::set_permissions(directory, Permissions::from_mode(0o700))
}

fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)
}

fn initdb(installation: &Installation, directory: &Path, durable: bool) -> Result<(), ClusterError> {
    let run = |locale: &str| {
        let mut command = installation.command("initdb", Signal::SIGTERM);
        command.arg("--pgdata").arg(directory.join("data")).arg("--pwfile").arg(directory.join("password"));
        command.args(["--username", SUPERUSER, "--auth=scram-sha-256", "--encoding=UTF8"]);
        command.args(["--locale", locale, "--lc-messages=C"]);
        if !durable {
            command.arg("--no-sync");
        }
        command.output().map_err(ClusterError::Spawn)
    };
    let mut output = run("C.UTF-8")?;
    // Not every C library has C.UTF-8; initdb removes what a failed run has made.
    if String::from_utf8_lossy(&output.stderr).contains("invalid locale") {
        output = run("C")?;
    }
    if output.status.success() {
        return Ok(());
    }
    Err(unprepared("initdb", &output))
}

/// A copy of the running primary that follows it from there on.
fn copy(installation: &Installation, directory: &Path, primary: &Primary) -> Result<(), ClusterError> {
    let mut command = installation.command("pg_basebackup", Signal::SIGTERM);
    command.arg("--pgdata").arg(directory.join("data")).args(["--host", "127.0.0.1"]);
    command.args(["--port", &primary.port.to_string(), "--username", SUPERUSER, "--no-password"]);
    command.args(["--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-sync"]);
    let output = command.env("PGPASSWORD", &primary.password).output().map_err(ClusterError::Spawn)?;
    if output.status.success() { Ok(()) } else { Err(unprepared("pg_basebackup", &output)) }
}

fn unprepared(program: &'static str, output: &Output) -> ClusterError {
    let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    ClusterError::Unprepared { program, status: output.status, output: text }
}

fn base_settings(durable: bool) -> Vec<(String, String)> {
    let always = [
        ("listen_addresses", "127.0.0.1"),
        ("unix_socket_directories", ""),
        ("max_connections", "200"),
        ("timezone", "UTC"),
        ("log_timezone", "UTC"),
        ("log_line_prefix", "%m [%p] %u@%d %a "),
    ];
    let in_tests = [("fsync", "off"), ("full_page_writes", "off")];
    let chosen = always.into_iter().chain(in_tests.into_iter().filter(|_| !durable));
    chosen.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Copies certificate and key to where the server may read them: it refuses a key that others could read too.
fn install_tls(
    installation: &Installation,
    directory: &Path,
    tls: &ClusterTls,
) -> io::Result<Vec<(String, String)>> {
    for (from, name) in [(&tls.certificate, "server.crt"), (&tls.key, "server.key")] {
        let to = directory.join("data").join(name);
        write_private(&to, &fs::read(from)?)?;
        installation.hand_over(&to)?;
    }
    let settings = [("ssl", "on"), ("ssl_cert_file", "server.crt"), ("ssl_key_file", "server.key")];
    Ok(settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec())
}
