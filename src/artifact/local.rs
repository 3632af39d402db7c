//! Owns running the user's commands on this machine: the build and the local hooks. A command runs in
//! its own process group, so that everything it started can be ended with it, and has no terminal to
//! ask on. Knows nothing of what the commands are for.

mod output;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::WaitId;
use rustix::process::WaitIdOptions;
use tokio::process::Child;
use tokio_util::sync::CancellationToken;

use self::output::Output;
use crate::event::EventKind;
use crate::event::Events;

/// How long a command has after SIGTERM.
const GRACE: Duration = Duration::from_secs(3);
/// How often a command is looked at while it is being ended.
const POLL: Duration = Duration::from_millis(20);
/// How often a command is looked at for waiting on the terminal.
const STOP_CHECK: Duration = Duration::from_millis(500);
/// How long output is still read after a command ended but something it started holds the pipes.
const LEFTOVER: Duration = Duration::from_millis(500);

/// The signals that end commands in practice; a build that runs out of memory gets SIGKILL.
const SIGNALS: [(Signal, &str); 9] = [
    (Signal::HUP, "SIGHUP"),
    (Signal::INT, "SIGINT"),
    (Signal::QUIT, "SIGQUIT"),
    (Signal::ABORT, "SIGABRT"),
    (Signal::BUS, "SIGBUS"),
    (Signal::SEGV, "SIGSEGV"),
    (Signal::PIPE, "SIGPIPE"),
    (Signal::TERM, "SIGTERM"),
    (Signal::KILL, "SIGKILL, as when memory runs out"),
];

/// One command, run by `sh -c`.
#[derive(Clone, Debug)]
pub struct LocalCommand {
    /// What `sh -c` gets.
    pub command: String,
    /// Where it runs.
    pub dir: PathBuf,
    /// Added to the environment of rdeploy itself.
    pub env: BTreeMap<String, String>,
    /// Ended after this long.
    pub timeout: Option<Duration>,
}

/// Why a command did not end well. `output` is the end of what it wrote.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// It could not be started.
    #[error("cannot run `{command}` in {}: {source}", dir.display())]
    Start {
        /// The command.
        command: String,
        /// Where it was to run.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It failed.
    #[error("`{command}` {ending}{}", last_lines(output))]
    Failed {
        /// The command.
        command: String,
        /// How it ended: "failed with exit code 2", "was ended by signal 9 (SIGKILL)".
        ending: String,
        /// The last lines of its output.
        output: Vec<String>,
    },
    /// It took too long and was ended.
    #[error("`{command}` was ended after {}s, its time limit{}", timeout.as_secs_f64(), last_lines(output))]
    TimedOut {
        /// The command.
        command: String,
        /// The limit.
        timeout: Duration,
        /// The last lines of its output.
        output: Vec<String>,
    },
    /// It asked for input on the terminal and was ended.
    #[error(
        "`{command}` waits for input on the terminal; give it what it asks for by an option, a \
        variable or a file{}",
        last_lines(output)
    )]
    WantsTerminal {
        /// The command.
        command: String,
        /// The last lines of its output.
        output: Vec<String>,
    },
    /// The user asked to stop, and it was ended.
    #[error("`{command}` was interrupted")]
    Canceled {
        /// The command.
        command: String,
    },
}

fn last_lines(output: &[String]) -> String {
    if output.is_empty() {
        return "; it wrote nothing".to_owned();
    }
    let lines: String = output.iter().map(|line| format!("\n  {line}")).collect();
    format!("; its last lines:{lines}")
}

/// What ended the wait for a command.
enum End {
    Exited(io::Result<ExitStatus>),
    TimedOut(Duration),
    WantsTerminal,
    Canceled,
}

/// Runs a command to its end and states what it writes.
pub async fn run(
    command: &LocalCommand,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<(), LocalError> {
    let LocalCommand { command: text, dir, env, timeout } = command;
    let start = |source| LocalError::Start { command: text.clone(), dir: dir.clone(), source };
    if cancel.is_cancelled() {
        return Err(LocalError::Canceled { command: text.clone() });
    }
    let (mut child, written) = spawn(text, dir, env).map_err(start)?;
    let mut group = Group::of(&child);
    let began = Instant::now();
    events.emit(EventKind::LocalCommandStarted { command: text.clone() });

    let output = Output::new(events.clone());
    let all_read = output.clone().read(written);
    tokio::pin!(all_read);
    let mut read = false;

    let limit = async {
        match *timeout {
            Some(timeout) => tokio::time::sleep(timeout).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(limit);
    let end = loop {
        tokio::select! {
            biased;
            () = cancel.cancelled() => break End::Canceled,
            status = child.wait() => break End::Exited(status),
            () = &mut all_read, if !read => read = true,
            () = &mut limit => break End::TimedOut(timeout.unwrap_or_default()),
            () = tokio::time::sleep(STOP_CHECK) => if group.wants_terminal() { break End::WantsTerminal },
        }
    };
    match end {
        End::Exited(_) => {
            group.release();
            // What a command leaves running in the background (a build daemon) is its own affair.
            if !read {
                let _ = tokio::time::timeout(LEFTOVER, &mut all_read).await;
            }
        }
        End::TimedOut(_) | End::WantsTerminal | End::Canceled => {
            group.end(&mut all_read, read).await;
            let _ = child.wait().await;
            group.release();
        }
    }
    let (command, output) = (text.clone(), output.last_lines());
    match end {
        End::Exited(Ok(status)) if status.success() => {
            events.emit(EventKind::LocalCommandFinished { command, duration: began.elapsed() });
            Ok(())
        }
        End::Exited(Ok(status)) => Err(LocalError::Failed { command, ending: ending(status), output }),
        End::Exited(Err(error)) => Err(start(error)),
        End::TimedOut(timeout) => Err(LocalError::TimedOut { command, timeout, output }),
        End::WantsTerminal => Err(LocalError::WantsTerminal { command, output }),
        End::Canceled => Err(LocalError::Canceled { command }),
    }
}

/// Starts a command. Both its streams are one pipe, as they are one screen in a terminal: what it
/// wrote keeps its order.
fn spawn(
    text: &str,
    dir: &Path,
    env: &BTreeMap<String, String>,
) -> io::Result<(Child, tokio::net::unix::pipe::Receiver)> {
    let (written, stdout) = io::pipe()?;
    let stderr = stdout.try_clone()?;
    let mut shell = tokio::process::Command::new("sh");
    shell.arg("-c").arg(text).current_dir(dir).envs(env);
    shell.stdin(Stdio::null()).stdout(stdout).stderr(stderr).process_group(0);
    let written = tokio::net::unix::pipe::Receiver::from_owned_fd(written.into())?;
    // `shell` goes with this function, and with it this process's ends for writing.
    Ok((shell.spawn()?, written))
}

fn ending(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(127), _) => "failed with exit code 127 (command not found)".to_owned(),
        (Some(code), _) => format!("failed with exit code {code}"),
        (None, Some(signal)) => {
            let name = SIGNALS.iter().find(|(known, _)| known.as_raw() == signal);
            let name = name.map(|(_, name)| format!(" ({name})")).unwrap_or_default();
            format!("was ended by signal {signal}{name}")
        }
        (None, None) => format!("failed: {status}"),
    }
}

/// The process group of a command that was not waited for yet: its number cannot belong to anybody
/// else so long. Dropped before that (the whole run is being given up), it is killed.
struct Group {
    leader: Option<Pid>,
}

impl Group {
    fn of(child: &Child) -> Self {
        let leader = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Self { leader }
    }

    /// The leader was waited for: the number is no longer ours.
    fn release(&mut self) {
        self.leader = None;
    }

    fn signal(&self, signal: Signal) {
        if let Some(leader) = self.leader {
            // It fails when everybody is gone, which is what is wanted.
            let _ = rustix::process::kill_process_group(leader, signal);
        }
    }

    /// Whether the system stopped the group because it read from the terminal, or changed it.
    fn wants_terminal(&self) -> bool {
        let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let state = self.leader.map(|leader| rustix::process::waitid(WaitId::Pid(leader), options));
        let signal = match state {
            Some(Ok(Some(state))) => state.stopping_signal(),
            _ => None,
        };
        signal.is_some_and(|raw| [Signal::TTIN.as_raw(), Signal::TTOU.as_raw()].contains(&raw))
    }

    /// Whether the leader ended, without waiting for it (which would free its number).
    fn leader_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        match self.leader.map(|leader| rustix::process::waitid(WaitId::Pid(leader), options)) {
            Some(Ok(state)) => state.is_some(),
            Some(Err(_)) | None => true,
        }
    }

    /// Ends everybody in the group: asks first, and leaves nobody.
    async fn end(&self, all_read: &mut (impl Future<Output = ()> + Unpin), mut read: bool) {
        self.signal(Signal::TERM);
        // A stopped process takes the signal only when it goes on.
        self.signal(Signal::CONT);
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline && !(read && self.leader_ended()) {
            tokio::select! {
                () = &mut *all_read, if !read => read = true,
                () = tokio::time::sleep(POLL) => {}
            }
        }
        self.signal(Signal::KILL);
        if !read {
            let _ = tokio::time::timeout(LEFTOVER, all_read).await;
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}
