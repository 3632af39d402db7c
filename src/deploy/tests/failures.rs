//! A failure at every step, on the first host and on the last, in every way a call can fail; and then at
//! every step of the way back. What holds at every end is judged by `run`; here it is which end it is.

use super::super::scripted::Fault;
use super::super::scripted::Lock;
use super::super::scripted::Step;
use super::super::scripted::World;
use super::deploy;

/// Every call that a deploy of two hosts makes to a host, in order. The migration runs on the last only.
const STEPS: [Step; 17] = [
    Step::Lock,
    Step::Begin,
    Step::Upload,
    Step::Prepare,
    Step::Hook("after_unpack"),
    Step::Ready,
    Step::Once,
    Step::AnswerBeforeSwitch,
    Step::Hook("before_switch"),
    Step::Activate,
    Step::Probe,
    Step::Hook("after_switch"),
    Step::AnswerBeforeCommit,
    Step::Commit,
    Step::Hook("after_deploy"),
    Step::Finish,
    Step::Leave,
];

const FAULTS: [Fault; 6] =
    [Fault::Refused, Fault::LostBefore, Fault::LostAfter, Fault::Silent, Fault::Died, Fault::Hang];

const HOSTS: usize = 2;

/// One line a step: what each fault on the first and on the last host ends with.
async fn table(steps: &[Step], world: impl Fn() -> World) -> String {
    let mut table = format!("{:<24}", "");
    for fault in FAULTS {
        table.push_str(&format!("{:<11}", format!("{fault:?}")));
    }
    for step in steps {
        table.push_str(&format!("\n{:<24}", format!("{step:?}")));
        for fault in FAULTS {
            let mut codes = Vec::new();
            for host in [0, HOSTS - 1] {
                let world = world().fails(*step, host, fault);
                let ended = deploy(&world).await;
                if !world.log().iter().any(|entry| entry.step == *step && entry.host == host) {
                    codes.push("-".to_owned());
                    continue;
                }
                codes.push(ended.code().to_string());
            }
            table.push_str(&format!("{:<11}", codes.join(" ")));
        }
    }
    table.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

#[tokio::test(start_paused = true)]
async fn a_failure_at_any_step_ends_as_documented() {
    insta::assert_snapshot!(table(&STEPS, || World::of(HOSTS)).await, @r#"
                            Refused    LostBefore LostAfter  Silent     Died       Hang
    Lock                    3 3        3 3        3 3        3 3        3 3        130 130
    Begin                   5 5        5 5        5 5        5 5        5 5        130 130
    Upload                  5 5        5 5        5 5        5 5        5 5        130 130
    Prepare                 5 5        5 5        5 5        5 5        5 5        130 130
    Hook("after_unpack")    5 5        5 5        5 5        5 5        5 5        130 130
    Ready                   5 5        5 5        5 5        5 5        5 5        130 130
    Once                    - 5        - 5        - 5        - 5        - 5        - 130
    AnswerBeforeSwitch      5 5        5 5        5 5        5 5        5 5        130 130
    Hook("before_switch")   5 5        5 5        5 5        5 5        5 5        130 130
    Activate                5 5        8 8        8 8        5 5        5 5        130 130
    Probe                   5 5        8 8        8 8        5 5        5 5        130 130
    Hook("after_switch")    5 5        8 8        8 8        5 5        5 5        130 130
    AnswerBeforeCommit      5 5        8 8        8 8        5 5        5 5        130 130
    Commit                  8 8        8 8        8 8        0 0        8 8        8 8
    Hook("after_deploy")    0 0        0 0        0 0        0 0        0 0        0 0
    Finish                  0 0        0 0        0 0        0 0        0 0        0 0
    Leave                   0 0        0 0        0 0        0 0        0 0        0 0
    "#);
}

#[tokio::test(start_paused = true)]
async fn the_first_cause_is_told_first_and_with_its_host() {
    for step in STEPS.iter().take(13) {
        for fault in [Fault::Refused, Fault::LostBefore, Fault::LostAfter, Fault::Silent, Fault::Died] {
            let world = World::of(3).fails(*step, 1, fault);
            let ended = deploy(&world).await;
            let (host, error) = ended.failures().swap_remove(0);
            assert_eq!(host, "host2", "{step:?} {fault:?}");
            let expected = match fault {
                Fault::Refused => format!("{step:?} is refused by host2"),
                Fault::Silent => "no answer within 9 s while it was asked".to_owned(),
                Fault::Died => "the guardian on the host ended while it was asked".to_owned(),
                _ => "the connection was lost while it was asked".to_owned(),
            };
            assert_eq!(error, expected, "{step:?} {fault:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_revert_that_fails_is_told_beside_the_cause_and_changes_the_code() {
    let steps = [Step::Revert, Step::Hook("on_failure"), Step::Leave];
    let switched = || World::of(HOSTS).fails(Step::Hook("after_switch"), 0, Fault::Refused);
    insta::assert_snapshot!(table(&steps, switched).await, @r#"
                            Refused    LostBefore LostAfter  Silent     Died       Hang
    Revert                  6 6        8 8        8 8        8 8        8 8        8 8
    Hook("on_failure")      5 5        5 5        5 5        5 5        5 5        5 5
    Leave                   5 5        5 5        5 5        5 5        5 5        5 5
    "#);
    let prepared = || World::of(HOSTS).fails(Step::Ready, 0, Fault::Refused);
    insta::assert_snapshot!(table(&steps, prepared).await, @r#"
                            Refused    LostBefore LostAfter  Silent     Died       Hang
    Revert                  6 6        5 5        5 5        5 5        5 5        5 5
    Hook("on_failure")      5 5        5 5        5 5        5 5        5 5        5 5
    Leave                   5 5        5 5        5 5        5 5        5 5        5 5
    "#);
}

#[tokio::test(start_paused = true)]
async fn the_cause_and_the_failed_revert_are_both_told() {
    let world = World::of(2).fails(Step::Hook("after_switch"), 0, Fault::Refused).fails(
        Step::Revert,
        1,
        Fault::Refused,
    );
    let ended = deploy(&world).await;
    let told = [
        ("host1".to_owned(), "Hook(\"after_switch\") is refused by host1".to_owned()),
        ("host2".to_owned(), "Revert is refused by host2".to_owned()),
    ];
    assert_eq!(ended.failures(), told);
    assert_eq!(ended.code(), 6);
    assert_eq!(ended.summary(), ["host1 Reverted 20260102000000", "host2 Failed ?"]);
}

#[tokio::test(start_paused = true)]
async fn hosts_that_fail_at_the_same_moment_are_all_told() {
    let world = World::of(1).fails(Step::Activate, 0, Fault::Refused);
    assert_eq!(deploy(&world).await.failures().len(), 1);
    let world = World::of(3).fails(Step::AnswerBeforeCommit, 0, Fault::Silent).fails(
        Step::AnswerBeforeCommit,
        2,
        Fault::Silent,
    );
    let ended = deploy(&world).await;
    let hosts: Vec<String> = ended.failures().into_iter().map(|(host, _)| host).collect();
    assert_eq!((hosts, ended.code()), (vec!["host1".to_owned(), "host3".to_owned()], 5));
}

#[tokio::test(start_paused = true)]
async fn a_host_that_was_never_switched_is_no_reason_for_doubt_when_it_is_lost() {
    let world = World::of(3).fails(Step::Hook("before_switch"), 2, Fault::LostBefore);
    let ended = deploy(&world).await;
    assert_eq!(ended.code(), 5);
    let (host, text) = ended.warnings().swap_remove(0);
    assert_eq!(host, "host3");
    assert!(text.contains("it was not switched"), "{text}");
    // What was lost is not asked for anything more: that would only be waited for.
    let after = world.log().iter().rev().find(|entry| entry.host == 2).unwrap().step;
    assert_eq!(after, Step::Revert);
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_is_held_anywhere_frees_all_others_and_begins_nothing() {
    for held in [0, 2] {
        let world = World::of(3).with(held, |model| model.lock = Lock::Others { tries: usize::MAX });
        let ended = deploy(&world).await;
        assert_eq!(ended.code(), 4);
        let (host, error) = ended.failures().swap_remove(0);
        assert_eq!(host, format!("host{}", held + 1));
        assert!(error.contains("ada from laptop"), "{error}");
        let log = world.log();
        assert!(log.iter().all(|e| matches!(e.step, Step::Lock | Step::Leave)), "{log:?}");
        let locks: Vec<Lock> = world.models().iter().map(|model| model.lock).collect();
        assert!(locks.iter().enumerate().all(|(n, lock)| matches!(lock, Lock::Others { .. }) == (n == held)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_commit_refused_everywhere_is_put_back_everywhere() {
    let world = World::of(2).fails(Step::Commit, 0, Fault::Refused).fails(Step::Commit, 1, Fault::Refused);
    let ended = deploy(&world).await;
    assert_eq!(ended.code(), 5);
    assert_eq!(ended.summary(), ["host1 Reverted 20260102000000", "host2 Reverted 20260102000000"]);
}

#[tokio::test(start_paused = true)]
async fn a_commit_refused_after_another_host_committed_leaves_hosts_that_differ_and_says_so() {
    let world = World::of(3).fails(Step::Commit, 1, Fault::Refused);
    let ended = deploy(&world).await;
    assert_eq!(ended.code(), 8);
    let release = ended.report.release.unwrap();
    let expected = [
        format!("host1 Done {release}"),
        "host2 Reverted 20260102000000".to_owned(),
        format!("host3 Done {release}"),
    ];
    assert_eq!(ended.summary(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_lost_acknowledgement_of_a_commit_is_asked_for_again() {
    let world = World::of(2).fails_times(1, Step::Commit, 1, Fault::Silent);
    let ended = deploy(&world).await;
    assert_eq!((ended.code(), ended.failures().len()), (0, 0));
    // And when it stays away, the attempt to put the host back finds out.
    let world = World::of(2).fails(Step::Commit, 1, Fault::Silent);
    let ended = deploy(&world).await;
    assert_eq!(ended.code(), 0);
    let world = World::of(1).fails(Step::Commit, 0, Fault::Silent);
    assert_eq!(deploy(&world).await.code(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_hook_after_a_failure_runs_where_the_host_was_put_back_and_only_warns() {
    let world = World::of(2).fails(Step::Activate, 0, Fault::Refused).fails(
        Step::Hook("on_failure"),
        1,
        Fault::Refused,
    );
    let ended = deploy(&world).await;
    assert_eq!(ended.code(), 5);
    assert_eq!(ended.failures().len(), 1);
    assert_eq!(ended.warnings().len(), 1);
    let mourned = world.log().iter().filter(|e| e.step == Step::Hook("on_failure") && e.ended).count();
    assert_eq!(mourned, 1);
}
