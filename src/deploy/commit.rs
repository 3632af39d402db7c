//! Owns the commit and what comes after it. Nothing that is committed is ever undone, and once one host
//! is, forward is the only way.

use std::future::pending;

use super::Member;
use super::Outcome;
use super::Stage;
use super::ahead::From;
use super::fleet::OnFailure;
use super::fleet::Round;
use super::fleet::Stopped;
use super::transaction::Hurry;
use super::transaction::Job;
use super::transaction::Transaction;
use crate::event::EventKind;
use crate::event::Phase;
use crate::host::Action;
use crate::host::Host;
use crate::host::HostError;
use crate::release::ReleaseId;

/// How often a host is asked to commit. An answer that was lost on its way is had by asking again.
const TRIES: usize = 2;

impl<H: Host> Transaction<'_, H> {
    /// Commits everywhere; an error means that no host is known to have committed. The first Ctrl-C does
    /// not stop it: it is one short step, and half of it is the one state that nobody wants.
    pub(super) async fn commit(
        &mut self,
        job: Job<'_>,
        release: ReleaseId,
        hurry: &Hurry<'_>,
    ) -> Result<(), Stopped> {
        let mut open: Vec<usize> = self.fleet.all().collect();
        let mut refused = Vec::new();
        for _ in 0..TRIES {
            let commit = |member| self.commit_one(member, job, release);
            let round = self.fleet.each(open, OnFailure::GoOn, hurry.clone(), commit).await;
            for (place, ()) in round.done {
                self.become_stage(place, Stage::Committed);
            }
            if round.cut {
                let failed = round.failed.iter().map(|(place, _)| *place);
                for place in round.unanswered.into_iter().chain(failed) {
                    self.left_alone(place);
                }
                return Ok(());
            }
            refused = round.failed;
            open = refused.iter().map(|(place, _)| *place).collect();
            if open.is_empty() {
                return Ok(());
            }
        }
        // One that only says no is as healthy as it was.
        let unheard = refused.iter().filter(|(_, error)| error.is_unconfirmed()).map(|(place, _)| *place);
        self.doubt(&unheard.collect::<Vec<_>>());
        if self.fleet.at(&[Stage::Committed]).is_empty() {
            return Err(Stopped { failures: refused, by_user: false });
        }
        for (place, error) in &refused {
            self.host_failed(*place, error);
        }
        // What such a host runs is not left to chance: it is put back, unless it had committed after all.
        self.put_back(open, hurry).await;
        Ok(())
    }

    async fn commit_one(
        &self,
        member: &Member<H>,
        job: Job<'_>,
        release: ReleaseId,
    ) -> Result<(), HostError> {
        self.enter(&member.host, Phase::Finishing);
        self.announce(member, job, release, From::Commit);
        member.host.act(&Action::Commit, &|_| ()).await
    }

    /// After the commit: hooks, clean-up, the lock. What fails here is a warning.
    pub(super) async fn finish(&mut self, job: Job<'_>, release: ReleaseId, hurry: &Hurry<'_>) -> Outcome {
        let committed = self.fleet.at(&[Stage::Committed]);
        let finish = |member| self.finish_one(member, job, release);
        let finished = self.fleet.each(committed, OnFailure::GoOn, hurry.clone(), finish);
        let too_late = async {
            self.stops.cancel.cancelled().await;
            let text = "too late to go back: the release is committed; it is only being cleaned up";
            self.events.emit(EventKind::Noted { host: None, text: text.to_owned() });
            pending::<Round<()>>().await
        };
        let round = tokio::select! {
            round = finished => round,
            round = too_late => round,
        };
        for place in &round.unanswered {
            let text = "it was left before it was cleaned up; its guardian does that and frees the lock";
            self.events.emit(EventKind::Warned { host: self.name(*place), text: text.to_owned() });
        }
        for (place, ()) in round.done {
            self.become_stage(place, Stage::Finished);
        }
        self.leave(self.fleet.at(&[Stage::Reverted, Stage::RevertFailed]), hurry).await;
        let any = |stage| !self.fleet.at(&[stage]).is_empty();
        if any(Stage::RevertFailed) {
            Outcome::FailedStuck
        } else if any(Stage::Unconfirmed) || any(Stage::Reverted) {
            Outcome::Unconfirmed
        } else {
            Outcome::Done
        }
    }

    async fn finish_one(
        &self,
        member: &Member<H>,
        job: Job<'_>,
        release: ReleaseId,
    ) -> Result<(), HostError> {
        let point = job.point_after_commit();
        let prune = self.prunable(member, job, release);
        let host = &member.host;
        self.warn(host, self.hooks(member, point).await);
        self.announce(member, job, release, From::Finish);
        self.warn(host, host.act(&Action::Finish(prune), &|say| self.heard(host, say)).await);
        self.warn(host, host.leave().await);
        self.enter(host, Phase::Done);
        Ok(())
    }
}
