//! The classes of faults, the deck from which rounds draw them, and how often each one hit.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use rand::rngs::StdRng;
use rand::seq::SliceRandom;

/// The two statements after which nothing is as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Swap {
    /// The claim's COMMIT.
    Commit,
    Release,
}

/// Where on its way a statement is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// The gateway has sent it; the server has not got it.
    Asked,
    /// The server has it.
    Forwarded,
    /// The server has answered; the gateway has not got the answer.
    Answered,
    /// The gateway has the answer.
    Told,
}

/// What happens at that moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Blow {
    /// The gateway process is killed.
    Kill,
    /// The gateway process is stopped until its leases are over, then goes on.
    Freeze,
    /// The message never arrives; the connection is cut, or hangs.
    Drop,
    /// The message arrives within the gateway's patience.
    Delay,
    /// The message arrives when the lease is over, and the gateway may have given it up.
    Late,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    CutAtFirstByte,
    CutInTheMiddle,
    CutBeforeLastFrame,
    CutAtLastByte,
    CutRightAfter,
    Trickle,
    StopReading,
    HalfClose,
    KillInTheMiddle,
    KillRightAfter,
    Kill,
    Stop,
    Freeze,
    TerminateSessions,
    RestartPostgres,
    Unconfirmed,
    Promote,
    Pay,
    Spoil,
    Edit,
    At(Swap, Moment, Blow),
}

/// What befalls a call at a moment that its vendor knows.
pub const OF_VENDORS: [Fault; 10] = [
    Fault::CutAtFirstByte,
    Fault::CutInTheMiddle,
    Fault::CutBeforeLastFrame,
    Fault::CutAtLastByte,
    Fault::CutRightAfter,
    Fault::Trickle,
    Fault::StopReading,
    Fault::HalfClose,
    Fault::KillInTheMiddle,
    Fault::KillRightAfter,
];

const OF_THE_HOUSE: [Fault; 10] = [
    Fault::Kill,
    Fault::Stop,
    Fault::Freeze,
    Fault::TerminateSessions,
    Fault::RestartPostgres,
    Fault::Unconfirmed,
    Fault::Promote,
    Fault::Pay,
    Fault::Spoil,
    Fault::Edit,
];

/// Every class.
pub fn all() -> Vec<Fault> {
    use Blow::{Delay, Drop, Freeze, Kill, Late};
    use Moment::{Answered, Asked, Forwarded, Told};
    let mut faults = [OF_VENDORS.as_slice(), &OF_THE_HOUSE].concat();
    for swap in [Swap::Commit, Swap::Release] {
        faults.extend([Asked, Forwarded, Answered, Told].map(|moment| Fault::At(swap, moment, Kill)));
        for blow in [Freeze, Drop, Delay] {
            faults.extend([Asked, Answered].map(|moment| Fault::At(swap, moment, blow)));
        }
        faults.push(Fault::At(swap, Asked, Late));
    }
    faults
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::CutAtFirstByte => "vendor: cut at the first byte",
            Self::CutInTheMiddle => "vendor: cut in the middle",
            Self::CutBeforeLastFrame => "vendor: cut before the last frame",
            Self::CutAtLastByte => "vendor: cut at the last bytes",
            Self::CutRightAfter => "vendor: cut right after",
            Self::Trickle => "vendor: trickles",
            Self::StopReading => "vendor: stops reading",
            Self::HalfClose => "vendor: half-closes",
            Self::KillInTheMiddle => "gateway: killed in the middle of an answer",
            Self::KillRightAfter => "gateway: killed after an answer's last byte",
            Self::Kill => "gateway: killed at any time",
            Self::Stop => "gateway: told to stop under load",
            Self::Freeze => "gateway: stopped past the lease at any time",
            Self::TerminateSessions => "postgres: sessions terminated",
            Self::RestartPostgres => "postgres: crash and restart",
            Self::Unconfirmed => "postgres: commits given up by the standby",
            Self::Promote => "postgres: synchronous standby promoted",
            Self::Pay => "back office: pays",
            Self::Spoil => "back office: spoils",
            Self::Edit => "back office: edits",
            Self::At(swap, moment, blow) => {
                let swap = match swap {
                    Swap::Commit => "commit",
                    Swap::Release => "release",
                };
                let moment = match moment {
                    Moment::Asked => "request",
                    Moment::Forwarded => "forwarded request",
                    Moment::Answered => "reply",
                    Moment::Told => "passed-on reply",
                };
                let blow = match blow {
                    Blow::Kill => "gateway killed",
                    Blow::Freeze => "gateway stopped past the lease",
                    Blow::Drop => "lost",
                    Blow::Delay => "delayed",
                    Blow::Late => "past the lease",
                };
                return write!(f, "{swap} {moment}: {blow}");
            }
        };
        f.write_str(name)
    }
}

/// How often each class hit. Shared by all that strike.
#[derive(Clone, Default)]
pub struct Hits {
    counts: Arc<Mutex<BTreeMap<Fault, u64>>>,
}

impl Hits {
    pub fn count(&self, fault: Fault) {
        *self.counts.lock().unwrap().entry(fault).or_default() += 1;
    }

    pub fn of(&self, fault: Fault) -> u64 {
        self.counts.lock().unwrap().get(&fault).copied().unwrap_or(0)
    }

    /// The classes that hit less often than `least`.
    pub fn missing(&self, least: u64) -> Vec<Fault> {
        all().into_iter().filter(|fault| self.of(*fault) < least).collect()
    }
}

/// Deals the rounds their faults: some of those that hit least often so far, and some of a deck that has every class once,
/// so that whatever can meet does meet.
pub struct Deck {
    hits: Hits,
    cards: Vec<Fault>,
}

impl Deck {
    pub fn new(hits: Hits) -> Self {
        Self { hits, cards: Vec::new() }
    }

    /// `rarest` of the classes that hit least, the rarest first, then others up to `count`.
    pub fn draw(&mut self, rarest: usize, count: usize, rng: &mut StdRng) -> Vec<Fault> {
        let mut drawn = all();
        drawn.shuffle(rng);
        drawn.sort_by_key(|fault| self.hits.of(*fault));
        drawn.truncate(rarest);
        while drawn.len() < count {
            if self.cards.is_empty() {
                self.cards = all();
                self.cards.shuffle(rng);
            }
            drawn.extend(self.cards.pop().filter(|card| !drawn.contains(card)));
        }
        drawn
    }
}
