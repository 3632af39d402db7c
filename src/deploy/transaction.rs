//! Owns the phases of the transaction in their order, and the way back. Every host is prepared before
//! any is switched; after a failure, or when the user stops it, every locked host is put back.

use std::time::Duration;
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::Fleet;
use super::Member;
use super::Outcome;
use super::Stage;
use super::fleet::OnFailure;
use super::fleet::Stopped;
use super::plan;
use crate::artifact::Artifact;
use crate::config::Health;
use crate::event::EventKind;
use crate::event::Events;
use crate::event::HostSummary;
use crate::event::Phase;
use crate::event::Proof;
use crate::host::Action;
use crate::host::Attempt;
use crate::host::Host;
use crate::host::HostError;
use crate::host::LockOutcome;
use crate::host::Say;
use crate::release::ReleaseId;
use crate::release::retention;

/// What is made live.
#[derive(Clone, Copy, Debug)]
pub enum Job<'a> {
    /// A new release.
    Deploy(&'a Artifact),
    /// An earlier one.
    Rollback(ReleaseId),
}

/// How the user stops a run.
#[derive(Clone, Debug, Default)]
pub struct Stops {
    /// The first Ctrl-C: put everything back.
    pub cancel: CancellationToken,
    /// The second one: leave at once, the guardians do the rest.
    pub abandon: CancellationToken,
    /// How long putting back may take after a stop; CI systems kill what takes longer.
    pub revert_limit: Option<Duration>,
}

/// One deploy or rollback over a connected fleet.
#[derive(Debug)]
pub struct Transaction<'a, H> {
    /// The hosts, connected and checked.
    pub fleet: Fleet<H>,
    /// Where facts are stated.
    pub events: &'a Events,
    /// How the user stops it.
    pub stops: &'a Stops,
    /// How many good releases stay.
    pub keep: usize,
    /// The probe, for hosts that have no program to ask it with.
    pub health: Option<Health>,
    /// How long a switched host waits for a silent client.
    pub lease: Duration,
    /// Durations of the steps, by name.
    pub timings: Vec<(String, Duration)>,
}

/// How a transaction ended.
#[derive(Debug)]
pub struct Report {
    /// For the exit code.
    pub outcome: Outcome,
    /// What was made live, or was to be.
    pub release: Option<ReleaseId>,
    /// Each host's end.
    pub hosts: Vec<HostSummary>,
    /// Durations of the steps, by name.
    pub timings: Vec<(String, Duration)>,
}

impl<H: Host> Transaction<'_, H> {
    /// Runs it to its end. Whatever happens, what each host runs now is in the report.
    pub async fn run(mut self, job: Job<'_>) -> Report {
        if let Err(outcome) = self.lock().await {
            self.leave(&[Stage::Locked]).await;
            return self.report(outcome, None);
        }
        let release = match job {
            Job::Deploy(_) => {
                plan::next_release(jiff::Timestamp::now(), self.fleet.members.iter().map(|m| &m.facts))
            }
            Job::Rollback(release) => release,
        };
        let (outcome, release) = match self.forward(job, release).await {
            Ok(()) => (self.finish(job, release).await, release),
            Err(stopped) => (self.back(stopped).await, release),
        };
        self.report(outcome, Some(release))
    }

    /// Takes every lock, the first host's first: it arbitrates.
    async fn lock(&mut self) -> Result<(), Outcome> {
        let first = self.lock_places(0..1.min(self.fleet.members.len())).await;
        match first {
            Ok(()) => self.lock_places(1..self.fleet.members.len()).await,
            Err(outcome) => Err(outcome),
        }
    }

    async fn lock_places(&mut self, places: std::ops::Range<usize>) -> Result<(), Outcome> {
        let cancel = self.stops.cancel.clone();
        let never = CancellationToken::new();
        // Not stopped by a failure or by the user: a lock that was taken must be known, to be freed.
        let asked = self.fleet.each(places, OnFailure::GoOn, &never, |member| self.lock_one(member)).await;
        let results = asked.unwrap_or_default();
        let mut outcome = None;
        for (place, result) in results {
            match result {
                Ok(LockOutcome::Taken(facts)) => {
                    for note in &facts.notes {
                        self.events.emit(EventKind::Noted { host: self.name(place), text: note.clone() });
                    }
                    if let Some(member) = self.fleet.members.get_mut(place) {
                        member.facts.current = facts.current;
                        member.facts.releases = facts.releases;
                    }
                    self.become_stage(place, Stage::Locked);
                }
                Ok(LockOutcome::Held(owner)) => {
                    self.failed(
                        place,
                        format!("another deploy holds the lock: {owner}"),
                        Some("wait for it to end, then try again".to_owned()),
                        None,
                    );
                    outcome = Some(Outcome::Locked);
                }
                Err(error) => {
                    self.host_failed(place, &error);
                    outcome = outcome.or(Some(Outcome::Preflight));
                }
            }
        }
        match outcome {
            Some(outcome) => Err(outcome),
            None if cancel.is_cancelled() => {
                self.events.emit(EventKind::Interrupted);
                Err(Outcome::Interrupted)
            }
            None => Ok(()),
        }
    }

    async fn lock_one(&self, member: &Member<H>) -> Result<Result<LockOutcome, HostError>, HostError> {
        self.enter(&member.host, Phase::Locking);
        Ok(member.host.lock().await)
    }

    /// Everything up to and including the commit.
    async fn forward(&mut self, job: Job<'_>, release: ReleaseId) -> Result<(), Stopped> {
        let cancel = self.stops.cancel.clone();
        let started = Instant::now();
        self.fleet
            .each(self.fleet.all(), OnFailure::Stop, &cancel, |member| self.prepare(member, job, release))
            .await?;
        self.timings.push(("prepare".to_owned(), started.elapsed()));
        self.everywhere(Stage::Prepared);

        let started = Instant::now();
        self.once_before_switch(&cancel).await?;
        // From here on a host may be switched even though its answer never came.
        self.everywhere(Stage::Switched);
        self.fleet
            .each(self.fleet.all(), OnFailure::Stop, &cancel, |member| self.activate(member, release))
            .await?;
        self.timings.push(("switch".to_owned(), started.elapsed()));
        self.everywhere(Stage::Verified);

        let fresh = self.lease / 3;
        self.fleet
            .each(self.fleet.all(), OnFailure::GoOn, &cancel, |member| member.host.heartbeat(fresh))
            .await?;
        self.commit().await
    }

    async fn prepare(&self, member: &Member<H>, job: Job<'_>, release: ReleaseId) -> Result<(), HostError> {
        let host = &member.host;
        let mut attempt = Attempt::new(release, member.facts.current.as_deref());
        if let Job::Deploy(artifact) = job {
            attempt.digest = artifact.digest.to_string();
            attempt.commit = artifact.commit.clone().unwrap_or_default();
            attempt.branch = artifact.branch.clone().unwrap_or_default();
        }
        host.begin(&attempt).await?;
        if let Job::Deploy(artifact) = job {
            self.enter(host, Phase::Uploading);
            let total = artifact.compressed_bytes;
            let progress = |sent| {
                let host = host.name().to_owned();
                self.events.emit(EventKind::UploadProgressed { host, sent, total });
            };
            host.upload(artifact, &progress).await?;
            self.enter(host, Phase::Preparing);
            host.act(&Action::Prepare, &|say| self.heard(host, say)).await?;
            self.hooks(member, "after_unpack", None).await?;
        } else {
            self.enter(host, Phase::Preparing);
        }
        host.act(&Action::Ready, &|say| self.heard(host, say)).await?;
        self.enter(host, Phase::Waiting);
        Ok(())
    }

    /// The barrier is behind us; what runs once for the fleet (a migration) runs before any switch.
    async fn once_before_switch(&self, cancel: &CancellationToken) -> Result<(), Stopped> {
        for place in self.fleet.all() {
            self.fleet
                .each([place], OnFailure::Stop, cancel, |member| {
                    self.hooks(member, "before_switch", Some(true))
                })
                .await?;
        }
        Ok(())
    }

    async fn activate(&self, member: &Member<H>, release: ReleaseId) -> Result<(), HostError> {
        let host = &member.host;
        self.hooks(member, "before_switch", Some(false)).await?;
        self.enter(host, Phase::Switching);
        let proof = std::sync::Mutex::new((Proof::Proven, String::new(), false));
        let heard = |say: Say| {
            let mut proof = proof.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            match say {
                Say::Proof(level, detail) => {
                    proof.0 = if level == "proven" { Proof::Proven } else { Proof::Unprovable };
                    proof.1 = detail;
                }
                Say::ProbeNeeded => proof.2 = true,
                say => self.heard(host, say),
            }
        };
        host.act(&Action::Activate, &heard).await?;
        let (proof, detail, probe) = proof.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let (true, Some(health)) = (probe, &self.health) {
            host.probe(health).await?;
        }
        self.events.emit(EventKind::Verified {
            host: host.name().to_owned(),
            release: release.to_string(),
            proof,
            detail,
        });
        self.hooks(member, "after_switch", None).await?;
        self.enter(host, Phase::Waiting);
        Ok(())
    }

    /// Commits everywhere. Not stopped by anything: it is one short step, and half of it is the one
    /// state nobody wants.
    async fn commit(&mut self) -> Result<(), Stopped> {
        let never = CancellationToken::new();
        let mut places: Vec<usize> = self.fleet.all().collect();
        let mut refused = Vec::new();
        for _ in 0..2 {
            let asked =
                self.fleet.each(places.clone(), OnFailure::GoOn, &never, |m| self.commit_one(m)).await;
            let results = asked.unwrap_or_default();
            refused = Vec::new();
            for (place, result) in results {
                match result {
                    Ok(()) => self.become_stage(place, Stage::Committed),
                    Err(error) => refused.push((place, error)),
                }
            }
            places = refused.iter().map(|(place, _)| *place).collect();
            if places.is_empty() {
                return Ok(());
            }
        }
        if self.fleet.at(&[Stage::Committed]).is_empty() && !refused.iter().any(|(_, e)| e.is_unconfirmed()) {
            return Err(Stopped::Failed(refused));
        }
        // Some host is committed, or may be: forward is the only way. The others undo themselves.
        for (place, error) in &refused {
            self.host_failed(*place, error);
            self.become_stage(*place, Stage::Unconfirmed);
        }
        Ok(())
    }

    async fn commit_one(&self, member: &Member<H>) -> Result<Result<(), HostError>, HostError> {
        self.enter(&member.host, Phase::Finishing);
        Ok(member.host.act(&Action::Commit, &|_| ()).await)
    }

    /// After the commit: hooks, clean-up, the lock. What fails here is a warning.
    async fn finish(&mut self, job: Job<'_>, release: ReleaseId) -> Outcome {
        let point = match job {
            Job::Deploy(_) => "after_deploy",
            Job::Rollback(_) => "after_rollback",
        };
        let committed = self.fleet.at(&[Stage::Committed]);
        let never = CancellationToken::new();
        let _ = self
            .fleet
            .each(committed.clone(), OnFailure::GoOn, &never, |member| {
                self.finish_one(member, job, point, release)
            })
            .await;
        for place in committed {
            self.become_stage(place, Stage::Finished);
            if let Some(member) = self.fleet.members.get_mut(place) {
                member.facts.current = Some(release.to_string());
            }
        }
        if self.fleet.at(&[Stage::Unconfirmed]).is_empty() { Outcome::Done } else { Outcome::Unconfirmed }
    }

    async fn finish_one(
        &self,
        member: &Member<H>,
        job: Job<'_>,
        point: &str,
        release: ReleaseId,
    ) -> Result<(), HostError> {
        let prune = match job {
            Job::Deploy(_) => {
                let standings: Vec<_> = plan::standings(&member.facts).collect();
                retention::prunable(&standings, release, member.facts.live(), self.keep)
            }
            Job::Rollback(_) => Vec::new(),
        };
        let host = &member.host;
        self.warn(host, self.hooks(member, point, None).await);
        self.warn(host, host.act(&Action::Finish(prune), &|say| self.heard(host, say)).await);
        self.warn(host, host.leave().await);
        self.enter(host, Phase::Done);
        Ok(())
    }

    /// Puts every locked host back. The first cause was stated before this; failures of the way back
    /// are stated beside it.
    async fn back(&mut self, stopped: Stopped) -> Outcome {
        let interrupted = matches!(stopped, Stopped::Cancelled);
        match stopped {
            Stopped::Cancelled => self.events.emit(EventKind::Interrupted),
            Stopped::Failed(failures) => {
                for (place, error) in &failures {
                    self.host_failed(*place, error);
                }
            }
        }
        let touched = self.fleet.at(&[Stage::Locked, Stage::Prepared, Stage::Switched, Stage::Verified]);
        let never = CancellationToken::new();
        let results = {
            let reverting =
                self.fleet.each(touched.clone(), OnFailure::GoOn, &never, |member| self.revert_one(member));
            tokio::select! {
                results = reverting => results.ok(),
                () = self.stops.abandon.cancelled() => None,
                () = self.out_of_time(interrupted) => None,
            }
        };
        let Some(results) = results else {
            for place in touched {
                self.become_stage(place, Stage::Unconfirmed);
            }
            return Outcome::Unconfirmed;
        };
        for (place, result) in results {
            self.reverted(place, result);
        }
        let restored = self.fleet.at(&[Stage::Reverted]);
        let _ = self
            .fleet
            .each(restored, OnFailure::GoOn, &never, |member| async {
                self.warn(&member.host, self.hooks(member, "on_failure", None).await);
                Ok(())
            })
            .await;
        self.leave(&[Stage::Reverted, Stage::RevertFailed]).await;
        if !self.fleet.at(&[Stage::RevertFailed]).is_empty() {
            Outcome::FailedStuck
        } else if !self.fleet.at(&[Stage::Unconfirmed]).is_empty() {
            Outcome::Unconfirmed
        } else if interrupted {
            Outcome::Interrupted
        } else {
            Outcome::FailedRestored
        }
    }

    async fn revert_one(&self, member: &Member<H>) -> Result<Result<(), HostError>, HostError> {
        let host = &member.host;
        self.enter(host, Phase::Reverting);
        Ok(host.revert(&|say| self.heard(host, say)).await)
    }

    async fn out_of_time(&self, interrupted: bool) {
        match self.stops.revert_limit {
            Some(limit) if interrupted => tokio::time::sleep(limit).await,
            Some(limit) => {
                self.stops.cancel.cancelled().await;
                tokio::time::sleep(limit).await;
            }
            None => std::future::pending().await,
        }
    }

    fn reverted(&mut self, place: usize, result: Result<(), HostError>) {
        let was = self.fleet.members.get(place).map(|member| member.stage);
        let untouched = matches!(was, Some(Stage::Locked | Stage::Prepared));
        match result {
            Ok(()) => {
                self.become_stage(place, Stage::Reverted);
                self.entered(place, Phase::Reverted);
            }
            Err(error) if error.is_unconfirmed() && untouched => {
                // It was never switched: it runs what it ran. Only its lock may stay for a while.
                self.events.emit(EventKind::Warned {
                    host: self.name(place),
                    text: format!(
                        "{error}; it was not switched, and its guardian frees the lock within 5 minutes"
                    ),
                });
                self.become_stage(place, Stage::Reverted);
                self.entered(place, Phase::Reverted);
            }
            Err(error) if error.is_unconfirmed() => {
                let text = format!(
                    "{error}; its guardian puts it back by itself, {} s after it last heard from here at the latest",
                    self.lease.as_secs()
                );
                self.failed(
                    place,
                    text,
                    Some("look at the host when it can be reached again".to_owned()),
                    None,
                );
                self.become_stage(place, Stage::Unconfirmed);
            }
            Err(error) => {
                let hint = "this host needs a person: see .rdeploy/revert-failed.log under deploy_to on it";
                self.failed(
                    place,
                    error.to_string(),
                    Some(hint.to_owned()),
                    error.output().map(str::to_owned),
                );
                self.become_stage(place, Stage::RevertFailed);
            }
        }
    }

    async fn leave(&self, stages: &[Stage]) {
        let never = CancellationToken::new();
        let _ = self
            .fleet
            .each(self.fleet.at(stages), OnFailure::GoOn, &never, |member| async {
                self.warn(&member.host, member.host.leave().await);
                Ok(())
            })
            .await;
    }

    /// Runs the hooks of a point on one host, in order.
    async fn hooks(&self, member: &Member<H>, point: &str, once: Option<bool>) -> Result<(), HostError> {
        let chosen = member
            .hooks
            .iter()
            .filter(|script| script.point == point && once.is_none_or(|once| script.hook.once == once));
        for script in chosen {
            let host = member.host.name().to_owned();
            let command = script.hook.run.clone();
            let point = script.point.to_owned();
            let started = Instant::now();
            self.events.emit(EventKind::HookStarted {
                host: host.clone(),
                point: point.clone(),
                command: command.clone(),
            });
            let line = |line: &str| {
                self.events.emit(EventKind::HookOutput { host: host.clone(), line: line.to_owned() });
            };
            member.host.hook(script, &line).await?;
            let duration = started.elapsed();
            self.events.emit(EventKind::HookFinished { host, point, command, duration });
        }
        Ok(())
    }

    fn heard(&self, host: &H, say: Say) {
        let host_name = || host.name().to_owned();
        match say {
            Say::Switched(release) => {
                self.events.emit(EventKind::Switched { host: host_name(), release });
            }
            Say::Phase(phase) if phase == "verifying" => self.enter(host, Phase::Verifying),
            Say::Note(text) => self.events.emit(EventKind::Noted { host: Some(host_name()), text }),
            Say::Warning(text) => self.events.emit(EventKind::Warned { host: Some(host_name()), text }),
            Say::RevertedLink(release) if !release.is_empty() => {
                self.events.emit(EventKind::Switched { host: host_name(), release });
            }
            _ => {}
        }
    }

    fn warn(&self, host: &H, result: Result<(), HostError>) {
        if let Err(error) = result {
            let text = match error.output() {
                Some(output) => format!("{error}\n{output}"),
                None => error.to_string(),
            };
            self.events.emit(EventKind::Warned { host: Some(host.name().to_owned()), text });
        }
    }

    fn host_failed(&self, place: usize, error: &HostError) {
        let hint = match error {
            HostError::Command { .. } => {
                "run the command by hand in the release on that host to look into it"
            }
            HostError::Refused { .. } => "mend the cause named above and deploy again",
            HostError::Lost { .. } | HostError::Silent { .. } => "look at the host and at the network to it",
            HostError::Channel { .. } => "look at the host's sshd and its log",
        };
        let output = error.output().map(str::to_owned).filter(|output| *output != error.to_string());
        self.failed(place, error.to_string(), Some(hint.to_owned()), output);
    }

    fn failed(&self, place: usize, error: String, hint: Option<String>, output: Option<String>) {
        self.events.emit(EventKind::Failed { host: self.name(place), error, hint, output });
        self.entered(place, Phase::Failed);
    }

    fn name(&self, place: usize) -> Option<String> {
        self.fleet.members.get(place).map(|member| member.host.name().to_owned())
    }

    fn enter(&self, host: &H, phase: Phase) {
        self.events.emit(EventKind::PhaseEntered { host: host.name().to_owned(), phase });
    }

    fn entered(&self, place: usize, phase: Phase) {
        if let Some(member) = self.fleet.members.get(place) {
            self.enter(&member.host, phase);
        }
    }

    fn everywhere(&mut self, stage: Stage) {
        for place in self.fleet.all() {
            self.become_stage(place, stage);
        }
    }

    fn become_stage(&mut self, place: usize, stage: Stage) {
        if let Some(member) = self.fleet.members.get_mut(place) {
            debug_assert!(member.stage.may_become(stage), "{:?} to {stage:?}", member.stage);
            member.stage = stage;
        }
    }

    fn report(self, outcome: Outcome, release: Option<ReleaseId>) -> Report {
        let host = |member: &Member<H>| HostSummary {
            host: member.host.name().to_owned(),
            phase: match member.stage {
                Stage::Finished | Stage::Committed => Phase::Done,
                Stage::Reverted => Phase::Reverted,
                Stage::RevertFailed | Stage::Unconfirmed => Phase::Failed,
                Stage::Connected => Phase::Checking,
                Stage::Locked => Phase::Locking,
                Stage::Prepared => Phase::Waiting,
                Stage::Switched | Stage::Verified => Phase::Verifying,
            },
            live: match member.stage {
                Stage::RevertFailed | Stage::Unconfirmed => None,
                _ => member.facts.live_name(),
            },
        };
        let hosts = self.fleet.members.iter().map(host).collect();
        Report { outcome, release, hosts, timings: self.timings }
    }
}
