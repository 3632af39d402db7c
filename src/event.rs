//! Owns the facts a run states, in the past tense. No colours, no widths, no settings: reporters
//! decide how to show them. `Events` is the one way to state a fact; it never blocks and never fails
//! the run (an unbounded channel, because traffic is low and a stuck reporter must not strand a deploy).

use std::time::Duration;
use std::time::Instant;

use tokio::sync::mpsc;

/// One fact, with the time since the run began.
#[derive(Clone, Debug)]
pub struct Event {
    /// Time since the run began.
    pub elapsed: Duration,
    /// The fact.
    pub kind: EventKind,
}

/// Where a host stands in the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The connection is being made.
    Connecting,
    /// Read-only checks run.
    Checking,
    /// The lock is being taken.
    Locking,
    /// The artifact travels.
    Uploading,
    /// The release is being unpacked, verified and linked.
    Preparing,
    /// Prepared; waits for the other hosts.
    Waiting,
    /// `current` is being switched and the app restarted.
    Switching,
    /// The new release is being proven.
    Verifying,
    /// Being committed and cleaned up.
    Finishing,
    /// Being put back.
    Reverting,
    /// Done: the host runs what was asked.
    Done,
    /// Put back: the host runs what it ran before.
    Reverted,
    /// Failed (the text of the failure is in its own event).
    Failed,
    /// Could not be reached, and is left out of the run.
    LeftOut,
}

/// What a host waits for, besides what [`Phase::Waiting`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wait {
    /// The release, and the checks of the other hosts.
    Start,
    /// The locks of the other hosts.
    Locks,
    /// Its turn to be put back.
    Turn,
}

/// How far a proof that the new release runs went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Every process was seen to run from the release.
    Proven,
    /// It could not be read where the processes run from; the weaker signs were all good.
    Unprovable,
}

/// What happened.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "field names repeat the sentence of their variant")]
pub enum EventKind {
    /// The run started. `hosts` are the names shown for them from now on.
    RunStarted { verb: String, app: String, environment: String, hosts: Vec<String> },
    /// A command on this machine (build or local hook) started.
    LocalCommandStarted { command: String },
    /// It wrote a line.
    LocalCommandOutput { line: String },
    /// It ended well.
    LocalCommandFinished { command: String, duration: Duration },
    /// Files were read and packed so far.
    PackProgressed { files: u64, bytes: u64 },
    /// There is an artifact (made, or found in the cache, unchanged). How large it is `compressed` may not be known
    /// yet.
    ArtifactPacked { digest: String, files: usize, bytes: u64, compressed: Option<u64>, reused: bool },
    /// What was not known yet then.
    ArtifactStored { compressed: u64 },
    /// The login to a host succeeded.
    HostConnected { host: String },
    /// A host entered a phase.
    PhaseEntered { host: String, phase: Phase },
    /// It is known what has to travel to a host: `bytes` for `files` of the artifact's files, where everything would
    /// be `all_bytes` (if that is known) for `all_files`. Not `is_exact`: the bytes are an estimate, because they are
    /// being compressed still. `resumed`: the rest is there because of an upload that was cut off.
    UploadPlanned {
        host: String,
        files: usize,
        all_files: usize,
        bytes: u64,
        is_exact: bool,
        all_bytes: Option<u64>,
        resumed: bool,
    },
    /// Bytes of the upload accepted by the connection, of `total`, which takes the place of what was planned.
    UploadProgressed { host: String, sent: u64, total: u64 },
    /// A hook started on a host.
    HookStarted { host: String, point: String, command: String },
    /// A hook, or another command of the user's, wrote a line on a host.
    HookOutput { host: String, line: String },
    /// A hook ended well.
    HookFinished { host: String, point: String, command: String, duration: Duration },
    /// The switch of some hosts begins, which are not all: batch `number` of `of`.
    BatchStarted { number: usize, of: usize, hosts: Vec<String> },
    /// The first hosts are switched, and have to stay well for so long before the others follow.
    Paused { hosts: Vec<String>, duration: Duration },
    /// `current` points at `release` on a host.
    Switched { host: String, release: String },
    /// The app was proven to run from `release`.
    Verified { host: String, release: String, proof: Proof, detail: String },
    /// Something worth knowing that is no problem.
    Noted { host: Option<String>, text: String },
    /// Something that should be looked at but did not stop the run.
    Warned { host: Option<String>, text: String },
    /// A host, or the run as a whole, failed. `hint` says what to do next; `output` is what the
    /// failing command wrote, whole.
    Failed { host: Option<String>, error: String, hint: Option<String>, output: Option<String> },
    /// A host has done what was asked of it, and goes on when something else has come to its end.
    HostWaiting { host: String, wait: Wait },
    /// What the connection to a host has cost: how many answers had to be waited for one after the other since the
    /// login, and the bytes on the wire, the login's and the encryption's among them.
    HostTraffic { host: String, round_trips: u32, sent: u64, received: u64 },
    /// The user asked to stop (Ctrl-C, SIGTERM); hosts are being put back.
    Interrupted,
    /// The run ended.
    RunFinished { summary: Summary },
}

/// What a host runs at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostSummary {
    /// The host's name.
    pub host: String,
    /// How it ended: `Done`, `Reverted`, `Failed`, `LeftOut`, or the phase in which an untouched host was left.
    pub phase: Phase,
    /// The release `current` points at, where known.
    pub live: Option<String>,
}

/// The end of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// One sentence that says how it ended: "deployed 20261122174124 to prod".
    pub headline: String,
    /// The process's exit code.
    pub exit_code: u8,
    /// Each host's end.
    pub hosts: Vec<HostSummary>,
    /// The longest steps, by name: "build", "upload", "switch".
    pub timings: Vec<(String, Duration)>,
}

/// Where facts are stated. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Events {
    started: Instant,
    sender: Option<mpsc::UnboundedSender<Event>>,
}

impl Events {
    /// Returns a stater of facts and the stream a reporter reads. The stream ends when every clone
    /// of the stater is gone.
    pub fn channel() -> (Self, mpsc::UnboundedReceiver<Event>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self { started: Instant::now(), sender: Some(sender) }, receiver)
    }

    /// Returns a stater nobody listens to.
    pub fn ignored() -> Self {
        Self { started: Instant::now(), sender: None }
    }

    /// States a fact. A reporter that is gone is no error.
    pub fn emit(&self, kind: EventKind) {
        if let Some(sender) = &self.sender {
            let _ = sender.send(Event { elapsed: self.started.elapsed(), kind });
        }
    }
}
