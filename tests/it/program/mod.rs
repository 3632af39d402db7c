//! The whole program as a user runs it, against SSH hosts inside the binary: no program is needed but
//! a shell. What a person reads is snapshotted whole; what stands on the hosts is read from their trees.

mod apps;
mod before;
mod builds;
mod connections;
mod demo;
mod exit_codes;
mod help;
mod hooks;
mod hooks_fail;
mod locks;
mod one_off;
mod output;
mod preflight;
mod resume;
mod rollout;
mod stops;
mod story;
mod terminal;
mod unreachable;
