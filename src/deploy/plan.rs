//! Owns what follows from the facts of all hosts together, before anything is changed. Pure.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::host::Facts;
use crate::release::ReleaseId;
use crate::release::retention;
use crate::release::retention::Standing;

/// Space the release needs on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Bytes, unpacked.
    pub bytes: u64,
    /// Files, directories and links.
    pub entries: u64,
}

/// What keeps a host from being deployed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The host's name.
    pub host: String,
    /// What is wrong and what to do.
    pub text: String,
}

/// The difference between two clocks above which it is said: ids and log lines would mislead.
const CLOCK_SKEW: i64 = 300;

/// Returns every problem of every host: what each said itself, two addresses that are one tree, and
/// space that does not suffice.
pub fn problems(hosts: &[(&str, &Facts)], need: Option<Need>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut trees: BTreeMap<&str, &str> = BTreeMap::new();
    for (host, facts) in hosts {
        let mut add = |text: String| problems.push(Problem { host: (*host).to_owned(), text });
        facts.problems.iter().cloned().for_each(&mut add);
        if let Some(tree) = facts.values.get("tree") {
            if let Some(first) = trees.get(tree.as_str()) {
                add(format!("this is the same directory on the same machine as {first}; name it once"));
            } else {
                trees.insert(tree, host);
            }
        }
        let Some(need) = need else { continue };
        let at = |name: &str| facts.values.get(name).and_then(|v| v.split_once(' ')).map_or("/", |v| v.1);
        // A tenth and one MiB more than the files, and a block each: what the file system itself takes.
        let kib = need.bytes / 1024 + need.bytes / 10240 + 1024 + need.entries * 4;
        if let Some(free) = facts.number("space_kb").filter(|free| *free < kib) {
            add(format!(
                "not enough space for the release on {}: {} MiB free, {} MiB needed; make room, or lower keep_releases",
                at("space_kb"),
                free / 1024,
                kib / 1024
            ));
        }
        // File systems that do not count inodes report none at all.
        if let Some(free) = facts.number("inodes").filter(|free| *free > 0 && *free < need.entries + 200) {
            add(format!(
                "not enough free inodes on {}: {free} free, {} needed",
                at("inodes"),
                need.entries + 200
            ));
        }
    }
    problems
}

/// Returns a warning for each host whose clock is far from `now` (seconds since 1970).
pub fn skewed_clocks(hosts: &[(&str, &Facts)], now: i64) -> Vec<Problem> {
    let skew = |facts: &Facts| {
        let clock: i64 = facts.values.get("clock")?.parse().ok()?;
        Some(clock - now).filter(|skew| skew.abs() > CLOCK_SKEW)
    };
    let warn = |(host, facts): &(&str, &Facts)| {
        skew(facts).map(|skew| Problem {
            host: (*host).to_owned(),
            text: format!("its clock is {} s {}", skew.abs(), if skew > 0 { "ahead" } else { "behind" }),
        })
    };
    hosts.iter().filter_map(warn).collect()
}

/// Returns a warning for a deploy when hosts do not run the same release.
pub fn differing(hosts: &[(&str, &Facts)]) -> Option<String> {
    difference(hosts).map(|text| format!("{text}; after this they run the same one"))
}

/// Says that hosts do not run the same release, which is what a client leaves that dies between the first
/// commit and the last. A host that runs nothing yet is a new one.
pub fn difference(hosts: &[(&str, &Facts)]) -> Option<String> {
    let live = |(host, facts): &(&str, &Facts)| facts.live_name().map(|live| ((*host).to_owned(), live));
    let live: Vec<(String, String)> = hosts.iter().filter_map(live).collect();
    let distinct: BTreeSet<&str> = live.iter().map(|(_, live)| live.as_str()).collect();
    if distinct.len() < 2 {
        return None;
    }
    let hosts: Vec<String> = live.iter().map(|(host, live)| format!("{host} {live}")).collect();
    Some(format!("the hosts run different releases: {}", hosts.join(", ")))
}

/// Returns the id of the next release: later than every id on every host.
pub fn next_release<'a>(now: jiff::Timestamp, hosts: impl IntoIterator<Item = &'a Facts>) -> ReleaseId {
    ReleaseId::next(now, hosts.into_iter().filter_map(Facts::newest).max())
}

/// Why no release to roll back to was found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RollbackProblem {
    /// No host has an earlier good release.
    #[error("there is no earlier good release to roll back to on {0}")]
    None(String),
    /// The hosts would go back to different releases.
    #[error("the hosts do not agree on the previous release:\n{0}")]
    Differ(String),
    /// The release asked for is not there.
    #[error("release {id} cannot be rolled back to on {hosts}")]
    Missing {
        /// The release.
        id: ReleaseId,
        /// Each host and why.
        hosts: String,
    },
    /// It is live already.
    #[error("release {0} is live already on every host; nothing to do")]
    Live(ReleaseId),
}

/// Returns the release a rollback goes to: `wanted`, or what was live and good before. It is the same
/// on every host, and on every host it is there.
pub fn rollback_release(
    hosts: &[(&str, &Facts)],
    wanted: Option<ReleaseId>,
) -> Result<ReleaseId, RollbackProblem> {
    let target = match wanted {
        Some(id) => id,
        None => common_previous(hosts)?,
    };
    let why_not = |facts: &Facts| -> Option<String> {
        match facts.releases.iter().find(|release| release.id == target) {
            None => Some("it is not there".to_owned()),
            Some(release) if release.state == "foreign" => Some("rdeploy did not make it".to_owned()),
            Some(release) if matches!(release.state.as_str(), "good" | "bad" | "adopted") => None,
            Some(release) => Some(format!("it never ran well (state {})", release.state)),
        }
    };
    let missing: Vec<String> =
        hosts.iter().filter_map(|(host, facts)| why_not(facts).map(|why| format!("{host}: {why}"))).collect();
    if !missing.is_empty() {
        return Err(RollbackProblem::Missing { id: target, hosts: missing.join("; ") });
    }
    if hosts.iter().all(|(_, facts)| facts.live() == Some(target)) {
        return Err(RollbackProblem::Live(target));
    }
    let digests: BTreeSet<_> = hosts
        .iter()
        .flat_map(|(_, facts)| facts.releases.iter().filter(|release| release.id == target))
        .filter_map(|release| release.digest.as_deref())
        .collect();
    if digests.len() > 1 {
        let hosts = "the hosts hold different content under this id".to_owned();
        return Err(RollbackProblem::Missing { id: target, hosts });
    }
    Ok(target)
}

fn common_previous(hosts: &[(&str, &Facts)]) -> Result<ReleaseId, RollbackProblem> {
    let previous = |facts: &Facts| {
        let standings: Vec<Standing> = standings(facts).collect();
        retention::rollback_target(&standings, facts.live()?)
    };
    let targets: Vec<(&str, Option<ReleaseId>)> =
        hosts.iter().map(|(host, facts)| (*host, previous(facts))).collect();
    let distinct: BTreeSet<_> = targets.iter().map(|(_, target)| *target).collect();
    match (distinct.len(), distinct.first().copied().flatten()) {
        (1, Some(target)) => Ok(target),
        (0 | 1, None) => {
            let hosts: Vec<&str> = hosts.iter().map(|(host, _)| *host).collect();
            Err(RollbackProblem::None(hosts.join(", ")))
        }
        _ => {
            let row = |((host, facts), (_, target)): (&(&str, &Facts), &(&str, Option<ReleaseId>))| {
                let live = facts.live_name().unwrap_or_else(|| "nothing".to_owned());
                let target = target.map_or_else(|| "none".to_owned(), |id| id.to_string());
                format!("  {host}: live {live}, previous {target}")
            };
            let rows: Vec<String> = hosts.iter().zip(&targets).map(row).collect();
            Err(RollbackProblem::Differ(rows.join("\n")))
        }
    }
}

/// The releases of a host, for retention.
pub(super) fn standings(facts: &Facts) -> impl Iterator<Item = Standing> {
    facts.releases.iter().map(|release| Standing {
        id: release.id,
        state: release.state.clone(),
        previous: release.previous,
    })
}
