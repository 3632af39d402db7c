//! `rdeploy ENVIRONMENT check`: what a deploy asks before it changes anything, as a table, and each problem
//! with its cure. Reads only.

use std::collections::BTreeMap;
use std::path::Path;

use super::Fatal;
use super::crew;
use super::crew::Crew;
use super::crew::Hand;
use crate::config::Environment;
use crate::deploy;
use crate::deploy::Outcome;
use crate::deploy::Problem;
use crate::host::Facts;
use crate::host::Host as _;
use crate::host::HostError;
use crate::host::Owner;
use crate::host::Verb;
use crate::report;

pub(super) async fn run(environment: &Environment, root: &Path) -> Result<u8, Fatal> {
    crew::until_stopped(async {
        let crew = Crew::reach(environment, root, Verb::Deploy).await?;
        let checks = futures_util::future::join_all(crew.hands.iter().map(check)).await;
        crew.close().await;
        conclude(environment, &checks)
    })
    .await
}

/// A host, and what it says of itself, or why it says nothing.
struct Checked {
    host: String,
    facts: Result<Facts, String>,
}

async fn check(hand: &Hand) -> Checked {
    let facts = async {
        let session = hand.session.as_ref().map_err(Clone::clone)?;
        let told = |error: HostError| match error.output() {
            Some(output) if output != error.to_string() => format!("{error}: {output}"),
            _ => error.to_string(),
        };
        let mut facts = session.preflight().await.map_err(told)?;
        let standing = session.look().await.map_err(told)?;
        // Whose the tree is both say.
        facts.problems.extend(standing.problems);
        facts.problems.dedup();
        facts.values.extend(standing.values);
        Ok(facts)
    };
    Checked { host: hand.name.clone(), facts: facts.await }
}

fn conclude(environment: &Environment, checks: &[Checked]) -> Result<u8, Fatal> {
    let named: Vec<(&str, &Facts)> =
        checks.iter().filter_map(|check| Some((check.host.as_str(), check.facts.as_ref().ok()?))).collect();
    let mut problems: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for check in checks {
        if let Err(why) = &check.facts {
            problems.entry(&check.host).or_default().push(why.clone());
        }
    }
    let found = deploy::problems(&named, None);
    for Problem { host, text } in &found {
        problems.entry(host).or_default().push(text.clone());
    }
    let count = |host: &str| problems.get(host).map_or(0, Vec::len);
    let head = ["host", "ready", "live release", "supervisor", "health asked by", "free", "lock"];
    let rows = checks.iter().map(|check| row(environment, check, count(&check.host)));
    super::tell(&report::table(&head, rows))?;
    for note in notes(&environment.name, &named) {
        report::note(&note);
    }
    let lines: Vec<(&str, String)> = checks
        .iter()
        .flat_map(|check| {
            let texts = problems.get(check.host.as_str()).cloned().unwrap_or_default();
            texts.into_iter().map(|text| (check.host.as_str(), text))
        })
        .collect();
    if !lines.is_empty() {
        let what = format!("{} cannot be deployed to as it stands", environment.name);
        let hint = "mend each of these, then check again";
        return Err(crew::refusal(Outcome::Preflight, &what, lines).hint(hint));
    }
    let closed: Vec<(&str, String)> =
        named.iter().filter_map(|(host, facts)| Some((*host, closed(facts)?))).collect();
    if !closed.is_empty() {
        let what = format!("{} is ready, but not open to deploys now", environment.name);
        return Err(crew::refusal(Outcome::Locked, &what, closed));
    }
    Ok(Outcome::Done.code())
}

fn row(environment: &Environment, check: &Checked, problems: usize) -> Vec<String> {
    let ready = match problems {
        0 => "yes".to_owned(),
        1 => "no: 1 problem".to_owned(),
        n => format!("no: {n} problems"),
    };
    let mut row = vec![check.host.clone(), ready];
    match &check.facts {
        Ok(facts) => row.extend([
            facts.live_shown(),
            supervisor(environment, facts),
            probe(facts),
            free(facts),
            lock(facts).to_owned(),
        ]),
        Err(_) => row.extend(vec!["not known".to_owned(); 5]),
    }
    row
}

/// The supervisor that was found, and its version.
fn supervisor(environment: &Environment, facts: &Facts) -> String {
    let word = |name: &str, n: usize| facts.values.get(name)?.split(' ').nth(n).map(str::to_owned);
    match environment.supervisor.name() {
        "pm2" => {
            word("pm2", 0).map_or_else(|| "PM2: not found".to_owned(), |version| format!("PM2 {version}"))
        }
        "systemd" => match (word("systemd", 0), facts.values.get("systemd")) {
            (Some(version), Some(all)) => {
                let scope = all.rsplit(' ').next().unwrap_or_default();
                format!("systemd {version} ({scope})")
            }
            _ => "systemd: not found".to_owned(),
        },
        "supervisord" => match (word("supervisord", 0), word("supervisord", 1)) {
            (Some(version), Some(via)) if via == "sudo" => format!("supervisord {version} (through sudo)"),
            (Some(version), _) => format!("supervisord {version}"),
            _ => "supervisord: not reached".to_owned(),
        },
        name => name.to_owned(),
    }
}

/// What asks the health checks on the host.
fn probe(facts: &Facts) -> String {
    let Some(tools) = facts.values.get("probe") else { return "not known".to_owned() };
    let shown = tools.split(' ').map(|tool| match tool {
        "forward" => "rdeploy through SSH",
        "command" => "the command",
        "none" => "no health check",
        tool => tool,
    });
    shown.collect::<Vec<_>>().join(", ")
}

fn free(facts: &Facts) -> String {
    match facts.number("space_kb") {
        Some(kib) if kib >= 10 << 20 => format!("{} GiB", kib >> 20),
        Some(kib) => format!("{} MiB", kib >> 10),
        None => "not known".to_owned(),
    }
}

fn lock(facts: &Facts) -> &'static str {
    match facts.owner() {
        _ if facts.values.contains_key("freeze") => "frozen",
        Some(Owner::Free) => "free",
        Some(Owner::Alive { .. } | Owner::Foreign { .. }) => "held",
        Some(Owner::Dead { .. }) => "its owner is dead",
        Some(Owner::Unreadable) | None => "not known",
    }
}

/// Why a deploy would be refused though nothing is wrong with the host.
fn closed(facts: &Facts) -> Option<String> {
    if let Some(freeze) = facts.values.get("freeze") {
        return Some(format!("frozen: {freeze}"));
    }
    match facts.owner()? {
        Owner::Alive { text, .. } | Owner::Foreign { text } => Some(format!("locked by {text}")),
        Owner::Free | Owner::Dead { .. } | Owner::Unreadable => None,
    }
}

/// What does not keep a deploy from the hosts, and should be known.
fn notes(environment: &str, named: &[(&str, &Facts)]) -> Vec<String> {
    let now = jiff::Timestamp::now().as_second();
    let skewed =
        deploy::skewed_clocks(named, now).into_iter().map(|skew| format!("{}: {}", skew.host, skew.text));
    let own = named.iter().flat_map(|(host, facts)| {
        let boots = facts.values.get("boot").is_none_or(|boot| boot != "none");
        let boot = (!boots).then(|| {
            format!(
                "PM2 does not start when the host boots; `rdeploy {environment} setup` sees to it, or run `pm2 startup` there as this user, and what it prints as root"
            )
        });
        let left = facts.number("left").filter(|left| *left > 0).map(|_| {
            "an attempt died here; the next deploy, or `recover`, settles what it left first".to_owned()
        });
        facts.notes.iter().cloned().chain(boot).chain(left).map(move |note| format!("{host}: {note}"))
    });
    let mut notes: Vec<String> = skewed.chain(own).collect();
    notes.extend(deploy::difference(named));
    notes
}
