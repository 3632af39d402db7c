//! Owns what `unlock` and `recover` share: settling what a dead attempt left on a host, a row of the table
//! a host, and the judgement over all of them.

use std::time::Duration;

use super::Fatal;
use super::crew;
use crate::deploy;
use crate::deploy::Outcome;
use crate::deploy::Split;
use crate::host::Facts;
use crate::host::Host as _;
use crate::host::HostError;
use crate::host::LockOutcome;
use crate::host::Session;
use crate::host::Undone;
use crate::report;

/// What was found on a host and what was done about it.
#[derive(Debug)]
pub(super) struct Settled {
    /// The host.
    pub(super) host: String,
    /// What was found there.
    pub(super) found: Vec<String>,
    /// What was done about it.
    pub(super) done: Vec<String>,
    /// How it stands now, where that is known.
    pub(super) facts: Option<Facts>,
    /// What is wrong there still.
    pub(super) trouble: Option<Trouble>,
}

/// What is wrong with a host after all that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Somebody alive has its lock.
    Held(String),
    /// It could not be put back.
    Stuck(String),
    /// It did not answer, or not to the end.
    Unknown(String),
}

impl Settled {
    /// A host of which only what is wrong is known.
    pub(super) fn troubled(host: &str, trouble: Trouble) -> Self {
        Self {
            host: host.to_owned(),
            found: Vec::new(),
            done: Vec::new(),
            facts: None,
            trouble: Some(trouble),
        }
    }

    /// A host as it was found.
    pub(super) fn found(host: &str, found: Vec<String>, facts: Facts) -> Self {
        Self { host: host.to_owned(), found, done: Vec::new(), facts: Some(facts), trouble: None }
    }

    fn row(&self) -> Vec<String> {
        let or = |words: &[String], otherwise: &str| match words {
            [] => otherwise.to_owned(),
            words => words.join("; "),
        };
        let done = match &self.trouble {
            None => or(&self.done, "nothing to do"),
            Some(Trouble::Held(_)) => or(&self.done, "left alone"),
            Some(Trouble::Stuck(_)) => or(&self.done, "could not be put back"),
            Some(Trouble::Unknown(_)) => or(&self.done, "not known"),
        };
        let found = match &self.trouble {
            Some(Trouble::Held(_)) => or(&self.found, "locked"),
            Some(Trouble::Unknown(_)) => or(&self.found, "not known"),
            _ => or(&self.found, "nothing"),
        };
        let live = self.facts.as_ref().map_or_else(|| "not known".to_owned(), Facts::live_shown);
        vec![self.host.clone(), found, done, live]
    }
}

/// Takes a host's lock over from whoever died with it, has what is left there undone or finished, lifts a
/// freeze where that is asked for, and frees the lock.
pub(super) async fn settle(session: &Session, wait: Option<Duration>, thaw: bool) -> Settled {
    let host = session.name();
    let facts = match crew::lock_one(session, wait).await {
        Ok(LockOutcome::Taken(facts)) => facts,
        Ok(LockOutcome::Held(owner) | LockOutcome::Frozen(owner)) => {
            return Settled::troubled(host, Trouble::Held(owner));
        }
        // It was heard and answered: what is left there cannot be ended.
        Err(HostError::Refused { reason, .. }) => return Settled::troubled(host, Trouble::Stuck(reason)),
        Err(error) => return Settled::troubled(host, Trouble::Unknown(error.to_string())),
    };
    let mut settled = Settled::found(host, Vec::new(), facts);
    settled.note_attempts();
    if thaw {
        match session.thaw().await {
            Ok(Some(freeze)) => {
                settled.found.push(format!("frozen: {freeze}"));
                settled.done.push("freeze lifted".to_owned());
            }
            Ok(None) => {}
            Err(error) => settled.trouble = Some(Trouble::Unknown(error.to_string())),
        }
    }
    if let Err(error) = session.leave().await {
        settled.trouble.get_or_insert(Trouble::Unknown(error.to_string()));
    }
    settled
}

impl Settled {
    /// Puts the dead attempts that were settled here into words.
    fn note_attempts(&mut self) {
        let Some(facts) = &self.facts else { return };
        for attempt in &facts.settled {
            self.found.push(format!("{}, which had died", attempt.what));
            self.done.push(match &attempt.undone {
                Undone::Reverted => "put back".to_owned(),
                Undone::Committed => "finished: it had committed".to_owned(),
                Undone::Failed(reason) => {
                    self.trouble = Some(Trouble::Stuck(reason.clone()));
                    "could not be put back".to_owned()
                }
            });
        }
        if facts.settled.is_empty() && facts.undone.is_some() {
            self.found.push("an attempt that had died before it changed anything".to_owned());
            self.done.push("removed".to_owned());
        }
    }
}

/// Shows what was found and done as a table, and judges how the environment stands now.
pub(super) fn conclude(environment: &str, hosts: &[Settled]) -> Result<u8, Fatal> {
    let head = ["host", "found", "done", "live release"];
    super::tell(&report::table(&head, hosts.iter().map(Settled::row)))?;
    judge(environment, hosts)
}

fn judge(environment: &str, hosts: &[Settled]) -> Result<u8, Fatal> {
    let troubled = |wanted: fn(&Trouble) -> Option<&String>| -> Vec<(&str, String)> {
        let host = |host: &'_ Settled| Some(wanted(host.trouble.as_ref()?)?.clone());
        hosts.iter().filter_map(|one| Some((one.host.as_str(), host(one)?))).collect()
    };
    let stuck = troubled(|trouble| match trouble {
        Trouble::Stuck(reason) => Some(reason),
        _ => None,
    });
    if !stuck.is_empty() {
        let hint = "these hosts need a person: see .rdeploy/revert-failed.log under deploy_to on them";
        return Err(crew::refusal(Outcome::FailedStuck, "not everything could be put back", stuck).hint(hint));
    }
    let unknown = troubled(|trouble| match trouble {
        Trouble::Unknown(reason) => Some(reason),
        _ => None,
    });
    if !unknown.is_empty() {
        let what = "it is not known how some hosts stand";
        let hint = format!("look at them, then run `rdeploy {environment} recover`");
        return Err(crew::refusal(Outcome::Unconfirmed, what, unknown).hint(hint));
    }
    let held = troubled(|trouble| match trouble {
        Trouble::Held(owner) => Some(owner),
        _ => None,
    });
    if !held.is_empty() {
        let changed = hosts.iter().any(|host| host.trouble.is_none() && !host.done.is_empty());
        let outcome = if changed { Outcome::Unconfirmed } else { Outcome::Locked };
        let hint = format!(
            "whoever has it ends by itself: it finishes, or its guardian puts the host back; `rdeploy {environment} recover --wait` waits for that"
        );
        return Err(crew::refusal(outcome, "locked by somebody who is alive", held).hint(hint));
    }
    let named: Vec<(&str, &Facts)> =
        hosts.iter().filter_map(|host| Some((host.host.as_str(), host.facts.as_ref()?))).collect();
    match deploy::split(&named) {
        Some(split) => Err(differ(environment, &split)),
        None => Ok(Outcome::Done.code()),
    }
}

/// Hosts that run different releases, and the command that brings them level.
fn differ(environment: &str, split: &Split) -> Fatal {
    let lines = split.live.iter().map(|(release, hosts)| (release.as_str(), hosts.join(", ")));
    let what = match split.half {
        Some(release) => {
            format!("the hosts differ: {release} was committed on some, and others were put back from it")
        }
        None => "the hosts differ in what they run".to_owned(),
    };
    let mut hint = format!("`rdeploy {environment}` deploys to all of them and brings them level");
    if let Some(common) = split.common {
        hint.push_str(&format!("; `rdeploy {environment} --rollback={common}` goes back to {common} on all"));
    }
    crew::refusal(Outcome::Unconfirmed, &what, lines).hint(hint)
}
