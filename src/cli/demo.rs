//! `turnpike demo`: the whole product on one machine, with nothing to prepare.
//!
//! A private PostgreSQL, three tenants with data, a certificate, the gateway itself as a child process, and one real
//! delivery; then lines to paste. Everything lives in one directory and ends with the command: on Ctrl-C, on SIGTERM,
//! and by the kernel where the command is killed. Progress goes to standard error, results to standard output.

mod call;
mod databases;
mod directory;
mod error;
mod instructions;
mod interrupts;
mod programs;
mod tenants;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use self::call::{Delivery, Vendor};
use self::directory::{DemoDirectory, Secrets};
pub use self::error::DemoError;
use self::interrupts::Interrupts;
use self::programs::Turnpike;
use self::tenants::{DemoData, NORTHERN_U, OC_TOMA};
use crate::certificates::{IssuedCertificates, create_authority_and_server};
use crate::cluster::process::BoundProcess;
use crate::cluster::{Cluster, ClusterOptions};

const GATEWAY_UP_WITHIN: Duration = Duration::from_secs(30);
const RETRY_INTERVAL: Duration = Duration::from_millis(50);
/// What a shell reports for a program that ended by Ctrl-C.
const EXIT_INTERRUPTED: u8 = 130;

#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// Where the demo keeps its files; made anew by each run
    #[arg(long, default_value = ".demo", value_name = "DIR")]
    directory: PathBuf,
    /// Where the gateway listens; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8443", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// Verify a delivery and that a second call finds nothing left, then stop
    #[arg(long)]
    check: bool,
}

/// Runs the demo until it is interrupted, or with `--check` until it is verified.
///
/// # Errors
/// Where a part of it can't be set up, or doesn't do what it should. Everything that was started is stopped then.
pub async fn run(args: &DemoArgs) -> Result<ExitCode, DemoError> {
    let mut interrupts = Interrupts::listen().map_err(DemoError::Signals)?;
    let outcome = tokio::select! {
        outcome = present(args) => outcome,
        () = interrupts.next() => {
            eprintln!("turnpike demo: interrupted, stopping");
            return Ok(ExitCode::from(EXIT_INTERRUPTED));
        }
    };
    let mut demo = outcome?;
    if args.check {
        demo.stop().await;
        println!("check passed");
        return Ok(ExitCode::SUCCESS);
    }
    tokio::select! {
        () = interrupts.next() => {
            eprintln!("turnpike demo: stopping");
            demo.stop().await;
            Ok(ExitCode::SUCCESS)
        }
        status = demo.gateway.wait() => {
            eprintln!("turnpike demo: the gateway ended ({status}); its log ends in:\n{}", demo.log_tail());
            demo.stop().await;
            Ok(ExitCode::FAILURE)
        }
    }
}

/// What runs. Dropped, it stops, the gateway first.
struct Demo {
    gateway: BoundProcess,
    cluster: Cluster,
    directory: DemoDirectory,
}

impl Demo {
    async fn stop(mut self) {
        programs::stop(&mut self.gateway).await;
        self.cluster.stop().await;
    }

    fn log_tail(&self) -> String {
        programs::tail(&fs::read(self.directory.path("gateway.log")).unwrap_or_default())
    }
}

/// Sets everything up, takes a delivery and tells how to go on. Safe to drop: what was started is stopped.
async fn present(args: &DemoArgs) -> Result<Demo, DemoError> {
    let listen = find_port(args.listen)?;
    let directory = DemoDirectory::claim(&args.directory)?;
    let options =
        ClusterOptions { directory: directory.postgres(), durable: true, settings: Vec::new(), tls: None };
    let cluster = timed("PostgreSQL started", async { Ok(Cluster::start(options).await?) }).await?;

    let secrets = directory.create_secrets()?;
    let certificates = issue_certificates(&directory, listen)?;
    write_configuration(&directory, listen, &cluster)?;
    let turnpike = Turnpike::new(directory.configuration())?;
    timed("databases and roles", databases::create(&cluster, &secrets)).await?;
    timed("schema migrated", migrate(&turnpike, &cluster, &secrets)).await?;
    timed("violations loaded", load_data(&turnpike, &cluster, &secrets)).await?;
    let tokens = timed("tokens issued", issue_tokens(&turnpike, &directory)).await?;

    let gateway = turnpike.serve(&directory.path("gateway.log")).await?;
    let mut demo = Demo { gateway, cluster, directory };
    let vendor = Vendor::new(reachable(listen), &certificates.authority)?;
    timed("gateway answers", wait_until_answered(&mut demo, &vendor)).await?;

    if args.check {
        check(&vendor, &tokens).await?;
    }
    let delivery = vendor.claim(NORTHERN_U.id, tokens.of(NORTHERN_U.id)).await?;
    println!("\nA delivery, taken for {} by this command over HTTPS:\n{}", NORTHERN_U.id, delivery.summary());
    if !delivery.has_records(300) {
        return Err(failed_check("NORTHERN_U's first call must deliver its 300 violations", &delivery));
    }
    if !args.check {
        instructions::print(&demo.directory, reachable(listen), &tokens, &delivery);
        eprintln!("turnpike demo: running; Ctrl-C stops everything");
    }
    Ok(demo)
}

/// Finds out before anything is made whether the gateway can listen; a port 0 becomes a free one.
fn find_port(address: SocketAddr) -> Result<SocketAddr, DemoError> {
    TcpListener::bind(address)
        .and_then(|listener| listener.local_addr())
        .map_err(|reason| DemoError::Listen { address, reason })
}

fn issue_certificates(
    directory: &DemoDirectory,
    listen: SocketAddr,
) -> Result<IssuedCertificates, DemoError> {
    let address = listen.ip().to_string();
    let names: &[&str] = if listen.ip().is_unspecified() { &[] } else { &[&address] };
    Ok(create_authority_and_server(&directory.path("certs"), names)?)
}

fn write_configuration(
    directory: &DemoDirectory,
    listen: SocketAddr,
    cluster: &Cluster,
) -> Result<(), DemoError> {
    // The port beside ours is easily remembered; any other will do where it is taken.
    let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let admin_listen =
        find_port(loopback(listen.port().saturating_add(1))).or_else(|_| find_port(loopback(0)))?;
    let text = tenants::configuration(listen, admin_listen, cluster.port());
    let path = directory.configuration();
    fs::write(&path, text).map_err(|source| DemoError::Files { path, source })
}

async fn migrate(turnpike: &Turnpike, cluster: &Cluster, secrets: &Secrets) -> Result<(), DemoError> {
    turnpike.run(&["migrate"]).await?;
    databases::grant(cluster, secrets).await
}

async fn load_data(turnpike: &Turnpike, cluster: &Cluster, secrets: &Secrets) -> Result<(), DemoError> {
    for tenant in tenants::ALL {
        match tenant.data {
            DemoData::Documented => databases::load_documented_sample(cluster, secrets).await?,
            DemoData::Made { violations, history, seed } => {
                let size = ["--violations", violations, "--history", history, "--seed", seed];
                turnpike.run(&[&["sample", "--tenant", tenant.id], &size[..]].concat()).await?;
            }
        }
    }
    Ok(())
}

/// A token of each tenant, also kept in `tokens/TENANT`.
struct Tokens(Vec<(&'static str, String)>);

impl Tokens {
    fn of(&self, tenant: &str) -> &str {
        let (_, token) = self.0.iter().find(|(id, _)| *id == tenant).expect("each tenant has a token");
        token
    }
}

async fn issue_tokens(turnpike: &Turnpike, directory: &DemoDirectory) -> Result<Tokens, DemoError> {
    let mut tokens = Vec::new();
    for tenant in tenants::ALL {
        let what = ["--vendor", "Demo Collections", "--fields", "full", "--quiet"];
        let token = turnpike.run(&[&["token", "issue", "--tenant", tenant.id], &what[..]].concat()).await?;
        directory.write_private(&format!("tokens/{}", tenant.id), &token)?;
        tokens.push((tenant.id, token));
    }
    Ok(Tokens(tokens))
}

async fn wait_until_answered(demo: &mut Demo, vendor: &Vendor) -> Result<(), DemoError> {
    let give_up = Instant::now() + GATEWAY_UP_WITHIN;
    while !vendor.is_answered().await {
        if let Some(status) = demo.gateway.exit_status() {
            return Err(DemoError::GatewayEnded { status, log_tail: demo.log_tail() });
        }
        if Instant::now() >= give_up {
            return Err(DemoError::GatewaySilent { waited: GATEWAY_UP_WITHIN, log_tail: demo.log_tail() });
        }
        sleep(RETRY_INTERVAL).await;
    }
    Ok(())
}

/// The documented contract, in two calls.
async fn check(vendor: &Vendor, tokens: &Tokens) -> Result<(), DemoError> {
    let first = vendor.claim(OC_TOMA.id, tokens.of(OC_TOMA.id)).await?;
    println!("\n{}, first call:\n{}", OC_TOMA.id, first.summary());
    if !first.has_records(1) {
        return Err(failed_check("OC_TOMA's first call must deliver one violation", &first));
    }
    let second = vendor.claim(OC_TOMA.id, tokens.of(OC_TOMA.id)).await?;
    println!("{}, second call:\n{}", OC_TOMA.id, second.summary());
    if !second.has_records(0) {
        return Err(failed_check("OC_TOMA's second call must deliver nothing", &second));
    }
    Ok(())
}

fn failed_check(expectation: &'static str, delivery: &Delivery) -> DemoError {
    DemoError::Check { expectation, summary: delivery.summary() }
}

/// Where a client on this machine finds a gateway that listens there.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let loopback = match listen.ip() {
        address if !address.is_unspecified() => address,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(loopback, listen.port())
}

/// Awaits a step and tells how long it took.
async fn timed<T>(what: &str, step: impl Future<Output = Result<T, DemoError>>) -> Result<T, DemoError> {
    let began = Instant::now();
    let outcome = step.await?;
    eprintln!("turnpike demo: {what} ({} ms)", began.elapsed().as_millis());
    Ok(outcome)
}
