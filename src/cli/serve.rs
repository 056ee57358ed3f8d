//! `turnpike serve`

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{CommandError, CommandResult, log_filter};
use crate::admin::Admin;
use crate::admin::keys::OperatorKeys;
use crate::admin::listener::{AdminListener, RunningAdmin};
use crate::config::{AdminAddress, Config};
use crate::handler::Gateway;
use crate::listener::Listener;
use crate::reload::{Reloader, Trigger};
use crate::tls::{Identity, Pair};
use crate::traces::Traces;
use crate::{log, sweep, tls};

/// What a shell reports for a program that SIGTERM ended: a second signal's exit.
const EXIT_AT_ONCE: u8 = 143;

/// Serves until SIGTERM or SIGINT, then drains; a second signal ends at once.
pub async fn run(path: &Path) -> CommandResult {
    let config = Config::load(path)?;
    let telemetry = &config.gateway.telemetry;
    let traces = telemetry.otlp_endpoint.as_deref();
    let traces =
        traces.map(|endpoint| Traces::start(endpoint, telemetry.trace_sample_ratio.as_f64())).transpose()?;
    log::start(log_filter().as_deref(), traces.as_ref())?;
    let gateway = Arc::new(Gateway::new(&config));
    if let Some(traces) = &traces {
        gateway.count_spans(traces.counts());
    }
    let pair = Pair::read(&config.gateway.tls_certificate, &config.gateway.tls_key)?;
    gateway.metrics.certificate_shown(pair.expires_at());
    let identity = Identity::new(pair);
    let reloader = Reloader::new(path.to_owned(), &config, Arc::clone(&gateway), Arc::clone(&identity));
    let listen = config.gateway.listen;
    let io = |attempt: String| move |source| CommandError::Io { attempt, source };
    let listener = Listener::bind(listen, identity.server_config(), Arc::clone(&gateway))
        .await
        .map_err(io(format!("listen on {listen}")))?;
    let mut signals = Signals::listen().map_err(io("listen for signals".to_owned()))?;
    let hang_up = signal(SignalKind::hangup()).map_err(io("listen for signals".to_owned()))?;
    let draining = CancellationToken::new();
    let admin = start_admin(&config, &gateway, &reloader, &identity, &draining).await?;
    info!(
        listen = listener.address().ok().map(|address| address.to_string()),
        admin_listen = admin.as_ref().and_then(|(address, _)| address.as_ref()).map(ToString::to_string),
        tenants = config.tenants.len(),
        quarantined = config.quarantined.len(),
        "serving"
    );

    let beside = [
        tokio::spawn(sweep::run(Arc::clone(&gateway))),
        tokio::spawn(Arc::clone(&reloader).watch()),
        tokio::spawn(reload_on(hang_up, reloader)),
    ];
    let second = CancellationToken::new();
    let (told, at_once) = (draining.clone(), second.clone());
    tokio::spawn(async move {
        tokio::select! {
            () = signals.next() => told.cancel(),
            () = told.cancelled() => {} // an operator has it drain
        }
        signals.next().await;
        at_once.cancel();
    });
    let code = tokio::select! {
        () = listener.run(draining.cancelled()) => ExitCode::SUCCESS,
        () = second.cancelled() => {
            warn!("second signal, ending at once; open batches are voided when their lease is over");
            ExitCode::from(EXIT_AT_ONCE)
        }
    };
    for task in beside {
        task.abort();
    }
    if let Some((_, running)) = admin {
        running.stop().await;
    }
    if let Some(traces) = traces.filter(|_| code == ExitCode::SUCCESS) {
        traces.finish().await;
    }
    info!("stopped");
    Ok(code)
}

/// Where operators are served, if they are.
async fn start_admin(
    config: &Config,
    gateway: &Arc<Gateway>,
    reloader: &Arc<Reloader>,
    identity: &Arc<Identity>,
    draining: &CancellationToken,
) -> Result<Option<(Option<AdminAddress>, RunningAdmin)>, CommandError> {
    let settings = &config.gateway.admin;
    let Some(address) = &settings.listen else { return Ok(None) };
    let keys = OperatorKeys::load(&settings.operators)?;
    let vendors = (&config.gateway.tls_certificate, &config.gateway.tls_key);
    let tls = match &settings.tls {
        None => None,
        Some((certificate, key)) if (certificate, key) == vendors => Some(identity.server_config()),
        Some((certificate, key)) => Some(tls::server_config(certificate, key)?),
    };
    let admin = Admin::new(Arc::clone(gateway), Arc::clone(reloader), keys, draining.clone());
    tokio::spawn(Arc::clone(&admin).follow_reloads());
    let listener = AdminListener::bind(address, tls, admin).await;
    let listener =
        listener.map_err(|source| CommandError::Io { attempt: format!("listen on {address}"), source })?;
    Ok(Some((listener.address().ok(), listener.start())))
}

/// SIGHUP ends nothing: its default would skip the drain.
async fn reload_on(mut hang_up: Signal, reloader: Arc<Reloader>) {
    while hang_up.recv().await.is_some() {
        reloader.reload(Trigger::Signal).await;
    }
}

/// The signals that end the process.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
