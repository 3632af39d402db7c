//! Owns a scripted host as the transaction drives it: what each call does to its model, and how the script
//! has it end.

use std::time::Duration;

use super::Entry;
use super::Fault;
use super::Lock;
use super::Model;
use super::Step;
use super::World;
use super::id;
use super::record;
use crate::artifact::Artifact;
use crate::host::Action;
use crate::host::Attempt;
use crate::host::Facts;
use crate::host::HookScript;
use crate::host::Host;
use crate::host::HostError;
use crate::host::LockOutcome;
use crate::host::Progress;
use crate::host::Say;
use crate::host::UnaskedCheck;

/// A host in memory.
#[derive(Clone, Debug)]
pub(in crate::deploy) struct Scripted {
    pub(super) name: String,
    pub(super) place: usize,
    pub(super) world: World,
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
            Lock::Crowd { tries } => {
                model.lock = if tries > 1 { Lock::Crowd { tries: tries - 1 } } else { Lock::Free };
                Ok(LockOutcome::Held(format!("user{tries} from laptop, doing deploy prod")))
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
        _: &Facts,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<(), HostError> {
        let work = |model: &mut Model| {
            ours(model);
            let bytes = artifact.compressed_bytes().expect("it is stored");
            let files = artifact.manifest.files();
            progress(Progress::Planned { files, bytes, is_exact: true, resumed: false });
            progress(Progress::Sent { sent: bytes, total: bytes });
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
                        heard(Say::ProbeNeeded(1));
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
                        heard(Say::ProbeNeeded(1));
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

    async fn probe(&self, checks: &[UnaskedCheck], _: bool) -> Result<(), HostError> {
        let numbers: Vec<usize> = checks.iter().map(|check| check.number).collect();
        assert_eq!(numbers, [1], "what the host cannot ask is asked, and nothing else");
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
