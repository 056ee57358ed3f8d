//! `turnpike openapi vendor | admin`

use std::process::ExitCode;

use clap::ValueEnum;

use super::CommandResult;
use crate::admin::openapi as admin;
use crate::openapi::{render, vendor};

#[derive(Debug, clap::Args)]
pub struct OpenapiArgs {
    #[arg(value_enum)]
    whose: Whose,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Whose {
    /// What vendors call
    Vendor,
    /// What operators call
    Admin,
}

pub fn run(args: &OpenapiArgs) -> CommandResult {
    let document = match args.whose {
        Whose::Vendor => vendor::document(),
        Whose::Admin => admin::document(),
    };
    print!("{}", render(&document));
    Ok(ExitCode::SUCCESS)
}
