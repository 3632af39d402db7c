//! Owns what runs on a host and the typed calls around it: the agent (the `.sh` files of `sh/` and of
//! `supervisor/`), what is sent to it, and what it answers. Knows no fleet, no terminal.
//!
//! `sh/guardian.sh` says how the two sides talk.

mod agent;
mod ahead;
mod beside;
mod gzip;
mod hold;
mod lines;
mod operate;
mod probe;
mod protocol;
mod recovery;
mod session;
mod settings;
mod status;
mod talk;
#[cfg(test)]
mod tests;
mod unasked;
mod upload;

use std::fmt;
use std::future::Future;
use std::time::Duration;

pub use operate::Operation;
pub use protocol::Facts;
pub use protocol::LastAttempt;
pub use protocol::Owner;
pub use protocol::ReleaseRecord;
pub use protocol::Say;
pub use protocol::Settled;
pub use protocol::Undone;
pub use session::Session;
pub use settings::Attempt;
pub use settings::HookScript;
pub use settings::SessionSettings;
pub use settings::Verb;
pub use status::HealthAnswer;
pub use status::Process;
pub use unasked::Unasked;
pub use unasked::UnaskedCheck;

use crate::artifact::Artifact;
use crate::release::ReleaseId;
pub use crate::ssh::Traffic;

/// What the guardian does to its host, one at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Verify what arrived and make it a release beside the live one.
    Prepare,
    /// After the `after_unpack` hooks: make everything the switch and its undoing need.
    Ready,
    /// Switch, restart, prove.
    Activate,
    /// Prove again what was proven, and change nothing.
    Recheck,
    /// Mark good; from here on nothing is undone.
    Commit,
    /// Save the supervisor's list, remove these releases, note the attempt.
    Finish(Vec<ReleaseId>),
    /// On a host that runs what it should: note which hosts still do not.
    Absent(Vec<String>),
    /// End the live release's app, and the supervisor's daemon with it where it is the sandbox's own.
    Stop,
}

impl Action {
    /// The action's name on the wire.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Ready => "ready",
            Self::Activate => "activate",
            Self::Recheck => "recheck",
            Self::Commit => "commit",
            Self::Finish(_) => "finish",
            Self::Absent(_) => "absent",
            Self::Stop => "stop",
        }
    }
}

/// What a host is told ahead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upcoming {
    /// The upload, which whatever follows waits for.
    Upload,
    /// What the guardian does.
    Act(Action),
    /// It leaves.
    Leave,
}

/// How an upload gets on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It is known what travels; once more, where the host lacks more than was foreseen.
    Planned {
        /// How many of the artifact's files.
        files: usize,
        /// How many bytes in all.
        bytes: u64,
        /// Whether that is known; it is an estimate while the artifact is being compressed.
        is_exact: bool,
        /// Whether something is there of an upload that was cut off.
        resumed: bool,
    },
    /// The connection took so many bytes.
    Sent {
        /// So far.
        sent: u64,
        /// Of so many.
        total: u64,
    },
}

/// What came of asking for the lock.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one of it a host")]
pub enum LockOutcome {
    /// It is ours; this is how the host stands now.
    Taken(Facts),
    /// Somebody else has it: who, from where, since when, in one line.
    Held(String),
    /// Somebody froze the environment: the message, who, from where, since when, in one line.
    Frozen(String),
}

/// Why a call to a host failed.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The connection is gone; what was being done may or may not have happened.
    #[error("the connection was lost while it was {doing}")]
    Lost {
        /// What had been asked for: "preparing the release".
        doing: &'static str,
        /// What the guardian's shell wrote to standard error, if anything.
        stderr: String,
    },
    /// The connection lives, but the guardian does not; what it was doing may or may not have happened.
    #[error("the guardian on the host ended while it was {doing}")]
    GuardianDied {
        /// What had been asked for.
        doing: &'static str,
        /// What its shell wrote to standard error, if anything.
        stderr: String,
    },
    /// The host did not answer in time.
    #[error("no answer within {} s while it was {doing}", limit.as_secs())]
    Silent {
        /// What had been asked for.
        doing: &'static str,
        /// How long was waited.
        limit: Duration,
    },
    /// The host answered that it failed.
    #[error("{reason}")]
    Refused {
        /// The first line of what the action wrote: a sentence.
        reason: String,
        /// All of what it wrote.
        output: String,
    },
    /// It was asked to put back what it had committed.
    #[error("the release is committed already and is not put back any more")]
    AlreadyCommitted,
    /// A user's command failed.
    #[error("{}", describe_command(command, *code, *timeout))]
    Command {
        /// The command.
        command: String,
        /// Its exit code; none when a signal or a lost connection ended it.
        code: Option<u32>,
        /// Set when it was ended for taking longer than this.
        timeout: Option<Duration>,
        /// All of its output.
        output: String,
    },
    /// A channel could not be used.
    #[error("{doing} failed: {source}")]
    Channel {
        /// What was tried.
        doing: &'static str,
        /// The first cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

fn describe_command(command: &str, code: Option<u32>, timeout: Option<Duration>) -> String {
    match (timeout, code) {
        (Some(limit), _) => {
            format!("`{command}` was ended because it took longer than {} s", limit.as_secs())
        }
        (None, Some(code)) => format!("`{command}` exited with code {code}"),
        (None, None) => format!("`{command}` was ended by a signal or a lost connection"),
    }
}

impl HostError {
    /// Everything the failing command wrote, where there is any.
    pub fn output(&self) -> Option<&str> {
        let output = match self {
            Self::Refused { output, .. } | Self::Command { output, .. } => output,
            Self::Lost { stderr, .. } | Self::GuardianDied { stderr, .. } => stderr,
            Self::Silent { .. } | Self::AlreadyCommitted | Self::Channel { .. } => "",
        };
        Some(output.trim_end()).filter(|text| !text.is_empty())
    }

    /// Whether the host may be in a state nobody here knows.
    pub fn is_unconfirmed(&self) -> bool {
        matches!(self, Self::Lost { .. } | Self::GuardianDied { .. } | Self::Silent { .. })
    }
}

/// A host as the transaction sees it. `Session` is the real one; tests script theirs.
///
/// Every call may be dropped at any time: a guardian finishes or undoes by itself.
pub trait Host: Send + Sync + 'static {
    /// The name shown for it.
    fn name(&self) -> &str;

    /// What the connection to it has cost so far, where there is one.
    fn traffic(&self) -> Option<Traffic> {
        None
    }

    /// Asks the read-only questions.
    fn preflight(&self) -> impl Future<Output = Result<Facts, HostError>> + Send;

    /// Takes the lock, or says who has it.
    fn lock(&self) -> impl Future<Output = Result<LockOutcome, HostError>> + Send;

    /// Frees the lock as if it had never been taken; it can be asked for again.
    fn release(&self) -> impl Future<Output = Result<(), HostError>> + Send;

    /// Names the release this attempt is about. What keeps a host from noting it is told by what follows.
    fn begin(&self, attempt: &Attempt) -> impl Future<Output = Result<(), HostError>> + Send;

    /// Says what is asked next, in this order, as long as everything goes well: a host may begin each as soon as
    /// the one before has ended well, so that it waits for no word from here. All of it is still asked with
    /// [`Host::upload`], [`Host::act`] and [`Host::leave`], which then tell what came of it.
    ///
    /// Where something is left of what was said before, this says nothing.
    fn announce(&self, upcoming: &[Upcoming]) {
        let _ = upcoming;
    }

    /// Sends what the host needs so that it has all of the artifact; `there` is how it stands.
    fn upload(
        &self,
        artifact: &Artifact,
        there: &Facts,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> impl Future<Output = Result<(), HostError>> + Send;

    /// Has the guardian do something; `heard` gets what it says meanwhile.
    fn act(
        &self,
        action: &Action,
        heard: &(dyn Fn(Say) + Send + Sync),
    ) -> impl Future<Output = Result<(), HostError>> + Send;

    /// Runs the user's hook with that number; `line` gets each line of output.
    fn hook(
        &self,
        hook: &HookScript,
        line: &(dyn Fn(&str) + Send + Sync),
    ) -> impl Future<Output = Result<(), HostError>> + Send;

    /// Waits for the guardian to answer a heartbeat.
    fn heartbeat(&self, limit: Duration) -> impl Future<Output = Result<(), HostError>> + Send;

    /// Puts the host back, whatever it is doing, and says whether that was proven.
    fn revert(
        &self,
        heard: &(dyn Fn(Say) + Send + Sync),
    ) -> impl Future<Output = Result<(), HostError>> + Send;

    /// Asks these health checks through the connection, for a host that has no tool to ask with; those that
    /// were well before (`again`) only once in a good while.
    fn probe(
        &self,
        checks: &[UnaskedCheck],
        again: bool,
    ) -> impl Future<Output = Result<(), HostError>> + Send;

    /// Frees the lock and ends the guardian.
    fn leave(&self) -> impl Future<Output = Result<(), HostError>> + Send;
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prepare => "preparing the release",
            Self::Ready => "making the release ready",
            Self::Activate => "switching to the release",
            Self::Recheck => "checking the release again",
            Self::Commit => "committing the release",
            Self::Finish(_) => "cleaning up",
            Self::Absent(_) => "noting which hosts are left behind",
            Self::Stop => "ending the app",
        })
    }
}
