//! Several faults at once, at random: nothing is expected but what holds at every end.

use proptest::prelude::*;

use super::super::scripted::Fault;
use super::super::scripted::Step;
use super::super::scripted::World;

fn step() -> impl Strategy<Value = Step> {
    prop::sample::select(vec![
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
        Step::Revert,
        Step::Hook("on_failure"),
    ])
}

fn fault() -> impl Strategy<Value = Fault> {
    prop::sample::select(vec![
        Fault::Refused,
        Fault::LostBefore,
        Fault::LostAfter,
        Fault::Silent,
        Fault::Died,
        Fault::Hang,
        Fault::Cancel,
        Fault::Abandon,
    ])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_fails_every_host_runs_something_and_the_code_tells_the_truth(
        hosts in 1_usize..5,
        faults in prop::collection::vec((step(), 0_usize..5, fault(), 1_usize..3), 0..5),
    ) {
        let world = faults.into_iter().filter(|(_, host, ..)| *host < hosts).fold(
            World::of(hosts),
            |world, (step, host, fault, times)| world.fails_times(times, step, host, fault),
        );
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(super::deploy(&world));
    }
}
