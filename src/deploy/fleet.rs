//! Owns doing the same on all hosts at once: every result is kept, a failure stops the others where
//! going on is pointless, and a stop by the user ends the waiting.

use std::future::Future;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio_util::sync::CancellationToken;

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
    pub stage: Stage,
}

/// The hosts of an environment, in its order; the first one arbitrates the lock.
#[derive(Debug)]
pub struct Fleet<H> {
    /// The members.
    pub members: Vec<Member<H>>,
}

/// Why not every host did what was asked.
#[derive(Debug)]
pub(super) enum Stopped {
    /// These hosts failed, by their place.
    Failed(Vec<(usize, HostError)>),
    /// The user asked to stop.
    Cancelled,
}

/// What a failure on one host means for the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnFailure {
    /// They go on to their end: all problems are wanted.
    GoOn,
    /// They are dropped: everything is put back anyway.
    Stop,
}

impl<H: Host> Fleet<H> {
    /// Does `work` on every member at `places` at once.
    pub(super) async fn each<'a, T, F>(
        &'a self,
        places: impl IntoIterator<Item = usize>,
        on_failure: OnFailure,
        cancel: &CancellationToken,
        work: impl Fn(&'a Member<H>) -> F,
    ) -> Result<Vec<(usize, T)>, Stopped>
    where
        F: Future<Output = Result<T, HostError>>,
    {
        let mut running: FuturesUnordered<_> = places
            .into_iter()
            .filter_map(|place| self.members.get(place).map(|member| (place, member)))
            .map(|(place, member)| {
                let work = work(member);
                async move { (place, work.await) }
            })
            .collect();
        let mut done = Vec::new();
        let mut failed = Vec::new();
        loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(Stopped::Cancelled),
                ended = running.next() => match ended {
                    None => break,
                    Some((place, Ok(value))) => done.push((place, value)),
                    Some((place, Err(error))) => {
                        failed.push((place, error));
                        if on_failure == OnFailure::Stop {
                            break;
                        }
                    }
                },
            }
        }
        if failed.is_empty() {
            done.sort_by_key(|(place, _)| *place);
            Ok(done)
        } else {
            failed.sort_by_key(|(place, _)| *place);
            Err(Stopped::Failed(failed))
        }
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
