//! What follows from the facts of all hosts together.

use super::super::plan::Need;
use super::super::plan::RollbackProblem;
use super::super::plan::differing;
use super::super::plan::next_release;
use super::super::plan::problems;
use super::super::plan::rollback_release;
use super::super::plan::skewed_clocks;
use super::super::scripted::id;
use super::super::scripted::record;
use crate::host::Facts;
use crate::host::ReleaseRecord;

const A: &str = "20260101000000";
const B: &str = "20260102000000";
const C: &str = "20260103000000";

fn facts(values: &[(&str, &str)]) -> Facts {
    let values = values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Facts { values: values.collect(), ..Facts::default() }
}

fn said(hosts: &[(&str, &Facts)], need: Option<Need>) -> Vec<String> {
    problems(hosts, need).into_iter().map(|problem| format!("{}: {}", problem.host, problem.text)).collect()
}

fn running(live: &str, releases: &[ReleaseRecord]) -> Facts {
    Facts {
        current: Some(format!("/srv/shop/releases/{live}")),
        releases: releases.to_vec(),
        ..Facts::default()
    }
}

#[test]
fn every_problem_of_every_host_is_told() {
    let one = Facts { problems: vec!["no tar".into(), "no gzip".into()], ..facts(&[("tree", "m1 a /srv")]) };
    let two = facts(&[("tree", "m1 a /srv")]);
    let three = facts(&[("tree", "m1 a /srv/other")]);
    insta::assert_snapshot!(said(&[("web1", &one), ("alias", &two), ("web2", &three)], None).join("\n"), @r#"
    web1: no tar
    web1: no gzip
    alias: this is the same directory on the same machine as web1; name it once
    "#);
}

#[test]
fn space_and_inodes_are_compared_with_what_the_release_needs() {
    let need = Some(Need { bytes: 100 << 20, entries: 1000 });
    // 100 MiB, a tenth of it, 1 MiB, and 4 KiB for each entry.
    let enough = 102_400 + 10_240 + 1_024 + 4_000;
    let host = |free: u64, inodes: u64| {
        facts(&[("space_kb", &format!("{free} /srv/shop")), ("inodes", &format!("{inodes} /srv"))])
    };
    for (free, inodes, problems) in [
        (enough, 1200, 0),
        (enough - 1, 1200, 1),
        (enough, 1199, 1),
        (0, 1, 2),
        // A file system that does not count inodes says 0.
        (enough, 0, 0),
    ] {
        assert_eq!(said(&[("web", &host(free, inodes))], need).len(), problems, "{free} {inodes}");
        assert!(said(&[("web", &host(free, inodes))], None).is_empty());
    }
    insta::assert_snapshot!(said(&[("web", &host(0, 1))], need).join("\n"), @r#"
    web: not enough space for the release on /srv/shop: 0 MiB free, 114 MiB needed; make room, or lower keep_releases
    web: not enough free inodes on /srv: 1 free, 1200 needed
    "#);
    // A host that could not say is not refused for it.
    assert!(said(&[("web", &facts(&[("space_kb", " /srv")]))], need).is_empty());
}

#[test]
fn a_clock_that_is_far_off_is_told_with_its_direction() {
    let clock = |seconds: i64| facts(&[("clock", &seconds.to_string())]);
    let hosts = [
        ("right", clock(1_000_300)),
        ("ahead", clock(1_000_301)),
        ("behind", clock(999_000)),
        ("mute", facts(&[])),
    ];
    let hosts: Vec<(&str, &Facts)> = hosts.iter().map(|(host, facts)| (*host, facts)).collect();
    let skews: Vec<_> = skewed_clocks(&hosts, 1_000_000).into_iter().map(|p| (p.host, p.text)).collect();
    let expected = [("ahead", "its clock is 301 s ahead"), ("behind", "its clock is 1000 s behind")];
    assert_eq!(skews, expected.map(|(host, text)| (host.to_owned(), text.to_owned())));
}

#[test]
fn the_next_id_is_later_than_the_newest_of_all_hosts() {
    let now: jiff::Timestamp = "2026-01-02T12:00:00Z".parse().unwrap();
    let one = running(A, &[record(A, "good", None)]);
    let two = running(A, &[record(A, "good", None), record(C, "failed", None)]);
    assert_eq!(next_release(now, [&one]), id("20260102120000"));
    assert_eq!(next_release(now, [&one, &two]), id("20260103000001"));
    assert_eq!(next_release(now, []), id("20260102120000"));
}

#[test]
fn a_rollback_goes_to_what_was_live_and_good_before_on_every_host() {
    let good = running(C, &[record(A, "good", None), record(B, "bad", Some(A)), record(C, "good", Some(B))]);
    assert_eq!(rollback_release(&[("web1", &good), ("web2", &good)], None), Ok(id(A)));
    assert_eq!(rollback_release(&[("web1", &good)], Some(id(B))), Ok(id(B)));
    let adopted = running(B, &[record(A, "adopted", None), record(B, "good", Some(A))]);
    assert_eq!(rollback_release(&[("web1", &adopted)], Some(id(A))), Ok(id(A)));
}

#[test]
fn a_release_that_cannot_be_gone_back_to_is_named_with_each_host_and_its_reason() {
    let good = running(C, &[record(B, "good", None), record(C, "good", Some(B))]);
    let lacks = running(C, &[record(C, "good", Some(B))]);
    let failed = running(C, &[record(B, "failed", None), record(C, "good", None)]);
    let foreign = running(C, &[record(B, "foreign", None), record(C, "good", None)]);
    let hosts = [("web1", &good), ("web2", &lacks), ("web3", &failed), ("web4", &foreign)];
    let problem = rollback_release(&hosts, Some(id(B))).unwrap_err();
    insta::assert_snapshot!(problem, @"release 20260102000000 cannot be rolled back to on web2: it is not there; web3: it never ran well (state failed); web4: rdeploy did not make it");
}

#[test]
fn hosts_that_disagree_about_the_release_before_are_shown_as_a_table() {
    let one = running(C, &[record(A, "good", None), record(B, "good", Some(A)), record(C, "good", Some(B))]);
    let two = running(B, &[record(A, "good", None), record(B, "good", Some(A))]);
    let three = running(C, &[record(C, "good", None)]);
    let problem = rollback_release(&[("web1", &one), ("web2", &two), ("web3", &three)], None).unwrap_err();
    insta::assert_snapshot!(problem, @r#"
    the hosts do not agree on the previous release:
      web1: live 20260103000000, previous 20260102000000
      web2: live 20260102000000, previous 20260101000000
      web3: live 20260103000000, previous none
    "#);
}

#[test]
fn there_may_be_nothing_to_go_back_to() {
    let first = running(A, &[record(A, "good", None)]);
    let empty = Facts::default();
    assert!(matches!(rollback_release(&[("web1", &first)], None), Err(RollbackProblem::None(_))));
    assert!(matches!(rollback_release(&[("web1", &empty)], None), Err(RollbackProblem::None(_))));
    assert_eq!(rollback_release(&[("web1", &first)], Some(id(A))), Err(RollbackProblem::Live(id(A))));
}

#[test]
fn one_id_with_two_contents_is_refused() {
    let with = |digest: &str| {
        let mut releases = [record(A, "good", None), record(B, "good", Some(A))];
        releases[0].digest = Some(digest.to_owned());
        running(B, &releases)
    };
    assert_eq!(rollback_release(&[("web1", &with("aa")), ("web2", &with("aa"))], None), Ok(id(A)));
    let problem = rollback_release(&[("web1", &with("aa")), ("web2", &with("bb"))], None).unwrap_err();
    assert!(problem.to_string().contains("different content"), "{problem}");
}

#[test]
fn hosts_that_run_different_releases_are_told_and_a_new_host_is_none() {
    let (a, b) = (running(A, &[]), running(B, &[]));
    insta::assert_snapshot!(
        differing(&[("web1", &a), ("web2", &b), ("new", &Facts::default())]).unwrap(),
        @"the hosts run different releases: web1 20260101000000, web2 20260102000000; after this they run the same one"
    );
    assert_eq!(differing(&[("web1", &a), ("web2", &a), ("new", &Facts::default())]), None);
}
