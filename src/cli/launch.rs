//! Owns what a run needs around it: the screen, the signals, the hosts; from the arguments to the exit
//! code. What happens in between is in `run`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Fatal;
use super::Global;
use super::ask::Ask;
use super::identity::Identity;
use super::place::Place;
use super::place::Places;
use super::run::Run;
use crate::config;
use crate::config::Environment;
use crate::config::Project;
use crate::deploy::Stops;
use crate::event::EventKind;
use crate::event::Events;
use crate::host::HookScript;
use crate::host::SessionSettings;
use crate::host::Verb;
use crate::release::ReleaseId;
use crate::report;
use crate::ssh;

/// How long putting back may take once a CI system has asked to stop: it kills what takes longer.
const CI_REVERT_LIMIT: Duration = Duration::from_secs(7);

/// What is made live.
#[derive(Debug)]
pub(super) enum Source {
    /// What the build makes.
    Build,
    /// An artifact made earlier.
    Artifact(PathBuf),
    /// The release that was live before, or the one named.
    Rollback(Option<ReleaseId>),
    /// What most hosts run already, for those that were left behind; its artifact, where it is given.
    Resume(Option<PathBuf>),
}

/// A deploy or rollback to be run.
#[derive(Debug)]
pub(super) struct Launch {
    pub(super) environment: Environment,
    /// What it is called where a person reads it: an environment's name, or a one-off's directory.
    pub(super) goal: String,
    /// What to type before `--rollback=ID`.
    pub(super) command: String,
    /// The project's root.
    pub(super) root: PathBuf,
    pub(super) source: Source,
    /// How long to wait for a lock that somebody else holds.
    pub(super) wait: Option<Duration>,
    /// Where the page of timings goes.
    pub(super) timings: Option<PathBuf>,
    pub(super) verbose: u8,
}

/// Where events go: the reporter and the log file.
pub(super) struct Screen {
    pub(super) events: Events,
    reporter: report::ReporterHandle,
}

impl Screen {
    /// Opens the log of a run and starts reporting, with standard output kept for a result.
    pub(super) fn open_beside_result(verbose: u8, environment: &str) -> Result<Self, Fatal> {
        Self::open_as(verbose, environment, report::Options::with_result_on_stdout)
    }

    /// Opens the log of a run and starts reporting.
    fn open_as(
        verbose: u8,
        environment: &str,
        change: impl FnOnce(report::Options) -> report::Options,
    ) -> Result<Self, Fatal> {
        let hint = "set RDEPLOY_STATE_DIR to a directory that can be written to";
        let state = report::state_dir()
            .ok_or_else(|| Fatal::usage("no directory for the log is known: HOME is not set").hint(hint))?;
        let log = report::new_log_path(&state, environment).map_err(|error| {
            Fatal::usage(format!("the log cannot be written in {}: {error}", state.display())).hint(hint)
        })?;
        report::trace(verbose, &log);
        let (events, receiver) = Events::channel();
        let reporter = report::spawn(change(report::Options::detect(verbose, log)), receiver);
        Ok(Self { events, reporter })
    }

    /// Waits until everything is shown.
    pub(super) async fn close(self) {
        drop(self.events);
        self.reporter.finish().await;
    }
}

/// Loads the project.
pub(super) fn project(global: &Global) -> Result<Project, Fatal> {
    let cwd = std::env::current_dir()
        .map_err(|error| Fatal::usage(format!("the working directory cannot be read: {error}")))?;
    config::load(global.config.as_deref(), &cwd)
        .map_err(|error| Fatal::configuration(error.render(report::Options::wants_color_on_stderr())))
}

/// Cancels at SIGINT, SIGTERM or SIGHUP.
pub(super) fn cancel_on_signal(cancel: &CancellationToken) {
    stop_on_signals(&Stops { cancel: cancel.clone(), ..Stops::default() });
}

/// The first signal cancels, the second abandons.
fn stop_on_signals(stops: &Stops) {
    use tokio::signal::unix::SignalKind;
    use tokio::signal::unix::signal;
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    for kind in kinds {
        // A process that cannot listen for signals is ended by them, as any other.
        let Ok(mut signals) = signal(kind) else { continue };
        let stops = stops.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                if stops.cancel.is_cancelled() {
                    stops.abandon.cancel();
                }
                stops.cancel.cancel();
            }
        });
    }
}

/// Runs it. Returns the exit code.
pub(super) async fn launch(launch: Launch) -> Result<u8, Fatal> {
    // Before anything else is done: what cannot be kept is not promised.
    let timings =
        launch.timings.as_deref().map(report::TimingsFile::check).transpose().map_err(Fatal::usage)?;
    let with_timings = |options: report::Options| options.with_timings(timings);
    let screen = Screen::open_as(launch.verbose, &launch.environment.name, with_timings)?;
    let stops = Stops { revert_limit: report::is_ci().then_some(CI_REVERT_LIMIT), ..Stops::default() };
    stop_on_signals(&stops);
    let opened = Places::open(&launch.environment, &launch.root).await;
    let places = match opened {
        Ok(places) => places,
        Err(error) => {
            screen.close().await;
            return Err(Fatal::usage(format!("the embedded hosts could not be started: {error}")));
        }
    };
    let run = Run { launch: &launch, places: &places, events: &screen.events, stops: &stops };
    let summary = run.run(screen.reporter.screen()).await;
    let code = summary.exit_code;
    screen.events.emit(EventKind::RunFinished { summary });
    screen.close().await;
    places.close().await;
    Ok(code)
}

/// What a guardian on `place` needs to know.
pub(super) fn settings(
    place: &Place,
    ordinal: usize,
    verb: Verb,
    hooks: Vec<HookScript>,
    identity: &Identity,
) -> Result<SessionSettings, getrandom::Error> {
    Ok(SessionSettings {
        environment: Arc::clone(&place.environment),
        host: place.target.name.clone(),
        roles: place.host.roles.as_ref().map(|roles| roles.iter().cloned().collect()),
        ordinal,
        verb,
        token: identity.token.clone()?,
        owner: identity.who.clone(),
        from: identity.from.clone(),
        ci_url: identity.ci_url.clone(),
        host_vars: place.vars.clone(),
        hooks,
    })
}

impl ssh::Ask for Ask {
    fn accept_host_key(&self, host: &str, algorithm: &str, fingerprint: &str) -> Option<bool> {
        Self::accept_host_key(self, host, algorithm, fingerprint)
    }

    fn passphrase(&self, key: &std::path::Path) -> Option<zeroize::Zeroizing<String>> {
        Self::passphrase(self, key)
    }
}
