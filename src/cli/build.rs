//! `rdeploy build`: makes the artifact and nothing else.

use std::path::Path;
use std::path::PathBuf;

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::Fatal;
use super::Global;
use super::launch;
use super::release_source;
use super::release_source::NoArtifact;
use crate::artifact;
use crate::artifact::Artifact;
use crate::config;
use crate::config::Environment;
use crate::deploy::Outcome;
use crate::event::EventKind;
use crate::event::Events;

/// Arguments of `rdeploy build`.
#[derive(Args, Debug)]
pub(super) struct BuildArgs {
    /// Environment whose local hooks and linked paths apply (default: the only one, or the first by name)
    #[arg(long, value_name = "ENVIRONMENT")]
    env: Option<String>,
    /// Also copy the artifact to this file, for `--artifact` later
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) async fn run(global: &Global, args: BuildArgs) -> Result<u8, Fatal> {
    let project = launch::project(global)?;
    let environment = choose(&project, args.env.as_deref())?;
    let screen = launch::Screen::open_beside_result(global.verbose, &environment.name)?;
    let cancel = CancellationToken::new();
    launch::cancel_on_signal(&cancel);
    let made = made(environment, &project.root, &screen.events, &cancel).await;
    let made = made.inspect_err(|error| release_source::state(error, &screen.events));
    screen.close().await;
    let artifact = match made {
        Ok(artifact) => artifact,
        Err(NoArtifact::Cancelled) => return Ok(Outcome::Interrupted.code()),
        Err(NoArtifact::Failed { .. }) => return Ok(Outcome::Usage.code()),
    };
    let path = match args.output {
        None => artifact.path,
        Some(to) => {
            artifact::save(&artifact, &to).map_err(Fatal::usage)?;
            to
        }
    };
    super::tell(&path.display().to_string())?;
    Ok(Outcome::Done.code())
}

/// Makes the artifact, up to its being in the cache.
async fn made(
    environment: &Environment,
    root: &Path,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<Artifact, NoArtifact> {
    let artifact = release_source::build(environment, root, events, cancel).await?;
    if artifact.compressed_bytes().is_none() {
        let compressed = release_source::stored(&artifact).await?;
        events.emit(EventKind::ArtifactStored { compressed });
    }
    Ok(artifact)
}

fn choose<'a>(project: &'a config::Project, name: Option<&str>) -> Result<&'a Environment, Fatal> {
    match name {
        Some(name) => super::environment_of(project, name),
        None => project
            .environments
            .values()
            .next()
            .ok_or_else(|| Fatal::usage("deploy.toml has no environment").hint("add one: [env.stage]")),
    }
}
