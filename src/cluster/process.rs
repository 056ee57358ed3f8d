//! A child process that cannot outlive us.
//!
//! The kernel signals the child when we go, even by `kill -9` (`PR_SET_PDEATHSIG`, set by setpriv(1), which needs
//! no unsafe code). "We" is the *thread* that spawned it, see prctl(2), and a runtime's worker may end at any time.
//! So each child has a thread of its own, which spawns it, waits for it and is the only one to signal it: a
//! process id that was not yet waited for cannot belong to anybody else.
//!
//! The child leads a process group of its own: a Ctrl-C in the terminal reaches us alone, and we decide the order
//! in which things stop.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::{oneshot, watch};

/// How often the owner thread looks whether the child has ended by itself.
const POLL_INTERVAL: Duration = Duration::from_millis(25);

/// How a process is asked to end, and how long it may take before it is killed.
#[derive(Clone, Copy, Debug)]
pub struct Ending {
    pub signal: Signal,
    pub patience: Duration,
}

/// A running child process. Dropping it ends it as told at [`BoundProcess::spawn`], and waits for that.
#[derive(Debug)]
pub struct BoundProcess {
    pid: u32,
    ending: Ending,
    orders: mpsc::Sender<Ending>,
    exit: watch::Receiver<Option<ExitStatus>>,
    owner: Option<JoinHandle<()>>,
}

/// The start of a command line, to which program and arguments are appended: it runs as `account` where given, and
/// gets `death_signal` when the thread that spawned it ends.
pub fn bound_command(death_signal: Signal, account: Option<&str>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", death_signal.as_str()]);
    if let Some(account) = account {
        command.arg(format!("--reuid={account}")).arg(format!("--regid={account}")).arg("--init-groups");
    }
    command
}

impl BoundProcess {
    /// Spawns a [`bound_command`] on a thread of its own. `ending` is what dropping the process does.
    pub async fn spawn(mut command: Command, ending: Ending) -> io::Result<BoundProcess> {
        command.process_group(0);
        let (orders, received_orders) = mpsc::channel();
        let (exit_sender, exit) = watch::channel(None);
        let (spawned_sender, spawned) = oneshot::channel();
        let owner = thread::Builder::new().name("child-owner".to_owned()).spawn(move || {
            match command.spawn() {
                Ok(child) => {
                    // Nobody listens where our caller was dropped meanwhile; the orders' end tells `attend`.
                    let _ = spawned_sender.send(Ok(child.id()));
                    exit_sender.send_replace(Some(attend(child, &received_orders, ending)));
                }
                Err(error) => {
                    let _ = spawned_sender.send(Err(error));
                }
            }
        })?;
        let pid = spawned.await.map_err(io::Error::other)??;
        Ok(BoundProcess { pid, ending, orders, exit, owner: Some(owner) })
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The exit status, where the process has ended.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        *self.exit.borrow()
    }

    /// Waits until the process has ended. Safe to drop.
    pub async fn wait(&mut self) -> ExitStatus {
        let exit = self.exit.wait_for(Option::is_some).await;
        exit.ok().and_then(|status| *status).expect("the owner thread reports the exit before it ends")
    }

    /// Ends the process and waits for it, at most for `ending.patience` and a kill.
    pub async fn end(&mut self, ending: Ending) -> ExitStatus {
        // A failed send means that the process has ended already.
        let _ = self.orders.send(ending);
        self.wait().await
    }
}

impl Drop for BoundProcess {
    fn drop(&mut self) {
        let _ = self.orders.send(self.ending);
        if let Some(owner) = self.owner.take() {
            // An error is a panic of the owner thread, which has been printed.
            let _ = owner.join();
        }
    }
}

/// The owner thread's work: waits for the child, and signals it when ordered to, or when nobody can order any more.
fn attend(mut child: Child, orders: &mpsc::Receiver<Ending>, at_last: Ending) -> ExitStatus {
    let ending = loop {
        if let Some(status) = poll(&mut child) {
            return status;
        }
        match orders.recv_timeout(POLL_INTERVAL) {
            Ok(ending) => break ending,
            Err(RecvTimeoutError::Disconnected) => break at_last,
            Err(RecvTimeoutError::Timeout) => {}
        }
    };
    // Not yet waited for, so the id is still the child's.
    let pid = Pid::from_raw(child.id().try_into().expect("Linux process ids fit i32"));
    let _ = kill(pid, ending.signal);
    let killed_at = Instant::now() + ending.patience;
    loop {
        if let Some(status) = poll(&mut child) {
            return status;
        }
        if Instant::now() >= killed_at {
            let _ = child.kill();
        }
        #[expect(clippy::disallowed_methods, reason = "a thread of its own, not a runtime's worker")]
        thread::sleep(POLL_INTERVAL);
    }
}

fn poll(child: &mut Child) -> Option<ExitStatus> {
    child.try_wait().expect("a child that nobody else waits for can be waited for")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERM: Ending = Ending { signal: Signal::SIGTERM, patience: Duration::from_secs(5) };

    fn sleeper(script: &str) -> Command {
        let mut command = bound_command(Signal::SIGTERM, None);
        command.args(["sh", "-c", script]);
        command
    }

    fn is_running(pid: u32) -> bool {
        std::path::Path::new(&format!("/proc/{pid}")).exists()
    }

    #[tokio::test]
    async fn a_dropped_process_has_ended() {
        let process = BoundProcess::spawn(sleeper("exec sleep 60"), TERM).await.unwrap();
        let pid = process.pid();
        assert!(is_running(pid));

        drop(process);

        assert!(!is_running(pid));
    }

    #[tokio::test]
    async fn an_exit_of_its_own_is_reported() {
        let mut process = BoundProcess::spawn(sleeper("exit 7"), TERM).await.unwrap();

        assert_eq!(process.wait().await.code(), Some(7));
        assert_eq!(process.exit_status().and_then(|status| status.code()), Some(7));
    }

    #[tokio::test]
    async fn a_process_that_ignores_the_signal_is_killed_when_patience_ends() {
        use std::os::unix::process::ExitStatusExt;
        let mut process = BoundProcess::spawn(sleeper("exec sleep 60"), TERM).await.unwrap();

        // SIGURG is ignored by whoever does not ask for it.
        let ignored = Ending { signal: Signal::SIGURG, patience: Duration::from_millis(100) };
        let status = process.end(ignored).await;

        assert_eq!(status.signal(), Some(Signal::SIGKILL as i32));
    }
}
