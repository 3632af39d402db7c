//! Owns seeing, from the facts of all hosts, that they run different releases, and what made them: a
//! client that died while its hosts committed leaves some with the new release and puts others back. Pure.

use std::collections::BTreeMap;

use crate::host::Facts;
use crate::release::ReleaseId;

/// Hosts that run different releases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// What is live, for a person, and where; in the order of the hosts.
    pub live: Vec<(String, Vec<String>)>,
    /// The release that one attempt committed on some of them and did not on others.
    pub half: Option<ReleaseId>,
    /// The newest of the releases that are live, other than that one, that every host can go back to.
    pub common: Option<ReleaseId>,
}

/// Returns how the hosts differ; nothing when all run the same.
pub fn split(hosts: &[(&str, &Facts)]) -> Option<Split> {
    let mut live: Vec<(String, Vec<String>)> = Vec::new();
    for (host, facts) in hosts {
        let name = facts.live_shown();
        match live.iter_mut().find(|(known, _)| *known == name) {
            Some((_, hosts)) => hosts.push((*host).to_owned()),
            None => live.push((name, vec![(*host).to_owned()])),
        }
    }
    if live.len() < 2 {
        return None;
    }
    let half = half(hosts);
    let can_go = |facts: &Facts, id: ReleaseId| {
        let ran = |state: &str| matches!(state, "good" | "bad" | "adopted");
        facts.releases.iter().any(|release| release.id == id && ran(&release.state))
    };
    let common = hosts
        .iter()
        .filter_map(|(_, facts)| facts.live())
        .filter(|id| Some(*id) != half && hosts.iter().all(|(_, facts)| can_go(facts, *id)))
        .max();
    Some(Split { live, half, common })
}

/// The release that some host committed in the attempt in which another was put back.
fn half(hosts: &[(&str, &Facts)]) -> Option<ReleaseId> {
    let mut attempts: BTreeMap<&str, (Option<ReleaseId>, bool)> = BTreeMap::new();
    for (_, facts) in hosts {
        let Some(last) = facts.last.as_ref().filter(|last| !last.attempt.is_empty()) else { continue };
        let (committed, left_out) = attempts.entry(last.attempt.as_str()).or_default();
        if last.outcome == "done" {
            *committed = last.release.parse().ok();
        } else {
            *left_out = true;
        }
    }
    attempts.into_values().find_map(|(committed, left_out)| committed.filter(|_| left_out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::LastAttempt;
    use crate::host::ReleaseRecord;

    const OLD: &str = "20260101000000";
    const NEW: &str = "20260102000000";

    fn facts(live: &str, states: &[(&str, &str)], last: (&str, &str)) -> Facts {
        let release = |(id, state): &(&str, &str)| ReleaseRecord {
            id: id.parse().unwrap(),
            state: (*state).to_owned(),
            digest: None,
            previous: None,
            commit: None,
            made: None,
            actor: None,
        };
        let (attempt, outcome) = last;
        Facts {
            current: Some(format!("/srv/shop/releases/{live}")),
            releases: states.iter().map(release).collect(),
            last: Some(LastAttempt {
                attempt: attempt.to_owned(),
                outcome: outcome.to_owned(),
                release: NEW.to_owned(),
            }),
            ..Facts::default()
        }
    }

    #[test]
    fn hosts_that_run_the_same_are_not_split() {
        let one = facts(NEW, &[], ("t", "done"));
        assert_eq!(split(&[("a", &one), ("b", &one)]), None);
        assert_eq!(split(&[]), None);
    }

    #[test]
    fn a_release_that_one_attempt_committed_on_half_of_the_hosts_is_found() {
        let ahead = facts(NEW, &[(OLD, "good"), (NEW, "good")], ("t", "done"));
        let behind = facts(OLD, &[(OLD, "good"), (NEW, "failed")], ("t", "reverted"));
        let found = split(&[("a", &ahead), ("b", &behind), ("c", &ahead)]).unwrap();
        assert_eq!(
            found.live,
            [(NEW.to_owned(), vec!["a".to_owned(), "c".to_owned()]), (OLD.to_owned(), vec!["b".to_owned()]),]
        );
        assert_eq!(found.half, NEW.parse().ok());
        assert_eq!(found.common, OLD.parse().ok());
    }

    #[test]
    fn hosts_that_differ_for_another_reason_are_not_called_half_done() {
        let one = facts(NEW, &[(NEW, "good")], ("t1", "done"));
        let other = facts(OLD, &[(OLD, "good")], ("t2", "reverted"));
        let found = split(&[("a", &one), ("b", &other)]).unwrap();
        assert_eq!((found.half, found.common), (None, None));
    }
}
