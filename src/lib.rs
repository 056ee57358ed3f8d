//! Turnpike: a multi-tenant HTTPS gateway that hands overdue parking violations to collections vendors, each exactly once.
//!
//! A request's way through this crate, in order. [`listener`] accepts the vendor's connection and speaks TLS ([`tls`])
//! and HTTP; [`transport`] watches what has left towards the vendor. [`handler`] leads the request: [`router`] tells which
//! operation of which tenant it means, [`request`] reads the token, [`directory`] finds the [`tenant`], [`auth`] decides
//! whether the caller may, and [`limits`] whether it may now; [`batches`] answers what only concerns the ledger. For everything that sends violations a task
//! of its own takes over, [`delivery`]: [`claim`] marks the eligible ones and writes the batch, [`records`] reads and
//! encodes it, [`compress`] codes it where that is asked for, [`outlet`] carries the frames to the [`response`], and
//! [`ledger`] releases the batch before the last frame, or voids it. [`problem`] decides every refusal's status and
//! words, [`openapi`] describes it all, and [`access_log`] writes the request's one line, and counts it in [`metrics`].
//!
//! Beneath: [`database`] (pools, statements, faults), [`config`], [`clock`], [`log`], [`traces`]. Beside: [`reload`] puts a changed
//! configuration into force, [`sweep`] voids what a crashed gateway left open, [`explain`] tells why a violation is or isn't eligible, [`scrape`] gathers what
//! operators measure, [`tokens`] makes, rotates and revokes vendors'
//! tokens, [`audit`] keeps what operators did, [`admin`] answers operators, [`migrate`] keeps schemas up to date,
//! [`provision`] makes databases, [`loadtest`] calls as vendors do and measures, [`cli`] is the command line, and [`cluster`]
//! and [`certificates`] make throw-away ones for the demo and the tests.

pub mod listener;
pub mod tls;
pub mod transport;
pub mod handler;
pub mod router;
pub mod request;
pub mod directory;
pub mod tenant;
pub mod auth;
pub mod limits;
pub mod batches;
pub mod delivery;
pub mod claim;
pub mod records;
pub mod compress;
pub mod outlet;
pub mod ledger;
pub mod response;
pub mod problem;
pub mod openapi;
pub mod access_log;
pub mod metrics;

pub mod database;
pub mod config;
pub mod clock;
pub mod log;
pub mod traces;

pub mod reload;
pub mod explain;
pub mod sweep;
pub mod scrape;
pub mod tokens;
pub mod audit;
pub mod admin;
pub mod migrate;
pub mod loadtest;
pub mod provision;
pub mod cli;
pub mod cluster;
pub mod certificates;
