//! The transaction on scripted hosts. This file owns running one and judging what every end must have in
//! common, whatever happened; the files beside it own what happens.

mod failures;
mod good;
mod matrix;
mod plan;
mod random;
mod resume;
mod rollback;
mod rollout;
mod stops;
mod waits;

use std::time::Duration;

use super::Fleet;
use super::Job;
use super::Member;
use super::Outcome;
use super::Report;
use super::Rollout;
use super::Transaction;
use super::hooks;
use super::scripted::Lock;
use super::scripted::Step;
use super::scripted::World;
use super::scripted::id;
use crate::artifact::Artifact;
use crate::artifact::Codec;
use crate::artifact::Deltas;
use crate::artifact::Storing;
use crate::config;
use crate::config::Hook;
use crate::config::Hooks;
use crate::event::EventKind;
use crate::event::Events;
use crate::host::Facts;
use crate::host::HookScript;
use crate::host::Verb;
use crate::release::Digest;
use crate::release::Manifest;
use crate::release::ReleaseId;

/// How a transaction ended, and what it stated.
struct Ended {
    report: Report,
    events: Vec<EventKind>,
}

impl Ended {
    /// The failures in their order, each with its host.
    fn failures(&self) -> Vec<(String, String)> {
        let failed = self.events.iter().filter_map(|event| match event {
            EventKind::Failed { host, error, .. } => Some((host.clone().unwrap_or_default(), error.clone())),
            _ => None,
        });
        failed.collect()
    }

    fn warnings(&self) -> Vec<(String, String)> {
        let warned = self.events.iter().filter_map(|event| match event {
            EventKind::Warned { host, text } => Some((host.clone().unwrap_or_default(), text.clone())),
            _ => None,
        });
        warned.collect()
    }

    fn interruptions(&self) -> usize {
        self.events.iter().filter(|event| matches!(event, EventKind::Interrupted)).count()
    }

    fn code(&self) -> u8 {
        self.report.outcome.code()
    }

    /// What the summary says of each host: `host1 Done 20260102000000`.
    fn summary(&self) -> Vec<String> {
        let line = |host: &crate::event::HostSummary| {
            format!("{} {:?} {}", host.host, host.phase, host.live.as_deref().unwrap_or("?"))
        };
        self.report.hosts.iter().map(line).collect()
    }
}

fn hook(run: &str, once: bool) -> Hook {
    Hook {
        run: run.to_owned(),
        roles: if once { vec!["db".to_owned()] } else { Vec::new() },
        once,
        dir: None,
        timeout: Duration::from_secs(1),
        on_deploy: true,
        on_rollback: !once,
        undo: None,
    }
}

/// A hook at every point on every host, and a migration: once, on the second host where there are two.
fn everywhere() -> Hooks {
    Hooks {
        after_unpack: vec![hook("npm ci", false)],
        before_switch: vec![hook("migrate", true), hook("drain", false)],
        after_switch: vec![hook("undrain", false)],
        after_deploy: vec![hook("tell", false)],
        on_failure: vec![hook("mourn", false)],
        after_rollback: vec![hook("tell", false)],
        ..Hooks::default()
    }
}

/// The first host is for the web, where there are two; all others have the database.
fn configured(hosts: usize) -> Vec<config::Host> {
    let host = |place: usize| {
        let roles = if place == 0 && hosts > 1 { "web" } else { "db" };
        let roles = Some([roles.to_owned()].into());
        config::Host { user: None, address: format!("host{}", place + 1), port: 22, roles }
    };
    (0..hosts).map(host).collect()
}

fn schedule(hooks: &Hooks, hosts: usize, verb: Verb) -> Vec<Vec<HookScript>> {
    hooks::schedule(hooks, &configured(hosts).iter().collect::<Vec<_>>(), verb)
}

fn rollout(world: &World) -> Rollout {
    let hosts = configured(world.models().len());
    Rollout::of(&world.rollout, hosts.iter().map(|host| (host.address.as_str(), host)))
}

fn artifact() -> Artifact {
    Artifact {
        digest: Digest([7; 32]),
        path: "nowhere".into(),
        manifest: Manifest::default().into(),
        tar_bytes: 10,
        codec: Codec::Zstd,
        storing: Storing::done(5),
        commit: None,
        branch: None,
        reused: false,
        deltas: Deltas::default(),
    }
}

/// Runs a transaction on the whole world and judges its end. `checked` is what preflight had found.
async fn run(world: &World, hooks: &Hooks, verb: Verb, job: Job<'_>, checked: Vec<Facts>) -> Ended {
    let ended = run_without(world, hooks, verb, job, checked, &[]).await;
    judge(world, &ended);
    ended
}

/// Runs it without the hosts that are `absent`, and judges nothing.
async fn run_without(
    world: &World,
    hooks: &Hooks,
    verb: Verb,
    job: Job<'_>,
    checked: Vec<Facts>,
    absent: &[&str],
) -> Ended {
    let (events, mut receiver) = Events::channel();
    let hosts = world.models().len();
    let members = schedule(hooks, hosts, verb)
        .into_iter()
        .zip(checked)
        .enumerate()
        .map(|(place, (hooks, facts))| Member::new(world.host(place), hooks, facts));
    let transaction = Transaction {
        fleet: Fleet { members: members.collect() },
        events: &events,
        stops: &world.stops,
        wait: world.wait,
        keep: 2,
        lease: Duration::from_secs(30),
        rollout: rollout(world),
        absent: absent.iter().map(|host| (*host).to_owned()).collect(),
        timings: Vec::new(),
    };
    let patience = async {
        // Somebody who pressed Ctrl-C and sees nothing happen presses it again.
        world.stops.cancel.cancelled().await;
        tokio::time::sleep(Duration::from_secs(3600)).await;
        world.stops.abandon.cancel();
        std::future::pending().await
    };
    let report = tokio::select! {
        report = transaction.run(job) => report,
        report = patience => report,
    };
    drop(events);
    let mut stated = Vec::new();
    while let Some(event) = receiver.recv().await {
        stated.push(event.kind);
    }
    Ended { report, events: stated }
}

async fn deploy(world: &World) -> Ended {
    let ended = deploy_with(world, &everywhere()).await;
    migrated_once(world);
    ended
}

async fn deploy_with(world: &World, hooks: &Hooks) -> Ended {
    run(world, hooks, Verb::Deploy, Job::Deploy(&artifact()), world.all_facts()).await
}

async fn roll_back(world: &World, target: &str) -> Ended {
    roll_back_as_planned(world, world.all_facts(), target).await
}

async fn roll_back_as_planned(world: &World, checked: Vec<Facts>, target: &str) -> Ended {
    run(world, &everywhere(), Verb::Rollback, Job::Rollback(id(target)), checked).await
}

/// What holds at every end.
fn judge(world: &World, ended: &Ended) {
    let context = || format!("{:?} {:#?} {:#?}", ended.report, ended.events, world.log());
    hosts_went_together(world);
    let before = world.models();
    // The client's process ends here, and guardians that still wait see it.
    world.settle();
    let models = world.models();
    for (place, model) in models.iter().enumerate() {
        assert_ne!(model.lock, Lock::Ours, "host {place}: {}", context());
        // What could not be put back stays as it is, for a person.
        let stuck = ended.report.outcome == Outcome::FailedStuck && ended.report.hosts[place].live.is_none();
        assert!(stuck || model.running == model.current, "host {place}: {}", context());
        assert!(model.current.is_some(), "host {place}: {}", context());
    }
    let live: Vec<Option<ReleaseId>> = models.iter().map(|model| model.current).collect();
    let asked = ended.report.release;
    let all_new = live.iter().all(|live| *live == asked);
    let all_old = models.iter().all(|model| !model.committed);
    match ended.report.outcome {
        Outcome::Done => assert!(all_new, "{}", context()),
        Outcome::Preflight | Outcome::Locked | Outcome::FailedRestored | Outcome::Interrupted => {
            assert!(all_old, "{}", context());
        }
        Outcome::FailedStuck | Outcome::Unconfirmed => {}
        Outcome::Usage | Outcome::Partial => panic!("not known to a transaction"),
    }
    for (summary, (model, before)) in ended.report.hosts.iter().zip(models.iter().zip(&before)) {
        // What the summary says a host runs, it runs, now and when all guardians have ended.
        if let Some(live) = &summary.live {
            assert_eq!(
                Some(live.as_str()),
                model.current.map(|id| id.to_string()).as_deref(),
                "{}",
                context()
            );
            assert!(before.lost || before.current == model.current, "{}", context());
        }
    }
    // Where nothing was left in doubt, the locks are free already.
    let hasty = world.stops.abandon.is_cancelled() || world.stops.revert_limit.is_some();
    for (place, (model, summary)) in before.iter().zip(&ended.report.hosts).enumerate() {
        let told = ended
            .warnings()
            .iter()
            .any(|(host, text)| *host == summary.host && text.contains("its lock is free within"));
        let excused = hasty || told || model.lost || summary.live.is_none() || world.keeps_lock(place);
        assert!(excused || model.lock != Lock::Ours, "host {place} keeps its lock: {}", context());
    }
    if matches!(ended.report.outcome, Outcome::Interrupted) {
        assert_eq!(ended.interruptions(), 1, "{}", context());
    }
    if ended.code() != 0 && ended.interruptions() == 0 {
        assert!(!ended.failures().is_empty(), "a failure without a word: {}", context());
    }
}

/// No host is switched before every host is ready, none commits before every host was proven, and what
/// runs once runs before all of that.
fn hosts_went_together(world: &World) {
    let log = world.log();
    let hosts = world.models().len();
    let first = |step: Step| log.iter().position(|entry| entry.step == step);
    let gate = |open: Step, through: Step| {
        let Some(through) = first(through) else { return };
        for host in 0..hosts {
            let done = log[..through].iter().any(|e| e.host == host && e.step == open && e.ended);
            assert!(done, "host {host} had not ended {open:?}: {log:#?}");
        }
    };
    gate(Step::Lock, Step::Begin);
    gate(Step::Ready, Step::Once);
    gate(Step::Ready, Step::Activate);
    gate(Step::AnswerBeforeSwitch, Step::Activate);
    gate(Step::Activate, Step::Commit);
    gate(Step::AnswerBeforeCommit, Step::Commit);
    if let (Some(once), Some(activate)) = (first(Step::Once), first(Step::Activate)) {
        assert!(once < activate, "{log:#?}");
    }
    // No host is touched before those of the batches before it were proven.
    let names: Vec<String> = (0..hosts).map(|place| format!("host{}", place + 1)).collect();
    let batches = rollout(world).course(names.iter().map(String::as_str)).batches;
    for (n, batch) in batches.iter().enumerate() {
        let own = [Step::Hook("before_switch"), Step::Activate];
        let touches = |e: &super::scripted::Entry| batch.contains(&e.host) && own.contains(&e.step);
        let reverts = first(Step::Revert).unwrap_or(log.len());
        let Some(touched) = log[..reverts].iter().position(touches) else { continue };
        for host in batches[..n].iter().flatten() {
            let proven = |e: &super::scripted::Entry| e.host == *host && e.step == Step::Activate && e.ended;
            assert!(log[..touched].iter().any(proven), "host {host} before batch {n}: {log:#?}");
        }
    }
}

/// The migration ran on its host only, and not twice.
fn migrated_once(world: &World) {
    let (log, hosts) = (world.log(), world.models().len());
    let once: Vec<_> = log.iter().filter(|entry| entry.step == Step::Once && !entry.ended).collect();
    assert!(once.len() <= 1, "{log:#?}");
    assert!(once.iter().all(|entry| entry.host == 1.min(hosts - 1)), "{log:#?}");
}
