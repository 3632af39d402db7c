//! rdeploy: one command from a project to a running app on every host, and back.
//!
//! The map. Each module owns one thing; its own head comment says what it must not know. The last column
//! is held by `architecture_tests`.
//!
//! | module | owns | may import |
//! |---|---|---|
//! | [`release`] | ids, layout of paths on a host, manifest, retention | nothing |
//! | [`shell`] | a command as a value; the only place that quotes | nothing |
//! | [`event`] | facts in the past tense | nothing |
//! | [`config`] | `deploy.toml`: raw, diagnostics, validated | nothing |
//! | [`artifact`] | choosing files, the deterministic tar, the cache, local builds | `release`, `config`, `event` |
//! | [`ssh`] | connections; the only folder that knows the SSH library (with `embedded`) | `config`, `shell` |
//! | [`supervisor`] | PM2, systemd, supervisord, command, none: what goes into a recipe and how it is started and proven | `config`, `shell` |
//! | [`host`] | the `.sh` files that run on a host and the typed calls around them | `ssh`, `supervisor`, `artifact`, `config`, `release`, `shell` |
//! | [`deploy`] | plan, phases, the transaction across the fleet, outcome | `host`, `artifact`, `config`, `event`, `release` |
//! | [`report`] | turns events into output; nothing else prints | `event` |
//! | [`embedded`] | an SSH host inside the binary | `ssh` |
//! | [`cli`] | one file a verb; the only place that wires things together | everything |
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

#[cfg(test)]
mod architecture_tests;
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
#[cfg(test)]
mod testing;
