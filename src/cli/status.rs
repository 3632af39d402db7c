//! `rdeploy ENVIRONMENT status`: what runs on every host, and how it is, as a table or as JSON. Reads only.

use std::path::Path;

use clap::Args;
use serde_json::Value;
use serde_json::json;

use super::Fatal;
use super::crew;
use super::crew::Crew;
use super::crew::Hand;
use super::hosts::HostsArgs;
use crate::config::Environment;
use crate::deploy;
use crate::deploy::Outcome;
use crate::host::Facts;
use crate::host::HealthAnswer;
use crate::host::Owner;
use crate::host::Process;
use crate::host::ReleaseRecord;
use crate::host::Verb;
use crate::report;

/// Arguments of `status`.
#[derive(Args, Debug)]
pub(super) struct StatusArgs {
    /// As JSON, for scripts
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    hosts: HostsArgs,
}

/// How much of a commit's name is shown.
const COMMIT: usize = 10;

/// A host, and what it says of itself, or why it says nothing.
struct Seen {
    host: String,
    facts: Result<Facts, String>,
}

pub(super) async fn run(environment: &Environment, root: &Path, args: StatusArgs) -> Result<u8, Fatal> {
    crew::until_stopped(async {
        let crew = Crew::reach_some(environment, root, Verb::Releases, &args.hosts).await?;
        let seen = futures_util::future::join_all(crew.hands.iter().map(look)).await;
        crew.close().await;
        if args.json {
            super::tell(&format!("{:#}", as_json(environment, &seen)))?;
        } else {
            super::tell(&shown(&seen))?;
        }
        let missing =
            seen.iter().filter_map(|seen| Some((seen.host.as_str(), seen.facts.as_ref().err()?.clone())));
        let missing: Vec<_> = missing.collect();
        if missing.is_empty() {
            return Ok(Outcome::Done.code());
        }
        Err(crew::refusal(Outcome::Preflight, "some hosts could not be asked", missing))
    })
    .await
}

async fn look(hand: &Hand) -> Seen {
    let facts = async {
        let session = hand.session.as_ref().map_err(Clone::clone)?;
        let facts = session.status().await.map_err(|error| error.to_string())?;
        match facts.problems.first() {
            Some(problem) => Err(problem.clone()),
            None => Ok(facts),
        }
    };
    Seen { host: hand.name.clone(), facts: facts.await }
}

/// The table, and below it what does not fit into one.
fn shown(seen: &[Seen]) -> String {
    let head = ["host", "release", "state", "commit", "processes", "up for", "restarts", "memory", "health"];
    let mut text = report::table(&head, seen.iter().map(row));
    for (host, facts) in named(seen) {
        for remark in remarks(facts) {
            text.push_str(&format!("\n{host}: {remark}"));
        }
    }
    if let Some(difference) = deploy::difference(&named(seen)) {
        text.push_str(&format!("\n{difference}"));
    }
    text
}

fn named(seen: &[Seen]) -> Vec<(&str, &Facts)> {
    seen.iter().filter_map(|seen| Some((seen.host.as_str(), seen.facts.as_ref().ok()?))).collect()
}

fn row(seen: &Seen) -> Vec<String> {
    let mut row = vec![seen.host.clone()];
    let Ok(facts) = &seen.facts else {
        row.extend(vec!["not known".to_owned(); 8]);
        return row;
    };
    let record = record(facts);
    let commit = record.and_then(|record| record.commit.as_deref()).unwrap_or("-");
    let sum = |of: fn(&Process) -> Option<u64>| facts.processes.iter().filter_map(of).reduce(|a, b| a + b);
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    row.extend([
        facts.live_shown(),
        record.map_or("-", |record| record.state.as_str()).to_owned(),
        commit.chars().take(COMMIT).collect(),
        processes(facts),
        // The one that was started last tells when something last happened.
        or_none(facts.processes.iter().filter_map(|process| process.uptime).min().map(report::age)),
        or_none(sum(|process| process.restarts).map(|count| count.to_string())),
        or_none(sum(|process| process.memory_kib).map(|kib| report::bytes(kib * 1024))),
        health(facts).to_owned(),
    ]);
    row
}

/// What is known of the live release.
fn record(facts: &Facts) -> Option<&ReleaseRecord> {
    let live = facts.live()?;
    facts.releases.iter().find(|record| record.id == live)
}

/// How many there are in which state: `2 online, 1 errored`.
fn processes(facts: &Facts) -> String {
    if facts.values.contains_key("unseen") {
        return "not known".to_owned();
    }
    let mut states: Vec<(&str, usize)> = Vec::new();
    for process in &facts.processes {
        match states.iter_mut().find(|(state, _)| *state == process.state) {
            Some((_, count)) => *count += 1,
            None => states.push((&process.state, 1)),
        }
    }
    if states.is_empty() {
        return "none".to_owned();
    }
    states.iter().map(|(state, count)| format!("{count} {state}")).collect::<Vec<_>>().join(", ")
}

fn health(facts: &Facts) -> &'static str {
    match &facts.health {
        Some(HealthAnswer::Well) => "well",
        Some(HealthAnswer::Ill(_)) => "ill",
        Some(HealthAnswer::Unasked) => "no check",
        None => "-",
    }
}

/// What a person should know of a host beyond its row.
fn remarks(facts: &Facts) -> Vec<String> {
    let mut remarks = Vec::new();
    if let Some(why) = facts.values.get("unseen") {
        remarks.push(format!("how the app is could not be seen: {why}"));
    }
    if facts.current.is_some()
        && !facts.values.contains_key("supervisor")
        && !facts.values.contains_key("unseen")
    {
        remarks.push(
            "what is live there was not deployed by rdeploy, so it is not known what keeps it up".to_owned(),
        );
    }
    let live = facts.live_name();
    for process in &facts.processes {
        if let (Some(pid), Some(release)) = (process.pid, &process.release)
            && live.as_ref() != Some(release)
        {
            remarks.push(format!(
                "process {pid} of {} runs from release {release}, which is not live",
                process.name
            ));
        }
    }
    if let Some(HealthAnswer::Ill(why)) = &facts.health {
        remarks.push(format!("ill: {why}"));
    }
    if let Some(freeze) = facts.values.get("freeze") {
        remarks.push(format!("frozen: {freeze}"));
    }
    match facts.owner() {
        Some(Owner::Alive { text, .. }) => remarks.push(format!("locked by {text}")),
        Some(Owner::Foreign { text }) => remarks.push(format!("locked by {text}")),
        _ => {}
    }
    if facts.number("left").is_some_and(|left| left > 0) {
        remarks.push("an attempt died here; the next deploy, or `recover`, settles what it left".to_owned());
    }
    remarks
}

fn as_json(environment: &Environment, seen: &[Seen]) -> Value {
    let hosts: Vec<Value> = seen.iter().map(host_json).collect();
    json!({
        "app": environment.app,
        "environment": environment.name,
        "same_release": deploy::difference(&named(seen)).is_none(),
        "hosts": hosts,
    })
}

fn host_json(seen: &Seen) -> Value {
    let facts = match &seen.facts {
        Ok(facts) => facts,
        Err(why) => return json!({ "host": seen.host, "reached": false, "error": why }),
    };
    let record = record(facts);
    let (health, reason) = match &facts.health {
        Some(HealthAnswer::Well) => (Some("well"), None),
        Some(HealthAnswer::Ill(why)) => (Some("ill"), Some(why)),
        Some(HealthAnswer::Unasked) => (Some("no_check"), None),
        None => (None, None),
    };
    let lock = match facts.owner() {
        Some(Owner::Free) => "free",
        Some(Owner::Dead { .. }) => "dead",
        Some(Owner::Alive { .. } | Owner::Foreign { .. }) => "held",
        Some(Owner::Unreadable) | None => "unknown",
    };
    let processes: Vec<Value> = facts.processes.iter().map(process_json).collect();
    json!({
        "host": seen.host,
        "reached": true,
        "release": facts.live_name(),
        "state": record.map(|record| &record.state),
        "commit": record.and_then(|record| record.commit.as_ref()),
        "made": record.and_then(|record| record.made.as_ref()),
        "by": record.and_then(|record| record.actor.as_ref()),
        "supervisor": facts.values.get("supervisor"),
        "processes": processes,
        "health": health,
        "health_reason": reason,
        "lock": lock,
        "freeze": facts.values.get("freeze"),
        "unsettled_attempts": facts.number("left").unwrap_or(0),
        "remarks": remarks(facts),
    })
}

fn process_json(process: &Process) -> Value {
    json!({
        "name": process.name,
        "pid": process.pid,
        "state": process.state,
        "restarts": process.restarts,
        "uptime_seconds": process.uptime,
        "memory_bytes": process.memory_kib.map(|kib| kib * 1024),
        "release": process.release,
    })
}
