//! The fault matrix on scripted hosts: every call that a deploy, a rollback and their undoing make to a
//! host × every fault × the first and the last of three hosts. The calls are those that a run was seen to
//! make, so that a new step has its cases by itself. `tests/it/faults` is the same on real guardians.

use std::collections::BTreeSet;
use std::io::Write as _;

use super::super::scripted::Fault;
use super::super::scripted::Lock;
use super::super::scripted::OLDER;
use super::super::scripted::Step;
use super::super::scripted::World;
use super::Ended;
use super::deploy;
use super::roll_back;

const HOSTS: usize = 3;

/// What can happen to a call, and which of the matrix's faults that is to the client. A full disk and a
/// command that fails are one thing here: the host says no.
const FAULTS: [(&str, Fault); 8] = [
    ("client killed", Fault::Killed),
    ("guardian killed", Fault::Died),
    ("connection cut before it", Fault::LostBefore),
    ("connection cut after it", Fault::LostAfter),
    ("connection hangs", Fault::Hang),
    ("answer too late", Fault::Silent),
    ("disk full", Fault::Full),
    ("command fails", Fault::Refused),
];

/// What is under way.
#[derive(Clone, Copy, Debug)]
struct Story {
    /// A rollback, not a deploy.
    rolls_back: bool,
    /// Whether the host in the middle fails after its switch, so that all are put back.
    reverts: bool,
}

impl Story {
    fn world(self) -> World {
        let world = World::of(HOSTS);
        if self.reverts { world.fails_times(1, Step::Hook("after_switch"), 1, Fault::Refused) } else { world }
    }

    /// Runs it; nothing comes back when the client is killed.
    async fn run(self, world: &World) -> Option<Ended> {
        let killed = world.killed.clone();
        let run = async {
            match self.rolls_back {
                false => deploy(world).await,
                true => roll_back(world, OLDER).await,
            }
        };
        tokio::select! {
            ended = run => Some(ended),
            () = killed.cancelled() => None,
        }
    }

    /// The calls that it makes to a host; of a revert, those from its beginning on.
    async fn steps(self, host: usize) -> Vec<Step> {
        let world = self.world();
        self.run(&world).await.unwrap();
        let log: Vec<Step> = world
            .log()
            .iter()
            .skip_while(|entry| self.reverts && entry.step != Step::Revert)
            .filter(|entry| entry.host == host && !entry.ended)
            .map(|entry| entry.step)
            .collect();
        log.iter().copied().collect::<BTreeSet<_>>().into_iter().collect()
    }
}

/// Hosts may differ where some had committed when another one was hit.
fn is_in_the_window(step: Step) -> bool {
    step == Step::Commit
}

/// One case; `judge` has judged its end already, as far as a client told of one.
async fn case(story: Story, step: Step, fault: Fault, host: usize) {
    let world = story.world().fails_times(times(fault), step, host, fault);
    let ended = story.run(&world).await;
    assert!(world.struck(), "the fault never struck");
    assert_eq!(ended.is_none(), fault == Fault::Killed, "who was killed says nothing");
    // The guardians see that their client is gone; a dead one's attempt is settled by the next lock.
    world.settle();
    let models = world.models();
    assert!(models.iter().all(|model| model.lock == Lock::Free), "a lock is left");
    let live: BTreeSet<_> = models.iter().map(|model| model.current).collect();
    let stuck = ended.as_ref().is_some_and(|ended| ended.code() == 6);
    assert!(live.len() == 1 || is_in_the_window(step) || stuck, "hosts differ: {live:?}");
    assert!(stuck || models.iter().all(|model| model.running == model.current), "what is live does not run");
    let next = world.after();
    let ended = deploy(&next).await;
    assert_eq!(ended.code(), 0, "a deploy after it: {:?}", ended.failures());
    let live: BTreeSet<_> = next.models().iter().map(|model| model.current).collect();
    assert_eq!(live.into_iter().collect::<Vec<_>>(), [ended.report.release], "after a deploy all are one");
}

/// A client asks more than once for some things; only what goes on failing is a failure.
fn times(fault: Fault) -> usize {
    if fault == Fault::Killed { 1 } else { usize::MAX }
}

#[test]
fn every_fault_at_every_call_leaves_all_hosts_old_or_all_new_and_the_next_deploy_heals() {
    let runtime = || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_time().start_paused(true).build().unwrap()
    };
    let (mut count, mut failures) = (0, Vec::new());
    for rolls_back in [false, true] {
        for reverts in [false, true] {
            let story = Story { rolls_back, reverts };
            for host in [0, HOSTS - 1] {
                for step in runtime().block_on(story.steps(host)) {
                    for (name, fault) in FAULTS {
                        count += 1;
                        let told = std::panic::catch_unwind(|| {
                            runtime().block_on(case(story, step, fault, host));
                        });
                        if told.is_err() {
                            failures.push(format!("{story:?}, {name} at {step:?} on host {}", host + 1));
                        }
                    }
                }
            }
        }
    }
    let _ = writeln!(std::io::stderr(), "fault matrix on scripted hosts: {count} cases ran");
    assert!(failures.is_empty(), "{} of {count}:\n{}", failures.len(), failures.join("\n"));
    assert!(count >= 240, "only {count} cases ran");
}
