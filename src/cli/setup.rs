//! `rdeploy ENVIRONMENT setup`: makes the hosts ready for a first deploy. Shows what is missing on each, does
//! what its user may do there, and ends with the checks, which name the command for the rest.

use std::path::Path;

use clap::Args;

use super::Fatal;
use super::ask::Ask;
use super::check;
use super::crew;
use super::crew::Crew;
use super::wait::WaitArgs;
use crate::config::Environment;
use crate::deploy::Outcome;
use crate::host::Host as _;
use crate::host::LockOutcome;
use crate::host::Session;
use crate::host::Verb;
use crate::report;

/// Arguments of `setup`.
#[derive(Args, Debug)]
pub(super) struct SetupArgs {
    /// Do it without asking
    #[arg(short, long, conflicts_with = "plan")]
    yes: bool,
    /// Only show what would be done
    #[arg(long)]
    plan: bool,
    #[command(flatten)]
    wait: WaitArgs,
}

pub(super) async fn run(environment: &Environment, root: &Path, args: SetupArgs) -> Result<u8, Fatal> {
    crew::until_stopped(steps(environment, root, &args)).await?;
    // What is left is for a person, with the command that does it.
    check::run(environment, root).await
}

async fn steps(environment: &Environment, root: &Path, args: &SetupArgs) -> Result<u8, Fatal> {
    let name = &environment.name;
    let crew = Crew::reach(environment, root, Verb::Setup).await?;
    let sessions = crew.everybody()?;
    let looks = sessions.iter().map(|session| session.missing_steps());
    let looks = futures_util::future::join_all(looks).await;
    let mut plan: Vec<(&Session, Vec<String>)> = Vec::new();
    let mut failed = Vec::new();
    for (session, look) in sessions.iter().zip(looks) {
        match look {
            Ok(Some(steps)) if !steps.is_empty() => plan.push((session, steps)),
            Ok(_) => {}
            Err(error) => failed.push((session.name(), error.to_string())),
        }
    }
    if !failed.is_empty() {
        return Err(crew::refusal(Outcome::Preflight, "nothing was done", failed));
    }
    if plan.is_empty() {
        super::tell(&format!("there is nothing that rdeploy itself can set up on {name}\n"))?;
        crew.close().await;
        return Ok(Outcome::Done.code());
    }
    let lines = plan
        .iter()
        .flat_map(|(session, steps)| steps.iter().map(|step| format!("{}: {step}", session.name())));
    let lines: Vec<String> = lines.collect();
    if !args.yes {
        super::tell(&format!("to be done on {name}:\n  {}", lines.join("\n  ")))?;
    }
    if args.plan {
        crew.close().await;
        return Ok(Outcome::Done.code());
    }
    if !args.yes {
        let ask = Ask::new(report::Screen::idle());
        match tokio::task::spawn_blocking(move || ask.confirm("Do it?")).await {
            Ok(Some(true)) => {}
            Ok(Some(false)) => {
                return Err(Fatal::usage("nothing was done"));
            }
            _ => {
                let hint = format!("`rdeploy {name} setup --yes` does it without asking");
                return Err(Fatal::usage("nobody is here to be asked; nothing was done").hint(hint));
            }
        }
    }
    let done = plan.iter().map(|(session, steps)| set_up(session, steps, args));
    for (done, (session, _)) in futures_util::future::join_all(done).await.into_iter().zip(&plan) {
        match done {
            Ok(lines) => super::tell(&lines.join("\n"))?,
            Err(why) => failed.push((session.name(), why)),
        }
    }
    if !failed.is_empty() {
        return Err(crew::refusal(Outcome::Preflight, "not every host could be set up", failed));
    }
    super::tell("\n")?;
    crew.close().await;
    Ok(Outcome::Done.code())
}

/// Takes the steps on one host. Returns what to tell of them.
async fn set_up(session: &Session, steps: &[String], args: &SetupArgs) -> Result<Vec<String>, String> {
    match crew::lock_one(session, args.wait.wait).await {
        Ok(LockOutcome::Taken(_)) => {}
        Ok(LockOutcome::Held(owner) | LockOutcome::Frozen(owner)) => {
            return Err(format!("locked by {owner}"));
        }
        Err(error) => return Err(error.to_string()),
    }
    let not_taken = session.set_up().await.map_err(|error| error.to_string());
    let left = session.leave().await;
    let not_taken = not_taken?;
    left.map_err(|error| error.to_string())?;
    let told = steps.iter().map(|step| {
        let failure = not_taken.iter().find_map(|text| text.strip_prefix(step.as_str()));
        match failure {
            Some(why) => format!("{}: could not {step}{why}", session.name()),
            None => format!("{}: done: {step}", session.name()),
        }
    });
    Ok(told.collect())
}
