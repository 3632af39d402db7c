//! Owns taking every host's lock, or none: the first host arbitrates, so that of two deploys at the same
//! time one gets all.

use super::Member;
use super::Outcome;
use super::Stage;
use super::fleet::OnFailure;
use super::plan;
use super::transaction::Hurry;
use super::transaction::Job;
use super::transaction::Transaction;
use crate::event::EventKind;
use crate::event::Phase;
use crate::host::Facts;
use crate::host::Host;
use crate::host::HostError;
use crate::host::LockOutcome;
use crate::release::ReleaseId;

impl<H: Host> Transaction<'_, H> {
    /// Takes every lock. When that fails, those that were taken are freed again.
    pub(super) async fn lock(&mut self, job: Job<'_>, hurry: &Hurry<'_>) -> Result<(), Outcome> {
        let checked: Vec<_> = self.fleet.members.iter().map(|member| member.facts.current.clone()).collect();
        let everybody = self.fleet.members.len();
        let mut taken = self.lock_places(0..everybody.min(1)).await;
        if taken.is_ok() {
            taken = self.lock_places(1..everybody).await;
        }
        let agreed = match (taken, job) {
            (Ok(()), Job::Rollback(target)) => self.still_as_checked(&checked, target),
            (Ok(()), Job::Resume(resumption, _)) if !self.still_left_behind(resumption) => {
                Err((Outcome::Preflight, Vec::new()))
            }
            (taken, _) => taken,
        };
        let Err((outcome, unanswered)) = agreed else { return Ok(()) };
        // A host that did not answer yet hears the goodbye right after it took its lock.
        let held = self.fleet.at(&[Stage::Locked]).into_iter().chain(unanswered).collect();
        self.leave(held, hurry).await;
        Err(outcome)
    }

    /// Takes these locks at once; else says how the run ends, and which hosts did not answer.
    async fn lock_places(&mut self, places: std::ops::Range<usize>) -> Result<(), (Outcome, Vec<usize>)> {
        let stops = self.stops;
        let round = self
            .fleet
            .each(places, OnFailure::GoOn, stops.cancel.cancelled(), |member| self.lock_one(member))
            .await;
        let mut outcome = None;
        for (place, lock) in round.done {
            match lock {
                LockOutcome::Taken(facts) => self.locked(place, facts),
                LockOutcome::Held(owner) => {
                    let hint = "wait for it to end, then try again";
                    let text = format!("another deploy holds the lock: {owner}");
                    self.failed(place, text, Some(hint.to_owned()), None);
                    outcome = Some(Outcome::Locked);
                }
            }
        }
        for (place, error) in &round.failed {
            self.host_failed(*place, error);
            outcome = outcome.or(Some(Outcome::Preflight));
        }
        if round.cut || (outcome.is_none() && stops.cancel.is_cancelled()) {
            self.events.emit(EventKind::Interrupted);
            outcome = Some(Outcome::Interrupted);
        }
        outcome.map_or(Ok(()), |outcome| Err((outcome, round.unanswered)))
    }

    async fn lock_one(&self, member: &Member<H>) -> Result<LockOutcome, HostError> {
        self.enter(&member.host, Phase::Locking);
        member.host.lock().await
    }

    fn locked(&mut self, place: usize, facts: Facts) {
        for text in facts.notes {
            self.events.emit(EventKind::Noted { host: self.name(place), text });
        }
        if let Some(member) = self.fleet.members.get_mut(place) {
            member.facts.current = facts.current;
            member.facts.releases = facts.releases;
            member.facts.absent = facts.absent;
        }
        self.become_stage(place, Stage::Locked);
    }

    /// The target of a rollback was chosen before the locks were ours. Whoever had them in between may
    /// have made another release live, and then it is not the one before any more.
    fn still_as_checked(
        &self,
        checked: &[Option<String>],
        target: ReleaseId,
    ) -> Result<(), (Outcome, Vec<usize>)> {
        let no = Err((Outcome::Preflight, Vec::new()));
        let mut moved = false;
        for (place, (member, before)) in self.fleet.members.iter().zip(checked).enumerate() {
            if member.facts.current != *before {
                moved = true;
                let live = member.facts.live_name().unwrap_or_else(|| "nothing".to_owned());
                let text = format!("somebody else made {live} live while this rollback was being planned");
                let hint = "look at what is live now, then decide again";
                self.failed(place, text, Some(hint.to_owned()), None);
            }
        }
        if moved {
            return no;
        }
        let hosts: Vec<(&str, &Facts)> =
            self.fleet.members.iter().map(|member| (member.host.name(), &member.facts)).collect();
        match plan::rollback_release(&hosts, Some(target)) {
            Ok(_) => Ok(()),
            Err(problem) => {
                let error = problem.to_string();
                self.events.emit(EventKind::Failed { host: None, error, hint: None, output: None });
                no
            }
        }
    }
}
