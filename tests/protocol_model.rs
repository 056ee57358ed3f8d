//! The delivery protocol, checked in every order in which its steps and faults can fall.
//!
//! The tests in `integration` run the gateway; they see the orders that happen to happen. This is a model of the protocol
//! alone, two violations and three requests small, and [`stateright`] visits every state it can get into: a vendor gone, a
//! `kill -9`, a lost reply, a late message, a lease that is over, each at every moment. What must hold in every state is
//! in [`must_hold`]. Then the protocol is broken on purpose, one rule at a time: a check that can't fail proves nothing.
//!
//! A step is what is atomic in reality: a committed transaction, a frame that leaves or arrives, a message that is lost.
//! - **Time** isn't modelled. Every open batch's lease may be over at any moment, however alive its owner: so renewals,
//!   which only make that rarer, are left out, and an owner that was taken over is a zombie that acts at any later time.
//! - **A claim's transaction** voids overdue batches first; here that is a sweep just before it, which gives more orders.
//! - **A process** is one request's: many may crash at once or alone, as on several gateways.
//! - **A back office** that clears a mark by hand is left out: it asks for a second hand-over.
//!
//! The files it stands for: `src/claim.rs`, `src/ledger.rs`, `src/delivery.rs`, `src/sql/{claim,void,expire,release}.sql`.

use std::collections::BTreeSet;
use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model, Property};

const VIOLATIONS: usize = 2;
const REQUESTS: usize = 3;
/// A request beyond the bound, kept for asking "and what would the next one get?".
const NEXT: usize = REQUESTS;

/// A request's number, and the claim id of the one batch that it may make.
type Claim = usize;

// The state -----------------------------------------------------------------------------------------------------

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct State {
    /// "SentToCollections": the batch whose mark each violation carries.
    marks: [Option<Claim>; VIOLATIONS],
    /// By claim id, which is unique.
    ledger: [Option<Batch>; REQUESTS + 1],
    requests: [Request; REQUESTS + 1],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Batch {
    state: BatchState,
    holds: [bool; VIOLATIONS],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum BatchState {
    Open,
    Released,
    Void,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Request {
    ask: Ask,
    step: Step,
    /// Sent, and neither executed nor lost so far: it may reach the database whatever has become of the sender.
    claim_on_its_way: bool,
    release_on_its_way: bool,
}

impl Request {
    const NOT_BEGUN: Self =
        Self { ask: Ask::All, step: Step::NotBegun, claim_on_its_way: false, release_on_its_way: false };
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Ask {
    /// Everything that is eligible, as documented.
    All,
    /// `Idempotency-Key: k` and `"limit": 1`.
    OneByKey,
}

/// Where a request's task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Step {
    NotBegun,
    Claiming,
    Sending,
    Releasing,
    ReleaseInDoubt,
    /// The frame that makes the document of this batch whole is all that is missing.
    LastFrame(Claim),
    /// Halted, or in doubt about its claim: about to void whatever that has made or will make.
    GivingUp,
    /// Voided, and answered with an error or cut.
    GivenUp,
    /// The vendor holds a well-formed document of this batch.
    Answered(Claim),
    /// Refused, empty, cut or crashed: the vendor has no records, and nobody acts any more.
    Over,
}

#[derive(Debug, Clone, PartialEq)]
enum Action {
    Begin(Ask),
    ReplayById(Claim),
    ClaimCommits(Claim),
    ClaimReplyLost(Claim),
    FramesSent(Claim),
    /// Vendor gone, write stalled, read failed, draining, or the renewal found the lease lost.
    Halts(Claim),
    ReleaseCommits(Claim),
    ReleaseReplyLost(Claim),
    /// On a new connection, where the first may still be on its way.
    AsksAgain(Claim),
    Voids(Claim),
    /// A void that waits for the claim it wants to void: that one's commit is under way.
    VoidsAfterWaiting(Claim),
    VoidFails(Claim),
    LastFrameArrives(Claim),
    Crashes(Claim),
    /// And a sweep, or the next claim, takes the batch over.
    LeaseOver(Claim),
}

/// The protocol, or one that is broken in one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    AsDesigned,
    ReleaseWithoutSwap,
    LastFrameBeforeRelease,
    TakeOverOfReleased,
    LedgerOutsideTheTransaction,
    NoTombstone,
    VoidUnmarksWhateverTheMark,
    VoidUnmarksWhateverTheMarkAndTheSwap,
    VoidOverlooksWhatItWaitedFor,
    KeyLookedUpOutsideTheLock,
}

use BatchState::{Open, Released, Void};
use Protocol::*;

// What the database does: each function is one transaction -----------------------------------------------------------

impl State {
    fn claim(&mut self, protocol: Protocol, claim: Claim) {
        let Request { ask, step, .. } = self.requests[claim];
        let in_two = protocol == LedgerOutsideTheTransaction && !self.marks.contains(&Some(claim));
        self.requests[claim].claim_on_its_way = false;
        if self.ledger[claim].is_some() {
            return; // the unique claim id: a tombstone is there
        }
        let known =
            (ask == Ask::OneByKey && protocol != KeyLookedUpOutsideTheLock).then(|| self.find_by_key());
        let reply = known.flatten().unwrap_or_else(|| {
            let limit = if ask == Ask::OneByKey { 1 } else { VIOLATIONS };
            for mark in self.marks.iter_mut().filter(|mark| mark.is_none()).take(limit) {
                *mark = Some(claim);
            }
            let holds = self.marks.map(|mark| mark == Some(claim));
            if holds.contains(&true) && !in_two {
                self.ledger[claim] = Some(Batch { state: Open, holds });
            }
            if holds.contains(&true) { Step::Sending } else { Step::Over }
        });
        if in_two && reply == Step::Sending {
            self.requests[claim].claim_on_its_way = true; // the ledger's part of it
        } else if step == Step::Claiming {
            self.requests[claim].step = reply;
        }
    }

    /// What the key's earlier request means for this one: a replay, or 409 while it is open. None: claim afresh.
    fn find_by_key(&self) -> Option<Step> {
        self.live_by_key().next().map(|claim| match self.batch_state(claim) {
            Some(Released) => Step::LastFrame(claim),
            _ => Step::Over,
        })
    }

    fn release(&mut self, protocol: Protocol, claim: Claim) {
        self.requests[claim].release_on_its_way = false;
        if self.batch_state(claim) == Some(Open) || protocol == ReleaseWithoutSwap {
            self.set_batch_state(claim, Released);
        }
        if self.requests[claim].step == Step::Releasing {
            let released = self.batch_state(claim) == Some(Released);
            self.requests[claim].step = if released { Step::LastFrame(claim) } else { Step::GivingUp };
        }
    }

    fn void(&mut self, protocol: Protocol, claim: Claim) {
        let Some(Batch { state, holds }) = self.ledger[claim] else {
            if protocol != NoTombstone {
                self.ledger[claim] = Some(Batch { state: Void, holds: [false; VIOLATIONS] });
            }
            return;
        };
        let swapped = state == Open;
        if swapped {
            self.set_batch_state(claim, Void);
        }
        for (mark, held) in self.marks.iter_mut().zip(holds) {
            let unmark = match protocol {
                VoidUnmarksWhateverTheMark => swapped && held,
                VoidUnmarksWhateverTheMarkAndTheSwap => held,
                _ => swapped && *mark == Some(claim),
            };
            if unmark {
                *mark = None;
            }
        }
    }

    fn take_over(&mut self, claim: Claim) {
        self.set_batch_state(claim, Void);
        self.marks = self.marks.map(|mark| mark.filter(|marked_by| *marked_by != claim));
    }

    fn batch_state(&self, claim: Claim) -> Option<BatchState> {
        self.ledger[claim].map(|batch| batch.state)
    }

    fn set_batch_state(&mut self, claim: Claim, state: BatchState) {
        if let Some(batch) = &mut self.ledger[claim] {
            batch.state = state;
        }
    }

    fn set_step(&mut self, claim: Claim, step: Step) {
        self.requests[claim].step = step;
    }

    fn is_live(&self, claim: Claim) -> bool {
        matches!(self.batch_state(claim), Some(Open | Released))
    }

    fn live_by_key(&self) -> impl Iterator<Item = Claim> {
        (0..=NEXT).filter(|claim| self.requests[*claim].ask == Ask::OneByKey && self.is_live(*claim))
    }
}

// What a gateway does, and what befalls it ----------------------------------------------------------------------------

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            marks: [None; VIOLATIONS],
            ledger: [None; REQUESTS + 1],
            requests: [Request::NOT_BEGUN; REQUESTS + 1],
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.not_begun().is_some() {
            actions.extend([Action::Begin(Ask::All), Action::Begin(Ask::OneByKey)]);
            let released = (0..REQUESTS).filter(|c| state.batch_state(*c) == Some(Released));
            actions.extend(released.map(Action::ReplayById));
        }
        for claim in 0..REQUESTS {
            let Request { step, claim_on_its_way, release_on_its_way, .. } = state.requests[claim];
            match step {
                Step::NotBegun | Step::Answered(_) | Step::GivenUp | Step::Over => {}
                Step::Claiming => actions.push(Action::ClaimReplyLost(claim)),
                Step::Sending => actions.extend([Action::FramesSent(claim), Action::Halts(claim)]),
                Step::Releasing => actions.push(Action::ReleaseReplyLost(claim)),
                Step::ReleaseInDoubt => actions.extend([Action::AsksAgain(claim), Action::Halts(claim)]),
                Step::LastFrame(_) => actions.push(Action::LastFrameArrives(claim)),
                Step::GivingUp => {
                    actions.extend([Action::Voids(claim), Action::VoidFails(claim)]);
                    if claim_on_its_way {
                        actions.push(Action::VoidsAfterWaiting(claim));
                    }
                }
            }
            if !matches!(step, Step::NotBegun | Step::Answered(_) | Step::GivenUp | Step::Over) {
                actions.push(Action::Crashes(claim));
            }
            if claim_on_its_way {
                actions.push(Action::ClaimCommits(claim));
            }
            if release_on_its_way {
                actions.push(Action::ReleaseCommits(claim));
            }
            match state.batch_state(claim) {
                Some(Open) => actions.push(Action::LeaseOver(claim)),
                Some(Released) if *self == TakeOverOfReleased => actions.push(Action::LeaseOver(claim)),
                _ => {}
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = *last;
        match action {
            Action::Begin(ask) => state.begin(*self, last.not_begun()?, ask),
            Action::ReplayById(batch) => state.requests[last.not_begun()?].step = Step::LastFrame(batch),
            Action::ClaimCommits(claim) => state.claim(*self, claim),
            Action::FramesSent(claim) if *self == LastFrameBeforeRelease => {
                state.set_step(claim, Step::LastFrame(claim));
            }
            Action::FramesSent(claim) | Action::AsksAgain(claim) => {
                state.set_step(claim, Step::Releasing);
                state.requests[claim].release_on_its_way = true;
            }
            Action::ClaimReplyLost(claim) | Action::Halts(claim) => {
                state.set_step(claim, Step::GivingUp);
            }
            Action::ReleaseCommits(claim) => state.release(*self, claim),
            Action::ReleaseReplyLost(claim) => state.set_step(claim, Step::ReleaseInDoubt),
            Action::Voids(claim) => {
                state.void(*self, claim);
                state.set_step(claim, Step::GivenUp);
            }
            Action::VoidsAfterWaiting(claim) => {
                state.claim(*self, claim);
                let marks = state.marks;
                state.void(*self, claim);
                if *self == VoidOverlooksWhatItWaitedFor {
                    state.marks = marks;
                }
                state.set_step(claim, Step::GivenUp);
            }
            // The answer is given all the same: from here on the lease is all there is.
            Action::VoidFails(claim) | Action::Crashes(claim) => state.set_step(claim, Step::Over),
            Action::LastFrameArrives(claim) => {
                let Step::LastFrame(batch) = last.requests[claim].step else { return None };
                state.requests[claim].step = Step::Answered(batch);
                state.requests[claim].release_on_its_way = *self == LastFrameBeforeRelease && batch == claim;
            }
            Action::LeaseOver(claim) => state.take_over(claim),
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        if *self == AsDesigned { [must_hold(), must_occur()].concat() } else { must_hold() }
    }
}

impl State {
    fn not_begun(&self) -> Option<Claim> {
        (0..REQUESTS).find(|claim| self.requests[*claim].step == Step::NotBegun)
    }

    fn begin(&mut self, protocol: Protocol, claim: Claim, ask: Ask) {
        let early =
            (ask == Ask::OneByKey && protocol == KeyLookedUpOutsideTheLock).then(|| self.find_by_key());
        let step = early.flatten().unwrap_or(Step::Claiming);
        let claim_on_its_way = step == Step::Claiming;
        self.requests[claim] = Request { ask, step, claim_on_its_way, ..Request::NOT_BEGUN };
    }

    /// Every gateway dies with all that was on its way, the leases run out, and one more request meets no fault.
    fn after_a_blackout(&self, protocol: Protocol, ask: Ask) -> State {
        let mut state = *self;
        for claim in 0..REQUESTS {
            let ask = self.requests[claim].ask;
            state.requests[claim] = Request { ask, ..Request::NOT_BEGUN };
            if self.batch_state(claim) == Some(Open) {
                state.take_over(claim);
            }
        }
        state.begin(protocol, NEXT, ask);
        while state.requests[NEXT].claim_on_its_way {
            state.claim(protocol, NEXT);
        }
        if state.requests[NEXT].step == Step::Sending {
            state.requests[NEXT].step = Step::Releasing;
            state.release(protocol, NEXT);
        }
        state
    }

    /// The batches of which a vendor holds a complete answer.
    fn answered(&self) -> impl Iterator<Item = Claim> {
        self.requests.iter().filter_map(|request| match request.step {
            Step::Answered(batch) => Some(batch),
            _ => None,
        })
    }

    fn holds(&self, claim: Claim, violation: usize) -> bool {
        self.ledger[claim].is_some_and(|batch| batch.holds[violation])
    }

    fn any(&self, condition: impl Fn(Claim, Step, Option<BatchState>) -> bool) -> bool {
        (0..REQUESTS).any(|claim| condition(claim, self.requests[claim].step, self.batch_state(claim)))
    }
}

// What must hold, and what must be reachable ------------------------------------------------------------------------

const ONCE: &str = "no violation is in complete answers of two batches";
const MARKED: &str = "a violation is marked if and only if exactly one live batch holds it";
const RELEASED: &str = "a complete answer's batch is released";
const NOT_VOID: &str = "a void batch has no complete answer";
const GIVEN_UP: &str = "a batch that its owner has voided is not open";
const ONE_A_KEY: &str = "a key names one live batch at most";
const DELIVERABLE: &str = "what is not released goes to the next request";
const REPLAYABLE: &str = "a released batch is replayed by its key";

impl State {
    fn is_answered_once(&self, violation: usize) -> bool {
        let batches: BTreeSet<Claim> =
            self.answered().filter(|batch| self.holds(*batch, violation)).collect();
        batches.len() <= 1
    }

    fn is_marked_by_its_batch(&self, violation: usize) -> bool {
        let mut live = (0..REQUESTS).filter(|claim| self.is_live(*claim) && self.holds(*claim, violation));
        live.next() == self.marks[violation] && live.next().is_none()
    }

    fn is_released(&self, violation: usize) -> bool {
        self.marks[violation]
            .is_some_and(|batch| self.batch_state(batch) == Some(Released) && self.holds(batch, violation))
    }

    /// Whether a vendor holds it from a batch other than `claim`.
    fn is_answered_by_another(&self, claim: Claim, violation: usize) -> bool {
        self.answered().any(|batch| batch != claim && self.holds(batch, violation))
    }
}

fn must_hold() -> Vec<Property<Protocol>> {
    vec![
        Property::always(ONCE, |_, state: &State| (0..VIOLATIONS).all(|v| state.is_answered_once(v))),
        Property::always(MARKED, |_, state: &State| (0..VIOLATIONS).all(|v| state.is_marked_by_its_batch(v))),
        Property::always(RELEASED, |_, state: &State| {
            state.answered().all(|batch| state.batch_state(batch) == Some(Released))
        }),
        Property::always(NOT_VOID, |_, state: &State| {
            state.answered().all(|batch| state.batch_state(batch) != Some(Void))
        }),
        Property::always(GIVEN_UP, |_, state: &State| {
            !state.any(|_, step, batch| step == Step::GivenUp && batch == Some(Open))
        }),
        Property::always(ONE_A_KEY, |_, state: &State| state.live_by_key().count() <= 1),
        Property::always(DELIVERABLE, |protocol, state: &State| {
            let later = state.after_a_blackout(*protocol, Ask::All);
            (0..VIOLATIONS).all(|violation| later.is_released(violation))
        }),
        Property::always(REPLAYABLE, |protocol, state: &State| {
            let later = state.after_a_blackout(*protocol, Ask::OneByKey);
            let released = |claim: &Claim| state.batch_state(*claim) == Some(Released);
            state
                .live_by_key()
                .filter(released)
                .all(|claim| later.requests[NEXT].step == Step::LastFrame(claim))
        }),
    ]
}

/// Without these the others might hold because nothing ever goes wrong.
fn must_occur() -> Vec<Property<Protocol>> {
    vec![
        Property::sometimes("everything is delivered", |_, state: &State| {
            (0..VIOLATIONS).all(|violation| state.answered().any(|batch| state.holds(batch, violation)))
        }),
        Property::sometimes("a claim is still on its way when its tombstone stands", |_, state: &State| {
            state.any(|claim, _, batch| batch == Some(Void) && state.requests[claim].claim_on_its_way)
        }),
        Property::sometimes("a release of unknown outcome took effect", |_, state: &State| {
            state.any(|_, step, batch| step == Step::ReleaseInDoubt && batch == Some(Released))
        }),
        Property::sometimes("a zombie releases what another has delivered since", |_, state: &State| {
            state.any(|zombie, step, _| {
                let lost = |violation| {
                    state.holds(zombie, violation) && state.is_answered_by_another(zombie, violation)
                };
                step == Step::Releasing && (0..VIOLATIONS).any(lost)
            })
        }),
        Property::sometimes("a batch whose last frame was lost is replayed", |_, state: &State| {
            state.any(|claim, step, _| step == Step::Over && state.answered().any(|batch| batch == claim))
        }),
    ]
}

// The tests ------------------------------------------------------------------------------------------------------------

/// The properties that fail in some state. Visits every state, or as many as it takes to see all of `expected` fail.
fn find_failures(protocol: Protocol, expected: &[&'static str]) -> BTreeSet<&'static str> {
    let expected: BTreeSet<&str> = expected.iter().copied().collect();
    let enough = if expected.is_empty() { HasDiscoveries::All } else { HasDiscoveries::AllOf(expected) };
    let begun = Instant::now();
    let checker = protocol.checker().finish_when(enough).spawn_bfs().join();
    println!("{protocol:?}: {} states, {:.1?}", checker.unique_state_count(), begun.elapsed());
    checker.discoveries().into_keys().collect()
}

/// Breaks the protocol and sees each of `expected` fail.
fn assert_breaks(protocol: Protocol, expected: &[&'static str]) {
    let failures = find_failures(protocol, expected);
    for property in expected {
        assert!(failures.contains(property), "{protocol:?} should break: {property}");
    }
}

#[test]
fn the_protocol_keeps_its_promises_in_every_state() {
    let begun = Instant::now();

    let checker = AsDesigned.checker().spawn_bfs().join();

    let (states, steps, depth) = (checker.unique_state_count(), checker.state_count(), checker.max_depth());
    println!("AsDesigned: {states} states, {steps} steps, {depth} deep, {:.1?}", begun.elapsed());
    checker.assert_properties();
}

#[test]
fn a_release_without_compare_and_swap_lets_a_zombie_deliver_again() {
    assert_breaks(ReleaseWithoutSwap, &[ONCE, MARKED]);
}

#[test]
fn a_last_frame_before_the_release_completes_an_answer_that_can_still_be_voided() {
    assert_breaks(LastFrameBeforeRelease, &[RELEASED, NOT_VOID, ONCE]);
}

#[test]
fn taking_over_a_released_batch_delivers_it_again() {
    assert_breaks(TakeOverOfReleased, &[NOT_VOID, ONCE]);
}

#[test]
fn a_crash_between_marking_and_the_ledger_loses_violations() {
    assert_breaks(LedgerOutsideTheTransaction, &[MARKED, DELIVERABLE]);
}

/// The lease covers the orphan: nothing is lost and nothing delivered twice, in any state. What the tombstone adds is
/// that "voided" is final: without it a vendor who was told 9105 may find its violations taken, and its key answered
/// with 409, for a lease's length, by a claim that came after the void.
#[test]
fn without_a_tombstone_a_late_claim_stays_open_until_its_lease_is_over_and_nothing_else_breaks() {
    assert_eq!(find_failures(NoTombstone, &[]), BTreeSet::from([GIVEN_UP]));
}

#[test]
fn a_void_that_unmarks_whatever_the_mark_and_the_swap_say_takes_back_what_another_holds() {
    assert_breaks(VoidUnmarksWhateverTheMarkAndTheSwap, &[MARKED, ONCE]);
}

/// Within this model's scope the swap is enough: an open batch's rows all carry its mark. The mark is compared for what
/// lies outside of it, a back office that clears one by hand while the batch is open.
#[test]
fn a_void_that_swaps_needs_no_mark_as_long_as_no_one_clears_marks_by_hand() {
    assert_eq!(find_failures(VoidUnmarksWhateverTheMark, &[]), BTreeSet::new());
}

/// PostgreSQL takes a statement's snapshot before the statement waits. One that swaps the ledger row and unmarks the
/// violations at once finds the row that it has waited for, and not the marks that were committed together with it.
#[test]
fn a_void_that_overlooks_the_marks_of_a_claim_that_it_waited_for_loses_violations() {
    assert_breaks(VoidOverlooksWhatItWaitedFor, &[MARKED, DELIVERABLE]);
}

#[test]
fn a_key_looked_up_outside_the_lock_names_two_batches() {
    assert_breaks(KeyLookedUpOutsideTheLock, &[ONE_A_KEY, REPLAYABLE]);
}
