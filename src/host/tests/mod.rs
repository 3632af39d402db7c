//! The agent under real shells: a local child process in the place of a channel, the real settings, the
//! real protocol. `rig` is a host in miniature, `guardian` talks to one guardian on it, `parcel` makes
//! what is uploaded (`upload`: by the client's own rules, from a real artifact); the other files are the scenarios.

mod ahead;
mod cut_off;
mod delta;
mod deploy;
mod early;
mod edits;
mod full_disk;
mod gone;
mod guardian;
mod hold;
mod hooks;
mod lock;
mod parcel;
mod power;
mod previous;
mod processes;
mod reader;
mod recheck;
mod resume;
mod retention;
mod revert;
mod rig;
mod scripts;
mod undrain;
mod unwell;
mod upload;
mod verify;

use guardian::Guardian;
use parcel::Parcel;
use rig::Rig;
use rig::each_shell;
use rig::until;

/// Ids of releases, oldest first.
const R1: &str = "20260101000001";
const R2: &str = "20260101000002";
const R3: &str = "20260101000003";
const R4: &str = "20260101000004";
const R5: &str = "20260101000005";
