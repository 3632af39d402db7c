//! Owns errors that end a verb before, or instead of, a run: what is said and which exit code it has.

use std::error::Error;
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
    /// Whether the message is a whole report, to be printed as it is.
    pub rendered: bool,
}

impl Fatal {
    /// A mistake in the command line or the configuration; nothing was touched.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self { message: message.to_string(), hint: None, code: Outcome::Usage.code(), rendered: false }
    }

    /// The configuration is wrong; `report` says where, with its own lines and carets.
    pub fn configuration(report: String) -> Self {
        Self { rendered: true, ..Self::usage(report) }
    }

    /// Something that should not happen.
    pub fn unexpected(message: impl fmt::Display) -> Self {
        let hint = "this is a bug in rdeploy; please report it with the log file";
        Self { message: message.to_string(), hint: Some(hint.to_owned()), code: 1, rendered: false }
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

impl Error for Fatal {}

/// An error and what caused it, in one sentence; a cause that is in the sentence already is not repeated.
pub(super) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        let said = source.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = source.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot connect to web1")]
    struct Outer(#[source] io::Error);

    #[test]
    fn a_cause_is_said_once() {
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(with_causes(&Outer(refused())), "cannot connect to web1: connection refused");
        assert_eq!(with_causes(&refused()), "connection refused");
    }
}
