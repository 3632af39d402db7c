//! `rdeploy ENVIRONMENT unlock`: settles what holds the lock, where its owner is proven to be dead or is
//! ordered to give way, and lifts a freeze. Never removes what another user of a host made.

use std::path::Path;
use std::time::Duration;

use clap::Args;
use tokio::time::Instant;

use super::Fatal;
use super::crew;
use super::crew::Crew;
use super::settle;
use super::settle::Settled;
use super::settle::Trouble;
use super::wait;
use crate::config::Environment;
use crate::deploy::Outcome;
use crate::host::Facts;
use crate::host::Host as _;
use crate::host::HostError;
use crate::host::Owner;
use crate::host::Session;
use crate::host::Verb;

/// Arguments of `unlock`.
#[derive(Args, Debug)]
pub(super) struct UnlockArgs {
    /// Also where the owner is alive: its guardian is ordered to put the host back and to leave
    #[arg(long)]
    force: bool,
    /// How long such a guardian may take (default: as long as its restart and its health check may)
    #[arg(long, value_name = "DURATION", requires = "force", value_parser = wait::duration)]
    limit: Option<Duration>,
}

/// How often it is looked whether an ordered guardian has left.
const LOOK_EVERY: Duration = Duration::from_millis(300);

pub(super) async fn run(environment: &Environment, root: &Path, args: UnlockArgs) -> Result<u8, Fatal> {
    crew::until_stopped(async {
        let name = &environment.name;
        let crew = Crew::reach(environment, root, Verb::Unlock).await?;
        let facts = crew.look().await?;
        let sessions = crew.everybody()?;
        let standing: Vec<(&Session, Facts)> = sessions.into_iter().zip(facts).collect();
        refuse(name, &standing, args.force)?;
        if standing.iter().all(|(_, facts)| is_open(facts)) {
            super::tell(&format!("nothing is locked on {name}"))?;
            return Ok(Outcome::Done.code());
        }
        let unlocks = standing.into_iter().map(|(session, facts)| unlock(session, facts, args.limit));
        let settled = futures_util::future::join_all(unlocks).await;
        crew.close().await;
        settle::conclude(name, &settled)
    })
    .await
}

/// Refuses as a whole where anything must not be touched.
fn refuse(name: &str, standing: &[(&Session, Facts)], force: bool) -> Result<(), Fatal> {
    let of = |wanted: fn(Owner) -> Option<String>| -> Vec<(&str, String)> {
        let text = |facts: &Facts| wanted(facts.owner()?);
        standing.iter().filter_map(|(session, facts)| Some((session.name(), text(facts)?))).collect()
    };
    let closed = of(|owner| match owner {
        Owner::Foreign { text } => Some(format!("locked by {text}")),
        Owner::Unreadable => Some("the file .rdeploy/lock under deploy_to names no owner".to_owned()),
        _ => None,
    });
    if !closed.is_empty() {
        let what = format!("{name} is locked by what rdeploy does not remove; nothing was done");
        let hint = "a lock that another user made is for that user to remove: run `unlock` as that user, or look at the host";
        return Err(crew::refusal(Outcome::Locked, &what, closed).hint(hint));
    }
    let alive = of(|owner| match owner {
        Owner::Alive { text, .. } => Some(text),
        _ => None,
    });
    if !alive.is_empty() && !force {
        let what = format!("{name} is locked, and whoever locked it is alive; nothing was done");
        let hint = format!(
            "wait for it to end, or have the hosts put back under its hands: `rdeploy {name} unlock --force`"
        );
        return Err(crew::refusal(Outcome::Locked, &what, alive).hint(hint));
    }
    Ok(())
}

/// Whether nothing on the host keeps a deploy from it, and nothing is to be settled.
fn is_open(facts: &Facts) -> bool {
    let left = facts.number("left").unwrap_or(0);
    facts.owner() == Some(Owner::Free) && left == 0 && !facts.values.contains_key("freeze")
}

async fn unlock(session: &Session, facts: Facts, limit: Option<Duration>) -> Settled {
    let mut found = Vec::new();
    let mut done = Vec::new();
    let mut now = facts;
    match now.owner() {
        Some(Owner::Alive { attempt, text }) => {
            found.push(format!("{text}, alive"));
            let limit = limit.unwrap_or_else(|| session.order_limit());
            match ordered(session, &attempt, limit).await {
                Ok(Some(after)) => now = after,
                Ok(None) => {
                    let why = format!(
                        "its guardian was ordered to put the host back and did not within {} s; {text}",
                        limit.as_secs()
                    );
                    let done = vec!["still locked".to_owned()];
                    let trouble = Some(Trouble::Held(why));
                    return Settled {
                        found,
                        done,
                        trouble,
                        ..Settled::found(session.name(), Vec::new(), now)
                    };
                }
                Err(error) => return Settled::troubled(session.name(), Trouble::Unknown(error.to_string())),
            }
            let outcome = now.last.as_ref().filter(|last| last.attempt == attempt);
            match outcome.map(|last| last.outcome.as_str()) {
                Some("reverted") => done.push("its guardian put the host back".to_owned()),
                Some("done") => done.push("it had committed, and its guardian finished".to_owned()),
                Some("revert failed") => {
                    let why = "its guardian could not put the host back".to_owned();
                    done.push(why.clone());
                    let trouble = Some(Trouble::Stuck(why));
                    return Settled {
                        found,
                        done,
                        trouble,
                        ..Settled::found(session.name(), Vec::new(), now)
                    };
                }
                _ => done.push("its guardian left".to_owned()),
            }
        }
        Some(Owner::Dead { text }) => found.push(format!("{text}, whose process is gone")),
        _ => {}
    }
    if is_open(&now) {
        return Settled { found, done, ..Settled::found(session.name(), Vec::new(), now) };
    }
    // Who was ordered to leave may still be at it.
    let wait = (!done.is_empty()).then_some(Duration::from_secs(30));
    let mut settled = settle::settle(session, wait, true).await;
    found.append(&mut settled.found);
    done.append(&mut settled.done);
    if done.is_empty() && settled.trouble.is_none() {
        done.push("freed".to_owned());
    }
    Settled { found, done, ..settled }
}

/// Orders the living guardian to put its host back, and waits until it has left. Returns how the host
/// stands then; nothing when the time was over first.
async fn ordered(session: &Session, attempt: &str, limit: Duration) -> Result<Option<Facts>, HostError> {
    let until = Instant::now() + limit;
    // An order that could not be left there is for somebody who has gone meanwhile, or for a full disk.
    session.order(attempt).await?;
    loop {
        let facts = session.look().await?;
        match facts.owner() {
            Some(Owner::Alive { attempt: now, .. }) if now == attempt => {}
            // It is just leaving: the lock, or what was beside it, is half gone.
            Some(Owner::Unreadable | Owner::Foreign { .. }) | None => {}
            Some(Owner::Free) if facts.number("left").unwrap_or(0) > 0 && Instant::now() < until => {}
            _ => return Ok(Some(facts)),
        }
        if Instant::now() >= until {
            return Ok(None);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
