//! Owns errors that end a verb before, or instead of, a run: what is said and which exit code it has.

use std::fmt;

use crate::deploy::Outcome;

/// An error that ends the command.
#[derive(Debug)]
pub struct Fatal {
    /// What a person reads; may have several lines.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
    /// The exit code.
    pub code: u8,
}

impl Fatal {
    /// A mistake in the command line or the configuration; nothing was touched.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self { message: message.to_string(), hint: None, code: Outcome::Usage.code() }
    }

    /// Something that should not happen.
    pub fn unexpected(message: impl fmt::Display) -> Self {
        let hint = "this is a bug in rdeploy; please report it with the log file";
        Self { message: message.to_string(), hint: Some(hint.to_owned()), code: 1 }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fatal {}
