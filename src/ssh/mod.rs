//! Owns connections to hosts: finding them, recognising them, logging in, and the channels on which
//! commands run. With `embedded`, the only folder that knows the SSH library; nothing of the library
//! appears in what is public here. Knows nothing of releases, of the transaction, or of a terminal:
//! whoever connects hands in an [`Ask`] for the few questions a person must answer.
//!
//! | file | owns |
//! |---|---|
//! | `connect` | the stages of making a connection, and their time limit |
//! | `tcp` | addresses, the socket and its options |
//! | `host_key` | the decision whether the host is the one that is meant |
//! | `known_hosts` | the files that decision rests on |
//! | `login` | which keys are offered, in which order |
//! | `identity` | key files: reading, decrypting, signing |
//! | `asking` | one question at a time, and the clock that stops meanwhile |
//! | `connection` | commands and forwards on a connection |
//! | `exec` | one running command: its input, its output, its end |
//! | `forward` | one TCP stream through a connection |
//! | `traffic` | round trips and bytes |
//! | `error` | what can go wrong, and what to do then |

mod asking;
mod connect;
mod connection;
mod error;
mod exec;
mod forward;
mod host_key;
mod identity;
mod known_hosts;
mod login;
mod tcp;
mod traffic;

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use zeroize::Zeroizing;

pub use connect::connect;
pub use connect::connect_in;
pub use connection::Connection;
pub use connection::Output;
pub use error::ChannelError;
pub use error::ConnectError;
pub use error::KnownKey;
pub use error::OfferedKey;
pub use error::Stage;
pub use error::UnknownKey;
pub use error::UnusableKey;
pub use exec::Chunk;
pub use exec::Exec;
pub use exec::ExecOutput;
pub use exec::ExecStdin;
pub use exec::Exit;
pub use identity::forget_unlocked_keys;
pub(crate) use known_hosts::line as known_hosts_line;
pub use traffic::Traffic;
pub use traffic::Trip;

/// A host to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The name shown for it.
    pub name: String,
    /// The login name.
    pub user: String,
    /// DNS name or IP address, without brackets.
    pub address: String,
    /// The TCP port.
    pub port: u16,
}

/// How connections are made.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Key files to log in with; when given, only these (also of an agent's keys).
    pub identity: Vec<PathBuf>,
    /// Files of known host keys, instead of the user's and the system's.
    pub known_hosts: Vec<PathBuf>,
    /// Limit for address, TCP, key exchange and login together. Time in which a person is asked
    /// does not count.
    pub connect_timeout: Duration,
    /// Whether an agent is asked for keys.
    pub agent: bool,
}

impl From<&crate::config::SshSettings> for Settings {
    fn from(settings: &crate::config::SshSettings) -> Self {
        Self {
            identity: settings.identity.clone(),
            known_hosts: settings.known_hosts.clone(),
            connect_timeout: settings.connect_timeout,
            agent: true,
        }
    }
}

/// What of the process's environment a connection depends on.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Where `~/.ssh` is.
    pub home: Option<PathBuf>,
    /// The agent's socket.
    pub agent_socket: Option<PathBuf>,
}

impl Surroundings {
    /// Reads `HOME` and `SSH_AUTH_SOCK`; an empty variable counts as absent.
    pub fn from_env() -> Self {
        let path = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Self { home: path("HOME"), agent_socket: path("SSH_AUTH_SOCK") }
    }

    /// The path, with a leading `~/` replaced.
    fn expand(&self, path: &Path) -> PathBuf {
        match (&self.home, path.strip_prefix("~")) {
            (Some(home), Ok(rest)) => home.join(rest),
            _ => path.to_owned(),
        }
    }
}

/// The questions a person must answer while connecting. The calls block; they are made one at a
/// time, whatever the number of hosts.
pub trait Ask: Send + Sync {
    /// Whether an unknown host's key is accepted and remembered. `None` when nobody can be asked.
    fn accept_host_key(&self, host: &str, algorithm: &str, fingerprint: &str) -> Option<bool>;

    /// The passphrase of an encrypted key. `None` when nobody can be asked, or nobody answers.
    fn passphrase(&self, key: &Path) -> Option<Zeroizing<String>>;
}

/// Answers no question: what a run without a terminal uses.
#[derive(Clone, Copy, Debug, Default)]
pub struct AskNobody;

impl Ask for AskNobody {
    fn accept_host_key(&self, _: &str, _: &str, _: &str) -> Option<bool> {
        None
    }

    fn passphrase(&self, _: &Path) -> Option<Zeroizing<String>> {
        None
    }
}
