//! `rdeploy ENVIRONMENT [VERB]`: deploys to an environment of deploy.toml, or goes back.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Parser;
use clap::ValueEnum;

use super::Fatal;
use super::Global;
use super::launch;
use super::launch::Launch;
use super::launch::Source;
use super::place;
use crate::config::Hosts;
use crate::deploy::Outcome;
use crate::release::InvalidReleaseId;
use crate::release::ReleaseId;

/// Deploy to an environment of deploy.toml
#[derive(Debug, Parser)]
#[command(name = "rdeploy ENVIRONMENT", disable_version_flag = true)]
pub(super) struct EnvironmentArgs {
    #[command(flatten)]
    global: Global,
    /// What to do with the environment
    #[arg(value_enum, default_value_t = EnvironmentVerb::Deploy)]
    verb: EnvironmentVerb,
    /// Go back to the release that was live before, or to the one named
    #[arg(
        long,
        value_name = "ID",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "previous",
        conflicts_with = "artifact"
    )]
    rollback: Option<RollbackTo>,
    /// Deploy this artifact, made by `rdeploy build -o FILE`, instead of building (with `resume`: if the
    /// release is not in the cache here)
    #[arg(long, value_name = "FILE")]
    artifact: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum EnvironmentVerb {
    /// Build and deploy
    Deploy,
    /// Bring hosts that were left out, because they could not be reached, level with the others
    Resume,
    /// End the app of an embedded environment and its hosts
    Stop,
}

/// Where a rollback goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RollbackTo {
    Previous,
    Release(ReleaseId),
}

impl FromStr for RollbackTo {
    type Err = InvalidReleaseId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "previous" => Ok(Self::Previous),
            id => id.parse().map(Self::Release),
        }
    }
}

impl RollbackTo {
    pub(super) fn source(self) -> Source {
        Source::Rollback(match self {
            Self::Previous => None,
            Self::Release(id) => Some(id),
        })
    }
}

pub(super) async fn run(global: &Global, words: Vec<OsString>) -> Result<u8, Fatal> {
    let Some(name) = words.first().map(|name| name.to_string_lossy().into_owned()) else {
        return Err(Fatal::usage("no environment was named"));
    };
    let program = OsString::from(format!("rdeploy {name}"));
    let words = std::iter::once(program).chain(words.into_iter().skip(1));
    let args = match EnvironmentArgs::try_parse_from(words) {
        Ok(args) => args,
        Err(error) => return Ok(super::usage(&error)),
    };
    let global = Global {
        config: args.global.config.or_else(|| global.config.clone()),
        verbose: args.global.verbose.max(global.verbose),
    };
    let project = launch::project(&global)?;
    let environment = super::environment_of(&project, &name)?.clone();
    if args.verb == EnvironmentVerb::Stop {
        if !matches!(environment.hosts, Hosts::Embedded(_)) {
            return Err(Fatal::usage(format!(
                "`stop` ends hosts inside rdeploy, and {name} has real ones; nothing was done"
            )));
        }
        let ended = place::stop(&environment, &project.root).await?;
        super::tell(&ended)?;
        return Ok(Outcome::Done.code());
    }
    if args.verb == EnvironmentVerb::Resume && args.rollback.is_some() {
        return Err(Fatal::usage("`resume` goes to the release that the other hosts run")
            .hint("leave out --rollback, or leave out `resume`"));
    }
    let source = match (args.rollback, args.artifact) {
        (_, artifact) if args.verb == EnvironmentVerb::Resume => Source::Resume(artifact),
        (Some(to), _) => to.source(),
        (None, Some(file)) => Source::Artifact(file),
        (None, None) => Source::Build,
    };
    let command = format!("rdeploy {name}");
    launch::launch(Launch {
        environment,
        goal: name,
        command,
        root: project.root,
        source,
        verbose: global.verbose,
    })
    .await
}
