//! `turnpike serve`

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{CommandError, CommandResult, log_filter};
use crate::config::Config;
use crate::handler::Gateway;
use crate::listener::Listener;
use crate::{admin, log, sweep, tls};

/// What a shell reports for a program that SIGTERM ended: a second signal's exit.
const EXIT_AT_ONCE: u8 = 143;

/// Serves until SIGTERM or SIGINT, then drains; a second signal ends at once.
pub async fn run(config: &Path) -> CommandResult {
    log::start(log_filter().as_deref())?;
    let config = Config::load(config)?;
    let gateway = Arc::new(Gateway::new(&config));
    let tls = tls::server_config(&config.gateway.tls_certificate, &config.gateway.tls_key)?;
    let listen = config.gateway.listen;
    let io = |attempt: String| move |source| CommandError::Io { attempt, source };
    let listener =
        Listener::bind(listen, tls, Arc::clone(&gateway)).await.map_err(io(format!("listen on {listen}")))?;
    let mut signals = Signals::listen().map_err(io("listen for signals".to_owned()))?;
    let draining = CancellationToken::new();
    let admin = match config.gateway.admin_listen {
        Some(address) => {
            Some(admin::start(address, draining.clone()).await.map_err(io(format!("listen on {address}")))?)
        }
        None => None,
    };
    info!(
        listen = listener.address().ok().map(|address| address.to_string()),
        admin_listen = admin.map(|address| address.to_string()),
        tenants = config.tenants.len(),
        quarantined = config.quarantined.len(),
        "serving"
    );

    let sweeping = tokio::spawn(sweep::run(Arc::clone(&gateway)));
    let (first, second) = (CancellationToken::new(), CancellationToken::new());
    let (told, at_once) = (first.clone(), second.clone());
    tokio::spawn(async move {
        signals.next().await;
        draining.cancel();
        told.cancel();
        signals.next().await;
        at_once.cancel();
    });
    let code = tokio::select! {
        () = listener.run(first.cancelled()) => ExitCode::SUCCESS,
        () = second.cancelled() => {
            warn!("second signal, ending at once; open batches are voided when their lease is over");
            ExitCode::from(EXIT_AT_ONCE)
        }
    };
    sweeping.abort();
    info!("stopped");
    Ok(code)
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for a signal that ends the process. SIGHUP is no such signal: its default would skip the drain.
    async fn next(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hang_up.recv() => warn!("SIGHUP: a changed configuration is read at the next start"),
            }
        }
    }
}
