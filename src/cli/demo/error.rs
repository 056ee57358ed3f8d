//! Why the demo could not be given. Each message says what to do where the reader can do something.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use super::call::CallError;
use crate::certificates::CertificatesError;
use crate::cluster::ClusterError;

#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error(
        "could not listen on {address}: {reason}; stop what uses port {}, or choose another with \
         `--listen {}:0` (a free one)",
        address.port(), address.ip()
    )]
    Listen { address: SocketAddr, reason: io::Error },
    #[error("{} is not empty and no demo made it: choose another with `--directory`", .0.display())]
    DirectoryNotOurs(PathBuf),
    #[error("another demo runs in {}: stop it, or choose another with `--directory`", .0.display())]
    DirectoryInUse(PathBuf),
    #[error("could not write {}", path.display())]
    Files { path: PathBuf, source: io::Error },
    #[error("could not start PostgreSQL for the demo")]
    Cluster(#[from] ClusterError),
    #[error("could not set up the demo's databases")]
    Sql(#[source] tokio_postgres::Error),
    #[error("could not issue the demo's certificate")]
    Certificates(#[from] CertificatesError),
    #[error("could not run this program as a child")]
    Program(#[source] io::Error),
    #[error("`turnpike {command}` failed ({status}):\n{output_tail}")]
    Command { command: String, status: ExitStatus, output_tail: String },
    #[error("the gateway ended while it started ({status}); its log ends in:\n{log_tail}")]
    GatewayEnded { status: ExitStatus, log_tail: String },
    #[error("the gateway did not answer within {} s; its log ends in:\n{log_tail}", waited.as_secs())]
    GatewaySilent { waited: Duration, log_tail: String },
    #[error("could not call the gateway as a vendor")]
    Call(#[from] CallError),
    #[error("could not listen for signals")]
    Signals(#[source] io::Error),
    #[error("{expectation}, but the answer was:\n{summary}")]
    Check { expectation: &'static str, summary: String },
}
