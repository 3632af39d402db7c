//! Owns bringing hosts that were left behind level with the others: what the others run, which hosts do
//! not run it, and what a run on those alone means for the rest of the fleet.
//!
//! All hosts that can be reached are locked, the first one first, so that no deploy runs meanwhile. Those
//! that are level already are then set aside: nothing happens to them, but at the end they are told which
//! hosts still are not.

use std::collections::BTreeSet;

use super::Member;
use super::Outcome;
use super::Stage;
use super::fleet::OnFailure;
use super::transaction::Hurry;
use super::transaction::Job;
use super::transaction::Transaction;
use crate::event::EventKind;
use crate::host::Action;
use crate::host::Facts;
use crate::host::Host;
use crate::host::HostError;
use crate::host::ReleaseRecord;
use crate::release::ReleaseId;

/// What is to be done so that every host runs the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resumption {
    /// What the hosts that were not left behind run.
    pub release: ReleaseId,
    /// The digest of its artifact, where a host knows it.
    pub digest: Option<String>,
    /// The hosts that run something else.
    pub behind: Vec<String>,
    /// Those of them that do not have the release.
    pub lacking: Vec<String>,
    /// The hosts that are level, but that others still remember as left out.
    pub caught_up: Vec<String>,
}

/// Why it is not known what hosts should be brought level with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResumeProblem {
    /// No host runs anything.
    #[error("nothing is deployed on {0}, so there is nothing to bring hosts level with")]
    Nothing(String),
    /// The hosts that were not left out run different releases, or there are none.
    #[error("the hosts do not agree on what is live:\n{0}")]
    Differ(String),
    /// What is live was not put there by name of a release.
    #[error("what is live, `{live}`, is no release, so no host can be brought level with it")]
    NoRelease {
        /// The name that `current` leads to.
        live: String,
    },
    /// One id, two contents.
    #[error("the hosts hold different content under the id {release}:\n{hosts}")]
    Contents {
        /// The release.
        release: ReleaseId,
        /// Each host and its digest.
        hosts: String,
    },
    /// Something is in the way.
    #[error("there is a directory releases/{release} that rdeploy did not make on {hosts}")]
    Foreign {
        /// The release.
        release: ReleaseId,
        /// The hosts.
        hosts: String,
    },
}

impl Resumption {
    /// Whether nothing is left to be done.
    pub fn is_empty(&self) -> bool {
        self.behind.is_empty() && self.caught_up.is_empty()
    }

    /// Whether a host has to be sent the release.
    pub(super) fn is_lacked_by(&self, facts: &Facts) -> bool {
        !record(facts, self.release).is_some_and(ran_well)
    }

    fn is_level(&self, facts: &Facts) -> bool {
        facts.live() == Some(self.release)
    }
}

fn record(facts: &Facts, release: ReleaseId) -> Option<&ReleaseRecord> {
    facts.releases.iter().find(|record| record.id == release)
}

fn ran_well(record: &ReleaseRecord) -> bool {
    matches!(record.state.as_str(), "good" | "bad" | "adopted")
}

/// Returns what is to be done. What the fleet runs is what those hosts agree on that run anything and that
/// no other host remembers as left out.
pub fn resumption(hosts: &[(&str, &Facts)]) -> Result<Resumption, ResumeProblem> {
    let names = |hosts: &[(&str, &Facts)]| -> Vec<String> {
        hosts.iter().map(|(host, _)| (*host).to_owned()).collect()
    };
    let absent: BTreeSet<&str> =
        hosts.iter().flat_map(|(_, facts)| &facts.absent).map(String::as_str).collect();
    if hosts.iter().all(|(_, facts)| facts.current.is_none()) {
        return Err(ResumeProblem::Nothing(names(hosts).join(", ")));
    }
    let took_part = hosts.iter().filter(|(host, facts)| facts.current.is_some() && !absent.contains(host));
    let live: BTreeSet<Option<String>> = took_part.map(|(_, facts)| facts.live_name()).collect();
    let (1, Some(live)) = (live.len(), live.into_iter().flatten().next()) else {
        let row = |(host, facts): &(&str, &Facts)| {
            let left_out = if absent.contains(host) { ", left out before" } else { "" };
            format!("  {host}: live {}{left_out}", facts.live_shown())
        };
        return Err(ResumeProblem::Differ(hosts.iter().map(row).collect::<Vec<_>>().join("\n")));
    };
    let Ok(release) = live.parse::<ReleaseId>() else { return Err(ResumeProblem::NoRelease { live }) };
    let contents: Vec<(&str, &str)> = hosts
        .iter()
        .filter_map(|(host, facts)| Some((*host, record(facts, release)?.digest.as_deref()?)))
        .collect();
    let digests: BTreeSet<&str> = contents.iter().map(|(_, digest)| *digest).collect();
    if digests.len() > 1 {
        let rows: Vec<String> = contents.iter().map(|(host, digest)| format!("  {host}: {digest}")).collect();
        return Err(ResumeProblem::Contents { release, hosts: rows.join("\n") });
    }
    let (level, behind): (Vec<_>, Vec<_>) =
        hosts.iter().copied().partition(|(_, facts)| facts.live() == Some(release));
    let is_foreign = |facts: &Facts| record(facts, release).is_some_and(|record| record.state == "foreign");
    let foreign: Vec<_> = behind.iter().copied().filter(|(_, facts)| is_foreign(facts)).collect();
    if !foreign.is_empty() {
        return Err(ResumeProblem::Foreign { release, hosts: names(&foreign).join(", ") });
    }
    let caught_up: Vec<_> = level.iter().copied().filter(|(host, _)| absent.contains(host)).collect();
    let mut resumption = Resumption {
        release,
        digest: digests.first().map(|digest| (*digest).to_owned()),
        behind: names(&behind),
        lacking: Vec::new(),
        caught_up: names(&caught_up),
    };
    let lacking: Vec<_> =
        behind.iter().copied().filter(|(_, facts)| resumption.is_lacked_by(facts)).collect();
    resumption.lacking = names(&lacking);
    Ok(resumption)
}

impl<H: Host> Transaction<'_, H> {
    /// Whether what was planned before the locks were ours is still what is to be done.
    pub(super) fn still_left_behind(&self, planned: &Resumption) -> bool {
        let hosts: Vec<(&str, &Facts)> =
            self.fleet.members.iter().map(|member| (member.host.name(), &member.facts)).collect();
        let now = resumption(&hosts);
        let still = now.as_ref() == Ok(planned);
        if !still {
            let error = match now {
                Ok(now) => format!(
                    "what is live changed while this was being planned: it was {}, and is {} now",
                    planned.release, now.release
                ),
                Err(problem) => problem.to_string(),
            };
            let hint = Some("look at what is live now, then decide again".to_owned());
            self.events.emit(EventKind::Failed { host: None, error, hint, output: None });
        }
        still
    }

    /// Takes the hosts that are level already out of a resumption, with their places. Their locks stay ours.
    pub(super) fn set_aside(&mut self, job: Job<'_>) -> Vec<(usize, Member<H>)> {
        let Job::Resume(resumption, _) = job else { return Vec::new() };
        let all = std::mem::take(&mut self.fleet.members).into_iter().enumerate();
        let (level, behind): (Vec<_>, Vec<_>) =
            all.partition(|(_, member)| resumption.is_level(&member.facts));
        let places: Vec<usize> = behind.iter().map(|(place, _)| *place).collect();
        self.rollout = self.rollout.among(&places);
        self.fleet.members = behind.into_iter().map(|(_, member)| member).collect();
        level
    }

    /// Puts them back in their places, tells them who is still left out, and frees their locks.
    pub(super) async fn take_back(
        &mut self,
        level: Vec<(usize, Member<H>)>,
        outcome: Outcome,
        hurry: &Hurry<'_>,
    ) {
        if level.is_empty() {
            return;
        }
        for (place, member) in level {
            self.fleet.members.insert(place, member);
        }
        let level = self.fleet.at(&[Stage::Locked]);
        if outcome == Outcome::Done {
            let note = |member| self.note_absent(member);
            self.fleet.each(level.clone(), OnFailure::GoOn, hurry.clone(), note).await;
        }
        self.leave(level, hurry).await;
    }

    async fn note_absent(&self, member: &Member<H>) -> Result<(), HostError> {
        let absent = Action::Absent(self.absent.clone());
        self.warn(&member.host, member.host.act(&absent, &|say| self.heard(&member.host, say)).await);
        Ok(())
    }
}
