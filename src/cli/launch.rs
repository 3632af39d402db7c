//! Owns a run from its beginning to its exit code: the screen, the signals, the build beside the
//! connecting, the checks, the transaction, the summary.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::Fatal;
use super::Global;
use super::ask::Ask;
use super::identity;
use super::identity::Identity;
use super::place::Place;
use super::place::Places;
use super::release_source;
use super::release_source::NoArtifact;
use crate::artifact::Artifact;
use crate::config;
use crate::config::Environment;
use crate::config::Project;
use crate::deploy;
use crate::deploy::Fleet;
use crate::deploy::Job;
use crate::deploy::Member;
use crate::deploy::Outcome;
use crate::deploy::Report;
use crate::deploy::RollbackProblem;
use crate::deploy::Stops;
use crate::deploy::Transaction;
use crate::event::EventKind;
use crate::event::Events;
use crate::event::HostSummary;
use crate::event::Phase;
use crate::event::Summary;
use crate::host::Facts;
use crate::host::HookScript;
use crate::host::Host as _;
use crate::host::Session;
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
}

/// A deploy or rollback to be run.
#[derive(Debug)]
pub(super) struct Launch {
    pub(super) environment: Environment,
    /// The project's root.
    pub(super) root: PathBuf,
    pub(super) source: Source,
    pub(super) verbose: u8,
}

/// Where events go: the reporter and the log file.
pub(super) struct Screen {
    pub(super) events: Events,
    reporter: report::ReporterHandle,
}

impl Screen {
    /// Opens the log of a run and starts reporting.
    pub(super) fn open(verbose: u8, environment: &str) -> Result<Self, Fatal> {
        Self::open_as(verbose, environment, |options| options)
    }

    /// The same, with standard output kept for a result.
    pub(super) fn open_beside_result(verbose: u8, environment: &str) -> Result<Self, Fatal> {
        Self::open_as(verbose, environment, report::Options::with_result_on_stdout)
    }

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
    let screen = Screen::open(launch.verbose, &launch.environment.name)?;
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
        environment: place.environment.clone(),
        host: place.target.name.clone(),
        roles: place.host.roles.as_ref().map(|roles| roles.iter().cloned().collect()),
        ordinal,
        verb,
        token: identity::token()?,
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

struct Run<'a> {
    launch: &'a Launch,
    places: &'a Places,
    events: &'a Events,
    stops: &'a Stops,
}

/// A connected, checked host, or what is wrong with it.
type Checked = Result<(Session, Facts), (String, Option<String>)>;

impl Run<'_> {
    fn verb(&self) -> Verb {
        match self.launch.source {
            Source::Rollback(_) => Verb::Rollback,
            Source::Build | Source::Artifact(_) => Verb::Deploy,
        }
    }

    async fn run(&self, screen: report::Screen) -> Summary {
        self.events.emit(EventKind::RunStarted {
            verb: self.verb().name().to_owned(),
            app: self.launch.environment.app.clone(),
            environment: self.launch.environment.name.clone(),
            hosts: self.places.all.iter().map(|place| place.target.name.clone()).collect(),
        });
        let started = Instant::now();
        let build_stop = self.stops.cancel.child_token();
        let ask: Arc<dyn ssh::Ask> = Arc::new(Ask::new(screen));
        let connect = async {
            let checked = self.connect(&ask).await;
            if checked.iter().any(Result::is_err) {
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
        if self.stops.cancel.is_cancelled() {
            self.events.emit(EventKind::Interrupted);
            return self.ended(Outcome::Interrupted, Vec::new());
        }
        let Some((sessions, facts)) = self.all_checked(checked, made.as_ref().ok().and_then(Option::as_ref))
        else {
            return self.ended(Outcome::Preflight, Vec::new());
        };
        let artifact = match made {
            Ok(artifact) => artifact,
            Err(error) => {
                release_source::state(&error, self.events);
                return self.ended(Outcome::Usage, facts);
            }
        };
        self.transact(sessions, facts, artifact.as_ref(), built).await
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
            (None, _) => return self.ended(Outcome::Usage, facts),
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

    async fn connect(&self, ask: &Arc<dyn ssh::Ask>) -> Vec<Checked> {
        let identity = Identity::from_env();
        let schedule = self.schedule();
        let hosts = self.places.all.iter().zip(schedule).enumerate();
        let checks = hosts.map(|(ordinal, (place, hooks))| self.check(place, ordinal, hooks, &identity, ask));
        futures_util::future::join_all(checks).await
    }

    async fn check(
        &self,
        place: &Place,
        ordinal: usize,
        hooks: Vec<HookScript>,
        identity: &Identity,
        ask: &Arc<dyn ssh::Ask>,
    ) -> Checked {
        let host = || place.target.name.clone();
        self.events.emit(EventKind::PhaseEntered { host: host(), phase: Phase::Connecting });
        let connection = ssh::connect(&place.target, &self.places.settings, ask)
            .await
            .map_err(|error| (error.to_string(), Some(error.hint())))?;
        self.events.emit(EventKind::HostConnected { host: host() });
        self.events.emit(EventKind::PhaseEntered { host: host(), phase: Phase::Checking });
        let settings = settings(place, ordinal, self.verb(), hooks, identity)
            .map_err(|error| (format!("no random bytes: {error}"), None))?;
        let unfit = "the host needs a POSIX sh, coreutils (or BusyBox), tar and gzip";
        let fit = |error: crate::host::HostError| {
            let output = error.output().map(|output| format!("\n{output}")).unwrap_or_default();
            (format!("{error}{output}"), Some(unfit.to_owned()))
        };
        let session = Session::start(connection, settings).await.map_err(fit)?;
        let facts = session.preflight().await.map_err(fit)?;
        Ok((session, facts))
    }

    /// States every problem of every host; returns the hosts if there is none.
    fn all_checked(
        &self,
        checked: Vec<Checked>,
        artifact: Option<&Artifact>,
    ) -> Option<(Vec<Session>, Vec<Facts>)> {
        let mut sessions = Vec::new();
        let mut facts = Vec::new();
        let mut fine = true;
        for (place, checked) in self.places.all.iter().zip(checked) {
            match checked {
                Ok((session, found)) => {
                    sessions.push(session);
                    facts.push(found);
                }
                Err((error, hint)) => {
                    fine = false;
                    self.failed(&place.target.name, error, hint);
                }
            }
        }
        let named: Vec<(&str, &Facts)> = sessions.iter().map(Session::name).zip(&facts).collect();
        let need = artifact.map(|artifact| deploy::Need {
            bytes: artifact.tar_bytes,
            entries: artifact.manifest.entries.len() as u64,
        });
        for problem in deploy::problems(&named, need) {
            fine = false;
            self.failed(&problem.host, problem.text, None);
        }
        for skew in deploy::skewed_clocks(&named, jiff::Timestamp::now().as_second()) {
            self.events.emit(EventKind::Warned { host: Some(skew.host), text: skew.text });
        }
        for (host, facts) in &named {
            for note in &facts.notes {
                let host = Some((*host).to_owned());
                self.events.emit(EventKind::Noted { host, text: note.clone() });
            }
        }
        fine.then_some((sessions, facts))
    }

    fn failed(&self, host: &str, error: String, hint: Option<String>) {
        let host = host.to_owned();
        self.events.emit(EventKind::Failed { host: Some(host.clone()), error, hint, output: None });
        self.events.emit(EventKind::PhaseEntered { host, phase: Phase::Failed });
    }

    fn rollback_to(&self, facts: &[Facts], wanted: Option<ReleaseId>) -> Result<ReleaseId, Summary> {
        let named: Vec<(&str, &Facts)> =
            self.places.all.iter().map(|place| place.target.name.as_str()).zip(facts).collect();
        deploy::rollback_release(&named, wanted).map_err(|problem| {
            let environment = &self.launch.environment.name;
            if let RollbackProblem::Live(_) = problem {
                self.events.emit(EventKind::Noted { host: None, text: problem.to_string() });
                return Summary {
                    headline: format!("{environment} was left as it is"),
                    ..self.ended(Outcome::Done, facts.to_vec())
                };
            }
            let hint = format!("name the release: rdeploy {environment} --rollback=ID");
            let error = problem.to_string();
            self.events.emit(EventKind::Failed { host: None, error, hint: Some(hint), output: None });
            self.ended(Outcome::Preflight, facts.to_vec())
        })
    }

    /// The summary of a run that touched no host.
    fn ended(&self, outcome: Outcome, facts: Vec<Facts>) -> Summary {
        let lives = facts.iter().map(Facts::live_name).chain(std::iter::repeat(None));
        let hosts = self.places.all.iter().zip(lives).map(|(place, live)| HostSummary {
            host: place.target.name.clone(),
            phase: Phase::Checking,
            live,
        });
        let hosts = hosts.collect();
        self.summary(Report { outcome, release: None, hosts, timings: Vec::new() })
    }

    fn summary(&self, report: Report) -> Summary {
        let environment = &self.launch.environment.name;
        let verb = self.verb().name();
        let of = match self.verb() {
            Verb::Rollback => format!("of {environment}"),
            Verb::Deploy | Verb::Stop => format!("to {environment}"),
        };
        let release = report.release.map(|id| format!(" {id}")).unwrap_or_default();
        let headline = match (report.outcome, self.verb()) {
            (Outcome::Done, Verb::Rollback) => format!("rolled {environment} back to{release}"),
            (Outcome::Done, _) => format!("deployed{release} to {environment}"),
            (Outcome::Usage, _) => "the build failed".to_owned(),
            (Outcome::Preflight | Outcome::Locked, _) => format!("the {verb} {of} did not start"),
            (Outcome::FailedRestored, _) => format!("the {verb} {of} failed and was put back"),
            (Outcome::FailedStuck, _) => format!("the {verb} {of} failed and could not be put back"),
            (Outcome::Unconfirmed, _) => format!("the {verb} {of} ended without the word of every host"),
            (Outcome::Interrupted, _) => format!("the {verb} {of} was stopped"),
        };
        Summary { headline, exit_code: report.outcome.code(), hosts: report.hosts, timings: report.timings }
    }
}
