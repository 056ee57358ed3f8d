//! What happened in a round, as JSON lines: written by the harness, read by the checker.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    Round {
        seed: u64,
        number: u32,
        plan: String,
    },
    /// All that a vendor got of one call.
    Answer(Box<Answer>),
    /// A back office's change. `done_at`: the database's clock after its commit, in microseconds; none where the
    /// session was lost meanwhile.
    BackOffice {
        tenant: String,
        action: Action,
        violation_id: i32,
        done_at: Option<i64>,
    },
    Fault {
        class: String,
        place: String,
    },
    /// A gateway process after the round, when nothing is under way.
    Descriptors {
        gateway: usize,
        at_start: usize,
        now: usize,
        database_connections: usize,
    },
    /// A gateway process that ended by itself.
    Died {
        gateway: usize,
        status: String,
    },
    /// Two empty answers, one after the other, of a vendor whom nobody disturbs.
    Drained {
        tenant: String,
    },
    /// Something that must not take so long, took longer.
    Overdue {
        what: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    Pay,
    Spoil,
    Edit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    Claim,
    /// Of a batch by its number.
    Replay,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Answer {
    pub way: Way,
    pub vendor: String,
    pub tenant: String,
    /// Which of the tenant's tokens.
    pub token: usize,
    pub http2: bool,
    pub key: Option<String>,
    pub limit: Option<i64>,
    /// What the vendor did to itself.
    pub fault: Option<String>,
    pub asked_ms: u64,
    pub ended_ms: u64,
    /// None where not even the head came.
    pub status: Option<u16>,
    pub batch_id: Option<i64>,
    pub batch_count: Option<i64>,
    pub replayed: bool,
    pub request_id: Option<String>,
    /// The whole answer by HTTP's count, and a document by JSON's: the vendor holds it.
    pub whole: bool,
    /// What came of the body is a whole document by JSON's count, whatever HTTP says.
    pub well_formed: bool,
    pub violation_ids: Vec<i32>,
    pub error: Option<String>,
}

/// The file of one round.
#[derive(Clone)]
pub struct History {
    pub path: PathBuf,
    file: Arc<Mutex<File>>,
    start: Instant,
}

impl History {
    pub fn create(path: &Path) -> Self {
        let file = Arc::new(Mutex::new(File::create(path).unwrap()));
        Self { path: path.to_owned(), file, start: Instant::now() }
    }

    pub fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap()
    }

    pub fn write(&self, event: &Event) {
        let mut value = serde_json::to_value(event).unwrap();
        value["at_ms"] = self.now_ms().into();
        let line = format!("{value}\n");
        self.file.lock().unwrap().write_all(line.as_bytes()).unwrap();
    }
}

pub fn read(path: &Path) -> Vec<Event> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}
