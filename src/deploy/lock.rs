//! Owns taking every host's lock, or none. All are asked at once; the first host arbitrates, so that of two deploys at
//! the same time one gets all: who has the first host's lock asks again for what the other one is about to free.
//! Who waits for a lock holds none meanwhile. A freeze is not waited for: it ends when
//! a person says so, which may be next week.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::Member;
use super::Outcome;
use super::Stage;
use super::fleet::OnFailure;
use super::patience::Patience;
use super::plan;
use super::transaction::Hurry;
use super::transaction::Job;
use super::transaction::Transaction;
use crate::event::EventKind;
use crate::event::Phase;
use crate::event::Wait;
use crate::host::Facts;
use crate::host::Host;
use crate::host::HostError;
use crate::host::LockOutcome;
use crate::release::ReleaseId;

/// How long who has the first host's lock asks again for one that the same other deploy holds. Somebody who asked at
/// the same moment frees it as soon as it hears that the first one is not to be had; a deploy to other hosts of the
/// environment does not.
const ARBITRATION: Duration = Duration::from_secs(5);
/// How long in all, where one after the other takes it and gives it back.
const CROWDED: Duration = Duration::from_secs(60);
const ARBITRATION_PAUSE: Duration = Duration::from_millis(100);

/// Why a round of locking did not get every lock.
struct Refused {
    /// How the run ends, if it is not waited.
    outcome: Outcome,
    /// Hosts that did not answer yet.
    unanswered: Vec<usize>,
    /// Hosts whose lock somebody else holds, and who.
    held: Vec<(usize, String)>,
    /// Whether waiting cannot help.
    is_final: bool,
}

impl Refused {
    fn finally(outcome: Outcome) -> Self {
        Self { outcome, unanswered: Vec::new(), held: Vec::new(), is_final: true }
    }
}

impl<H: Host> Transaction<'_, H> {
    /// Takes every lock. When that fails, those that were taken are freed again, and where the user is
    /// ready to wait, it is tried again later.
    pub(super) async fn lock(&mut self, job: Job<'_>, hurry: &Hurry<'_>) -> Result<(), Outcome> {
        let checked: Vec<_> = self.fleet.members.iter().map(|member| member.facts.current.clone()).collect();
        let mut patience = Patience::of(self.wait);
        let (mut told, mut again) = (BTreeSet::new(), false);
        loop {
            let Err(refused) = self.lock_all(job, &checked, again).await else { return Ok(()) };
            again = true;
            let pause = if refused.is_final { None } else { patience.pause() };
            let Some(pause) = pause else {
                for (place, owner) in &refused.held {
                    let hint = "wait for it to end (`--wait` does), then try again";
                    let text = format!("another deploy holds the lock: {owner}{}", patience.in_vain());
                    self.failed(*place, text, Some(hint.to_owned()), None);
                }
                // A host that did not answer yet hears the goodbye right after it took its lock.
                let held = self.fleet.at(&[Stage::Locked]).into_iter().chain(refused.unanswered).collect();
                self.leave(held, hurry).await;
                return Err(refused.outcome);
            };
            self.give_way(hurry).await?;
            for (place, owner) in refused.held {
                // Whoever is waited for is named once.
                if told.insert((place, owner.clone())) {
                    let text = format!("waiting for the lock: {owner}");
                    self.events.emit(EventKind::Noted { host: self.name(place), text });
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.stops.cancel.cancelled() => {
                    self.events.emit(EventKind::Interrupted);
                    return Err(Outcome::Interrupted);
                }
            }
        }
    }

    /// Frees what was taken, so that nobody waits for somebody who waits.
    async fn give_way(&mut self, hurry: &Hurry<'_>) -> Result<(), Outcome> {
        let taken = self.fleet.at(&[Stage::Locked]);
        let release = |member| self.release_one(member);
        let round = self.fleet.each(taken, OnFailure::GoOn, hurry.clone(), release).await;
        for (place, ()) in round.done {
            self.become_stage(place, Stage::Connected);
        }
        for (place, error) in &round.failed {
            self.host_failed(*place, error);
        }
        if round.cut {
            self.events.emit(EventKind::Interrupted);
            return Err(Outcome::Interrupted);
        }
        if round.failed.is_empty() { Ok(()) } else { Err(Outcome::Preflight) }
    }

    async fn release_one(&self, member: &Member<H>) -> Result<(), HostError> {
        member.host.release().await
    }

    async fn lock_all(
        &mut self,
        job: Job<'_>,
        checked: &[Option<String>],
        again: bool,
    ) -> Result<(), Refused> {
        // Who was refused before leaves the others alone until the first is to be had.
        let at_once = if again { 0..self.fleet.members.len().min(1) } else { self.fleet.all() };
        let rest = at_once.end..self.fleet.members.len();
        self.lock_from_first(at_once).await?;
        self.lock_from_first(rest).await?;
        match job {
            Job::Rollback(target) => self.still_as_checked(checked, target),
            Job::Resume(resumption, _) if !self.still_left_behind(resumption) => {
                Err(Refused::finally(Outcome::Preflight))
            }
            Job::Deploy(_) | Job::Resume(..) => Ok(()),
        }
    }

    /// Takes these locks at once. Who has the first host's asks for a while for those that somebody else holds: who
    /// came after it may have them for a moment, and of many who come at once nobody would get all if it gave up.
    async fn lock_from_first(&mut self, places: std::ops::Range<usize>) -> Result<(), Refused> {
        let began = Instant::now();
        let mut refused = self.lock_places(places).await.err();
        let (mut owners, mut since) = (Vec::new(), began);
        while let Some(Refused { held, is_final: false, .. }) = &refused
            && self.has_first()
        {
            if owners != *held {
                (owners, since) = (held.clone(), Instant::now());
            }
            if since.elapsed() >= ARBITRATION || began.elapsed() >= CROWDED {
                break;
            }
            let places: Vec<usize> = held.iter().map(|(place, _)| *place).collect();
            tokio::select! {
                () = tokio::time::sleep(ARBITRATION_PAUSE) => {}
                // The next question finds that out.
                () = self.stops.cancel.cancelled() => {}
            }
            refused = self.lock_places(places).await.err();
        }
        refused.map_or(Ok(()), Err)
    }

    /// Whether the host that arbitrates is ours.
    fn has_first(&self) -> bool {
        self.fleet.members.first().is_some_and(|member| member.stage == Stage::Locked)
    }

    /// Takes these locks at once; else says why the run cannot go on.
    async fn lock_places(&mut self, places: impl IntoIterator<Item = usize>) -> Result<(), Refused> {
        let stops = self.stops;
        let round = self
            .fleet
            .each(places, OnFailure::GoOn, stops.cancel.cancelled(), |member| self.lock_one(member))
            .await;
        let mut outcome = None;
        let mut held = Vec::new();
        let mut is_final = !round.failed.is_empty();
        for (place, lock) in round.done {
            match lock {
                LockOutcome::Taken(facts) => self.locked(place, facts),
                LockOutcome::Held(owner) => {
                    held.push((place, owner));
                    outcome = Some(Outcome::Locked);
                }
                LockOutcome::Frozen(freeze) => {
                    let hint = "deploys and rollbacks are refused until `unlock` lifts the freeze";
                    let text = format!("the environment is frozen: {freeze}");
                    self.failed(place, text, Some(hint.to_owned()), None);
                    is_final = true;
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
            is_final = true;
            outcome = Some(Outcome::Interrupted);
        }
        let unanswered = round.unanswered;
        outcome.map_or(Ok(()), |outcome| Err(Refused { outcome, unanswered, held, is_final }))
    }

    async fn lock_one(&self, member: &Member<H>) -> Result<LockOutcome, HostError> {
        self.enter(&member.host, Phase::Locking);
        let outcome = member.host.lock().await?;
        if matches!(outcome, LockOutcome::Taken(_)) {
            self.waits(&member.host, Wait::Locks);
        }
        Ok(outcome)
    }

    fn locked(&mut self, place: usize, facts: Facts) {
        for text in facts.notes {
            self.events.emit(EventKind::Noted { host: self.name(place), text });
        }
        if let Some(member) = self.fleet.members.get_mut(place) {
            member.facts.current = facts.current;
            member.facts.releases = facts.releases;
            member.facts.absent = facts.absent;
            member.facts.partial = facts.partial;
        }
        self.become_stage(place, Stage::Locked);
    }

    /// The target of a rollback was chosen before the locks were ours. Whoever had them in between may
    /// have made another release live, and then it is not the one before any more.
    fn still_as_checked(&self, checked: &[Option<String>], target: ReleaseId) -> Result<(), Refused> {
        let no = Err(Refused::finally(Outcome::Preflight));
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
