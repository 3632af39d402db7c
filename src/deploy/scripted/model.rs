//! Owns what is on a scripted host, and what a guardian would do with it by itself.

use crate::host::Facts;
use crate::host::HostError;
use crate::host::ReleaseRecord;
use crate::release::ReleaseId;

/// Who has a host's lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::deploy) enum Lock {
    Free,
    Ours,
    /// Somebody else has it until it was asked for that often.
    Others {
        tries: usize,
    },
    /// One after the other has it for a moment; so many times it is asked for in vain.
    Crowd {
        tries: usize,
    },
    /// Nobody has it, and it is not given away.
    Frozen,
}

/// What is on a host.
#[derive(Clone, Debug)]
pub(in crate::deploy) struct Model {
    pub(in crate::deploy) lock: Lock,
    /// What the link names.
    pub(in crate::deploy) current: Option<ReleaseId>,
    /// What the app was started from.
    pub(in crate::deploy) running: Option<ReleaseId>,
    pub(in crate::deploy) releases: Vec<ReleaseRecord>,
    pub(super) attempt: Option<(ReleaseId, Option<ReleaseId>)>,
    pub(super) absent_then: Vec<String>,
    pub(in crate::deploy) ready: bool,
    pub(in crate::deploy) activated: bool,
    pub(in crate::deploy) committed: bool,
    pub(in crate::deploy) reverted: bool,
    /// The client cannot reach it any more.
    pub(in crate::deploy) lost: bool,
    /// The host has no program that could ask the health check.
    pub(in crate::deploy) asks_for_probe: bool,
    pub(in crate::deploy) pruned: Vec<ReleaseId>,
    /// The hosts it remembers as left out.
    pub(in crate::deploy) absent: Vec<String>,
}

impl Model {
    pub(super) fn release_mut(&mut self, id: ReleaseId) -> Option<&mut ReleaseRecord> {
        self.releases.iter_mut().find(|release| release.id == id)
    }

    /// What a guardian does to put its host back.
    pub(super) fn revert(&mut self) -> Result<(), HostError> {
        assert_eq!(self.lock, Lock::Ours, "only who has the lock may change a host");
        if self.committed {
            return Err(HostError::AlreadyCommitted);
        }
        if let (Some((id, previous)), true) = (self.attempt, self.activated) {
            self.current = previous;
            self.running = previous;
            self.activated = false;
            assert!(self.release_mut(id).is_some());
        }
        if let Some(release) = self.attempt.and_then(|(id, _)| self.release_mut(id))
            && release.state == "preparing"
        {
            "failed".clone_into(&mut release.state);
        }
        self.reverted = true;
        Ok(())
    }

    /// What the guardian does when it sees that the client is gone.
    pub(in crate::deploy) fn settle(&mut self) {
        if self.lock == Lock::Ours {
            let _ = self.revert();
            self.lock = Lock::Free;
        }
    }

    /// What is left of it when an attempt is over.
    pub(super) fn after(self) -> Self {
        Self {
            attempt: None,
            ready: false,
            activated: false,
            committed: false,
            reverted: false,
            lost: false,
            pruned: Vec::new(),
            ..self
        }
    }

    pub(super) fn facts(&self) -> Facts {
        Facts {
            current: self.current.map(|id| format!("/srv/shop/releases/{id}")),
            releases: self.releases.clone(),
            absent: self.absent.clone(),
            ..Facts::default()
        }
    }
}
