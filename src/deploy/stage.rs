//! Owns where a host stands in the transaction, and the one function that says which way it may go.

/// Where a host stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Connected; nothing was changed.
    Connected,
    /// The lock is ours.
    Locked,
    /// The release is there, verified, and can be switched to.
    Prepared,
    /// `current` points, or may point, at the release.
    Switched,
    /// The app was proven to run from it.
    Verified,
    /// Nothing will be undone any more.
    Committed,
    /// Cleaned up and unlocked.
    Finished,
    /// Put back: runs what it ran before.
    Reverted,
    /// Could not be put back: a person must act.
    RevertFailed,
    /// The connection was lost; its guardian decides, and says so in its journal.
    Unconfirmed,
}

impl Stage {
    /// Whether a host may go from here to `to`.
    pub fn may_become(self, to: Self) -> bool {
        use Stage::Committed;
        use Stage::Connected;
        use Stage::Finished;
        use Stage::Locked;
        use Stage::Prepared;
        use Stage::RevertFailed;
        use Stage::Reverted;
        use Stage::Switched;
        use Stage::Unconfirmed;
        use Stage::Verified;
        matches!(
            (self, to),
            (Connected, Locked)
                // It gives way to somebody and asks again.
                | (Locked, Connected)
                | (Locked, Prepared)
                | (Prepared, Switched)
                | (Switched, Verified)
                | (Verified, Committed)
                | (Committed, Finished)
                | (Locked | Prepared | Switched | Verified, Reverted | RevertFailed)
                | (Locked | Prepared | Switched | Verified | Committed, Unconfirmed)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::Stage;

    const ALL: [Stage; 10] = [
        Stage::Connected,
        Stage::Locked,
        Stage::Prepared,
        Stage::Switched,
        Stage::Verified,
        Stage::Committed,
        Stage::Finished,
        Stage::Reverted,
        Stage::RevertFailed,
        Stage::Unconfirmed,
    ];

    #[test]
    fn nothing_committed_is_ever_reverted_and_nothing_ended_goes_on() {
        for to in ALL {
            assert!(!Stage::Finished.may_become(to));
            assert!(!Stage::Reverted.may_become(to));
            assert!(!Stage::RevertFailed.may_become(to));
        }
        assert!(!Stage::Committed.may_become(Stage::Reverted));
        assert!(!Stage::Locked.may_become(Stage::Switched), "prepare may not be skipped");
        assert!(!Stage::Switched.may_become(Stage::Committed), "proof may not be skipped");
    }
}
