//! Owns what the page calls things, and which colour each has.

use super::model::Bar;
use super::model::What;
use super::model::Why;
use crate::event::Phase;
use crate::event::Wait;
use crate::report::words;

/// The colours by their class in the style sheet, and what they stand for.
pub(super) const LEGEND: [(&str, &str); 11] = [
    ("local", "on this machine"),
    ("reach", "connect, check, lock"),
    ("upload", "upload"),
    ("prepare", "prepare"),
    ("hook", "hooks"),
    ("switch", "switch and restart"),
    ("verify", "verify"),
    ("finish", "commit and clean up"),
    ("revert", "put back"),
    ("wait", "waiting for others"),
    ("turn", "waiting for its turn"),
];

/// The class of what took a while.
pub(super) fn class(what: What) -> &'static str {
    match what {
        What::Command | What::Packing => "local",
        What::Hook => "hook",
        What::Hooks => "hooks",
        What::Wait(Why::Batch | Why::Said(Wait::Turn)) => "turn",
        What::Wait(Why::Hosts | Why::Pause | Why::Said(Wait::Start | Wait::Locks)) => "wait",
        What::Phase(phase) => match phase {
            Phase::Connecting | Phase::Checking | Phase::Locking => "reach",
            Phase::Uploading => "upload",
            Phase::Preparing => "prepare",
            Phase::Waiting => "wait",
            Phase::Switching => "switch",
            Phase::Verifying => "verify",
            Phase::Finishing | Phase::Done | Phase::LeftOut => "finish",
            Phase::Reverting | Phase::Reverted | Phase::Failed => "revert",
        },
    }
}

/// What it is called where there is little room.
pub(super) fn short(bar: &Bar) -> String {
    let name = match bar.what {
        What::Command | What::Hook => return bar.detail.clone(),
        What::Packing => "pack",
        What::Hooks => "hooks",
        What::Wait(Why::Batch | Why::Said(Wait::Turn)) => "turn",
        What::Wait(Why::Pause) => "pause",
        What::Wait(Why::Hosts | Why::Said(Wait::Start | Wait::Locks)) => "wait",
        What::Phase(phase) => match phase {
            Phase::Connecting => "connect",
            Phase::Checking => "check",
            Phase::Locking => "lock",
            Phase::Uploading => "upload",
            Phase::Preparing => "prepare",
            Phase::Waiting => "wait",
            Phase::Switching => "switch",
            Phase::Verifying => "verify",
            Phase::Finishing => "finish",
            Phase::Reverting => "put back",
            Phase::Done | Phase::Reverted | Phase::Failed | Phase::LeftOut => words::phase_words(phase),
        },
    };
    name.to_owned()
}

/// What it is, in full.
pub(super) fn long(bar: &Bar) -> String {
    match (step(bar.what), bar.detail.as_str()) {
        (step, "") => step.to_owned(),
        (step, detail) => format!("{step}: {detail}"),
    }
}

/// What kind of step it is.
pub(super) fn step(what: What) -> &'static str {
    match what {
        What::Command => "command",
        What::Packing => "packing",
        What::Hooks => "running hooks",
        What::Hook => "hook",
        What::Wait(Why::Hosts) => words::phase_words(Phase::Waiting),
        What::Wait(Why::Batch) => "waiting for the turn of its batch",
        What::Wait(Why::Pause) => "staying well during the pause",
        What::Wait(Why::Said(wait)) => words::wait_words(wait),
        What::Phase(phase) => words::phase_words(phase),
    }
}

/// How it is that a host ended so.
pub(super) fn tone(phase: Phase) -> &'static str {
    match phase {
        Phase::Done => "good",
        Phase::Reverted | Phase::LeftOut => "late",
        Phase::Failed | Phase::Reverting => "bad",
        Phase::Connecting
        | Phase::Checking
        | Phase::Locking
        | Phase::Uploading
        | Phase::Preparing
        | Phase::Waiting
        | Phase::Switching
        | Phase::Verifying
        | Phase::Finishing => "",
    }
}
