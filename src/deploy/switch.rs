//! Owns the switch, batch by batch: on each host of one the user's own hooks before it (drain), activate,
//! the proof, the hooks after it (undrain); the pause after the first hosts; and that no batch begins while
//! a host may be on its way back.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::Instant;

use super::Member;
use super::Stage;
use super::ahead::From;
use super::fleet::OnFailure;
use super::fleet::Stopped;
use super::rollout::Course;
use super::transaction::Job;
use super::transaction::Transaction;
use crate::event::EventKind;
use crate::event::Phase;
use crate::event::Proof;
use crate::host::Action;
use crate::host::HookScript;
use crate::host::Host;
use crate::host::HostError;
use crate::host::Say;
use crate::host::Unasked;
use crate::release::ReleaseId;

/// How often the first hosts are checked again during the pause; at its end they are in any case.
const RECHECK_INTERVAL: Duration = Duration::from_secs(5);

impl<H: Host> Transaction<'_, H> {
    /// Switches every host; afterwards each was proven to run the release.
    pub(super) async fn roll_out(&mut self, job: Job<'_>, release: ReleaseId) -> Result<(), Stopped> {
        let course = self.course();
        let of = course.batches.len();
        for (n, batch) in course.batches.iter().enumerate() {
            // A host that has not been heard of for long may be on its way back already.
            self.all_answer().await?;
            if of > 1 {
                let hosts = self.names(batch);
                self.events.emit(EventKind::BatchStarted { number: n + 1, of, hosts });
            }
            self.switch(batch, job, release).await?;
            if course.pauses_after(n) {
                let firsts: Vec<usize> = course.batches.iter().take(n + 1).flatten().copied().collect();
                self.pause(&firsts, course.pause).await?;
            }
        }
        Ok(())
    }

    /// The way through the hosts that take part.
    pub(super) fn course(&self) -> Course {
        self.rollout.course(self.fleet.members.iter().map(|member| member.host.name()))
    }

    async fn switch(&mut self, batch: &[usize], job: Job<'_>, release: ReleaseId) -> Result<(), Stopped> {
        let stops = self.stops;
        let activate = |member| self.activate(member, job, release);
        let hosts = batch.iter().copied();
        let round = self.fleet.each(hosts, OnFailure::Stop, stops.cancel.cancelled(), activate).await;
        for place in batch {
            // Also where no answer came: it may have happened all the same.
            if self.fleet.members.get(*place).is_some_and(Member::may_be_switched) {
                self.become_stage(*place, Stage::Switched);
            }
        }
        for (place, ()) in &round.done {
            self.become_stage(*place, Stage::Verified);
        }
        round.complete().map(drop)
    }

    async fn activate(&self, member: &Member<H>, job: Job<'_>, release: ReleaseId) -> Result<(), HostError> {
        let host = &member.host;
        let each_host = |script: &&HookScript| script.point == "before_switch" && !script.hook.once;
        for script in member.hooks.iter().filter(each_host) {
            member.note_drained();
            self.hook(member, script).await?;
        }
        self.enter(host, Phase::Switching);
        member.note_switch();
        self.announce(member, job, release, From::Switch);
        let (proof, detail) = self.prove(member, &Action::Activate).await?;
        self.events.emit(EventKind::Verified {
            host: host.name().to_owned(),
            release: release.to_string(),
            proof,
            detail,
        });
        self.hooks(member, "after_switch").await?;
        self.enter(host, Phase::Waiting);
        Ok(())
    }

    /// Does what ends with a proof, and asks the health checks from here that the host cannot.
    async fn prove(&self, member: &Member<H>, action: &Action) -> Result<(Proof, String), HostError> {
        let host = &member.host;
        let said = Mutex::new((Proof::Proven, String::new(), Unasked::default()));
        let heard = |say: Say| {
            let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
            match say {
                Say::Proof(level, detail) => {
                    said.0 = if level == "proven" { Proof::Proven } else { Proof::Unprovable };
                    said.1 = detail;
                }
                say => {
                    if let Some(say) = said.2.hear(say) {
                        self.heard(host, say);
                    }
                }
            }
        };
        host.act(action, &heard).await?;
        let (proof, detail, unasked) = said.into_inner().unwrap_or_else(PoisonError::into_inner);
        if !unasked.checks.is_empty() {
            host.probe(&unasked.checks, *action == Action::Recheck).await?;
        }
        Ok((proof, detail))
    }

    /// Waits, and proves again and again that the first hosts are still well; at last at the end.
    async fn pause(&mut self, firsts: &[usize], pause: Duration) -> Result<(), Stopped> {
        self.events.emit(EventKind::Paused { hosts: self.names(firsts), duration: pause });
        let until = Instant::now() + pause;
        loop {
            let next = until.min(Instant::now() + RECHECK_INTERVAL);
            tokio::select! {
                biased;
                () = self.stops.cancel.cancelled() => {
                    return Err(Stopped { failures: Vec::new(), by_user: true });
                }
                () = tokio::time::sleep_until(next) => {}
            }
            let last = Instant::now() >= until;
            self.recheck(firsts).await?;
            if last {
                return Ok(());
            }
        }
    }

    async fn recheck(&mut self, places: &[usize]) -> Result<(), Stopped> {
        let stops = self.stops;
        let recheck = |member| self.prove(member, &Action::Recheck);
        let hosts = places.iter().copied();
        let round = self.fleet.each(hosts, OnFailure::Stop, stops.cancel.cancelled(), recheck).await;
        self.doubt(&round.failed_places());
        round.complete().map(drop)
    }

    /// Every host was heard of within a third of its lease: what is asked next will find it waiting.
    pub(super) async fn all_answer(&mut self) -> Result<(), Stopped> {
        let stops = self.stops;
        let fresh = self.lease / 3;
        let stop = stops.cancel.cancelled();
        let round = self
            .fleet
            .each(self.fleet.all(), OnFailure::GoOn, stop, |member| member.host.heartbeat(fresh))
            .await;
        self.doubt(&round.failed_places());
        round.complete().map(drop)
    }

    /// Notes that these hosts are not known to be well any more.
    pub(super) fn doubt(&mut self, places: &[usize]) {
        for place in places {
            if let Some(member) = self.fleet.members.get_mut(*place) {
                member.doubted = true;
            }
        }
    }

    fn names(&self, places: &[usize]) -> Vec<String> {
        places.iter().filter_map(|place| self.name(*place)).collect()
    }
}
