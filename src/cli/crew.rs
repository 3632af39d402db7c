//! Owns the hosts of an environment for verbs that run no transaction: reaching all of them, a guardian on
//! each, and all their locks or none.

use std::collections::BTreeSet;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Fatal;
use super::ask::Ask;
use super::error::with_causes;
use super::hosts::HostsArgs;
use super::identity::Identity;
use super::launch;
use super::place::Place;
use super::place::Places;
use crate::config::Environment;
use crate::deploy::Outcome;
use crate::deploy::Patience;
use crate::host::Facts;
use crate::host::Host as _;
use crate::host::HostError;
use crate::host::LockOutcome;
use crate::host::Session;
use crate::host::Verb;
use crate::report;
use crate::ssh;

/// A host that answers, or why it does not.
pub(super) struct Hand {
    /// The name shown for it.
    pub(super) name: String,
    /// Its guardian, which has no lock yet.
    pub(super) session: Result<Session, String>,
}

/// The hosts of an environment. Dropping it ends what runs on them for this command, and frees its locks.
pub(super) struct Crew {
    /// In the environment's order.
    pub(super) hands: Vec<Hand>,
    /// Where they are, in the same order.
    pub(super) places: Places,
}

impl Crew {
    /// Connects to every host at once. A host that cannot be reached is no error yet.
    pub(super) async fn reach(environment: &Environment, root: &Path, verb: Verb) -> Result<Self, Fatal> {
        Self::reach_some(environment, root, verb, &HostsArgs::default()).await
    }

    /// Connects to the hosts that were chosen.
    pub(super) async fn reach_some(
        environment: &Environment,
        root: &Path,
        verb: Verb,
        chosen: &HostsArgs,
    ) -> Result<Self, Fatal> {
        let mut places = Places::open(environment, root)
            .await
            .map_err(|error| Fatal::usage(format!("the embedded hosts could not be started: {error}")))?;
        chosen.keep(&environment.name, &mut places.all, |place| (&place.target.name, &place.host))?;
        let identity = Identity::from_env();
        let ask: Arc<dyn ssh::Ask> = Arc::new(Ask::new(report::Screen::idle()));
        let hands = places.all.iter().enumerate().map(|(ordinal, place)| {
            let (settings, ask, identity) = (&places.settings, &ask, &identity);
            async move {
                let session = session(place, ordinal, verb, settings, identity, ask).await;
                Hand { name: place.target.name.clone(), session }
            }
        });
        let hands = futures_util::future::join_all(hands).await;
        Ok(Self { hands, places })
    }

    /// The hosts, of which each has to be reached.
    pub(super) fn everybody(&self) -> Result<Vec<&Session>, Fatal> {
        let missing = self.missing();
        if missing.is_empty() {
            return Ok(self.hands.iter().filter_map(|hand| hand.session.as_ref().ok()).collect());
        }
        let error = Fatal {
            code: Outcome::Preflight.code(),
            ..Fatal::usage(format!("not every host could be reached; nothing was done\n{}", lines(missing)))
        };
        Err(error)
    }

    /// The hosts that were not reached, and why.
    pub(super) fn missing(&self) -> Vec<(&str, String)> {
        let missing = |hand: &'_ Hand| hand.session.as_ref().err().cloned();
        self.hands.iter().filter_map(|hand| Some((hand.name.as_str(), missing(hand)?))).collect()
    }

    /// Looks at every host at once; each has to answer, and to belong to this environment.
    pub(super) async fn look(&self) -> Result<Vec<Facts>, Fatal> {
        let sessions = self.everybody()?;
        let looks = sessions.iter().map(|session| session.look());
        let looks = futures_util::future::join_all(looks).await;
        let mut facts = Vec::new();
        let mut wrong = Vec::new();
        for (session, look) in sessions.iter().zip(looks) {
            match look {
                Ok(look) => {
                    wrong.extend(look.problems.iter().map(|problem| (session.name(), problem.clone())));
                    facts.push(look);
                }
                Err(error) => wrong.push((session.name(), error.to_string())),
            }
        }
        if wrong.is_empty() { Ok(facts) } else { Err(refusal(Outcome::Preflight, "nothing was done", wrong)) }
    }

    /// Takes every lock, the first host's first, or none. `failed` says what has not happened when they cannot be had.
    pub(super) async fn lock(&self, wait: Option<Duration>, failed: &str) -> Result<(), Fatal> {
        let sessions = self.everybody()?;
        let mut patience = Patience::of(wait);
        let mut told = BTreeSet::new();
        loop {
            let mut refused = Vec::new();
            let mut outcome = Outcome::Locked;
            let mut frozen = false;
            let mut taken = Vec::new();
            let (first, others) = sessions.split_at(sessions.len().min(1));
            for group in [first, others] {
                if !refused.is_empty() {
                    break;
                }
                let locks = futures_util::future::join_all(group.iter().map(|session| session.lock())).await;
                for (session, lock) in group.iter().zip(locks) {
                    match lock {
                        Ok(LockOutcome::Taken(_)) => taken.push(*session),
                        Ok(LockOutcome::Held(owner)) => refused.push((session.name(), owner)),
                        Ok(LockOutcome::Frozen(freeze)) => {
                            frozen = true;
                            refused.push((session.name(), format!("frozen already: {freeze}")));
                        }
                        Err(error) => {
                            outcome = Outcome::Preflight;
                            refused.push((session.name(), error.to_string()));
                        }
                    }
                }
            }
            if refused.is_empty() {
                return Ok(());
            }
            let can_wait = outcome == Outcome::Locked && !frozen;
            let Some(pause) = patience.pause().filter(|_| can_wait) else {
                let why = |(host, text)| (host, format!("{text}{}", patience.in_vain()));
                return Err(refusal(outcome, failed, refused.into_iter().map(why)));
            };
            for (host, owner) in refused {
                say_waiting(&mut told, host, &owner);
            }
            let releases = taken.iter().map(|session| session.release());
            let releases = futures_util::future::join_all(releases).await;
            let lost = taken.iter().zip(releases).filter_map(|(session, released)| {
                let error = released.err()?;
                Some((session.name(), error.to_string()))
            });
            let lost: Vec<_> = lost.collect();
            if !lost.is_empty() {
                return Err(refusal(Outcome::Preflight, failed, lost));
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Ends what was started for it.
    pub(super) async fn close(self) {
        drop(self.hands);
        self.places.close().await;
    }
}

/// Runs a verb's work until it ends or the user stops it. What is left then is freed by the guardians.
pub(super) async fn until_stopped(work: impl Future<Output = Result<u8, Fatal>>) -> Result<u8, Fatal> {
    let cancel = CancellationToken::new();
    launch::cancel_on_signal(&cancel);
    tokio::select! {
        ended = work => ended,
        () = cancel.cancelled() => Err(Fatal {
            code: Outcome::Interrupted.code(),
            ..Fatal::usage("stopped; what had not been done yet was left as it was, and no lock is kept")
        }),
    }
}

/// Takes one host's lock, waiting for whoever has it. Those who wait hold no other.
pub(super) async fn lock_one(session: &Session, wait: Option<Duration>) -> Result<LockOutcome, HostError> {
    let mut patience = Patience::of(wait);
    let mut told = BTreeSet::new();
    loop {
        let held = match session.lock().await? {
            LockOutcome::Held(owner) => owner,
            other => return Ok(other),
        };
        match patience.pause() {
            Some(pause) => {
                say_waiting(&mut told, session.name(), &held);
                tokio::time::sleep(pause).await;
            }
            None => return Ok(LockOutcome::Held(format!("{held}{}", patience.in_vain()))),
        }
    }
}

/// Says, once, for whom it is waited.
fn say_waiting(told: &mut BTreeSet<String>, host: &str, owner: &str) {
    let text = format!("waiting for the lock of {host}: {owner}");
    if told.insert(text.clone()) {
        report::note(&text);
    }
}

/// An error about several hosts, one a line.
pub(super) fn refusal<'a>(
    outcome: Outcome,
    what: &str,
    hosts: impl IntoIterator<Item = (&'a str, String)>,
) -> Fatal {
    Fatal { code: outcome.code(), ..Fatal::usage(format!("{what}\n{}", lines(hosts))) }
}

fn lines<'a>(hosts: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let line = |(host, text): (&str, String)| format!("  {host}: {text}");
    hosts.into_iter().map(line).collect::<Vec<_>>().join("\n")
}

async fn session(
    place: &Place,
    ordinal: usize,
    verb: Verb,
    settings: &ssh::Settings,
    identity: &Identity,
    ask: &Arc<dyn ssh::Ask>,
) -> Result<Session, String> {
    let connection = ssh::connect(&place.target, settings, ask)
        .await
        .map_err(|error| format!("{}; {}", with_causes(&error), error.hint()))?;
    let settings =
        launch::settings(place, ordinal, verb, Vec::new(), identity).map_err(|error| error.to_string())?;
    Session::start(connection, settings).await.map_err(|error| with_causes(&error))
}
