//! Going back to an earlier release is the same transaction.

use super::super::scripted::Fault;
use super::super::scripted::OLD;
use super::super::scripted::OLDER;
use super::super::scripted::Step;
use super::super::scripted::World;
use super::super::scripted::id;
use super::roll_back;

#[tokio::test(start_paused = true)]
async fn a_rollback_uploads_nothing_and_prunes_nothing() {
    let world = World::of(2);
    let ended = roll_back(&world, OLDER).await;
    assert_eq!(ended.code(), 0);
    assert_eq!(ended.summary(), [format!("host1 Done {OLDER}"), format!("host2 Done {OLDER}")]);
    let mut steps: Vec<Step> = world.log().iter().map(|entry| entry.step).collect();
    steps.dedup();
    for never in
        [Step::Upload, Step::Prepare, Step::Hook("after_unpack"), Step::Once, Step::Hook("after_deploy")]
    {
        assert!(!steps.contains(&never), "{never:?}");
    }
    assert!(steps.contains(&Step::Hook("after_rollback")));
    assert!(world.models().iter().all(|model| model.pruned.is_empty() && model.releases.len() == 2));
}

#[tokio::test(start_paused = true)]
async fn a_rollback_that_fails_is_put_back_like_a_deploy() {
    let world = World::of(3).fails(Step::Activate, 2, Fault::Refused);
    let ended = roll_back(&world, OLDER).await;
    assert_eq!(ended.code(), 5);
    assert!(world.models().iter().all(|model| model.current == Some(id(OLD))));
}

#[tokio::test(start_paused = true)]
async fn a_rollback_is_refused_when_somebody_deployed_since_it_was_planned() {
    let world = World::of(2);
    let planned = [world.facts(0), world.facts(1)];
    let world = world.with(1, |model| {
        model.current = Some(id(OLDER));
        model.running = Some(id(OLDER));
    });
    let ended = super::roll_back_as_planned(&world, planned.to_vec(), OLDER).await;
    assert_eq!(ended.code(), 3);
    let (host, error) = ended.failures().swap_remove(0);
    assert_eq!(host, "host2");
    assert!(error.contains(OLDER), "{error}");
    assert!(world.log().iter().all(|e| matches!(e.step, Step::Lock | Step::Leave)));
}

#[tokio::test(start_paused = true)]
async fn a_rollback_is_refused_when_its_target_was_removed_since_it_was_planned() {
    let world = World::of(2);
    let planned = [world.facts(0), world.facts(1)];
    let world = world.with(0, |model| model.releases.retain(|release| release.id != id(OLDER)));
    let ended = super::roll_back_as_planned(&world, planned.to_vec(), OLDER).await;
    assert_eq!(ended.code(), 3);
    assert!(ended.failures()[0].1.contains("host1: it is not there"), "{:?}", ended.failures());
}
