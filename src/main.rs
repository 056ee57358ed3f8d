use std::process::ExitCode;

use clap::Parser;
use turnpike::cli::{self, Arguments};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    cli::run(Arguments::parse()).await
}
