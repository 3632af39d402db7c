//! Owns `rdeploy ENVIRONMENT resume` between the checks and the transaction: what is to be brought level,
//! and where its artifact comes from.

use super::Run;
use super::checks::Reached;
use crate::artifact::Artifact;
use crate::cli::release_source;
use crate::deploy;
use crate::deploy::Outcome;
use crate::deploy::Resumption;
use crate::event::EventKind;
use crate::event::Summary;
use crate::host::Facts;

impl Run<'_> {
    /// What is to be done on which hosts, and the artifact where one lacks the release; or the end of the
    /// run. `given` is the artifact that the user named.
    pub(super) async fn resumption(
        &self,
        reached: &Reached,
        given: Option<Artifact>,
    ) -> Result<(Resumption, Option<Artifact>), Summary> {
        let known = || self.known(reached);
        let stop = |outcome, error: String, hint: String| {
            self.events.emit(EventKind::Failed { host: None, error, hint: Some(hint), output: None });
            self.ended(outcome, known())
        };
        let command = &self.launch.command;
        let resumption = deploy::resumption(&reached.named()).map_err(|problem| {
            let hint = format!("deploy to all of them: `{command}`");
            stop(Outcome::Preflight, problem.to_string(), hint)
        })?;
        if resumption.is_empty() {
            let headline = match self.left_out(&reached.places).is_empty() {
                true => format!("nothing to do: {} runs {} already", self.launch.goal, resumption.release),
                false => format!(
                    "nothing to do where {} can be reached: {} runs there already",
                    self.launch.goal, resumption.release
                ),
            };
            return Err(Summary { headline, ..self.ended(Outcome::Done, known()) });
        }
        if resumption.lacking.is_empty() {
            return Ok((resumption, None));
        }
        let artifact = match self.artifact_of(&resumption, given).await {
            Ok(artifact) => artifact,
            Err((outcome, error, hint)) => return Err(stop(outcome, error, hint)),
        };
        let lacks = |host: &(&str, &Facts)| resumption.lacking.iter().any(|lacking| lacking == host.0);
        let lacking: Vec<(&str, &Facts)> = reached.named().into_iter().filter(lacks).collect();
        if !self.has_no_problem(&lacking, Some(&artifact)) {
            return Err(self.ended(Outcome::Preflight, known()));
        }
        Ok((resumption, Some(artifact)))
    }

    /// The very artifact that the other hosts run: the one given, or the one in the cache here. Else what
    /// is wrong and what to do.
    async fn artifact_of(
        &self,
        resumption: &Resumption,
        given: Option<Artifact>,
    ) -> Result<Artifact, (Outcome, String, String)> {
        let command = &self.launch.command;
        let release = resumption.release;
        let hosts = resumption.lacking.join(", ");
        let Some(digest) = &resumption.digest else {
            let error = format!(
                "{hosts} cannot be sent release {release}: no host knows which artifact it was made of"
            );
            return Err((Outcome::Preflight, error, format!("deploy to all of them: `{command}`")));
        };
        match given {
            Some(artifact) if artifact.digest.to_string() == *digest => Ok(artifact),
            Some(artifact) => {
                let error = format!(
                    "the artifact that was given is {}, but release {release} was made of {digest}",
                    artifact.digest
                );
                let hint = format!("give that one, or deploy to all hosts: `{command}`");
                Err((Outcome::Usage, error, hint))
            }
            None => release_source::cached(digest).await.ok_or_else(|| {
                let error = format!(
                    "{hosts} cannot be sent release {release}: its artifact, {digest}, is not in the cache here"
                );
                let hint = format!(
                    "name the file, made then by `rdeploy build -o FILE`: `{command} resume --artifact FILE`; or deploy to all hosts: `{command}`"
                );
                (Outcome::Usage, error, hint)
            }),
        }
    }

    /// The hosts that remain left out when those that were reached are level: the others that somebody
    /// remembers.
    pub(super) fn still_absent(&self, reached: &Reached) -> Vec<String> {
        let mut absent = self.left_out(&reached.places);
        absent.retain(|host| reached.facts.iter().any(|facts| facts.absent.contains(host)));
        absent
    }
}
