//! Owns what a connection has cost: how often its user had to wait for the host before it could go on, and the
//! bytes that went over the socket.
//!
//! A *dependent round trip* is a question that could not have been sent before an earlier answer was there. Every
//! question knows how many answers its asker had waited for until then; when its own answer is waited for, the
//! connection is one further than that. So questions that are sent together, or one behind the other without a wait
//! in between, cost one round trip however many there are; an answer that nobody waits for (a heartbeat's, a
//! channel's that is opened ahead) costs none; and what the transport does by itself (acknowledgements, windows)
//! is not counted, nor is anything before the login.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

/// What a connection has cost so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Dependent round trips since the login: the most answers that were waited for one after the other.
    pub round_trips: u32,
    /// Bytes written to the socket since it was opened, the encryption's among them.
    pub sent: u64,
    /// Bytes read from it.
    pub received: u64,
}

/// Counts for one connection. The clones count together.
#[derive(Clone, Debug, Default)]
pub(super) struct Meter(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    trips: AtomicU32,
    sent: AtomicU64,
    received: AtomicU64,
}

/// A question under way: taken when it is sent, given back when its answer was waited for.
#[derive(Clone, Debug)]
pub struct Trip {
    meter: Meter,
    number: u32,
}

impl Meter {
    /// Something is sent now whose answer may be waited for.
    pub(super) fn asked(&self) -> Trip {
        let number = self.0.trips.load(Ordering::Relaxed) + 1;
        Trip { meter: self.clone(), number }
    }

    pub(super) fn wrote(&self, bytes: usize) {
        self.0.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn read(&self, bytes: usize) {
        self.0.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn traffic(&self) -> Traffic {
        Traffic {
            round_trips: self.0.trips.load(Ordering::Relaxed),
            sent: self.0.sent.load(Ordering::Relaxed),
            received: self.0.received.load(Ordering::Relaxed),
        }
    }
}

impl Trip {
    /// The answer was waited for, and is here: what is sent from now on may depend on it.
    pub fn answered(&self) {
        self.meter.0.trips.fetch_max(self.number, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trips(meter: &Meter) -> u32 {
        meter.traffic().round_trips
    }

    #[test]
    fn questions_that_are_sent_together_cost_one_round_trip() {
        let meter = Meter::default();
        let together = [meter.asked(), meter.asked(), meter.asked()];
        together.iter().for_each(Trip::answered);
        assert_eq!(trips(&meter), 1);
        meter.asked().answered();
        assert_eq!(trips(&meter), 2);
    }

    #[test]
    fn an_answer_that_was_on_its_way_already_costs_nothing_more() {
        let meter = Meter::default();
        let ahead = meter.asked();
        meter.asked().answered();
        meter.asked().answered();
        ahead.answered();
        assert_eq!(trips(&meter), 2);
    }

    #[test]
    fn an_answer_that_nobody_waits_for_costs_nothing() {
        let meter = Meter::default();
        drop(meter.asked());
        assert_eq!(trips(&meter), 0);
    }
}
