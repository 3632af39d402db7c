//! A lock that somebody else holds, and a freeze: what is waited for, and what is kept meanwhile.

use std::time::Duration;

use super::super::scripted::Fault;
use super::super::scripted::Lock;
use super::super::scripted::Step;
use super::super::scripted::World;
use super::Ended;
use super::deploy;
use crate::event::EventKind;

/// One host's lock is as said, and nobody is ready to wait for it.
fn contended(host: usize, lock: Lock) -> World {
    World::of(3).with(host, |model| model.lock = lock)
}

fn held(host: usize, tries: usize, wait: u64) -> World {
    let mut world = contended(host, Lock::Others { tries });
    world.wait = Some(Duration::from_secs(wait));
    world
}

/// How often each of the three hosts was asked for something.
fn calls(world: &World, step: Step) -> [usize; 3] {
    let log = world.log();
    [0, 1, 2].map(|host| log.iter().filter(|e| e.host == host && e.step == step && !e.ended).count())
}

fn notes(ended: &Ended) -> Vec<&str> {
    let texts = ended.events.iter().filter_map(|event| match event {
        EventKind::Noted { text, .. } => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_lock_gets_it_and_keeps_no_other_meanwhile() {
    // More often than it is asked for by whoever has the first.
    let world = held(2, 100, 600);
    let ended = deploy(&world).await;
    assert_eq!(ended.code(), 0);
    let [first, second, held] = calls(&world, Step::Lock);
    let [given_back, too, never] = calls(&world, Step::Release);
    assert_eq!((first, second, held), (given_back + 1, too + 1, 101));
    assert!(given_back > 1 && given_back == too && never == 0, "{given_back} {too} {never}");
    // Whoever is waited for is named once.
    assert_eq!(notes(&ended), ["waiting for the lock: ada from laptop, doing deploy prod"]);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_the_first_lock_asks_for_no_other_again() {
    let world = held(0, 5, 600);
    assert_eq!(deploy(&world).await.code(), 0);
    assert_eq!(calls(&world, Step::Lock), [6, 2, 2]);
    assert_eq!(calls(&world, Step::Release), [0, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn of_two_who_ask_at_the_same_moment_the_one_with_the_first_host_outwaits_the_other() {
    // The other one had the third host's, and gives it back.
    let world = contended(2, Lock::Others { tries: 3 });
    let ended = deploy(&world).await;
    assert_eq!((ended.code(), ended.failures()), (0, Vec::new()));
    assert_eq!(calls(&world, Step::Lock), [1, 1, 4]);
    // Who has not the first gives back what it got at once.
    let world = contended(0, Lock::Others { tries: 3 });
    assert_eq!(deploy(&world).await.code(), 4);
    assert_eq!(calls(&world, Step::Lock), [1, 1, 1]);
    assert!(world.models()[1..].iter().all(|model| model.lock == Lock::Free));
}

#[tokio::test(start_paused = true)]
async fn who_has_the_first_host_outwaits_a_crowd_and_no_deploy_that_goes_on() {
    // Each of them had the third host's for a moment.
    let world = contended(2, Lock::Crowd { tries: 200 });
    let ended = deploy(&world).await;
    assert_eq!((ended.code(), ended.failures()), (0, Vec::new()));
    assert_eq!(calls(&world, Step::Lock), [1, 1, 201]);
    // As many times the same one.
    let world = contended(2, Lock::Others { tries: 200 });
    assert_eq!(deploy(&world).await.code(), 4);
    let [_, _, asked] = calls(&world, Step::Lock);
    assert!((2..100).contains(&asked), "{asked}");
    // It ends even so.
    let world = contended(2, Lock::Crowd { tries: usize::MAX });
    assert_eq!(deploy(&world).await.code(), 4);
}

#[tokio::test(start_paused = true)]
async fn who_waited_in_vain_is_told_who_has_it() {
    let world = held(1, usize::MAX, 90);
    let ended = deploy(&world).await;
    assert_eq!(ended.code(), 4);
    let expected =
        "another deploy holds the lock: ada from laptop, doing deploy prod; it was waited for, for 90 s";
    assert_eq!(ended.failures(), [("host2".to_owned(), expected.to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_while_waiting_ends_at_once_with_nothing_locked() {
    let world = held(2, usize::MAX, 600);
    let stop = world.stops.cancel.clone();
    let stopped = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(100)).await;
        stop.cancel();
        tokio::time::Instant::now()
    });
    let ended = deploy(&world).await;
    assert_eq!(ended.code(), 130);
    assert!(stopped.await.unwrap().elapsed() < Duration::from_secs(1));
    assert!(world.models().iter().all(|model| model.lock != Lock::Ours));
    assert_eq!(calls(&world, Step::Begin), [0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_goes_away_while_it_gives_way_ends_the_waiting() {
    let world = held(2, usize::MAX, 600).fails(Step::Release, 1, Fault::LostBefore);
    let ended = deploy(&world).await;
    assert_eq!(ended.code(), 3);
    assert_eq!(ended.failures()[0].0, "host2");
}

#[tokio::test(start_paused = true)]
async fn a_freeze_is_not_waited_for() {
    let world = held(0, 1, 600).with(0, |model| model.lock = Lock::Frozen);
    let ended = deploy(&world).await;
    assert_eq!(ended.code(), 4);
    assert_eq!(calls(&world, Step::Lock), [1, 1, 1]);
    assert!(world.models()[1..].iter().all(|model| model.lock == Lock::Free));
    let (host, error) = ended.failures().swap_remove(0);
    assert_eq!(host, "host1");
    assert_eq!(error, "the environment is frozen: no deploys on Fridays (ada from laptop)");
}
