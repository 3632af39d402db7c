//! Owns where the artifact of a run comes from: local hooks, build and packing, or a file made earlier.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::artifact;
use crate::artifact::Artifact;
use crate::artifact::Cache;
use crate::artifact::local::LocalCommand;
use crate::config::Environment;
use crate::config::Hook;
use crate::event::EventKind;
use crate::event::Events;

/// Why there is no artifact.
#[derive(Debug)]
pub(super) enum NoArtifact {
    /// The user stopped it, or it was stopped because the hosts cannot be deployed to anyway.
    Cancelled,
    /// A command or the packing failed.
    Failed {
        /// What a person reads.
        error: String,
        /// What to do next.
        hint: String,
    },
}

/// Runs the local hooks and the build, and packs the result.
pub(super) async fn build(
    environment: &Environment,
    root: &Path,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<Artifact, NoArtifact> {
    let mut hook_env = environment.vars.clone();
    hook_env.insert("RDEPLOY_ENV".to_owned(), environment.name.clone());
    hooks(&environment.hooks.before_build, root, &hook_env, events, cancel).await?;
    for command in &environment.build.run {
        // The same artifact goes to every environment, so that the build sees none of their variables.
        local(command, root.to_owned(), &BTreeMap::new(), None, events, cancel).await?;
    }
    hooks(&environment.hooks.after_build, root, &hook_env, events, cancel).await?;
    pack(environment, root, events, cancel).await
}

async fn hooks(
    hooks: &[Hook],
    root: &Path,
    env: &BTreeMap<String, String>,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<(), NoArtifact> {
    for hook in hooks {
        let dir = hook.dir.as_ref().map_or_else(|| root.to_owned(), |dir| root.join(dir));
        local(&hook.run, dir, env, Some(hook.timeout), events, cancel).await?;
    }
    Ok(())
}

async fn local(
    command: &str,
    dir: PathBuf,
    env: &BTreeMap<String, String>,
    timeout: Option<Duration>,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<(), NoArtifact> {
    let command = LocalCommand { command: command.to_owned(), dir, env: env.clone(), timeout };
    let ran = artifact::local::run(&command, events, cancel).await;
    ran.map_err(|error| {
        if cancel.is_cancelled() {
            return NoArtifact::Cancelled;
        }
        let hint = "mend the command and try again; nothing was changed on any host";
        NoArtifact::Failed { error: error.to_string(), hint: hint.to_owned() }
    })
}

async fn pack(
    environment: &Environment,
    root: &Path,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<Artifact, NoArtifact> {
    let (environment, root, events, cancel) =
        (environment.clone(), root.to_owned(), events.clone(), cancel.clone());
    blocking(move || {
        let cache = cache()?;
        let linked = environment.linked_dirs.iter().chain(&environment.linked_files).cloned().collect();
        let request =
            artifact::PackRequest { root: &root, build: &environment.build, linked, cache: &cache, cancel };
        artifact::pack(&request, &events).map_err(|error| {
            if error.is_canceled() {
                return NoArtifact::Cancelled;
            }
            failed(&error, "nothing was changed on any host")
        })
    })
    .await
}

/// Waits until the artifact is in the cache.
pub(super) async fn stored(artifact: &Artifact) -> Result<u64, NoArtifact> {
    artifact.storing.finished().await.map_err(|failure| {
        if failure.is_canceled() {
            return NoArtifact::Cancelled;
        }
        failed(&failure, "nothing was changed on any host")
    })
}

/// Opens an artifact made earlier.
pub(super) async fn open(
    file: &Path,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<Artifact, NoArtifact> {
    let (file, events, cancel) = (file.to_owned(), events.clone(), cancel.clone());
    blocking(move || {
        let cache = cache()?;
        artifact::open(&file, &cache, &events, &cancel).map_err(|error| {
            if cancel.is_cancelled() {
                return NoArtifact::Cancelled;
            }
            failed(&error, "make the artifact anew with `rdeploy build -o FILE`")
        })
    })
    .await
    .inspect(|artifact| {
        tracing::debug!(digest = %artifact.digest, "artifact opened");
    })
}

/// The artifact with this digest, if it is in the cache and undamaged.
pub(super) async fn cached(digest: &str) -> Option<Artifact> {
    let digest = digest.parse().ok()?;
    let found = tokio::task::spawn_blocking(move || cache().ok()?.get(&digest));
    found.await.ok().flatten()
}

fn cache() -> Result<Cache, NoArtifact> {
    Cache::default_for_user()
        .map_err(|error| failed(&error, "set RDEPLOY_CACHE_DIR to a directory that can be written to"))
}

fn failed(error: &dyn std::error::Error, hint: &str) -> NoArtifact {
    NoArtifact::Failed { error: error.to_string(), hint: hint.to_owned() }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, NoArtifact> + Send + 'static,
) -> Result<T, NoArtifact> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|panic| {
        Err(NoArtifact::Failed {
            error: format!("packing stopped unexpectedly: {panic}"),
            hint: "this is a bug in rdeploy; please report it".to_owned(),
        })
    })
}

/// States why there is no artifact, unless it was stopped.
pub(super) fn state(no_artifact: &NoArtifact, events: &Events) {
    if let NoArtifact::Failed { error, hint } = no_artifact {
        events.emit(EventKind::Failed {
            host: None,
            error: error.clone(),
            hint: Some(hint.clone()),
            output: None,
        });
    }
}
