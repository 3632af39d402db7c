//! Owns the transaction as a whole: what goes in, what comes out, and the order of its parts. The parts
//! are in files of their own: `lock`, `forward`, `switch`, `commit`, `back`, and `told` for what is stated of
//! them.

use std::future::pending;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use futures_util::future::Shared;
use tokio_util::sync::CancellationToken;

use super::Fleet;
use super::Member;
use super::Outcome;
use super::Resumption;
use super::Rollout;
use super::Stage;
use super::plan;
use super::told::tell_traffic;
use crate::artifact::Artifact;
use crate::event::Events;
use crate::event::HostSummary;
use crate::event::Phase;
use crate::host::Facts;
use crate::host::Host;
use crate::release::ReleaseId;

/// What is made live.
#[derive(Clone, Copy, Debug)]
pub enum Job<'a> {
    /// A new release.
    Deploy(&'a Artifact),
    /// An earlier one.
    Rollback(ReleaseId),
    /// What most hosts run already, on those that were left behind.
    Resume(&'a Resumption, Option<&'a Artifact>),
}

impl<'a> Job<'a> {
    /// The point of the user's hooks that follow the commit.
    pub(super) fn point_after_commit(self) -> &'static str {
        match self {
            Job::Deploy(_) | Job::Resume(..) => "after_deploy",
            Job::Rollback(_) => "after_rollback",
        }
    }

    /// The artifact that a host has to be sent, where it is not there yet.
    pub(super) fn artifact_for(self, facts: &Facts) -> Option<&'a Artifact> {
        match self {
            Job::Deploy(artifact) => Some(artifact),
            Job::Rollback(_) => None,
            Job::Resume(resumption, artifact) => artifact.filter(|_| resumption.is_lacked_by(facts)),
        }
    }
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

/// The moment from which on nothing is waited for any more: the second Ctrl-C, or the end of the time
/// that a CI system leaves after the first.
pub(super) type Hurry<'a> = Shared<BoxFuture<'a, ()>>;

impl Stops {
    fn hurry(&self) -> Hurry<'_> {
        let out_of_time = async {
            match self.revert_limit {
                Some(limit) => {
                    self.cancel.cancelled().await;
                    tokio::time::sleep(limit).await;
                }
                None => pending().await,
            }
        };
        let hurry = async move {
            tokio::select! {
                () = self.abandon.cancelled() => {}
                () = out_of_time => {}
            }
        };
        hurry.boxed().shared()
    }
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
    /// How long to wait for a lock that somebody else holds; `None` does not wait.
    pub wait: Option<Duration>,
    /// How many good releases stay.
    pub keep: usize,
    /// How long a switched host waits for a silent client.
    pub lease: Duration,
    /// How the switch moves through the fleet.
    pub rollout: Rollout,
    /// The hosts that do not take part because they cannot be reached; the others remember them.
    pub absent: Vec<String>,
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
        let stops = self.stops;
        let hurry = stops.hurry();
        if let Err(outcome) = self.lock(job, &hurry).await {
            return self.report(outcome, None);
        }
        let release = match job {
            Job::Deploy(_) => {
                plan::next_release(jiff::Timestamp::now(), self.fleet.members.iter().map(|m| &m.facts))
            }
            Job::Rollback(release) => release,
            Job::Resume(resumption, _) => resumption.release,
        };
        let level = self.set_aside(job);
        let committed = match self.forward(job, release).await {
            Ok(()) => self.commit(job, release, &hurry).await,
            Err(stopped) => Err(stopped),
        };
        let outcome = match committed {
            Ok(()) => self.finish(job, release, &hurry).await,
            Err(stopped) => self.back(stopped, job, release, &hurry).await,
        };
        self.take_back(level, outcome, &hurry).await;
        self.report(outcome, Some(release))
    }

    pub(super) fn everywhere(&mut self, stage: Stage) {
        for place in self.fleet.all() {
            self.become_stage(place, stage);
        }
    }

    pub(super) fn become_stage(&mut self, place: usize, stage: Stage) {
        if let Some(member) = self.fleet.members.get_mut(place) {
            debug_assert!(member.stage.may_become(stage), "{:?} to {stage:?}", member.stage);
            member.stage = stage;
        }
    }

    /// Notes that a host has committed, by every stage on the way there.
    pub(super) fn has_committed(&mut self, place: usize) {
        for next in [Stage::Prepared, Stage::Switched, Stage::Verified, Stage::Committed] {
            if self.fleet.members.get(place).is_some_and(|member| member.stage < next) {
                self.become_stage(place, next);
            }
        }
    }

    fn report(self, outcome: Outcome, release: Option<ReleaseId>) -> Report {
        tell_traffic(self.fleet.members.iter().map(|member| &member.host), self.events);
        let host = |member: &Member<H>| HostSummary {
            host: member.host.name().to_owned(),
            phase: match member.stage {
                Stage::Finished | Stage::Committed => Phase::Done,
                Stage::Reverted => Phase::Reverted,
                Stage::RevertFailed => Phase::Failed,
                Stage::Unconfirmed => Phase::Reverting,
                Stage::Connected => Phase::Checking,
                Stage::Locked => Phase::Locking,
                Stage::Prepared => Phase::Waiting,
                Stage::Switched | Stage::Verified => Phase::Verifying,
            },
            live: match member.stage {
                Stage::RevertFailed | Stage::Unconfirmed => None,
                Stage::Committed | Stage::Finished => release.map(|id| id.to_string()),
                _ => Some(member.facts.live_shown()),
            },
        };
        let hosts = self.fleet.members.iter().map(host).collect();
        Report { outcome, release, hosts, timings: self.timings }
    }
}
