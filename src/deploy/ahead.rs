//! Owns how much of the transaction a host is told ahead: as far as nothing has to be decided here between two of
//! its steps. That ends at the user's hooks, at the barrier where there are other hosts, and at the commit, which
//! waits for all of them.

use super::Member;
use super::plan;
use super::transaction::Job;
use super::transaction::Transaction;
use crate::host::Action;
use crate::host::Host;
use crate::host::Upcoming;
use crate::release::ReleaseId;
use crate::release::retention;

impl<H: Host> Transaction<'_, H> {
    /// Tells a host what follows on its release being named.
    pub(super) fn announce(&self, member: &Member<H>, job: Job<'_>, release: ReleaseId) {
        let upcoming = self.upcoming(member, job, release);
        if upcoming.contains(&Upcoming::Act(Action::Activate)) {
            member.note_switch();
        }
        member.host.announce(&upcoming);
    }

    fn upcoming(&self, member: &Member<H>, job: Job<'_>, release: ReleaseId) -> Vec<Upcoming> {
        let alone = self.fleet.members.len() == 1;
        let hooked = |point| member.hooks.iter().any(|script| script.point == point);
        let mut upcoming = Vec::new();
        if job.artifact_for(&member.facts).is_some() {
            upcoming.extend([Upcoming::Upload, Upcoming::Act(Action::Prepare)]);
            if hooked("after_unpack") {
                return upcoming;
            }
        }
        upcoming.push(Upcoming::Act(Action::Ready));
        if !alone || hooked("before_switch") {
            return upcoming;
        }
        upcoming.push(Upcoming::Act(Action::Activate));
        if hooked("after_switch") {
            return upcoming;
        }
        upcoming.push(Upcoming::Act(Action::Commit));
        if !hooked(job.point_after_commit()) {
            upcoming.extend(closing(self.prunable(member, job, release)));
        }
        upcoming
    }

    /// The releases that a host does not need any more.
    pub(super) fn prunable(&self, member: &Member<H>, job: Job<'_>, release: ReleaseId) -> Vec<ReleaseId> {
        if job.artifact_for(&member.facts).is_none() {
            return Vec::new();
        }
        let standings: Vec<_> = plan::standings(&member.facts).collect();
        retention::prunable(&standings, release, member.facts.live(), self.keep)
    }
}

/// What is left to do on a host when its release is committed and its hooks have run.
pub(super) fn closing(prune: Vec<ReleaseId>) -> [Upcoming; 2] {
    [Upcoming::Act(Action::Finish(prune)), Upcoming::Leave]
}
