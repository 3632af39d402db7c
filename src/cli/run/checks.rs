//! Owns what is asked before anything is changed: connecting to every host, its own checks, and every
//! problem of every host, told at once.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Run;
use super::ending::Known;
use crate::artifact::Artifact;
use crate::cli::error::with_causes;
use crate::cli::identity::Identity;
use crate::cli::launch::settings;
use crate::cli::place::Place;
use crate::deploy;
use crate::event::EventKind;
use crate::event::Phase;
use crate::event::Wait;
use crate::host::Facts;
use crate::host::HookScript;
use crate::host::Host as _;
use crate::host::HostError;
use crate::host::Session;
use crate::host::Verb;
use crate::ssh;

/// A connected, checked host, or what is wrong with it.
pub(super) type Checked = Result<(Session, Facts), Unfit>;

/// Why a host cannot be deployed to.
#[derive(Debug)]
pub(super) struct Unfit {
    /// How far it came.
    phase: Phase,
    /// Whether nothing was heard of it, so that it may be left out.
    pub(super) unreachable: bool,
    pub(super) error: String,
    hint: Option<String>,
    output: Option<String>,
}

/// What the checks of all hosts came to.
pub(super) enum Checks {
    /// Every host can be deployed to, except those that are left out.
    Fit(Reached),
    /// Some host cannot; what is known of each.
    Unfit(Vec<Known>),
}

/// The hosts that take part: their places in the environment, in its order.
pub(super) struct Reached {
    pub(super) places: Vec<usize>,
    pub(super) sessions: Vec<Session>,
    pub(super) facts: Vec<Facts>,
}

impl Reached {
    /// Each host's name and facts.
    pub(super) fn named(&self) -> Vec<(&str, &Facts)> {
        self.sessions.iter().map(Session::name).zip(&self.facts).collect()
    }
}

/// What a host needs, said when not even the questions could be asked.
const NEEDS: &str = "the host needs a POSIX sh, coreutils (or BusyBox), tar and gzip";

/// How long it is waited for the word of hosts to which nothing is done.
const PARTING_LIMIT: Duration = Duration::from_secs(5);

impl Run<'_> {
    /// Connects to every host at once and has each check itself. Which hosts are left out is decided, and
    /// said, as soon as all have answered or failed to.
    /// Those that are checked when everything else is `ready` are locked in the same breath.
    pub(super) async fn connect(&self, ask: &Arc<dyn ssh::Ask>, ready: &AtomicBool) -> Vec<Checked> {
        let identity = Identity::from_env();
        let hooks = &self.launch.environment.hooks;
        let checks = self.places.all.iter().enumerate().map(|(ordinal, place)| {
            let hooks = deploy::hooks::possible(hooks, &place.host, self.verb());
            self.check(place, ordinal, hooks, (&identity, ask), ready)
        });
        let checked = futures_util::future::join_all(checks).await;
        if !self.is_stopped_by(&checked) {
            self.leave_out(&checked);
        }
        checked
    }

    async fn check(
        &self,
        place: &Place,
        ordinal: usize,
        hooks: Vec<HookScript>,
        (identity, ask): (&Identity, &Arc<dyn ssh::Ask>),
        ready: &AtomicBool,
    ) -> Checked {
        let host = || place.target.name.clone();
        self.events.emit(EventKind::PhaseEntered { host: host(), phase: Phase::Connecting });
        let connection =
            ssh::connect(&place.target, &self.places.settings, ask).await.map_err(|error| Unfit {
                phase: Phase::Connecting,
                unreachable: error.is_unreachable(),
                error: with_causes(&error),
                hint: Some(error.hint()),
                output: None,
            })?;
        self.events.emit(EventKind::HostConnected { host: host() });
        self.events.emit(EventKind::PhaseEntered { host: host(), phase: Phase::Checking });
        let unfit = |error: &dyn Error, output: Option<&str>| Unfit {
            phase: Phase::Checking,
            unreachable: false,
            error: with_causes(error),
            hint: Some(NEEDS.to_owned()),
            output: output.map(str::to_owned),
        };
        let settings = settings(place, ordinal, self.verb(), hooks, identity)
            .map_err(|error| Unfit { hint: None, ..unfit(&error, None) })?;
        let fit = |error: HostError| unfit(&error, error.output());
        let locks = ready.load(Ordering::Relaxed);
        let (session, facts) = Session::start_and_check(connection, settings, locks).await.map_err(fit)?;
        self.events.emit(EventKind::HostWaiting { host: host(), wait: Wait::Start });
        Ok((session, facts))
    }

    /// States every problem of every host that is not left out.
    pub(super) async fn all_checked(&self, checked: Vec<Checked>, artifact: Option<&Artifact>) -> Checks {
        let leaves_out = !self.is_stopped_by(&checked);
        let mut reached = Reached { places: Vec::new(), sessions: Vec::new(), facts: Vec::new() };
        let mut known = Vec::new();
        let gone = checked.iter().filter(|checked| checked.as_ref().is_err_and(|unfit| unfit.unreachable));
        let gone = gone.count();
        for (n, (place, checked)) in self.places.all.iter().zip(checked).enumerate() {
            match checked {
                Ok((session, found)) => {
                    known.push(Known::checked(&found));
                    reached.places.push(n);
                    reached.sessions.push(session);
                    reached.facts.push(found);
                }
                Err(_) if leaves_out => known.push(Known::left_out()),
                Err(Unfit { phase, error, hint, output, unreachable: _ }) => {
                    known.push(Known { phase, live: None });
                    self.failed(&place.target.name, error, hint, output);
                }
            }
        }
        self.judge_policy(gone);
        let named = reached.named();
        let mut fit = leaves_out && self.all_have_a_home(&reached.places);
        fit &= self.has_no_problem(&named, artifact);
        for skew in deploy::skewed_clocks(&named, jiff::Timestamp::now().as_second()) {
            self.events.emit(EventKind::Warned { host: Some(skew.host), text: skew.text });
        }
        // Who goes back is told what the hosts run where that matters.
        if let Some(text) = deploy::differing(&named).filter(|_| self.verb() == Verb::Deploy) {
            self.events.emit(EventKind::Warned { host: None, text });
        }
        for (host, facts) in &named {
            for note in &facts.notes {
                let host = Some((*host).to_owned());
                self.events.emit(EventKind::Noted { host, text: note.clone() });
            }
        }
        if fit {
            return Checks::Fit(reached);
        }
        self.part(&reached.sessions).await;
        Checks::Unfit(known)
    }

    /// Leaves hosts to which nothing is done, and states what they cost. One that does not answer frees its lock by
    /// itself.
    pub(super) async fn part(&self, sessions: impl IntoIterator<Item = &Session> + Clone) {
        let parting = futures_util::future::join_all(sessions.clone().into_iter().map(Session::part));
        tokio::select! {
            _ = parting => {}
            () = tokio::time::sleep(PARTING_LIMIT) => {}
            () = self.stops.abandon.cancelled() => {}
        }
        deploy::tell_traffic(sessions, self.events);
    }

    /// States what keeps these hosts from getting an artifact. Returns whether nothing does.
    pub(super) fn has_no_problem(&self, hosts: &[(&str, &Facts)], artifact: Option<&Artifact>) -> bool {
        let need = artifact.map(|artifact| deploy::Need {
            bytes: artifact.tar_bytes,
            entries: artifact.manifest.entries.len() as u64,
        });
        let problems = deploy::problems(hosts, need);
        for problem in &problems {
            self.failed(&problem.host, problem.text.clone(), None, None);
        }
        problems.is_empty()
    }

    fn failed(&self, host: &str, error: String, hint: Option<String>, output: Option<String>) {
        let host = host.to_owned();
        self.events.emit(EventKind::Failed { host: Some(host.clone()), error, hint, output });
        self.events.emit(EventKind::PhaseEntered { host, phase: Phase::Failed });
    }
}
