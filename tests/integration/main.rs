//! Behaviour over real HTTPS and real PostgreSQL. One binary, so that there is one cluster a run; every test has databases
//! of its own, made from a migrated template, and all run in parallel.

#![expect(clippy::unwrap_used, reason = "a test that unwraps in vain has failed, which is what it is for")]

mod admin;
mod admin_audit;
mod admin_authorization;
mod admin_commands;
mod admin_tenants;
mod admin_tokens;
mod audit;
mod batches;
mod breaker;
mod budgets;
mod claim;
mod commands;
mod compression;
mod concurrency;
mod cost;
mod delivery;
mod documented_sample;
mod eligibility;
mod examples;
mod idempotency;
mod isolation;
mod layers;
mod limits;
mod ledger_commands;
mod loadtest;
mod logs;
mod metrics;
mod openapi;
mod plans;
mod preflight;
mod preview;
mod process;
mod refusals;
mod reload;
mod replication;
mod support;
mod tenant_commands;
mod token_expiry;
mod token_import;
mod token_life;
mod tokens;
mod traces;
mod wire;
