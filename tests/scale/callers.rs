//! The callers of the tenant that is in trouble, in a process of their own: in reality they are other machines. It runs where
//! nobody else wants to (`SCHED_IDLE`): what the gateway, the databases and the measured vendors need of the processors comes first.
//!
//! A [`Storm`] a line on its standard input, [`Answers`] a line on its standard output, until the input ends.

use std::collections::BTreeMap;
use std::io::stdin;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::vendors::{Vendor, call};

/// The word by which this program is the callers' process; `DIRECTORY_OF_THE_CERTIFICATE ADDRESS TENANT` follow.
pub const COMMAND: &str = "callers-process";

const PACE: Duration = Duration::from_millis(100);

/// So many callers, each ten times a second, for so long.
#[derive(Serialize, Deserialize)]
struct Storm {
    callers: usize,
    length: Duration,
}

#[derive(Serialize, Deserialize)]
pub struct Answers {
    pub statuses: BTreeMap<u16, u64>,
    /// 503s without Retry-After.
    pub unhelpful: u64,
    pub longest: Duration,
    /// Calls a second.
    pub rate: f64,
}

pub struct Callers {
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

impl Callers {
    pub fn start(directory: &Path, gateway: SocketAddr, tenant: &str) -> Self {
        let mut command = Command::new("chrt");
        command.args(["--idle", "0"]).arg(std::env::current_exe().unwrap()).arg(COMMAND);
        command.arg(directory).arg(gateway.to_string()).arg(tenant);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { orders: process.stdin.take().unwrap(), answers, _process: process }
    }

    pub async fn call(&mut self, callers: usize, length: Duration) -> Answers {
        let mut order = serde_json::to_vec(&Storm { callers, length }).unwrap();
        order.push(b'\n');
        self.orders.write_all(&order).await.unwrap();
        let answers = self.answers.next_line().await.unwrap().expect("the callers' process ended");
        serde_json::from_str(&answers).unwrap()
    }
}

/// The process.
pub async fn serve(arguments: &[String]) {
    let [directory, gateway, tenant] = arguments else {
        panic!("{COMMAND} DIRECTORY ADDRESS TENANT");
    };
    let mut vendors = Vec::new();
    // Nothing else is to be done until a line has come.
    for order in stdin().lines() {
        let Storm { callers, length } = serde_json::from_str(&order.unwrap()).unwrap();
        vendors.resize_with(callers.max(vendors.len()), || {
            Vendor::new(Path::new(directory), gateway.parse().unwrap(), tenant)
        });
        let calls = call(&vendors[..callers], Some(PACE), length).await;
        let answers = Answers {
            rate: calls.all.len() as f64 / length.as_secs_f64(),
            statuses: calls.statuses,
            unhelpful: calls.unhelpful,
            longest: Duration::from_micros(calls.all.max()),
        };
        println!("{}", serde_json::to_string(&answers).unwrap());
    }
}
