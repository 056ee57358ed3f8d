//! Behaviour over real HTTPS and real PostgreSQL. One binary, so that there is one cluster a run; every test has databases
//! of its own, made from a migrated template, and all run in parallel.

mod claim;
mod concurrency;
mod delivery;
mod documented_sample;
mod eligibility;
mod isolation;
mod plans;
mod support;
mod wire;
