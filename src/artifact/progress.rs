//! Owns how often progress is stated: at most ten times a second, from any thread.

use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use crate::event::EventKind;
use crate::event::Events;

const INTERVAL: Duration = Duration::from_millis(100);

/// Counts files and bytes of one pass over the tree.
#[derive(Debug)]
pub(super) struct Progress<'a> {
    events: &'a Events,
    files: AtomicU64,
    bytes: AtomicU64,
    stated: Mutex<Instant>,
}

impl<'a> Progress<'a> {
    pub(super) fn new(events: &'a Events) -> Self {
        let (files, bytes) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { events, files, bytes, stated: Mutex::new(Instant::now()) }
    }

    pub(super) fn file_done(&self) {
        self.files.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn bytes_done(&self, count: u64) {
        let bytes = self.bytes.fetch_add(count, Ordering::Relaxed) + count;
        // A thread that finds the clock in use leaves the statement to the one that uses it.
        let Ok(mut stated) = self.stated.try_lock() else { return };
        if stated.elapsed() >= INTERVAL {
            *stated = Instant::now();
            let files = self.files.load(Ordering::Relaxed);
            self.events.emit(EventKind::PackProgressed { files, bytes });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::testing::with_events;

    #[test]
    fn progress_is_stated_at_most_ten_times_a_second_and_never_goes_back() {
        let (took, stated) = with_events(|events| {
            let progress = Progress::new(events);
            let began = Instant::now();
            let mut over = false;
            while !over {
                over = began.elapsed() > INTERVAL * 3;
                progress.file_done();
                progress.bytes_done(10);
            }
            began.elapsed()
        });
        let bytes: Vec<u64> = stated
            .iter()
            .map(|kind| match kind {
                EventKind::PackProgressed { files, bytes } if files * 10 == *bytes => *bytes,
                other => panic!("{other:?}"),
            })
            .collect();
        assert!(bytes.is_sorted());
        assert!(!bytes.is_empty() && bytes.len() as u128 <= took.as_millis() / INTERVAL.as_millis());
    }
}
