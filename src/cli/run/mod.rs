//! Owns a run: the build beside the connecting, the checks, the transaction, and what is told at the end.
//!
//! | file | owns |
//! |---|---|
//! | `checks` | connecting, and every problem of every host |
//! | `ending` | where a rollback goes, and how the end is put into words |
//! | `reach` | which hosts are left out because they cannot be reached |
//! | `resume` | which hosts are behind, and where their artifact comes from |

mod checks;
mod ending;
mod reach;
mod resume;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::ask::Ask;
use super::launch::Launch;
use super::launch::Source;
use super::place::Places;
use super::release_source;
use super::release_source::NoArtifact;
use crate::artifact::Artifact;
use crate::artifact::Storing;
use crate::config::Environment;
use crate::deploy;
use crate::deploy::Fleet;
use crate::deploy::Job;
use crate::deploy::Member;
use crate::deploy::Outcome;
use crate::deploy::Stops;
use crate::deploy::Transaction;
use crate::event::EventKind;
use crate::event::Events;
use crate::event::Summary;
use crate::host::Verb;
use crate::report;
use crate::ssh;

use checks::Checks;
use checks::Reached;

/// A run under way.
pub(super) struct Run<'a> {
    pub(super) launch: &'a Launch,
    pub(super) places: &'a Places,
    pub(super) events: &'a Events,
    pub(super) stops: &'a Stops,
}

impl Run<'_> {
    fn verb(&self) -> Verb {
        match self.launch.source {
            Source::Rollback(_) => Verb::Rollback,
            Source::Resume(_) => Verb::Resume,
            Source::Build | Source::Artifact(_) => Verb::Deploy,
        }
    }

    /// Runs it to its end.
    pub(super) async fn run(&self, screen: report::Screen) -> Summary {
        self.events.emit(EventKind::RunStarted {
            verb: self.verb().name().to_owned(),
            app: self.launch.environment.app.clone(),
            environment: self.launch.goal.clone(),
            hosts: self.places.all.iter().map(|place| place.target.name.clone()).collect(),
        });
        let started = Instant::now();
        let build_stop = self.stops.cancel.child_token();
        let ask: Arc<dyn ssh::Ask> = Arc::new(Ask::new(screen));
        // Nothing but the hosts is waited for: from then on they may be locked.
        let ready = AtomicBool::new(false);
        let connect = async {
            let checked = tokio::select! {
                checked = self.connect(&ask, &ready) => Some(checked),
                // Nothing has been changed yet, so nothing is worth waiting for.
                () = self.stops.cancel.cancelled() => None,
            };
            if checked.as_ref().is_some_and(|checked| self.is_stopped_by(checked)) {
                build_stop.cancel();
            }
            checked
        };
        let build = async {
            let made = self.artifact(&build_stop).await;
            if let Ok(Some(artifact)) = &made {
                artifact.list_ahead();
            }
            ready.store(made.is_ok(), Ordering::Relaxed);
            (made, started.elapsed())
        };
        let both = async { tokio::join!(build, connect) };
        let ((made, built), checked) = tokio::select! {
            both = both => both,
            () = self.stops.abandon.cancelled() => return self.ended(Outcome::Interrupted, Vec::new()),
        };
        let checked = match checked {
            Some(checked) if !self.stops.cancel.is_cancelled() => checked,
            stopped => {
                self.events.emit(EventKind::Interrupted);
                let fit = stopped.iter().flatten().flatten();
                self.part(fit.map(|(session, _)| session)).await;
                return self.ended(Outcome::Interrupted, Vec::new());
            }
        };
        let checks = self.all_checked(checked, made.as_ref().ok().and_then(Option::as_ref)).await;
        if let Err(error) = &made {
            release_source::state(error, self.events);
        }
        let storing = made.as_ref().ok().and_then(Option::as_ref).map(|artifact| artifact.storing.clone());
        let summary = match (checks, made) {
            (Checks::Fit(reached), Ok(artifact)) => self.transact(reached, artifact, built).await,
            (Checks::Fit(reached), Err(_)) => {
                self.part(&reached.sessions).await;
                self.ended(Outcome::Usage, self.known(&reached))
            }
            (Checks::Unfit(known), _) => self.ended(Outcome::Preflight, known),
        };
        if let Some(storing) = storing {
            self.stored(&storing, summary.exit_code).await;
        }
        summary
    }

    /// Waits until the artifact is in the cache, which goes on beside the deploy. That it does not get there spoils no
    /// deploy.
    async fn stored(&self, storing: &Storing, exit_code: u8) {
        let stored = tokio::select! {
            stored = storing.finished() => stored,
            () = self.stops.abandon.cancelled() => return,
        };
        let is_deployed = [Outcome::Done.code(), Outcome::Partial.code()].contains(&exit_code);
        if let Err(failure) = stored
            && is_deployed
        {
            let text = format!(
                "the artifact is not in the cache: {failure}; the hosts have it, but `resume` from here needs it built again"
            );
            self.events.emit(EventKind::Warned { host: None, text });
        }
    }

    async fn transact(&self, reached: Reached, artifact: Option<Artifact>, built: Duration) -> Summary {
        let unbegun = async |summary: Summary| {
            self.part(&reached.sessions).await;
            summary
        };
        let mut absent = self.left_out(&reached.places);
        let mut timings = Vec::new();
        let (artifact, resumption) = match &self.launch.source {
            Source::Resume(_) => match self.resumption(&reached, artifact).await {
                Ok((resumption, artifact)) => {
                    absent = self.still_absent(&reached);
                    (artifact, Some(resumption))
                }
                Err(summary) => return unbegun(summary).await,
            },
            Source::Build | Source::Artifact(_) | Source::Rollback(_) => {
                timings.extend(artifact.as_ref().map(|_| ("build".to_owned(), built)));
                (artifact, None)
            }
        };
        let job = match (&resumption, &artifact, &self.launch.source) {
            (Some(resumption), artifact, _) => Job::Resume(resumption, artifact.as_ref()),
            (None, Some(artifact), _) => Job::Deploy(artifact),
            (None, None, Source::Rollback(wanted)) => match self.rollback_to(&reached, *wanted) {
                Ok(release) => Job::Rollback(release),
                Err(summary) => return unbegun(summary).await,
            },
            (None, None, _) => return unbegun(self.ended(Outcome::Usage, self.known(&reached))).await,
        };
        let Environment { hooks, rollout, .. } = &self.launch.environment;
        let schedule = deploy::hooks::schedule(hooks, &self.hosts(&reached.places), self.verb());
        let Reached { places, sessions, facts } = reached;
        let members = sessions
            .into_iter()
            .zip(facts)
            .zip(schedule)
            .map(|((host, facts), hooks)| Member::new(host, hooks, facts));
        let hosts = self.places.all.iter().map(|place| (place.target.name.as_str(), &place.host));
        let transaction = Transaction {
            fleet: Fleet { members: members.collect() },
            events: self.events,
            stops: self.stops,
            wait: self.launch.wait,
            keep: self.launch.environment.keep_releases,
            lease: self.launch.environment.lease,
            rollout: deploy::Rollout::of(rollout, hosts),
            absent,
            timings,
        };
        let mut report = transaction.run(job).await;
        report.hosts = self.with_left_out(&places, report.hosts);
        self.summary(report)
    }

    async fn artifact(&self, cancel: &CancellationToken) -> Result<Option<Artifact>, NoArtifact> {
        let made = match &self.launch.source {
            Source::Rollback(_) | Source::Resume(None) => return Ok(None),
            Source::Artifact(file) | Source::Resume(Some(file)) => {
                release_source::open(file, self.events, cancel).await
            }
            Source::Build => {
                release_source::build(&self.launch.environment, &self.launch.root, self.events, cancel).await
            }
        };
        made.map(Some)
    }
}
