//! Puts a changed configuration into force while vendors are served.
//!
//! Input: the configuration's files. Output: a [`Report`]. Everything is read and checked first, then exchanged in one step:
//! a tenant that didn't change keeps its pool, its caches and its breaker; one that is at fault is quarantined alone; a file
//! that can't be parsed, or a fault in `[gateway]` or `[defaults]`, changes nothing. There is one reload at a time.
//! A request that has found its tenant keeps it, so that nothing is dropped.

mod report;
mod settings;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

pub use self::report::{Certificate, Outcome, Report, Trigger};
use crate::access_log::chain;
use crate::config::{Config, ConfigError, Contents, GatewayConfig};
use crate::directory::Plan;
use crate::handler::Gateway;
use crate::tls::{Identity, Pair};

/// Where looking for changes is switched off, a reload may switch it on again: how soon that is noticed.
const OFF_PAUSE: Duration = Duration::from_secs(5);

/// Reloads one gateway from one configuration.
pub struct Reloader {
    path: PathBuf,
    gateway: Arc<Gateway>,
    identity: Arc<Identity>,
    /// What the process was started with, for the settings that no reload changes.
    started: GatewayConfig,
    /// What the last reload read. Held through a reload: there is one at a time.
    read: Mutex<Contents>,
    /// Told after each reload that put a configuration into force.
    reloads: watch::Sender<()>,
}

/// A configuration that was read and checked, with all that it takes to put it into force.
struct Draft {
    gateway: GatewayConfig,
    plan: Plan,
    /// `Err`: the pair can't be used, and why.
    pair: Result<Pair, String>,
    contents: Contents,
}

impl Reloader {
    /// For the gateway that was made of `config`, which was read from `path`, and shows `identity`.
    pub fn new(path: PathBuf, config: &Config, gateway: Arc<Gateway>, identity: Arc<Identity>) -> Arc<Self> {
        let read = Mutex::new(config.contents.clone());
        let started = config.gateway.clone();
        Arc::new(Self { path, gateway, identity, started, read, reloads: watch::Sender::new(()) })
    }

    /// The configuration's main file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Changes whenever a configuration was put into force.
    pub fn reloads(&self) -> watch::Receiver<()> {
        self.reloads.subscribe()
    }

    /// Reads the configuration and puts it into force as far as it is valid; the report is logged. Safe to drop: it
    /// happens as a whole or not at all.
    pub async fn reload(self: &Arc<Self>, trigger: Trigger) -> Report {
        let mut read = self.read.lock().await;
        let begun = Instant::now();
        let report = match self.draw().await {
            Ok(draft) => {
                let report = self.report(trigger, &draft);
                *read = draft.contents;
                self.gateway.reconfigure(draft.gateway);
                self.gateway.directory.enter(draft.plan);
                self.gateway.metrics.reloaded(self.gateway.clock.now());
                if let (Certificate::Renewed, Ok(pair)) = (&report.certificate, draft.pair) {
                    self.gateway.metrics.certificate_shown(pair.expires_at());
                    self.identity.replace(pair);
                }
                self.reloads.send_replace(());
                report
            }
            Err(error) => {
                *read = error.contents;
                self.gateway.metrics.reload_failed();
                Report::refused(trigger, error.faults)
            }
        };
        let report = report.after(begun.elapsed());
        report.log();
        report
    }

    /// What a reload would do; changes nothing.
    pub async fn dry_run(self: &Arc<Self>) -> Report {
        let _turn = self.read.lock().await;
        let begun = Instant::now();
        let report = match self.draw().await {
            Ok(draft) => self.report(Trigger::DryRun, &draft),
            Err(error) => Report::refused(Trigger::DryRun, error.faults),
        };
        report.after(begun.elapsed())
    }

    /// Reloads when the content of the files has changed, for as long as it is polled. By content and at intervals: a
    /// Kubernetes volume changes by a link two directories up, which no notification tells. A change that may be half
    /// written is not believed before it looks the same twice.
    pub async fn watch(self: Arc<Self>) {
        let mut suspicion = Suspicion::default();
        loop {
            let Some(interval) = self.gateway.config().reload_interval else {
                sleep(OFF_PAUSE).await;
                continue;
            };
            sleep(interval).await;
            let read = self.read.lock().await.clone();
            let looking = spawn_blocking(move || {
                let now = read.look_again();
                (read, now)
            });
            let (read, now) = looking.await.expect("comparing files doesn't panic");
            if suspicion.is_confirmed(&read, now) {
                self.reload(Trigger::Change).await;
            }
        }
    }

    /// Reads and checks, off the runtime's workers: a thousand tenants have as many secrets.
    async fn draw(self: &Arc<Self>) -> Result<Draft, ConfigError> {
        let reloader = Arc::clone(self);
        let drawn = spawn_blocking(move || {
            let config = Config::load(&reloader.path)?;
            let plan = reloader.gateway.directory.plan(&config);
            let pair = Pair::read(&config.gateway.tls_certificate, &config.gateway.tls_key);
            let pair = pair.map_err(|error| chain(&error));
            Ok(Draft { gateway: config.gateway, plan, pair, contents: config.contents })
        });
        drawn.await.expect("reading a configuration doesn't panic")
    }

    fn report(&self, trigger: Trigger, draft: &Draft) -> Report {
        let certificate = match &draft.pair {
            Err(reason) => Certificate::Kept { reason: reason.clone() },
            Ok(pair) if self.identity.shows(pair) => Certificate::Unchanged,
            Ok(_) => Certificate::Renewed,
        };
        let settings = settings::compare(&self.started, &self.gateway.config(), &draft.gateway);
        Report::applied(trigger, draft.plan.changes().clone(), certificate, settings)
    }
}

/// What the last look saw, where it wasn't what the last reload had read.
#[derive(Default)]
struct Suspicion(Option<Contents>);

impl Suspicion {
    /// Whether this look saw the same change as the one before: nobody is in the midst of writing it.
    fn is_confirmed(&mut self, read: &Contents, now: Contents) -> bool {
        if now == *read {
            self.0 = None;
            return false;
        }
        let confirmed = self.0.as_ref() == Some(&now);
        self.0 = (!confirmed).then_some(now);
        confirmed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The contents of a directory's one configuration, holding this text.
    fn contents(directory: &tempfile::TempDir, text: &str) -> Contents {
        let file = directory.path().join("tenants.toml");
        std::fs::write(&file, text).unwrap();
        Config::load(&file).unwrap_err().contents
    }

    #[test]
    fn a_half_written_file_is_not_believed() {
        let directory = tempfile::tempdir().unwrap();
        let [read, half, more, whole] =
            ["", "[gate", "[gateway]", "[gateway]\n"].map(|text| contents(&directory, text));
        let mut suspicion = Suspicion::default();
        let mut look = |now: &Contents| suspicion.is_confirmed(&read, now.clone());

        assert!(!look(&read));
        assert!(!look(&half));
        assert!(!look(&more), "it is still being written");
        assert!(!look(&read), "and taken back");
        assert!(!look(&more), "which starts again");
        assert!(!look(&whole));
        assert!(look(&whole));
    }
}
