//! What goes well.

use super::super::scripted::Fault;
use super::super::scripted::OLD;
use super::super::scripted::OLDER;
use super::super::scripted::Step;
use super::super::scripted::World;
use super::super::scripted::id;
use super::deploy;
use super::deploy_with;
use super::hook;
use crate::config::Hook;
use crate::config::Hooks;
use crate::event::EventKind;

/// The calls in their order, those of one step that follow each other on one line.
pub(super) fn calls(world: &World) -> String {
    let mut lines: Vec<(Step, Vec<usize>)> = Vec::new();
    for entry in world.log().iter().filter(|entry| !entry.ended) {
        match lines.last_mut() {
            Some((step, hosts)) if *step == entry.step => hosts.push(entry.host + 1),
            _ => lines.push((entry.step, vec![entry.host + 1])),
        }
    }
    let line = |(step, hosts): &(Step, Vec<usize>)| {
        let hosts: Vec<String> = hosts.iter().map(usize::to_string).collect();
        format!("{step:?}: {}", hosts.join(" "))
    };
    lines.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[tokio::test(start_paused = true)]
async fn a_deploy_to_three_hosts_takes_these_steps() {
    let world = World::of(3);
    let ended = deploy(&world).await;
    assert_eq!(ended.code(), 0);
    insta::assert_snapshot!(calls(&world), @r#"
    Lock: 1 2 3
    Begin: 1 2 3
    Upload: 1 2 3
    Prepare: 1 2
    Hook("after_unpack"): 1
    Prepare: 3
    Hook("after_unpack"): 2
    Ready: 1
    Hook("after_unpack"): 3
    Ready: 2 3
    Once: 2
    AnswerBeforeSwitch: 1 2 3
    Hook("before_switch"): 1 2 3
    Activate: 1 2 3
    Probe: 1 2
    Hook("after_switch"): 1
    Probe: 3
    Hook("after_switch"): 2 3
    AnswerBeforeCommit: 1 2 3
    Commit: 1 2 3
    Hook("after_deploy"): 1 2 3
    Finish: 1 2 3
    Leave: 1 2 3
    "#);
}

#[tokio::test(start_paused = true)]
async fn hooks_marked_once_run_in_the_order_of_the_configuration_whatever_hosts_they_run_on() {
    let world = World::of(2);
    let once = |run: &str, role: &str| Hook { roles: vec![role.to_owned()], ..hook(run, true) };
    let hooks = Hooks { before_switch: vec![once("first", "db"), once("second", "web")], ..Hooks::default() };
    deploy_with(&world, &hooks).await;
    let once = world.log().into_iter().filter(|entry| entry.step == Step::Once);
    let order: Vec<(usize, bool)> = once.map(|entry| (entry.host, entry.ended)).collect();
    assert_eq!(order, [(1, false), (1, true), (0, false), (0, true)]);
}

#[tokio::test(start_paused = true)]
async fn after_a_good_deploy_every_host_is_said_to_run_the_release() {
    let world = World::of(2);
    let ended = deploy(&world).await;
    let release = ended.report.release.unwrap().to_string();
    assert_eq!(ended.summary(), [format!("host1 Done {release}"), format!("host2 Done {release}")]);
    assert!(ended.failures().is_empty() && ended.warnings().is_empty());
    let verified = ended.events.iter().filter(|event| matches!(event, EventKind::Verified { .. }));
    assert_eq!(verified.count(), 2);
    let steps: Vec<&str> = ended.report.timings.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(steps, ["prepare", "switch"]);
}

#[tokio::test(start_paused = true)]
async fn the_release_gets_an_id_later_than_every_one_on_any_host() {
    let far = "20991231235959";
    let world = World::of(2).with(1, |model| {
        model.releases.push(super::super::scripted::record(far, "failed", None));
    });
    let ended = deploy(&world).await;
    assert_eq!(ended.report.release, Some(id("21000101000000")));
}

#[tokio::test(start_paused = true)]
async fn old_releases_go_but_never_the_one_that_was_live_before() {
    let oldest = "20250101000000";
    let world = World::of(2).with(0, |model| {
        model.releases.push(super::super::scripted::record(oldest, "good", None));
        // Somebody had gone back to it by hand.
        model.current = Some(id(OLDER));
        model.running = Some(id(OLDER));
    });
    let ended = deploy(&world).await;
    assert_eq!(ended.code(), 0);
    assert_eq!(world.models()[0].pruned, [id(oldest)]);
    assert_eq!(world.models()[1].pruned, [id(OLDER)]);
    assert!(world.models()[1].releases.iter().any(|release| release.id == id(OLD)));
}

#[tokio::test(start_paused = true)]
async fn a_host_with_a_tool_of_its_own_is_not_asked_through_the_connection() {
    let world = World::of(2).with(0, |model| model.asks_for_probe = false);
    deploy(&world).await;
    let probed: Vec<usize> =
        world.log().iter().filter(|e| e.step == Step::Probe && !e.ended).map(|e| e.host).collect();
    assert_eq!(probed, [1]);
}

#[tokio::test(start_paused = true)]
async fn what_fails_after_the_commit_is_only_a_warning() {
    for step in [Step::Hook("after_deploy"), Step::Finish, Step::Leave] {
        for fault in [Fault::Refused, Fault::LostBefore, Fault::LostAfter, Fault::Silent, Fault::Died] {
            let world = World::of(2).fails(step, 1, fault);
            let ended = deploy(&world).await;
            assert_eq!(ended.code(), 0, "{step:?} {fault:?}");
            assert!(ended.failures().is_empty());
            assert_eq!(ended.warnings()[0].0, "host2", "{step:?} {fault:?}");
        }
    }
}
