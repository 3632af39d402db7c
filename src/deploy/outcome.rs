//! Owns how a run ended: the exit code, and the sentence that a person reads first.

/// How a run ended. The codes are part of the interface and do not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every host runs what was asked.
    Done,
    /// The command line or configuration was wrong, or the local build failed; nothing was touched.
    Usage,
    /// A check, a connection or a login failed; nothing was changed.
    Preflight,
    /// Somebody else holds the lock.
    Locked,
    /// It failed, and every host runs what it ran before.
    FailedRestored,
    /// It failed, and some host could not be put back.
    FailedStuck,
    /// Every host that could be reached runs what was asked; the others were left out, as the user allows.
    Partial,
    /// It is not known how some host ended; its guardian decides.
    Unconfirmed,
    /// The user stopped it, and every host runs what it ran before.
    Interrupted,
}

impl Outcome {
    /// The process's exit code.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Usage => 2,
            Self::Preflight => 3,
            Self::Locked => 4,
            Self::FailedRestored => 5,
            Self::FailedStuck => 6,
            Self::Partial => 7,
            Self::Unconfirmed => 8,
            Self::Interrupted => 130,
        }
    }
}
