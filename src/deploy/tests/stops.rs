//! The user stops a run: once, twice, at any moment.

use std::time::Duration;

use super::super::Stops;
use super::super::scripted::Fault;
use super::super::scripted::Step;
use super::super::scripted::World;
use super::deploy;

/// The exit codes of runs that are stopped at their first call, their second, and so on, each with the
/// number of calls in a row it stands for: `130 × 20, 0 × 6`.
async fn codes_by_moment(fault: Fault) -> String {
    let calls = {
        let world = World::of(2);
        deploy(&world).await;
        world.log().iter().filter(|entry| !entry.ended).count()
    };
    let mut codes: Vec<(u8, Step, usize)> = Vec::new();
    for call in 0..calls {
        let world = World::of(2).stops_at(call, fault);
        let ended = deploy(&world).await;
        let step = world.log().iter().filter(|entry| !entry.ended).nth(call).unwrap().step;
        match codes.last_mut() {
            Some((code, _, times)) if *code == ended.code() => *times += 1,
            _ => codes.push((ended.code(), step, 1)),
        }
    }
    let run = |(code, step, times): &(u8, Step, usize)| format!("{code} from {step:?} on ({times} calls)");
    codes.iter().map(run).collect::<Vec<_>>().join("\n")
}

#[tokio::test(start_paused = true)]
async fn until_the_commit_one_stop_puts_everything_back() {
    insta::assert_snapshot!(codes_by_moment(Fault::Cancel).await, @r#"
    130 from Lock on (25 calls)
    0 from Commit on (8 calls)
    "#);
}

#[tokio::test(start_paused = true)]
async fn two_stops_leave_what_may_be_switched_to_the_guardians() {
    insta::assert_snapshot!(codes_by_moment(Fault::Abandon).await, @r#"
    130 from Lock on (17 calls)
    8 from Activate on (10 calls)
    0 from Hook("after_deploy") on (6 calls)
    "#);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_stopped_before_it_locks_asks_for_nothing() {
    let world = World::of(2);
    world.stops.cancel.cancel();
    let ended = deploy(&world).await;
    assert_eq!((ended.code(), ended.interruptions()), (130, 1));
    assert!(world.log().iter().all(|entry| entry.step != Step::Begin));
}

#[tokio::test(start_paused = true)]
async fn a_stop_while_a_lock_is_awaited_frees_it_too() {
    let world = World::of(2).fails(Step::Lock, 1, Fault::Cancel);
    let ended = deploy(&world).await;
    assert_eq!(ended.code(), 130);
    let left: Vec<usize> =
        world.log().iter().filter(|e| e.step == Step::Leave && e.ended).map(|e| e.host).collect();
    assert_eq!(left, [0, 1]);
}

#[tokio::test(start_paused = true)]
async fn in_ci_putting_back_takes_no_longer_than_it_may() {
    let limit = Duration::from_secs(7);
    let mut world = World::of(2).fails(Step::Activate, 0, Fault::Hang).fails(Step::Revert, 1, Fault::Hang);
    world.stops = Stops { revert_limit: Some(limit), ..Stops::default() };
    let started = tokio::time::Instant::now();
    let ended = deploy(&world).await;
    assert_eq!(ended.code(), 8);
    // A minute of hanging before Ctrl-C.
    let after = started.elapsed() - Duration::from_secs(60);
    assert!(after >= limit && after < limit + Duration::from_secs(1), "{after:?}");
    // The host that had answered by then is not in doubt.
    assert_eq!(ended.summary(), ["host1 Reverted 20260102000000", "host2 Reverting ?"]);
    let (host, text) = ended.failures().swap_remove(0);
    assert_eq!(host, "host2");
    assert!(text.contains("30 s"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_stop_during_the_way_back_does_not_make_it_an_interruption() {
    let world = World::of(2).fails(Step::Activate, 0, Fault::Refused).fails(Step::Revert, 1, Fault::Cancel);
    let ended = deploy(&world).await;
    assert_eq!((ended.code(), ended.interruptions()), (5, 0));
}
