//! Owns asking a person while connecting: one question at a time in the whole process, because there
//! is one terminal, and a clock that stands still meanwhile. Knows not what is asked.

use std::future::Future;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::Instant;

use super::Ask;

/// Held by whoever asks. Process-wide, like the terminal it stands for.
static TERMINAL: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// The smallest step of [`Stopwatch::limit`]; it may overrun its limit by this much.
const STEP: Duration = Duration::from_millis(20);

/// Measures time, without the time in which a person is asked.
#[derive(Debug)]
pub(super) struct Stopwatch {
    started: Instant,
    pauses: Mutex<Pauses>,
}

#[derive(Debug, Default)]
struct Pauses {
    total: Duration,
    since: Option<Instant>,
}

impl Stopwatch {
    pub(super) fn start() -> Self {
        Self { started: Instant::now(), pauses: Mutex::default() }
    }

    fn used(&self) -> Duration {
        let pauses = self.pauses.lock().unwrap_or_else(PoisonError::into_inner);
        let paused = pauses.total + pauses.since.map(|since| since.elapsed()).unwrap_or_default();
        self.started.elapsed().saturating_sub(paused)
    }

    fn paused(&self) -> bool {
        let pauses = self.pauses.lock().unwrap_or_else(PoisonError::into_inner);
        pauses.since.is_some() || !pauses.total.is_zero()
    }

    /// Runs `work`, or returns nothing when it takes longer than `limit`.
    pub(super) async fn limit<F: Future>(&self, limit: Duration, work: F) -> Option<F::Output> {
        let mut work = std::pin::pin!(work);
        loop {
            let left = limit.saturating_sub(self.used());
            if left.is_zero() {
                return None;
            }
            tokio::select! {
                biased;
                output = &mut work => return Some(output),
                () = tokio::time::sleep(left.max(STEP)) => {}
            }
        }
    }
}

/// Stops a stopwatch while it lives.
struct Pause<'a>(&'a Stopwatch);

impl<'a> Pause<'a> {
    fn of(watch: &'a Stopwatch) -> Self {
        watch.pauses.lock().unwrap_or_else(PoisonError::into_inner).since = Some(Instant::now());
        Self(watch)
    }
}

impl Drop for Pause<'_> {
    fn drop(&mut self) {
        let mut pauses = self.0.pauses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(since) = pauses.since.take() {
            pauses.total += since.elapsed();
        }
    }
}

/// The way to ask, for one connection.
#[derive(Clone)]
pub(super) struct Asking {
    ask: Arc<dyn Ask>,
    watch: Arc<Stopwatch>,
}

impl Asking {
    pub(super) fn new(ask: Arc<dyn Ask>, watch: Arc<Stopwatch>) -> Self {
        Self { ask, watch }
    }

    /// Waits until nobody else asks. Another host's question may already have answered this one's:
    /// look again before putting it.
    pub(super) async fn turn(&self) -> Turn<'_> {
        let pause = Pause::of(&self.watch);
        Turn { ask: &self.ask, _pause: pause, _terminal: TERMINAL.lock().await }
    }

    /// Whether anybody was asked, or waited for others who were.
    pub(super) fn asked(&self) -> bool {
        self.watch.paused()
    }
}

/// The right to ask now.
pub(super) struct Turn<'a> {
    ask: &'a Arc<dyn Ask>,
    _pause: Pause<'a>,
    _terminal: tokio::sync::MutexGuard<'static, ()>,
}

impl Turn<'_> {
    /// Puts a question. A question that panics counts as not answered.
    pub(super) async fn put<T: Send + 'static>(
        &self,
        question: impl FnOnce(&dyn Ask) -> Option<T> + Send + 'static,
    ) -> Option<T> {
        let ask = Arc::clone(self.ask);
        tokio::task::spawn_blocking(move || question(&*ask)).await.ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ssh::AskNobody;

    #[tokio::test(start_paused = true)]
    async fn the_clock_stands_still_while_somebody_is_asked() {
        let watch = Arc::new(Stopwatch::start());
        let asking = Asking::new(Arc::new(AskNobody), Arc::clone(&watch));
        let work = async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            let turn = asking.turn().await;
            tokio::time::sleep(Duration::from_secs(60)).await;
            drop(turn);
            tokio::time::sleep(Duration::from_secs(3)).await;
            "done"
        };
        assert_eq!(watch.limit(Duration::from_secs(7), work).await, Some("done"));
        assert!(asking.asked());
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_takes_too_long_is_given_up_at_the_limit() {
        let watch = Stopwatch::start();
        let work = tokio::time::sleep(Duration::from_secs(60));
        assert_eq!(watch.limit(Duration::from_secs(7), work).await, None);
        assert!(watch.used() < Duration::from_secs(8));
        assert!(!watch.paused());
    }
}
