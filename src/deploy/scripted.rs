//! Owns hosts that exist in memory only, for tests of the transaction: each holds a model of what a real
//! one would run, refuses what a guardian would refuse, and fails where a script says so. Every call of
//! every host goes into one log.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Stops;
use crate::artifact::Artifact;
use crate::config;
use crate::host::Action;
use crate::host::Attempt;
use crate::host::Facts;
use crate::host::HookScript;
use crate::host::Host;
use crate::host::HostError;
use crate::host::LockOutcome;
use crate::host::ReleaseRecord;
use crate::host::Say;
use crate::release::ReleaseId;

/// A call of the transaction to a host, as the script names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Step {
    Lock,
    Release,
    Begin,
    Upload,
    Prepare,
    Ready,
    /// The hook marked `once` before the switch.
    Once,
    Hook(&'static str),
    /// The one that opens the switch.
    AnswerBeforeSwitch,
    Activate,
    Probe,
    /// The proof repeated in a pause.
    Recheck,
    /// The one that opens the commit.
    AnswerBeforeCommit,
    Commit,
    Finish,
    Absent,
    Leave,
    Revert,
}

impl Step {
    /// Whether it cannot be done on a full disk. What is needed to undo, and to commit, was made before.
    fn needs_space(self) -> bool {
        !matches!(
            self,
            Self::AnswerBeforeSwitch
                | Self::Probe
                | Self::AnswerBeforeCommit
                | Self::Commit
                | Self::Leave
                | Self::Revert
        )
    }
}

/// How a call ends other than well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The host says no. An activation has switched by then.
    Refused,
    /// The disk of the host is full: it says no to all that needs space, and undoing needs none.
    Full,
    /// The connection is lost, for good, before the host has heard of it.
    LostBefore,
    /// The connection is lost, for good, when it was done but not yet answered.
    LostAfter,
    /// It is done, but the answer takes too long; later calls are answered.
    Silent,
    /// The guardian dies before it did anything; reverting finds another one.
    Died,
    /// No answer ever comes, and after a while the user presses Ctrl-C.
    Hang,
    /// The client is killed while it is done.
    Killed,
    /// The user presses Ctrl-C while it is done.
    Cancel,
    /// The user presses Ctrl-C twice while it is done.
    Abandon,
}

/// A fault for the first `times` calls of a step on a host.
#[derive(Clone, Copy, Debug)]
pub(super) struct Planned {
    pub(super) step: Step,
    pub(super) host: usize,
    pub(super) fault: Fault,
    pub(super) times: usize,
}

/// Who has a host's lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lock {
    Free,
    Ours,
    /// Somebody else has it until it was asked for that often.
    Others {
        tries: usize,
    },
    /// Nobody has it, and it is not given away.
    Frozen,
}

/// What is on a host.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) lock: Lock,
    /// What the link names.
    pub(super) current: Option<ReleaseId>,
    /// What the app was started from.
    pub(super) running: Option<ReleaseId>,
    pub(super) releases: Vec<ReleaseRecord>,
    attempt: Option<(ReleaseId, Option<ReleaseId>)>,
    absent_then: Vec<String>,
    pub(super) ready: bool,
    pub(super) activated: bool,
    pub(super) committed: bool,
    pub(super) reverted: bool,
    /// The client cannot reach it any more.
    pub(super) lost: bool,
    /// The host has no program that could ask the health check.
    pub(super) asks_for_probe: bool,
    pub(super) pruned: Vec<ReleaseId>,
    /// The hosts it remembers as left out.
    pub(super) absent: Vec<String>,
}

impl Model {
    fn release_mut(&mut self, id: ReleaseId) -> Option<&mut ReleaseRecord> {
        self.releases.iter_mut().find(|release| release.id == id)
    }

    /// What a guardian does to put its host back.
    fn revert(&mut self) -> Result<(), HostError> {
        assert_eq!(self.lock, Lock::Ours, "only who has the lock may change a host");
        if self.committed {
            return Err(HostError::AlreadyCommitted);
        }
        if let (Some((id, previous)), true) = (self.attempt, self.activated) {
            self.current = previous;
            self.running = previous;
            self.activated = false;
            assert!(self.release_mut(id).is_some());
        }
        if let Some(release) = self.attempt.and_then(|(id, _)| self.release_mut(id))
            && release.state == "preparing"
        {
            "failed".clone_into(&mut release.state);
        }
        self.reverted = true;
        Ok(())
    }

    /// What the guardian does when it sees that the client is gone.
    pub(super) fn settle(&mut self) {
        if self.lock == Lock::Ours {
            let _ = self.revert();
            self.lock = Lock::Free;
        }
    }

    /// What is left of it when an attempt is over.
    fn after(self) -> Self {
        Self {
            attempt: None,
            ready: false,
            activated: false,
            committed: false,
            reverted: false,
            lost: false,
            pruned: Vec::new(),
            ..self
        }
    }

    fn facts(&self) -> Facts {
        Facts {
            current: self.current.map(|id| format!("/srv/shop/releases/{id}")),
            releases: self.releases.clone(),
            absent: self.absent.clone(),
            ..Facts::default()
        }
    }
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) host: usize,
    pub(super) step: Step,
    /// Whether this is its end; its beginning is an entry of its own.
    pub(super) ended: bool,
}

#[derive(Debug, Default)]
struct State {
    models: Vec<Model>,
    log: Vec<Entry>,
    plan: Vec<Planned>,
    /// Whether a planned fault has happened.
    struck: bool,
    /// Ctrl-C, or two of them, at the call with this number.
    stop_at: Option<(usize, Fault)>,
}

/// Some scripted hosts. Cheap to clone; the clones are the same world.
#[derive(Clone, Debug, Default)]
pub(super) struct World {
    state: Arc<Mutex<State>>,
    pub(super) stops: Stops,
    pub(super) rollout: config::Rollout,
    /// How long the transaction waits for a held lock.
    pub(super) wait: Option<Duration>,
    /// The client is to be gone from here on.
    pub(super) killed: CancellationToken,
}

/// What every host of a new world has: the first is good, the second is live.
pub(super) const OLDER: &str = "20260101000000";
pub(super) const OLD: &str = "20260102000000";

pub(super) fn id(text: &str) -> ReleaseId {
    text.parse().unwrap()
}

pub(super) fn record(text: &str, state: &str, previous: Option<&str>) -> ReleaseRecord {
    ReleaseRecord {
        id: id(text),
        state: state.to_owned(),
        digest: None,
        previous: previous.map(id),
        commit: None,
        made: None,
        actor: None,
    }
}

impl World {
    pub(super) fn of(hosts: usize) -> Self {
        let model = Model {
            lock: Lock::Free,
            current: Some(id(OLD)),
            running: Some(id(OLD)),
            releases: vec![record(OLDER, "good", None), record(OLD, "good", Some(OLDER))],
            attempt: None,
            absent_then: Vec::new(),
            ready: false,
            activated: false,
            committed: false,
            reverted: false,
            lost: false,
            asks_for_probe: true,
            pruned: Vec::new(),
            absent: Vec::new(),
        };
        let world = Self::default();
        world.lock().models = vec![model; hosts];
        world
    }

    pub(super) fn fails(self, step: Step, host: usize, fault: Fault) -> Self {
        self.fails_times(usize::MAX, step, host, fault)
    }

    pub(super) fn fails_times(self, times: usize, step: Step, host: usize, fault: Fault) -> Self {
        self.lock().plan.push(Planned { step, host, fault, times });
        self
    }

    pub(super) fn stops_at(self, call: usize, fault: Fault) -> Self {
        self.lock().stop_at = Some((call, fault));
        self
    }

    pub(super) fn rolls(self, rollout: config::Rollout) -> Self {
        Self { rollout, ..self }
    }

    pub(super) fn with(self, host: usize, change: impl FnOnce(&mut Model)) -> Self {
        change(self.lock().models.get_mut(host).unwrap());
        self
    }

    pub(super) fn host(&self, place: usize) -> Scripted {
        Scripted { name: format!("host{}", place + 1), place, world: self.clone() }
    }

    pub(super) fn facts(&self, place: usize) -> Facts {
        self.models()[place].facts()
    }

    pub(super) fn all_facts(&self) -> Vec<Facts> {
        self.models().iter().map(Model::facts).collect()
    }

    /// Whether the script keeps the lock of a host from being freed.
    pub(super) fn keeps_lock(&self, place: usize) -> bool {
        let fails = |planned: &&Planned| planned.host == place;
        let steps = [Step::Lock, Step::Leave];
        self.lock().plan.iter().filter(fails).any(|planned| steps.contains(&planned.step))
    }

    pub(super) fn models(&self) -> Vec<Model> {
        self.lock().models.clone()
    }

    pub(super) fn log(&self) -> Vec<Entry> {
        self.lock().log.clone()
    }

    /// Whether a fault of the script has happened.
    pub(super) fn struck(&self) -> bool {
        self.lock().struck
    }

    /// The same hosts for another attempt, with nothing in its way.
    pub(super) fn after(&self) -> Self {
        let world = Self::default();
        world.lock().models = self.models().into_iter().map(Model::after).collect();
        world
    }

    pub(super) fn settle(&self) {
        self.lock().models.iter_mut().for_each(Model::settle);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn interrupt(&self, fault: Fault) {
        self.stops.cancel.cancel();
        if fault == Fault::Abandon {
            self.stops.abandon.cancel();
        }
    }
}

/// A host in memory.
#[derive(Clone, Debug)]
pub(super) struct Scripted {
    name: String,
    place: usize,
    world: World,
}

impl Scripted {
    /// One call: notes it, fails if the script says so, else does `work` on the model. `begun` is what
    /// has happened as soon as the host hears of it, whatever comes then.
    async fn call<T>(
        &self,
        step: Step,
        begun: impl FnOnce(&mut Model),
        work: impl FnOnce(&mut Model) -> Result<T, HostError>,
    ) -> Result<T, HostError> {
        let doing = "asked";
        let lost = || HostError::Lost { doing, stderr: String::new() };
        let (fault, number) = {
            let mut state = self.world.lock();
            state.log.push(Entry { host: self.place, step, ended: false });
            let number = state.log.iter().filter(|entry| !entry.ended).count() - 1;
            let planned = state
                .plan
                .iter_mut()
                .find(|planned| planned.step == step && planned.host == self.place && planned.times > 0);
            let fault = planned.map(|planned| {
                planned.times -= 1;
                planned.fault
            });
            state.struck |= fault.is_some();
            let model = &mut state.models[self.place];
            if model.lost {
                return Err(lost());
            }
            model.lost |= matches!(fault, Some(Fault::LostBefore | Fault::LostAfter));
            if !matches!(fault, Some(Fault::LostBefore | Fault::Died)) {
                begun(model);
            }
            (fault, state.stop_at.filter(|(at, _)| *at == number))
        };
        if let Some((_, how)) = number {
            self.world.interrupt(how);
        }
        if fault == Some(Fault::Killed) {
            self.world.killed.cancel();
            std::future::pending::<()>().await;
        }
        // Hosts are not equally fast.
        tokio::time::sleep(Duration::from_millis(10 + 3 * self.place as u64)).await;
        match fault {
            Some(Fault::Refused) => {
                let reason = format!("{step:?} is refused by {}", self.name);
                return Err(HostError::Refused { output: reason.clone(), reason });
            }
            Some(Fault::Full) if step.needs_space() => {
                let reason = "the disk is full".to_owned();
                return Err(HostError::Refused { output: reason.clone(), reason });
            }
            Some(Fault::LostBefore) => return Err(lost()),
            Some(Fault::Died) => {
                return Err(HostError::GuardianDied { doing, stderr: String::new() });
            }
            Some(Fault::Hang) => {
                tokio::time::sleep(Duration::from_secs(60)).await;
                self.world.interrupt(Fault::Cancel);
                std::future::pending::<()>().await;
            }
            Some(fault @ (Fault::Cancel | Fault::Abandon)) => {
                self.world.interrupt(fault);
                // The transaction gets to see it before the answer.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            _ => {}
        }
        let mut state = self.world.lock();
        let answer = work(&mut state.models[self.place])?;
        state.log.push(Entry { host: self.place, step, ended: true });
        match fault {
            Some(Fault::LostAfter) => Err(lost()),
            Some(Fault::Silent) => Err(HostError::Silent { doing, limit: Duration::from_secs(9) }),
            _ => Ok(answer),
        }
    }
}

/// Nothing happens before the answer.
fn nothing(_: &mut Model) {}

fn ours(model: &Model) {
    assert_eq!(model.lock, Lock::Ours, "only who has the lock may change a host");
    assert!(!model.reverted, "a guardian that puts its host back does nothing else");
}

impl Host for Scripted {
    fn name(&self) -> &str {
        &self.name
    }

    async fn preflight(&self) -> Result<Facts, HostError> {
        Ok(self.world.facts(self.place))
    }

    async fn lock(&self) -> Result<LockOutcome, HostError> {
        let work = |model: &mut Model| match model.lock {
            Lock::Free => {
                model.lock = Lock::Ours;
                Ok(LockOutcome::Taken(model.facts()))
            }
            Lock::Others { tries } => {
                model.lock = if tries > 1 { Lock::Others { tries: tries - 1 } } else { Lock::Free };
                Ok(LockOutcome::Held("ada from laptop, doing deploy prod".to_owned()))
            }
            Lock::Frozen => Ok(LockOutcome::Frozen("no deploys on Fridays (ada from laptop)".to_owned())),
            Lock::Ours => panic!("the lock is asked for once"),
        };
        self.call(Step::Lock, nothing, work).await
    }

    async fn release(&self) -> Result<(), HostError> {
        let work = |model: &mut Model| {
            ours(model);
            model.lock = Lock::Free;
            Ok(())
        };
        self.call(Step::Release, nothing, work).await
    }

    async fn begin(&self, attempt: &Attempt) -> Result<(), HostError> {
        let work = |model: &mut Model| {
            ours(model);
            let previous = attempt.previous.rsplit('/').next().and_then(|name| name.parse().ok());
            assert_eq!(previous, model.current, "the way back is known before anything is done");
            model.attempt = Some((id(&attempt.release), previous));
            model.absent_then.clone_from(&attempt.absent);
            Ok(())
        };
        self.call(Step::Begin, nothing, work).await
    }

    async fn upload(
        &self,
        artifact: &Artifact,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(), HostError> {
        let work = |model: &mut Model| {
            ours(model);
            progress(artifact.compressed_bytes);
            Ok(())
        };
        self.call(Step::Upload, nothing, work).await
    }

    async fn act(&self, action: &Action, heard: &(dyn Fn(Say) + Send + Sync)) -> Result<(), HostError> {
        match action {
            Action::Prepare => {
                let work = |model: &mut Model| {
                    ours(model);
                    let (id, _) = model.attempt.expect("prepared after it was begun");
                    model.releases.retain(|release| release.id != id || release.state != "failed");
                    model.releases.push(record(&id.to_string(), "preparing", None));
                    Ok(())
                };
                self.call(Step::Prepare, nothing, work).await
            }
            Action::Ready => {
                let work = |model: &mut Model| {
                    ours(model);
                    model.ready = true;
                    Ok(())
                };
                self.call(Step::Ready, nothing, work).await
            }
            Action::Activate => {
                let begun = |model: &mut Model| {
                    ours(model);
                    assert!(model.ready, "no switch without a way back");
                    model.current = model.attempt.map(|(id, _)| id);
                    model.activated = true;
                };
                let work = |model: &mut Model| {
                    model.running = model.current;
                    heard(Say::Proof("proven".to_owned(), "2 processes".to_owned()));
                    if model.asks_for_probe {
                        heard(Say::ProbeNeeded);
                    }
                    Ok(())
                };
                self.call(Step::Activate, begun, work).await
            }
            Action::Recheck => {
                let work = |model: &mut Model| {
                    ours(model);
                    assert!(
                        model.running == model.attempt.map(|(id, _)| id),
                        "only what runs is checked again"
                    );
                    heard(Say::Proof("proven".to_owned(), "2 processes".to_owned()));
                    if model.asks_for_probe {
                        heard(Say::ProbeNeeded);
                    }
                    Ok(())
                };
                self.call(Step::Recheck, nothing, work).await
            }
            Action::Commit => {
                let work = |model: &mut Model| {
                    ours(model);
                    let (id, previous) = model.attempt.expect("begun");
                    assert_eq!(model.running, Some(id), "only what was proven is committed");
                    model.committed = true;
                    if let Some(release) = model.release_mut(id) {
                        "good".clone_into(&mut release.state);
                        release.previous = release.previous.or(previous);
                    }
                    Ok(())
                };
                self.call(Step::Commit, nothing, work).await
            }
            Action::Finish(prune) => {
                let work = |model: &mut Model| {
                    ours(model);
                    assert!(model.committed, "nothing is cleaned up before the commit");
                    model.releases.retain(|release| !prune.contains(&release.id));
                    model.pruned.clone_from(prune);
                    model.absent.clone_from(&model.absent_then);
                    Ok(())
                };
                self.call(Step::Finish, nothing, work).await
            }
            Action::Absent(absent) => {
                let work = |model: &mut Model| {
                    ours(model);
                    assert!(model.attempt.is_none(), "nothing is done to a host that is level");
                    model.absent.clone_from(absent);
                    Ok(())
                };
                self.call(Step::Absent, nothing, work).await
            }
            Action::Stop => panic!("not part of a transaction"),
        }
    }

    async fn hook(&self, hook: &HookScript, line: &(dyn Fn(&str) + Send + Sync)) -> Result<(), HostError> {
        let step = if hook.hook.once { Step::Once } else { Step::Hook(hook.point) };
        let work = |model: &mut Model| {
            assert_eq!(model.lock, Lock::Ours, "hooks run under the lock");
            line("working");
            Ok(())
        };
        self.call(step, nothing, work).await
    }

    async fn heartbeat(&self, _: Duration) -> Result<(), HostError> {
        let activated = self.world.models()[self.place].activated;
        let step = if activated { Step::AnswerBeforeCommit } else { Step::AnswerBeforeSwitch };
        self.call(step, nothing, |_| Ok(())).await
    }

    async fn revert(&self, heard: &(dyn Fn(Say) + Send + Sync)) -> Result<(), HostError> {
        let work = |model: &mut Model| {
            model.revert()?;
            let live = model.current.map(|id| id.to_string()).unwrap_or_default();
            heard(Say::RevertedLink(live));
            Ok(())
        };
        self.call(Step::Revert, nothing, work).await
    }

    async fn probe(&self) -> Result<(), HostError> {
        self.call(Step::Probe, nothing, |model| {
            assert_eq!(model.running, model.attempt.map(|(id, _)| id));
            Ok(())
        })
        .await
    }

    async fn leave(&self) -> Result<(), HostError> {
        let work = |model: &mut Model| {
            if model.lock == Lock::Ours {
                model.lock = Lock::Free;
            }
            Ok(())
        };
        self.call(Step::Leave, nothing, work).await
    }
}
