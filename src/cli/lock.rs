//! `rdeploy ENVIRONMENT lock`: a freeze that deploys and rollbacks respect until it is lifted.

use std::path::Path;

use clap::Args;

use super::Fatal;
use super::crew;
use super::crew::Crew;
use super::wait::WaitArgs;
use crate::config::Environment;
use crate::deploy::Outcome;
use crate::host::Host as _;
use crate::host::Verb;

/// Arguments of `lock`.
#[derive(Args, Debug)]
pub(super) struct LockArgs {
    /// Why; whoever is refused reads it
    #[arg(short, long, value_name = "TEXT", value_parser = message)]
    message: String,
    #[command(flatten)]
    wait: WaitArgs,
}

/// The longest message; it is one line of what a refused deploy says.
const LONGEST: usize = 500;

fn message(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("say why, so that whoever is refused knows".to_owned());
    }
    if text.chars().any(char::is_control) {
        return Err("a message is one line, without control characters".to_owned());
    }
    match text.len() {
        0..=LONGEST => Ok(text.to_owned()),
        long => Err(format!("a message has at most {LONGEST} bytes, and this one has {long}")),
    }
}

pub(super) async fn run(environment: &Environment, root: &Path, args: LockArgs) -> Result<u8, Fatal> {
    crew::until_stopped(async {
        let name = &environment.name;
        let crew = Crew::reach(environment, root, Verb::Lock).await?;
        // Also whether every host belongs to this environment.
        crew.look().await?;
        crew.lock(args.wait.wait, &format!("{name} is not frozen; nothing was changed")).await?;
        let sessions = crew.everybody()?;
        let freezes = sessions.iter().map(|session| session.freeze(&args.message));
        let freezes = futures_util::future::join_all(freezes).await;
        let failed = sessions.iter().zip(freezes).filter_map(|(session, frozen)| {
            let error = frozen.err()?;
            Some((session.name(), error.to_string()))
        });
        let failed: Vec<_> = failed.collect();
        if !failed.is_empty() {
            // All or none: those that were frozen are freed of it, and all of their locks.
            for session in &sessions {
                let _ = session.revert(&|_| ()).await;
                let _ = session.leave().await;
            }
            return Err(crew::refusal(
                Outcome::Preflight,
                "not every host could be frozen, so none is",
                failed,
            ));
        }
        let leaves = futures_util::future::join_all(sessions.iter().map(|session| session.leave())).await;
        let unsure = sessions.iter().zip(leaves).filter_map(|(session, left)| {
            let error = left.err()?;
            Some((session.name(), error.to_string()))
        });
        let unsure: Vec<_> = unsure.collect();
        if !unsure.is_empty() {
            let what = "it is not known whether these hosts are frozen";
            let hint = format!("`rdeploy {name} unlock` lifts the freeze from the others; then try again");
            return Err(crew::refusal(Outcome::Unconfirmed, what, unsure).hint(hint));
        }
        let hosts: Vec<&str> = sessions.iter().map(|session| session.name()).collect();
        super::tell(&format!(
            "froze {name} on {}: {}\ndeploys and rollbacks are refused until `rdeploy {name} unlock`",
            hosts.join(", "),
            args.message
        ))?;
        crew.close().await;
        Ok(Outcome::Done.code())
    })
    .await
}
