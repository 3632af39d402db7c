//! The whole program as a user runs it, against SSH hosts inside the binary: no program is needed but
//! a shell. What a person reads is snapshotted whole; what stands on the hosts is read from their trees.

mod apps;
mod before;
mod builds;
mod check;
mod clocks;
mod connections;
mod demo;
mod exit_codes;
mod freeze;
mod health;
mod help;
mod hooks;
mod hooks_fail;
mod locks;
mod model;
mod one_off;
mod operate;
mod output;
mod preflight;
mod races;
mod recover;
mod releases;
mod resume;
mod rollout;
mod stops;
mod story;
mod terminal;
mod timings;
mod unlock;
mod unreachable;
