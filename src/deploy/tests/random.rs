//! Several faults at once, at random: nothing is expected but what holds at every end.

use std::time::Duration;

use proptest::prelude::*;

use super::super::scripted::Fault;
use super::super::scripted::OLDER;
use super::super::scripted::Step;
use super::super::scripted::World;
use crate::config;
use crate::config::Batch;

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
        Step::Recheck,
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

fn rollout() -> impl Strategy<Value = config::Rollout> {
    let batch = prop_oneof![
        Just(Batch::All),
        (1_u32..4).prop_map(Batch::Hosts),
        (1_u8..=100).prop_map(Batch::Percent),
    ];
    let order = prop::sample::subsequence(vec!["db".to_owned(), "web".to_owned()], 0..=2);
    (0_usize..3, batch, 0_u64..12, order).prop_map(|(first, batch, pause, order)| config::Rollout {
        first,
        batch,
        pause: Duration::from_secs(pause),
        order,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_fails_every_host_runs_something_and_the_code_tells_the_truth(
        rollback: bool,
        rollout in rollout(),
        hosts in 1_usize..5,
        faults in prop::collection::vec((step(), 0_usize..5, fault(), 1_usize..3), 0..5),
    ) {
        let world = faults.into_iter().filter(|(_, host, ..)| *host < hosts).fold(
            World::of(hosts).rolls(rollout),
            |world, (step, host, fault, times)| world.fails_times(times, step, host, fault),
        );
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            if rollback {
                super::roll_back(&world, OLDER).await;
            } else {
                super::deploy(&world).await;
            }
        });
    }
}
