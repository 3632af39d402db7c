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
