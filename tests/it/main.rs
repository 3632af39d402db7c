//! The one integration binary. Each module is a tier or what tiers share; see docs/CONTRIBUTING.md.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

mod embedded;
mod examples;
mod fault_places;
mod faults;
mod fleet;
mod link;
mod power;
mod program;
mod ssh_behaviour;
mod sshd;
