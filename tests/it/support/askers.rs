//! People who answer questions, and remember what they were asked.

use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use rdeploy::ssh::Ask;
use zeroize::Zeroizing;

/// Answers every question the same way.
#[derive(Default)]
pub(crate) struct Person {
    pub(crate) accepts: Option<bool>,
    pub(crate) passphrases: Mutex<Vec<String>>,
    pub(crate) asked: Mutex<Vec<String>>,
    /// How long each answer takes.
    pub(crate) thinks: Duration,
}

impl Person {
    /// Somebody who is not there.
    pub(crate) fn nobody() -> Arc<Self> {
        Arc::default()
    }

    /// Somebody who accepts or declines every host key.
    pub(crate) fn who_says(accepts: bool) -> Arc<Self> {
        Arc::new(Self { accepts: Some(accepts), ..Self::default() })
    }

    /// Somebody who types these passphrases, one at a time.
    pub(crate) fn who_types(passphrases: &[&str]) -> Arc<Self> {
        let passphrases = passphrases.iter().rev().map(|word| (*word).to_owned()).collect();
        Arc::new(Self { passphrases: Mutex::new(passphrases), ..Self::default() })
    }

    /// What was asked so far.
    pub(crate) fn questions(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Ask for Person {
    fn accept_host_key(&self, host: &str, algorithm: &str, fingerprint: &str) -> Option<bool> {
        self.asked.lock().unwrap().push(format!("{host} {algorithm} {fingerprint}"));
        std::thread::sleep(self.thinks);
        self.accepts
    }

    fn passphrase(&self, key: &Path) -> Option<Zeroizing<String>> {
        self.asked.lock().unwrap().push(key.display().to_string());
        std::thread::sleep(self.thinks);
        self.passphrases.lock().unwrap().pop().map(Zeroizing::new)
    }
}
