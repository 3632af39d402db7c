//! Owns what is asked before anything is changed: connecting to every host, its own checks, and every
//! problem of every host, told at once.

use std::error::Error;
use std::sync::Arc;

use super::Run;
use super::ending::Known;
use crate::artifact::Artifact;
use crate::cli::identity::Identity;
use crate::cli::launch::settings;
use crate::cli::place::Place;
use crate::deploy;
use crate::event::EventKind;
use crate::event::Phase;
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
    error: String,
    hint: Option<String>,
    output: Option<String>,
}

/// What the checks of all hosts came to.
pub(super) enum Checks {
    /// Every host can be deployed to.
    Fit(Vec<Session>, Vec<Facts>),
    /// Some host cannot; what is known of each.
    Unfit(Vec<Known>),
}

/// What a host needs, said when not even the questions could be asked.
const NEEDS: &str = "the host needs a POSIX sh, coreutils (or BusyBox), tar and gzip";

impl Run<'_> {
    /// Connects to every host at once and has each check itself.
    pub(super) async fn connect(&self, ask: &Arc<dyn ssh::Ask>) -> Vec<Checked> {
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
        let connection =
            ssh::connect(&place.target, &self.places.settings, ask).await.map_err(|error| Unfit {
                phase: Phase::Connecting,
                error: with_causes(&error),
                hint: Some(error.hint()),
                output: None,
            })?;
        self.events.emit(EventKind::HostConnected { host: host() });
        self.events.emit(EventKind::PhaseEntered { host: host(), phase: Phase::Checking });
        let unfit = |error: &dyn Error, output: Option<&str>| Unfit {
            phase: Phase::Checking,
            error: with_causes(error),
            hint: Some(NEEDS.to_owned()),
            output: output.map(str::to_owned),
        };
        let settings = settings(place, ordinal, self.verb(), hooks, identity)
            .map_err(|error| Unfit { hint: None, ..unfit(&error, None) })?;
        let fit = |error: HostError| unfit(&error, error.output());
        let session = Session::start(connection, settings).await.map_err(fit)?;
        let facts = session.preflight().await.map_err(fit)?;
        Ok((session, facts))
    }

    /// States every problem of every host.
    pub(super) fn all_checked(&self, checked: Vec<Checked>, artifact: Option<&Artifact>) -> Checks {
        let mut sessions = Vec::new();
        let mut facts = Vec::new();
        let mut known = Vec::new();
        let mut fit = true;
        for (place, checked) in self.places.all.iter().zip(checked) {
            match checked {
                Ok((session, found)) => {
                    known.push(Known::checked(&found));
                    sessions.push(session);
                    facts.push(found);
                }
                Err(Unfit { phase, error, hint, output }) => {
                    fit = false;
                    known.push(Known { phase, live: None });
                    self.failed(&place.target.name, error, hint, output);
                }
            }
        }
        let named: Vec<(&str, &Facts)> = sessions.iter().map(Session::name).zip(&facts).collect();
        let need = artifact.map(|artifact| deploy::Need {
            bytes: artifact.tar_bytes,
            entries: artifact.manifest.entries.len() as u64,
        });
        for problem in deploy::problems(&named, need) {
            fit = false;
            self.failed(&problem.host, problem.text, None, None);
        }
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
        if fit { Checks::Fit(sessions, facts) } else { Checks::Unfit(known) }
    }

    fn failed(&self, host: &str, error: String, hint: Option<String>, output: Option<String>) {
        let host = host.to_owned();
        self.events.emit(EventKind::Failed { host: Some(host.clone()), error, hint, output });
        self.events.emit(EventKind::PhaseEntered { host, phase: Phase::Failed });
    }
}

/// An error and what caused it, in one sentence; a cause that is in the sentence already is not repeated.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        let said = source.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = source.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot connect to web1")]
    struct Outer(#[source] io::Error);

    #[test]
    fn a_cause_is_said_once() {
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(with_causes(&Outer(refused())), "cannot connect to web1: connection refused");
        assert_eq!(with_causes(&refused()), "connection refused");
    }
}
