//! `turnpike loadtest`

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::super::CommandResult;
use super::targets::{GatewayArgs, TenantsArgs};
use super::{Output, confirm, parse_duration, parse_pause, stop_on_signals};
use crate::clock::Clock;
use crate::loadtest::call::{Order, Taking};
use crate::loadtest::connections::Dialer;
use crate::loadtest::endpoint::HttpVersion;
use crate::loadtest::live::{self, Caption};
use crate::loadtest::progress;
use crate::loadtest::report::{Occasion, Report, page, text};
use crate::loadtest::run::{Model, Plan, Run};
use crate::loadtest::schedule::Rate;
use crate::loadtest::tally::Tally;
use crate::loadtest::target::Target;
use crate::loadtest::thresholds::{ErrorsAllowed, Thresholds};

#[derive(Debug, clap::Args)]
pub struct RunArgs {
    #[command(flatten)]
    tenants: TenantsArgs,
    #[command(flatten)]
    gateway: GatewayArgs,
    #[command(flatten)]
    load: LoadArgs,
    /// How long to measure
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    duration: Duration,
    /// How long to call before measuring
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_pause)]
    warm_up: Duration,
    /// Ask for at most N records a call; without it, for all
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    limit: Option<u32>,
    /// Any answer with another number of records is an error
    #[arg(long, value_name = "N")]
    expect_records: Option<u64>,
    /// Connections at most: of HTTP/1.1, 256 unless told otherwise; of HTTP/2, which carries many calls on one, 8
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000), conflicts_with = "vendors")]
    connections: Option<u32>,
    #[command(flatten)]
    consuming: ConsumingArgs,
    #[command(flatten)]
    thresholds: ThresholdArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct LoadArgs {
    /// Call so often, whatever becomes of the calls: vendors who don't know of each other
    #[arg(long, value_name = "N/s")]
    rate: Option<Rate>,
    /// So many vendors, each of whom calls again when the last answer has come
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    vendors: Option<u32>,
}

#[derive(Debug, clap::Args)]
struct ConsumingArgs {
    /// Claim violations for real instead of asking for previews
    #[arg(long)]
    consume: bool,
    /// Don't ask whether --consume is meant
    #[arg(long, requires = "consume")]
    yes: bool,
}

#[derive(Debug, clap::Args)]
struct ThresholdArgs {
    /// Half of the calls may take no longer
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    p50: Option<Duration>,
    /// 90 % of the calls may take no longer
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    p90: Option<Duration>,
    /// 99 % of the calls may take no longer
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    p99: Option<Duration>,
    /// So many calls may fail: a number, or a share as in 0.1%
    #[arg(long, value_name = "N", default_value = "0")]
    errors: ErrorsAllowed,
    /// So many whole answers there must be
    #[arg(long, value_name = "N/s")]
    min_rate: Option<Rate>,
}

#[derive(Debug, clap::Args)]
struct OutputArgs {
    /// Write the report as JSON; - is standard output, in place of the text
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the report as a page with charts, which needs nothing else
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Lines instead of the live view, on a terminal, too
    #[arg(long)]
    no_live: bool,
}

/// Runs the load and reports. Exit code 1 where a threshold wasn't held, or the run was interrupted.
pub async fn run(args: &RunArgs, config: &Path) -> CommandResult {
    let tenants = args.tenants.select(config)?;
    let targets = args.gateway.targets(tenants.clone())?;
    let dialer = args.gateway.dialer(config).await?;
    let json = args.output.json.as_deref().map(Output::open).transpose()?;
    let html = args.output.html.as_deref().map(Output::open).transpose()?;
    if args.consuming.consume {
        let what = format!(
            "--consume claims violations of {} tenants at {} for real, for {}: they are handed over and gone",
            tenants.len(),
            dialer.endpoint.authority,
            humantime::format_duration(args.duration)
        );
        confirm(args.consuming.yes, &what)?;
    }
    args.gateway.ensure_fit(&dialer, &targets).await?;

    let plan = args.plan(dialer, &targets);
    let mut occasion = Occasion {
        made_at: Clock::system().now(),
        tenants,
        previews: !args.consuming.consume,
        limit: args.limit,
        interrupted: false,
    };
    let thresholds = args.thresholds.to_thresholds();
    let blank = Tally::new(targets.len(), tokio::time::Instant::now(), Duration::from_secs(1));
    let title = text::title(&Report::new(&plan, &blank, &occasion, &thresholds));

    let stop = stop_on_signals()?;
    let run = Run::new(plan.clone(), stop.clone());
    let done = CancellationToken::new();
    let watching = args.watch(&run, title, &occasion, &stop, &done);
    let tally = run.go().await;
    done.cancel();
    let _ = watching.await; // a view that failed has said so

    occasion.interrupted = stop.is_cancelled();
    let report = Report::new(&plan, &tally, &occasion, &thresholds);
    let written = serde_json::to_string_pretty(&report).expect("a report has a JSON form");
    if !matches!(json, Some(Output::Standard)) {
        print!("{}", text::render(&report));
    }
    if let Some(json) = json {
        json.write(&written)?;
    }
    if let Some(html) = html {
        html.write(&page::render(&report))?;
    }
    Ok(if report.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl RunArgs {
    fn plan(&self, dialer: Dialer, targets: &[Target]) -> Plan {
        let taking = if self.consuming.consume { Taking::Consume } else { Taking::Preview };
        let order = |target| Order::overdue(target, taking, self.limit).expecting(self.expect_records);
        let connections = self.connections.unwrap_or(match dialer.http {
            HttpVersion::One => 256,
            HttpVersion::Two => 8,
        });
        Plan {
            orders: targets.iter().map(order).collect::<Vec<_>>().into(),
            model: match (self.load.rate, self.load.vendors) {
                (Some(rate), _) => Model::Open { rate },
                (None, vendors) => Model::Closed { vendors: vendors.unwrap_or(1) as usize },
            },
            warm_up: self.warm_up,
            duration: self.duration,
            timeout: self.gateway.timeout,
            connections: connections as usize,
            dialer,
        }
    }

    /// Shows the run in the terminal, or in lines where there is none.
    fn watch(
        &self,
        run: &Run,
        title: String,
        occasion: &Occasion,
        stop: &CancellationToken,
        done: &CancellationToken,
    ) -> JoinHandle<()> {
        let (recorder, begun, planned) = (run.recorder(), run.begun(), self.warm_up + self.duration);
        let (stop, done) = (stop.clone(), done.clone());
        if self.output.no_live || !io::stderr().is_terminal() {
            eprintln!("turnpike loadtest: {title}");
            return tokio::spawn(progress::show(recorder, begun, planned, done));
        }
        let tenants = occasion.tenants.iter().map(ToString::to_string).collect();
        let caption = Caption { title, begun, warm_up: self.warm_up, planned, tenants };
        tokio::spawn(async move {
            if let Err(error) = live::show(Arc::clone(&recorder), caption, stop, done.clone()).await {
                eprintln!("turnpike loadtest: no live view: {error}");
                progress::show(recorder, begun, planned, done).await;
            }
        })
    }
}

impl ThresholdArgs {
    fn to_thresholds(&self) -> Thresholds {
        let Self { p50, p90, p99, errors, min_rate } = *self;
        Thresholds { p50, p90, p99, errors, min_rate }
    }
}
