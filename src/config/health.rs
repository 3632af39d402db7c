//! Owns the validated form of a health check: what is asked, what has to come back, and when it is asked.

use std::fmt;
use std::time::Duration;

/// What is meant where nothing is written. The reference in docs/configuration.md repeats these.
pub(super) const TIMEOUT: Duration = Duration::from_secs(30);
pub(super) const INTERVAL: Duration = Duration::from_secs(1);

/// One health check, asked on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// What is asked.
    pub probe: Probe,
    /// How long the app may take to become healthy, from the first question.
    pub timeout: Duration,
    /// Time between two questions.
    pub interval: Duration,
    /// How many good answers in a row make it healthy; at least one.
    pub successes: u32,
    /// How long the first question waits.
    pub delay: Duration,
}

/// What a health check asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// A page.
    Http(HttpProbe),
    /// A TCP port that must accept a connection.
    Tcp {
        /// Address on the host.
        host: String,
        /// Port.
        port: u16,
    },
    /// A Unix socket that must accept a connection: absolute, or relative to `deploy_to`.
    Socket(String),
    /// A command that must exit 0.
    Command(String),
}

/// A page that is asked for, and what its answer has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpProbe {
    /// An `http://` URL.
    pub url: String,
    /// The host that is asked for; without it the one of the URL.
    pub host: Option<String>,
    /// The Unix socket to ask through, instead of the URL's host and port: absolute, or relative to
    /// `deploy_to`.
    pub socket: Option<String>,
    /// The statuses that are well; never empty.
    pub status: Vec<Statuses>,
    /// A text that the answer has to contain.
    pub body: Option<String>,
    /// What is sent with the question, beyond what every client sends.
    pub headers: Vec<Header>,
}

/// A range of statuses, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statuses {
    /// The first.
    pub from: u16,
    /// The last.
    pub to: u16,
}

/// A header of a request. Its value may be secret, so it is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Header {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

impl Health {
    /// A check with everything else as it is when nothing is written.
    pub fn of(probe: Probe) -> Self {
        Self { probe, timeout: TIMEOUT, interval: INTERVAL, successes: 1, delay: Duration::ZERO }
    }

    /// How long it may take until it is clear.
    pub fn patience(&self) -> Duration {
        self.delay + self.timeout
    }
}

impl HttpProbe {
    /// A page that has to answer 2xx or 3xx.
    pub fn at(url: String) -> Self {
        let status = vec![Statuses::SUCCESS_OR_REDIRECTION];
        Self { url, host: None, socket: None, status, body: None, headers: Vec::new() }
    }

    /// Whether an answer with that status is well.
    pub fn accepts(&self, status: u16) -> bool {
        self.status.iter().any(|range| (range.from..=range.to).contains(&status))
    }
}

impl Statuses {
    /// 2xx and 3xx.
    pub const SUCCESS_OR_REDIRECTION: Self = Self { from: 200, to: 399 };
    /// 2xx.
    pub const SUCCESS: Self = Self { from: 200, to: 299 };
}

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.from == self.to {
            true => write!(f, "{}", self.from),
            false => write!(f, "{}-{}", self.from, self.to),
        }
    }
}

impl fmt::Display for Probe {
    /// What is asked, in a few words; nothing that may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(HttpProbe { url, .. }) => f.write_str(url),
            Self::Tcp { host, port } if host.contains(':') => write!(f, "tcp [{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "tcp {host}:{port}"),
            Self::Socket(path) => write!(f, "socket {path}"),
            Self::Command(_) => f.write_str("command"),
        }
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: …", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_of_a_header_is_in_no_debugging_output() {
        let header = Header { name: "Authorization".to_owned(), value: "Bearer s3cret".to_owned() };
        let headers = vec![header];
        let probe = HttpProbe { headers, ..HttpProbe::at("http://127.0.0.1/".to_owned()) };
        let shown = format!("{:?}", Health::of(Probe::Http(probe)));
        assert!(shown.contains("Authorization") && !shown.contains("s3cret"), "{shown}");
    }

    #[test]
    fn ranges_of_statuses_include_both_ends() {
        let status = vec![Statuses { from: 204, to: 204 }, Statuses { from: 300, to: 302 }];
        let probe = HttpProbe { status, ..HttpProbe::at("http://127.0.0.1/".to_owned()) };
        let accepted: Vec<u16> = (100..600).filter(|status| probe.accepts(*status)).collect();
        assert_eq!(accepted, [204, 300, 301, 302]);
    }
}
