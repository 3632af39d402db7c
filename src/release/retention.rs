//! Owns which releases stay on a host and which one a rollback goes to. Pure.

use super::ReleaseId;

/// What is known of one release for these questions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its id.
    pub id: ReleaseId,
    /// Its state, as the host records it; anything rdeploy did not make is `foreign`.
    pub state: String,
    /// What was live before it.
    pub previous: Option<ReleaseId>,
}

/// Returns the releases to remove once `live` is committed: good ones beyond the newest `keep`, and
/// failed or bad ones older than the oldest that stays. Never `live`, never what was live before it,
/// never one that rdeploy did not make.
pub fn prunable(
    releases: &[Standing],
    live: ReleaseId,
    before: Option<ReleaseId>,
    keep: usize,
) -> Vec<ReleaseId> {
    let kept_anyway = |id: ReleaseId| id == live || Some(id) == before;
    let mut good: Vec<ReleaseId> =
        releases.iter().filter(|r| r.state == "good").map(|r| r.id).chain([live]).collect();
    good.sort_unstable_by(|a, b| b.cmp(a));
    good.dedup();
    let oldest = good.iter().take(keep.max(1)).next_back().copied().unwrap_or(live);
    let mut gone: Vec<ReleaseId> = releases
        .iter()
        .filter(|r| match r.state.as_str() {
            "good" | "bad" | "failed" | "preparing" => r.id < oldest,
            _ => false,
        })
        .map(|r| r.id)
        .filter(|id| !kept_anyway(*id))
        .collect();
    gone.sort_unstable();
    gone
}

/// Returns the release that was live and good before `live`: its own record of what came before,
/// followed past releases that are not good any more; else the newest good one with a smaller id.
/// Modification times play no part.
pub fn rollback_target(releases: &[Standing], live: ReleaseId) -> Option<ReleaseId> {
    let find = |id: ReleaseId| releases.iter().find(|r| r.id == id);
    let mut seen = vec![live];
    let mut next = find(live).and_then(|r| r.previous);
    while let Some(id) = next {
        if seen.contains(&id) {
            break;
        }
        seen.push(id);
        match find(id) {
            Some(release) if runs(release) => return Some(id),
            Some(release) => next = release.previous,
            None => break,
        }
    }
    releases.iter().filter(|r| runs(r) && r.id < live).map(|r| r.id).max()
}

/// Whether it ran well: here, or under the tool it was adopted from.
fn runs(release: &Standing) -> bool {
    matches!(release.state.as_str(), "good" | "adopted")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u32) -> ReleaseId {
        format!("202601010000{n:02}").parse().unwrap()
    }

    fn release(n: u32, state: &str, previous: Option<u32>) -> Standing {
        Standing { id: id(n), state: state.to_owned(), previous: previous.map(id) }
    }

    #[test]
    fn only_good_releases_count_and_what_is_live_or_was_before_stays() {
        let releases = [
            release(1, "good", None),
            release(2, "failed", None),
            release(3, "good", Some(1)),
            release(4, "bad", Some(3)),
            release(5, "good", Some(3)),
            release(6, "failed", None),
            release(7, "preparing", None),
        ];
        assert_eq!(prunable(&releases, id(7), Some(id(5)), 2), [id(1), id(2), id(3), id(4)]);
        assert_eq!(prunable(&releases, id(7), Some(id(1)), 2), [id(2), id(3), id(4)]);
        assert_eq!(prunable(&releases, id(7), Some(id(5)), 9), []);
    }

    #[test]
    fn releases_of_another_tool_are_never_removed() {
        let releases = [release(1, "foreign", None), release(2, "adopted", None), release(3, "good", None)];
        assert_eq!(prunable(&releases, id(9), None, 1), [id(3)]);
    }

    #[test]
    fn a_rollback_goes_to_what_was_live_before_not_to_what_is_one_smaller() {
        // 3 was rolled back from to 1 by name; then 4 was deployed while 1 was live.
        let releases = [
            release(1, "good", None),
            release(2, "good", Some(1)),
            release(3, "bad", Some(2)),
            release(4, "good", Some(1)),
        ];
        assert_eq!(rollback_target(&releases, id(4)), Some(id(1)));
        assert_eq!(rollback_target(&releases, id(3)), Some(id(2)));
        assert_eq!(rollback_target(&releases, id(1)), None);
    }

    #[test]
    fn a_rollback_skips_releases_that_failed_or_were_rolled_back_from() {
        let releases = [
            release(1, "good", None),
            release(2, "bad", Some(1)),
            release(3, "failed", None),
            release(4, "good", Some(2)),
        ];
        assert_eq!(rollback_target(&releases, id(4)), Some(id(1)));
        let lost = [release(1, "good", None), release(4, "good", Some(2))];
        assert_eq!(rollback_target(&lost, id(4)), Some(id(1)));
    }
}
