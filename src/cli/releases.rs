//! `rdeploy ENVIRONMENT releases`: which releases there are on which hosts, and how each stands. Reads only.

use std::collections::BTreeMap;
use std::path::Path;

use super::Fatal;
use super::crew;
use super::crew::Crew;
use crate::config::Environment;
use crate::deploy::Outcome;
use crate::host::Facts;
use crate::host::Host as _;
use crate::host::ReleaseRecord;
use crate::host::Verb;
use crate::release::ReleaseId;
use crate::report;

/// How much of a commit's name is shown.
const COMMIT: usize = 10;

pub(super) async fn run(environment: &Environment, root: &Path) -> Result<u8, Fatal> {
    crew::until_stopped(async {
        let name = &environment.name;
        let crew = Crew::reach(environment, root, Verb::Releases).await?;
        let facts = crew.look().await?;
        let hosts: Vec<String> = crew.everybody()?.iter().map(|session| session.name().to_owned()).collect();
        crew.close().await;
        let hosts: Vec<(&str, &Facts)> = hosts.iter().map(String::as_str).zip(&facts).collect();
        super::tell(&shown(name, &hosts))?;
        Ok(Outcome::Done.code())
    })
    .await
}

/// The table, newest first, and what is live without being a release.
fn shown(environment: &str, hosts: &[(&str, &Facts)]) -> String {
    let mut records: BTreeMap<ReleaseId, Vec<Option<&ReleaseRecord>>> = BTreeMap::new();
    for (place, (_, facts)) in hosts.iter().enumerate() {
        for record in &facts.releases {
            let on = records.entry(record.id).or_insert_with(|| vec![None; hosts.len()]);
            if let Some(here) = on.get_mut(place) {
                *here = Some(record);
            }
        }
    }
    let mut text = if records.is_empty() {
        format!("there are no releases on {environment}")
    } else {
        let head = ["release", "state", "live", "commit", "made", "by"];
        report::table(&head, records.iter().rev().map(|(id, on)| row(*id, on, hosts)))
    };
    for (host, facts) in hosts {
        if let (Some(current), None) = (&facts.current, facts.live()) {
            text.push_str(&format!("\n{host}: current points at {current}, which is no release"));
        }
        if let Some(freeze) = facts.values.get("freeze") {
            text.push_str(&format!("\n{host}: frozen: {freeze}"));
        }
    }
    text
}

fn row(id: ReleaseId, on: &[Option<&ReleaseRecord>], hosts: &[(&str, &Facts)]) -> Vec<String> {
    let states = on.iter().map(|record| record.map_or("absent", |record| record.state.as_str()));
    let states: Vec<(&str, &str)> = hosts.iter().map(|(host, _)| *host).zip(states).collect();
    let live = hosts.iter().map(|(host, facts)| (*host, if facts.live() == Some(id) { "live" } else { "" }));
    let known = |fact: fn(&ReleaseRecord) -> Option<&String>| {
        on.iter().flatten().find_map(|record| fact(record)).map_or("-", String::as_str)
    };
    vec![
        id.to_string(),
        alike(&states),
        alike(&live.collect::<Vec<_>>()),
        known(|record| record.commit.as_ref()).chars().take(COMMIT).collect(),
        known(|record| record.made.as_ref()).to_owned(),
        known(|record| record.actor.as_ref()).to_owned(),
    ]
}

/// One word where all hosts agree, else each word with its hosts; hosts without a word are left out.
fn alike(hosts: &[(&str, &str)]) -> String {
    let mut words: Vec<(&str, Vec<&str>)> = Vec::new();
    for (host, word) in hosts {
        match words.iter_mut().find(|(known, _)| known == word) {
            Some((_, on)) => on.push(host),
            None => words.push((word, vec![host])),
        }
    }
    match words.as_slice() {
        [(word, _)] => (*word).to_owned(),
        words => {
            let said = words.iter().filter(|(word, _)| !word.is_empty());
            let said = said.map(|(word, on)| format!("{word} on {}", on.join(", ")));
            said.collect::<Vec<_>>().join("; ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Facts;

    fn facts(live: &str, releases: &[(&str, &str)]) -> Facts {
        let record = |(id, state): &(&str, &str)| ReleaseRecord {
            id: id.parse().unwrap(),
            state: (*state).to_owned(),
            digest: None,
            previous: None,
            commit: Some("0123456789abcdef".to_owned()).filter(|_| *state == "good"),
            made: Some("2026-01-01T00:00:00Z".to_owned()).filter(|_| *state != "foreign"),
            actor: Some("Ada L.@desk".to_owned()).filter(|_| *state != "foreign"),
        };
        Facts {
            current: Some(format!("/srv/shop/releases/{live}")),
            releases: releases.iter().map(record).collect(),
            ..Facts::default()
        }
    }

    #[test]
    fn hosts_that_agree_are_one_word_and_those_that_differ_are_named() {
        let one = facts(
            "20260103000000",
            &[("20260101000000", "foreign"), ("20260102000000", "good"), ("20260103000000", "good")],
        );
        let two = facts("20260102000000", &[("20260102000000", "good"), ("20260103000000", "failed")]);
        insta::assert_snapshot!(shown("prod", &[("web1", &one), ("web2", &two), ("web3", &one)]), @r"
        release         state                                  live                commit      made                  by
        20260103000000  good on web1, web3; failed on web2     live on web1, web3  0123456789  2026-01-01T00:00:00Z  Ada L.@desk
        20260102000000  good                                   live on web2        0123456789  2026-01-01T00:00:00Z  Ada L.@desk
        20260101000000  foreign on web1, web3; absent on web2                      -           -                     -
        ");
    }

    #[test]
    fn a_tree_without_releases_and_a_link_to_somewhere_else_are_said() {
        let other = facts("by-hand", &[]);
        insta::assert_snapshot!(shown("prod", &[("web1", &other), ("web2", &Facts::default())]), @r"
        there are no releases on prod
        web1: current points at /srv/shop/releases/by-hand, which is no release
        ");
    }
}
