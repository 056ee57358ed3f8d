//! `turnpike loadtest once`

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::super::{CommandError, CommandResult, find_tenant, parse_tenant};
use super::targets::GatewayArgs;
use super::{Output, confirm, stop_on_signals};
use crate::config::{TenantConfig, TenantId};
use crate::database::{Database, Parameters, statements as sql};
use crate::loadtest::once::checker::Expected;
use crate::loadtest::once::{Manners, Report, Trial, attempt};

/// More violations than this aren't named one by one.
const NAMED: usize = 10;

#[derive(Debug, clap::Args)]
pub struct OnceArgs {
    /// The tenant whose violations are claimed, all of them, for real: a sample database's
    #[arg(long, value_name = "ID", value_parser = parse_tenant)]
    tenant: TenantId,
    #[command(flatten)]
    gateway: GatewayArgs,
    /// So many vendors call at the same time
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    vendors: u32,
    /// Of a hundred calls, cut so many off: before the head, at the head, midway, or at the end
    #[arg(long, value_name = "PERCENT", default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=90))]
    cut_percent: u32,
    /// Most calls ask for 1 to N records; some for all there are
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    limit: u32,
    /// The same seed has the vendors draw the same limits and cuts
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// So many violations are eligible; without it, the tenant's database is asked, before and after
    #[arg(long, value_name = "N")]
    violations: Option<u64>,
    /// Don't ask whether that is meant
    #[arg(long)]
    yes: bool,
    /// Write the result as JSON; - is standard output, in place of the text
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Has the vendors claim to the end and checks. Exit code 1 where a violation is missing, double or foreign.
pub async fn run(args: &OnceArgs, config: &Path) -> CommandResult {
    let target = args.gateway.targets(vec![args.tenant.clone()])?.remove(0);
    let dialer = args.gateway.dialer(config).await?;
    let json = args.json.as_deref().map(Output::open).transpose()?;
    let tenant = if args.violations.is_none() { Some(find_tenant(config, &args.tenant)?) } else { None };
    let what = format!(
        "this claims every eligible violation of {} at {} for real: they are handed over and gone",
        args.tenant, dialer.endpoint.authority
    );
    confirm(args.yes, &what)?;
    args.gateway.ensure_fit(&dialer, std::slice::from_ref(&target)).await?;

    let expected = match (args.violations, &tenant) {
        (Some(count), _) => Expected::Count(count),
        (None, Some(tenant)) => Expected::Violations(eligible(tenant).await?),
        (None, None) => return Err(CommandError::Usage("say how many with --violations".to_owned())),
    };
    let trial = Trial {
        dialer,
        target,
        vendors: args.vendors as usize,
        seed: args.seed,
        manners: Manners { cut_percent: args.cut_percent, largest_limit: args.limit },
        timeout: args.gateway.timeout,
    };
    eprintln!("turnpike loadtest once: {} vendors, seed {}", trial.vendors, trial.seed);
    let stop = stop_on_signals()?;
    let outcome = attempt(&trial, &stop).await;
    let left = match &tenant {
        Some(tenant) => Some(eligible(tenant).await?),
        None => None,
    };
    let report = Report::new(&trial, &outcome, &expected, left.as_ref(), &stop);
    match json {
        Some(output) => {
            let written = serde_json::to_string_pretty(&report).expect("a report has a JSON form");
            if matches!(output, Output::File(..)) {
                print!("{}", render(&report));
            }
            output.write(&written)?;
        }
        None => print!("{}", render(&report)),
    }
    Ok(if report.exactly_once { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What the database would hand over now.
async fn eligible(tenant: &TenantConfig) -> Result<BTreeSet<i32>, CommandError> {
    let rules = &tenant.eligibility;
    let parameters: Parameters<'_> = &[&rules.grace_days, &rules.minimum_balance, &rules.exclude_categories];
    let rows = Database::open(tenant)?.query(&sql::ELIGIBLE, parameters).await;
    let rows = rows.map_err(|source| CommandError::Database {
        tenant: tenant.id.clone(),
        attempt: "list what is eligible",
        source,
    })?;
    Ok(rows.iter().map(|row| row.get("ViolationID")).collect())
}

fn render(report: &Report) -> String {
    let Report { deeds, findings, .. } = report;
    let mut text = format!(
        "{} at {}: {} vendors, {}, seed {}\n\n",
        report.tenant, report.gateway, report.vendors, report.http, report.seed
    );
    text += &format!(
        "  calls        {}: {} whole answers, {} of them replayed; {} repeated\n",
        deeds.calls, deeds.whole_answers, deeds.replayed, deeds.repeated
    );
    text += &format!(
        "  cut off      {}: {} before the head, {} at the head, {} midway, {} at the end\n",
        deeds.cut(),
        deeds.cut_before_head,
        deeds.cut_at_head,
        deeds.cut_midway,
        deeds.cut_at_end
    );
    text += &format!("  expected     {} violations\n", findings.expected);
    text += &format!("  handed over  {}\n", findings.handed_over);
    text += &format!("  missing      {}{}\n", findings.missing, named(&findings.missing_violations));
    let doubles: Vec<i32> = findings.doubles.iter().map(|double| double.violation).collect();
    text += &format!("  double       {}{}\n", doubles.len(), named(&doubles));
    text += &format!("  unexpected   {}\n", findings.unexpected);
    if let Some(left) = report.left_in_database {
        text += &format!("  left         {left} eligible in the database\n");
    }
    for error in &report.errors {
        text += &format!("  error        {error}\n");
    }
    if report.interrupted {
        text += "  interrupted\n";
    }
    text += if report.exactly_once { "\nexactly once\n" } else { "\nfound wanting\n" };
    text
}

fn named(violations: &[i32]) -> String {
    if violations.is_empty() {
        return String::new();
    }
    let names: Vec<String> = violations.iter().take(NAMED).map(ToString::to_string).collect();
    let more = if violations.len() > NAMED { ", …" } else { "" };
    format!(": {}{more}", names.join(", "))
}
