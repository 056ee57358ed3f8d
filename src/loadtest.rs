//! The load tester: proves, tenant by tenant, what a gateway bears, and consumes nothing unless told to.
//!
//! A run's way through this module. [`endpoint`] says where the gateway is, [`target`] which tenants are called and with
//! which token. [`preflight`] makes sure, by a call that only reads, that a Turnpike answers there and takes the tokens.
//! [`schedule`] sets the arrivals of an open run; [`run`] makes the calls, each by [`call`] over [`connections`], whose
//! bodies [`document`] checks as they come; a failed one has a [`failure`]. [`tally`] counts, [`live`] and [`progress`] show
//! it meanwhile, [`thresholds`] judge it, [`report`] tells it as text, JSON and a page.
//! [`isolation`] compares one tenant's latency with and without another's storm; [`once`] has many vendors claim one
//! tenant's violations to the end and checks that each was handed over exactly once.
//!
//! A vendor's side alone: nothing here knows of the gateway's inside but for the paths and what a tenant may be called.

pub mod call;
pub mod connections;
pub mod document;
pub mod endpoint;
pub mod failure;
pub mod isolation;
pub mod live;
pub mod once;
pub mod preflight;
pub mod progress;
pub mod report;
pub mod run;
pub mod schedule;
pub mod tally;
pub mod target;
pub mod thresholds;
