//! One binary for the tests that run rdeploy, or parts of it, against something real.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod embedded;
mod ssh_behaviour;
mod sshd;
mod support;
