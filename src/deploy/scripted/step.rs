//! Owns the words of a script: the calls that the transaction makes to a host, and how they fail.

/// A call of the transaction to a host, as the script names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::deploy) enum Step {
    Lock,
    Release,
    Begin,
    Upload,
    Prepare,
    Ready,
    /// The hook marked `once` before the switch.
    Once,
    Hook(&'static str),
    /// The one that opens the switch.
    AnswerBeforeSwitch,
    Activate,
    Probe,
    /// The proof repeated in a pause.
    Recheck,
    /// The one that opens the commit.
    AnswerBeforeCommit,
    Commit,
    Finish,
    Absent,
    Leave,
    Revert,
}

impl Step {
    /// Whether it cannot be done on a full disk. What is needed to undo, and to commit, was made before.
    pub(super) fn needs_space(self) -> bool {
        !matches!(
            self,
            Self::AnswerBeforeSwitch
                | Self::Probe
                | Self::AnswerBeforeCommit
                | Self::Commit
                | Self::Leave
                | Self::Revert
        )
    }
}

/// How a call ends other than well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::deploy) enum Fault {
    /// The host says no. An activation has switched by then.
    Refused,
    /// The disk of the host is full: it says no to all that needs space, and undoing needs none.
    Full,
    /// The connection is lost, for good, before the host has heard of it.
    LostBefore,
    /// The connection is lost, for good, when it was done but not yet answered.
    LostAfter,
    /// It is done, but the answer takes too long; later calls are answered.
    Silent,
    /// The guardian dies before it did anything; reverting finds another one.
    Died,
    /// No answer ever comes, and after a while the user presses Ctrl-C.
    Hang,
    /// The client is killed while it is done.
    Killed,
    /// The user presses Ctrl-C while it is done.
    Cancel,
    /// The user presses Ctrl-C twice while it is done.
    Abandon,
}

/// A fault for the first `times` calls of a step on a host.
#[derive(Clone, Copy, Debug)]
pub(in crate::deploy) struct Planned {
    pub(in crate::deploy) step: Step,
    pub(in crate::deploy) host: usize,
    pub(in crate::deploy) fault: Fault,
    pub(in crate::deploy) times: usize,
}
