//! Owns a run: the build beside the connecting, the checks, the transaction, and what is told at the end.
//!
//! | file | owns |
//! |---|---|
//! | `checks` | connecting, and every problem of every host |
//! | `ending` | where a rollback goes, and how the end is put into words |

mod checks;
mod ending;

use std::sync::Arc;
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
use crate::config;
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
use crate::host::Facts;
use crate::host::HookScript;
use crate::host::Session;
use crate::host::Verb;
use crate::report;
use crate::ssh;

use checks::Checks;
use ending::Known;

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
        let connect = async {
            let checked = tokio::select! {
                checked = self.connect(&ask) => Some(checked),
                // Nothing has been changed yet, so nothing is worth waiting for.
                () = self.stops.cancel.cancelled() => None,
            };
            if checked.iter().flatten().any(Result::is_err) {
                build_stop.cancel();
            }
            checked
        };
        let build = async { (self.artifact(&build_stop).await, started.elapsed()) };
        let both = async { tokio::join!(build, connect) };
        let ((made, built), checked) = tokio::select! {
            both = both => both,
            () = self.stops.abandon.cancelled() => return self.ended(Outcome::Interrupted, Vec::new()),
        };
        let checked = match checked {
            Some(checked) if !self.stops.cancel.is_cancelled() => checked,
            _ => {
                self.events.emit(EventKind::Interrupted);
                return self.ended(Outcome::Interrupted, Vec::new());
            }
        };
        let checks = self.all_checked(checked, made.as_ref().ok().and_then(Option::as_ref));
        if let Err(error) = &made {
            release_source::state(error, self.events);
        }
        match (checks, made) {
            (Checks::Fit(sessions, facts), Ok(artifact)) => {
                self.transact(sessions, facts, artifact.as_ref(), built).await
            }
            (Checks::Fit(_, facts), Err(_)) => {
                self.ended(Outcome::Usage, facts.iter().map(Known::checked).collect())
            }
            (Checks::Unfit(known), _) => self.ended(Outcome::Preflight, known),
        }
    }

    async fn transact(
        &self,
        sessions: Vec<Session>,
        facts: Vec<Facts>,
        artifact: Option<&Artifact>,
        built: Duration,
    ) -> Summary {
        let job = match (artifact, &self.launch.source) {
            (Some(artifact), _) => Job::Deploy(artifact),
            (None, Source::Rollback(wanted)) => match self.rollback_to(&facts, *wanted) {
                Ok(release) => Job::Rollback(release),
                Err(summary) => return summary,
            },
            (None, _) => return self.ended(Outcome::Usage, facts.iter().map(Known::checked).collect()),
        };
        let schedule = self.schedule();
        let members = sessions
            .into_iter()
            .zip(facts)
            .zip(schedule)
            .map(|((host, facts), hooks)| Member::new(host, hooks, facts));
        let transaction = Transaction {
            fleet: Fleet { members: members.collect() },
            events: self.events,
            stops: self.stops,
            wait: self.launch.wait,
            keep: self.launch.environment.keep_releases,
            lease: self.launch.environment.lease,
            timings: artifact.map(|_| ("build".to_owned(), built)).into_iter().collect(),
        };
        let report = transaction.run(job).await;
        self.summary(report)
    }

    async fn artifact(&self, cancel: &CancellationToken) -> Result<Option<Artifact>, NoArtifact> {
        let made = match &self.launch.source {
            Source::Rollback(_) => return Ok(None),
            Source::Artifact(file) => release_source::open(file, self.events).await,
            Source::Build => {
                release_source::build(&self.launch.environment, &self.launch.root, self.events, cancel).await
            }
        };
        made.map(Some)
    }

    fn schedule(&self) -> Vec<Vec<HookScript>> {
        let hosts: Vec<&config::Host> = self.places.all.iter().map(|place| &place.host).collect();
        deploy::hooks::schedule(&self.launch.environment.hooks, &hosts, self.verb())
    }
}
