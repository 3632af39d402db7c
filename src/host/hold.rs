//! Owns what is asked of a host's guardian about locks, outside a transaction: `sh/hold.sh` does it there.

use std::time::Duration;

use super::HostError;
use super::protocol::Facts;
use super::session::ANSWER_LIMIT;
use super::session::Session;

impl Session {
    /// Looks at the lock, the freeze and the releases. Takes nothing and changes nothing.
    pub async fn look(&self) -> Result<Facts, HostError> {
        self.facts("look", "looking at the lock").await
    }

    /// Orders the living guardian of that attempt to put its host back. False when the lock is not that
    /// attempt's any more, or the order could not be left there.
    pub async fn order(&self, attempt: &str) -> Result<bool, HostError> {
        let intent = format!("order {attempt}");
        let doing = "ordering the guardian to put the host back";
        Ok(self.living().talk.ask(&intent, doing, ANSWER_LIMIT, &|_| ()).await?.is_ok())
    }

    /// How long a guardian may take to put this host back once it was ordered to.
    pub fn order_limit(&self) -> Duration {
        self.settings.activate_limit() + self.settings.undrain_limit() + Duration::from_secs(60)
    }

    /// Freezes this host; the lock has to be ours. Undone by a revert, and by leaving without a word.
    pub async fn freeze(&self, message: &str) -> Result<(), HostError> {
        let intent = format!("freeze {message}");
        self.done(&intent, "freezing the host", ANSWER_LIMIT, &|_| ()).await
    }

    /// Lifts the freeze; the lock has to be ours. Returns whose it was, where there was one.
    pub async fn thaw(&self) -> Result<Option<String>, HostError> {
        Ok(self.facts("thaw", "lifting the freeze").await?.values.remove("lifted"))
    }
}
