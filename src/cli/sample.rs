//! `turnpike sample`

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use super::{CommandError, CommandResult, find_tenant, parse_tenant};
use crate::config::TenantId;
use crate::database::{Connector, Fault, Parameters};

const SAMPLE_SIZE: &str = include_str!("../sql/sample_size.sql");
const SAMPLE: &str = include_str!("../sql/sample.sql");
/// The generator's triggers leave dead rows; a real table isn't in that state, and VACUUM can't be part of a batch.
const VACUUM: &str = "VACUUM (ANALYZE) public.violations";
const LARGEST: i64 = 20_000_000;

#[derive(Debug, clap::Args)]
pub struct SampleArgs {
    #[arg(long, value_name = "ID", value_parser = parse_tenant)]
    tenant: TenantId,
    /// How many violations to add that are eligible now
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..=LARGEST))]
    violations: i32,
    /// How many to add that aren't: paid, sent, spoiled, on hold, under appeal, not yet due
    #[arg(long, value_name = "M", default_value_t = 0, value_parser = clap::value_parser!(i32).range(0..=LARGEST))]
    history: i32,
    /// The same seed on the same database makes the same data
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: i64,
}

/// Adds the data, as the role that owns the schema.
pub async fn run(args: &SampleArgs, config: &Path) -> CommandResult {
    let tenant = find_tenant(config, &args.tenant)?;
    let failed = |attempt| {
        let tenant = tenant.id.clone();
        move |error: tokio_postgres::Error| {
            let fault = Fault::from(&error);
            CommandError::Refused(format!("{tenant}: could not {attempt}: {fault}"))
        }
    };
    let started = Instant::now();
    let (client, _driver) =
        Connector::for_owner(&tenant)?.open().await.map_err(failed("connect as the schema's owner"))?;
    let size: Parameters<'_> = &[&args.violations, &args.history, &args.seed];
    client.query(SAMPLE_SIZE, size).await.map_err(failed("set the sample's size"))?;
    client.batch_execute(SAMPLE).await.map_err(failed("make the sample"))?;
    client.batch_execute(VACUUM).await.map_err(failed("vacuum after the sample"))?;
    println!(
        "{}: added {} eligible violations and {} of history in {:.1} s",
        tenant.id,
        args.violations,
        args.history,
        started.elapsed().as_secs_f64()
    );
    Ok(ExitCode::SUCCESS)
}
