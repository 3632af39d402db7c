//! `rdeploy ENVIRONMENT restart`, `start` and `stop`: the live release's app, without a deploy. Under the
//! locks of the hosts concerned, by the live release's own recipe.

use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;

use clap::Args;

use super::Fatal;
use super::crew;
use super::crew::Crew;
use super::hosts::HostsArgs;
use super::place;
use super::wait::WaitArgs;
use crate::config::Environment;
use crate::config::Hosts;
use crate::deploy::Outcome;
use crate::deploy::Rollout;
use crate::host::Facts;
use crate::host::Host as _;
use crate::host::HostError;
use crate::host::Operation;
use crate::host::Say;
use crate::host::Session;
use crate::host::Unasked;
use crate::host::Verb;
use crate::report;

/// Arguments of `restart`, `start` and `stop`.
#[derive(Args, Debug)]
pub(super) struct OperateArgs {
    #[command(flatten)]
    hosts: HostsArgs,
    #[command(flatten)]
    wait: WaitArgs,
}

/// What became of one host.
type Done = Result<String, HostError>;

pub(super) async fn run(
    environment: &Environment,
    root: &Path,
    operation: Operation,
    args: OperateArgs,
) -> Result<u8, Fatal> {
    let name = &environment.name;
    // With what keeps the app up there: it is in the sandbox for this app alone.
    if operation == Operation::Stop
        && args.hosts.hosts.is_empty()
        && matches!(environment.hosts, Hosts::Embedded(_))
    {
        super::tell(&place::stop(environment, root).await?)?;
        return Ok(Outcome::Done.code());
    }
    let (verb, past) = match operation {
        Operation::Restart => (Verb::Restart, "restarted"),
        Operation::Start => (Verb::Start, "started"),
        Operation::Stop => (Verb::Stop, "stopped"),
    };
    crew::until_stopped(async {
        let crew = Crew::reach_some(environment, root, verb, &args.hosts).await?;
        let facts = crew.look().await?;
        let sessions = crew.everybody()?;
        refuse(name, &sessions, &facts)?;
        crew.lock(args.wait.wait, &format!("nothing was {past}")).await?;
        let names: Vec<&str> = sessions.iter().map(|session| session.name()).collect();
        let batches = match operation {
            // As gently as a deploy does it.
            Operation::Restart => {
                let hosts = names.iter().copied().zip(crew.places.all.iter().map(|place| &place.host));
                Rollout::of(&environment.rollout, hosts).batches(names.iter().copied())
            }
            Operation::Start | Operation::Stop => vec![(0..names.len()).collect()],
        };
        let mut failed: Vec<(&str, HostError)> = Vec::new();
        let mut untouched: Vec<&str> = Vec::new();
        for batch in batches {
            let members: Vec<&Session> =
                batch.iter().filter_map(|place| sessions.get(*place).copied()).collect();
            if !failed.is_empty() {
                untouched.extend(members.iter().map(|session| session.name()));
                continue;
            }
            let done = members.iter().map(|session| operate(session, operation));
            let done: Vec<Done> = futures_util::future::join_all(done).await;
            for (session, done) in members.iter().zip(done) {
                match done {
                    Ok(text) => super::tell(&format!("{}: {text}", session.name()))?,
                    Err(error) => failed.push((session.name(), error)),
                }
            }
        }
        // What was done stays done whether or not this is heard.
        futures_util::future::join_all(sessions.iter().map(|session| session.leave())).await;
        let told = told(&failed, &untouched, name, past);
        crew.close().await;
        told.map_or(Ok(Outcome::Done.code()), Err)
    })
    .await
}

/// Hosts on which there is nothing to do anything with.
fn refuse(name: &str, sessions: &[&Session], facts: &[Facts]) -> Result<(), Fatal> {
    let empty = sessions.iter().zip(facts).filter(|(_, facts)| facts.current.is_none());
    let empty: Vec<(&str, String)> =
        empty.map(|(session, _)| (session.name(), "nothing is deployed there".to_owned())).collect();
    if empty.is_empty() {
        return Ok(());
    }
    let hint = format!("deploy first: `rdeploy {name}`");
    Err(crew::refusal(Outcome::Preflight, "nothing was done", empty).hint(hint))
}

/// Does it on one host. Returns what to tell of it.
async fn operate(session: &Session, operation: Operation) -> Done {
    let heard = Mutex::new((String::new(), Unasked::default(), false));
    let hear = |say| {
        let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
        match say {
            Say::Proof(level, detail) => heard.0 = format!("{level}: {detail}"),
            Say::Fact(name, _) if name == "up" => heard.2 = true,
            Say::Note(text) | Say::Warning(text) => report::note(&format!("{}: {text}", session.name())),
            say => drop(heard.1.hear(say)),
        }
    };
    session.operate(operation, &hear).await?;
    let (proof, unasked, was_up) = heard.into_inner().unwrap_or_else(PoisonError::into_inner);
    if !unasked.checks.is_empty() {
        session.probe(&unasked.checks, false).await?;
    }
    let done = match operation {
        Operation::Restart => "restarted",
        Operation::Start if was_up => "ran already",
        Operation::Start => "started",
        Operation::Stop => "stopped",
    };
    Ok(if proof.is_empty() { done.to_owned() } else { format!("{done}; {proof}") })
}

/// What went wrong, if anything did.
fn told(failed: &[(&str, HostError)], untouched: &[&str], name: &str, past: &str) -> Option<Fatal> {
    let first = failed.first()?;
    let unsure = failed.iter().any(|(_, error)| error.is_unconfirmed());
    let outcome = if unsure { Outcome::Unconfirmed } else { Outcome::FailedStuck };
    let what = match unsure {
        true => format!("it is not known whether the app was {past} on every host"),
        false => format!("the app could not be {past}, or is not well since"),
    };
    let failures = failed.iter().map(|(host, error)| (*host, at_length(error)));
    let spared = untouched.iter().map(|host| (*host, format!("not {past}, because of {}", first.0)));
    let lines: Vec<(&str, String)> = failures.chain(spared).collect();
    let hint = format!("`rdeploy {name} status` shows how it is, `rdeploy {name} logs` what it writes");
    Some(crew::refusal(outcome, &what, lines).hint(hint))
}

/// An error with everything that was written about it.
fn at_length(error: &HostError) -> String {
    let reason = error.to_string();
    let more = error.output().unwrap_or_default().lines().filter(|line| *line != reason);
    more.fold(reason.clone(), |text, line| format!("{text}\n      {line}"))
}
