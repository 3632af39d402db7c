//! Owns what a guardian was told to do next: sent ahead, so that a deploy waits for few answers, and asked later
//! as if it had not been.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use super::talk::Asked;

/// What was sent and not asked for yet.
#[derive(Default)]
pub(super) struct Ahead {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The naming of the release, which everything else waits for.
    begun: Option<Asked>,
    /// Each with its line.
    announced: VecDeque<(String, Asked)>,
}

impl Ahead {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the question that names the release.
    pub(super) fn begin(&self, asked: Asked) {
        self.lock().begun = Some(asked);
    }

    /// Takes it, where its answer was not waited for yet.
    pub(super) fn begun(&self) -> Option<Asked> {
        self.lock().begun.take()
    }

    /// Whether nothing is announced that was not asked for.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().announced.is_empty()
    }

    /// Keeps something announced.
    pub(super) fn push(&self, intent: String, asked: Asked) {
        self.lock().announced.push_back((intent, asked));
    }

    /// Takes what was announced with that line; what came before it is not asked for any more.
    pub(super) fn take(&self, intent: &str) -> Option<Asked> {
        let mut state = self.lock();
        let at = state.announced.iter().position(|(announced, _)| announced == intent)?;
        state.announced.drain(..=at).next_back().map(|(_, asked)| asked)
    }

    /// Forgets all of it: the guardian does not do it any more.
    pub(super) fn clear(&self) {
        let state = std::mem::take(&mut *self.lock());
        // Not under the lock: what is dropped takes another one.
        drop(state);
    }
}
