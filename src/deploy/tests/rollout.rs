//! Rolling through the fleet: the order of the calls, a failure in each batch, how fast is put back what is
//! well, the pause, and stopping.

use std::time::Duration;

use super::super::Stops;
use super::super::scripted::Fault;
use super::super::scripted::OLDER;
use super::super::scripted::Step;
use super::super::scripted::World;
use super::deploy;
use super::deploy_with;
use super::good::calls;
use super::hook;
use super::roll_back;
use crate::config::Batch;
use crate::config::Hooks;
use crate::config::Rollout;
use crate::event::EventKind;

const DRAIN: Step = Step::Hook("before_switch");
const UNDRAIN: Step = Step::Hook("after_switch");

fn batches_of(size: u32) -> Rollout {
    Rollout { batch: Batch::Hosts(size), ..Rollout::default() }
}

fn first_then_rest(pause: u64) -> Rollout {
    Rollout { first: 1, pause: Duration::from_secs(pause), ..Rollout::default() }
}

/// The calls from the first switch on, without those of the end.
fn rolling(world: &World) -> String {
    let calls = calls(world);
    let lines = calls.lines().skip_while(|line| !line.starts_with("AnswerBeforeSwitch"));
    let lines = lines.filter(|line| !line.starts_with("Probe"));
    lines.take_while(|line| !line.starts_with("Commit")).collect::<Vec<_>>().join("\n")
}

/// The most hosts that were being put back at the same time, among these.
fn most_at_once(world: &World, hosts: &[usize]) -> usize {
    let (mut now, mut most) = (0, 0);
    for entry in world.log().iter().filter(|entry| entry.step == Step::Revert) {
        if !hosts.contains(&entry.host) {
            continue;
        }
        now = if entry.ended { now - 1 } else { now + 1 };
        most = most.max(now);
    }
    most
}

/// What is said of the fleet as a whole while it rolls.
fn told(events: &[EventKind]) -> Vec<String> {
    let line = |event: &EventKind| match event {
        EventKind::BatchStarted { number, of, hosts } => Some(format!("{number}/{of} {}", hosts.join(" "))),
        EventKind::Paused { hosts, duration } => Some(format!("pause {duration:?} {}", hosts.join(" "))),
        EventKind::Noted { host: None, text } => Some(text.clone()),
        _ => None,
    };
    events.iter().filter_map(line).collect()
}

#[tokio::test(start_paused = true)]
async fn each_batch_is_drained_switched_and_undrained_before_the_next_and_all_are_heard_of_between() {
    let rollout = Rollout { first: 1, ..batches_of(2) };
    let world = World::of(4).rolls(rollout);
    let ended = deploy(&world).await;
    assert_eq!(ended.code(), 0);
    insta::assert_snapshot!(rolling(&world), @r#"
    AnswerBeforeSwitch: 1 2 3 4
    Hook("before_switch"): 1
    Activate: 1
    Hook("after_switch"): 1
    AnswerBeforeCommit: 1
    AnswerBeforeSwitch: 2 3 4
    Hook("before_switch"): 2 3
    Activate: 2 3
    Hook("after_switch"): 2 3
    AnswerBeforeCommit: 1 2 3
    AnswerBeforeSwitch: 4
    Hook("before_switch"): 4
    Activate: 4
    Hook("after_switch"): 4
    AnswerBeforeCommit: 1 2 3 4
    "#);
    assert_eq!(told(&ended.events), ["1/3 host1", "2/3 host2 host3", "3/3 host4"]);
}

#[tokio::test(start_paused = true)]
async fn all_at_once_says_nothing_of_batches() {
    let ended = deploy(&World::of(3)).await;
    assert_eq!(told(&ended.events), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn hosts_go_in_the_order_of_their_roles() {
    let rollout = Rollout { order: vec!["db".to_owned(), "web".to_owned()], ..Rollout::default() };
    let world = World::of(3).rolls(rollout);
    let ended = deploy(&world).await;
    assert_eq!(told(&ended.events), ["1/2 host2 host3", "2/2 host1"]);
}

#[tokio::test(start_paused = true)]
async fn a_rollback_rolls_like_a_deploy() {
    let world = World::of(3).rolls(batches_of(1));
    let ended = roll_back(&world, OLDER).await;
    assert_eq!((ended.code(), told(&ended.events).len()), (0, 3));
    let order: Vec<usize> =
        world.log().iter().filter(|e| e.step == Step::Activate && e.ended).map(|e| e.host).collect();
    assert_eq!(order, [0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_in_any_batch_reverts_what_was_switched_and_undrains_what_was_drained() {
    let mut told = String::new();
    for host in 0..4 {
        for step in [DRAIN, Step::Activate, UNDRAIN] {
            let world = World::of(4).rolls(batches_of(1)).fails_times(1, step, host, Fault::Refused);
            let ended = deploy(&world).await;
            assert_eq!((ended.code(), ended.failures().len()), (5, 1), "{step:?} {host}");
            assert!(ended.summary().iter().all(|line| line.contains("Reverted")), "{:?}", ended.summary());
            assert!(ended.warnings().is_empty(), "{:?}", ended.warnings());
            let log = world.log();
            let at = log.iter().position(|entry| entry.step == Step::Revert).unwrap();
            let of = |step: Step| -> Vec<usize> {
                let mut hosts: Vec<usize> =
                    log[at..].iter().filter(|e| e.step == step && e.ended).map(|e| e.host + 1).collect();
                hosts.sort_unstable();
                hosts
            };
            told.push_str(&format!(
                "{step:?} {}: reverted {:?}, undrained {:?}\n",
                host + 1,
                of(Step::Revert),
                of(UNDRAIN)
            ));
        }
    }
    insta::assert_snapshot!(told, @r#"
    Hook("before_switch") 1: reverted [1, 2, 3, 4], undrained [1]
    Activate 1: reverted [1, 2, 3, 4], undrained [1]
    Hook("after_switch") 1: reverted [1, 2, 3, 4], undrained [1]
    Hook("before_switch") 2: reverted [1, 2, 3, 4], undrained [1, 2]
    Activate 2: reverted [1, 2, 3, 4], undrained [1, 2]
    Hook("after_switch") 2: reverted [1, 2, 3, 4], undrained [1, 2]
    Hook("before_switch") 3: reverted [1, 2, 3, 4], undrained [1, 2, 3]
    Activate 3: reverted [1, 2, 3, 4], undrained [1, 2, 3]
    Hook("after_switch") 3: reverted [1, 2, 3, 4], undrained [1, 2, 3]
    Hook("before_switch") 4: reverted [1, 2, 3, 4], undrained [1, 2, 3, 4]
    Activate 4: reverted [1, 2, 3, 4], undrained [1, 2, 3, 4]
    Hook("after_switch") 4: reverted [1, 2, 3, 4], undrained [1, 2, 3, 4]
    "#);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_well_goes_back_at_once_and_the_healthy_ones_at_the_width_of_the_rollout() {
    for width in 1..4 {
        let rollout = Rollout { first: 4, ..batches_of(width) };
        let world = World::of(8).rolls(rollout).fails(Step::Activate, 4, Fault::Refused);
        let ended = deploy(&world).await;
        assert_eq!(ended.code(), 5);
        assert_eq!(most_at_once(&world, &[0, 1, 2, 3]), width as usize);
        // The failed one, those beside it and those that were only prepared wait for nobody.
        assert_eq!(most_at_once(&world, &[4, 5, 6, 7]), 4);
        let log = world.log();
        let reverts = |ended: bool, hosts: &'static [usize]| {
            let log = &log;
            (0..log.len()).filter(move |n| {
                log[*n].step == Step::Revert && log[*n].ended == ended && hosts.contains(&log[*n].host)
            })
        };
        let last_urgent = reverts(true, &[4, 5, 6, 7]).next_back().unwrap();
        assert!(reverts(false, &[0, 1, 2, 3]).all(|n| n > last_urgent), "{log:#?}");
        let note = format!("healthy hosts are put back {width} at a time, so that the others go on serving");
        assert!(told(&ended.events).contains(&note));
    }
}

#[tokio::test(start_paused = true)]
async fn a_healthy_host_has_its_turn_until_it_serves_again() {
    let world = World::of(3).rolls(batches_of(1)).fails(Step::Activate, 2, Fault::Refused);
    deploy(&world).await;
    let log = world.log();
    let at = log.iter().position(|entry| entry.step == Step::Revert && entry.host == 0).unwrap();
    let turns: Vec<(Step, usize, bool)> = log[at..]
        .iter()
        .filter(|entry| entry.host < 2 && matches!(entry.step, Step::Revert | UNDRAIN))
        .map(|entry| (entry.step, entry.host, entry.ended))
        .collect();
    let turn = |host| {
        [
            (Step::Revert, host, false),
            (Step::Revert, host, true),
            (UNDRAIN, host, false),
            (UNDRAIN, host, true),
        ]
    };
    assert_eq!(turns, [turn(0), turn(1)].concat());
}

#[tokio::test(start_paused = true)]
async fn a_switched_host_that_goes_silent_stops_the_next_batch_and_waits_for_no_turn() {
    let world = World::of(4).rolls(batches_of(1)).fails(Step::AnswerBeforeCommit, 1, Fault::Silent);
    let ended = deploy(&world).await;
    assert_eq!(ended.code(), 5);
    let switched: Vec<usize> =
        world.log().iter().filter(|e| e.step == Step::Activate && e.ended).map(|e| e.host).collect();
    assert_eq!(switched, [0, 1]);
    assert_eq!(ended.failures()[0].0, "host2");
    let log = world.log();
    let first = log.iter().position(|entry| entry.step == Step::Revert && entry.host == 0).unwrap();
    let silent = log.iter().position(|e| e.step == Step::Revert && e.host == 1 && e.ended).unwrap();
    assert!(silent < first, "{log:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_is_refused_everywhere_is_put_back_at_the_width() {
    let world = (0..4).fold(World::of(4).rolls(batches_of(2)), |world, host| {
        world.fails(Step::Commit, host, Fault::Refused)
    });
    let ended = deploy(&world).await;
    assert_eq!(ended.code(), 5);
    assert_eq!(most_at_once(&world, &[0, 1, 2, 3]), 2);
}

#[tokio::test(start_paused = true)]
async fn without_hooks_before_the_switch_none_run_after_a_revert() {
    let hooks = Hooks { after_switch: vec![hook("warm", false)], ..Hooks::default() };
    let world = World::of(2).fails(Step::Activate, 1, Fault::Refused);
    deploy_with(&world, &hooks).await;
    let log = world.log();
    let at = log.iter().position(|entry| entry.step == Step::Revert).unwrap();
    assert!(log[at..].iter().all(|entry| entry.step != UNDRAIN), "{log:#?}");
    // What runs once belongs to the fleet, not to a host that goes back.
    let (before_switch, after_switch) = (vec![hook("drain", false)], vec![hook("purge", true)]);
    let hooks = Hooks { before_switch, after_switch, ..Hooks::default() };
    let world = World::of(2).fails(Step::Activate, 1, Fault::Refused);
    deploy_with(&world, &hooks).await;
    assert!(world.log().iter().all(|entry| entry.step != Step::Once));
}

#[tokio::test(start_paused = true)]
async fn an_undraining_that_fails_is_a_warning_and_does_not_run_where_the_revert_failed() {
    let world = World::of(2)
        .fails(Step::Activate, 1, Fault::Refused)
        .fails(Step::Revert, 0, Fault::Refused)
        .fails(UNDRAIN, 1, Fault::Refused);
    let ended = deploy(&world).await;
    assert_eq!(ended.code(), 6);
    let warned: Vec<String> = ended.warnings().into_iter().map(|(host, _)| host).collect();
    assert_eq!(warned, ["host2"]);
    let log = world.log();
    let at = log.iter().position(|entry| entry.step == Step::Revert).unwrap();
    let undrained: Vec<usize> =
        log[at..].iter().filter(|e| e.step == UNDRAIN && !e.ended).map(|e| e.host).collect();
    assert_eq!(undrained, [1]);
}

#[tokio::test(start_paused = true)]
async fn the_first_hosts_are_checked_again_during_the_pause_and_at_its_end() {
    for (pause, checks) in [(1, 1), (5, 1), (6, 2), (12, 3)] {
        let world = World::of(3).rolls(first_then_rest(pause));
        let started = tokio::time::Instant::now();
        let ended = deploy(&world).await;
        assert_eq!(ended.code(), 0);
        assert!(started.elapsed() >= Duration::from_secs(pause));
        let log = world.log();
        let checked: Vec<usize> =
            log.iter().filter(|e| e.step == Step::Recheck && !e.ended).map(|e| e.host).collect();
        assert_eq!(checked, vec![0; checks], "{pause}");
        // A host without a tool of its own is asked through the connection each time.
        let probed = log.iter().filter(|e| e.step == Step::Probe && e.host == 0 && !e.ended).count();
        assert_eq!(probed, 1 + checks);
        let others = log.iter().position(|e| e.step == Step::Activate && e.host == 1).unwrap();
        let last = log.iter().rposition(|e| e.step == Step::Recheck && e.ended).unwrap();
        assert!(last < others);
        let told = told(&ended.events);
        assert_eq!(
            told,
            ["1/2 host1".to_owned(), format!("pause {pause}s host1"), "2/2 host2 host3".to_owned()]
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_first_host_that_is_not_well_any_more_stops_everything() {
    for (step, fault, code) in [
        (Step::Recheck, Fault::Refused, 5),
        (Step::Recheck, Fault::Silent, 5),
        (Step::Recheck, Fault::Died, 5),
        (Step::Recheck, Fault::LostAfter, 8),
    ] {
        let world = World::of(3).rolls(first_then_rest(20)).fails(step, 0, fault);
        let ended = deploy(&world).await;
        assert_eq!((ended.code(), ended.failures()[0].0.as_str()), (code, "host1"), "{step:?} {fault:?}");
        let switched = world.log().iter().filter(|e| e.step == Step::Activate && !e.ended).count();
        assert_eq!(switched, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_in_the_pause_puts_back_at_once() {
    let rollout = Rollout { first: 3, pause: Duration::from_secs(3600), ..batches_of(1) };
    let world = World::of(4).rolls(rollout);
    let stop = world.stops.cancel.clone();
    let presses = async {
        tokio::time::sleep(Duration::from_secs(100)).await;
        stop.cancel();
        tokio::time::Instant::now()
    };
    let (ended, pressed) = tokio::join!(deploy(&world), presses);
    assert_eq!((ended.code(), ended.interruptions()), (130, 1));
    assert!(pressed.elapsed() < Duration::from_secs(1), "{:?}", pressed.elapsed());
    // Who stops a run has no time for turns.
    assert_eq!(most_at_once(&world, &[0, 1, 2]), 3);
}

#[tokio::test(start_paused = true)]
async fn a_stop_between_batches_begins_no_other() {
    let world = World::of(3).rolls(batches_of(1)).fails(Step::AnswerBeforeCommit, 0, Fault::Cancel);
    let ended = deploy(&world).await;
    assert_eq!(ended.code(), 130);
    assert!(world.log().iter().all(|entry| entry.step != Step::Activate || entry.host == 0));
}

#[tokio::test(start_paused = true)]
async fn a_stop_while_healthy_hosts_wait_for_their_turn_ends_the_waiting() {
    let rollout = Rollout { first: 4, ..batches_of(1) };
    let mut world = World::of(5).rolls(rollout).fails(Step::Activate, 4, Fault::Refused).fails(
        Step::Revert,
        0,
        Fault::Hang,
    );
    world.stops = Stops { revert_limit: Some(Duration::from_secs(7)), ..Stops::default() };
    let ended = deploy(&world).await;
    // The host that hangs holds the only turn until somebody presses Ctrl-C; the others are back in time.
    assert_eq!(ended.code(), 8);
    let back: Vec<bool> = ended.summary().iter().map(|line| line.contains("Reverted")).collect();
    assert_eq!(back, [false, true, true, true, true]);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_back_is_not_in_doubt_because_its_undraining_was_left() {
    let mut world = World::of(2).fails(Step::Activate, 1, Fault::Refused).fails(UNDRAIN, 0, Fault::Hang);
    world.stops = Stops { revert_limit: Some(Duration::from_secs(7)), ..Stops::default() };
    let ended = deploy(&world).await;
    assert_eq!(ended.code(), 5);
    assert_eq!(ended.summary(), ["host1 Reverted 20260102000000", "host2 Reverted 20260102000000"]);
}
