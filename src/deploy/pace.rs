//! Owns how fast hosts are put back: those that are not known to be well at once; after them the healthy
//! ones, so many at a time that putting back is no outage itself. Who presses Ctrl-C wants it over, and
//! then nobody waits for a turn.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use tokio::sync::Semaphore;
use tokio::sync::SemaphorePermit;
use tokio_util::sync::CancellationToken;

/// The turns in which hosts are put back.
#[derive(Debug)]
pub(super) struct Pace {
    /// For healthy hosts; none until the others are back.
    slots: Semaphore,
    width: usize,
    /// Hosts that are not known to be well and not back yet.
    urgent: AtomicUsize,
}

/// A host's turn; over when it is dropped.
#[derive(Debug)]
pub(super) enum Turn<'a> {
    /// It waits for nobody, and the healthy ones for it.
    Urgent(&'a Pace),
    /// One of the slots.
    Slot(#[expect(dead_code, reason = "held, not read")] SemaphorePermit<'a>),
    /// The user has no time.
    Hasty,
}

impl Pace {
    /// For that many hosts that are not known to be well, and healthy ones, `width` at a time.
    pub(super) fn new(urgent: usize, width: usize) -> Self {
        let slots = Semaphore::new(if urgent == 0 { width } else { 0 });
        Self { slots, width, urgent: AtomicUsize::new(urgent) }
    }

    /// Waits for a host's turn.
    pub(super) async fn turn(&self, healthy: bool, cancel: &CancellationToken) -> Turn<'_> {
        if !healthy {
            return Turn::Urgent(self);
        }
        tokio::select! {
            biased;
            () = cancel.cancelled() => Turn::Hasty,
            // Nobody closes it.
            slot = self.slots.acquire() => slot.map_or(Turn::Hasty, Turn::Slot),
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Self::Urgent(pace) = self
            && pace.urgent.fetch_sub(1, Ordering::AcqRel) == 1
        {
            pace.slots.add_permits(pace.width);
        }
    }
}
