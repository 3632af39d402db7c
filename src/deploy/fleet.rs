//! Owns doing the same on all hosts at once: every result is kept, a failure stops the others where
//! going on is pointless, and a stop by the user ends the waiting.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use futures_util::FutureExt as _;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use super::Stage;
use crate::host::Facts;
use crate::host::HookScript;
use crate::host::Host;
use crate::host::HostError;

/// A host of the fleet and what is known of it.
#[derive(Debug)]
pub struct Member<H> {
    /// The host.
    pub host: H,
    /// Its hooks.
    pub hooks: Vec<HookScript>,
    /// How it stood when last asked.
    pub facts: Facts,
    /// Where it stands in the transaction.
    pub(super) stage: Stage,
    /// Whether the switch was asked of it: from then on it may have happened.
    switch_asked: AtomicBool,
    /// Whether its own hooks before the switch began: it may be out of service until those after it ran.
    drained: AtomicBool,
    /// Whether it said that it is back, whatever was asked of it then.
    put_back: AtomicBool,
    /// Whether it was proven, but is not known to be well any more.
    pub(super) doubted: bool,
    /// Whether it stopped answering: nothing more is asked of it, its guardian does the rest.
    pub(super) silent: bool,
}

impl<H> Member<H> {
    /// A host that is connected and checked; `facts` is what the check found.
    pub fn new(host: H, hooks: Vec<HookScript>, facts: Facts) -> Self {
        Self {
            host,
            hooks,
            facts,
            stage: Stage::Connected,
            switch_asked: AtomicBool::new(false),
            drained: AtomicBool::new(false),
            put_back: AtomicBool::new(false),
            doubted: false,
            silent: false,
        }
    }

    /// Notes that the switch is asked of it now.
    pub(super) fn note_switch(&self) {
        self.switch_asked.store(true, Ordering::Relaxed);
    }

    /// Whether it may have been switched.
    pub(super) fn may_be_switched(&self) -> bool {
        self.switch_asked.load(Ordering::Relaxed)
    }

    /// Notes that its own hooks before the switch begin.
    pub(super) fn note_drained(&self) {
        self.drained.store(true, Ordering::Relaxed);
    }

    /// Whether its own hooks before the switch began.
    pub(super) fn is_drained(&self) -> bool {
        self.drained.load(Ordering::Relaxed)
    }

    /// Notes that it is back.
    pub(super) fn note_put_back(&self) {
        self.put_back.store(true, Ordering::Relaxed);
    }

    /// Whether it said that it is back.
    pub(super) fn is_put_back(&self) -> bool {
        self.put_back.load(Ordering::Relaxed)
    }

    /// Whether it was proven to run the release and nothing has said otherwise since.
    pub(super) fn is_healthy(&self) -> bool {
        self.stage == Stage::Verified && !self.doubted
    }
}

/// The hosts of an environment, in its order; the first one arbitrates the lock.
#[derive(Debug)]
pub struct Fleet<H> {
    /// The members.
    pub members: Vec<Member<H>>,
}

/// What came of doing something on several hosts. Hosts are named by their place in the fleet.
#[derive(Debug)]
pub(super) struct Round<T> {
    /// Those that did it, in order.
    pub(super) done: Vec<(usize, T)>,
    /// Those that failed, in order.
    pub(super) failed: Vec<(usize, HostError)>,
    /// Those whose answer was not waited for, in order.
    pub(super) unanswered: Vec<usize>,
    /// Whether it was stopped from outside.
    pub(super) cut: bool,
}

impl<T> Round<T> {
    /// The places of those that failed.
    pub(super) fn failed_places(&self) -> Vec<usize> {
        self.failed.iter().map(|(place, _)| *place).collect()
    }

    /// Returns what came of it where every host did it, else why the transaction cannot go on.
    pub(super) fn complete(self) -> Result<Vec<(usize, T)>, Stopped> {
        if self.cut || !self.failed.is_empty() {
            return Err(Stopped { failures: self.failed, by_user: self.cut });
        }
        Ok(self.done)
    }
}

/// Why the transaction goes back.
#[derive(Debug)]
pub(super) struct Stopped {
    /// These hosts failed, by their place.
    pub(super) failures: Vec<(usize, HostError)>,
    /// The user asked to stop.
    pub(super) by_user: bool,
}

/// What a failure on one host means for the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnFailure {
    /// They go on to their end: all results are wanted.
    GoOn,
    /// They are dropped: everything is put back anyway.
    Stop,
}

impl<H: Host> Fleet<H> {
    /// Does `work` on every member at `places` at once, until all have answered or `stop` is over.
    pub(super) async fn each<'a, T, F>(
        &'a self,
        places: impl IntoIterator<Item = usize>,
        on_failure: OnFailure,
        stop: impl Future<Output = ()>,
        work: impl Fn(&'a Member<H>) -> F,
    ) -> Round<T>
    where
        F: Future<Output = Result<T, HostError>>,
    {
        let asked: BTreeSet<usize> = places.into_iter().filter(|place| *place < self.members.len()).collect();
        let start = |(place, member)| {
            // A future that holds another takes the room of two.
            let work = Box::pin(work(member));
            async move { (place, work.await) }
        };
        let chosen = asked.iter().filter_map(|place| self.members.get(*place).map(|member| (*place, member)));
        let mut running: FuturesUnordered<_> = chosen.map(start).collect();
        let mut stop = pin!(stop);
        let mut results = Vec::new();
        let mut cut = false;
        loop {
            let ended = tokio::select! {
                biased;
                () = &mut stop => {
                    cut = true;
                    break;
                }
                ended = running.next() => ended,
            };
            let Some((place, result)) = ended else { break };
            let failed = result.is_err();
            results.push((place, result));
            if failed && on_failure == OnFailure::Stop {
                // What failed at the same moment for the same cause is told as well.
                while let Some(Some(ended)) = running.next().now_or_never() {
                    results.push(ended);
                }
                break;
            }
        }
        results.sort_by_key(|(place, _)| *place);
        let answered: BTreeSet<usize> = results.iter().map(|(place, _)| *place).collect();
        let mut round = Round { done: Vec::new(), failed: Vec::new(), unanswered: Vec::new(), cut };
        round.unanswered.extend(asked.difference(&answered));
        for (place, result) in results {
            match result {
                Ok(value) => round.done.push((place, value)),
                Err(error) => round.failed.push((place, error)),
            }
        }
        round
    }

    /// Every place.
    pub(super) fn all(&self) -> std::ops::Range<usize> {
        0..self.members.len()
    }

    /// The places of the members that are at one of these stages.
    pub(super) fn at(&self, stages: &[Stage]) -> Vec<usize> {
        let found = self.members.iter().enumerate().filter(|(_, member)| stages.contains(&member.stage));
        found.map(|(place, _)| place).collect()
    }
}
