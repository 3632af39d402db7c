//! Owns the way back: every locked host is put back, each says whether that was proven, and what is not
//! known of a host is said rather than assumed. `pace` says when each has its turn.

use super::Member;
use super::Outcome;
use super::Stage;
use super::fleet::OnFailure;
use super::fleet::Stopped;
use super::pace::Pace;
use super::transaction::Hurry;
use super::transaction::Job;
use super::transaction::Transaction;
use crate::event::EventKind;
use crate::event::Phase;
use crate::event::Wait;
use crate::host::HookScript;
use crate::host::Host;
use crate::host::HostError;
use crate::release::ReleaseId;

impl<H: Host> Transaction<'_, H> {
    /// Puts every locked host back. The first cause is stated before anything of the way back is, and
    /// what fails on the way back is stated beside it, never instead of it.
    pub(super) async fn back(
        &mut self,
        stopped: Stopped,
        job: Job<'_>,
        release: ReleaseId,
        hurry: &Hurry<'_>,
    ) -> Outcome {
        for (place, error) in &stopped.failures {
            self.host_failed(*place, error);
        }
        if stopped.by_user {
            self.events.emit(EventKind::Interrupted);
        }
        let touched = self.fleet.at(&[Stage::Locked, Stage::Prepared, Stage::Switched, Stage::Verified]);
        self.put_back(touched, hurry).await;
        let restored = self.fleet.at(&[Stage::Reverted]);
        let asked = restored.into_iter().filter(|place| self.answers(*place));
        let on_failure = |member| self.on_failure(member);
        self.fleet.each(asked, OnFailure::GoOn, hurry.clone(), on_failure).await;
        if !self.fleet.at(&[Stage::Committed]).is_empty() {
            // Nobody had acknowledged the commit, yet a host turned out to have it.
            return self.finish(job, release, hurry).await;
        }
        self.leave(self.fleet.at(&[Stage::Reverted, Stage::RevertFailed]), hurry).await;
        let any = |stage| !self.fleet.at(&[stage]).is_empty();
        if any(Stage::RevertFailed) {
            Outcome::FailedStuck
        } else if any(Stage::Unconfirmed) {
            Outcome::Unconfirmed
        } else if stopped.by_user {
            Outcome::Interrupted
        } else {
            Outcome::FailedRestored
        }
    }

    /// Has these hosts put back, the healthy ones at the rollout's width, and notes what came of each.
    pub(super) async fn put_back(&mut self, places: Vec<usize>, hurry: &Hurry<'_>) {
        let member = |place: &usize| self.fleet.members.get(*place);
        let healthy = places.iter().filter_map(member).filter(|member| member.is_healthy()).count();
        let width = self.course().width;
        if healthy > width && !self.stops.cancel.is_cancelled() {
            let text =
                format!("healthy hosts are put back {width} at a time, so that the others go on serving");
            self.events.emit(EventKind::Noted { host: None, text });
        }
        let pace = Pace::new(places.len() - healthy, width);
        let revert = |member| self.revert_one(member, &pace);
        let round = self.fleet.each(places, OnFailure::GoOn, hurry.clone(), revert).await;
        for (place, ()) in round.done {
            self.become_stage(place, Stage::Reverted);
        }
        for (place, error) in round.failed {
            self.not_put_back(place, &error);
        }
        for place in round.unanswered {
            if self.fleet.members.get(place).is_some_and(Member::is_put_back) {
                let text = "it was left before its after_switch hooks had ended; see whether it serves again";
                self.events.emit(EventKind::Warned { host: self.name(place), text: text.to_owned() });
                self.become_stage(place, Stage::Reverted);
            } else {
                self.left_alone(place);
            }
        }
    }

    async fn revert_one(&self, member: &Member<H>, pace: &Pace) -> Result<(), HostError> {
        let host = &member.host;
        self.waits(host, Wait::Turn);
        let _turn = pace.turn(member.is_healthy(), &self.stops.cancel).await;
        self.enter(host, Phase::Reverting);
        host.revert(&|say| self.heard(host, say)).await?;
        member.note_put_back();
        self.enter(host, Phase::Reverted);
        self.undrain(member).await;
        Ok(())
    }

    /// A host whose own hooks before the switch have begun may be out of service; those after it end that.
    /// What runs once for the fleet does not belong to the host.
    async fn undrain(&self, member: &Member<H>) {
        let own = |script: &&HookScript| script.point == "after_switch" && !script.hook.once;
        for script in member.hooks.iter().filter(own).filter(|_| member.is_drained()) {
            self.warn(&member.host, self.hook(member, script).await);
        }
    }

    fn not_put_back(&mut self, place: usize, error: &HostError) {
        match error {
            HostError::AlreadyCommitted => {
                self.events.emit(EventKind::Noted {
                    host: self.name(place),
                    text: "it had committed after all, and stays with the new release".to_owned(),
                });
                // It was told ahead, and went all the way before its answers were heard.
                self.has_committed(place);
            }
            HostError::GuardianDied { .. } => {
                let heals = "nothing on it puts it back now; the next deploy to it does that first";
                self.unconfirmed(place, &error.to_string(), heals);
            }
            error if error.is_unconfirmed() => self.unconfirmed(place, &error.to_string(), &self.heals()),
            error => {
                let hint = "this host needs a person: see .rdeploy/revert-failed.log under deploy_to on it";
                let output = error.output().map(str::to_owned);
                self.failed(place, error.to_string(), Some(hint.to_owned()), output);
                self.become_stage(place, Stage::RevertFailed);
            }
        }
    }

    /// A host whose answer was not waited for: its guardian goes on without us.
    pub(super) fn left_alone(&mut self, place: usize) {
        self.unconfirmed(place, "it was left before it had answered", &self.heals());
    }

    /// What becomes of a host that may be switched and has a guardian.
    fn heals(&self) -> String {
        format!(
            "unless it had committed, its guardian puts it back by itself, {} s after it last heard from here at the latest",
            self.lease.as_secs()
        )
    }

    fn unconfirmed(&mut self, place: usize, why: &str, heals: &str) {
        let was = self.fleet.members.get(place).map(|member| member.stage);
        if let Some(member) = self.fleet.members.get_mut(place) {
            member.silent = true;
        }
        let may_be_switched = self.fleet.members.get(place).is_some_and(Member::may_be_switched);
        if matches!(was, Some(Stage::Locked | Stage::Prepared)) && !may_be_switched {
            let text = format!(
                "{why}; it was not switched and runs what it ran, and its lock is free within 5 minutes"
            );
            self.events.emit(EventKind::Warned { host: self.name(place), text });
            self.become_stage(place, Stage::Reverted);
            self.entered(place, Phase::Reverted);
        } else {
            let hint = "run the same command again once the host can be reached: it says what stands there, and first undoes what was left undone";
            self.failed(place, format!("{why}; {heals}"), Some(hint.to_owned()), None);
            self.become_stage(place, Stage::Unconfirmed);
        }
    }

    async fn on_failure(&self, member: &Member<H>) -> Result<(), HostError> {
        self.warn(&member.host, self.hooks(member, "on_failure").await);
        Ok(())
    }

    async fn leave_one(&self, member: &Member<H>) -> Result<(), HostError> {
        self.warn(&member.host, member.host.leave().await);
        Ok(())
    }

    fn answers(&self, place: usize) -> bool {
        self.fleet.members.get(place).is_some_and(|member| !member.silent)
    }

    /// Frees the locks of those of these hosts that still answer.
    pub(super) async fn leave(&self, places: Vec<usize>, hurry: &Hurry<'_>) {
        let places = places.into_iter().filter(|place| self.answers(*place));
        let leave = |member| self.leave_one(member);
        self.fleet.each(places, OnFailure::GoOn, hurry.clone(), leave).await;
    }
}
