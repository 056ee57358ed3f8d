//! A server that hangs: every process of it is stopped, its sockets stay open.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The stopped processes. Dropped, they run on.
#[derive(Debug)]
#[must_use = "dropped, it thaws the server"]
pub struct Frozen(Vec<Pid>);

impl Frozen {
    /// The postmaster first, so that it starts no further process.
    pub(super) fn freeze(postmaster: u32) -> Self {
        let mut frozen = Self(Vec::new());
        frozen.stop(postmaster);
        for child in children(postmaster) {
            frozen.stop(child);
        }
        frozen
    }

    fn stop(&mut self, pid: u32) {
        let pid = Pid::from_raw(pid.try_into().expect("Linux process ids fit i32"));
        // It may have ended by itself meanwhile.
        if kill(pid, Signal::SIGSTOP).is_ok() {
            self.0.push(pid);
        }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        for pid in &self.0 {
            // It may have been killed meanwhile.
            let _ = kill(*pid, Signal::SIGCONT);
        }
    }
}

fn children(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter(|pid| find_parent(*pid) == Some(parent)).collect()
}

/// The fourth field of proc(5)'s stat, after a name in brackets that may hold anything.
fn find_parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(1)?.parse().ok()
}
