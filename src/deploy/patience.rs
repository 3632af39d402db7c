//! Owns how long a lock that somebody else holds is waited for, and when it is asked for again: seldom
//! enough not to be a burden, and at moments of its own, so that two who wait do not meet each time.

use std::time::Duration;

use tokio::time::Instant;

/// The first pause, at most; each is twice the one before.
const FIRST: Duration = Duration::from_secs(1);

/// The longest pause.
const LONGEST: Duration = Duration::from_secs(8);

/// The patience that is left for a held lock.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    limit: Option<Duration>,
    until: Instant,
    pause: Duration,
}

impl Patience {
    /// Waits for so long; `None` does not wait at all.
    pub fn of(limit: Option<Duration>) -> Self {
        Self { limit, until: Instant::now() + limit.unwrap_or_default(), pause: FIRST }
    }

    /// Returns how long to wait before the lock is asked for again; nothing when the time is over.
    pub fn pause(&mut self) -> Option<Duration> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST);
        // Between half of it and the whole. Without random numbers it is the whole.
        let part = getrandom::u32().map_or(1.0, |n| 0.5 + f64::from(n) / f64::from(u32::MAX) / 2.0);
        Some(pause.mul_f64(part).min(left))
    }

    /// What is added to the words about a lock that was waited for in vain.
    pub fn in_vain(&self) -> String {
        let waited = |limit: Duration| format!("; it was waited for, for {} s", limit.as_secs());
        self.limit.map(waited).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_to_a_limit_and_end_with_the_time() {
        let mut patience = Patience::of(Some(Duration::from_secs(60)));
        let started = Instant::now();
        let mut pauses = Vec::new();
        while let Some(pause) = patience.pause() {
            pauses.push(pause);
            tokio::time::sleep(pause).await;
        }
        assert!((FIRST / 2..=FIRST).contains(&pauses[0]), "{pauses:?}");
        assert!(pauses.iter().all(|pause| *pause <= LONGEST), "{pauses:?}");
        assert!(pauses.len() > 8, "{pauses:?}");
        let waited = started.elapsed().as_millis();
        // Timers are as fine as a millisecond.
        assert!((60_000..60_100).contains(&waited), "{waited}");
        assert_eq!(patience.in_vain(), "; it was waited for, for 60 s");
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_not_told_to_wait_does_not() {
        let mut patience = Patience::of(None);
        assert_eq!(patience.pause(), None);
        assert_eq!(patience.in_vain(), "");
    }
}
