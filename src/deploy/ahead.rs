//! Owns how much of the transaction a host is told ahead: as far as nothing has to be decided here between two of its
//! steps. That ends at each of the user's hooks, and where there are other hosts at the barrier and before the commit,
//! which wait for all of them.

use super::Member;
use super::plan;
use super::transaction::Job;
use super::transaction::Transaction;
use crate::host::Action;
use crate::host::Host;
use crate::host::Upcoming;
use crate::release::ReleaseId;
use crate::release::retention;

/// From which step on a host is told what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum From {
    /// From the upload, where there is one.
    Upload,
    /// When its hooks have unpacked what they want.
    Ready,
    /// When its hooks before the switch have run.
    Switch,
    /// When all hosts are proven.
    Commit,
    /// When its hooks after the commit have run.
    Finish,
}

impl<H: Host> Transaction<'_, H> {
    /// Tells a host what follows, unless it was told before.
    pub(super) fn announce(&self, member: &Member<H>, job: Job<'_>, release: ReleaseId, from: From) {
        let upcoming = self.upcoming(member, job, release, from);
        if upcoming.contains(&Upcoming::Act(Action::Activate)) {
            member.note_switch();
        }
        member.host.announce(&upcoming);
    }

    fn upcoming(&self, member: &Member<H>, job: Job<'_>, release: ReleaseId, from: From) -> Vec<Upcoming> {
        let alone = self.fleet.members.len() == 1;
        let hooked = |point| member.hooks.iter().any(|script| script.point == point);
        let mut upcoming = Vec::new();
        if from <= From::Upload && job.artifact_for(&member.facts).is_some() {
            upcoming.extend([Upcoming::Upload, Upcoming::Act(Action::Prepare)]);
            if hooked("after_unpack") {
                return upcoming;
            }
        }
        if from <= From::Ready {
            upcoming.push(Upcoming::Act(Action::Ready));
            if !alone || hooked("before_switch") {
                return upcoming;
            }
        }
        if from <= From::Switch {
            upcoming.push(Upcoming::Act(Action::Activate));
            if !alone || hooked("after_switch") {
                return upcoming;
            }
        }
        if from <= From::Commit {
            upcoming.push(Upcoming::Act(Action::Commit));
            // Otherwise it is cleaned up whatever becomes of the others.
            if hooked(job.point_after_commit()) {
                return upcoming;
            }
        }
        let prune = self.prunable(member, job, release);
        upcoming.extend([Upcoming::Act(Action::Finish(prune)), Upcoming::Leave]);
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
