//! Hosts that were left out of a run, and how they are brought level later.

use super::super::resume::ResumeProblem;
use super::super::resume::Resumption;
use super::super::resume::resumption;
use super::super::scripted::Fault;
use super::super::scripted::Lock;
use super::super::scripted::OLD;
use super::super::scripted::OLDER;
use super::super::scripted::Step;
use super::super::scripted::World;
use super::super::scripted::id;
use super::super::scripted::record;
use super::Ended;
use super::artifact;
use super::everywhere;
use super::run_without;
use crate::deploy::Job;
use crate::host::Facts;
use crate::host::ReleaseRecord;
use crate::host::Verb;

const NEW: &str = "20260103000000";

fn facts(live: Option<&str>, releases: &[ReleaseRecord], absent: &[&str]) -> Facts {
    Facts {
        current: live.map(|live| format!("/srv/shop/releases/{live}")),
        releases: releases.to_vec(),
        absent: absent.iter().map(|host| (*host).to_owned()).collect(),
        ..Facts::default()
    }
}

fn with_digest(id: &str, state: &str, digest: &str) -> ReleaseRecord {
    ReleaseRecord { digest: Some(digest.to_owned()), ..record(id, state, None) }
}

/// What a host has that took part when `web3` was left out.
fn level() -> Facts {
    facts(Some(NEW), &[record(OLD, "good", None), with_digest(NEW, "good", "aa")], &["web3"])
}

fn plan(third: &Facts) -> Result<Resumption, ResumeProblem> {
    resumption(&[("web1", &level()), ("web2", &level()), ("web3", third)])
}

#[test]
fn what_the_hosts_run_that_took_part_is_what_the_others_lack() {
    let expected = Resumption {
        release: id(NEW),
        digest: Some("aa".to_owned()),
        behind: vec!["web3".to_owned()],
        lacking: vec!["web3".to_owned()],
        caught_up: Vec::new(),
    };
    let old = record(OLD, "good", None);
    assert_eq!(plan(&facts(Some(OLD), std::slice::from_ref(&old), &[])), Ok(expected.clone()));
    // A host on which nothing was deployed yet.
    assert_eq!(plan(&facts(None, &[], &[])), Ok(expected.clone()));
    // One on which an attempt at this release failed gets it anew.
    for state in ["failed", "preparing"] {
        let tried = [old.clone(), with_digest(NEW, state, "aa")];
        assert_eq!(plan(&facts(Some(OLD), &tried, &[])), Ok(expected.clone()), "{state}");
    }
    // One that ran it once only has to go back to it.
    for state in ["good", "bad", "adopted"] {
        let ran = [old.clone(), with_digest(NEW, state, "aa")];
        let expected = Resumption { lacking: Vec::new(), ..expected.clone() };
        assert_eq!(plan(&facts(Some(OLD), &ran, &[])), Ok(expected), "{state}");
    }
}

#[test]
fn a_host_that_is_level_has_nothing_done_to_it_but_is_not_remembered_any_longer() {
    let caught_up = plan(&level()).unwrap();
    assert_eq!((caught_up.behind.len(), caught_up.caught_up.as_slice()), (0, &["web3".to_owned()][..]));
    assert!(!caught_up.is_empty());
    let all = facts(Some(NEW), &[with_digest(NEW, "good", "aa")], &[]);
    assert!(resumption(&[("web1", &all), ("web2", &all)]).unwrap().is_empty());
}

#[test]
fn hosts_that_took_part_and_disagree_are_shown_as_a_table() {
    let old = facts(Some(OLD), &[record(OLD, "good", None)], &[]);
    let problem = resumption(&[("web1", &level()), ("web2", &old), ("web3", &old)]).unwrap_err();
    insta::assert_snapshot!(problem, @r"
    the hosts do not agree on what is live:
      web1: live 20260103000000
      web2: live 20260102000000
      web3: live 20260102000000, left out before
    ");
    // Each was deployed to without the other.
    let first = facts(Some(NEW), &[record(NEW, "good", None)], &["web2"]);
    let second = facts(Some(OLD), &[record(OLD, "good", None)], &["web1"]);
    let problem = resumption(&[("web1", &first), ("web2", &second)]).unwrap_err();
    insta::assert_snapshot!(problem, @r"
    the hosts do not agree on what is live:
      web1: live 20260103000000, left out before
      web2: live 20260102000000, left out before
    ");
}

#[test]
fn where_it_is_not_known_what_to_bring_hosts_level_with_the_reason_is_said() {
    let other = facts(Some(OLD), &[with_digest(NEW, "failed", "bb")], &[]);
    insta::assert_snapshot!(plan(&other).unwrap_err(), @r"
    the hosts hold different content under the id 20260103000000:
      web1: aa
      web2: aa
      web3: bb
    ");
    let foreign = facts(None, &[record(NEW, "foreign", None)], &[]);
    insta::assert_snapshot!(plan(&foreign).unwrap_err(), @"there is a directory releases/20260103000000 that rdeploy did not make on web3");
    let by_hand = facts(Some("by-hand"), &[], &[]);
    insta::assert_snapshot!(resumption(&[("web1", &by_hand), ("web2", &facts(None, &[], &[]))]).unwrap_err(), @"what is live, `by-hand`, is no release, so no host can be brought level with it");
    let nothing = facts(None, &[], &[]);
    insta::assert_snapshot!(resumption(&[("web1", &nothing), ("web2", &nothing)]).unwrap_err(), @"nothing is deployed on web1, web2, so there is nothing to bring hosts level with");
}

/// Three hosts, of which the first was left out when the others got `OLD`; it still runs `OLDER`.
fn first_left_behind() -> World {
    let mut world = World::of(3).with(0, |model| {
        model.current = Some(id(OLDER));
        model.running = Some(id(OLDER));
        model.releases.retain(|release| release.id == id(OLDER));
    });
    for place in [1, 2] {
        world = world.with(place, |model| model.absent = vec!["host1".to_owned()]);
    }
    world
}

fn planned(world: &World) -> Resumption {
    planned_for(world, &["host1", "host2", "host3"])
}

fn planned_for(world: &World, names: &[&str]) -> Resumption {
    let all = world.all_facts();
    resumption(&names.iter().copied().zip(&all).collect::<Vec<_>>()).unwrap()
}

async fn resume(world: &World, plan: &Resumption) -> Ended {
    let artifact = artifact();
    let job = Job::Resume(plan, Some(&artifact));
    run_without(world, &everywhere(), Verb::Resume, job, world.all_facts(), &[]).await
}

fn steps(world: &World, host: usize) -> Vec<Step> {
    world.log().iter().filter(|entry| entry.host == host && !entry.ended).map(|entry| entry.step).collect()
}

#[tokio::test(start_paused = true)]
async fn only_hosts_that_are_behind_get_the_release_while_all_are_locked() {
    let world = first_left_behind();
    let ended = resume(&world, &planned(&world)).await;
    assert_eq!(ended.code(), 0, "{:?}", ended.events);
    assert_eq!(ended.report.release, Some(id(OLD)), "the id that the others have");
    assert_eq!(
        ended.summary(),
        [format!("host1 Done {OLD}"), format!("host2 Locking {OLD}"), format!("host3 Locking {OLD}")]
    );
    for place in [1, 2] {
        assert_eq!(steps(&world, place), [Step::Lock, Step::Absent, Step::Leave]);
    }
    let own = steps(&world, 0);
    for step in [Step::Upload, Step::Hook("after_unpack"), Step::Hook("before_switch"), Step::Commit] {
        assert!(own.contains(&step), "{step:?} in {own:?}");
    }
    assert!(!own.contains(&Step::Once), "the migration ran when the others got the release");
    let log = world.log();
    let begin = log.iter().position(|entry| entry.step == Step::Begin).unwrap();
    assert_eq!(log[..begin].iter().filter(|e| e.step == Step::Lock && e.ended).count(), 3);
    for model in world.models() {
        assert_eq!((model.current, model.running), (Some(id(OLD)), Some(id(OLD))));
        assert_eq!((model.lock, model.absent), (Lock::Free, Vec::new()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_has_the_release_is_only_switched_to_it() {
    let world = first_left_behind().with(0, |model| model.releases.push(record(OLD, "bad", None)));
    let ended = resume(&world, &planned(&world)).await;
    assert_eq!(ended.code(), 0);
    let own = steps(&world, 0);
    for never in [Step::Upload, Step::Prepare, Step::Hook("after_unpack"), Step::Once] {
        assert!(!own.contains(&never), "{never:?} in {own:?}");
    }
    assert!(world.models().iter().all(|model| model.running == Some(id(OLD)) && model.pruned.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn a_resumption_that_fails_puts_its_hosts_back_and_leaves_the_others_as_they_are() {
    let world = first_left_behind().fails(Step::Activate, 0, Fault::Refused);
    let ended = resume(&world, &planned(&world)).await;
    assert_eq!(ended.code(), 5);
    assert_eq!(ended.summary()[0], format!("host1 Reverted {OLDER}"));
    for place in [1, 2] {
        assert_eq!(steps(&world, place), [Step::Lock, Step::Leave]);
    }
    let models = world.models();
    assert_eq!(models[0].running, Some(id(OLDER)));
    assert!(models.iter().all(|model| model.lock == Lock::Free));
    assert_eq!(models[1].absent, ["host1"], "it is still remembered");
    // What failed is made anew by the next one.
    let world = world.fails_times(0, Step::Activate, 0, Fault::Refused);
    assert_eq!(planned(&world).lacking, ["host1"]);
}

#[tokio::test(start_paused = true)]
async fn a_resumption_is_refused_when_something_else_is_live_by_the_time_of_the_lock() {
    let world = first_left_behind();
    let plan = planned(&world);
    let world = world.with(0, |model| {
        model.current = Some(id(OLD));
        model.running = Some(id(OLD));
        model.releases.push(record(OLD, "good", None));
    });
    let ended = resume(&world, &plan).await;
    assert_eq!(ended.code(), 3);
    assert!(ended.failures()[0].1.contains("while this was being planned"), "{:?}", ended.failures());
    assert!(world.log().iter().all(|entry| matches!(entry.step, Step::Lock | Step::Leave)));
    assert!(world.models().iter().all(|model| model.lock == Lock::Free));
}

#[tokio::test(start_paused = true)]
async fn a_held_lock_on_a_host_that_is_level_keeps_a_resumption_from_starting() {
    let world = first_left_behind().with(2, |model| model.lock = Lock::Others { tries: usize::MAX });
    let ended = resume(&world, &planned(&world)).await;
    assert_eq!(ended.code(), 4);
    assert!(!steps(&world, 0).contains(&Step::Begin));
}

#[tokio::test(start_paused = true)]
async fn a_deploy_notes_on_every_host_who_was_left_out() {
    let world = World::of(2);
    let artifact = artifact();
    let job = Job::Deploy(&artifact);
    let hooks = everywhere();
    let ended = run_without(&world, &hooks, Verb::Deploy, job, world.all_facts(), &["host3"]).await;
    assert_eq!(ended.code(), 0);
    assert!(world.models().iter().all(|model| model.absent == ["host3"]));
}

#[tokio::test(start_paused = true)]
async fn where_all_hosts_are_level_those_that_remember_otherwise_are_told() {
    let world = World::of(2).with(1, |model| model.absent = vec!["host1".to_owned()]);
    let plan = planned_for(&world, &["host1", "host2"]);
    assert_eq!((plan.behind.len(), plan.caught_up.as_slice()), (0, &["host1".to_owned()][..]));
    let ended = resume(&world, &plan).await;
    assert_eq!(ended.code(), 0, "{:?}", ended.events);
    for place in [0, 1] {
        assert_eq!(steps(&world, place), [Step::Lock, Step::Absent, Step::Leave]);
    }
    assert!(world.models().iter().all(|model| model.absent.is_empty() && model.lock == Lock::Free));
}
