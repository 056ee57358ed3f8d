//! `turnpike loadtest isolation`

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use super::super::{CommandResult, parse_tenant, table};
use super::targets::GatewayArgs;
use super::{Output, parse_duration, parse_pause, stop_on_signals};
use crate::config::TenantId;
use crate::loadtest::call::{Order, Taking};
use crate::loadtest::connections::Dialer;
use crate::loadtest::isolation::{Comparison, Isolation, Names, measure};
use crate::loadtest::report::{bytes, milliseconds};
use crate::loadtest::schedule::Rate;
use crate::loadtest::tally::{Tally, value_at};
use crate::loadtest::target::Target;

#[derive(Debug, clap::Args)]
pub struct IsolationArgs {
    /// The tenant whose vendors storm, with previews of all there is; may be repeated
    #[arg(long, value_name = "ID", value_parser = parse_tenant, required = true)]
    storm: Vec<TenantId>,
    /// The tenant whose latency is measured
    #[arg(long, value_name = "ID", value_parser = parse_tenant)]
    measure: TenantId,
    #[command(flatten)]
    gateway: GatewayArgs,
    /// So often the measured tenant is called
    #[arg(long, value_name = "N/s", default_value = "20/s")]
    rate: Rate,
    /// The measured tenant's calls ask for at most N records: a poll, not a download
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    limit: u32,
    /// So many vendors storm, each of whom calls again when the last answer has come
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    storm_vendors: u32,
    /// The storm's calls ask for at most N records; without it, for all
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    storm_limit: Option<u32>,
    /// How long each window is measured
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    duration: Duration,
    /// How long each window is called, and the storm rages, before measuring
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = parse_pause)]
    warm_up: Duration,
    /// So many times alone and under storm, in turns
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Median and p99 under storm may be so many times those of the baseline
    #[arg(long, value_name = "R", default_value_t = 2.0, value_parser = parse_ratio)]
    max_ratio: f64,
    /// Write the result as JSON; - is standard output, in place of the text
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn parse_ratio(text: &str) -> Result<f64, String> {
    let ratio: f64 = text.parse().map_err(|_no_number| "must be a number".to_owned())?;
    if ratio >= 1.0 && ratio.is_finite() { Ok(ratio) } else { Err("must be at least 1".to_owned()) }
}

/// Measures in turns and compares. Exit code 1 where the storm reached the measured tenant.
pub async fn run(args: &IsolationArgs, config: &Path) -> CommandResult {
    let mut tenants = args.storm.clone();
    tenants.push(args.measure.clone());
    let targets = args.gateway.targets(tenants)?;
    let dialer = args.gateway.dialer(config).await?;
    let json = args.json.as_deref().map(Output::open).transpose()?;
    args.gateway.ensure_fit(&dialer, &targets).await?;

    let comparison = args.comparison(dialer, &targets);
    let stop = stop_on_signals()?;
    let measured = measure(&comparison, &stop, tell).await;
    let names = Names {
        measured: args.measure.to_string(),
        storming: args.storm.iter().map(ToString::to_string).collect(),
    };
    let isolation = Isolation::new(&comparison, names, &measured, args.max_ratio);
    match json {
        Some(output) => {
            let written = serde_json::to_string_pretty(&isolation).expect("a result has a JSON form");
            if matches!(output, Output::File(..)) {
                print!("{}", render(&isolation));
            }
            output.write(&written)?;
        }
        None => print!("{}", render(&isolation)),
    }
    Ok(if isolation.held() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl IsolationArgs {
    /// The last target is the measured one.
    fn comparison(&self, dialer: Dialer, targets: &[Target]) -> Comparison {
        let (measured, storming) = targets.split_last().expect("there is at least the measured one");
        let storm = storming.iter().map(|target| Order::overdue(target, Taking::Preview, self.storm_limit));
        Comparison {
            measured: Order::overdue(measured, Taking::Preview, Some(self.limit)),
            rate: self.rate,
            storm: storm.collect::<Vec<_>>().into(),
            storm_vendors: self.storm_vendors as usize,
            duration: self.duration,
            warm_up: self.warm_up,
            rounds: self.rounds,
            timeout: self.gateway.timeout,
            connections: 8,
            dialer,
        }
    }
}

fn tell(window: &str, tally: &Tally) {
    let [p50, p99] = [0.5, 0.99].map(|q| milliseconds(value_at(&tally.latency, q) as f64 / 1000.0));
    eprintln!("{window:<12} p50 {p50:>9}  p99 {p99:>9}  {} failed", tally.counts.failed());
}

fn render(isolation: &Isolation) -> String {
    let mut text = format!(
        "{} at {}, under the storm of {} vendors of {}\n\n",
        isolation.measured,
        isolation.rate,
        isolation.storm_vendors,
        isolation.storming.join(", ")
    );
    let mut table = table(["round", "", "answered", "failed", "p50", "p90", "p99", "max"]);
    let rounds = isolation
        .rounds
        .iter()
        .enumerate()
        .map(|(number, round)| ((number + 1).to_string(), &round.baseline, &round.storm));
    let all = ("all".to_owned(), &isolation.baseline, &isolation.under_storm);
    for (name, baseline, storm) in rounds.chain([all]) {
        for (what, window) in [("alone", baseline), ("storm", storm)] {
            let [p50, p90, p99, max] = window.percentiles();
            let (answered, failed) = (window.answered.to_string(), window.failed.to_string());
            table.add_row([name.clone(), what.to_owned(), answered, failed, p50, p90, p99, max]);
        }
    }
    let ratio = |ratio: Option<f64>| ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
    let storm_failed: u64 = isolation.storm_errors.iter().map(|error| error.count).sum();
    text += &format!(
        "{table}\n\n  the storm: {} whole answers, {}, {storm_failed} failed\n  median {} times the baseline's, p99 {} times; at most {}\n",
        isolation.storm_answered,
        bytes(isolation.storm_bytes as f64),
        ratio(isolation.median_ratio),
        ratio(isolation.p99_ratio),
        isolation.max_ratio
    );
    for error in &isolation.errors {
        text += &format!("  {} calls of {}: {}\n", error.count, isolation.measured, error.kind);
    }
    for error in &isolation.storm_errors {
        text += &format!("  {} calls of the storm: {}\n", error.count, error.kind);
    }
    for fault in &isolation.faults {
        text += &format!("  FAILED  {fault}\n");
    }
    text += if isolation.held() { "held\n" } else { "found wanting\n" };
    text
}
