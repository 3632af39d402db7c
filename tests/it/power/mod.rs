//! The power goes off in the middle of a deploy, on real file systems: what is on the disk at that very
//! instant is all that the host has when it is up again. Needs root on Linux.
//!
//! `room` makes a place that the kernel clears away, `host` is the host with its disk and its plug,
//! `disk` tells whether what is on it is whole, and `cuts` pulls the plug.

mod cuts;
mod disk;
mod host;
mod room;
