//! Owns who may write to the terminal at a moment: the reporter, or a question to the user.
//! Knows no events.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use indicatif::ProgressBar;

/// The terminal as the reporter and the questions share it. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Screen {
    turn: Arc<Mutex<()>>,
    live: Option<ProgressBar>,
}

impl Screen {
    /// Returns a screen on which no reporter draws.
    pub fn idle() -> Self {
        Self::default()
    }

    /// Returns the screen of a reporter that draws `live`.
    pub(crate) fn with_live(live: ProgressBar) -> Self {
        Self { turn: Arc::default(), live: Some(live) }
    }

    /// Takes the live lines away, runs `ask`, and puts them back. Nothing is reported meanwhile (it is
    /// made up for afterwards), and other questions wait. Not to be nested.
    pub fn suspend<T>(&self, ask: impl FnOnce() -> T) -> T {
        let _turn = self.turn();
        match &self.live {
            Some(live) => live.suspend(ask),
            None => ask(),
        }
    }

    /// Waits until no question is open, and keeps new ones off while the guard lives.
    pub(crate) fn turn(&self) -> MutexGuard<'_, ()> {
        // A question that panicked leaves nothing behind that could be wrong.
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
