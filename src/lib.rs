//! rdeploy: one command from a project to a running app on every host, and back.
//!
//! The map. Each module owns one thing; its own head comment says what it must not know.
//!
//! | module | owns | may import |
//! |---|---|---|
//! | [`release`] | ids, layout of paths on a host, manifest, retention | nothing |
//! | [`shell`] | a command as a value; the only place that quotes | nothing |
//! | [`event`] | facts in the past tense | `release` |
//! | [`config`] | `deploy.toml`: raw, diagnostics, validated | `release` |
//! | [`artifact`] | choosing files, the deterministic tar, the cache, local builds | `release`, `config` types |
//! | [`ssh`] | connections; the only folder that knows the SSH library (with `embedded`) | `shell` |
//! | [`host`] | the `.sh` files that run on a host and the typed calls around them | `ssh`, `shell`, `release`, `supervisor` |
//! | [`supervisor`] | PM2, command, none: what goes into a recipe and how it is started and proven | `config` types, `shell` |
//! | [`deploy`] | plan, phases, the transaction across the fleet, outcome | `host`, `artifact`, `config`, `event`, `release` |
//! | [`report`] | turns events into output; nothing else prints | `event`, `release` |
//! | [`embedded`] | an SSH host inside the binary | `ssh` key helpers |
//! | [`cli`] | one file a verb; the only place that wires things together | everything |
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod artifact;
pub mod cli;
pub mod config;
pub mod deploy;
pub mod embedded;
pub mod event;
pub mod host;
pub mod release;
pub mod report;
pub mod shell;
pub mod ssh;
pub mod supervisor;
