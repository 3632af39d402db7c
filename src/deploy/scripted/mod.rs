//! Owns hosts that exist in memory only, for tests of the transaction: each holds a model of what a real
//! one would run, refuses what a guardian would refuse, and fails where a script says so. Every call of
//! every host goes into one log.

mod host;
mod model;
mod step;

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

pub(super) use host::Scripted;
pub(super) use model::Lock;
pub(super) use model::Model;
pub(super) use step::Fault;
pub(super) use step::Planned;
pub(super) use step::Step;

use super::Stops;
use crate::config;
use crate::host::Facts;
use crate::host::ReleaseRecord;
use crate::release::ReleaseId;

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
