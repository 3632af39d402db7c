<<<<<<< HEAD
//! The one integration binary. Each module is a tier or what tiers share; see docs/CONTRIBUTING.md.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

mod fleet;
=======
//! One binary for the tests that run rdeploy, or parts of it, against something real.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod embedded;
mod ssh_behaviour;
mod sshd;
mod support;
>>>>>>> ssh
