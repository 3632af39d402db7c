//! Owns what can go wrong with a connection, in words, and what to do next. Every text names the
//! host as the user wrote it.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::Target;

/// Whatever the SSH library said; kept as a source only.
pub(super) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// How far making a connection had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Looking up the address.
    Resolve,
    /// Opening the TCP connection.
    Tcp,
    /// Agreeing on keys, which includes recognising the host.
    KeyExchange,
    /// Logging in.
    Login,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolve => "looking up its address",
            Self::Tcp => "opening the TCP connection",
            Self::KeyExchange => "exchanging keys",
            Self::Login => "logging in",
        })
    }
}

/// A host key found in a file of known hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownKey {
    /// Its type, as OpenSSH names it.
    pub algorithm: String,
    /// Its SHA256 fingerprint.
    pub fingerprint: String,
    /// The file it is in.
    pub file: PathBuf,
    /// The line, counted from 1.
    pub line: usize,
}

impl fmt::Display for KnownKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({}:{})", self.algorithm, self.fingerprint, self.file.display(), self.line)
    }
}

/// A host key that nobody has vouched for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownKey {
    /// Its type, as OpenSSH names it.
    pub algorithm: String,
    /// Its SHA256 fingerprint.
    pub fingerprint: String,
    /// Keys of other types that are known for the host.
    pub other_types: Vec<KnownKey>,
    /// The file to which it could be added.
    pub file: PathBuf,
    /// The `ssh` command that connects to the host.
    pub command: String,
    /// Whether a person looked at the fingerprint and said no.
    pub declined: bool,
}

/// A key the host was offered and did not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferedKey {
    /// Where it comes from: a path, or the agent and its comment.
    pub origin: String,
    /// Its type and SHA256 fingerprint.
    pub fingerprint: String,
}

impl fmt::Display for OfferedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.origin, self.fingerprint)
    }
}

/// A key that could not be offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnusableKey {
    /// Where it comes from.
    pub origin: String,
    /// Why it could not be used.
    pub reason: String,
    /// Whether an agent that holds it would solve this.
    pub encrypted: bool,
}

impl fmt::Display for UnusableKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.origin, self.reason)
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name has no address.
    #[error("cannot find the address of {host}")]
    Resolve {
        /// The host's name.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// No address answered.
    #[error("cannot connect to {host} (tried {tried})")]
    Tcp {
        /// The host's name.
        host: String,
        /// The addresses.
        tried: String,
        /// What the last one said.
        source: io::Error,
    },
    /// The time limit was reached.
    #[error("{host} did not answer within {} s while {stage}", .limit.as_secs_f32())]
    Timeout {
        /// The host's name.
        host: String,
        /// How far it had come.
        stage: Stage,
        /// The limit.
        limit: Duration,
    },
    /// Something answered, but no encrypted connection came about.
    #[error("key exchange with {host} failed")]
    KeyExchange {
        /// The host's name.
        host: String,
        /// What the SSH library said.
        source: Cause,
    },
    /// The host ended the connection before the login was decided.
    #[error("{host} closed the connection while {stage}")]
    Closed {
        /// The host's name.
        host: String,
        /// How far it had come.
        stage: Stage,
        /// What it said, if anything.
        source: Cause,
    },
    /// Nobody has vouched for this host key.
    #[error(
        "the {} key of {host} is not known: {}{}",
        key.algorithm, key.fingerprint, others(&key.other_types)
    )]
    HostKeyUnknown {
        /// The host's name.
        host: String,
        /// The key.
        key: Box<UnknownKey>,
    },
    /// The host key is not the one known for the host.
    #[error("the {algorithm} key of {host} has changed to {fingerprint}; known: {}", list(.known))]
    HostKeyChanged {
        /// The host's name.
        host: String,
        /// The key's type.
        algorithm: String,
        /// The fingerprint of the key that the host presents.
        fingerprint: String,
        /// The keys that are known.
        known: Vec<KnownKey>,
    },
    /// The host key is marked as revoked.
    #[error("the key of {host} is revoked: {key}")]
    HostKeyRevoked {
        /// The host's name.
        host: String,
        /// The mark.
        key: KnownKey,
    },
    /// A file of known hosts could not be read.
    #[error("cannot read the known host keys in {}", file.display())]
    KnownHosts {
        /// The host's name.
        host: String,
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No key was accepted.
    #[error("{user}@{host} refused the login{}", login(.offered, .unusable, *.limited))]
    LoginRefused {
        /// The host's name.
        host: String,
        /// The login name.
        user: String,
        /// The keys that were offered.
        offered: Vec<OfferedKey>,
        /// Keys that could not be offered.
        unusable: Vec<UnusableKey>,
        /// Whether more keys existed than a host lets anybody try.
        limited: bool,
        /// Whether a key was accepted and the host wants a second proof as well.
        partial: bool,
    },
}

impl ConnectError {
    /// The host's name.
    pub fn host(&self) -> &str {
        match self {
            Self::Resolve { host, .. }
            | Self::Tcp { host, .. }
            | Self::Timeout { host, .. }
            | Self::KeyExchange { host, .. }
            | Self::Closed { host, .. }
            | Self::HostKeyUnknown { host, .. }
            | Self::HostKeyChanged { host, .. }
            | Self::HostKeyRevoked { host, .. }
            | Self::KnownHosts { host, .. }
            | Self::LoginRefused { host, .. } => host,
        }
    }

    /// Whether nothing was heard of the host: it may be down. A host that answers and is not who it should
    /// be, or lets nobody in, is another matter.
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::Resolve { .. } | Self::Tcp { .. } | Self::Timeout { .. } | Self::Closed { .. } => true,
            Self::KeyExchange { .. }
            | Self::HostKeyUnknown { .. }
            | Self::HostKeyChanged { .. }
            | Self::HostKeyRevoked { .. }
            | Self::KnownHosts { .. }
            | Self::LoginRefused { .. } => false,
        }
    }

    /// What to do next, in one or two sentences.
    pub fn hint(&self) -> String {
        match self {
            Self::Resolve { .. } => "check the spelling in deploy.toml, and DNS or /etc/hosts here".into(),
            Self::Tcp { source, .. } if source.kind() == io::ErrorKind::ConnectionRefused => {
                "the machine answers, but nothing listens there: check the port, and that sshd runs".into()
            }
            Self::Tcp { .. } => "check that the machine is up, the network path and the firewall".into(),
            Self::Timeout { stage: Stage::Resolve | Stage::Tcp, .. } => {
                "check that the machine is up, the network path and the firewall; \
                 `ssh.connect_timeout` sets the limit"
                    .into()
            }
            Self::Timeout { .. } => {
                "something accepts connections there but is slow: check the machine's load, whether its \
                 sshd waits for DNS, and that the port is that of an SSH server; `ssh.connect_timeout` sets \
                 the limit"
                    .into()
            }
            Self::KeyExchange { .. } => {
                "check that the port is that of an SSH server, and that its ciphers are not all outdated"
                    .into()
            }
            Self::Closed { .. } => {
                "sshd closes connections when too many arrive (MaxStartups, PerSourcePenalties) or when it \
                 refuses the address, and its log says which; anything but an SSH server closes them too"
                    .into()
            }
            Self::HostKeyUnknown { key, .. } if key.declined => {
                "compare the fingerprint with the one the host's administrator or provider gives".into()
            }
            Self::HostKeyUnknown { key, .. } => format!(
                "connect once with `{}`, compare the fingerprint and accept the key, or add the key to {}",
                key.command,
                key.file.display()
            ),
            Self::HostKeyChanged { known, .. } => {
                let lines: Vec<_> =
                    known.iter().map(|key| format!("{}:{}", key.file.display(), key.line)).collect();
                format!(
                    "either the host was reinstalled or somebody is in between: compare the new \
                     fingerprint with the host's own; only if they agree, remove {} and connect again",
                    lines.join(" and ")
                )
            }
            Self::HostKeyRevoked { .. } => {
                "do not connect; whoever marked the key as revoked can say why, and give the new one".into()
            }
            Self::KnownHosts { file, .. } => {
                format!("make {} readable; it may hold a revoked key", file.display())
            }
            Self::LoginRefused { partial: true, .. } => {
                "the host wants more than a key; rdeploy logs in with keys only".into()
            }
            Self::LoginRefused { host, user, offered, unusable, .. } => {
                login_hint(host, user, offered, unusable)
            }
        }
    }
}

fn login_hint(host: &str, user: &str, offered: &[OfferedKey], unusable: &[UnusableKey]) -> String {
    if let Some(key) = unusable.iter().find(|key| key.encrypted) {
        return format!("add the key to an agent: `ssh-add {}`", key.origin);
    }
    if offered.is_empty() {
        return "make a key with `ssh-keygen`, or name one in `ssh.identity`".into();
    }
    format!(
        "add one of these keys to ~/.ssh/authorized_keys of {user} on {host}, or name the right one in \
         `ssh.identity`"
    )
}

fn list<T: ToString>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

fn others(known: &[KnownKey]) -> String {
    if known.is_empty() {
        return String::new();
    }
    format!(" (keys of other types are known for it: {})", list(known))
}

fn login(offered: &[OfferedKey], unusable: &[UnusableKey], limited: bool) -> String {
    let mut text = match offered.is_empty() {
        true => ": there was no key to offer".to_owned(),
        false => format!("; offered: {}", list(offered)),
    };
    if limited {
        text.push_str(" (more were not tried, because hosts cut off after six)");
    }
    if !unusable.is_empty() {
        text.push_str(&format!("; not offered: {}", list(unusable)));
    }
    text
}

/// Why a command or a forward on a connection did not come about or was cut short.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The connection is gone.
    #[error("the connection to {host} was lost: {reason}")]
    Lost {
        /// The host's name.
        host: String,
        /// What ended it.
        reason: String,
    },
    /// The host would not open another channel.
    #[error("{host} refused to {what}: {reason}")]
    Refused {
        /// The host's name.
        host: String,
        /// What was asked for.
        what: String,
        /// What it said.
        reason: String,
    },
    /// The command's input was written to after the command had ended.
    #[error("the command on {host} ended before it had read all of its input")]
    Ended {
        /// The host's name.
        host: String,
    },
    /// The command wrote more than is kept.
    #[error("the command on {host} wrote more than {} MiB", limit >> 20)]
    TooMuchOutput {
        /// The host's name.
        host: String,
        /// The limit in bytes.
        limit: usize,
    },
}

impl ChannelError {
    /// What to do next, where there is something to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Refused { .. } => Some(
                "sshd's MaxSessions (10 by default) counts commands that still run: see what runs on the \
                 host, or look into its log"
                    .into(),
            ),
            Self::Lost { .. } => Some("check the network, and whether the host is up".into()),
            Self::Ended { .. } | Self::TooMuchOutput { .. } => None,
        }
    }
}

/// The `ssh` command that reaches a target.
pub(super) fn ssh_command(target: &Target) -> String {
    match target.port {
        22 => format!("ssh {}@{}", target.user, target.address),
        port => format!("ssh -p {port} {}@{}", target.user, target.address),
    }
}

#[cfg(test)]
#[path = "error_tests.rs"]
mod tests;
