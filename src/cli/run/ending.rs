//! Owns where a rollback goes, and how the end of a run is put into words.

use super::Run;
use crate::cli::launch::Source;
use crate::deploy;
use crate::deploy::Outcome;
use crate::deploy::Report;
use crate::deploy::RollbackProblem;
use crate::event::EventKind;
use crate::event::HostSummary;
use crate::event::Phase;
use crate::event::Summary;
use crate::host::Facts;
use crate::host::Verb;
use crate::release::ReleaseId;

/// What is known of a host that was left untouched.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// How far it came.
    pub(super) phase: Phase,
    /// What is live on it.
    pub(super) live: Option<String>,
}

impl Known {
    /// A host that answered the questions.
    pub(super) fn checked(facts: &Facts) -> Self {
        Self { phase: Phase::Checking, live: Some(facts.live_shown()) }
    }
}

impl Run<'_> {
    /// The release a rollback goes to, or the end of the run.
    pub(super) fn rollback_to(
        &self,
        facts: &[Facts],
        wanted: Option<ReleaseId>,
    ) -> Result<ReleaseId, Summary> {
        let named: Vec<(&str, &Facts)> =
            self.places.all.iter().map(|place| place.target.name.as_str()).zip(facts).collect();
        let known = || facts.iter().map(Known::checked).collect();
        deploy::rollback_release(&named, wanted).map_err(|problem| {
            if let RollbackProblem::Live(release) = problem {
                return Summary {
                    headline: format!("nothing to do: {} runs {release} already", self.launch.goal),
                    ..self.ended(Outcome::Done, known())
                };
            }
            let hint = self.choices(facts);
            let error = problem.to_string();
            self.events.emit(EventKind::Failed { host: None, error, hint: Some(hint), output: None });
            self.ended(Outcome::Preflight, known())
        })
    }

    /// What can be rolled back to: releases that ran well, are on every host, and are not live on all.
    fn choices(&self, facts: &[Facts]) -> String {
        let ran_well = |facts: &Facts, id: ReleaseId| {
            facts.releases.iter().any(|r| r.id == id && matches!(r.state.as_str(), "good" | "bad"))
        };
        let live_everywhere = |id: ReleaseId| facts.iter().all(|facts| facts.live() == Some(id));
        let mut choices: Vec<ReleaseId> = facts
            .first()
            .into_iter()
            .flat_map(|first| first.releases.iter().map(|release| release.id))
            .filter(|id| facts.iter().all(|facts| ran_well(facts, *id)) && !live_everywhere(*id))
            .collect();
        choices.sort_unstable_by(|a, b| b.cmp(a));
        match choices.as_slice() {
            [] => "no other release that ran well is on every host; deploy one instead".to_owned(),
            choices => {
                let ids: Vec<String> = choices.iter().map(ReleaseId::to_string).collect();
                format!("`{} --rollback=ID`, where ID is one of: {}", self.launch.command, ids.join(", "))
            }
        }
    }

    /// The summary of a run that touched no host. A host of which nothing is known was not reached.
    pub(super) fn ended(&self, outcome: Outcome, known: Vec<Known>) -> Summary {
        let unknown = std::iter::repeat(Known { phase: Phase::Checking, live: None });
        let hosts = self.places.all.iter().zip(known.into_iter().chain(unknown));
        let hosts = hosts.map(|(place, Known { phase, live })| HostSummary {
            host: place.target.name.clone(),
            phase,
            live,
        });
        let hosts = hosts.collect();
        self.summary(Report { outcome, release: None, hosts, timings: Vec::new() })
    }

    pub(super) fn summary(&self, report: Report) -> Summary {
        let goal = &self.launch.goal;
        let verb = self.verb().name();
        let of = match self.verb() {
            Verb::Rollback => format!("of {goal}"),
            _ => format!("to {goal}"),
        };
        let release = report.release.map(|id| format!(" {id}")).unwrap_or_default();
        let headline = match (report.outcome, self.verb(), &self.launch.source) {
            (Outcome::Done, Verb::Rollback, _) => format!("rolled {goal} back to{release}"),
            (Outcome::Done, _, _) => format!("deployed{release} to {goal}"),
            (Outcome::Usage, _, Source::Build) => "the build failed".to_owned(),
            (Outcome::Usage | Outcome::Preflight | Outcome::Locked, _, _) => {
                format!("the {verb} {of} did not start")
            }
            (Outcome::FailedRestored, _, _) => format!("the {verb} {of} failed and was put back"),
            (Outcome::FailedStuck, _, _) => {
                format!("the {verb} {of} failed and could not be put back everywhere")
            }
            (Outcome::Unconfirmed, _, _) => format!("the {verb} {of} ended without the word of every host"),
            (Outcome::Interrupted, _, _) => format!("the {verb} {of} was stopped"),
        };
        Summary { headline, exit_code: report.outcome.code(), hosts: report.hosts, timings: report.timings }
    }
}
